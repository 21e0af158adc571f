"""What ALBEF is asked about postcards: more than the other models, for its text is read before it sees the picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from retrieval.training.losses import IGNORED
from retrieval.training.postcards import CaptionedPostcards, labels_in
from retrieval.training.pretraining.batches import CELLS, where
from retrieval.training.pretraining.phases import LIKE
from retrieval.training.world.captions import main_direction
from retrieval.training.world.claims import RELATIONS, Claim, claim_slots
from retrieval.training.world.scenes import GRID, Scene

DIRECTIONS = tuple(RELATIONS)


@dataclass(frozen=True)
class DescribedPostcards(CaptionedPostcards):
    """Asks every word that describes a thing, and not its noun alone, where that is seen and what it is like there.

    The words of a relation are asked how the two things lie to each other. A word that knows what is seen finds out by
    itself whether it is wrong; when nouns alone were asked, tints were seen and not compared.
    """

    @property
    def hints(self) -> Mapping[str, int]:
        """Those of captioned postcards, and the direction of a relation."""
        return {**super().hints, "direction": len(DIRECTIONS)}

    def labels(
        self,
        claims: Sequence[Claim],
        scenes: Sequence[Scene],
        flags: Sequence[Sequence[bool]],
        patches: Mapping[str, Tensor],
    ) -> dict[str, Tensor]:
        """The answers to the hints, at every word of a mention."""
        labels = super().labels(claims, scenes, flags, patches)
        seen = where(scenes).gather(1, self._described(claims))
        return {
            **labels,
            "where": seen,
            **{kind: labels_in(patches[kind], seen) for kind in LIKE},
            "direction": _directions(scenes, labels["subject"], labels["object"]),
        }

    def _described(self, claims: Sequence[Claim]) -> Tensor:
        """The number of the noun that a token describes, or is: `int64 [m, t]`, else 0."""
        numbers = self.reader.texts(claims, first="[CLS]").nouns
        for row, claim in enumerate(claims):
            spans: dict[int, tuple[int, int]] = {}
            nouns: dict[int, int] = {}
            at = 1
            for slot in claim_slots(claim):
                end = at + self.reader.length(slot.text)
                if slot.mention >= 0:
                    spans[slot.mention] = spans.get(slot.mention, (at, at))[0], end
                if slot.heads:
                    nouns[slot.mention] = int(numbers[row, at])
                at = end
            for mention, (start, end) in spans.items():
                numbers[row, start:end] = nouns[mention]
        return numbers


def _directions(scenes: Sequence[Scene], subjects: Tensor, objects: Tensor) -> Tensor:
    """How the things in two cells `[m, t]` lie to each other in scene k, by number; IGNORED where there are no two."""
    there = (subjects >= 0) & (subjects < CELLS) & (objects >= 0) & (objects < CELLS) & (subjects != objects)
    labels = torch.full_like(subjects, IGNORED)
    for row, at in there.nonzero().tolist():
        things = {thing.row * GRID + thing.column: number for number, thing in enumerate(scenes[row].things)}
        one, other = things[int(subjects[row, at])], things[int(objects[row, at])]
        labels[row, at] = DIRECTIONS.index(main_direction(scenes[row], one, other))
    return labels
