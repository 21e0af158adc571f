"""An evaluation as a page: read as a browser reads it, never compared with a stored one."""

from __future__ import annotations

import json
import re
import shutil
from base64 import b64decode
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from api import Sightline
from api.doors import reports
from api.errors import UsageError
from api.reports import plots, words
from api.results import Evaluated, MeasuredDirection
from api.settings import Settings
from retrieval.evaluation.measured import Depths
from retrieval.evaluation.measures import Bin
from storage import evaluations
from storage.errors import EvaluationNotFound
from storage.evaluations import NewEvaluation

VOID = frozenset({"meta", "img", "br", "link", "input", "hr"})
HOSTILE = "</title><script>alert('1')</script> & <b onclick=x>{{ 7 * 7 }}"
HOSTILE_FILE = '"><img src=x onerror=alert(2)>.png'


class Element:
    """An element of a page: name, attributes, children and the text inside."""

    def __init__(self, name: str, attributes: dict[str, str]) -> None:
        self.name, self.attributes = name, attributes
        self.children: list[Element] = []
        self.parts: list[str] = []

    def all(self, name: str | None = None, **attributes: str) -> Iterator[Element]:
        """Find what lies inside, by name and attributes; `data_stage` means data-stage."""
        for child in self.children:
            wanted = {key.rstrip("_").replace("_", "-"): value for key, value in attributes.items()}
            if name in (None, child.name) and wanted.items() <= child.attributes.items():
                yield child
            yield from child.all(name, **attributes)

    def one(self, name: str | None = None, **attributes: str) -> Element:
        """Find the only such element."""
        found = list(self.all(name, **attributes))
        assert len(found) == 1, (name, attributes, len(found))
        return found[0]

    @property
    def text(self) -> str:
        """The text inside, spaces made one."""
        return " ".join("".join(self.parts).split())


class Reader(HTMLParser):
    """Makes elements of a page; what was opened must be closed."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.root = Element("", {})
        self.open = [self.root]
        self.feed(page)
        self.close()
        assert [one.name for one in self.open] == [""]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, {name: value or "" for name, value in attrs})
        self.open[-1].children.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open[-1].children.append(Element(tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open[-1].name == tag
        self.open.pop()

    def handle_data(self, data: str) -> None:
        for element in self.open:
            element.parts.append(data)


def read(page: str) -> Element:
    return Reader(page).root


@pytest.fixture(scope="module")
def library(cards_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sightline]:
    """The 24 postcards in a home of this file's own, measured once as the protocol says and once in two folds."""
    home = tmp_path_factory.mktemp("reports") / "home"
    shutil.copytree(cards_home, home)
    opened = Sightline(settings=Settings(home=home, offline=True))
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def measured(library: Sightline) -> Evaluated:
    return library.evaluate("cards", candidates=12)


@pytest.fixture(scope="module")
def page(library: Sightline, measured: Evaluated) -> str:
    return reports.html(library.wiring, measured.id)


@pytest.fixture(scope="module")
def root(page: str) -> Element:
    return read(page)


def values(row: Element) -> dict[str, float | None]:
    """Read the numbers of a row by measure; what has no number has an empty value."""
    found = {}
    for cell in row.all("td"):
        for number in cell.all("data"):
            value = number.attributes["value"]
            found[cell.attributes["data-measure"]] = float(value) if value else None
    return found


# ------------------------------------------------------------------------------------------------------- what it says


@pytest.mark.parametrize("stage", ["before", "after"])
@pytest.mark.parametrize("direction", ["text->image", "image->text"])
def test_every_number_of_the_table_is_the_stored_one(
    root: Element, measured: Evaluated, direction: str, stage: str
) -> None:
    one = next(one for one in measured.directions if one.name == direction)
    stored = one.before if stage == "before" else one.after
    row = root.one("tr", data_direction=direction, data_stage=stage)
    assert stored is not None
    assert values(row) == stored
    assert set(values(row)) == {"recall@1", "recall@5", "recall@10", "mrr", "ndcg@10", "median_rank"}
    low, high = one.intervals[stage]["recall@1"]
    assert low is not None
    assert high is not None
    cell = row.one("td", data_measure="recall@1")
    assert cell.text == f"{100 * (stored['recall@1'] or 0):.1f} % {100 * low:.1f} – {100 * high:.1f}"


def test_mean_recall_queries_and_items_are_told(root: Element, measured: Evaluated) -> None:
    shown = root.one("tr", data_mean="after").one("data").attributes["value"]
    assert float(shown) == measured.mean_recall["after"]
    assert root.text.count("24 queries, 24 items to choose from") == 2


def test_a_departure_from_the_protocol_is_said_plainly(root: Element) -> None:
    assert "not the protocol's: 12 candidates in place of 32" in [one.text for one in root.all("p")]


def test_the_head_names_who_measured_what(root: Element, measured: Evaluated) -> None:
    facts = {one.one("dt").text: one.one("dd") for one in root.one("dl").children}
    assert facts["model"].text == "postcards"
    assert facts["matcher"].text == "postcards, the gallery's own, 12 candidates"
    assert facts["protocol"].text == "postcards (the shipped models on postcards)"
    assert facts["score"].text == "itm+itc: the match logit and the cosine added"
    assert facts["revision"].text == str(measured.revision)
    assert facts["fingerprint"].text == (measured.fingerprint or "")[:12]
    assert (measured.fingerprint or "none") in facts["fingerprint"].attributes["title"]
    assert root.one("h1").text == f"cards: evaluation {measured.id}"


@pytest.mark.parametrize("what", ["authors", "scores", "misses"])
def test_ties_scores_and_causes_are_the_stored_ones(root: Element, measured: Evaluated, what: str) -> None:
    for one in measured.directions:
        if what == "misses":
            for cause in set(one.misses["recall@1"]) - {"unread"}:  # shown where there is one
                stored = {name: float(counts[cause]) for name, counts in one.misses.items()}
                assert values(root.one("tr", data_cause=cause, data_direction=one.name)) == stored
        elif what == "scores":
            for name, recalls in one.scores.items():
                assert values(root.one("tr", data_score=name, data_direction=one.name)) == recalls
        else:
            for stage, recalls in one.authors.items():
                assert values(root.one("tr", data_authors=stage, data_direction=one.name)) == recalls


def test_settings_and_versions_are_listed(root: Element, measured: Evaluated) -> None:
    rows = {row.children[0].text: row.children[1].text for row in root.all("tr") if len(row.children) == 2}
    assert rows["candidates"] == "12"
    assert rows["departures"] == "12 candidates in place of 32"
    assert rows["python"] == measured.versions["python"]


def test_folds_have_a_row_each(library: Sightline) -> None:
    found = library.evaluate("cards", folds=2, candidates=10)
    root = read(reports.html(library.wiring, found.id))
    for one in found.directions:
        rows = list(root.all("tr", data_direction=one.name))
        assert [values(row) for row in rows if "data-fold" in row.attributes] == list(one.folds)
        assert len(one.folds) == 2


def test_a_first_stage_alone_needs_no_reranker_to_be_shown(library: Sightline) -> None:
    found = library.evaluate("cards", rerank=False)
    root = read(reports.html(library.wiring, found.id))
    assert not list(root.all("tr", data_stage="after"))
    assert "Nothing was reranked." in root.text
    assert {row.attributes["data-cause"] for row in root.all("tr") if "data-cause" in row.attributes} == {
        "encoder",
        "index",
    }


def test_the_best_queries_begin_with_something_right(root: Element, measured: Evaluated) -> None:
    queries = list(root.all("li", class_="query"))
    expected = sum(len(one.best) + len(one.worst) for one in measured.directions)
    assert len(queries) == expected > 0
    first = queries[0]
    assert measured.directions[0].best[0].after == 1
    hits = list(first.one("ol").children)
    assert len(hits) == 5
    assert hits[0].attributes["class"] == "is-right"
    assert "✓ right" in hits[0].text
    assert f"{measured.directions[0].best[0].before} → 1" in hits[0].text
    assert all("is-right" not in hit.attributes["class"] for hit in hits[1:])


# ------------------------------------------------------------------------------------------------ what it needs, and is


def test_the_page_needs_nothing_else(root: Element, page: str) -> None:
    for element in root.all():
        assert element.name not in {"script", "link", "iframe", "object", "base"}
        for name in ("src", "href", "xlink:href", "srcset", "action"):
            assert element.attributes.get(name, "#").startswith(("#", "data:image/jpeg;base64,")), element.name
        assert not [name for name in element.attributes if name.startswith("on")]
    assert set(re.findall(r"url\((.)", page)) == {"#"}
    assert "@import" not in page
    assert "http" not in page.replace("http-equiv", "")
    assert len(page.encode()) < 5_000_000


def test_thumbnails_are_small_jpegs_with_alt_texts(root: Element) -> None:
    pictures = list(root.all("img"))
    assert 24 < len(pictures) <= reports.MOST_PICTURES
    for one in pictures:
        picture = Image.open(BytesIO(b64decode(one.attributes["src"].partition(",")[2])))
        picture.load()
        assert picture.format == "JPEG"
        assert max(picture.size) <= reports.SIDE
        assert one.attributes["alt"].startswith("picture: postcard-")


def test_headers_have_a_scope_and_plots_a_name(root: Element) -> None:
    assert {one.attributes["scope"] for one in root.all("th")} == {"col", "row", "rowgroup"}
    drawn = list(root.all("svg"))
    assert len(drawn) == 10
    assert all(one.attributes["role"] == "img" and one.attributes["aria-label"] for one in drawn)
    assert all(list(one.all("caption")) for one in root.all("table"))


def test_ids_are_there_once_and_what_refers_to_them_finds_them(root: Element, page: str) -> None:
    ids = [one.attributes["id"] for one in root.all() if "id" in one.attributes]
    assert len(ids) == len(set(ids))
    named = {one.attributes["aria-labelledby"] for one in root.all("section")}
    used = {one.attributes["xlink:href"][1:] for one in root.all("use")}
    assert named | used | set(re.findall(r"url\(#([^)]+)\)", page)) <= set(ids)


def test_plots_take_the_colours_of_the_page() -> None:
    drawn = plots.reliability("one", [Bin(0.25, 0.5, 3), Bin(0.9, 1.0, 1)])
    assert "var(--first)" in drawn.svg
    assert not [name for name, colour in plots.COLOURS.items() if colour in drawn.svg]
    assert ">share that was right</text>" in drawn.svg


def test_drawing_leaves_the_settings_of_the_process_alone() -> None:
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    plots.misses("one", {"recall@1": {"encoder": 2}}, 10, ["encoder"])
    assert dict(mpl.rcParams) == before


# ------------------------------------------------------------------------------------------------ what is not as it was


@pytest.fixture
def hostile(sightline: Sightline, photos: Path) -> Evaluated:
    """Five pictures of the hashing encoder; a caption and a file name that would be markup."""
    (photos / "a.png").rename(photos / HOSTILE_FILE)
    lines = [{"file": HOSTILE_FILE, "texts": [HOSTILE]}, {"file": "b.png", "texts": ["green \x1b[31m \u202e dlrow"]}]
    (photos / "captions.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    sightline.index(photos, gallery="photos", model="hashing")
    return sightline.evaluate("photos")


def test_captions_and_file_names_are_text_and_never_markup(sightline: Sightline, hostile: Evaluated) -> None:
    page = reports.html(sightline.wiring, hostile.id)
    root = read(page)
    assert not list(root.all("script"))
    assert not [one for one in root.all() if set(one.attributes) & {"onclick", "onerror"}]
    assert " ".join(HOSTILE.split()) in root.text
    assert f"picture: {HOSTILE_FILE}" in {one.attributes["alt"] for one in root.all("img")}
    assert "49" not in {one.text for one in root.all("bdi")}
    assert "green \ufffd[31m \ufffd dlrow" in {one.text for one in root.all("bdi")}
    assert all(line.isprintable() for line in page.splitlines())


def test_pictures_of_a_dataset_have_its_names(sightline: Sightline, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "lists").mkdir()
    names = [f"{name}.png" for name in "abcde"]
    (tmp_path / "lists" / "list.csv").write_text("image,caption\n" + "".join(f"{one},of {one}\n" for one in names))
    sightline.index(tmp_path / "lists" / "list.csv", gallery="list", model="hashing", images=photos)
    page = reports.html(sightline.wiring, sightline.evaluate("list").id)
    assert {one.attributes["alt"] for one in read(page).all("img")} == {f"picture: {name}" for name in names}
    assert str(tmp_path).strip("/") not in page


def test_a_picture_that_is_gone_says_so(sightline: Sightline, hostile: Evaluated, photos: Path, home: Path) -> None:
    (photos / "b.png").unlink()
    shutil.rmtree(home / "blobs", ignore_errors=True)
    root = read(reports.html(sightline.wiring, hostile.id))
    assert "the picture is gone: missing" in {one.text for one in root.all("span")}
    assert f"picture: {HOSTILE_FILE}" in {one.attributes["alt"] for one in root.all("img")}


def test_a_gallery_that_has_changed_since_is_told(sightline: Sightline, hostile: Evaluated, photos: Path) -> None:
    (photos / "b.png").unlink()
    sightline.index(photos, gallery="photos")
    root = read(reports.html(sightline.wiring, hostile.id))
    assert "The gallery has changed since (revision" in root.text
    assert "no longer in the gallery" in root.text


def test_an_evaluation_of_an_older_version_is_shown_as_far_as_it_goes(sightline: Sightline, hostile: Evaluated) -> None:
    recalls = {"recall@1": 0.5, "recall@5": 1.0, "recall@10": 1.0}
    new = NewEvaluation(1, "hashing", {"candidates": 10, "rerank": False}, "", None, None, None, {})
    with sightline.wiring.database.writing() as session:
        gallery = sightline.gallery("photos").id
        old = evaluations.begin(session, gallery, new)
        evaluations.finish(session, old.id, {"text->image": {"before": recalls, "after": None}})
    root = read(reports.html(sightline.wiring, old.id))
    assert values(root.one("tr", data_direction="text->image", data_stage="before")) == recalls
    assert not list(root.all("svg"))


def test_more_pictures_than_a_page_holds_are_left_out_and_counted(
    sightline: Sightline, hostile: Evaluated, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reports, "MOST_PICTURES", 3)
    root = read(reports.html(sightline.wiring, hostile.id))
    assert len(list(root.all("img"))) == 3
    assert re.search(r"\d+ pictures are not shown: a page holds 3\.", root.text)


def test_a_long_caption_is_cut(sightline: Sightline, photos: Path) -> None:
    (photos / "captions.jsonl").write_text(json.dumps({"file": "a.png", "texts": ["word " * 400]}))
    sightline.index(photos, gallery="photos", model="hashing")
    root = read(reports.html(sightline.wiring, sightline.evaluate("photos").id))
    assert max(len(one.text) for one in root.all("bdi")) <= reports.LONGEST_TEXT + 2


# ------------------------------------------------------------------------------------------------------ what cannot be


def test_an_evaluation_that_has_not_come_to_its_end_is_refused(sightline: Sightline, hostile: Evaluated) -> None:
    new = NewEvaluation(1, "hashing", {"candidates": 10, "rerank": False}, "", None, None, None, {})
    with sightline.wiring.database.writing() as session:
        begun = evaluations.begin(session, sightline.gallery("photos").id, new)
    with pytest.raises(UsageError, match=rf"^evaluation {begun.id} has not come to its end: .*--resume.*goes on"):
        reports.html(sightline.wiring, begun.id)


def test_an_evaluation_of_something_else_is_refused(sightline: Sightline, hostile: Evaluated) -> None:
    new = NewEvaluation(1, "hashing", {}, "", None, None, None, {}, task="vqa")
    with sightline.wiring.database.writing() as session:
        other = evaluations.begin(session, sightline.gallery("photos").id, new)
    with pytest.raises(UsageError, match="measures vqa; this needs one of retrieval"):
        reports.html(sightline.wiring, other.id)


def test_an_unknown_evaluation_is_not_found(sightline: Sightline) -> None:
    with pytest.raises(EvaluationNotFound):
        reports.html(sightline.wiring, 12345)


def test_a_page_is_written_whole_and_replaces_an_older_one(
    library: Sightline, measured: Evaluated, page: str, tmp_path: Path
) -> None:
    place = tmp_path / "report.html"
    place.write_text("old")
    assert reports.save(library.wiring, measured.id, place) == place
    assert place.read_bytes() == page.encode()
    assert [one.name for one in tmp_path.iterdir() if one.suffix == ".tmp"] == []


@pytest.mark.parametrize(
    ("name", "reason"), [(".", "it is a folder"), ("nowhere/report.html", "there is no folder .*nowhere")]
)
def test_a_place_that_cannot_hold_a_page_is_refused(
    library: Sightline, measured: Evaluated, tmp_path: Path, name: str, reason: str
) -> None:
    with pytest.raises(UsageError, match=reason) as found:
        reports.save(library.wiring, measured.id, tmp_path / name)
    assert "\n" not in str(found.value)
    assert found.value.field == "report"


# ------------------------------------------------------------------------------------------------------------ sentences

DEPTHS = Depths((10, 20, 128), {"recall@1": (0.4, 0.412, 0.415)}, (7.0, 12.0, 82.0), {"recall@1": 20})


def test_the_cheapest_setting_is_said_in_words() -> None:
    said = words.of_depths(DEPTHS, "recall@1")
    assert said == "20 candidates: 41.2 % R@1 at 12 ms; 128 gain 0.3 points for 70 ms more."


def test_a_cheapest_setting_that_is_the_best_says_so() -> None:
    best = replace(DEPTHS, recall={"recall@1": (0.4, 0.5, 0.5)})
    said = words.of_depths(best, "recall@1")
    assert said == "20 candidates: 50.0 % R@1 at 12 ms; no other number of candidates gains anything."


DIRECTION = MeasuredDirection(
    name="text->image",
    queries=10,
    before={"recall@1": 0.5, "recall@5": 0.8, "recall@10": 0.8},
    after={"recall@1": 0.4, "recall@5": 0.9, "recall@10": 1.0},
    curve=None,
    calibration=None,
    authors={"before": {"recall@1": 0.5}, "after": {"recall@1": 0.7, "recall@5": 0.9}},
    misses={"recall@1": {"encoder": 1, "index": 0, "cut-off": 2, "reranker": 3}},
)


def test_the_headline_says_what_reranking_did() -> None:
    assert words.headline(DIRECTION) == (
        "The right picture comes first for 40.0 % of 10 texts, and is among the first ten for 100.0 %. "
        "Reranking lost 10.0 points of first places."
    )


def test_ties_are_said_to_differ_by_the_largest_difference() -> None:
    assert words.of_ties(DIRECTION) == "They differ by up to 30.0 points here (R@1, after reranking)."
    same = replace(DIRECTION, authors={"before": {"recall@1": 0.5}})
    assert words.of_ties(same) == "Both count the same here: no tie decided anything."


def test_most_misses_are_said_to_be_somebodys() -> None:
    said = words.of_misses(DIRECTION)
    assert said == "6 of 10 texts lost the first place to something wrong, most by the reranker (3)."


@pytest.mark.parametrize(
    ("seconds", "said"), [(None, "–"), (4.25, "4.2 s"), (75.0, "1 min 15 s"), (7260.0, "2 h 1 min")]
)
def test_seconds_are_said_as_people_say_them(seconds: float | None, said: str) -> None:
    assert words.duration(seconds) == said


def test_a_median_rank_that_is_missed_says_so() -> None:
    assert words.value("median_rank", None) == "missed"
    assert words.ends("median_rank", (1.0, None)) == "1 – missed"
