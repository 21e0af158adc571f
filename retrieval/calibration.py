"""Calibration: from a matcher's margin to the probability that a hit is right, as a fit of one gallery has it.

The margin is the difference of the two ITM logits, match minus no match. Its logistic function is the softmax that the
authors read as the match probability; a fit replaces that curve by one that agrees with what was found right.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]
Method = Literal["softmax", "temperature", "isotonic"]


@dataclass(frozen=True)
class Temperature:
    """The logistic curve, stretched and shifted: the logistic function of (margin - shift) / temperature.

    Temperature scaling (Guo et al. 2017, arXiv 1706.04599, section 4.2) with the offset of Platt scaling: the share of
    right hits on a page is not the share of right pairs that the matcher was trained on.
    """

    temperature: float
    shift: float

    def probabilities(self, margins: Float64) -> Float64:
        """Map margins `float64 [n]` to probabilities `float64 [n]`."""
        return logistic((margins - self.shift) / self.temperature)


@dataclass(frozen=True)
class Isotonic:
    """A rising curve through given points, flat outside and straight between them (Zadrozny and Elkan 2002)."""

    margins: tuple[float, ...]
    values: tuple[float, ...]

    def probabilities(self, margins: Float64) -> Float64:
        """Map margins `float64 [n]` to probabilities `float64 [n]`."""
        return np.interp(margins, self.margins, self.values)


Curve = Temperature | Isotonic

SOFTMAX = Temperature(temperature=1.0, shift=0.0)
"""The curve that changes nothing."""


def logistic(margins: Float64) -> Float64:
    """The logistic function, by tanh, which cannot overflow: the softmax of two logits by their difference."""
    return 0.5 * (1 + np.tanh(np.asarray(margins, dtype=np.float64) / 2))


def probability(curve: Curve | None, margin: float) -> float:
    """Give one margin's probability: by the curve of a fit, else by the softmax as the authors read it."""
    if curve is None:
        return 0.5 * (1 + math.tanh(margin / 2))
    return float(curve.probabilities(np.array([margin]))[0])


def method_of(curve: Curve) -> Method:
    """Name a curve's kind."""
    if curve == SOFTMAX:
        return "softmax"
    return "temperature" if isinstance(curve, Temperature) else "isotonic"


def to_parameters(curve: Curve) -> dict[str, Any]:
    """Write a curve as JSON can hold it."""
    return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(curve).items()}


def from_parameters(method: str, parameters: dict[str, float | Sequence[float]]) -> Curve:
    """Read a curve back."""
    match method:
        case "temperature" | "softmax":
            return Temperature(**parameters)  # type: ignore[arg-type]
        case "isotonic":
            return Isotonic(**{name: tuple(values) for name, values in parameters.items()})  # type: ignore[arg-type]
        case other:
            raise ValueError(f"no curve is called {other}")
