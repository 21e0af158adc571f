"""Bootstrap on postcards: swapped captions are found, believed captions are stored once and stay apart."""

from __future__ import annotations

import csv
import json
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from api import Sightline
from api.results import BELIEVED, DOUBTED, REJECTED, TRUSTED, Bootstrapped, ReviewRow
from api.settings import Settings
from retrieval.errors import NoTexts
from retrieval.evaluation.measures import auroc
from retrieval.training.world.galleries import write_gallery
from storage import items
from storage.items import Item

SCENES = 60
FLOOR = 0.9
Open = Callable[[Path], Sightline]


def drawn(folder: Path, scenes: int) -> list[dict[str, object]]:
    """Draw postcards, and give the lines of their captions."""
    write_gallery(folder, scenes=scenes, seed=5)
    return [json.loads(line) for line in (folder / "captions.jsonl").read_text().splitlines()]


def describe(folder: Path, lines: list[dict[str, object]]) -> None:
    (folder / "captions.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def with_a_fifth_swapped(lines: list[dict[str, object]]) -> tuple[list[dict[str, object]], set[object]]:
    """Let every fifth picture, chosen at random, have the captions of the next chosen one; give their names too."""
    chosen = sorted(random.Random(0).sample(range(len(lines)), len(lines) // 5))
    swapped = list(lines)
    for here, there in zip(chosen, [*chosen[1:], chosen[0]], strict=True):
        swapped[here] = {"file": lines[here]["file"], "texts": lines[there]["texts"]}
    return swapped, {lines[here]["file"] for here in chosen}


@pytest.fixture
def opened() -> Iterator[Open]:
    """Open libraries, and close them at the end."""
    libraries: list[Sightline] = []

    def open_library(home: Path) -> Sightline:
        libraries.append(Sightline(settings=Settings(home=home, offline=True)))
        return libraries[-1]

    yield open_library
    for library in libraries:
        library.close()


@pytest.fixture
def cards(tmp_path: Path, opened: Open) -> Sightline:
    """A gallery `cards` of 24 postcards; every caption of the first and the second is exchanged."""
    lines = drawn(tmp_path / "cards", 24)
    lines[0]["texts"], lines[1]["texts"] = lines[1]["texts"], lines[0]["texts"]
    describe(tmp_path / "cards", lines)
    library = opened(tmp_path / "home")
    library.index(tmp_path / "cards", model="postcards")
    return library


def name(row: ReviewRow) -> str:
    return row.file.rsplit("/", 1)[-1]


def texts(library: Sightline, *, synthetic: bool) -> list[Item]:
    with library.wiring.database.reading() as session:
        found = items.embedded(session, library.gallery("cards").id, "text")
    return [item for item in found if item.is_synthetic == synthetic]


def pairs(library: Sightline, standing: str) -> list[tuple[int, int]]:
    with library.wiring.database.reading() as session:
        return items.pairs(session, library.gallery("cards").id, (standing,))


def doubts_of(found: Bootstrapped, names: set[object]) -> list[float]:
    return [1 - row.match_probability for row in found.of_kind(TRUSTED, DOUBTED) if name(row) in names]


def test_captions_that_were_swapped_are_doubted_most(tmp_path: Path, opened: Open) -> None:
    lines, swapped = with_a_fifth_swapped(drawn(tmp_path / "cards", SCENES))
    describe(tmp_path / "cards", lines)
    library = opened(tmp_path / "home")
    library.index(tmp_path / "cards", model="postcards")
    found = library.bootstrap("cards")
    kept = {line["file"] for line in lines} - swapped
    assert len(swapped) == SCENES // 5
    assert len(found.of_kind(TRUSTED, DOUBTED)) == sum(len(line["texts"]) for line in lines)  # type: ignore[arg-type]
    area = auroc(doubts_of(found, swapped), doubts_of(found, kept))
    assert area >= FLOOR, f"the area under the curve is {area:.3f}"


def test_without_write_only_the_table_is_made(cards: Sightline, tmp_path: Path) -> None:
    revision = cards.gallery("cards").revision
    found = cards.bootstrap("cards", out=tmp_path / "review.csv")
    rows = list(csv.DictReader((tmp_path / "review.csv").read_text(encoding="utf-8").splitlines()))
    assert list(rows[0]) == ["item", "file", "text", "kind", "match_probability", "keep"]
    assert len(rows) == len(found.of_kind(BELIEVED, REJECTED, DOUBTED))
    exchanged = {"postcard-0001.png", "postcard-0002.png"}
    said = sum(name(row) in exchanged for row in found.of_kind(TRUSTED, DOUBTED))
    assert {Path(row["file"]).name for row in rows[:said]} == exchanged
    assert (texts(cards, synthetic=True), cards.gallery("cards").revision) == ([], revision)


def test_believed_captions_are_stored_once_and_found_by_lookup(cards: Sightline) -> None:
    found = cards.bootstrap("cards", write=True)
    believed = found.of_kind(BELIEVED)
    assert found.added == len(believed) == len(pairs(cards, items.SYNTHETIC)) > 0
    again = cards.bootstrap("cards", write=True)
    assert (again.looked_at, again.added, again.removed, again.rows) == (0, 0, 0, found.rows)
    assert len(texts(cards, synthetic=True)) == len({row.text for row in believed})
    page = cards.lookup(believed[-1].file, "cards", k=24)
    assert believed[-1].text in {hit.text for hit in page if hit.uri.startswith("model:postcards#")}


def test_a_caption_that_was_given_anyway_is_not_stored_again(cards: Sightline) -> None:
    cards.bootstrap("cards", write=True)
    with cards.wiring.database.reading() as session:
        named = items.by_ids(session, range(1, 200))
    said = {(image, named[text].text) for text, image in pairs(cards, items.GIVEN)}
    assert said.isdisjoint({(image, named[text].text) for text, image in pairs(cards, items.SYNTHETIC)})


def test_indexing_again_neither_deletes_nor_doubles_synthetic_texts(cards: Sightline, tmp_path: Path) -> None:
    cards.bootstrap("cards", write=True)
    before = texts(cards, synthetic=True), pairs(cards, items.SYNTHETIC)
    report = cards.index(tmp_path / "cards").report
    assert report.texts == len(texts(cards, synthetic=False))
    (tmp_path / "cards" / "captions.jsonl").unlink()
    cards.index(tmp_path / "cards")
    assert (texts(cards, synthetic=True), pairs(cards, items.SYNTHETIC)) == before
    assert texts(cards, synthetic=False) == []


def test_a_picture_that_goes_takes_its_synthetic_text_along(cards: Sightline, tmp_path: Path) -> None:
    believed = cards.bootstrap("cards", write=True).of_kind(BELIEVED)
    gone = next(row for row in believed if sum(row.text == other.text for other in believed) == 1)
    Path(gone.file).unlink()
    cards.index(tmp_path / "cards")
    assert gone.text not in {item.text for item in texts(cards, synthetic=True)}
    assert gone.item not in {row.item for row in cards.bootstrap("cards").rows}


def test_a_picture_that_changed_is_captioned_anew(cards: Sightline, tmp_path: Path) -> None:
    before = cards.bootstrap("cards", write=True)
    (tmp_path / "cards" / "postcard-0003.png").write_bytes((tmp_path / "cards" / "postcard-0004.png").read_bytes())
    cards.index(tmp_path / "cards")
    after = cards.bootstrap("cards", write=True)
    assert after.looked_at == 1
    assert {row.item for row in after.rows if name(row) == "postcard-0003.png"}.isdisjoint(
        {row.item for row in before.rows}
    )


def test_a_missing_picture_is_passed_over_and_counted(cards: Sightline, tmp_path: Path) -> None:
    (tmp_path / "cards" / "postcard-0003.png").unlink()
    found = cards.bootstrap("cards")
    assert (found.pictures, found.looked_at, found.missing) == (24, 23, 1)


def test_an_evaluation_is_the_same_before_and_after_unless_asked(cards: Sightline) -> None:
    before = cards.evaluate("cards").directions
    cards.bootstrap("cards", threshold=0, write=True)
    assert cards.evaluate("cards").directions == before
    asked = cards.evaluate("cards", synthetic=True).directions
    assert asked[0].queries == before[0].queries + len(texts(cards, synthetic=True)) > before[0].queries


def test_a_gallery_without_captions_gets_some(tmp_path: Path, opened: Open) -> None:
    drawn(tmp_path / "cards", 6)
    (tmp_path / "cards" / "captions.jsonl").unlink()
    library = opened(tmp_path / "home")
    library.index(tmp_path / "cards", model="postcards")
    with pytest.raises(NoTexts):
        library.lookup(tmp_path / "cards" / "postcard-0001.png", "cards")
    found = library.bootstrap("cards", write=True)
    assert found.added == len(found.of_kind(BELIEVED)) > 0
    assert library.lookup(tmp_path / "cards" / "postcard-0001.png", "cards", k=1).hits[0].text


def test_the_threshold_decides_again_without_looking_again(cards: Sightline) -> None:
    found = cards.bootstrap("cards", threshold=0, write=True)
    assert (found.of_kind(REJECTED, DOUBTED), len(pairs(cards, items.SYNTHETIC))) == ([], found.added)
    probabilities = [row.match_probability for row in found.of_kind(BELIEVED)]
    stricter = cards.bootstrap("cards", threshold=probabilities[1], write=True)
    assert (stricter.looked_at, stricter.removed) == (0, 1)
    assert len(pairs(cards, items.SYNTHETIC)) == len(probabilities) - 1


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_what_a_review_drops_stays_dropped(cards: Sightline, tmp_path: Path, suffix: str) -> None:
    table = tmp_path / f"review.{suffix}"
    found = cards.bootstrap("cards", write=True, out=table)
    caption, pair = found.of_kind(BELIEVED)[0], found.of_kind(DOUBTED)[0]
    mark(table, {(caption.item, caption.text, BELIEVED): "no", (pair.item, pair.text, DOUBTED): "no"})
    applied = cards.bootstrap("cards", review=table)
    assert (applied.removed, applied.unknown) == (1, 0)
    left = len(found.of_kind(BELIEVED)) - 1
    cards.index(tmp_path / "cards")
    assert cards.bootstrap("cards", write=True).added == 0
    assert (len(pairs(cards, items.SYNTHETIC)), len(pairs(cards, items.DROPPED))) == (left, 1)
    mark(table, {(caption.item, caption.text, BELIEVED): "yes", (pair.item, pair.text, DOUBTED): ""})
    assert cards.bootstrap("cards", review=table, write=True).added == 1
    assert pairs(cards, items.DROPPED) == []


def test_a_rejected_caption_is_stored_where_a_review_keeps_it(cards: Sightline, tmp_path: Path) -> None:
    table = tmp_path / "review.csv"
    found = cards.bootstrap("cards", threshold=1, out=table)
    rejected = found.of_kind(REJECTED)[0]
    mark(table, {(rejected.item, rejected.text, REJECTED): "yes"})
    cards.bootstrap("cards", threshold=1, review=table, write=True)
    assert rejected.text in {item.text for item in texts(cards, synthetic=True)}


def mark(table: Path, words: dict[tuple[int, str, str], str]) -> None:
    """Fill the column keep of some rows, as a person would."""
    with table.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file)) if table.suffix == ".csv" else [json.loads(line) for line in file]
    met = 0
    for row in rows:
        key = (int(row["item"]), row["text"], row["kind"])
        if key in words:
            row["keep"], met = words[key], met + 1
    assert met == len(words)
    with table.open("w", encoding="utf-8", newline="") as file:
        if table.suffix == ".csv":
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
        else:
            file.writelines(json.dumps(row) + "\n" for row in rows)


DYING = """
import os, sys
from api import Sightline
from api.settings import Settings

class Dying:
    def begin(self, what, total):
        self.what = what
        if (what, sys.argv[2]) == ("texts", "texts"):
            os._exit(9)
    def advance(self, count):
        if (self.what, sys.argv[2]) == ("pictures", "pictures"):
            os._exit(9)

library = Sightline(settings=Settings(home=sys.argv[1], offline=True))
library.bootstrap("cards", write=True, progress=Dying())
"""


@pytest.mark.stress
@pytest.mark.parametrize(("stage", "left"), [("pictures", 8), ("texts", 0)])
def test_a_run_goes_on_where_a_killed_one_stopped(tmp_path: Path, opened: Open, stage: str, left: int) -> None:
    drawn(tmp_path / "cards", 40)  # a batch holds 32 pictures
    library = opened(tmp_path / "home")
    library.index(tmp_path / "cards", model="postcards")
    done = subprocess.run([sys.executable, "-c", DYING, str(tmp_path / "home"), stage], check=False)
    assert done.returncode == 9
    found = library.bootstrap("cards", write=True)
    assert found.looked_at == left
    fresh = opened(tmp_path / "other")
    fresh.index(tmp_path / "cards", model="postcards")
    assert [told(row) for row in fresh.bootstrap("cards").rows] == [told(row) for row in found.rows]
    assert len(pairs(library, items.SYNTHETIC)) == found.added == len(found.of_kind(BELIEVED))


def told(row: ReviewRow) -> tuple[str, str, str]:
    return row.file, row.text, row.kind
