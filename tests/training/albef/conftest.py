"""A small ALBEF on the small tower."""

from __future__ import annotations

from pathlib import Path

import pytest

from retrieval.training.albef.models import Albef, AlbefSize, fresh_albef
from retrieval.training.tower import Tower

SIZE = AlbefSize(width=32, heads=2, text_layers=1, fusion_layers=2, inner=64, embedding=16, text_positions=40)


@pytest.fixture
def albef(tower_folder: Path, tokens: list[str]) -> Albef:
    return fresh_albef(Tower.open(tower_folder), SIZE, tokens, seed=1)


@pytest.fixture
def size() -> AlbefSize:
    return SIZE
