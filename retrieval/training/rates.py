"""What changes with the step: the learning rate and the weight of soft targets."""

from __future__ import annotations

import math


def rate_share(step: int, steps: int, warmup: int) -> float:
    """The share of the highest learning rate: a linear rise over `warmup` steps, then half a cosine towards zero.

    Loshchilov and Hutter 2017 (SGDR), equation 5, without restarts.
    """
    if step < warmup:
        return (step + 1) / warmup
    return (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup))) / 2


def alpha_at(alpha: float, step: int, epoch_steps: int) -> float:
    """The weight of soft targets: it rises from 0 over the first epoch (ALBEF, section 3.2 and the authors' code)."""
    return alpha * min(1.0, step / epoch_steps)
