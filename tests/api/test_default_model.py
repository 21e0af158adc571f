"""Which model a new gallery gets, and what is said about it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from api import Sightline
from retrieval.errors import NoModel
from retrieval.training.world.galleries import write_gallery

Paint = Callable[..., Path]


def test_photographs_without_a_photo_model_are_searched_by_names_and_captions(
    sightline: Sightline, said: list[str], photos: Path
) -> None:
    (photos / "a.png").rename(photos / "black cat.png")
    (photos / "captions.jsonl").write_text('{"file": "b.png", "texts": ["two cats asleep"]}')
    page = sightline.search(photos, "cat")
    assert len(said) == 2
    assert "No photo model is here" in said[0]
    assert "--model blip-itm-base-coco (895 MB)" in said[1]
    assert (page.stages, page.model) == ("names", None)
    assert sorted(Path(hit.uri).name for hit in page) == ["b.png", "black cat.png"]
    assert {(hit.itc_similarity, hit.itm_logit, hit.match_probability) for hit in page} == {(None, None, None)}


def test_captions_added_later_are_searched_too(sightline: Sightline, photos: Path) -> None:
    sightline.search(photos, "cat")
    (photos / "captions.jsonl").write_text('{"file": "b.png", "texts": ["two cats asleep"]}')
    assert [Path(hit.uri).name for hit in sightline.search(photos, "cat")] == ["b.png"]
    (photos / "captions.jsonl").unlink()
    assert len(sightline.search(photos, "cat")) == 0


def test_a_gallery_of_names_gets_its_model_when_there_is_one(sightline: Sightline, photos: Path) -> None:
    (photos / "captions.jsonl").write_text('{"file": "b.png", "texts": ["two cats asleep"]}')
    sightline.search(photos, "cat")
    report = sightline.index(photos, model="hashing").report
    assert (report.added, report.pairs) == (5, 1)
    page = sightline.search("photos", "cat", k=10)
    assert (page.stages, len(page)) == ("itc", 5)
    assert sightline.index(photos).report.unchanged == 5


def test_a_picture_cannot_be_searched_by_in_a_gallery_of_names(sightline: Sightline, photos: Path) -> None:
    sightline.index(photos)
    with pytest.raises(NoModel, match="searching by picture"):
        sightline.search("photos", image=photos / "a.png")


def test_a_gallery_of_names_that_got_its_model_in_part_counts_and_measures_what_has_vectors(
    sightline: Sightline, said: list[str], photos: Path, tmp_path: Path, paint: Paint
) -> None:
    other = tmp_path / "other"
    paint(other / "z.png", (1, 1, 1))
    for folder, file in ((photos, "b.png"), (other, "z.png")):
        (folder / "captions.jsonl").write_text(f'{{"file": "{file}", "texts": ["picture {file}"]}}')
        sightline.index(folder, gallery="both")
    assert [one.items for one in sightline.galleries()] == [6]
    sightline.index(photos, gallery="both", model="hashing")
    assert str(other) in said[-1]
    assert [one.items for one in sightline.galleries()] == [5]
    assert [one.queries for one in sightline.evaluate("both").directions] == [1, 1]


def test_all_captions_of_a_file_are_searched_by_names(sightline: Sightline, photos: Path) -> None:
    lines = ['{"file": "b.png", "texts": ["two cats"]}', '{"file": "b.png", "texts": ["a sofa"]}']
    (photos / "captions.jsonl").write_text("\n".join(lines))
    assert len(sightline.search(photos, "cat")) == len(sightline.search(photos, "sofa")) == 1


def test_rendered_pictures_get_the_bundled_model(sightline: Sightline, said: list[str], tmp_path: Path) -> None:
    write_gallery(tmp_path / "drawn", scenes=10, seed=1)
    assert sightline.index(tmp_path / "drawn").model == "postcards"
    assert said == []


def test_the_bundled_model_on_photographs_is_a_warning(sightline: Sightline, said: list[str], photos: Path) -> None:
    assert sightline.index(photos, model="postcards").model == "postcards"
    assert len(said) == 1
    assert "postcards has seen drawn postcards only" in said[0]


def test_a_model_by_setting_is_used_without_asking(photos: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIGHTLINE_MODEL", "hashing")
    assert Sightline().index(photos).model == "hashing"
