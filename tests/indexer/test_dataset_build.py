"""Indexing a dataset again and again: each annotation is a text of its own, each picture's texts are its pairs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from api import Sightline
from indexer.build import Builder, Report
from indexer.errors import BadDataset, SourceMissing
from indexer.sources.dataset import Dataset, Example, Text
from indexer.sources.dataset_source import of_dataset
from indexer.sources.layouts import Reading
from indexer.sources.opening import Place, from_source, open_source, to_source
from indexer.uri import from_uri, to_uri
from retrieval.models.hashing import HashingEncoder
from retrieval.types import Float32
from storage import galleries, items
from storage.galleries import Gallery
from storage.items import Item
from storage.lease import write_lease

Paint = Callable[..., Path]
Run = Callable[[Sequence[Example]], Report]

SOURCE = "/data/captions.json"


class Counting(HashingEncoder):
    """Remembers the texts that it was asked to read."""

    def __init__(self) -> None:
        self.read: list[str] = []

    def encode_texts(self, texts: Sequence[str]) -> Float32:
        self.read += texts
        return super().encode_texts(texts)


class Silent:
    """Progress that nobody watches."""

    def begin(self, what: str, total: int) -> None:
        """Start a chapter."""

    def advance(self, count: int) -> None:
        """Note some steps."""


@pytest.fixture
def encoder() -> Counting:
    return Counting()


@pytest.fixture
def gallery(sightline: Sightline, encoder: Counting) -> Gallery:
    with sightline.wiring.database.writing() as session:
        return galleries.fix_model(
            session,
            galleries.create(session, "coco"),
            model="hashing",
            fingerprint=encoder.fingerprint,
            dimension=encoder.dimension,
            vectors=encoder.vectors,
        )


@pytest.fixture
def run(sightline: Sightline, gallery: Gallery, encoder: Counting) -> Run:
    """Index some examples in place of those of the last run."""
    return lambda examples: built(sightline, gallery, examples, encoder)


def built(sightline: Sightline, gallery: Gallery, examples: Sequence[Example], encoder: Counting | None) -> Report:
    wiring = sightline.wiring
    source = of_dataset(Dataset(Path(SOURCE), "coco", tuple(examples)), SOURCE)
    builder = Builder(
        wiring.database, wiring.snapshots, gallery, encoder, Silent(), pixel_limit=1000, batch=2, threads=1
    )
    with write_lease(wiring.database, gallery) as holder:
        return builder.run(source, holder=holder)


def example(picture: Path, *texts: str, split: str | None = None, **metadata: Any) -> Example:
    """An example whose texts have the keys `a.png#0`, `a.png#1` and so on."""
    keyed = tuple(Text(f"{picture.name}#{i}", text) for i, text in enumerate(texts))
    return Example(f"images of {picture.stem}", picture.name, picture, keyed, split, metadata)


def living(sightline: Sightline, gallery: Gallery, kind: str) -> list[Item]:
    with sightline.wiring.database.reading() as session:
        return items.living(session, gallery.id, kind, SOURCE)


def described(sightline: Sightline, gallery: Gallery) -> list[tuple[str, str]]:
    """The pairs of a gallery: text and name of the picture."""
    with sightline.wiring.database.reading() as session:
        pairs = items.pairs(session, gallery.id)
        found = items.by_ids(session, {one for pair in pairs for one in pair})
    return sorted((found[text].text or "", from_uri(found[image].uri).name) for text, image in pairs)


def known(sightline: Sightline, gallery: Gallery) -> dict[str, tuple[str | None, Mapping[str, Any]]]:
    """What is known of pictures beside their texts, by their names."""
    with sightline.wiring.database.reading() as session:
        rows = items.metadata(session, gallery.id)
        return {from_uri(one.uri).name: rows[one.id] for one in items.by_ids(session, rows).values()}


def test_a_text_of_the_same_wording_is_an_item_of_its_own_and_embedded_once(
    sightline: Sightline, gallery: Gallery, run: Run, encoder: Counting, photos: Path
) -> None:
    report = run([example(photos / "a.png", "a dog", "a dog"), example(photos / "b.png", "a dog", "a cat")])
    assert (report.found, report.added, report.texts, report.pairs) == (2, 2, 4, 4)
    assert [item.uri for item in living(sightline, gallery, "text")] == [
        f"{SOURCE}#a.png#0",
        f"{SOURCE}#a.png#1",
        f"{SOURCE}#b.png#0",
        f"{SOURCE}#b.png#1",
    ]
    assert described(sightline, gallery) == [
        ("a cat", "b.png"),
        ("a dog", "a.png"),
        ("a dog", "a.png"),
        ("a dog", "b.png"),
    ]
    assert encoder.read == ["a dog", "a cat"]


def test_equal_wording_has_an_equal_vector(sightline: Sightline, gallery: Gallery, run: Run, photos: Path) -> None:
    run([example(photos / "a.png", "a dog", "a cat"), example(photos / "b.png", "a dog")])
    page = sightline.lookup(photos / "a.png", "coco", rerank=False)
    similarity = {hit.uri: hit.itc_similarity for hit in page}
    assert similarity[f"{SOURCE}#a.png#0"] == similarity[f"{SOURCE}#b.png#0"]
    assert similarity[f"{SOURCE}#a.png#0"] != similarity[f"{SOURCE}#a.png#1"]


def test_a_second_run_embeds_nothing_and_keeps_the_revision(
    sightline: Sightline, run: Run, encoder: Counting, photos: Path
) -> None:
    examples = [example(photos / "a.png", "a dog", split="test", width=8)]
    run(examples)
    revision = sightline.gallery("coco").revision
    report = run(examples)
    assert (report.added, report.unchanged, report.texts, report.pairs) == (0, 1, 1, 1)
    assert (encoder.read, sightline.gallery("coco").revision) == (["a dog"], revision)


def test_a_changed_text_is_replaced_and_a_gone_one_buried_and_the_others_stay(
    sightline: Sightline, gallery: Gallery, run: Run, encoder: Counting, photos: Path
) -> None:
    run([example(photos / "a.png", "a dog", "a cat", "a cow")])
    before = {item.text: item.id for item in living(sightline, gallery, "text")}
    report = run([example(photos / "a.png", "a dog", "a red cat")])
    after = {item.text: item.id for item in living(sightline, gallery, "text")}
    assert (report.texts, report.pairs, encoder.read[3:]) == (2, 2, ["a red cat"])
    assert (after["a dog"], after.keys()) == (before["a dog"], {"a dog", "a red cat"})
    assert after["a red cat"] not in before.values()
    assert described(sightline, gallery) == [("a dog", "a.png"), ("a red cat", "a.png")]


def test_a_text_that_moves_to_another_picture_keeps_its_item(
    sightline: Sightline, gallery: Gallery, run: Run, photos: Path
) -> None:
    first, second = example(photos / "a.png", "a dog"), example(photos / "b.png")
    run([first, second])
    before = [item.id for item in living(sightline, gallery, "text")]
    run([replace(first, texts=()), replace(second, texts=first.texts)])
    assert [item.id for item in living(sightline, gallery, "text")] == before
    assert described(sightline, gallery) == [("a dog", "b.png")]


def test_a_missing_picture_is_named_its_texts_are_left_out_and_its_neighbours_keep_theirs(
    sightline: Sightline, gallery: Gallery, run: Run, photos: Path
) -> None:
    examples = [
        example(photos / "a.png", "of a"),
        example(photos / "gone.png", "of nothing", "of nothing too"),
        example(photos / "c.png", "of c"),
    ]
    report = run(examples)
    assert (report.found, report.added, report.texts, report.pairs, report.left_out) == (3, 2, 2, 2, 2)
    reason = "missing: captions.json, images of gone names it"
    assert report.failed == [(to_uri(photos / "gone.png"), reason)]
    assert [(from_uri(one.uri).name, one.reason) for one in sightline.failed("coco")] == [("gone.png", reason)]
    assert described(sightline, gallery) == [("of a", "a.png"), ("of c", "c.png")]
    assert {hit.text for hit in sightline.lookup(photos / "a.png", "coco", rerank=False)} == {"of a", "of c"}


def test_a_missing_picture_and_its_texts_come_when_it_is_there(
    sightline: Sightline, gallery: Gallery, run: Run, photos: Path, paint: Paint
) -> None:
    examples = [example(photos / "a.png", "of a"), example(photos / "gone.png", "of gone")]
    run(examples)
    assert run(examples).left_out == 1
    paint(photos / "gone.png", (9, 9, 9))
    report = run(examples)
    assert (report.added, report.texts, report.pairs, report.left_out, report.failed) == (1, 2, 2, 0, [])
    assert sightline.failed("coco") == []
    assert described(sightline, gallery) == [("of a", "a.png"), ("of gone", "gone.png")]


def test_a_picture_that_goes_missing_takes_its_texts_along(
    sightline: Sightline, gallery: Gallery, run: Run, photos: Path
) -> None:
    examples = [example(photos / "a.png", "of a"), example(photos / "b.png", "of b")]
    run(examples)
    (photos / "a.png").unlink()
    report = run(examples)
    assert (report.texts, report.pairs, report.left_out, len(report.failed)) == (1, 1, 1, 1)
    assert described(sightline, gallery) == [("of b", "b.png")]


def test_a_broken_picture_fails_as_in_a_folder_and_its_texts_are_left_out(
    sightline: Sightline, gallery: Gallery, run: Run, photos: Path
) -> None:
    (photos / "b.png").write_bytes(b"no picture")
    report = run([example(photos / "a.png", "of a"), example(photos / "b.png", "of b")])
    assert (report.added, report.texts, report.pairs, report.left_out) == (1, 1, 1, 1)
    assert report.failed == [(to_uri(photos / "b.png"), "not an image")]
    assert described(sightline, gallery) == [("of a", "a.png")]


def test_a_folder_in_place_of_a_picture_is_named(sightline: Sightline, run: Run, photos: Path) -> None:
    (photos / "f.png").mkdir()
    report = run([example(photos / "a.png", "of a"), example(photos / "f.png", "of f")])
    assert report.failed == [
        (to_uri(photos / "f.png"), "no file of its own; captions.json, images of f names it"),
    ]


def test_pictures_that_move_are_recognised_and_keep_their_texts(
    sightline: Sightline, gallery: Gallery, run: Run, photos: Path
) -> None:
    run([example(photos / "a.png", "of a"), example(photos / "b.png", "of b")])
    before = {from_uri(item.uri).name: item.id for item in living(sightline, gallery, "image")}
    photos.rename(photos.parent / "elsewhere")
    there = photos.parent / "elsewhere"
    report = run([example(there / "a.png", "of a"), example(there / "b.png", "of b")])
    assert (report.renamed, report.added, report.removed) == (2, 0, 0)
    assert {from_uri(item.uri).name: item.id for item in living(sightline, gallery, "image")} == before
    assert described(sightline, gallery) == [("of a", "a.png"), ("of b", "b.png")]


def test_a_picture_that_the_dataset_drops_leaves_with_its_texts_and_what_is_known_of_it(
    sightline: Sightline, gallery: Gallery, run: Run, photos: Path
) -> None:
    both = [example(photos / "a.png", "of a", width=1), example(photos / "b.png", "of b", width=2)]
    run(both)
    report = run(both[1:])
    assert (report.removed, report.texts, report.pairs) == (1, 1, 1)
    assert known(sightline, gallery) == {"b.png": (None, {"width": 2})}


def test_split_and_other_columns_are_kept_and_follow_the_dataset(
    sightline: Sightline, gallery: Gallery, run: Run, photos: Path
) -> None:
    run([example(photos / "a.png", split="test", licence="CC BY 4.0", sizes=[8, 8]), example(photos / "b.png")])
    assert known(sightline, gallery) == {"a.png": ("test", {"licence": "CC BY 4.0", "sizes": [8, 8]})}
    run([example(photos / "a.png", split="val"), example(photos / "b.png", width=8)])
    assert known(sightline, gallery) == {"a.png": ("val", {}), "b.png": (None, {"width": 8})}


def test_what_no_json_reader_takes_is_kept_as_what_it_can(
    sightline: Sightline, gallery: Gallery, run: Run, photos: Path
) -> None:
    run([example(photos / "a.png", score=float("nan"), where=Path("/x"), of=(1, 2))])
    assert known(sightline, gallery) == {"a.png": (None, {"score": None, "where": "/x", "of": [1, 2]})}


def test_a_name_that_the_file_does_not_have_is_kept(
    sightline: Sightline, gallery: Gallery, run: Run, photos: Path
) -> None:
    run([replace(example(photos / "a.png"), name="COCO_val2014_000000000001.jpg")])
    assert known(sightline, gallery) == {"a.png": (None, {"name": "COCO_val2014_000000000001.jpg"})}


def test_two_examples_of_one_picture_are_an_error_that_names_both(photos: Path) -> None:
    double = [example(photos / "a.png"), replace(example(photos / "b.png"), picture=photos / "x" / ".." / "a.png")]
    with pytest.raises(BadDataset) as error:
        of_dataset(Dataset(Path(SOURCE), "coco", tuple(double)), SOURCE)
    assert str(error.value) == "/data/captions.json, images of b: its picture b.png is that of images of a"


def test_a_picture_behind_a_link_is_the_same_picture(photos: Path) -> None:
    (photos.parent / "link").symlink_to(photos)
    double = [example(photos / "a.png"), replace(example(photos / "b.png"), picture=photos.parent / "link" / "a.png")]
    with pytest.raises(BadDataset, match="is that of images of a"):
        of_dataset(Dataset(Path(SOURCE), "coco", tuple(double)), SOURCE)


def test_two_texts_of_one_key_are_an_error(photos: Path) -> None:
    first, second = example(photos / "a.png", "one"), example(photos / "b.png", "two")
    double = (first, replace(second, texts=(Text("a.png#0", "two"),)))
    with pytest.raises(BadDataset) as error:
        of_dataset(Dataset(Path(SOURCE), "coco", double), SOURCE)
    assert str(error.value) == "/data/captions.json, images of b: its text a.png#0 is in images of a too"


def test_a_split_of_more_letters_than_are_kept_is_an_error(photos: Path) -> None:
    with pytest.raises(BadDataset) as error:
        of_dataset(Dataset(Path(SOURCE), "coco", (example(photos / "a.png", split="x" * 65),)), SOURCE)
    assert str(error.value) == "/data/captions.json, images of a: its split has 65 letters; at most 64 can be kept"


def test_a_key_never_breaks_a_line(sightline: Sightline, gallery: Gallery, run: Run, photos: Path) -> None:
    run([replace(example(photos / "a.png"), texts=(Text("100% a\nb é", "of a"),))])
    assert [item.uri for item in living(sightline, gallery, "text")] == [f"{SOURCE}#100%25 a%0Ab é"]


def test_without_a_model_pictures_are_found_by_their_texts_and_their_names_in_the_dataset(
    sightline: Sightline, photos: Path
) -> None:
    with sightline.wiring.database.writing() as session:
        gallery = galleries.create(session, "words")
    first = replace(example(photos / "a.png", "a red kite"), name="val2014/tower.jpg")
    report = built(sightline, gallery, [first, example(photos / "b.png", "a blue boat")], None)
    assert (report.added, report.texts, report.pairs) == (2, 2, 2)
    for words, name in (("kite", "a.png"), ("tower", "a.png"), ("boat", "b.png")):
        assert [from_uri(hit.uri).name for hit in sightline.search("words", words)] == [name]
    report = built(sightline, gallery, [replace(first, texts=(Text("a.png#0", "a green dragon"),))], None)
    assert [from_uri(hit.uri).name for hit in sightline.search("words", "dragon")] == ["a.png"]
    assert list(sightline.search("words", "kite")) == []


def test_many_missing_pictures_cost_each_the_same(
    sightline: Sightline, gallery: Gallery, run: Run, photos: Path
) -> None:
    examples = [example(photos / f"gone-{i}.png", f"of {i}") for i in range(2500)]
    report = run([example(photos / "a.png", "of a"), *examples])
    assert (report.found, len(report.failed), report.left_out, report.texts) == (2501, 2500, 2500, 1)
    assert len(sightline.failed("coco")) == 2500


@contextmanager
def untouched(sightline: Sightline) -> Iterator[None]:
    """Nothing is written, whatever happens in the block."""
    yield
    assert sightline.galleries() == []
    assert not (sightline.settings.home / "vectors").exists()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ('{"images": [', "not JSON"),
        ('{"images": [], "annotations": 3}', '"annotations"'),
        (
            '{"images": [{"id": 1, "file_name": "a.png"}], "annotations": [{"id": 1, "image_id": 2, "caption": "x"}]}',
            r"annotations\[0\]",
        ),
    ],
)
def test_a_bad_dataset_leaves_nothing_behind(sightline: Sightline, photos: Path, content: str, reason: str) -> None:
    path = photos / "captions.json"
    path.write_text(content)
    with untouched(sightline), pytest.raises(BadDataset, match=reason) as error:
        sightline.index(path, model="hashing")
    assert str(error.value).startswith(f"{path}")
    assert "\n" not in str(error.value)


def test_a_dataset_that_is_not_there_leaves_nothing_behind(sightline: Sightline, tmp_path: Path) -> None:
    with untouched(sightline), pytest.raises(SourceMissing, match="nothing to index at"):
        sightline.index(tmp_path / "captions.json", model="hashing")


def test_a_dataset_that_becomes_bad_leaves_its_gallery_as_it_was(sightline: Sightline, photos: Path) -> None:
    path = photos / "captions.json"
    image, annotation = {"id": 1, "file_name": "a.png"}, {"id": 38, "image_id": 1, "caption": "of a"}
    path.write_text(json.dumps({"images": [image], "annotations": [annotation]}))
    before = sightline.index(path, model="hashing")
    path.write_text(json.dumps({"images": [image], "annotations": [annotation, annotation]}))
    with pytest.raises(BadDataset):
        sightline.index(path)
    assert sightline.gallery(before.gallery).revision == before.revision
    assert [hit.text for hit in sightline.lookup(photos / "a.png", before.gallery, rerank=False)] == ["of a"]


@pytest.mark.parametrize(
    ("place", "source"),
    [
        (Place(Path("/d/captions.json")), "/d/captions.json"),
        (Place(Path("/d/a b#c?d&e=f.json")), "/d/a b#c?d&e=f.json"),
        (Place(Path("/d/a.json?split=x")), "/d/a.json%3Fsplit%3Dx"),
        (Place(Path("/d/a?b.json"), Reading(split="test")), "/d/a%3Fb.json?split=test"),
        (Place(Path("/d/a.json"), Reading(split="50% & more?")), "/d/a.json?split=50%25 %26 more%3F"),
        (
            Place(Path("/d/a.csv"), Reading("csv", Path("/p/é=1"), "val", "file", ("a", "b#c"))),
            "/d/a.csv?layout=csv&split=val&image_column=file&text_column=a&text_column=b%23c&images=/p/é%3D1",
        ),
    ],
)
def test_a_source_is_written_down_and_read_back(place: Place, source: str) -> None:
    assert (to_source(place), from_source(source)) == (source, place)


def test_a_picture_outside_of_the_folders_that_may_be_indexed_is_an_error_there(
    photos: Path, tmp_path: Path, paint: Paint
) -> None:
    paint(tmp_path / "private" / "x.png")
    (photos / "list.csv").write_text(f"image,caption\na.png,of a\n{tmp_path}/private/x.png,of x\n")
    place = Place(photos / "list.csv")
    with pytest.raises(BadDataset) as error:
        open_source(place, [photos])
    assert str(error.value) == (
        f"{photos}/list.csv, line 3: its picture {tmp_path}/private/x.png lies outside of the folders "
        "that may be indexed"
    )
    assert len(list(open_source(place, [tmp_path]).records())) == 2
    assert len(list(open_source(place).records())) == 2


def test_a_name_is_kept_where_the_place_of_the_picture_does_not_tell_it(tmp_path: Path, paint: Paint) -> None:
    paint(tmp_path / "images" / "a.png")
    for name, told in (("a.png", dict[str, str]()), ("images/a.png", {"name": "images/a.png"})):
        (tmp_path / "list.jsonl").write_text(json.dumps({"file": name, "texts": ["a kite"]}))
        (said,) = open_source(Place(tmp_path / "list.jsonl")).descriptions()
        assert said.metadata == told
