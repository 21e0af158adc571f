"""The gallery of drawn postcards that shows what search does: rendered, indexed and calibrated."""

from __future__ import annotations

from pathlib import Path

from api.doors import folders
from api.doors.calibrating import calibrate
from api.doors.pictures import make_first_thumbnails
from api.settings import Settings
from api.wiring import RENDERED_MODEL, Wiring
from indexer.build import Progress
from storage.galleries import Gallery

GALLERY = "demo"
SEED = 2026
"""That of the gallery that the model's card was measured on."""
QUERIES = (
    "three apples left of a blue car",
    "three apples right of a blue car",  # the twin of the one above
    "a sign saying dream",
    "a submarine in a library",
)
FIRST_SCENES = 200
"""What a service that opens on an empty home draws: there in seconds, and part of what `sightline demo` draws."""
FIRST_QUERIES = 100
"""Of each direction, for a first calibration."""


def folder_of(settings: Settings) -> Path:
    """Say where the postcards lie."""
    return settings.home / "demo" / "postcards"


def is_demo(gallery: Gallery) -> bool:
    """Say whether a gallery is this one: its example queries ask for what only postcards show."""
    return gallery.name == GALLERY and (gallery.model or "").startswith(RENDERED_MODEL)


def prepare(wiring: Wiring, progress: Progress) -> None:
    """Draw the first postcards, index them and calibrate what their matcher says."""
    from retrieval.training.world.galleries import write_gallery

    place = folder_of(wiring.settings)
    progress.begin("postcards", FIRST_SCENES)
    write_gallery(place, scenes=FIRST_SCENES, seed=SEED, advance=progress.advance)
    folders.index(wiring, place, gallery=GALLERY, model=RENDERED_MODEL, progress=progress, downloads="never")
    gallery = folders.by_name(wiring, GALLERY)
    make_first_thumbnails(wiring, gallery, progress)
    calibrate(wiring, gallery, matcher=None, queries=FIRST_QUERIES, progress=progress)
