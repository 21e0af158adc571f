"""`sightline index` takes datasets: which gallery, how it is read again, what may lie beside it, what is shown."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import pytest
from click.testing import CliRunner, Result
from fastapi.testclient import TestClient

from api import Sightline
from api.app import create_app
from api.cli import sightline as commands
from api.doors import jobs
from api.errors import UsageError
from api.settings import Settings
from indexer.errors import SourceMissing
from indexer.uri import from_uri
from retrieval.training.world.galleries import write_gallery

Paint = Callable[..., Path]
Run = Callable[..., Result]

SECONDS = 60
ROWS = [("a.png", "a dog", "test"), ("b.png", "a cat", "test"), ("c.png", "a cow", "val")]


@pytest.fixture
def run(home: Path) -> Run:
    def invoke(*arguments: object) -> Result:
        return CliRunner().invoke(commands, list(map(str, arguments)), catch_exceptions=False)

    return invoke


@pytest.fixture
def captions(photos: Path, tmp_path: Path) -> Path:
    """A table beside the folder of pictures: three of them, in two splits. Where they lie has to be said."""
    path = tmp_path / "lists" / "captions.csv"
    path.parent.mkdir()
    write(path, ROWS)
    return path


def write(path: Path, rows: Sequence[tuple[str, str, str]]) -> None:
    path.write_text("".join(f"{','.join(row)}\n" for row in [("image", "caption", "split"), *rows]))


def coco(path: Path, *names: str) -> Path:
    """A COCO file with one annotation per picture."""
    images = [{"id": i, "file_name": name, "width": 8, "height": 8} for i, name in enumerate(names)]
    annotations = [{"id": 38 + i, "image_id": i, "caption": f"of {name}"} for i, name in enumerate(names)]
    path.write_text(json.dumps({"images": images, "annotations": annotations}))
    return path


def names_of(sightline: Sightline, gallery: str) -> list[str]:
    return sorted(from_uri(hit.uri).name for hit in sightline.search(gallery, "x", k=100, rerank=False))


def test_the_summary_is_one_line(run: Run, photos: Path) -> None:
    path = coco(photos / "captions.json", "a.png", "b.png")
    done = run("index", path, "--model", "hashing")
    assert done.stdout == "captions: 2 pictures; 2 new, 2 texts, 2 pairs (model hashing)\n"
    assert run("index", path).stdout == "captions: 2 pictures; 2 unchanged, 2 texts, 2 pairs (model hashing)\n"


def test_a_record_without_a_picture_is_named_and_its_texts_are_counted(run: Run, photos: Path) -> None:
    path = coco(photos / "captions.json", "a.png", "z.png")
    done = run("index", path, "--model", "hashing")
    assert done.stdout == "captions: 2 pictures; 1 new, 1 failed, 1 texts, 1 pairs (model hashing)\n"
    reason = "missing: captions.json, images[1] names it"
    assert (
        f"skipped {photos / 'z.png'}: {reason}\nleft out 1 texts: their pictures are missing or broken\n" in done.stderr
    )
    assert run("index", "--failed", path).stdout == f"{photos / 'z.png'}: {reason}\n"
    assert run("index", "--failed", "captions").stdout == f"{photos / 'z.png'}: {reason}\n"


def test_json_tells_the_layout_and_what_was_left_out(run: Run, photos: Path) -> None:
    path = coco(photos / "captions.json", "a.png", "z.png")
    body = json.loads(run("index", path, "--model", "hashing", "--json").stdout)
    told = {name: body[name] for name in ("gallery", "layout", "found", "texts", "pairs", "left_out")}
    assert told == {"gallery": "captions", "layout": "coco", "found": 2, "texts": 1, "pairs": 1, "left_out": 1}
    (photos / "captions.json").unlink()
    body = json.loads(run("index", photos, "--model", "hashing", "--json").stdout)
    assert (body["layout"], body["found"], body["left_out"]) == (None, 5, 0)


def test_a_dataset_is_searched_evaluated_and_looked_up_by_its_path(
    run: Run, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = coco(photos / "captions.json", "a.png", "b.png")
    run("index", path, "--model", "hashing")
    assert len(run("search", path, "anything").stdout.splitlines()) == 2
    assert "captions, model hashing" in run("evaluate", path).stdout
    monkeypatch.chdir(photos)
    assert len(run("search", "captions.json", "anything").stdout.splitlines()) == 2
    looked_up = run("lookup", photos / "a.png", "--gallery", path)
    assert sorted(line.split()[2] for line in looked_up.stdout.splitlines()) == ["a.png", "b.png"]


def test_searching_a_dataset_brings_it_up_to_date(sightline: Sightline, photos: Path) -> None:
    path = coco(photos / "captions.json", "a.png")
    sightline.index(path, model="hashing")
    coco(path, "a.png", "b.png")
    assert len(sightline.search(path, "anything")) == 2


def test_what_was_said_of_a_dataset_once_is_remembered(sightline: Sightline, captions: Path, photos: Path) -> None:
    first = sightline.index(captions, images=photos, split="test", model="hashing")
    assert (first.gallery, first.report.found) == ("captions-test", 2)
    again = sightline.index(captions)
    assert (again.gallery, again.report.unchanged, again.report.texts) == ("captions-test", 2, 2)
    assert len(sightline.search(captions, "anything", k=9)) == 2
    assert sightline.name_of(str(captions)) == "captions-test"
    assert len(sightline.galleries()) == 1


def test_two_splits_of_a_dataset_are_two_galleries(sightline: Sightline, captions: Path, photos: Path) -> None:
    sightline.index(captions, images=photos, split="test", gallery="coco-5k", model="hashing")
    sightline.index(captions, images=photos, split="val", gallery="other", model="hashing")
    assert (names_of(sightline, "coco-5k"), names_of(sightline, "other")) == (["a.png", "b.png"], ["c.png"])
    assert sightline.index(captions, split="val").gallery == "other"
    assert sightline.index(captions, gallery="coco-5k").report.unchanged == 2
    with pytest.raises(UsageError) as error:
        sightline.index(captions)
    assert str(error.value) == (
        f"{captions} is read in several ways: coco-5k ({captions} --images {photos} --split test), "
        f"other ({captions} --images {photos} --split val); name the gallery"
    )
    with pytest.raises(UsageError, match="read in several ways"):
        sightline.name_of(str(captions))


def test_two_splits_of_a_dataset_may_be_one_gallery(sightline: Sightline, captions: Path, photos: Path) -> None:
    for split in ("test", "val"):
        sightline.index(captions, images=photos, split=split, gallery="both", model="hashing")
    assert names_of(sightline, "both") == ["a.png", "b.png", "c.png"]
    assert sightline.index(captions, gallery="both", split="val").report.unchanged == 1
    with pytest.raises(UsageError) as error:
        sightline.index(captions, gallery="both")
    assert str(error.value) == f"{captions} is read in several ways in both: say which --split"


def test_one_gallery_reads_a_dataset_in_one_way(sightline: Sightline, captions: Path, photos: Path) -> None:
    sightline.index(captions, images=photos, gallery="coco", model="hashing")
    with pytest.raises(UsageError) as error:
        sightline.index(captions, split="test", gallery="coco")
    assert str(error.value) == (
        f"coco is made of {captions} --images {photos} already; index it as that, or into another gallery"
    )
    assert names_of(sightline, "coco") == ["a.png", "b.png", "c.png"]


def test_pictures_of_a_folder_in_the_gallery_belong_to_that_folder(sightline: Sightline, photos: Path) -> None:
    sightline.index(photos, model="hashing")
    path = coco(photos.parent / "captions.json", "photos/a.png")
    before = sightline.gallery("photos")
    with pytest.raises(UsageError) as error:
        sightline.index(path, gallery="photos")
    assert str(error.value) == (
        f"{photos / 'a.png'} is a picture of {photos} already, of which photos is made: a file belongs to one source "
        f"of a gallery; index {path} into another gallery"
    )
    assert sightline.gallery("photos") == before
    assert sightline.index(path, gallery="other", model="hashing").report.pairs == 1


def test_pictures_of_a_dataset_in_the_gallery_belong_to_that_dataset(sightline: Sightline, photos: Path) -> None:
    path = coco(photos.parent / "captions.json", "photos/a.png")
    sightline.index(path, gallery="coco", model="hashing")
    before = sightline.gallery("coco")
    with pytest.raises(UsageError, match=rf"a\.png is a picture of {path} already, of which coco is made"):
        sightline.index(photos, gallery="coco")
    second = coco(photos / "others.json", "b.png", "a.png")
    with pytest.raises(UsageError, match=rf"a\.png is a picture of {path} already, of which coco is made"):
        sightline.index(second, gallery="coco")
    assert sightline.gallery("coco") == before
    assert names_of(sightline, "coco") == ["a.png"]


def test_two_datasets_of_other_pictures_are_one_gallery(sightline: Sightline, photos: Path) -> None:
    sightline.index(coco(photos / "one.json", "a.png"), gallery="coco", model="hashing")
    sightline.index(coco(photos / "two.json", "b.png"), gallery="coco")
    assert names_of(sightline, "coco") == ["a.png", "b.png"]
    assert len(sightline.lookup(photos / "a.png", "coco", rerank=False)) == 2


def test_a_dataset_may_lie_in_a_folder_of_the_gallery(
    sightline: Sightline, photos: Path, tmp_path: Path, paint: Paint
) -> None:
    paint(tmp_path / "elsewhere" / "x.png", (7, 7, 7))
    path = coco(photos / "captions.json", str(tmp_path / "elsewhere" / "x.png"))
    sightline.index(path, gallery="mixed", model="hashing")
    report = sightline.index(photos, gallery="mixed").report
    assert (report.added, [Path(uri).name for uri, _ in report.failed]) == (5, ["captions.json"])
    assert sightline.index(path, gallery="mixed").report.unchanged == 1


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"split": "test"}, "--split is for datasets; {photos} is a folder of pictures"),
        ({"layout": "coco"}, "--layout is for datasets; {photos} is a folder of pictures"),
        ({"images": "."}, "--images is for datasets; {photos} is a folder of pictures"),
        ({"image_column": "a"}, "--image-column is for datasets; {photos} is a folder of pictures"),
        ({"text_columns": ["a"]}, "--text-column is for datasets; {photos} is a folder of pictures"),
    ],
)
def test_a_plain_folder_takes_no_options_of_datasets(
    sightline: Sightline, photos: Path, options: dict[str, Any], reason: str
) -> None:
    with pytest.raises(UsageError) as error:
        sightline.index(photos, **options)
    assert str(error.value) == reason.format(photos=photos)
    assert sightline.galleries() == []


def test_options_that_cannot_be_are_told_before_anything_is_read(run: Run, photos: Path) -> None:
    path = coco(photos / "captions.json", "a.png")
    for options, said in (
        (("--layout", "cocoa"), "--layout is cocoa; it is one of coco, karpathy, "),
        (("--images", photos / "nowhere"), f"--images is {photos / 'nowhere'}, but there is no such folder"),
    ):
        done = run("index", path, *options)
        assert (done.exit_code, done.stderr.startswith(f"sightline: {said}")) == (2, True)
        assert len(done.stderr.splitlines()) == 1


def test_what_is_neither_folder_nor_dataset_is_told(sightline: Sightline, photos: Path) -> None:
    with pytest.raises(UsageError) as error:
        sightline.index(photos / "a.png")
    assert str(error.value) == (
        f"{photos / 'a.png'} is no dataset: name a folder of pictures, an annotation file or an archive"
    )


def test_a_dataset_of_rendered_postcards_gets_their_model(sightline: Sightline, tmp_path: Path) -> None:
    write_gallery(tmp_path / "cards", scenes=3, seed=5)
    path = coco(tmp_path / "cards.json", *(f"cards/{one.name}" for one in sorted((tmp_path / "cards").glob("*.png"))))
    assert sightline.index(path).model == "postcards"


def test_a_dataset_of_photographs_without_a_photo_model_is_searched_by_its_texts(
    sightline: Sightline, photos: Path, said: list[str]
) -> None:
    (photos / "list.csv").write_text("image,caption\na.png,a kite\nb.png,two boats\n")
    assert sightline.index(photos / "list.csv").model is None
    assert f"sightline index {photos / 'list.csv'} --model" in said[-1]
    assert [from_uri(hit.uri).name for hit in sightline.search("list", "boats")] == ["b.png"]
    report = sightline.index(photos / "list.csv", model="hashing").report
    assert (report.added, report.texts, report.pairs) == (2, 2, 2)
    assert sightline.index(photos / "list.csv").report.unchanged == 2


def test_pictures_in_an_archive_are_found_and_shown(sightline: Sightline, photos: Path, settings: Settings) -> None:
    with tarfile.open(photos.parent / "00000.tar", "w") as archive:
        for name in ("a", "b"):
            archive.add(photos / f"{name}.png", f"{name}.png")
            text = f"of {name}".encode()
            info = tarfile.TarInfo(f"{name}.txt")
            info.size = len(text)
            archive.addfile(info, io.BytesIO(text))
    path = photos.parent / "00000.tar"
    indexed = sightline.index(path, model="hashing")
    assert (indexed.gallery, indexed.report.added, indexed.report.pairs) == ("00000", 2, 2)
    assert sightline.index(path).report.unchanged == 2
    page = sightline.search("00000", "anything")
    assert sorted(hit.uri for hit in page) == [f"{path}/a.png", f"{path}/b.png"]
    assert not any(hit.stale for hit in page)
    with TestClient(create_app(settings)) as client:
        address = f"/v1/items/{page.hits[0].id}"
        assert client.get(f"{address}/thumbnail").status_code == 200
        name = client.get(address).json()["name"]
        assert client.get(f"{address}/image").content == (photos / name).read_bytes()
    with pytest.raises(UsageError, match="--images is for annotation files"):
        sightline.index(path, images=photos)


def test_an_item_tells_its_split_and_what_else_its_dataset_says(
    sightline: Sightline, captions: Path, photos: Path, settings: Settings
) -> None:
    captions.write_text("image,caption,split,licence\na.png,a dog,test,CC BY 4.0\nb.png,a cat,,\n")
    sightline.index(captions, images=photos, gallery="coco", model="hashing")
    with TestClient(create_app(settings)) as client:
        told = {}
        for hit in sightline.search("coco", "anything"):
            body = client.get(f"/v1/items/{hit.id}").json()
            told[body["name"]] = (body["split"], body["metadata"].get("licence"))
        (text,) = sightline.lookup(photos / "a.png", "coco", k=1, rerank=False)
        body = client.get(f"/v1/items/{text.id}").json()
        body = client.get(f"/v1/items/{text.id}").json()
        assert (body["split"], body["metadata"]) == (None, {})
    assert told == {"a.png": ("test", "CC BY 4.0"), "b.png": (None, None)}


def test_a_job_reads_a_dataset_again_as_it_was_read(
    sightline: Sightline, captions: Path, photos: Path, settings: Settings
) -> None:
    sightline.index(captions, images=photos, split="test", gallery="coco", model="hashing")
    sightline.index(captions, images=photos, split="val", gallery="coco")
    found = jobs.require_places(sightline.wiring, "coco")
    assert [(place.path, place.reading.split, place.reading.images) for place in found] == [
        (captions, "test", photos),
        (captions, "val", photos),
    ]
    write(captions, [*ROWS, ("d.png", "a hen", "val")])
    with TestClient(create_app(settings)) as client:
        job = client.post("/v1/jobs", json={"kind": "index", "gallery": "coco"}).json()
        deadline = monotonic() + SECONDS
        while job["state"] in ("waiting", "running"):
            assert monotonic() < deadline
            sleep(0.02)
            job = client.get(f"/v1/jobs/{job['id']}").json()
    assert (job["state"], job["error"]) == ("done", None)
    assert names_of(sightline, "coco") == ["a.png", "b.png", "c.png", "d.png"]


def test_a_job_reads_no_dataset_outside_of_the_folders_that_the_service_may_index(
    sightline: Sightline, captions: Path, photos: Path, tmp_path: Path
) -> None:
    sightline.index(captions, images=photos, gallery="coco", model="hashing")
    sightline.settings.folders = (photos,)
    with pytest.raises(UsageError) as error:
        jobs.require_places(sightline.wiring, "coco")
    assert str(error.value) == (
        f"the dataset {captions} lies in no folder that this service may index: its keeper names some in "
        f"SIGHTLINE_FOLDERS, or indexes it at the command line: sightline index {captions}"
    )
    sightline.settings.folders = (tmp_path,)
    assert len(jobs.require_places(sightline.wiring, "coco")) == 1
    captions.unlink()
    with pytest.raises(SourceMissing):
        jobs.require_places(sightline.wiring, "coco")
