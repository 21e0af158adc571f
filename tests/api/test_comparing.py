"""Two evaluations side by side: by pages made by hand, and by the shipped models over the same postcards."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from api import Sightline
from api.cli.comparison import table
from api.doors import comparing
from api.doors.comparing import Comparison, Difference
from api.errors import UsageError
from api.settings import Settings
from retrieval.evaluation.pages import IMAGES, ROW, TEXTS, to_bytes
from storage import evaluations, items
from storage.errors import EvaluationNotFound
from storage.evaluations import NewEvaluation, Page
from storage.items import Item

Places = Sequence[int | None]
"""The rank of each text's picture, None where it was missed."""


@pytest.fixture
def texts(sightline: Sightline, gallery: str) -> list[Item]:
    """Three texts of five pictures: the first of a.png, the second of b.png, the third of c.png."""
    with sightline.wiring.database.reading() as session:
        return items.embedded(session, sightline.gallery(gallery).id, "text")


@pytest.fixture
def pictures(sightline: Sightline, gallery: str) -> list[Item]:
    with sightline.wiring.database.reading() as session:
        return items.embedded(session, sightline.gallery(gallery).id, "image")


class Maker:
    """Stores evaluations whose pages rank each text's picture as it is told."""

    def __init__(self, sightline: Sightline, texts: Sequence[Item], pictures: Sequence[Item]) -> None:
        self.sightline, self.texts, self.pictures = sightline, texts, pictures

    def made(self, places: Places, *, candidates: int = 5, ends: bool = True, keeps_pages: bool = True) -> int:
        """Store an evaluation of the first texts, and give its id."""
        settings = {"candidates": candidates, "rerank": False, "scoring": "itc"}
        new = NewEvaluation(1, "hashing", settings, "", "abc", None, "itc", {"python": "3.11"})
        asked = list(zip(self.texts, self.pictures, places, strict=False))
        with self.sightline.wiring.database.writing() as session:
            begun = evaluations.begin(session, self.texts[0].gallery_id, new)
            if keeps_pages:
                pages = [self._page(text, picture, place) for text, picture, place in asked]
                evaluations.add_pages(session, begun.id, pages, seconds=1.0)
            if ends:
                gains = [0.0 if place is None else 1 / np.log2(place + 1) for _, _, place in asked]
                measures = {"before": {"ndcg@10": float(np.mean(gains))}, "after": None, "queries": len(asked)}
                evaluations.finish(session, begun.id, {IMAGES: measures})
            return begun.id

    def _page(self, text: Item, picture: Item, place: int | None) -> Page:
        others = [one.id for one in self.pictures if one.id != picture.id]
        if place is not None:
            others.insert(place - 1, picture.id)
        rows = np.zeros(len(others), dtype=ROW)
        rows["item"], rows["rank"] = others, np.arange(1, len(others) + 1)
        rows["similarity"], rows["yes"], rows["no"] = 1 / rows["rank"], np.nan, np.nan
        return Page(IMAGES, text.id, 0, place, None, 1.0, 0.0, to_bytes(rows))


@pytest.fixture
def maker(sightline: Sightline, texts: list[Item], pictures: list[Item]) -> Maker:
    return Maker(sightline, texts, pictures)


def difference(comparison: Comparison, measure: str, stage: str = "before", direction: str = IMAGES) -> Difference:
    found = [
        one for one in comparison.differences if (one.direction, one.stage, one.measure) == (direction, stage, measure)
    ]
    assert len(found) == 1
    return found[0]


# -------------------------------------------------------------------------------------------------- pages made by hand


def test_measures_are_means_over_the_queries(sightline: Sightline, maker: Maker) -> None:
    found = comparing.compare(sightline.wiring, maker.made([1, 2, None]), maker.made([1, 1, 4]))
    assert [one.measure for one in found.differences] == ["recall@1", "recall@5", "recall@10", "mrr", "ndcg@10"]
    first = difference(found, "recall@1")
    assert (first.first, first.second) == pytest.approx((1 / 3, 2 / 3))
    assert first.difference == pytest.approx(1 / 3)
    assert first.low <= first.difference <= first.high
    assert 0 < first.p <= 1
    mrr = difference(found, "mrr")
    assert (mrr.first, mrr.second) == pytest.approx((1.5 / 3, 2.25 / 3))
    gain = difference(found, "ndcg@10")
    assert (gain.first, gain.second) == pytest.approx(((1 + 1 / np.log2(3)) / 3, (2 + 1 / np.log2(5)) / 3))
    assert not found.notes


def test_only_queries_that_both_asked_count(sightline: Sightline, maker: Maker) -> None:
    found = comparing.compare(sightline.wiring, maker.made([2, 2, 2]), maker.made([1]))
    assert [(one.direction, one.queries, one.first, one.second, one.by) for one in found.matched] == [
        (IMAGES, 1, 3, 1, "item"),
        (TEXTS, 0, 0, 0, "item"),
    ]
    assert difference(found, "recall@1").first == 0.0
    assert difference(found, "recall@1").second == 1.0


def test_the_queries_that_changed_most_come_first_both_ways(
    sightline: Sightline, maker: Maker, texts: list[Item]
) -> None:
    found = comparing.compare(sightline.wiring, maker.made([4, None, 1]), maker.made([2, 1, None]))
    assert [(one.query, one.first, one.second) for one in found.better] == [("green", None, 1), ("red", 4, 2)]
    assert [(one.query, one.first, one.second) for one in found.worse] == [("blue sky", 1, None)]
    assert found.better[0].first_item == found.better[0].second_item == texts[1].id


def test_no_more_than_some_of_the_changes_are_shown(
    sightline: Sightline, maker: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comparing, "CHANGED", 1)
    found = comparing.compare(sightline.wiring, maker.made([2, 3, 1]), maker.made([1, 1, 1]))
    assert [one.query for one in found.better] == ["green"]
    assert found.worse == ()


def test_what_differs_is_listed_and_what_is_the_same_is_not(sightline: Sightline, maker: Maker) -> None:
    found = comparing.compare(sightline.wiring, maker.made([1, 1, 1]), maker.made([1, 1, 1], candidates=4))
    assert [(one.what, one.first, one.second) for one in found.differing] == [("setting candidates", 5, 4)]
    assert {one.difference for one in found.differences} == {0.0}
    assert found.better == found.worse == ()


def test_ndcg_is_left_out_where_what_is_right_has_changed(
    sightline: Sightline, maker: Maker, texts: list[Item], pictures: list[Item]
) -> None:
    first, second = maker.made([2, 2, 2]), maker.made([1, 1, 1])
    with sightline.wiring.database.writing() as session:
        items.add_synthetic_pairs(session, texts[0].gallery_id, [(texts[0].id, pictures[4].id)])
        items.set_standing(session, [(texts[0].id, pictures[4].id)], items.GIVEN)
    found = comparing.compare(sightline.wiring, first, second)
    assert "ndcg@10" not in {one.measure for one in found.differences}
    assert len(found.notes) == 2
    assert found.notes[0].startswith(f"nDCG is left out where evaluation {first} cannot be read so any more")


# ------------------------------------------------------------------------------------------------------ what cannot be


def refusal(sightline: Sightline, first: int, second: int) -> str:
    with pytest.raises(UsageError) as found:
        comparing.compare(sightline.wiring, first, second)
    assert found.value.field == "evaluation"
    assert "\n" not in str(found.value)
    return str(found.value)


def test_an_evaluation_is_not_compared_with_itself(sightline: Sightline, maker: Maker) -> None:
    only = maker.made([1])
    assert refusal(sightline, only, only) == f"evaluation {only} would be compared with itself: name two"


def test_one_that_has_not_come_to_its_end_is_refused(sightline: Sightline, maker: Maker) -> None:
    said = refusal(sightline, maker.made([1]), maker.made([1], ends=False))
    assert "has not come to its end" in said
    assert "--resume" in said


def test_one_without_pages_is_refused(sightline: Sightline, maker: Maker) -> None:
    said = refusal(sightline, maker.made([1]), maker.made([1], keeps_pages=False))
    assert "kept no pages" in said
    assert "`sightline evaluate photos` makes one" in said


def test_an_unknown_one_is_not_found(sightline: Sightline, maker: Maker) -> None:
    with pytest.raises(EvaluationNotFound):
        comparing.compare(sightline.wiring, maker.made([1]), 12345)


def test_galleries_that_share_no_name_are_refused(
    sightline: Sightline, maker: Maker, tmp_path: Path, paint: Any
) -> None:
    for name in "xyz":
        paint(tmp_path / "others" / f"{name}.png", (0, 90, len(name)))
    line = {"file": "x.png", "texts": ["red"]}  # the wording is known, the picture is not
    (tmp_path / "others" / "captions.jsonl").write_text(json.dumps(line))
    sightline.index(tmp_path / "others", gallery="others", model="hashing")
    said = refusal(sightline, maker.made([1, 1, 1]), sightline.evaluate("others").id)
    assert "no picture or text of photos has a name that others knows" in said


def test_parts_of_one_gallery_that_do_not_meet_are_refused(sightline: Sightline, maker: Maker) -> None:
    first = maker.made([1])
    maker.texts, maker.pictures = maker.texts[1:], [*maker.pictures[1:], maker.pictures[0]]
    assert "they measured different parts of photos" in refusal(sightline, first, maker.made([1]))


def test_two_homes_of_one_dataset_share_every_query_and_name_no_machine(
    sightline: Sightline, tmp_path: Path, paint: Any
) -> None:
    names = ("a/1.png", "b/1.png", "b/2.png")
    for home, pictures in (("one", "images"), ("two", "images"), ("three", "pictures of mine")):
        folder = tmp_path / home
        for place, name in enumerate(names):
            paint(folder / pictures / name, (50 * place, 9, 9))
        lines = [json.dumps({"file": name, "texts": [f"of {name}"]}) + "\n" for name in names]
        (folder / "list.jsonl").write_text("".join(lines))
        images = None if pictures == "images" else folder / pictures
        sightline.index(folder / "list.jsonl", gallery=home, model="hashing", images=images)
    first, *others = (sightline.evaluate(home).id for home in ("one", "two", "three"))
    for second in others:
        found = comparing.compare(sightline.wiring, first, second)
        assert [(one.queries, one.first, one.by) for one in found.matched] == [(3, 3, "name"), (3, 3, "name")]
    for home in ("one", "two", "three"):
        sightline.export_trec(sightline.evaluate(home).id, tmp_path / "trec" / home)
    written = {(tmp_path / "trec" / home / "image-to-text.qrels").read_text() for home in ("one", "two", "three")}
    (same,) = written
    assert [line.split()[0] for line in same.splitlines()] == list(names)
    assert str(tmp_path).strip("/") not in same


# ------------------------------------------------------------------------------------------------- how it is given back


def test_a_comparison_becomes_json(sightline: Sightline, maker: Maker) -> None:
    first, second = maker.made([1, 2, None]), maker.made([1, 1, 4])
    found = json.loads(json.dumps(comparing.compare(sightline.wiring, first, second).to_json()))
    assert (found["first"]["id"], found["second"]["id"]) == (first, second)
    assert found["matched"][0] == {"direction": IMAGES, "queries": 3, "first": 3, "second": 3, "by": "item"}
    assert found["better"][0]["query"] == "green"
    assert {"differences", "worse", "differing", "notes"} <= found.keys()


def test_the_table_has_a_line_for_each_measure_and_each_change(sightline: Sightline, maker: Maker) -> None:
    lines = table(comparing.compare(sightline.wiring, maker.made([4, None, 1]), maker.made([2, 1, None]))).splitlines()
    assert lines[0].startswith("A: evaluation ")
    assert "text->image: 3 queries that both asked, matched by item (of 3 of A and 3 of B)" in lines
    measured = [line.split() for line in lines if line.startswith("text->image  first stage")]
    assert [line[3:6] for line in measured[:2]] == [["R@1", "33.3", "33.3"], ["R@5", "66.7", "66.7"]]
    assert "missed -> 1      text->image  green" in lines
    assert "     1 -> missed text->image  blue sky" in lines
    assert max(map(len, lines)) <= 120


def test_a_caption_cannot_steer_a_terminal(sightline: Sightline, photos: Path, paint: Any) -> None:
    line = {"file": "a.png", "texts": ["red\x1b]0;title\x07\n\u202e" + "long " * 60]}
    (photos / "captions.jsonl").write_text(json.dumps(line))
    sightline.index(photos, gallery="photos", model="hashing")
    with sightline.wiring.database.reading() as session:
        gallery = sightline.gallery("photos").id
        maker = Maker(sightline, items.embedded(session, gallery, "text"), items.embedded(session, gallery, "image"))
    said = table(comparing.compare(sightline.wiring, maker.made([2]), maker.made([1])))
    assert all(one.isprintable() for one in said.splitlines())
    assert max(map(len, said.splitlines())) <= 120


def test_a_comparison_is_a_page_too(sightline: Sightline, maker: Maker, tmp_path: Path) -> None:
    found = comparing.compare(sightline.wiring, maker.made([4, None, 1]), maker.made([2, 1, None]))
    place = comparing.save(found, tmp_path / "comparison.html")
    page = place.read_text(encoding="utf-8")
    assert "http" not in page
    assert "<script" not in page
    assert page.count("<bdi>") == 3
    for one in found.differences:
        assert f'data-measure="{one.measure}"' in page
        assert f'<data value="{one.difference}">' in unescape(page)
    with pytest.raises(UsageError, match="it is a folder"):
        comparing.save(found, tmp_path)


# --------------------------------------------------------------------------------------------------- the shipped models


@pytest.fixture(scope="module")
def library(cards_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sightline]:
    """The 24 postcards in a gallery of each shipped model."""
    home = tmp_path_factory.mktemp("comparing") / "home"
    shutil.copytree(cards_home, home)
    opened = Sightline(settings=Settings(home=home, offline=True))
    opened.index(cards_home.parent / "cards", gallery="albef", model="postcards-albef")
    yield opened
    opened.close()


def test_two_galleries_of_one_folder_are_matched_by_name(library: Sightline) -> None:
    first, second = library.evaluate("cards", candidates=10), library.evaluate("albef", candidates=10)
    found = comparing.compare(library.wiring, first.id, second.id)
    assert [(one.queries, one.by) for one in found.matched] == [(24, "name"), (24, "name")]
    for ours, theirs in zip(first.directions, second.directions, strict=True):
        assert theirs.after is not None
        for measure in ("recall@1", "recall@5", "recall@10", "mrr", "ndcg@10"):
            one = difference(found, measure, "after", ours.name)
            assert ours.after is not None
            assert (one.first, one.second) == pytest.approx((ours.after[measure], theirs.after[measure]))
            assert one.difference == pytest.approx(one.second - one.first)
    assert {"gallery", "model", "matcher", "encoder fingerprint"} <= {one.what for one in found.differing}
    assert not found.notes


def test_what_reranked_nothing_is_held_against_the_first_stage(library: Sightline) -> None:
    first, second = library.evaluate("cards", rerank=False), library.evaluate("cards", candidates=10, queries=8)
    found = comparing.compare(library.wiring, first.id, second.id)
    assert [(one.queries, one.first, one.second) for one in found.matched] == [(8, 24, 8), (8, 24, 8)]
    assert found.notes[-1].startswith(f"Evaluation {first.id} reranked nothing")
    before, after = difference(found, "mrr"), difference(found, "mrr", "after")
    assert before.first == pytest.approx(after.first)
    assert after.second == pytest.approx(second.directions[0].after["mrr"])  # type: ignore[index]
    assert all((one.first or 99) > (one.second or 99) for one in found.better)
