"""Heads that are thrown away: at the words of a text they ask where what it names is seen, and what it is like."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from retrieval.training.losses import IGNORED


def hint_heads(width: int, hints: Mapping[str, int]) -> nn.ModuleDict:
    """A head for every kind of hint, on states of a width."""
    return nn.ModuleDict({kind: nn.Linear(width, answers) for kind, answers in hints.items()})


class Hints:
    """Gathers the tokens of a batch that have hints; the loss of a kind is the mean over its tokens."""

    def __init__(self, heads: nn.ModuleDict, labels: Mapping[str, Tensor]) -> None:
        self._heads, self._labels = heads, labels
        self._logits: dict[str, list[Tensor]] = {kind: [] for kind in heads}
        self._wanted: dict[str, list[Tensor]] = {kind: [] for kind in heads}

    def add(self, states: Tensor, rows: Tensor) -> None:
        """States `[k, s, width]` of the texts `rows [k]`; those beyond the labels have none."""
        for kind, labels in self._labels.items():
            labelled = (rows < len(labels)).nonzero()[:, 0]
            labels = labels.to(rows.device)[rows[labelled], : states.shape[1]]
            there = labels != IGNORED
            self._logits[kind].append(self._heads[kind](states[labelled, : labels.shape[1]][there].float()))
            self._wanted[kind].append(labels[there])

    def losses(self) -> dict[str, Tensor]:
        """By kind; no loss of a kind without tokens."""
        found = {}
        for kind in self._labels:
            logits, wanted = torch.cat(self._logits[kind]), torch.cat(self._wanted[kind])
            found[kind] = functional.cross_entropy(logits, wanted, reduction="sum") / max(len(wanted), 1)
        return found
