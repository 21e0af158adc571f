"""What evaluations of captions, of answers and of hard negatives find."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from retrieval.evaluation.captions.score import CaptionScores
from retrieval.evaluation.negatives import NegativeScores
from retrieval.evaluation.vqa import VqaScores


@dataclass(frozen=True)
class Missing:
    """A picture that could not be shown, by the name it was asked for, and why; what was asked of it counts nowhere."""

    name: str
    reason: str


@dataclass(frozen=True)
class CaptionedPicture:
    """What the captioner said of one picture, and its scores against that picture's texts."""

    item_id: int
    uri: str
    caption: str
    scores: CaptionScores


@dataclass(frozen=True)
class CaptionResult:
    """Captions of `pictures` pictures against their `texts` given texts; `why_no_meteor` says what METEOR lacked."""

    captioner: str
    pictures: int
    texts: int
    scores: CaptionScores
    why_no_meteor: str | None
    missing: tuple[Missing, ...]
    each: tuple[CaptionedPicture, ...]

    def to_json(self) -> dict[str, Any]:
        """Write what was found as JSON keeps it, without the single captions."""
        return {
            "captioner": self.captioner,
            "pictures": self.pictures,
            "texts": self.texts,
            "scores": self.scores.to_json(),
            "why_no_meteor": self.why_no_meteor,
            "missing": _missing(self.missing),
        }


@dataclass(frozen=True)
class AnsweredQuestion:
    """What the answerer said to one question of the file, and its accuracy in [0, 1]; `where` names the record."""

    where: str
    item_id: int
    question: str
    answer: str
    accuracy: float


@dataclass(frozen=True)
class VqaResult:
    """Answers to questions about pictures, marked as the VQA challenge does; `each` is in the order of the file."""

    answerer: str
    scores: VqaScores
    missing: tuple[Missing, ...]
    each: tuple[AnsweredQuestion, ...]

    def to_json(self) -> dict[str, Any]:
        """Write what was found as JSON keeps it, without the single answers."""
        return {"answerer": self.answerer, "scores": self.scores.to_json(), "missing": _missing(self.missing)}


@dataclass(frozen=True)
class NegativesResult:
    """Hard negatives told apart by the ITC cosine of `model`, and by `matcher` with its score (None without one)."""

    model: str
    matcher: str | None
    itc: NegativeScores
    itm: NegativeScores | None
    missing: tuple[Missing, ...]

    def to_json(self) -> dict[str, Any]:
        """Write what was found as JSON keeps it."""
        return {
            "model": self.model,
            "matcher": self.matcher,
            "itc": self.itc.to_json(),
            "itm": None if self.itm is None else self.itm.to_json(),
            "missing": _missing(self.missing),
        }


def _missing(missing: Sequence[Missing]) -> list[dict[str, str]]:
    return [asdict(one) for one in missing]
