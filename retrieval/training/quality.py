"""How good models are on held-out postcards: 2,000 in 500 quadruplets of twins, never seen in training.

They are measured as users meet them: pictures resized from their files, texts as they are typed, captions and answers
as the folder's settings decode them.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.evaluation.measures import auroc
from retrieval.models.checkpoints import Scoring
from retrieval.models.load import load_answerer, load_captioner, load_encoder, load_matcher
from retrieval.models.resolve import resolve
from retrieval.models.roles import Answerer, Captioner, Encoder, ImageReader, Matcher
from retrieval.training.pretraining.batches import truths
from retrieval.training.world.captions import fullest_claim
from retrieval.training.world.claims import (
    PLACES,
    Claim,
    NotACaption,
    claim_text,
    heads,
    holds,
    is_true,
    requirements,
    shown,
)
from retrieval.training.world.galleries import Quadruplet, quadruplets, stays_in
from retrieval.training.world.questions import questions
from retrieval.training.world.render import render
from retrieval.training.world.scenes import Scene, Tier, draw_held_out, in_reading_order
from retrieval.training.world.twins import KINDS, twin
from retrieval.types import Float32, UInt8

CANDIDATES = 32
SETS = 500
SEED = 2026
APART = 100  # quadruplets for what is reported apart
UNKNOWN = "submarine"
Rephrase = Callable[[str], str]
_ROWS = 256  # pictures at a time through the models
_PAIRS = 2048  # pairs at a time


@dataclass(frozen=True)
class Quality:
    """Shares in [0, 1]. A search is right where a caption that is true of a scene finds such a scene.

    `twin_choice`: ITM gives a scene's caption a higher logit than its twin's (chance 0.5), over every scene and its
    twin in both directions; `twins_by_kind` the same by what was changed. `auroc`: of the best match probability among
    the candidates, captions that are true of a scene in the gallery against captions that are true of none;
    `auroc_by_kind` by what the latter say: what a further twin shows, another scene, or a word that nobody knows. What
    the model's own weights cannot do, answers or captions, is None.
    """

    itc_recall_at_1: float
    itc_recall_at_10: float
    itm_recall_at_1: float
    twin_choice: float
    answers_right: float | None
    captions_true: float | None
    captions_fullest: float | None
    auroc: float
    twins_by_kind: dict[str, float]
    auroc_by_kind: dict[str, float]
    answers_by_kind: dict[str, float] | None
    apart: dict[str, float]


@dataclass(frozen=True)
class Measured:
    """The models that are measured, in the roles that their own weights play, and what candidates are ordered by."""

    encoder: Encoder
    matcher: Matcher
    captioner: Captioner | None
    answerer: Answerer | None
    protocol: Scoring = "itm+itc"

    @classmethod
    def open(cls, name: str | Path) -> Measured:
        """Open a checkpoint by its name or its folder."""
        row = resolve(str(name))
        return cls(
            load_encoder(row),
            load_matcher(row),
            load_captioner(row) if "captioner" in row.roles else None,
            load_answerer(row) if "answerer" in row.roles else None,
            row.protocol,
        )


def measure(models: Measured, *, sets: int = SETS, seed: int = SEED) -> Quality:
    """Measure models on so many quadruplets, each scene's fullest caption as a query."""
    drawn = quadruplets(sets, seed=seed)
    scenes = [scene for one in drawn for scene in one.scenes]
    claims = [fullest_claim(scene) for scene in scenes]
    gallery = _Gallery(models, scenes)
    found = gallery.search([claim_text(claim) for claim in claims])
    right: NDArray[np.bool_] = np.take_along_axis(truths(claims, scenes).numpy().T, found.rows, axis=1)
    unanswerable = {
        kind: gallery.search(texts).best_probability for kind, texts in _unanswerable(drawn, scenes, seed).items()
    }
    answerable = found.best_probability
    choices = _twin_choices(gallery, drawn)
    answers = None if models.answerer is None else _answers(models.answerer, scenes, seed)
    captions = None if models.captioner is None else _captions(models.captioner, scenes)
    return Quality(
        itc_recall_at_1=_share(right[:, 0].tolist()),
        itc_recall_at_10=_share(row.any() for row in right[:, :10]),
        itm_recall_at_1=_share(np.take_along_axis(right, found.first[:, None], axis=1)[:, 0]),
        twin_choice=_share(flag for _, flag in choices),
        answers_right=None if answers is None else _share(flag for _, flag in answers),
        captions_true=None if captions is None else _share(flag for flag, _ in captions),
        captions_fullest=None if captions is None else _share(flag for _, flag in captions),
        auroc=auroc(answerable, [p for values in unanswerable.values() for p in values]),
        twins_by_kind=_by_kind(choices),
        auroc_by_kind={kind: auroc(answerable, values) for kind, values in unanswerable.items()},
        answers_by_kind=None if answers is None else _by_kind(answers),
        apart=_apart(models, drawn, gallery, seed),
    )


def write_quality(quality: Quality, path: Path, *, sets: int = SETS, seed: int = SEED) -> None:
    """Write the numbers, with what they were measured on."""
    known = {name: _rounded(value) for name, value in asdict(quality).items() if value is not None}
    text = json.dumps({"quadruplets": sets, "seed": seed, **known}, indent=2)
    path.write_text(text + "\n", encoding="utf-8", newline="\n")


def read_quality(path: Path) -> Quality:
    """Read the numbers back."""
    stored = json.loads(path.read_text(encoding="utf-8"))
    return Quality(**{name: stored.get(name) for name in Quality.__dataclass_fields__})


@dataclass(frozen=True)
class _Found:
    """The candidates of queries `[q, k]` by ITC, and which of them is first by ITM `[q]`; the best probability."""

    rows: NDArray[np.int64]
    first: NDArray[np.int64]
    best_probability: list[float]


class _Gallery:
    """Scenes as encoder and matcher see them."""

    def __init__(self, models: Measured, scenes: Sequence[Scene]) -> None:
        self._models = models
        pixels = pictures_of(scenes, models.encoder)
        parts = [pixels[start : start + _ROWS] for start in range(0, len(pixels), _ROWS)]
        self._embeddings = np.concatenate([models.encoder.encode_images(part) for part in parts])
        self._tokens = np.concatenate([models.matcher.image_tokens(part) for part in parts])

    def search(self, texts: Sequence[str]) -> _Found:
        """Candidates by ITC, reordered as the model's protocol says."""
        queries = self._models.encoder.encode_texts(texts)
        similarities = np.einsum("nvd,qd->qnv", self._embeddings, queries).max(axis=2)
        rows = np.argsort(-similarities, axis=1, kind="stable")[:, :CANDIDATES]
        best = np.take_along_axis(similarities, rows, axis=1)
        each = rows.shape[1]
        logits = self.match([text for text in texts for _ in range(each)], rows.ravel()).reshape(*rows.shape, 2)
        odds = logits[:, :, 1] - logits[:, :, 0]
        score = logits[:, :, 1] + (best if self._models.protocol == "itm+itc" else 0.0)
        return _Found(rows, score.argmax(axis=1), (1 / (1 + np.exp(-odds))).max(axis=1).tolist())

    def match(self, texts: Sequence[str], rows: Sequence[int] | NDArray[np.int64]) -> Float32:
        """ITM logits `[n, 2]` of n texts, each with a scene by its row; texts of one length go together."""
        order = sorted(range(len(texts)), key=lambda at: len(texts[at].split()))
        logits = np.zeros((len(texts), 2), dtype=np.float32)
        for start in range(0, len(order), _PAIRS):
            at = order[start : start + _PAIRS]
            pairs = np.array([[rows[one], number] for number, one in enumerate(at)])
            logits[at] = self._models.matcher.match(self._tokens, [texts[one] for one in at], pairs)
        return logits


def pictures_of(scenes: Sequence[Scene], reader: ImageReader) -> UInt8:
    """Scenes as a model reads files of them, drawn large and resized: `uint8 [n, R, R, 3]`."""
    return np.stack([reader.prepare(render(scene)) for scene in scenes])


def rephrased(text: str) -> str:
    """A fullest caption in an order of words that training never has: "on the beach there is a cat ..."."""
    for phrase in PLACES.values():
        if f" {phrase} " in text:
            return f"{phrase} there is " + text.replace(f" {phrase} ", " ")
    return text


def _unanswerable(drawn: Sequence[Quadruplet], scenes: Sequence[Scene], seed: int) -> dict[str, list[str]]:
    """Captions that are true of no scene of the gallery, at most one of each kind for a quadruplet."""
    rng = random.Random(f"unanswerable {seed}")
    there = [(scene, shown(scene)) for scene in scenes]
    found: dict[str, list[str]] = {"further twin": [], "other scene": [], "unknown word": []}
    for one in drawn:
        further = (twin(one.scene, kind, rng, stays_in("triple")) for kind in rng.sample(KINDS, len(KINDS)))
        claims = (fullest_claim(changed) for changed in further if changed is not None)
        found["further twin"] += [claim_text(claim) for claim in claims if not _is_answered(claim, there)][:1]
        claim = fullest_claim(draw_held_out(rng))
        found["other scene"] += [] if _is_answered(claim, there) else [claim_text(claim)]
        found["unknown word"].append(with_unknown_noun(fullest_claim(one.scene), rng))
    return found


def with_unknown_noun(claim: Claim, rng: random.Random) -> str:
    """The caption of a claim with a word for one of its nouns that no model here knows."""
    named = heads(claim)
    strange = rng.choice([mention for mention in named if mention >= 0])
    words = zip(claim_text(claim).split(), named, strict=True)
    return " ".join(UNKNOWN if mention == strange else word for word, mention in words)


def _is_answered(claim: Claim, there: Sequence[tuple[Scene, set[str]]]) -> bool:
    needed = requirements(claim)
    return any(needed <= offered and holds(claim, scene) for scene, offered in there)


def _twin_choices(gallery: _Gallery, drawn: Sequence[Quadruplet], *, said: Rephrase = str) -> list[tuple[str, bool]]:
    """By kind: whether a scene's caption scores above its twin's, for scene and twin in turn."""
    texts: list[str] = []
    rows: list[int] = []
    kinds: list[str] = []
    for number, one in enumerate(drawn):
        captions = [said(claim_text(fullest_claim(scene))) for scene in one.scenes]
        base = number * len(captions)
        for at, kind in enumerate(one.kinds, start=1):
            texts += [captions[0], captions[at], captions[at], captions[0]]
            rows += [base, base, base + at, base + at]
            kinds += [kind, kind]
    logits = gallery.match(texts, rows)[:, 1].reshape(-1, 2)
    return list(zip(kinds, (logits[:, 0] > logits[:, 1]).tolist(), strict=True))


def _apart(models: Measured, drawn: Sequence[Quadruplet], gallery: _Gallery, seed: int) -> dict[str, float]:
    """Twin choice where two nouns never met, where a noun never had its tint, and in words of another order."""
    tiers: dict[str, Tier] = {"unseen noun pairs": "nouns", "unseen tint of a noun": "tint"}
    found = {}
    for name, tier in tiers.items():
        sets = quadruplets(APART, seed=seed, tier=tier)
        there = _Gallery(models, [scene for one in sets for scene in one.scenes])
        found[name] = _share(flag for _, flag in _twin_choices(there, sets))
    found["unseen phrasing"] = _share(flag for _, flag in _twin_choices(gallery, drawn[:APART], said=rephrased))
    return found


def _answers(answerer: Answerer, scenes: Sequence[Scene], seed: int) -> list[tuple[str, bool]]:
    """By what is asked about: whether the answers are right, to two random questions per scene."""
    rng = random.Random(f"questions {seed}")
    asked = [(row, one) for row, scene in enumerate(scenes) for one in questions(scene, rng)[:2]]
    pixels = pictures_of(scenes, answerer)
    by_question: dict[str, list[tuple[int, str, str]]] = {}
    for row, one in asked:
        by_question.setdefault(one.text, []).append((row, one.about, one.answer))
    right = []
    for text, wanted in by_question.items():
        given = answerer.answer(pixels[[row for row, _, _ in wanted]], text)
        right += [(about, said == answer) for said, (_, about, answer) in zip(given, wanted, strict=True)]
    return right


def _captions(captioner: Captioner, scenes: Sequence[Scene]) -> list[tuple[bool, bool]]:
    """Whether the caption of a scene is true of it, and whether it is the fullest, word for word."""
    said = captioner.caption(pictures_of(scenes, captioner))
    return [
        (_says_true(text, scene), text == claim_text(fullest_claim(in_reading_order(scene))))
        for text, scene in zip(said, scenes, strict=True)
    ]


def _says_true(text: str, scene: Scene) -> bool:
    try:
        return is_true(text, scene)
    except NotACaption:
        return False


def _share(flags: Iterable[Any]) -> float:
    values = [bool(flag) for flag in flags]
    return sum(values) / len(values)


def _by_kind(flags: Iterable[tuple[str, bool]]) -> dict[str, float]:
    found: dict[str, list[bool]] = {}
    for kind, flag in flags:
        found.setdefault(kind, []).append(flag)
    return {kind: _share(found[kind]) for kind in sorted(found)}


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _rounded(one) for name, one in value.items()}
    return round(value, 4)
