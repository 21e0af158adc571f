"""How good the bundled models are on held-out postcards: 2,000 in 500 quadruplets of twins, never seen in training."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from retrieval.evaluation.measures import auroc
from retrieval.training.blip import PROMPT, Models
from retrieval.training.pretraining.batches import normalised, truths
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
from retrieval.training.world.vocabulary import MAX_TOKENS, Words

CANDIDATES = 32
SETS = 500
SEED = 2026
APART = 100  # quadruplets for what is reported apart
UNKNOWN = "submarine"
Rephrase = Callable[[str], str]
_ROWS = 256  # at a time through the models


@dataclass(frozen=True)
class Quality:
    """Shares in [0, 1]. A search is right where a caption that is true of a scene finds such a scene.

    `twin_choice`: ITM gives a scene's caption a higher logit than its twin's (chance 0.5), over every scene and its
    twin in both directions; `twins_by_kind` the same by what was changed. `auroc`: of the best match probability among
    the candidates, captions that are true of a scene in the gallery against captions that are true of none;
    `auroc_by_kind` by what the latter say: what a further twin shows, another scene, or a word that nobody knows.
    """

    itc_recall_at_1: float
    itc_recall_at_10: float
    itm_recall_at_1: float
    twin_choice: float
    answers_right: float
    captions_true: float
    captions_fullest: float
    auroc: float
    twins_by_kind: dict[str, float]
    auroc_by_kind: dict[str, float]
    answers_by_kind: dict[str, float]
    apart: dict[str, float]


@torch.inference_mode()
def measure(models: Models, *, sets: int = SETS, seed: int = SEED) -> Quality:
    """Measure three models on so many quadruplets, each scene's fullest caption as a query."""
    words = Words(models.tokens, models.itm.device)
    drawn = quadruplets(sets, seed=seed)
    scenes = [scene for one in drawn for scene in one.scenes]
    claims = [fullest_claim(scene) for scene in scenes]
    gallery = _Gallery(models.itm, words, scenes)
    found = gallery.search([claim_text(claim) for claim in claims])
    right = truths(claims, scenes).T.to(words.device).gather(1, found.rows)
    unanswerable = {
        kind: gallery.search(texts).best_probability for kind, texts in _unanswerable(drawn, scenes, seed).items()
    }
    answerable = found.best_probability
    choices = _twin_choices(gallery, drawn)
    pixels = pixels_of(scenes, models.itm.config.vision_config.image_size)
    answers = _answers(models.vqa, words, models.tokens, scenes, pixels, seed)
    captions = _captions(models.caption, words, models.tokens, pixels)
    return Quality(
        itc_recall_at_1=_share(right[:, 0]),
        itc_recall_at_10=_share(right[:, :10].any(dim=1)),
        itm_recall_at_1=_share(right.gather(1, found.first[:, None])[:, 0]),
        twin_choice=_share(flag for _, flag in choices),
        answers_right=_share(flag for _, flag in answers),
        captions_true=_share(_says_true(text, scene) for text, scene in zip(captions, scenes, strict=True)),
        captions_fullest=_share(
            text == claim_text(fullest_claim(in_reading_order(scene)))
            for text, scene in zip(captions, scenes, strict=True)
        ),
        auroc=auroc(answerable, [p for values in unanswerable.values() for p in values]),
        twins_by_kind=_by_kind(choices),
        auroc_by_kind={kind: auroc(answerable, values) for kind, values in unanswerable.items()},
        answers_by_kind=_by_kind(answers),
        apart=_apart(models.itm, words, drawn, gallery, seed),
    )


def write_quality(quality: Quality, path: Path, *, sets: int = SETS, seed: int = SEED) -> None:
    """Write the numbers, with what they were measured on."""
    text = json.dumps({"quadruplets": sets, "seed": seed, **_rounded(asdict(quality))}, indent=2)
    path.write_text(text + "\n", encoding="utf-8", newline="\n")


def read_quality(path: Path) -> Quality:
    """Read the numbers back."""
    stored = json.loads(path.read_text(encoding="utf-8"))
    return Quality(**{name: stored[name] for name in Quality.__dataclass_fields__})


@dataclass(frozen=True)
class _Found:
    """The candidates of queries `[q, k]` by ITC, and which of them is first by ITM `[q]`; the best probability."""

    rows: Tensor
    first: Tensor
    best_probability: list[float]


class _Gallery:
    """Scenes as the matcher sees them: image tokens and embeddings."""

    def __init__(self, itm: Any, words: Words, scenes: Sequence[Scene]) -> None:
        self._itm, self._words = itm, words
        pixels = torch.split(pixels_of(scenes, itm.config.vision_config.image_size), _ROWS)
        self._tokens = torch.cat([itm.vision_model(part.to(words.device)).last_hidden_state for part in pixels])
        self._embeddings = functional.normalize(itm.vision_proj(self._tokens[:, 0]), dim=-1)

    def search(self, texts: Sequence[str]) -> _Found:
        """Candidates by ITC, reordered by ITM logit plus similarity."""
        best, rows = (self._embed(texts) @ self._embeddings.T).topk(min(CANDIDATES, len(self._tokens)), dim=1)
        each = rows.shape[1]
        logits = self.match([text for text in texts for _ in range(each)], rows.flatten()).view(len(texts), each, 2)
        first = (logits[:, :, 1] + best).argmax(dim=1)
        return _Found(rows, first, logits.softmax(dim=2)[:, :, 1].amax(dim=1).tolist())

    def match(self, texts: Sequence[str], rows: Tensor) -> Tensor:
        """ITM logits `[n, 2]` of n texts, each with a scene by its row."""
        order = sorted(range(len(texts)), key=lambda at: len(texts[at]))
        logits = torch.zeros(len(texts), 2, device=rows.device)
        for start in range(0, len(order), _ROWS):
            at = order[start : start + _ROWS]
            ids, mask = self._words.encode([texts[row] for row in at], first="[ENC]")
            states = self._itm.text_encoder(
                input_ids=ids, attention_mask=mask, encoder_hidden_states=self._tokens[rows[at]]
            ).last_hidden_state
            logits[at] = self._itm.itm_head(states[:, 0])
        return logits

    def _embed(self, texts: Sequence[str]) -> Tensor:
        ids, mask = self._words.encode(texts)
        states = self._itm.text_encoder(input_ids=ids, attention_mask=mask).last_hidden_state
        return functional.normalize(self._itm.text_proj(states[:, 0]), dim=-1)


def pixels_of(scenes: Sequence[Scene], resolution: int) -> Tensor:
    """Scenes as the models see files of them, drawn large and resized: `float32 [n, 3, R, R]`."""
    size = (resolution, resolution)
    pictures = [np.asarray(render(scene).resize(size, Image.Resampling.BICUBIC)) for scene in scenes]
    return normalised(torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2))


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
        found["unknown word"].append(_with_unknown_noun(fullest_claim(one.scene), rng))
    return found


def _with_unknown_noun(claim: Claim, rng: random.Random) -> str:
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
    logits = gallery.match(texts, torch.tensor(rows))[:, 1].view(-1, 2)
    return list(zip(kinds, (logits[:, 0] > logits[:, 1]).tolist(), strict=True))


def _apart(itm: Any, words: Words, drawn: Sequence[Quadruplet], gallery: _Gallery, seed: int) -> dict[str, float]:
    """Twin choice where two nouns never met, where a noun never had its tint, and in words of another order."""
    tiers: dict[str, Tier] = {"unseen noun pairs": "nouns", "unseen tint of a noun": "tint"}
    found = {}
    for name, tier in tiers.items():
        sets = quadruplets(APART, seed=seed, tier=tier)
        there = _Gallery(itm, words, [scene for one in sets for scene in one.scenes])
        found[name] = _share(flag for _, flag in _twin_choices(there, sets))
    found["unseen phrasing"] = _share(flag for _, flag in _twin_choices(gallery, drawn[:APART], said=rephrased))
    return found


def _captions(model: Any, words: Words, tokens: Sequence[str], pixels: Tensor) -> list[str]:
    """Captions by greedy decoding, without the prompt."""
    texts: list[str] = []
    for part in torch.split(pixels, _ROWS):
        ids, mask = words.encode([PROMPT] * len(part), first="[DEC]")
        written = model.generate(
            pixel_values=part.to(words.device),
            input_ids=ids,
            attention_mask=mask,
            max_length=MAX_TOKENS,
            num_beams=1,
            do_sample=False,
        )
        texts += [_text(row, tokens)[len(PROMPT) :].strip() for row in written]
    return texts


def _answers(
    model: Any, words: Words, tokens: Sequence[str], scenes: Sequence[Scene], pixels: Tensor, seed: int
) -> list[tuple[str, bool]]:
    """By what is asked about: whether the greedy answers are right, to two random questions per scene."""
    rng = random.Random(f"questions {seed}")
    asked = [(row, one) for row, scene in enumerate(scenes) for one in questions(scene, rng)[:2]]
    asked.sort(key=lambda item: words.length(item[1].text))
    right: list[tuple[str, bool]] = []
    # Questions of one length at a time: the decoder would see padding of shorter ones.
    for _, group in groupby(asked, key=lambda item: words.length(item[1].text)):
        rows, some = zip(*group, strict=True)
        ids, mask = words.encode((one.text for one in some), first="[ENC]")
        written = model.generate(
            input_ids=ids,
            attention_mask=mask,
            pixel_values=pixels[list(rows)].to(words.device),
            max_length=10,
            num_beams=1,
            do_sample=False,
        )
        right += [(one.about, _text(row, tokens) == one.answer) for row, one in zip(written, some, strict=True)]
    return right


def _text(ids: Tensor, tokens: Sequence[str]) -> str:
    found = [tokens[number] for number in ids.tolist()]
    return " ".join(token for token in found if not token.startswith("[")).replace(" ##", "")


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
