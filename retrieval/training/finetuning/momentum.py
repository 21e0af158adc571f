"""Momentum encoders and the queue of what they said in earlier batches (MoCo; ALBEF, sections 3.2 and 3.3)."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

ENCODERS = ("vision_model", "text_encoder", "vision_proj", "text_proj")


class Twin(nn.Module):
    """A copy of the ITC side whose weights follow the trained ones slowly; it is never trained itself."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        for name in ENCODERS:
            self.add_module(name, copy.deepcopy(getattr(network, name)))
        self.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> Twin:
        """Stay in evaluation: what the twin says is a target, and dropout would blur it."""
        return super().train(False)

    @torch.no_grad()
    def follow(self, network: Any, momentum: float) -> None:
        """Move every weight towards the trained one: w = momentum w + (1 - momentum) trained."""
        for name in ENCODERS:
            mine, theirs = getattr(self, name).parameters(), getattr(network, name).parameters()
            for own, trained in zip(mine, theirs, strict=True):
                own.mul_(momentum).add_(trained, alpha=1 - momentum)


@dataclass(frozen=True)
class Remembered:
    """Embeddings of earlier batches, pictures and texts `[q, d]`, and the numbers of both, int64 `[q]`."""

    images: Tensor
    texts: Tensor
    pictures: Tensor
    words: Tensor


class Queue(nn.Module):
    """The embeddings of the last `size` pairs; the oldest make room. Its buffers are part of a checkpoint."""

    images: Tensor
    texts: Tensor
    pictures: Tensor
    words: Tensor
    written: Tensor

    def __init__(self, size: int, dimension: int) -> None:
        super().__init__()
        self.size = size
        for name in ("images", "texts"):
            self.register_buffer(name, torch.zeros(size, dimension))
        for name in ("pictures", "words"):
            self.register_buffer(name, torch.full((size,), -1))
        self.register_buffer("written", torch.zeros((), dtype=torch.long))

    def remembered(self) -> Remembered:
        """Give what is in the queue. Places that were never written are left out, not filled with noise."""
        filled = min(self.size, int(self.written))
        return Remembered(self.images[:filled], self.texts[:filled], self.pictures[:filled], self.words[:filled])

    @torch.no_grad()
    def push(self, images: Tensor, texts: Tensor, pictures: Tensor, words: Tensor) -> None:
        """Write the newest pairs, embeddings `[n, d]` and numbers `[n]`, over the oldest."""
        count = min(len(images), self.size)
        places = (int(self.written) + torch.arange(count, device=self.images.device)) % self.size
        for queue, new in (
            (self.images, images),
            (self.texts, texts),
            (self.pictures, pictures),
            (self.words, words),
        ):
            queue[places] = new[-count:].to(queue.dtype)
        self.written += count
