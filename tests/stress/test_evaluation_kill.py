"""SIGKILL while an evaluation runs: no page is lost, no query asked twice, and the measures are those of one run."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from random import Random
from time import monotonic, sleep

import numpy as np
import pytest
from sqlalchemy import func, select

from api import Sightline
from api.results import Evaluated
from api.settings import Settings
from retrieval.evaluation.pages import DIRECTIONS, from_bytes
from retrieval.training.world.galleries import write_gallery
from storage import evaluations
from storage.evaluations import Page
from storage.tables import EvaluationPageTable, EvaluationTable

pytestmark = [pytest.mark.stress, pytest.mark.timeout(1200)]

KILLS = 5
SCENES = 120
"""240 queries: almost four times as many as are kept at once."""
COMMAND = "from api.cli import main; main()"
HOW = ("evaluate", "cards", "--candidates", "20")
SECONDS = 120


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a gallery of postcards of the shipped model."""
    folder = tmp_path_factory.mktemp("killed")
    write_gallery(folder / "cards", scenes=SCENES, seed=8)
    library = Sightline(settings=Settings(home=folder / "home", offline=True))
    library.index(folder / "cards", gallery="cards", model="postcards")
    library.close()
    return folder / "home"


@pytest.fixture(scope="module")
def library(home: Path) -> Iterator[Sightline]:
    opened = Sightline(settings=Settings(home=home, offline=True))
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def whole(library: Sightline) -> Evaluated:
    """The same evaluation in one go."""
    return library.evaluate("cards", candidates=20)


@pytest.fixture(autouse=True)
def _in_this_home(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIGHTLINE_HOME", str(home))
    monkeypatch.setenv("SIGHTLINE_OFFLINE", "1")


def start(*arguments: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", COMMAND, *HOW, *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def measures(library: Sightline, evaluation_id: int) -> tuple[str, list[float]]:
    """All that was measured, but for how long it took, as text; and the errors of the calibrations."""
    with library.wiring.database.reading() as session:
        found = evaluations.by_id(session, evaluation_id).measures
    for one in found.values():
        del one["milliseconds"], one["depths"]["milliseconds"]
    calibrations = [found[name].pop("calibration") for name in DIRECTIONS]
    return json.dumps(found, sort_keys=True), [one["measured"]["error"] for one in calibrations]


def pages(library: Sightline, evaluation_id: int) -> dict[tuple[str, int], Page]:
    with library.wiring.database.reading() as session:
        return {
            (name, one.query_id): one for name in DIRECTIONS for one in evaluations.pages(session, evaluation_id, name)
        }


def check_is_like(library: Sightline, evaluation_id: int, whole: Evaluated) -> None:
    """Hold an evaluation that was stopped and gone on with against one that was not: every rank and measure is equal.

    Cosines and logits are equal but for rounding: a network's last digits depend on what else is in a batch, and the
    batches after a stop are others. By experiment they differ by 5e-6 at most.
    """
    (told, errors), (expected, expected_errors) = (measures(library, one) for one in (evaluation_id, whole.id))
    assert told == expected
    assert errors == pytest.approx(expected_errors, abs=1e-6)
    mine, theirs = (pages(library, one) for one in (evaluation_id, whole.id))
    assert len(mine) == 2 * SCENES
    assert mine.keys() == theirs.keys()
    for query, page in mine.items():
        other = theirs[query]
        assert (page.fold, page.before, page.after) == (other.fold, other.before, other.after)
        rows, others = from_bytes(page.page), from_bytes(other.page)
        assert rows["item"].tolist() == others["item"].tolist()
        for score in ("similarity", "no", "yes"):
            np.testing.assert_allclose(rows[score], others[score], rtol=0, atol=1e-4)


def newest(library: Sightline) -> int:
    with library.wiring.database.reading() as session:
        return session.scalars(select(func.max(EvaluationTable.id))).one() or 0


def kept(library: Sightline, evaluation_id: int) -> int:
    query = select(func.count()).select_from(EvaluationPageTable)
    with library.wiring.database.reading() as session:
        return session.scalars(query.where(EvaluationPageTable.evaluation_id == evaluation_id)).one()


def wait_for_pages(process: subprocess.Popen[bytes], library: Sightline, evaluation_id: int, more_than: int) -> None:
    """Wait until a process has kept more pages of an evaluation, or has ended by itself."""
    deadline = monotonic() + SECONDS
    while process.poll() is None and kept(library, evaluation_id) <= more_than:
        assert monotonic() < deadline, "no pages were kept"
        sleep(0.01)


def check_is_unfinished(library: Sightline, evaluation_id: int) -> None:
    with library.wiring.database.reading() as session:
        stored = evaluations.by_id(session, evaluation_id)
        asked = evaluations.asked(session, evaluation_id)
    assert (stored.state, stored.measures) == ("running", {})
    assert sum(map(len, asked.values())) == kept(library, evaluation_id) < 2 * SCENES
    assert evaluation_id not in [one.id for one in library.evaluations("cards")]


def test_killed_again_and_again_an_evaluation_comes_to_the_same_measures(library: Sightline, whole: Evaluated) -> None:
    random, killed = Random(4), 0
    begun, before = newest(library) + 1, 0
    while killed < KILLS:
        process = start("--resume")
        # Every other time before anything is kept: while models are loaded, or with the first pages under way.
        if killed % 2 == 0:
            wait_for_pages(process, library, begun, before)
        sleep(random.uniform(0, 1.5))
        was_running = process.poll() is None
        process.kill()
        said = process.communicate()[1]
        if not was_running:
            assert process.returncode == 0, said.decode()
            break
        killed += 1
        now = kept(library, begun)
        assert now >= before
        before = now
        if before:
            check_is_unfinished(library, begun)
    assert killed > 1
    process = start("--resume")
    output, said = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, said.decode()
    assert output.decode().startswith(f"evaluation {begun}: cards, ")
    check_is_like(library, begun, whole)
    assert library.evaluation(begun).mean_recall == whole.mean_recall


def test_two_processes_that_go_on_with_one_evaluation_lose_nothing(library: Sightline, whole: Evaluated) -> None:
    begun = newest(library) + 1
    first = start()
    wait_for_pages(first, library, begun, 0)
    first.kill()
    first.communicate()
    check_is_unfinished(library, begun)

    both = [start("--resume") for _ in range(2)]
    told = [process.communicate(timeout=2 * SECONDS) for process in both]
    codes = [process.returncode for process in both]
    assert sorted(codes) == [0, 1], [said.decode() for _, said in told]
    winner, loser = codes.index(0), codes.index(1)
    assert told[winner][0].decode().startswith(f"evaluation {begun}: ")
    line = f"sightline: another process goes on with evaluation {begun}; let it finish"
    assert told[loser][1].decode().splitlines()[-1] == line
    assert b"Traceback" not in told[loser][1]
    assert told[loser][0] == b""
    check_is_like(library, begun, whole)


def test_an_interrupted_evaluation_says_how_to_go_on(library: Sightline, whole: Evaluated) -> None:
    begun = newest(library) + 1
    process = start()
    wait_for_pages(process, library, begun, 0)
    process.send_signal(signal.SIGINT)
    output, said = process.communicate(timeout=SECONDS)
    assert (process.returncode, output) == (130, b""), said.decode()
    assert said.decode().splitlines()[-1].startswith("Stopped. What was asked so far is kept; the same command with")
    assert b"Traceback" not in said
    check_is_unfinished(library, begun)
    assert library.evaluate("cards", candidates=20, resume=True).id == begun
    check_is_like(library, begun, whole)
