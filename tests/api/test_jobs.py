"""Jobs over HTTP: asked for, watched, cancelled, continued, and gone on with after a restart."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Semaphore
from time import monotonic, sleep
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select, update

from api import Sightline, deps
from api.app import create_app
from api.deps import Service
from api.doors import watching
from api.doors.jobs import MOST_WAITING
from api.doors.watching import Watch
from api.errors import Stopped
from api.settings import Settings
from api.wiring import Wiring
from indexer.uri import to_uri
from retrieval.models import hub
from retrieval.models.checkpoints import Checkpoint
from retrieval.models.hashing import HashingEncoder
from retrieval.models.roles import Encoder
from retrieval.types import Float32
from storage import galleries, jobs
from storage.holders import new_holder
from storage.jobs import Job
from storage.tables import GalleryTable, JobTable

IsProblem = Callable[[Any, int, str | None], bool]
Paint = Callable[..., Path]
SECONDS = 60
DEAD = f"{socket.gethostname()[:64]}:{1 << 30}:1:abcd"
"""No process has this number."""
BATCH = 32
"""Pictures that the hashing encoder is given at a time."""


class GatedEncoder(HashingEncoder):
    """Embeds a batch for every step that it is allowed, and all that are left when the service closes."""

    def __init__(self) -> None:
        self.steps = Semaphore(0)
        self.service: Service | None = None

    def encode_images(self, pixels: Any) -> Float32:
        while not self.steps.acquire(timeout=0.02):
            if self.service is not None and self.service.is_closing:
                break
        return super().encode_images(pixels)


class GatedWiring(Wiring):
    """Wires one given encoder."""

    def __init__(self, settings: Settings, encoder: Encoder) -> None:
        super().__init__(settings, print)
        self._gated = encoder

    def encoder(self, checkpoint: Checkpoint) -> Encoder:
        return self._gated


@dataclass(frozen=True)
class Gated:
    """A service that indexes a batch for each step."""

    client: TestClient
    encoder: GatedEncoder

    def step(self, count: int = 1) -> None:
        self.encoder.steps.release(count)


Gate = Callable[..., AbstractContextManager[Gated]]


@pytest.fixture(autouse=True)
def _notes_come_quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "SECONDS_BETWEEN_NOTES", 0.02)


@pytest.fixture
def settings(home: Path) -> Settings:
    return Settings(model="hashing")


@pytest.fixture
def gate(settings: Settings) -> Gate:
    @contextmanager
    def running() -> Iterator[Gated]:
        app = create_app(settings)
        service: Service = app.state.service
        encoder = GatedEncoder()
        encoder.service = service
        service.sightline.wiring = GatedWiring(settings, encoder)
        with TestClient(app, raise_server_exceptions=False) as client:
            yield Gated(client, encoder)

    return running


@pytest.fixture
def service(settings: Settings) -> Iterator[TestClient]:
    with TestClient(create_app(settings), raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def many(tmp_path: Path, paint: Paint) -> Path:
    """A folder of four batches of pictures, and a file that is none."""
    for i in range(4 * BATCH):
        paint(tmp_path / "many" / f"{i:03d}.png", (i, 7, 7))
    (tmp_path / "many" / "notes.txt").write_text("no picture")
    return tmp_path / "many"


def ask(client: TestClient, kind: str = "index", gallery: str = "photos", **more: Any) -> dict[str, Any]:
    answer = client.post("/v1/jobs", json={"kind": kind, "gallery": gallery, **more})
    assert answer.status_code == 202, answer.text
    found: dict[str, Any] = answer.json()
    return found


def wait(client: TestClient, job_id: int, until: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """Ask for a job until it is as it should be."""
    deadline = monotonic() + SECONDS
    while True:
        job: dict[str, Any] = client.get(f"/v1/jobs/{job_id}").json()
        if until(job):
            return job
        assert monotonic() < deadline, job
        sleep(0.02)


@contextmanager
def held(settings: Settings) -> Iterator[tuple[TestClient, Event]]:
    """Run a service whose job is one step that does not end before the service has; the event says that it began."""
    app = create_app(settings)
    began, may_end = Event(), Event()

    def do(_job: Job, _watch: Watch) -> None:
        began.set()
        assert may_end.wait(SECONDS)

    app.state.service.sightline.do = do
    try:
        with TestClient(app) as client:
            yield client, began
    finally:
        may_end.set()


def deaths(sightline: Sightline, job_id: int) -> int | None:
    with sightline.wiring.database.reading() as session:
        return session.scalar(select(JobTable.deaths).where(JobTable.id == job_id))


def ended(client: TestClient, job_id: int) -> dict[str, Any]:
    return wait(client, job_id, lambda job: job["state"] not in ("waiting", "running"))


def reached(client: TestClient, job_id: int, done: int) -> dict[str, Any]:
    return wait(client, job_id, lambda job: job["done"] >= done)


def test_a_folder_becomes_a_gallery(service: TestClient, photos: Path) -> None:
    (photos / "notes.txt").write_text("no picture")
    asked = ask(service, folder=str(photos))
    assert asked["state"] in ("waiting", "running")
    assert asked["request"] == {"kind": "index", "gallery": "photos", "folder": str(photos), "model": None}
    job = ended(service, asked["id"])
    assert (job["state"], job["error"], job["stage"], job["done"], job["total"]) == ("done", None, "pictures", 6, 6)
    counts = {"found": 6, "added": 5, "unchanged": 0, "renamed": 0, "removed": 0, "failed": 1, "texts": 0, "pairs": 0}
    counts["left_out"] = 0
    assert job["report"] == counts
    assert job["created_at"] <= job["started_at"] <= job["finished_at"]
    assert service.get("/v1/galleries/photos/search?text=x&rerank=false").json()["hits"]
    assert service.get("/v1/galleries/photos/failed").json() == [
        {"uri": str(photos / "notes.txt"), "reason": "not an image"}
    ]


def test_what_is_found_can_be_searched_while_the_job_goes_on(gate: Gate, many: Path) -> None:
    with gate() as gated:
        job_id = ask(gated.client, folder=str(many))["id"]
        gated.step()
        job = reached(gated.client, job_id, BATCH)
        assert (job["state"], job["stage"], job["done"], job["total"]) == ("running", "pictures", BATCH, 4 * BATCH + 1)
        assert job["report"]["added"] == BATCH
        assert job["rate"] > 0
        assert job["seconds_left"] > 0
        shown = gated.client.get("/v1/galleries/photos").json()
        assert (shown["items"], [one["id"] for one in shown["jobs"]]) == (BATCH, [job_id])
        gated.step(9)
        assert ended(gated.client, job_id)["report"]["added"] == 4 * BATCH


def test_a_cancelled_job_stops_after_its_batch_and_goes_on_when_it_is_continued(gate: Gate, many: Path) -> None:
    with gate() as gated:
        job_id = ask(gated.client, folder=str(many))["id"]
        gated.step()
        reached(gated.client, job_id, BATCH)
        assert gated.client.post(f"/v1/jobs/{job_id}/cancel").json()["cancel_wanted"]
        # The row is looked at about once a second: until then batches go on.
        while gated.client.get(f"/v1/jobs/{job_id}").json()["state"] == "running":
            gated.step()
            sleep(0.3)
        job = ended(gated.client, job_id)
        assert (job["state"], job["error"]) == ("stopped", None)
        assert BATCH <= job["done"] < 4 * BATCH
        assert gated.client.get("/v1/galleries/photos").json()["items"] == job["done"]
        assert gated.client.post(f"/v1/jobs/{job_id}/continue").status_code == 202
        gated.step(9)
        job = ended(gated.client, job_id)
        assert (job["state"], job["report"]["found"]) == ("done", 4 * BATCH + 1)
        assert gated.client.get("/v1/galleries/photos").json()["items"] == 4 * BATCH


def test_a_job_goes_on_after_a_restart(gate: Gate, many: Path, sightline: Sightline) -> None:
    with gate() as gated:
        job_id = ask(gated.client, folder=str(many))["id"]
        gated.step()
        reached(gated.client, job_id, BATCH)
    job = sightline.job(job_id)
    assert (job.state, job.cancel_wanted) == ("waiting", False)
    with gate() as gated:
        gated.step(9)
        done = ended(gated.client, job_id)
        assert (done["state"], done["report"]["unchanged"] > 0) == ("done", True)
        assert gated.client.get("/v1/galleries/photos").json()["items"] == 4 * BATCH


def test_a_waiting_job_is_cancelled_at_once(gate: Gate, many: Path, photos: Path) -> None:
    with gate() as gated:
        first = ask(gated.client, folder=str(many))["id"]
        second = ask(gated.client, gallery="other", folder=str(photos))["id"]
        assert gated.client.post(f"/v1/jobs/{second}/cancel").json()["state"] == "stopped"
        gated.step(9)
        assert ended(gated.client, first)["state"] == "done"
        assert [one["name"] for one in gated.client.get("/v1/galleries").json()] == ["photos"]


def test_jobs_that_wait_for_a_deleted_gallery_are_stopped(
    gate: Gate, many: Path, photos: Path, sightline: Sightline
) -> None:
    sightline.index(photos, gallery="photos", model="hashing")
    with gate() as gated:
        at_work = ask(gated.client, gallery="many", folder=str(many))["id"]
        wait(gated.client, at_work, lambda job: job["state"] == "running")
        waiting = ask(gated.client)["id"]
        assert gated.client.delete("/v1/galleries/photos").status_code == 204
        assert gated.client.get(f"/v1/jobs/{waiting}").json()["state"] == "stopped"
        assert gated.client.delete("/v1/galleries/many").status_code == 409
        gated.step(9)
        assert ended(gated.client, at_work)["state"] == "done"
        assert [one["name"] for one in gated.client.get("/v1/galleries").json()] == ["many"]


def test_a_deleted_gallery_does_not_come_back(service: TestClient, photos: Path, sightline: Sightline) -> None:
    ended(service, ask(service, folder=str(photos))["id"])
    with sightline.wiring.database.writing() as session:
        orphan = jobs.enqueue(session, "index", "gone", {"kind": "index", "gallery": "gone", "folder": str(photos)})
        galleries.create(session, "gone")
        assert jobs.claim(session, DEAD) is not None
    sightline.remove("gone")
    assert (sightline.job(orphan.id).state, sightline.job(orphan.id).finished_at is None) == ("stopped", False)
    ended(service, ask(service)["id"])  # the worker has looked for jobs since
    assert [one["name"] for one in service.get("/v1/galleries").json()] == ["photos"]


def test_a_job_that_does_not_end_in_time_is_put_back(
    settings: Settings, photos: Path, sightline: Sightline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deps, "CLOSING_SECONDS", 0.05)
    with held(settings) as (client, began):
        job_id = ask(client, folder=str(photos))["id"]
        assert began.wait(SECONDS)
    assert sightline.job(job_id).state == "waiting"
    assert deaths(sightline, job_id) == 0


def test_who_is_in_a_hurry_does_not_wait_for_a_job(settings: Settings, photos: Path, sightline: Sightline) -> None:
    with held(settings) as (client, began):
        job_id = ask(client, folder=str(photos))["id"]
        assert began.wait(SECONDS)
        client.app.state.service.is_in_a_hurry = lambda: True  # type: ignore[attr-defined]
        began_to_end = monotonic()
    assert monotonic() - began_to_end < deps.CLOSING_SECONDS
    assert sightline.job(job_id).state == "waiting"


def test_a_gallery_is_brought_up_to_date_without_naming_its_folder(service: TestClient, photos: Path) -> None:
    ended(service, ask(service, folder=str(photos))["id"])
    (photos / "a.png").unlink()
    job = ended(service, ask(service)["id"])
    assert (job["state"], job["report"]["removed"], job["report"]["unchanged"]) == ("done", 1, 4)


def test_a_gallery_of_two_folders_is_brought_up_to_date_as_a_whole(
    service: TestClient, photos: Path, tmp_path: Path, paint: Paint
) -> None:
    paint(tmp_path / "more" / "z.png")
    for folder in (photos, tmp_path / "more"):
        ended(service, ask(service, folder=str(folder))["id"])
    job = ended(service, ask(service)["id"])
    assert (job["report"]["found"], job["report"]["unchanged"]) == (6, 6)


def test_a_job_waits_for_a_command_line_and_does_not_fail(
    service: TestClient, photos: Path, sightline: Sightline
) -> None:
    sightline.index(photos, gallery="photos", model="hashing")
    gallery, holder = sightline.gallery("photos"), new_holder()
    with sightline.wiring.database.writing() as session:
        galleries.acquire_lease(session, gallery, holder)
    job_id = ask(service)["id"]
    sleep(0.2)
    assert service.get(f"/v1/jobs/{job_id}").json()["state"] == "waiting"
    with sightline.wiring.database.writing() as session:
        galleries.release_lease(session, gallery, holder)
    assert ended(service, job_id)["state"] == "done"


def test_a_command_line_is_seen_as_a_job(service: TestClient, photos: Path, sightline: Sightline) -> None:
    sightline.index(photos, gallery="photos", model="hashing")
    (job,) = service.get("/v1/jobs").json()
    assert (job["kind"], job["gallery"], job["state"], job["request"]) == ("index", "photos", "done", None)
    assert (job["stage"], job["done"], job["total"], job["report"]["added"]) == ("pictures", 5, 5, 5)


def test_a_command_line_can_be_cancelled(service: TestClient, photos: Path, sightline: Sightline) -> None:
    class Cancelling:
        def begin(self, what: str, total: int) -> None:
            (job,) = service.get("/v1/jobs").json()
            service.post(f"/v1/jobs/{job['id']}/cancel")

        def advance(self, count: int) -> None:
            pass

    with pytest.raises(Stopped, match="cancelled"):
        sightline.index(photos, gallery="photos", model="hashing", progress=Cancelling())
    (job,) = service.get("/v1/jobs").json()
    assert job["state"] == "stopped"
    assert service.post(f"/v1/jobs/{job['id']}/continue").status_code == 409


def test_an_error_is_told_as_a_sentence_and_the_job_can_be_continued(
    service: TestClient, photos: Path, gate: Gate
) -> None:
    (photos / "captions.jsonl").write_text("no JSON\n")
    job = ended(service, ask(service, folder=str(photos))["id"])
    assert job["state"] == "failed"
    assert "captions.jsonl, line 1: not JSON" in job["error"]
    (photos / "captions.jsonl").write_text('{"file": "a.png", "texts": ["red"]}\n')
    service.post(f"/v1/jobs/{job['id']}/continue")
    job = ended(service, job["id"])
    assert (job["state"], job["error"], job["report"]["texts"]) == ("done", None, 1)


def test_a_defect_is_no_secret_and_no_traceback(
    service: TestClient, photos: Path, caplog: pytest.LogCaptureFixture
) -> None:
    service.app.state.service.sightline.do = lambda *_: 1 / 0  # type: ignore[attr-defined]
    job = ended(service, ask(service, folder=str(photos))["id"])
    assert (job["state"], job["error"]) == (
        "failed",
        "a defect of the program, not of what was asked for; its log says more",
    )
    assert "ZeroDivisionError" in caplog.text
    assert service.get("/healthz").status_code == 200


def test_an_evaluation_is_a_job(service: TestClient, gallery: str) -> None:
    job = ended(service, ask(service, "evaluate", gallery, queries=2)["id"])
    assert (job["state"], job["stage"], job["report"]) == ("done", "queries", {"evaluation": 1})


def test_an_evaluation_can_be_ended_after_every_query(sightline: Sightline, gallery: str) -> None:
    class Steps:
        def __init__(self) -> None:
            self.total, self.steps = 0, list[int]()

        def begin(self, what: str, total: int) -> None:
            self.total += total if what == "queries" else 0

        def advance(self, count: int) -> None:
            self.steps.append(count)

    watched = Steps()
    sightline.evaluate(gallery, progress=watched)
    assert (watched.total, sum(watched.steps), len(watched.steps)) == (6, 6, 7)


REFUSED: list[tuple[Any, str]] = [
    ({"kind": "index"}, "gallery"),
    ({"gallery": "x"}, "kind"),
    ({"kind": "demo", "gallery": "x"}, "kind"),
    ({"kind": "index", "gallery": "Not A Name", "folder": "/"}, "gallery"),
    ({"kind": "index", "gallery": "../x", "folder": "/"}, "gallery"),
    ({"kind": "index", "gallery": "x", "folder": "/", "fold": 1}, "fold"),
    ({"kind": "index", "gallery": "x", "folder": 5}, "folder"),
    ({"kind": "index", "gallery": "x", "folder": "photos"}, "folder"),
    ({"kind": "index", "gallery": "x", "folder": "/no/such/folder"}, "folder"),
    ({"kind": "index", "gallery": "x", "folder": "/etc/passwd"}, "folder"),
    ({"kind": "index", "gallery": "x", "folder": "/a\0b"}, "folder"),
    ({"kind": "index", "gallery": "x", "folder": "~nobody-of-that-name"}, "folder"),
    ({"kind": "index", "gallery": "x", "folder": "/" + "a" * 300}, "folder"),
    ({"kind": "index", "gallery": "x"}, "folder"),
    ({"kind": "index", "gallery": "x", "folder": "/", "model": "/etc"}, "model"),
    ({"kind": "index", "gallery": "x", "folder": "/", "model": "no-such-model"}, "model"),
    ({"kind": "evaluate", "gallery": "nowhere"}, "gallery"),
    ({"kind": "evaluate", "gallery": "photos", "candidates": 0}, "candidates"),
    ({"kind": "evaluate", "gallery": "photos", "queries": 0}, "queries"),
    ({"kind": "evaluate", "gallery": "photos", "seed": -1}, "seed"),
    ({"kind": "calibrate", "gallery": "nowhere"}, "gallery"),
    ([], "body"),
]


def test_what_cannot_be_done_is_refused_at_once(service: TestClient, gallery: str, problem: IsProblem) -> None:
    for body, field in REFUSED:
        assert problem(service.post("/v1/jobs", json=body), 422, field), body
    assert [job["kind"] for job in service.get("/v1/jobs").json()] == ["index"]  # the one that made the gallery


def test_what_a_gallery_cannot_do_is_refused_at_once(
    service: TestClient, sightline: Sightline, gallery: str, photos: Path, problem: IsProblem
) -> None:
    assert problem(service.post("/v1/jobs", json={"kind": "calibrate", "gallery": gallery}), 409, "gallery")
    other = {"kind": "index", "gallery": gallery, "folder": str(photos), "model": "postcards"}
    assert problem(service.post("/v1/jobs", json=other), 409, "model")
    around = {"kind": "index", "gallery": gallery, "folder": str(photos.parent)}
    assert problem(service.post("/v1/jobs", json=around), 422, "folder")
    (photos / "captions.jsonl").unlink()
    sightline.index(photos, gallery=gallery)
    assert problem(service.post("/v1/jobs", json={"kind": "evaluate", "gallery": gallery}), 409, "gallery")
    sightline.index(photos, gallery="plain")
    for kind in ("calibrate", "evaluate"):
        assert problem(service.post("/v1/jobs", json={"kind": kind, "gallery": "plain"}), 409, "gallery")


def test_a_job_that_has_not_ended_cannot_be_continued(service: TestClient, photos: Path, problem: IsProblem) -> None:
    job_id = ask(service, folder=str(photos))["id"]
    ended(service, job_id)
    assert problem(service.post(f"/v1/jobs/{job_id}/continue"), 409, "id")
    assert service.post(f"/v1/jobs/{job_id}/cancel").json()["state"] == "done"


@pytest.mark.parametrize("job_id", [0, 99, -1, 1 << 63, 10**30])
def test_an_unknown_job_is_404(service: TestClient, problem: IsProblem, job_id: int) -> None:
    assert problem(service.get(f"/v1/jobs/{job_id}"), 404, "id")
    for verb in ("cancel", "continue"):
        assert problem(service.post(f"/v1/jobs/{job_id}/{verb}"), 404, "id")


def test_jobs_are_listed_the_newest_first(service: TestClient, photos: Path) -> None:
    ids = [ask(service, gallery=name, folder=str(photos))["id"] for name in ("a", "b")]
    for job_id in ids:
        ended(service, job_id)
    assert [job["id"] for job in service.get("/v1/jobs").json()] == ids[::-1]
    assert [job["id"] for job in service.get("/v1/jobs?limit=1").json()] == ids[1:]
    assert [job["id"] for job in service.get("/v1/jobs?gallery=a").json()] == ids[:1]
    assert service.get("/v1/jobs?gallery=nowhere").json() == []
    assert len(service.get("/v1/jobs?gallery=").json()) == 2


def test_too_many_waiting_jobs_are_refused(gate: Gate, many: Path, problem: IsProblem, sightline: Sightline) -> None:
    with gate() as gated:
        wait(gated.client, ask(gated.client, folder=str(many))["id"], lambda job: job["state"] == "running")
        with sightline.wiring.database.writing() as session:
            waiting = [jobs.enqueue(session, "index", "photos", {"number": i}).id for i in range(MOST_WAITING)]
        assert problem(gated.client.post("/v1/jobs", json={"kind": "index", "gallery": "photos"}), 429, None)
        stopped = sightline.cancel_job(waiting.pop()).id
        with sightline.wiring.database.writing() as session:
            waiting.append(jobs.enqueue(session, "index", "photos", {"number": MOST_WAITING}).id)
        assert problem(gated.client.post(f"/v1/jobs/{stopped}/continue"), 429, None)
        for job_id in waiting:
            sightline.cancel_job(job_id)


# --- no job downloads a model


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """A service that may ask the network; the addresses that it asked for, which should be none."""
    asked: list[str] = []

    def noted(*arguments: Any, **_: Any) -> Any:
        asked.append(str(arguments))
        raise OSError("no network in tests")

    monkeypatch.setattr(hub, "is_reachable", lambda: True)
    for name in ("snapshot_download", "hf_hub_download"):
        monkeypatch.setattr(hub.huggingface_hub, name, noted)
    yield asked
    assert asked == []


def refused_at_once_and_when_done(
    settings: Settings, body: dict[str, Any], field: str, problem: IsProblem, words: str
) -> None:
    """A request is refused, and so is the job of it that somebody let wait while the weights were here."""
    with TestClient(create_app(settings), raise_server_exceptions=False) as client:
        answer = client.post("/v1/jobs", json=body)
        assert problem(answer, 409, field), answer.text
        assert words in answer.json()["detail"]
        with client.app.state.service.sightline.wiring.database.writing() as session:  # type: ignore[attr-defined]
            job = jobs.enqueue(session, body["kind"], body["gallery"], body)
        found = ended(client, job.id)
    assert (found["state"], words in found["error"]) == ("failed", True), found


def test_indexing_with_the_services_model_downloads_nothing(
    home: Path, photos: Path, problem: IsProblem, elsewhere: list[str]
) -> None:
    for model in ("blip-itm-large-coco", "somebody/some-model"):
        settings = Settings(model=model, offline=False)
        body = {"kind": "index", "gallery": "photos", "folder": str(photos), "model": None}
        words = f"`sightline index FOLDER --model {model}`"
        refused_at_once_and_when_done(settings, body, "model", problem, words)


@pytest.mark.parametrize("kind", ["index", "evaluate", "calibrate"])
def test_a_gallery_whose_weights_are_gone_downloads_nothing(
    home: Path, gallery: str, sightline: Sightline, problem: IsProblem, elsewhere: list[str], kind: str
) -> None:
    settings = Settings(offline=False)
    rename_model(sightline, gallery, "blip-itm-base-coco")
    asked = {
        "evaluate": {"candidates": None, "queries": None, "seed": 0, "rerank": True},
        "index": {"folder": None, "model": None},
    }
    body = {"kind": kind, "gallery": gallery, **asked.get(kind, {})}
    field = "model" if kind == "index" else "gallery"
    refused_at_once_and_when_done(settings, body, field, problem, f"`sightline {kind} ")
    with TestClient(create_app(settings)) as client:
        shown = client.get(f"/v1/galleries/{gallery}").json()
    assert (shown["matcher"], shown["captioner"], shown["answerer"]) == (None, None, None)


def test_a_calibration_by_captions_needs_a_captioner_that_is_here(
    home: Path,
    tmp_path: Path,
    paint: Paint,
    sightline: Sightline,
    problem: IsProblem,
    elsewhere: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    paint(tmp_path / "one" / "a.png")
    sightline.index(tmp_path / "one", gallery="one", model="postcards")
    is_cached = hub.is_cached
    monkeypatch.setattr(hub, "is_cached", lambda one, role: role != "captioner" and is_cached(one, role))
    body = {"kind": "calibrate", "gallery": "one"}
    refused_at_once_and_when_done(Settings(offline=False), body, "gallery", problem, "`sightline calibrate one`")
    assert (sightline.detail("one").captioner, sightline.detail("one").matcher) == (None, "postcards")


def rename_model(sightline: Sightline, gallery: str, model: str) -> None:
    """Let a gallery be one of a model whose weights were here once."""
    with sightline.wiring.database.writing() as session:
        session.execute(update(GalleryTable).where(GalleryTable.name == gallery).values(model=model))


# --- which folders may be named


def test_a_service_for_others_indexes_no_folder_of_its_own(
    settings: Settings, photos: Path, problem: IsProblem
) -> None:
    elsewhere = settings.model_copy(update={"host": "0.0.0.0"})
    with TestClient(create_app(elsewhere)) as client:
        for folder in (str(photos), "/no/such/folder"):
            answer = client.post("/v1/jobs", json={"kind": "index", "gallery": "x", "folder": folder})
            assert problem(answer, 403, "folder")
            assert "SIGHTLINE_FOLDERS" in answer.json()["detail"]


def test_only_folders_below_those_that_are_set_may_be_named(
    settings: Settings, photos: Path, tmp_path: Path, problem: IsProblem, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "photos-of-others").mkdir()
    (photos / "link").symlink_to(tmp_path / "other")
    monkeypatch.setenv("SIGHTLINE_FOLDERS", f"{photos}:{tmp_path / 'nothing'}")
    monkeypatch.setenv("SIGHTLINE_MODEL", "hashing")
    with TestClient(create_app(Settings())) as client:
        for folder in (tmp_path, tmp_path / "other", photos / "link", photos / "..", tmp_path / "photos-of-others"):
            answer = client.post("/v1/jobs", json={"kind": "index", "gallery": "x", "folder": str(folder)})
            assert problem(answer, 403, "folder")
        assert ended(client, ask(client, folder=str(photos))["id"])["state"] == "done"


def test_files_that_are_links_out_of_those_folders_are_not_shown(
    home: Path, photos: Path, tmp_path: Path, paint: Paint, monkeypatch: pytest.MonkeyPatch
) -> None:
    private = paint(tmp_path / "private" / "secret.png", (1, 2, 3))
    (photos / "link.png").symlink_to(private)
    (photos / "own.png").symlink_to(photos / "a.png")
    monkeypatch.setenv("SIGHTLINE_FOLDERS", str(tmp_path / "photos"))
    monkeypatch.setenv("SIGHTLINE_MODEL", "hashing")
    with TestClient(create_app(Settings())) as client:
        report = ended(client, ask(client, folder=str(photos))["id"])["report"]
        assert (report["added"], report["failed"]) == (6, 1)
        (failed,) = client.get("/v1/galleries/photos/failed").json()
        assert failed == {
            "uri": str(photos / "link.png"),
            "reason": "unreadable: a link out of the folders that may be indexed",
        }
        (photos / "captions.jsonl").symlink_to(private)
        job = ended(client, ask(client, folder=str(photos))["id"])
        assert (job["state"], "a link out of" in job["error"]) == ("failed", True)


def test_links_may_lead_anywhere_where_no_folders_are_set(service: TestClient, photos: Path, paint: Paint) -> None:
    (photos / "link.png").symlink_to(paint(photos.parent / "elsewhere" / "z.png", (1, 2, 3)))
    assert ended(service, ask(service, folder=str(photos))["id"])["report"]["added"] == 6


def test_a_job_is_held_to_the_folders_that_are_set_when_it_runs(
    settings: Settings, photos: Path, sightline: Sightline
) -> None:
    job = sightline.enqueue_index("photos", str(photos))
    narrowed = settings.model_copy(update={"folders": ()})
    with TestClient(create_app(narrowed)) as client:
        found = ended(client, job.id)
    assert found["state"] == "failed"
    assert "may not be indexed" in found["error"]


def test_a_source_that_is_gone_fails_the_job(service: TestClient, photos: Path, problem: IsProblem) -> None:
    ended(service, ask(service, folder=str(photos))["id"])
    photos.rename(photos.with_name("elsewhere"))
    assert problem(service.post("/v1/jobs", json={"kind": "index", "gallery": "photos"}), 422, "folder")
    assert service.get("/v1/galleries/photos").json()["sources"] == [to_uri(photos)]


def test_a_job_of_a_later_version_fails_with_a_sentence(service: TestClient, sightline: Sightline) -> None:
    with sightline.wiring.database.writing() as session:
        job = jobs.enqueue(session, "dream", "photos", {"kind": "dream", "gallery": "photos"})
    found = ended(service, job.id)
    assert found["state"] == "failed"
    assert "does not know how" in found["error"]
