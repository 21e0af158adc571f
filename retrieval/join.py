"""Ranked candidates joined with their metadata become hits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from retrieval.rerank import Judged
from retrieval.types import Hit
from storage.items import Item


def join(judged: Sequence[Judged], known: Mapping[int, Item]) -> list[Hit]:
    """Join ranked candidates with their metadata; an item deleted since is left out."""
    living = [one for one in judged if one.candidate.item_id in known]
    return [_hit(one, known[one.candidate.item_id], rank) for rank, one in enumerate(living, start=1)]


def _hit(one: Judged, item: Item, rank: int) -> Hit:
    return Hit(
        id=item.id,
        uri=item.uri,
        rank=rank,
        itc_similarity=one.candidate.similarity,
        itc_rank=one.candidate.rank,
        itm_logit=one.logit,
        match_probability=one.match_probability,
        text=item.text,
        stale=one.stale,
    )
