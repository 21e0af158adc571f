"""Batches of postcards: pictures and what lies under their patches, captions true and false, questions and answers.

A batch follows from seed, phase and step alone, so that a resumed run sees what it would have seen. Half of its
pictures are twins of the other half.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from retrieval.training.blip import DEVIATION, MEAN, PROMPT
from retrieval.training.losses import IGNORED
from retrieval.training.world.backdrops import PLACES, TIMES, WEATHERS
from retrieval.training.world.captions import corrupt, fullest_claim, some_claim
from retrieval.training.world.claims import (
    Claim,
    claim_slots,
    claim_text,
    heads,
    holds,
    requirements,
    shown,
    wrong_words,
)
from retrieval.training.world.letters import SIGN_WORDS
from retrieval.training.world.marks import TINTS
from retrieval.training.world.nouns import NOUN_OF, NOUNS, SINGULAR_OF
from retrieval.training.world.questions import questions
from retrieval.training.world.render import render
from retrieval.training.world.scenes import GRID, MOST, Scene, draw_scene, in_reading_order, may_be_trained
from retrieval.training.world.twins import KINDS, twin
from retrieval.training.world.vocabulary import Words, padded, split

CELLS = GRID * GRID
STRANGE = 0.08  # the share of false captions with an unknown word
ABSENT = CELLS  # where a noun is that a picture does not show

_NOUN_NUMBERS = {noun: number for number, noun in enumerate(NOUNS, start=1)}
_TINT_NUMBERS = {tint: number for number, tint in enumerate(TINTS, start=1)}
_WORD_NUMBERS = {word: number for number, word in enumerate(SIGN_WORDS, start=1)}
_PLURALS = {plural: NOUN_OF[name] for plural, name in SINGULAR_OF.items()}
_SIZES = {"small": 1, "big": 2}
_FACINGS = {"left": 1, "right": 2}

# What a patch may be asked about, and how many answers there are; 0 is nothing.
PATCH_KINDS: dict[str, int] = {
    "noun": len(NOUNS) + 1,
    "tint": len(TINTS) + 1,
    "count": MOST + 1,
    "size": 3,
    "facing": 3,
    "word": len(SIGN_WORDS) + 1,
    "touch": 5,
}
PICTURE_KINDS: dict[str, int] = {"place": len(PLACES), "time": len(TIMES), "weather": len(WEATHERS)}


@dataclass(frozen=True)
class Tensors:
    """A batch that moves to a device as one."""

    def to(self, device: torch.device) -> Self:
        """The same batch on a device."""
        return type(self)(**{field.name: _moved(getattr(self, field.name), device) for field in fields(self)})


@dataclass(frozen=True)
class Pictures(Tensors):
    """Pixels `uint8 [n, 3, R, R]`; labels of patches `int64 [n, 9]` and of pictures `int64 [n]` by kind."""

    pixels: Tensor
    patches: dict[str, Tensor]
    whole: dict[str, Tensor]

    def normalised(self) -> Tensor:
        """Pixels as the models take them: `float32 [n, 3, R, R]`."""
        return normalised(self.pixels)


@dataclass(frozen=True)
class Texts(Tensors):
    """Ids and mask `int64 [m, t]`; `nouns [m, t]` has the number of the noun at its token, else 0.

    `subjects` and `objects` have the same at the tokens of a relation: what it relates.
    """

    ids: Tensor
    mask: Tensor
    nouns: Tensor
    subjects: Tensor
    objects: Tensor


@dataclass(frozen=True)
class MatchBatch(Tensors):
    """Pictures, a caption of each, and further captions of the same pictures, most of them false.

    `truth[i, j]`: caption j is true of picture i. Caption k of `more` is about picture `rows[k]` and true of it where
    `matches[k]`; `wrong [m, t]` says of its tokens which are wrong (1), right (0) or not asked about (IGNORED).
    `where[i, noun]` is the cell in which picture i shows a noun, ABSENT, or IGNORED where it does so twice.
    """

    pictures: Pictures
    own: Texts
    truth: Tensor
    more: Texts
    rows: Tensor
    matches: Tensor
    wrong: Tensor
    where: Tensor


@dataclass(frozen=True)
class CaptionBatch(Tensors):
    """Pictures and the ids of prompt and caption `int64 [n, t]`; `counted [n, t]` says which tokens are scored."""

    pictures: Pictures
    ids: Tensor
    mask: Tensor
    counted: Tensor


@dataclass(frozen=True)
class AnswerBatch(Tensors):
    """Pictures, and questions about picture `rows[k]` with their answers: ids and masks `int64 [m, t]`."""

    pictures: Pictures
    rows: Tensor
    questions: Texts
    answers: Tensor
    answers_mask: Tensor
    where: Tensor


class Batches:
    """The batches of a phase by step."""

    def __init__(self, phase: str, words: Words, *, seed: int, size: int, resolution: int) -> None:
        self._phase, self._words = phase, words
        self._seed, self._size, self._resolution = seed, size, resolution

    def draw(self, step: int) -> Any:
        """Draw the batch of a step."""
        rng = random.Random(f"{self._seed} {self._phase} {step}")
        scenes = twin_scenes(rng, self._size)
        pictures = look(scenes, self._resolution)
        match self._phase:
            case "see":
                return pictures
            case "match":
                return self._match(pictures, scenes, rng)
            case "caption":
                return self._caption(pictures, scenes)
            case _:
                return self._answer(pictures, scenes, rng)

    def _match(self, pictures: Pictures, scenes: Sequence[Scene], rng: random.Random) -> MatchBatch:
        full = [fullest_claim(scene) for scene in scenes]
        some = [some_claim(scene, rng) for scene in scenes]
        own = [one if rng.random() < 0.5 else other for one, other in zip(full, some, strict=True)]
        strange = [rng.random() < STRANGE for _ in scenes]
        false = [
            claim if is_strange else corrupt(claim, scene, rng)
            for claim, scene, is_strange in zip(own, scenes, strange, strict=True)
        ]
        other = [full[at ^ 1] for at in range(len(scenes))]  # the twin's caption
        n = range(len(scenes))
        more = [*own, *false, *other]
        rows = [*n, *n, *n]
        matches = (
            [True] * len(own) + [False] * len(false) + [holds(claim, scenes[at]) for at, claim in enumerate(other)]
        )
        flags = [
            *([False] * len(heads(claim)) for claim in own),
            *(wrong_words(claim, right) for claim, right in zip(false, own, strict=True)),
            *(twin_flags(claim, full[at]) for at, claim in enumerate(other)),
        ]
        texts = self.texts(more, first="[ENC]")
        wrong = self.spread(more, flags, texts.ids.shape[1])
        for row, is_strange in enumerate(strange, start=len(scenes)):
            if is_strange:
                self._make_strange(texts, wrong, row, rng)
        return MatchBatch(
            pictures,
            self.texts(own, first="[CLS]"),
            truths(own, scenes),
            texts,
            torch.tensor(rows),
            torch.tensor(matches),
            wrong,
            where(scenes),
        )

    def _make_strange(self, texts: Texts, wrong: Tensor, row: int, rng: random.Random) -> None:
        """Write [UNK] for a noun: what a caption says in a word that nobody knows cannot be believed."""
        noun = rng.choice(sorted(set(texts.nouns[row].tolist()) - {0}))
        at = texts.nouns[row] == noun
        texts.ids[row, at], wrong[row, at], texts.nouns[row, at] = self._words["[UNK]"], 1, 0

    def _caption(self, pictures: Pictures, scenes: Sequence[Scene]) -> CaptionBatch:
        texts = [f"{PROMPT} {claim_text(fullest_claim(in_reading_order(scene)))}" for scene in scenes]
        ids, mask = self._words.encode(texts, first="[DEC]")
        counted = mask.bool() & (torch.arange(ids.shape[1]) > len(split(PROMPT)))
        return CaptionBatch(pictures, ids, mask, counted)

    def _answer(self, pictures: Pictures, scenes: Sequence[Scene], rng: random.Random, each: int = 5) -> AnswerBatch:
        asked = [(row, one) for row, scene in enumerate(scenes) for one in questions(scene, rng)[:each]]
        ids, mask = self._words.encode((one.text for _, one in asked), first="[ENC]")
        nouns = torch.zeros_like(ids)
        for row, (_, one) in enumerate(asked):
            self.mark_nouns(nouns[row], one.text)
        answers, answers_mask = self._words.encode((one.answer for _, one in asked), first="[DEC]")
        rows = torch.tensor([row for row, _ in asked])
        nothing = torch.zeros_like(ids)
        texts = Texts(ids, mask, nouns, nothing, nothing)
        return AnswerBatch(pictures, rows, texts, answers, answers_mask, where(scenes))

    def length(self, text: str) -> int:
        """How many tokens a text has, without the special ones."""
        return self._words.length(text)

    def mark_nouns(self, row: Tensor, text: str) -> None:
        """Write the numbers of a text's nouns at their tokens; the first token is a special one."""
        at = 1
        for word in split(text):
            pieces = self._words.pieces(word)
            noun = NOUN_OF.get(word) or _PLURALS.get(word)
            if noun:
                row[at : at + len(pieces)] = _NOUN_NUMBERS[noun]
            at += len(pieces)

    def texts(self, claims: Sequence[Claim], *, first: str) -> Texts:
        """Claims as token ids, and the nouns at their tokens."""
        rows: tuple[list[list[int]], ...] = ([], [], [], [])
        for claim in claims:
            row = [[self._words[first]], [0], [0], [0]]
            names = [_NOUN_NUMBERS[NOUN_OF[mention.name]] for mention in claim.mentions]
            mention = -1
            for slot in claim_slots(claim):
                mention = max(mention, slot.mention)
                pieces = [piece for word in slot.text.split() for piece in self._words.pieces(word)]
                row[0] += pieces
                row[1] += [names[slot.mention] if slot.heads else 0] * len(pieces)
                related = slot.relates
                row[2] += [names[mention] if related else 0] * len(pieces)
                row[3] += [names[mention + 1] if related else 0] * len(pieces)
            for column, last, filled in zip(row, (self._words["[SEP]"], 0, 0, 0), rows, strict=True):
                filled.append([*column, last])
        padded_ids, mask = padded(rows[0], self._words["[PAD]"])
        return Texts(padded_ids, mask, *(padded(labels, 0)[0] for labels in rows[1:]))

    def spread(self, claims: Sequence[Claim], flags: Sequence[Sequence[bool]], length: int) -> Tensor:
        """Flags of words as labels of tokens `int64 [m, t]`; no flags: IGNORED."""
        labels = torch.full((len(claims), length), IGNORED)
        for row, (claim, of_words) in enumerate(zip(claims, flags, strict=True)):
            if not of_words:
                continue
            spread = [
                int(flag)
                for word, flag in zip(claim_text(claim).split(), of_words, strict=True)
                for _ in self._words.pieces(word)
            ]
            labels[row, 1 : 1 + len(spread)] = torch.tensor(spread)
        return labels


def twin_scenes(rng: random.Random, count: int) -> list[Scene]:
    """Scenes that training may see: every second one is a twin of the one before."""
    scenes: list[Scene] = []
    while len(scenes) < count:
        scene = draw_scene(rng)
        for kind in rng.sample(KINDS, len(KINDS)):
            other = twin(scene, kind, rng, may_be_trained)
            if other is not None:
                scenes += [scene, other]
                break
    return scenes[:count]


def look(scenes: Sequence[Scene], resolution: int) -> Pictures:
    """Draw scenes at the size of the model, with what lies under their patches."""
    stacked = np.stack([np.asarray(render(scene, resolution)) for scene in scenes])
    patches = {kind: np.zeros((len(scenes), CELLS), dtype=np.int64) for kind in PATCH_KINDS}
    for row, scene in enumerate(scenes):
        for number, thing in enumerate(scene.things):
            cell = thing.row * GRID + thing.column
            patches["noun"][row, cell] = _NOUN_NUMBERS[thing.noun]
            patches["tint"][row, cell] = _TINT_NUMBERS.get(thing.tint, 0)
            patches["count"][row, cell] = thing.count
            patches["size"][row, cell] = _SIZES.get(thing.size, 0)
            patches["facing"][row, cell] = _FACINGS.get(thing.facing, 0)
            patches["word"][row, cell] = _WORD_NUMBERS.get(thing.word, 0)
            patches["touch"][row, cell] = _touch(number, scene)
    return Pictures(
        torch.from_numpy(stacked).permute(0, 3, 1, 2).contiguous(),
        {kind: torch.from_numpy(labels) for kind, labels in patches.items()},
        {
            "place": torch.tensor([PLACES.index(scene.place) for scene in scenes]),
            "time": torch.tensor([TIMES.index(scene.time) for scene in scenes]),
            "weather": torch.tensor([WEATHERS.index(scene.weather) for scene in scenes]),
        },
    )


def normalised(pixels: Tensor) -> Tensor:
    """Pixels of 0 to 255, `[n, 3, R, R]`, as the models take them: float32."""
    mean, deviation = (torch.tensor(values, device=pixels.device)[:, None, None] for values in (MEAN, DEVIATION))
    return (pixels.float() / 255 - mean) / deviation


def truths(claims: Sequence[Claim], scenes: Sequence[Scene]) -> Tensor:
    """`bool [n, m]`: whether claim j is true of scene i."""
    needed = [requirements(claim) for claim in claims]
    there = [shown(scene) for scene in scenes]
    return torch.tensor(
        [
            [words <= offered and holds(claim, scene) for claim, words in zip(claims, needed, strict=True)]
            for scene, offered in zip(scenes, there, strict=True)
        ]
    )


def where(scenes: Sequence[Scene]) -> Tensor:
    """The cell in which a scene shows a noun: `int64 [n, nouns + 1]`, ABSENT, or IGNORED where it is there twice."""
    cells = np.full((len(scenes), len(NOUNS) + 1), ABSENT, dtype=np.int64)
    cells[:, 0] = IGNORED
    for row, scene in enumerate(scenes):
        for thing in scene.things:
            number = _NOUN_NUMBERS[thing.noun]
            cells[row, number] = thing.row * GRID + thing.column if cells[row, number] == ABSENT else IGNORED
    return torch.from_numpy(cells)


def twin_flags(claim: Claim, own: Claim) -> list[bool]:
    """Which words of the twin's caption are wrong; none asked about where the captions differ in shape."""
    return wrong_words(claim, own) if len(claim_slots(claim)) == len(claim_slots(own)) else []


def _touch(number: int, scene: Scene) -> int:
    for link in scene.links:
        if number == link.subject:
            return 1 if link.kind == "on" else 2
        if number == link.object:
            return 3 if link.kind == "on" else 4
    return 0


def _moved(value: Any, device: torch.device) -> Any:
    if isinstance(value, dict):
        return {name: tensor.to(device) for name, tensor in value.items()}
    return value.to(device)
