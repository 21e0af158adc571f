"""SIGKILL at random moments: nothing acknowledged is lost, nothing half-written is shown, every file comes once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random
from time import monotonic, sleep

import numpy as np
import pytest

from api import Sightline
from indexer.decode import content_hash
from indexer.uri import from_uri, to_uri
from retrieval.first_stage import vectors_of
from storage import items
from storage.tables import ItemTable

pytestmark = pytest.mark.stress

Paint = Callable[..., Path]
KILLS = 20
FILES = 3000
COMMAND = "from api.cli import main; main()"


def start(folder: Path) -> subprocess.Popen[bytes]:
    arguments = [sys.executable, "-c", COMMAND, "index", str(folder), "--model", "hashing", "--gallery", "photos"]
    return subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def disturb(folder: Path, random: Random, paint: Paint, step: int) -> None:
    """Rename, delete, overwrite and add some files between two runs."""
    for path in random.sample(sorted(folder.iterdir()), 15):
        match random.randrange(3):
            case 0:
                path.rename(path.with_name(f"moved-{step}-{path.name}"))
            case 1:
                path.unlink()
            case _:
                paint(path, (random.randrange(256), random.randrange(256), random.randrange(256)))
    paint(folder / f"new-{step}.png", (step, step, 255 - step))


def revision(sightline: Sightline) -> int:
    found = [one.revision for one in sightline.galleries() if one.name == "photos"]
    return found[0] if found else 0


def kill_after_publishing(process: subprocess.Popen[bytes], sightline: Sightline, random: Random) -> bool:
    """Wait until the run has begun to publish, and a random moment more; False when it ended by itself before."""
    before, deadline = revision(sightline), monotonic() + 60
    while process.poll() is None and monotonic() < deadline and revision(sightline) == before:
        sleep(0.005)
    sleep(random.uniform(0, 0.4))
    was_running = process.poll() is None
    process.kill()
    process.communicate()
    return was_running


def check_what_is_visible(sightline: Sightline) -> None:
    """Every item that a search could show has a finite vector of unit length, read from its block."""
    gallery = sightline.gallery("photos")
    with sightline.wiring.database.reading() as session:
        snapshot = sightline.wiring.snapshots.newest(session, gallery, "image")
        ids = np.array([one.id for one in items.embedded(session, gallery.id, "image")], dtype=np.int64)
    assert snapshot.items == len(ids)
    if len(ids):
        lengths = np.linalg.norm(vectors_of(snapshot, ids), axis=2)
        np.testing.assert_allclose(lengths, 1, atol=1e-5)


@pytest.mark.timeout(1800)
def test_killed_at_random_moments_an_index_ends_with_every_file_exactly_once(
    sightline: Sightline, tmp_path: Path, paint: Paint
) -> None:
    random, folder = Random(11), tmp_path / "photos"
    for i in range(FILES):
        paint(folder / f"{i:04d}.png", (i % 256, i // 256, 77))
    kills = steps = 0
    while kills < KILLS:
        steps += 1
        process = start(folder)
        kills += kill_after_publishing(process, sightline, random)
        check_what_is_visible(sightline)
        # This keeps work for the next run, however far this one came.
        disturb(folder, random, paint, steps)
        # A date of its own for each step: a file is recognised by size and date, and all of these are of one size.
        for path in random.sample(sorted(folder.iterdir()), 100):
            os.utime(path, ns=(steps, steps))
    process = start(folder)
    said = process.communicate()[1]
    assert process.returncode == 0, said.decode()

    gallery = sightline.gallery("photos")
    with sightline.wiring.database.reading() as session:
        living = list(items.living(session, gallery.id, "image", to_uri(folder)))
        pending = session.query(ItemTable).filter(ItemTable.state == "pending").count()
    assert pending == 0
    assert Counter(one.uri for one in living) == Counter(to_uri(path) for path in folder.iterdir())
    assert {one.state for one in living} == {"embedded"}
    assert all(one.content_hash == content_hash(from_uri(one.uri)) for one in living)
    check_what_is_visible(sightline)
    check_vectors(sightline, living)
    named = len(list((sightline.settings.home / "vectors").rglob("*.tmp")))
    assert named == 0


def check_vectors(sightline: Sightline, living: list[items.Item]) -> None:
    """Every item's stored vector is its own picture's."""
    gallery = sightline.gallery("photos")
    encoder = sightline.wiring.encoder_of(gallery)
    with sightline.wiring.database.reading() as session:
        snapshot = sightline.wiring.snapshots.newest(session, gallery, "image")
    stored = vectors_of(snapshot, np.array([one.id for one in living]))
    pixels = np.stack([encoder.prepare(sightline.wiring.originals.open(one)) for one in living])
    np.testing.assert_array_equal(stored, encoder.encode_images(pixels))


def test_a_terminated_run_says_how_to_go_on(tmp_path: Path, home: Path, sightline: Sightline, paint: Paint) -> None:
    folder = tmp_path / "photos"
    for i in range(FILES):
        paint(folder / f"{i:04d}.png", (i % 256, i // 256, 77))
    process = start(folder)
    deadline = monotonic() + 60
    while revision(sightline) == 0 and monotonic() < deadline:
        sleep(0.01)
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=60)[1].decode()
    assert process.returncode == 130, said
    assert "the same command goes on" in said
    assert "Traceback" not in said
    check_what_is_visible(sightline)
    assert sightline.index(folder, gallery="photos").report.found == FILES
