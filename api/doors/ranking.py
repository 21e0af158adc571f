"""What is asked of a page: how many hits, from how many candidates, and who reads them."""

from __future__ import annotations

from dataclasses import dataclass

from api.errors import UsageError

MOST_HITS = 1000
MOST_CANDIDATES = 2000
MOST_POOLED = 10_000


@dataclass(frozen=True)
class Asked:
    """What a stranger searches by: a text, a picture or both.

    `picture` is a picture file as it was sent, the digest of one that was sent before, or the id of an item.
    """

    text: str | None = None
    picture: bytes | str | int | None = None

    @classmethod
    def of(cls, text: str | None, *, like: int | None, sent: str | None) -> Asked:
        """Take what an address says; it names one picture at most."""
        if like is not None and sent is not None:
            raise UsageError("picture", "like and picture both name a picture to search by; give one of them")
        return cls(text, sent if like is None else like)


@dataclass(frozen=True)
class Ranking:
    """`k` hits, from `candidates` that a matcher reads unless `rerank` is false.

    None leaves `candidates` to what suits the matcher and the device, and `matcher` to the gallery's model. `pooled`
    is how many items are handed on by a first pass over one vector of each; None is no such pass.

    Hits need a match probability of `min_match`, or the one from which on, by the gallery's calibration, the share
    `target_precision` of all hits is right; None shows all.
    """

    k: int = 10
    candidates: int | None = None
    rerank: bool = True
    matcher: str | None = None
    pooled: int | None = None
    min_match: float | None = None
    target_precision: float | None = None

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
        self._check_threshold()

    @property
    def threshold_name(self) -> str | None:
        """The parameter by which hits are held back, if one is given."""
        given = {"min_match": self.min_match, "target_precision": self.target_precision}
        return next((name for name, value in given.items() if value is not None), None)

    def _check_threshold(self) -> None:
        for name, value in (("min_match", self.min_match), ("target_precision", self.target_precision)):
            if value is not None and not 0 <= value <= 1:
                raise UsageError(name, f"{name} is {value:g}; it must lie between 0 and 1")
        if self.min_match is not None and self.target_precision is not None:
            raise UsageError(
                "target_precision", "min_match and target_precision both set a threshold; give one of them"
            )
        if self.threshold_name is not None and not self.rerank:
            sentence = (
                f"{self.threshold_name} needs match probabilities, which reranking gives; leave out one of the two"
            )
            raise UsageError(self.threshold_name, sentence)

    def depth(self, usual: int) -> int:
        """Choose how many candidates are read: what was asked for, else what is usual, and no more than are there."""
        return self.candidates or min(usual, self.pooled or usual)


def _check_range(name: str, value: int | None, most: int) -> None:
    if value is not None and not 1 <= value <= most:
        raise UsageError(name, f"{name} is {value}; it must lie between 1 and {most}")
