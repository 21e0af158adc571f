"""Evaluations in SQL: pages that are kept batch by batch, and rows of every age."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import func, select, text

from storage import evaluations, galleries, schema
from storage.db import Database, Session
from storage.errors import EvaluationBusy, EvaluationNotFound
from storage.evaluations import PAGES_AT_ONCE, NewEvaluation, Page
from storage.tables import EvaluationPageTable, EvaluationTable

NEW = NewEvaluation(
    revision=3,
    model="blip",
    settings={"candidates": 8, "rerank": True},
    digest="d" * 64,
    fingerprint="e" * 64,
    matcher_fingerprint=None,
    protocol="blip",
    versions={"python": "3.11"},
)
IMAGES, TEXTS = "text->image", "image->text"


def page(query: int, direction: str = IMAGES, *, before: int | None = 1) -> Page:
    return Page(direction, query, 0, before, None, 1.5, 2.5, bytes([query % 256, 0, 255]))


@pytest.fixture
def gallery(database: Database) -> int:
    with database.writing() as session:
        return galleries.create(session, "photos").id


@pytest.fixture
def begun(database: Database, gallery: int) -> int:
    with database.writing() as session:
        return evaluations.begin(session, gallery, NEW).id


def add(database: Database, evaluation: int, *pages: Page, seconds: float = 1.0) -> None:
    with database.writing() as session:
        evaluations.add_pages(session, evaluation, pages, seconds=seconds)


def count(session: Session, table: type) -> int:
    return session.scalars(select(func.count()).select_from(table)).one()


def test_an_evaluation_that_has_begun_is_not_listed_before_its_end(
    database: Database, gallery: int, begun: int
) -> None:
    with database.writing() as session:
        stored = evaluations.by_id(session, begun)
        assert (stored.state, stored.measures, stored.seconds, stored.finished_at) == ("running", {}, 0.0, None)
        assert evaluations.of_gallery(session, gallery) == []
        done = evaluations.finish(session, begun, {IMAGES: {"queries": 2}})
        assert evaluations.of_gallery(session, gallery) == [done]
    assert (done.state, done.measures) == ("done", {IMAGES: {"queries": 2}})
    assert done.finished_at is not None
    assert done.created_at <= done.finished_at <= datetime.now(UTC)
    assert replace(done, state="running", measures={}, finished_at=None) == stored


def test_pages_come_back_as_they_were_by_query_and_direction(database: Database, begun: int) -> None:
    kept = [page(7), page(3, before=None), page(5)]
    add(database, begun, *kept, page(3, TEXTS))
    with database.reading() as session:
        assert list(evaluations.pages(session, begun, IMAGES)) == sorted(kept, key=lambda one: one.query_id)
        assert list(evaluations.pages(session, begun, TEXTS)) == [page(3, TEXTS)]
        assert evaluations.asked(session, begun) == {IMAGES: {3, 5, 7}, TEXTS: {3}}


@pytest.mark.parametrize("queries", [PAGES_AT_ONCE - 1, PAGES_AT_ONCE, PAGES_AT_ONCE + 1, 2 * PAGES_AT_ONCE + 3])
def test_no_page_is_lost_between_two_reads(database: Database, begun: int, queries: int) -> None:
    add(database, begun, *(page(i) for i in range(1, queries + 1)))
    with database.reading() as session:
        assert [one.query_id for one in evaluations.pages(session, begun, IMAGES)] == list(range(1, queries + 1))


def test_seconds_add_up_over_batches(database: Database, begun: int) -> None:
    add(database, begun, page(1), seconds=1.25)
    add(database, begun, page(2), seconds=0.5)
    add(database, begun, seconds=2.0)
    with database.reading() as session:
        assert evaluations.by_id(session, begun).seconds == 3.75


def test_a_query_that_was_kept_already_is_refused_with_its_whole_batch(database: Database, begun: int) -> None:
    add(database, begun, page(1), page(2))
    with pytest.raises(EvaluationBusy) as caught:
        add(database, begun, page(3), page(2, before=9), seconds=9.0)
    assert str(caught.value) == f"another process goes on with evaluation {begun}; let it finish"
    with database.reading() as session:
        assert list(evaluations.pages(session, begun, IMAGES)) == [page(1), page(2)]
        assert evaluations.by_id(session, begun).seconds == 1.0


def test_one_query_may_be_kept_in_both_directions_and_in_two_evaluations(
    database: Database, gallery: int, begun: int
) -> None:
    with database.writing() as session:
        other = evaluations.begin(session, gallery, NEW).id
    add(database, begun, page(1), page(1, TEXTS))
    add(database, other, page(1, before=2))
    with database.reading() as session:
        assert list(evaluations.pages(session, other, IMAGES)) == [page(1, before=2)]


def test_pages_of_an_evaluation_that_was_forgotten_meanwhile_are_not_kept(database: Database, begun: int) -> None:
    with database.writing() as session:
        evaluations.remove(session, begun)
    for pages in ([page(1)], []):
        with pytest.raises(EvaluationNotFound, match=f"there is no evaluation {begun}"):
            add(database, begun, *pages)
    with pytest.raises(EvaluationNotFound), database.writing() as session:
        evaluations.finish(session, begun, {})


def test_the_newest_unfinished_one_of_the_same_digest_is_gone_on_with(database: Database, gallery: int) -> None:
    with database.writing() as session:
        elsewhere = galleries.create(session, "others").id
        assert evaluations.unfinished(session, gallery, NEW.digest) is None
        evaluations.begin(session, elsewhere, NEW)
        evaluations.begin(session, gallery, replace(NEW, digest="f" * 64))
        assert evaluations.unfinished(session, gallery, NEW.digest) is None
        older, newer = (evaluations.begin(session, gallery, NEW) for _ in range(2))
        assert evaluations.unfinished(session, gallery, NEW.digest) == newer
        evaluations.finish(session, newer.id, {})
        assert evaluations.unfinished(session, gallery, NEW.digest) == older


def test_the_newest_evaluation_is_listed_first(database: Database, gallery: int) -> None:
    with database.writing() as session:
        ids = [evaluations.begin(session, gallery, NEW).id for _ in range(3)]
        for one in (ids[2], ids[0], ids[1]):
            evaluations.finish(session, one, {})
        assert [one.id for one in evaluations.of_gallery(session, gallery)] == ids[::-1]


def test_forgetting_an_evaluation_takes_its_pages_and_no_others(database: Database, gallery: int, begun: int) -> None:
    with database.writing() as session:
        other = evaluations.begin(session, gallery, NEW).id
    add(database, begun, page(1), page(2))
    add(database, other, page(1))
    with database.writing() as session:
        evaluations.remove(session, begun)
        assert (count(session, EvaluationTable), count(session, EvaluationPageTable)) == (1, 1)
        with pytest.raises(EvaluationNotFound):
            evaluations.by_id(session, begun)


def test_an_id_that_was_forgotten_is_not_given_again(database: Database, gallery: int, begun: int) -> None:
    with database.writing() as session:
        evaluations.remove(session, begun)
        assert evaluations.begin(session, gallery, NEW).id == begun + 1


@pytest.mark.parametrize("number", [0, -1, 7, 1 << 70])
def test_an_evaluation_that_there_is_not_is_named(database: Database, number: int) -> None:
    with (
        database.reading() as session,
        pytest.raises(EvaluationNotFound, match=rf"there is no evaluation {number}: `sightline evaluate GALLERY"),
    ):
        evaluations.by_id(session, number)


def test_removing_the_gallery_removes_evaluations_and_pages_and_leaves_others(
    database: Database, gallery: int, begun: int
) -> None:
    with database.writing() as session:
        elsewhere = galleries.create(session, "others").id
        other = evaluations.begin(session, elsewhere, NEW).id
    add(database, begun, page(1))
    add(database, other, page(1))
    with database.writing() as session:
        galleries.remove(session, gallery)
        assert (count(session, EvaluationTable), count(session, EvaluationPageTable)) == (1, 1)
        assert evaluations.by_id(session, other).gallery_id == elsewhere


OLD = (
    "INSERT INTO galleries (id, name, model, precision, sources, revision, created_at)"
    " VALUES (1, 'photos', 'postcards', 'float32', '[\"/photos\"]', 4, '2025-01-01 00:00:00')",
    "INSERT INTO evaluations (id, gallery_id, revision, model, settings, measures, created_at) VALUES (6, 1, 4,"
    ' \'postcards\', \'{"candidates": 32, "rerank": true, "queries": null, "seed": 0}\','
    ' \'{"text->image": {"before": {"recall@1": 0.5}, "after": null}}\', \'2025-01-02 00:00:00\')',
)
"""A gallery that was measured, as the third schema holds it."""


@pytest.fixture
def config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(schema.migrations_folder()))
    return config


@pytest.fixture
def old(tmp_path: Path, config: Config) -> Database:
    database = Database(f"sqlite:///{tmp_path / 'old.db'}")
    with database.engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0003")
        for statement in OLD:
            connection.execute(text(statement))
    schema.upgrade(database)
    return database


def test_an_evaluation_of_an_older_version_is_still_listed(old: Database) -> None:
    with old.writing() as session:
        (stored,) = evaluations.of_gallery(session, 1)
        assert (stored.id, stored.state, stored.task, stored.model) == (6, "done", "retrieval", "postcards")
        assert stored.measures == {IMAGES: {"before": {"recall@1": 0.5}, "after": None}}
        assert stored.settings["candidates"] == 32
        assert stored.created_at == datetime(2025, 1, 2, tzinfo=UTC)
        assert {stored.digest, stored.protocol, stored.versions, stored.seconds, stored.finished_at} == {None}
        assert list(evaluations.pages(session, 6, IMAGES)) == []
        assert evaluations.begin(session, 1, NEW).id == 7
    old.close()


def test_measures_survive_a_downgrade(old: Database, config: Config) -> None:
    with old.writing() as session:
        done = evaluations.begin(session, 1, NEW).id
        evaluations.finish(session, done, {IMAGES: {"queries": 1}})
    add(old, done, page(1))
    with old.engine.begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "0003")
        kept = connection.execute(text("SELECT id, measures FROM evaluations ORDER BY id")).all()
    assert [number for number, _ in kept] == [6, done]
    assert kept[1].measures == '{"text->image": {"queries": 1}}'
    old.close()
