"""What is asked of a page: how many hits, from how many candidates, and who reads them."""

from __future__ import annotations

from dataclasses import dataclass

from api.errors import UsageError

MOST_HITS = 1000
MOST_CANDIDATES = 2000
MOST_POOLED = 10_000


@dataclass(frozen=True)
class Ranking:
    """`k` hits, from `candidates` that a matcher reads unless `rerank` is false.

    None leaves `candidates` to what suits the matcher and the device, and `matcher` to the gallery's model. `pooled`
    is how many items are handed on by a first pass over one vector of each; None is no such pass.
    """

    k: int = 10
    candidates: int | None = None
    rerank: bool = True
    matcher: str | None = None
    pooled: int | None = None

    def __post_init__(self) -> None:
        """Raise UsageError for what cannot be."""
        _check_range("k", self.k, MOST_HITS)
        _check_range("candidates", self.candidates, MOST_CANDIDATES)
        _check_range("pooled", self.pooled, MOST_POOLED)
        for name, wanted in (("k", self.k), ("candidates", self.candidates)):
            if self.pooled is not None and wanted is not None and self.pooled < wanted:
                sentence = f"pooled is {self.pooled}, {name} is {wanted}: the first pass must hand on at least as many"
                raise UsageError("pooled", sentence)
        if self.matcher is not None and not self.rerank:
            sentence = f"the matcher {self.matcher} has nothing to read without reranking; leave out one of the two"
            raise UsageError("matcher", sentence)

    def depth(self, usual: int) -> int:
        """Choose how many candidates are read: what was asked for, else what is usual, and no more than are there."""
        return self.candidates or min(usual, self.pooled or usual)


def _check_range(name: str, value: int | None, most: int) -> None:
    if value is not None and not 1 <= value <= most:
        raise UsageError(name, f"{name} is {value}; it must lie between 1 and {most}")
