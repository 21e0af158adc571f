"""Sixty postcards, and a library that a flow has indexed them in with its `MODEL`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from api import Sightline
from api.settings import Settings
from retrieval.training.world.galleries import gallery_scenes, write_gallery
from retrieval.training.world.scenes import Scene

SCENES = 60
SEED = 5


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("drawn") / "postcards"
    write_gallery(made, scenes=SCENES, seed=SEED)
    return made


@pytest.fixture(scope="session")
def scenes() -> list[Scene]:
    return gallery_scenes(SCENES, seed=SEED)


@pytest.fixture(scope="module")
def library(
    folder: Path, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Sightline]:
    opened = Sightline(settings=Settings(home=tmp_path_factory.mktemp("home"), offline=True))
    opened.index(folder, model=request.module.MODEL)
    yield opened
    opened.close()
