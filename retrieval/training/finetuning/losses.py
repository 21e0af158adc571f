"""The losses of fine-tuning as formulas over tensors: ITC with soft targets, ITM, and the words of a text."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

IGNORED = -100
SMOOTHING = 0.1
"""Label smoothing of the language model (BLIP, section 3.2)."""


def contrastive_loss(to_texts: Tensor, to_images: Tensor, text_targets: Tensor, image_targets: Tensor) -> Tensor:
    """ITC: the mean of image-to-text and text-to-image cross-entropy (ALBEF, section 3.2, equation 2).

    Logits `[n, m]` are similarities divided by the temperature, from n pictures to m texts and from n texts to m
    pictures; targets `[n, m]` are distributions.
    """
    losses = (
        -(functional.log_softmax(logits.float(), dim=1) * targets).sum(dim=1).mean()
        for logits, targets in ((to_texts, text_targets), (to_images, image_targets))
    )
    return torch.stack(tuple(losses)).mean()


def shared_targets(truth: Tensor) -> Tensor:
    """Share the target of a row among all that is true of it: bool `[n, m]` to float32, rows add to 1.

    ALBEF's retrieval fine-tuning does so for the captions of one picture.
    """
    targets = truth.float()
    return targets / targets.sum(dim=1, keepdim=True)


def softened(targets: Tensor, teacher: Tensor, alpha: float) -> Tensor:
    """Mix targets `[n, m]` with what the momentum encoders say, logits `[n, m]` (ALBEF, section 3.3, equation 6)."""
    return alpha * functional.softmax(teacher.float(), dim=1) + (1 - alpha) * targets


def hard_negatives(logits: Tensor, truth: Tensor, uniforms: Tensor) -> Tensor:
    """For every row a column that is false, drawn by the softmax of the logits: int64 `[n]`, -1 where all are true.

    ALBEF, section 3.2, draws so from the in-batch similarities. `uniforms [n]` in [0, 1) are the dice, given so that
    processes that share a batch throw the same.
    """
    weights = logits.float().masked_fill(truth, -torch.inf).softmax(dim=1).nan_to_num(0.0)
    sums = weights.cumsum(dim=1)
    total = sums[:, -1:]
    drawn = torch.searchsorted(sums, uniforms[:, None].to(sums) * total, right=True)[:, 0]
    # Rounding may carry a throw past the last column with weight.
    last = (sums < total).sum(dim=1)
    return torch.where(truth.all(dim=1), -1, torch.minimum(drawn, last))


def matching_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """ITM over m pairs, logits `[m, 2]`, class 1 is match (ALBEF, section 3.2, equation 4); IGNORED pairs count 0."""
    return functional.cross_entropy(logits.float(), labels, ignore_index=IGNORED, reduction="sum") / len(labels)


def word_losses(logits: Tensor, targets: Tensor, *, smoothing: float = SMOOTHING) -> Tensor:
    """The summed loss of the words of each text: logits `[n, t, words]` predict targets `[n, t]` one place later.

    Cross-entropy with label smoothing (BLIP, section 3.2, LM). float32 `[n]`.
    """
    losses = functional.cross_entropy(
        logits[:, :-1].float().flatten(0, 1),
        targets[:, 1:].flatten(),
        ignore_index=IGNORED,
        label_smoothing=smoothing,
        reduction="none",
    )
    return losses.view(len(logits), -1).sum(dim=1)
