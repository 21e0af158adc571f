"""The migrations make exactly the tables of storage/tables.py, on an empty database and on one in use."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import text

from storage import galleries, items, jobs, judgements, schema, words
from storage.db import Database
from storage.errors import SchemaOutdated
from storage.items import NewItem
from storage.judgements import Judgement

FULL = (
    "INSERT INTO galleries (id, name, precision, sources, revision, created_at)"
    " VALUES (1, 'photos', 'float32', '[\"/photos\"]', 1, '2025-01-01 00:00:00')",
    "INSERT INTO items (id, gallery_id, kind, uri, uri_hash, source, state, created_at)"
    " VALUES (1, 1, 'image', '/photos/a', 'a', '/photos', 'embedded', '2025-01-01 00:00:00'),"
    " (2, 1, 'text', '/photos/captions.jsonl#1', 'b', '/photos', 'embedded', '2025-01-01 00:00:00')",
    "INSERT INTO pairs (text_id, image_id, gallery_id) VALUES (2, 1, 1)",
)
"""A gallery of a picture with its caption, as the first schema holds it."""
JOBS = (
    "INSERT INTO jobs (id, gallery_id, kind, state, report, started_at, finished_at)"
    " VALUES (4, 1, 'index', 'done', '{\"added\": 3}', '2025-01-01 00:00:00', '2025-01-01 00:00:09'),"
    " (7, 1, 'index', 'running', '{}', '2025-01-02 00:00:00', NULL)",
)
"""A job that is done and one that was killed, as the second schema holds them."""


@pytest.fixture
def config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(schema.migrations_folder()))
    return config


def test_the_migrations_leave_nothing_to_generate(database: Database, config: Config) -> None:
    with database.engine.begin() as connection:
        config.attributes["connection"] = connection
        command.check(config)


def test_the_newest_revision_is_the_one_the_program_asks_for(config: Config) -> None:
    assert ScriptDirectory.from_config(config).get_heads() == [schema.HEAD]


def test_upgrading_twice_changes_nothing(database: Database) -> None:
    with database.writing() as session:
        galleries.create(session, "photos")
    schema.upgrade(database)
    with database.reading() as session:
        assert galleries.by_name(session, "photos").id == 1


def test_downgrading_removes_every_table(database: Database, config: Config) -> None:
    with database.engine.begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "base")
        left = connection.execute(text("SELECT name FROM sqlite_master WHERE type = 'table'")).scalars().all()
    assert set(left) <= {"alembic_version", "sqlite_sequence"}


def test_a_database_in_use_keeps_its_pairs_as_given_ones(tmp_path: Path, config: Config) -> None:
    database = Database(f"sqlite:///{tmp_path / 'old.db'}")
    with database.engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        for statement in FULL:
            connection.execute(text(statement))
    schema.upgrade(database)
    with database.writing() as session:
        assert items.pairs(session, 1) == items.pairs(session, 1, (items.GIVEN,)) == [(2, 1)]
        judgements.store(session, 1, [Judgement(1, "a cat", judgements.GIVEN, 0.25)])
        assert judgements.of_gallery(session, 1) == [Judgement(1, "a cat", "", 0.25, None)]
    database.close()


def test_a_database_in_use_keeps_its_jobs(tmp_path: Path, config: Config) -> None:
    database = Database(f"sqlite:///{tmp_path / 'old.db'}")
    with database.engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0002")
        for statement in (*FULL, *JOBS):
            connection.execute(text(statement))
    schema.upgrade(database)
    with database.writing() as session:
        assert jobs.requeue_orphans(session) == 0
        done, killed = (jobs.by_id(session, number) for number in (4, 7))
        assert (done.gallery, done.state, done.report, done.request) == ("photos", "done", {"added": 3}, None)
        assert done.created_at == done.started_at == datetime(2025, 1, 1, tzinfo=UTC)
        assert killed.state == "killed"
        assert jobs.enqueue(session, "index", "photos", {}).id == 8
    database.close()


def test_jobs_survive_a_downgrade_but_for_those_that_never_began(tmp_path: Path, config: Config) -> None:
    database = Database(f"sqlite:///{tmp_path / 'new.db'}")
    schema.upgrade(database)
    with database.writing() as session:
        galleries.create(session, "photos")
        begun = jobs.begin(session, "index", "photos", "elsewhere:1:1:abcd")
        jobs.enqueue(session, "index", "photos", {})
    with database.engine.begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "0002")
        assert connection.execute(text("SELECT id, kind, state FROM jobs")).all() == [(begun, "index", "running")]
    database.close()


def test_an_empty_database_is_named_outdated(tmp_path: Path) -> None:
    with pytest.raises(SchemaOutdated, match="sightline migrate"):
        schema.require_current(Database(f"sqlite:///{tmp_path / 'empty.db'}"))


def test_two_processes_may_open_a_new_database_at_once(tmp_path: Path) -> None:
    opening = (
        "import sys; from storage import schema; from storage.db import Database; schema.upgrade(Database(sys.argv[1]))"
    )
    url = f"sqlite:///{tmp_path / 'shared.db'}"
    started = [subprocess.Popen([sys.executable, "-c", opening, url]) for _ in range(3)]
    assert [process.wait(60) for process in started] == [0, 0, 0]


def test_ids_are_not_reused_after_a_deletion(database: Database) -> None:
    with database.writing() as session:
        gallery = galleries.create(session, "photos")
        (first,) = items.announce(session, gallery.id, [NewItem("image", "/a", "/")])
        items.forget_pending(session, gallery.id)
        (second,) = items.announce(session, gallery.id, [NewItem("image", "/a", "/")])
    assert second > first


def test_an_acknowledged_commit_is_synced_and_foreign_keys_hold(database: Database) -> None:
    with database.engine.connect() as connection:
        pragmas = [
            connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys")
        ]
    assert pragmas == ["wal", 2, 1]


def test_full_text_search_follows_inserts_changes_and_deletions(database: Database) -> None:
    with database.writing() as session:
        gallery = galleries.create(session, "photos")
        new = [NewItem("image", f"/{name}", "/", words=name) for name in ("black_cat", "dog", "cats and dogs")]
        cat, dog, both = items.announce(session, gallery.id, new)
        items.publish_listed(session, [cat, dog, both])

        def found(query: str) -> list[int]:
            return sorted(words.search(session, gallery.id, "image", query, k=10))

        assert found("cat") == [cat, both]
        assert found("DOGS") == [dog, both]
        assert found('"; drop table items; --') == []
        items.set_words(session, {cat: "horse"})
        assert (found("cat"), found("horse")) == ([both], [cat])
        items.bury(session, [both])
        assert found("dog") == [dog]
