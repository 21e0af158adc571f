"""The losses: contrastive (ITC), matching (ITM), wrong words, and the next word of a text."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

IGNORED = -100


def contrastive_loss(images: Tensor, texts: Tensor, truth: Tensor, temperature: Tensor) -> Tensor:
    """ITC over normalised embeddings, pictures `[n, d]` and texts `[m, d]`, m >= n; row i of both belongs together.

    Texts after the first n are nobody's: pictures have to tell them apart from their own. `truth[i, j]` says that
    text j is true of picture i. Such pairs off the diagonal are no negatives: they leave the softmax of their row and
    of their column.
    """
    n = len(images)
    similarities = images @ texts.T / temperature
    own = torch.eye(n, len(texts), dtype=torch.bool, device=images.device)
    logits = similarities.masked_fill(truth & ~own, -torch.inf)
    target = torch.arange(n, device=images.device)
    return (functional.cross_entropy(logits, target) + functional.cross_entropy(logits[:, :n].T, target)) / 2


def pair_contrast(logits: Tensor, rows: Tensor, truth: Tensor) -> Tensor:
    """ITC over m pairs: logits `[n, m]` of n pictures and m texts, text k with picture `rows[k]`.

    Of every pair the picture has to choose its text among all, and the text its picture; what else is true
    (`truth[n, m]`) leaves the choice. With one text for each picture and nothing else true this is the paper's loss.
    """
    every = torch.arange(logits.shape[1], device=logits.device)
    own_text = functional.one_hot(every).bool()
    own_picture = functional.one_hot(rows, len(logits)).bool()
    to_text = logits[rows].masked_fill(truth[rows] & ~own_text, -torch.inf)
    to_picture = logits.T.masked_fill(truth.T & ~own_picture, -torch.inf)
    return (functional.cross_entropy(to_text, every) + functional.cross_entropy(to_picture, rows)) / 2


def hard_negatives(similarities: Tensor, truth: Tensor, temperature: float, generator: torch.Generator) -> Tensor:
    """For every row the column of a false pair, drawn the more often the more similar: `int64 [n]`."""
    weights = (similarities.float() / temperature).masked_fill(truth, -torch.inf).softmax(dim=1)
    return torch.multinomial(weights.nan_to_num(1.0).cpu(), 1, generator=generator)[:, 0].to(similarities.device)


def matching_loss(logits: Tensor, matches: Tensor) -> Tensor:
    """ITM over pairs: logits `[m, 2]`, class 1 is match."""
    return functional.cross_entropy(logits.float(), matches)


def word_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Which tokens of a text are wrong: logits `[m, t, 2]`, labels `[m, t]` of 0, 1 and IGNORED."""
    return functional.cross_entropy(logits.float().flatten(0, 1), labels.flatten(), ignore_index=IGNORED)


def next_word_loss(logits: Tensor, tokens: Tensor, counted: Tensor) -> Tensor:
    """Language modelling: logits `[n, t, words]` at a token predict the next; `counted[n, t]` says which are scored."""
    targets = tokens[:, 1:].masked_fill(~counted[:, 1:], IGNORED)
    return functional.cross_entropy(logits[:, :-1].float().flatten(0, 1), targets.flatten(), ignore_index=IGNORED)
