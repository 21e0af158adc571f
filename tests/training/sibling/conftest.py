"""A small sibling on the small tower."""

from __future__ import annotations

from pathlib import Path

import pytest

from retrieval.training.sibling.models import Sibling, SiblingSize, fresh_sibling
from retrieval.training.tower import Tower

SIZE = SiblingSize(
    queries=3,
    width=32,
    heads=2,
    layers=2,
    inner=64,
    embedding=16,
    text_positions=40,
    language_width=32,
    language_heads=2,
    language_layers=2,
    language_inner=64,
    language_positions=40,
    longest_caption=8,
)


@pytest.fixture
def sibling(tower_folder: Path, tokens: list[str]) -> Sibling:
    return fresh_sibling(Tower.open(tower_folder), SIZE, tokens, seed=1)


@pytest.fixture
def size() -> SiblingSize:
    return SIZE
