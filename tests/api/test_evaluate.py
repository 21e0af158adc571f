"""Evaluations through the library and the command line: what is stored, gone on with, written out and refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image
from sqlalchemy import delete, func, select, update

from api import Sightline
from api.cli import sightline as program
from api.cli.evaluation_tables import evaluation_table, list_table
from api.doors.evaluations import SCORES
from api.errors import UsageError
from api.library import Silence
from api.results import Evaluated, MeasuredDirection
from api.settings import Settings
from api.wiring import Wiring
from retrieval.errors import TooFewPictures, UnknownProtocol, UnknownSplit
from retrieval.evaluation.pages import DIRECTIONS, IMAGES, TEXTS, from_bytes
from retrieval.evaluation.protocols import PROTOCOLS
from retrieval.evaluation.trec import from_trec_id, gather_qrels, gather_run, measure_files
from retrieval.models.checkpoints import Checkpoint
from retrieval.models.hashing import HashingEncoder
from retrieval.models.roles import Encoder
from storage import evaluations, items
from storage.errors import EvaluationBusy, EvaluationNotFound
from storage.tables import CalibrationTable, EvaluationPageTable, EvaluationTable, GalleryTable

Run = Callable[..., Result]
CUTOFFS = ("recall@1", "recall@5", "recall@10")
FILES = ("text-to-image", "image-to-text")
PICTURES, PER_PICTURE = 20, 4
"""80 texts and 20 pictures: 100 queries, which are kept 64 at a time."""


class Revised(HashingEncoder):
    """The hashing encoder after a change."""

    fingerprint = "f" * 64


class RevisedWiring(Wiring):
    """Wires the changed encoder."""

    def encoder(self, checkpoint: Checkpoint) -> Encoder:
        return Revised()


class Ended(Exception):
    """Somebody ended a run."""


class Ending(Silence):
    """Lets a run keep its pages so many times, and ends it then; with `does`, something else happens in between."""

    def __init__(self, after: int | None = None, does: Callable[[], object] | None = None) -> None:
        self.after, self.does = after, does
        self.total, self.steps = 0, list[int]()

    def begin(self, what: str, total: int) -> None:
        self.total = total if what == "queries" else self.total

    def advance(self, count: int) -> None:
        if not count:
            return
        self.steps.append(count)
        if len(self.steps) == self.after:
            if self.does is None:
                raise Ended
            self.does()


def write_texts(folder: Path, texts: dict[str, list[str]]) -> None:
    lines = [json.dumps({"file": name, "texts": some}) for name, some in texts.items()]
    (folder / "captions.jsonl").write_text("".join(line + "\n" for line in lines))


def index_many(library: Sightline, folder: Path) -> str:
    for i in range(PICTURES):
        colour(folder / f"{i:02d}.png", (10 * i, 200 - 10 * i, 7))
    # No two texts have the same words, so that no similarities tie.
    texts = {f"{i:02d}.png": [f"text p{i} c{i}x{j}" for j in range(PER_PICTURE)] for i in range(PICTURES)}
    write_texts(folder, texts)
    return library.index(folder, gallery="many", model="hashing").gallery


@pytest.fixture(scope="module")
def indexed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with the gallery `many` of the hashing encoder: 20 pictures with four texts each."""
    folder = tmp_path_factory.mktemp("many")
    library = Sightline(settings=Settings(home=folder / "home", offline=True))
    index_many(library, folder / "many")
    library.close()
    return folder / "home"


@pytest.fixture
def many(home: Path, indexed: Path) -> str:
    """That gallery, in a home of its own; its pictures belong to all tests."""
    shutil.copytree(indexed, home)
    return "many"


@pytest.fixture
def fresh(sightline: Sightline, tmp_path: Path) -> str:
    """The same gallery over pictures of its own, which may be changed."""
    return index_many(sightline, tmp_path / "many")


def colour(path: Path, of: tuple[int, int, int]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), of).save(path)
    return path


@pytest.fixture(scope="module")
def shipped(cards_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sightline]:
    """A library of its own over the 24 postcards of the shipped model."""
    home = tmp_path_factory.mktemp("evaluate") / "home"
    shutil.copytree(cards_home, home)
    library = Sightline(settings=Settings(home=home, offline=True), say=lambda line: None)
    yield library
    library.close()


@pytest.fixture(scope="module")
def usual(shipped: Sightline) -> Evaluated:
    """The shipped model on its postcards with nothing said."""
    return shipped.evaluate("cards", progress=Silence())


@pytest.fixture(scope="module")
def few(shipped: Sightline) -> Evaluated:
    """Six queries of each direction, 12 candidates."""
    return shipped.evaluate("cards", candidates=12, queries=6)


@pytest.fixture
def run(home: Path) -> Run:
    def invoke(*arguments: str) -> Result:
        return CliRunner().invoke(program, list(arguments), catch_exceptions=False)

    return invoke


def stored(library: Sightline, evaluation_id: int) -> evaluations.Evaluation:
    with library.wiring.database.reading() as session:
        return evaluations.by_id(session, evaluation_id)


def pages(library: Sightline, evaluation_id: int, direction: str) -> list[evaluations.Page]:
    with library.wiring.database.reading() as session:
        return list(evaluations.pages(session, evaluation_id, direction))


def count_pages(library: Sightline) -> int:
    with library.wiring.database.reading() as session:
        return session.scalars(select(func.count()).select_from(EvaluationPageTable)).one()


def numbers(library: Sightline, evaluation_id: int) -> bytes:
    """Everything that was measured, but for how long it took."""
    measures = stored(library, evaluation_id).measures
    for one in measures.values():
        del one["milliseconds"]
        if one["depths"] is not None:
            del one["depths"]["milliseconds"]
    return json.dumps(measures, sort_keys=True).encode()


def found(library: Sightline, evaluation_id: int) -> dict[tuple[str, int], tuple[int, int | None, int | None, bytes]]:
    """What every query found, but for how long it took."""
    return {
        (name, one.query_id): (one.fold, one.before, one.after, one.page)
        for name in DIRECTIONS
        for one in pages(library, evaluation_id, name)
    }


def ended(library: Sightline, target: str, after: int, **how: Any) -> int:
    """Begin an evaluation and end it after so many batches; give its id."""
    with pytest.raises(Ended):
        library.evaluate(target, progress=Ending(after), **how)
    with library.wiring.database.reading() as session:
        row = session.scalars(select(EvaluationTable).order_by(EvaluationTable.id.desc()).limit(1)).one()
        assert row.state == "running"
        return row.id


def recalls(one: dict[str, Any] | None) -> dict[str, Any]:
    assert one is not None
    return {name: one[name] for name in CUTOFFS}


# What is measured and stored


def test_an_evaluation_says_by_what_it_was_made(shipped: Sightline, usual: Evaluated) -> None:
    assert (usual.model, usual.matcher, usual.protocol, usual.departures) == ("postcards", "postcards", "postcards", ())
    assert (usual.candidates, usual.scoring, usual.revision) == (32, "itm+itc", shipped.gallery("cards").revision)
    assert usual.fingerprint == shipped.gallery("cards").fingerprint
    assert {"python", "numpy", "torch", "device", "precision"} <= usual.versions.keys()
    assert usual.finished_at is not None
    assert usual.created_at < usual.finished_at
    assert 0 < (usual.seconds or 0) <= (usual.finished_at - usual.created_at).total_seconds() + 0.1


def test_a_stored_evaluation_is_read_again_as_it_was(shipped: Sightline, usual: Evaluated) -> None:
    assert shipped.evaluation(usual.id) == usual
    assert usual in shipped.evaluations("cards")


def test_mean_recall_is_that_of_three_cutoffs_and_both_directions(usual: Evaluated) -> None:
    for stage in ("before", "after"):
        six = [recalls(getattr(one, stage)).values() for one in usual.directions]
        assert usual.mean_recall[stage] == pytest.approx(np.mean([value for some in six for value in some]))


def test_every_query_s_ranks_are_kept(shipped: Sightline, usual: Evaluated) -> None:
    for direction in usual.directions:
        kept = pages(shipped, usual.id, direction.name)
        assert len(kept) == direction.queries == direction.items == 24
        for k in (1, 5, 10):
            for stage in ("before", "after"):
                share = np.mean([(getattr(one, stage) or 99) <= k for one in kept])
                assert recalls(getattr(direction, stage))[f"recall@{k}"] == pytest.approx(share)
        assert all(len(from_bytes(one.page)) == 24 for one in kept)


def test_the_shipped_model_finds_its_postcards_by_reranking(usual: Evaluated) -> None:
    for one in usual.directions:
        assert recalls(one.after)["recall@1"] > recalls(one.before)["recall@1"]
        assert sum(one.misses["recall@1"].values()) == round(24 * (1 - recalls(one.after)["recall@1"]))


@pytest.mark.parametrize("score", SCORES)
def test_each_score_of_its_own_run_gives_what_one_run_compares(shipped: Sightline, few: Evaluated, score: str) -> None:
    own = shipped.evaluate("cards", candidates=12, queries=6, score=score)
    for one, compared in zip(own.directions, few.directions, strict=True):
        assert recalls(one.after) == compared.scores[SCORES[score]]
        assert one.before == compared.before
        mine, theirs = (pages(shipped, run.id, one.name) for run in (own, few))
        assert [page.page for page in mine] == [page.page for page in theirs]
    assert own.scoring == SCORES[score]
    departed = [] if score == "itm+itc" else [f"ordered by {SCORES[score]} in place of itm+itc"]
    assert list(own.departures) == ["12 candidates in place of 32", *departed]


def test_another_score_or_fewer_pictures_leave_the_calibration_of_searches_alone(
    shipped: Sightline, usual: Evaluated
) -> None:
    def kept() -> list[Any]:
        with shipped.wiring.database.reading() as session:
            return [(row.direction, row.created_at) for row in session.scalars(select(CalibrationTable))]

    before = kept()
    assert len(before) == 2
    shipped.evaluate("cards", score="itc")
    shipped.evaluate("cards", subset=8)
    assert kept() == before


@pytest.mark.parametrize("name", ["albef", "blip2", "postcards-albef"])
def test_a_protocol_fixes_candidates_and_score_and_says_what_it_cannot(shipped: Sightline, name: str) -> None:
    row = PROTOCOLS[name]
    told = shipped.evaluate("cards", protocol=name, queries=2)
    assert (told.protocol, told.candidates, told.scoring) == (name, row.candidates, row.scoring)
    assert not [one for one in told.departures if "candidates" in one or "ordered" in one]
    assert any("px" in one for one in told.departures) == (row.image_size != 144)
    less = shipped.evaluate("cards", protocol=name, candidates=11, score="itc", queries=2)
    assert (less.candidates, less.scoring) == (11, "itc")
    assert f"11 candidates in place of {row.candidates}" in less.departures
    assert f"ordered by itc in place of {row.scoring}" in less.departures


def test_a_protocol_of_every_pair_reads_all_that_there_is(shipped: Sightline) -> None:
    told = shipped.evaluate("cards", protocol="alpro", queries=2)
    assert (told.candidates, told.scoring) == (24, "itm-probability")
    assert not [one for one in told.departures if "candidates" in one]
    assert all(len(from_bytes(one.page)) == 24 for one in pages(shipped, told.id, IMAGES))
    assert "24 candidates reranked" in evaluation_table(told).splitlines()[0]


def test_the_protocol_of_the_first_stage_reranks_nothing(shipped: Sightline) -> None:
    told = shipped.evaluate("cards", protocol="itc", queries=2)
    assert (told.protocol, told.matcher, told.scoring, told.departures) == ("itc", None, "itc", ())
    assert all(one.after is None and one.depths is None and one.scores == {} for one in told.directions)
    with pytest.raises(UsageError, match="protocol itc reranks nothing, so the matcher postcards-albef"):
        shipped.evaluate("cards", protocol="itc", matcher="postcards-albef")


def test_without_reranking_the_model_s_protocol_is_departed_from(shipped: Sightline) -> None:
    told = shipped.evaluate("cards", protocol="postcards", rerank=False, queries=2)
    assert (told.protocol, told.matcher) == ("postcards", None)
    assert "ordered by itc in place of itm+itc" in told.departures


def test_recall_at_fewer_candidates_is_that_of_a_run_with_so_many(shipped: Sightline, usual: Evaluated) -> None:
    shallow = shipped.evaluate("cards", candidates=10)
    for deep, own in zip(usual.directions, shallow.directions, strict=True):
        assert deep.depths is not None
        place = deep.depths.candidates.index(10)
        assert deep.depths.recall["recall@1"][place] == recalls(own.after)["recall@1"]
        assert deep.depths.recall["recall@10"][place] == recalls(own.after)["recall@10"]


def test_folds_are_averaged_and_shown_one_by_one(shipped: Sightline) -> None:
    told = shipped.evaluate("cards", folds=4)
    for one in told.directions:
        assert (one.queries, one.items, len(one.folds)) == (24, 6, 4)
        for name in CUTOFFS:
            assert recalls(one.after)[name] == pytest.approx(np.mean([fold[name] or 0 for fold in one.folds]))
    assert "R@1 of the 4 folds:" in evaluation_table(told)
    assert told.settings["folds"] == 4


def test_a_text_of_pictures_in_two_folds_does_not_stop_an_evaluation(sightline: Sightline, many: str) -> None:
    gallery = sightline.gallery(many)
    with sightline.wiring.database.writing() as session:
        pairs = items.pairs(session, gallery.id)
        images = sorted({image for _, image in pairs})
        (source,) = {one.source for one in items.embedded(session, gallery.id, "text")}
        items.set_pairs(session, gallery.id, source, {*pairs, (pairs[0][0], images[-1])})
    told = sightline.evaluate(many, folds=4)
    assert [one.queries for one in told.directions] == [80, 20]


def test_a_split_is_measured_alone_and_an_unknown_one_s_line_names_those_there_are(
    sightline: Sightline, many: str
) -> None:
    with sightline.wiring.database.writing() as session:
        images = [one.id for one in items.embedded(session, sightline.gallery(many).id, "image")]
        items.set_metadata(session, {one: ("test" if i < 5 else "val", {}) for i, one in enumerate(images)})
    told = sightline.evaluate(many, split="test")
    assert [(one.queries, one.items) for one in told.directions] == [(20, 5), (5, 20)]
    with pytest.raises(UnknownSplit, match="a split 'dev': it has test, val"):
        sightline.evaluate(many, split="dev")
    assert sightline.evaluations(many) == [told]


def test_a_subset_is_seeded(sightline: Sightline, many: str) -> None:
    first, again, other = (sightline.evaluate(many, subset=6, seed=seed) for seed in (1, 1, 2))
    assert found(sightline, first.id) == found(sightline, again.id)
    assert numbers(sightline, first.id) == numbers(sightline, again.id)
    assert set(found(sightline, first.id)) != set(found(sightline, other.id))
    assert [(one.queries, one.items) for one in first.directions] == [(24, 6), (6, 24)]


def test_the_seed_draws_the_intervals_and_leaves_the_measures(sightline: Sightline, many: str) -> None:
    first, again, other = (sightline.evaluate(many, seed=seed).directions[0] for seed in (0, 0, 1))
    assert first.before == again.before == other.before
    assert first.intervals == again.intervals
    assert first.intervals["before"]["mrr"] != other.intervals["before"]["mrr"]


# Going on


def test_a_run_that_was_ended_goes_on_and_comes_to_the_same_bytes(sightline: Sightline, many: str) -> None:
    whole = sightline.evaluate(many, matcher="postcards", candidates=10)
    begun = ended(sightline, many, 1, matcher="postcards", candidates=10)
    assert begun != whole.id
    kept = found(sightline, begun)
    assert 0 < len(kept) <= 64  # fewer on a slow machine: pages are kept after some seconds, too
    rest = Ending()
    resumed = sightline.evaluate(many, matcher="postcards", candidates=10, resume=True, progress=rest)
    assert resumed.id == begun
    assert rest.total == sum(rest.steps) == 100 - len(kept)
    assert numbers(sightline, resumed.id) == numbers(sightline, whole.id)
    assert found(sightline, resumed.id) == found(sightline, whole.id)
    assert kept.items() <= found(sightline, resumed.id).items()


@pytest.mark.parametrize("after", [1, 2])
def test_it_does_not_matter_where_a_run_was_ended(sightline: Sightline, many: str, after: int) -> None:
    whole = sightline.evaluate(many, folds=3, seed=5)
    begun = ended(sightline, many, after, folds=3, seed=5)
    resumed = sightline.evaluate(many, folds=3, seed=5, resume=True)
    assert resumed.id == begun
    assert (numbers(sightline, begun), found(sightline, begun)) == (
        numbers(sightline, whole.id),
        found(sightline, whole.id),
    )


def test_a_run_may_be_ended_again_and_again(sightline: Sightline, many: str) -> None:
    begun = ended(sightline, many, 1)
    with pytest.raises(Ended):
        sightline.evaluate(many, resume=True, progress=Ending(1))
    assert sightline.evaluate(many, resume=True).id == begun
    assert count_pages(sightline) == 100


def test_a_run_that_is_not_done_is_not_listed_and_says_how_to_go_on(sightline: Sightline, many: str) -> None:
    begun = ended(sightline, many, 1)
    assert sightline.evaluations(many) == []
    for read in (sightline.evaluation, lambda i: sightline.export_trec(i, "trec")):
        with pytest.raises(UsageError, match=f"evaluation {begun} has not come to its end: .*--resume"):
            read(begun)


def test_there_must_be_something_to_go_on_with_or_it_is_said(sightline: Sightline, many: str, said: list[str]) -> None:
    told = sightline.evaluate(many, resume=True)
    assert said == ["no evaluation of these settings was left unfinished; a new one begins"]
    assert sightline.evaluate(many, resume=True).id == told.id + 1


def test_without_being_asked_a_run_does_not_go_on_but_says_that_it_could(
    sightline: Sightline, many: str, said: list[str]
) -> None:
    begun = ended(sightline, many, 1)
    assert sightline.evaluate(many).id == begun + 1
    assert said == [f"evaluation {begun} of these settings did not come to its end; --resume goes on with it"]


@pytest.mark.parametrize(
    "other",
    [
        {"seed": 1},
        {"folds": 2},
        {"subset": 19},
        {"queries": 79},
        {"candidates": 11},
        {"matcher": "postcards", "candidates": 10, "queries": 2},
        {"protocol": "albef", "rerank": False},
    ],
)
def test_other_settings_are_another_evaluation(sightline: Sightline, many: str, other: dict[str, Any]) -> None:
    begun = ended(sightline, many, 1)
    assert sightline.evaluate(many, resume=True, **other).id != begun


def test_a_gallery_that_has_changed_is_not_gone_on_with(sightline: Sightline, fresh: str, tmp_path: Path) -> None:
    begun = ended(sightline, fresh, 1)
    colour(tmp_path / "many" / "new.png", (1, 2, 3))
    sightline.index(tmp_path / "many", gallery=fresh)
    assert sightline.evaluate(fresh, resume=True).id != begun


def test_weights_that_have_changed_do_not_go_on_with_what_others_began(sightline: Sightline, many: str) -> None:
    begun = ended(sightline, many, 1)
    with sightline.wiring.database.writing() as session:
        session.execute(update(GalleryTable).values(fingerprint=Revised.fingerprint))
    sightline.wiring = RevisedWiring(sightline.settings, print)
    told = sightline.evaluate(many, resume=True)
    assert (told.id, told.fingerprint) == (begun + 1, Revised.fingerprint)


def test_of_two_that_go_on_with_one_run_the_later_one_is_told_and_nothing_is_lost(
    sightline: Sightline, many: str
) -> None:
    whole = sightline.evaluate(many)
    begun = ended(sightline, many, 1)
    other = Sightline(settings=sightline.settings, say=print)
    race = Ending(1, does=lambda: other.evaluate(many, resume=True))
    # This one begins anew, and when it has kept its first pages the other one goes on with them to the end.
    with pytest.raises(EvaluationBusy) as caught:
        sightline.evaluate(many, progress=race)
    other.close()
    newest = sightline.evaluations(many)[0].id
    assert newest == begun + 1
    assert str(caught.value) == f"another process goes on with evaluation {newest}; let it finish"
    assert (numbers(sightline, newest), found(sightline, newest)) == (
        numbers(sightline, whole.id),
        found(sightline, whole.id),
    )


def test_a_run_that_is_forgotten_while_it_runs_says_so(sightline: Sightline, many: str) -> None:
    begun = ended(sightline, many, 1)
    race = Ending(1, does=lambda: sightline.forget_evaluation(begun + 1))
    with pytest.raises(EvaluationNotFound, match=f"there is no evaluation {begun + 1}"):
        sightline.evaluate(many, progress=race)
    sightline.forget_evaluation(begun)
    assert count_pages(sightline) == 0


# Forgetting


def test_forgetting_takes_the_pages_along(sightline: Sightline, many: str) -> None:
    first, second = sightline.evaluate(many), sightline.evaluate(many)
    sightline.forget_evaluation(first.id)
    assert count_pages(sightline) == 100
    assert sightline.evaluations(many) == [second]
    with pytest.raises(EvaluationNotFound):
        sightline.forget_evaluation(first.id)


def test_a_gallery_that_is_removed_takes_its_evaluations_along(sightline: Sightline, many: str) -> None:
    told = sightline.evaluate(many)
    ended(sightline, many, 1)
    sightline.remove(many)
    assert count_pages(sightline) == 0
    with pytest.raises(EvaluationNotFound):
        sightline.evaluation(told.id)


# Evaluations of older versions


@pytest.fixture
def old(sightline: Sightline, many: str) -> int:
    """An evaluation as an older version stored it: no pages, no protocol, fewer measures."""
    told = sightline.evaluate(many)
    with sightline.wiring.database.writing() as session:
        row = session.get_one(EvaluationTable, told.id)
        settings = {"candidates": 10, "rerank": True, "queries": None, "seed": 0, "matcher": "postcards"}
        measures = {
            name: {
                "queries": one["queries"],
                "before": recalls(one["before"]),
                "after": recalls(one["before"]),
                "curve": one["curve"],
                "calibration": None,
            }
            for name, one in row.measures.items()
        }
        nothing = dict.fromkeys(
            ("digest", "fingerprint", "matcher_fingerprint", "protocol", "versions", "seconds", "finished_at")
        )
        session.execute(delete(EvaluationPageTable))
        session.execute(update(EvaluationTable).values(settings=settings, measures=measures, **nothing))
    return told.id


def test_an_evaluation_of_an_older_version_is_listed_and_shown(sightline: Sightline, many: str, old: int) -> None:
    (told,) = sightline.evaluations(many)
    assert told == sightline.evaluation(old)
    assert (told.matcher, told.protocol, told.seconds, told.versions) == ("postcards", None, None, {})
    assert f"{old:5d} " in list_table(sightline.evaluation_rows(many))
    table = evaluation_table(told)
    assert table.startswith(f"evaluation {old}: many, model hashing, 10 candidates reranked by postcards\n")
    assert f"{IMAGES:12} {80:7d} before reranking" in table


def test_an_evaluation_of_an_older_version_has_no_trec_files(sightline: Sightline, old: int, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=f"evaluation {old} was made by an older version, which kept no pages"):
        sightline.export_trec(old, tmp_path / "trec")
    assert not (tmp_path / "trec").exists()


# Pictures that are gone


@pytest.fixture
def stale(fresh: str, tmp_path: Path) -> str:
    """A gallery of which the first picture is gone and the second has changed since it was indexed."""
    (tmp_path / "many" / "00.png").unlink()
    (tmp_path / "many" / "01.png").write_bytes(b"no picture")
    return fresh


def test_pictures_that_are_gone_are_missed_counted_and_named(
    sightline: Sightline, stale: str, said: list[str], tmp_path: Path
) -> None:
    told = sightline.evaluate(stale, matcher="postcards", candidates=20)
    images, texts = told.directions
    assert (images.unread, texts.unread) == (8, 2)
    assert [one.misses["recall@10"]["unread"] for one in (images, texts)] == [8, 2]
    gone = pages(sightline, told.id, TEXTS)[:2]
    assert [one.after for one in gone] == [None, None]
    with sightline.wiring.database.reading() as session:
        mine = [text for text, image in items.pairs(session, 1) if image in {one.query_id for one in gone}]
    asked = {one.query_id: one for one in pages(sightline, told.id, IMAGES)}
    assert [asked[one].after for one in mine] == [None] * 8
    assert all(asked[one].before is not None for one in mine)
    assert said == [
        "2 pictures could not be read and count as missed after reranking, the first is "
        f"{tmp_path / 'many' / '00.png'}; index gallery 'many' again"
    ]
    sightline.export_trec(told.id, tmp_path / "trec")
    by_text, by_picture = (gather_run(tmp_path / "trec" / f"{stem}.after.run") for stem in FILES)
    assert (len(by_text), {len(one.items) for one in by_text.values()}, len(by_picture)) == (80, {18}, 18)
    assert "image->text: 2 queries were missed because a picture could not be read" in evaluation_table(told)
    assert "text->image: 8 queries were missed because a picture could not be read" in evaluation_table(told)


def test_without_a_reader_nothing_is_unread(sightline: Sightline, stale: str, said: list[str]) -> None:
    told = sightline.evaluate(stale)
    assert [one.unread for one in told.directions] == [0, 0]
    assert said == []


def test_a_gallery_whose_pictures_are_all_gone_is_still_measured(
    sightline: Sightline, fresh: str, tmp_path: Path, said: list[str], run: Run
) -> None:
    shutil.rmtree(tmp_path / "many")
    told = sightline.evaluate(fresh, matcher="postcards", candidates=10)
    for one in told.directions:
        assert set(recalls(one.after).values()) == {0.0}
        assert sum(one.misses["recall@10"].values()) == one.queries
    assert told.directions[0].unread > 0
    assert told.directions[1].unread == 20
    assert said[0].startswith("20 pictures could not be read")
    # A median rank that is infinite is no number in JSON, and a word in the table.
    shown = json.loads(run("evaluate", "--show", str(told.id), "--json").stdout)
    assert shown["directions"][0]["after"]["median_rank"] is None
    assert " missed\n" in run("evaluate", "--show", str(told.id)).stdout


# TREC files


def check_files(folder: Path, told: Evaluated) -> None:
    for stem, direction in zip(FILES, told.directions, strict=True):
        for stage in ("before", "after") if told.matcher else ("before",):
            measured = measure_files(folder / f"{stem}.{stage}.run", folder / f"{stem}.qrels")
            for k in (1, 5, 10):
                ours = recalls(getattr(direction, stage))[f"recall@{k}"]
                assert measured[f"Success@{k}"] == pytest.approx(ours, abs=1e-12), (stem, stage, k)


def test_trec_files_measured_again_give_our_recalls(shipped: Sightline, usual: Evaluated, tmp_path: Path) -> None:
    written = shipped.export_trec(usual.id, tmp_path / "runs" / "cards")
    names = [f"{stem}{end}" for stem in FILES for end in (".qrels", ".before.run", ".after.run")]
    assert [path.name for path in written] == names
    check_files(tmp_path / "runs" / "cards", usual)
    direction: MeasuredDirection = usual.directions[0]
    measured = measure_files(written[2], written[0])
    assert measured["RR"] == pytest.approx((direction.after or {})["mrr"])
    assert measured["nDCG@10"] == pytest.approx((direction.after or {})["ndcg@10"])


def test_trec_files_of_folds_and_of_a_first_stage_measure_the_same(
    sightline: Sightline, many: str, tmp_path: Path
) -> None:
    for place, how in enumerate(({}, {"folds": 4}, {"subset": 7, "seed": 3}, {"queries": 9})):
        told = sightline.evaluate(many, **how)  # type: ignore[arg-type]
        written = sightline.export_trec(told.id, tmp_path / str(place))
        assert len(written) == 4
        check_files(tmp_path / str(place), told)


def test_equal_scores_are_written_in_the_order_in_which_they_are_served(sightline: Sightline, tmp_path: Path) -> None:
    """Pictures of one colour tie; trec_eval would put the last of the alphabet first, a search shows the first."""
    for name in "abc":
        colour(tmp_path / "alike" / f"{name}.png", (9, 9, 9))
    write_texts(tmp_path / "alike", {"a.png": ["one"], "c.png": ["two"]})
    sightline.index(tmp_path / "alike", gallery="alike", model="hashing")
    sightline.export_trec(sightline.evaluate("alike").id, tmp_path / "trec")
    for page in gather_run(tmp_path / "trec" / "text-to-image.before.run").values():
        assert page.items == ["a.png", "b.png", "c.png"]
        assert np.all(np.diff(np.array(page.scores, dtype=np.float32)) < 0)


def test_trec_qrels_hold_every_pair_by_its_names(sightline: Sightline, tmp_path: Path) -> None:
    folder = tmp_path / "named"
    names = ["a b.png", "café.png", "写真 %20.png", "c\u2028d.png", "#1.png"]
    for i, name in enumerate(names):
        colour(folder / "sub dir" / name, (40 * i, 9, 9))
    write_texts(folder, {f"sub dir/{name}": [f"one {i}", f"two {i}"] for i, name in enumerate(names)})
    sightline.index(folder, gallery="named", model="hashing")
    told = sightline.evaluate("named")
    sightline.export_trec(told.id, tmp_path / "trec")
    check_files(tmp_path / "trec", told)
    qrels = gather_qrels(tmp_path / "trec" / "image-to-text.qrels")
    assert {from_trec_id(one) for one in qrels} == {f"sub dir/{name}" for name in names}
    assert {len(texts) for texts in qrels.values()} == {2}
    back = gather_qrels(tmp_path / "trec" / "text-to-image.qrels")
    assert {(i, t) for t, images in back.items() for i in images} == {
        (i, t) for i, texts in qrels.items() for t in texts
    }
    page = gather_run(tmp_path / "trec" / "image-to-text.before.run")
    assert all(len(one.items) == 10 and set(one.items) <= set(back) for one in page.values())


def test_two_files_of_one_name_in_two_folders_stay_apart(sightline: Sightline, tmp_path: Path) -> None:
    for i, name in enumerate(("one", "two")):
        colour(tmp_path / name / "a.png", (90 * i, 9, 9))
        write_texts(tmp_path / name, {"a.png": [f"text {name}"]})
        sightline.index(tmp_path / name, gallery="both", model="hashing")
    told = sightline.evaluate("both")
    sightline.export_trec(told.id, tmp_path / "trec")
    qrels = gather_qrels(tmp_path / "trec" / "image-to-text.qrels")
    assert set(qrels) == {"one/a.png", "two/a.png"}
    check_files(tmp_path / "trec", told)


def test_a_gallery_that_has_changed_gets_no_trec_files(sightline: Sightline, fresh: str, tmp_path: Path) -> None:
    told = sightline.evaluate(fresh)
    colour(tmp_path / "many" / "new.png", (1, 2, 3))
    sightline.index(tmp_path / "many", gallery=fresh)
    with pytest.raises(UsageError, match=f"gallery many has changed since evaluation {told.id}: evaluate it again"):
        sightline.export_trec(told.id, tmp_path / "trec")
    assert not (tmp_path / "trec").exists()


def test_a_file_is_no_folder_for_trec_files(sightline: Sightline, many: str, tmp_path: Path) -> None:
    told = sightline.evaluate(many)
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=r"file is no folder to write to: File exists"):
        sightline.export_trec(told.id, tmp_path / "file")


# What cannot be


@pytest.mark.parametrize(
    ("how", "line"),
    [
        ({"seed": -1}, "seed is -1; it must be 0 or more"),
        ({"folds": 0}, "folds is 0; it must be 1 or more"),
        ({"subset": 0}, "subset is 0; it must be 1 or more"),
        ({"queries": -2}, "queries is -2; it must be 1 or more"),
        ({"candidates": 0}, "candidates is 0; it must lie between 1 and 2000"),
        ({"score": "cosine"}, "there is no score 'cosine'; there are itc, itm, itm+itc, probability"),
        ({"score": "itm"}, "the score itm needs a matcher, and nothing is reranked here"),
        ({"protocol": "blip"}, "protocol blip reranks, and hashing has no matcher: name one with --matcher"),
        ({"rerank": False, "matcher": "postcards"}, "the matcher postcards has nothing to read without reranking"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_asked(
    sightline: Sightline, many: str, how: dict[str, Any], line: str
) -> None:
    with pytest.raises(UsageError) as caught:
        sightline.evaluate(many, **how)
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)
    with sightline.wiring.database.reading() as session:
        assert session.scalars(select(func.count()).select_from(EvaluationTable)).one() == 0


def test_unknown_names_are_refused_with_those_there_are(sightline: Sightline, many: str) -> None:
    with pytest.raises(UnknownProtocol, match="there is no protocol 'x'; there are albef, albef-flickr30k, blip"):
        sightline.evaluate(many, protocol="x")
    with pytest.raises(TooFewPictures, match="has 20 pictures with texts: they make no 21 folds"):
        sightline.evaluate(many, folds=21)
    assert sightline.evaluations(many) == []


# The command line


def test_the_command_line_shows_a_table_and_the_same_as_json(run: Run, many: str, sightline: Sightline) -> None:
    result = run("evaluate", many)
    assert result.exit_code == 0, result.output
    told = sightline.evaluations(many)[0]
    assert result.stdout == evaluation_table(told) + "\n"
    assert result.stdout.startswith(
        f"evaluation {told.id}: many, model hashing, protocol itc, 128 candidates not reranked\n"
    )
    as_json = json.loads(run("evaluate", "--show", str(told.id), "--json").stdout)
    again = json.loads(run("evaluate", many, "--json").stdout)
    changing = ("id", "seconds", "created_at", "finished_at")
    for one in (as_json, again):
        for name in changing:
            del one[name]
        for direction in one["directions"]:
            del direction["milliseconds"]
    assert as_json == again
    assert [one["name"] for one in as_json["directions"]] == [IMAGES, TEXTS]
    assert as_json["directions"][0]["before"]["recall@1"] == told.directions[0].before["recall@1"]


def test_the_command_line_lists_shows_exports_and_forgets(
    run: Run, many: str, sightline: Sightline, tmp_path: Path
) -> None:
    assert run("evaluate", many, "--list").stdout == "No evaluations.\n"
    assert run("evaluate", many, "--queries", "5", "--subset", "10", "--folds", "2", "--seed", "3").exit_code == 0
    told = sightline.evaluations(many)[0]
    assert [told.settings[name] for name in ("queries", "subset", "folds", "seed")] == [5, 10, 2, 3]
    assert run("evaluate", many, "--list").stdout == list_table(sightline.evaluation_rows(many)) + "\n"
    assert [one["id"] for one in json.loads(run("evaluate", many, "--list", "--json").stdout)] == [told.id]
    shown = run("evaluate", "--show", str(told.id), "--trec", str(tmp_path / "trec"))
    assert shown.stdout == evaluation_table(told) + "\n"
    assert shown.stderr.count("wrote ") == 4
    check_files(tmp_path / "trec", told)
    assert run("evaluate", "--forget", str(told.id)).stdout == f"evaluation {told.id} is forgotten\n"
    assert run("evaluate", many, "--list").stdout == "No evaluations.\n"


def test_the_command_line_goes_on_with_a_run(run: Run, many: str, sightline: Sightline) -> None:
    begun = ended(sightline, many, 1)
    result = run("evaluate", many, "--resume")
    assert result.stdout.startswith(f"evaluation {begun}: ")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ([], "name a gallery or a folder, or --show, --compare or --forget an evaluation"),
        (["--list"], "name a gallery or a folder"),
        (["many", "--show", "1"], "--show names an evaluation, which knows its gallery; leave out many"),
        (["many", "--forget", "1"], "--forget names an evaluation"),
        (["many", "--compare", "1", "2"], "--compare names an evaluation"),
        (["--show", "1", "--forget", "1"], "--forget and --show ask for two things"),
        (["--show", "1", "--list"], "--show and --list ask for two things; give one of them"),
        (["--show", "7"], "there is no evaluation 7: `sightline evaluate GALLERY --list` shows some"),
        (["--forget", "7"], "there is no evaluation 7"),
        (["many", "--task", "vqa"], "--task vqa needs --questions"),
        (["many", "--task", "negatives"], "--task negatives needs --negatives"),
        (["many", "--questions", "x.json"], "--questions is for --task vqa"),
        (["many", "--negatives", "x.json"], "--negatives is for --task negatives"),
        (["many", "--task", "caption", "--trec", "x"], "--trec is for --task retrieval"),
        (["many", "--list", "--trec", "x"], "--trec does not go with --list"),
        (["many", "--protocol", "x"], "there is no protocol 'x'"),
        (["many", "--split", "x"], "has no pictures with texts of a split 'x': its pictures are of no split"),
        (["many", "--seed", "-1"], "seed is -1; it must be 0 or more"),
        (["nobody"], "no gallery is called 'nobody'; there are: many"),
    ],
)
def test_what_cannot_be_asked_is_one_line(run: Run, many: str, arguments: Sequence[str], line: str) -> None:
    result = run("evaluate", *arguments)
    assert result.exit_code in {1, 2}
    assert result.stdout == ""
    assert line in result.stderr
    assert result.stderr.startswith("sightline: ")
    assert result.stderr.count("\n") == 1
