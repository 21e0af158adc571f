"""All scores of captions at once: texts as people and models wrote them come in, the usual table comes out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from retrieval.errors import NoMeteor
from retrieval.evaluation.captions import meteor as meteors
from retrieval.evaluation.captions.bleu import bleu
from retrieval.evaluation.captions.cider import cider
from retrieval.evaluation.captions.ptb import tokenise
from retrieval.evaluation.captions.rouge import rouge_l


@dataclass(frozen=True)
class CaptionScores:
    """BLEU-1 to BLEU-4, METEOR and ROUGE-L in [0, 1], CIDEr in [0, 10]; METEOR is None where it cannot be computed."""

    bleu: tuple[float, ...]
    meteor: float | None
    rouge_l: float
    cider: float

    def to_json(self) -> dict[str, Any]:
        """Write the scores as JSON keeps them."""
        return {**asdict(self), "bleu": list(self.bleu)}


@dataclass(frozen=True)
class Scored:
    """The scores of captions together and of each, in order; `why_no_meteor` says what METEOR lacked, if anything."""

    together: CaptionScores
    each: tuple[CaptionScores, ...]
    why_no_meteor: str | None


def score(captions: Sequence[str], references: Sequence[Sequence[str]]) -> Scored:
    """Score n captions against the texts that were given for the same pictures: at least one for each."""
    said = [tokenise(caption) for caption in captions]
    given = [[tokenise(text) for text in texts] for texts in references]
    bleus, each_bleu = bleu(said, given)
    rouge, each_rouge = rouge_l(said, given)
    ciders, each_cider = cider(said, given)
    meteor, each_meteor, reason = _meteor(said, given)
    each = tuple(CaptionScores(*values) for values in zip(each_bleu, each_meteor, each_rouge, each_cider, strict=True))
    return Scored(CaptionScores(bleus, meteor, rouge, ciders), each, reason)


def _meteor(
    said: Sequence[str], given: Sequence[Sequence[str]]
) -> tuple[float | None, Sequence[float | None], str | None]:
    """METEOR, together and one by one, or None of it all with the reason."""
    try:
        together, each = meteors.meteor(said, given)
    except NoMeteor as error:
        return None, [None] * len(said), str(error)
    return together, each, None
