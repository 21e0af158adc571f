"""Jobs: long pieces of work that the service does by itself."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Annotated, Literal

from fastapi import APIRouter, Body, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from api.deps import MOST_NAME, JobId, Service, as_response, service_of
from api.doors.ranking import MOST_CANDIDATES
from api.problems import documented
from api.schemas import JobOut
from storage.jobs import Job

router = APIRouter(tags=["jobs"])

MOST_JOBS = 1000
MOST_PATH = 4096
MOST_FOLDS = 1000
LARGEST_SEED = (1 << 53) - 1

GalleryName = Annotated[str, Field(max_length=MOST_NAME, description="a gallery's name", examples=["photos"])]


class IndexIn(BaseModel):
    """Make a gallery hold what a folder holds."""

    model_config = ConfigDict(extra="forbid")

    kind: Literal["index"]
    gallery: GalleryName
    folder: str | None = Field(
        None,
        max_length=MOST_PATH,
        description="a folder of the server; without one, all that the gallery is made of is looked at again",
        examples=["/srv/photos"],
    )
    model: str | None = Field(
        None, max_length=MOST_NAME, description="the model of a new gallery, one whose weights are here"
    )


class EvaluateIn(BaseModel):
    """Measure the recall of a gallery by its pairs."""

    model_config = ConfigDict(extra="forbid")

    kind: Literal["evaluate"]
    gallery: GalleryName
    candidates: int | None = Field(None, ge=1, le=MOST_CANDIDATES)
    queries: int | None = Field(None, ge=1, le=LARGEST_SEED, description="a sample of so many queries per direction")
    seed: int = Field(0, ge=0, le=LARGEST_SEED, description="seed of the sample")
    rerank: bool = True
    protocol: str | None = Field(None, max_length=MOST_NAME, description="whose rules; by default the model's own")
    score: Literal["itc", "itm", "itm+itc", "probability"] | None = Field(None, description="what orders candidates")
    split: str | None = Field(None, max_length=MOST_NAME, description="only pictures of this split, with their texts")
    subset: int | None = Field(None, ge=1, le=LARGEST_SEED, description="only so many pictures, with their texts")
    folds: int = Field(1, ge=1, le=MOST_FOLDS, description="so many galleries of one size, averaged")


class CalibrateIn(BaseModel):
    """Fit the match probabilities of a gallery to what is known to be right."""

    model_config = ConfigDict(extra="forbid")

    kind: Literal["calibrate"]
    gallery: GalleryName


JobIn = Annotated[IndexIn | EvaluateIn | CalibrateIn, Body(discriminator="kind")]
Of = Annotated[str | None, Query(alias="gallery", max_length=MOST_NAME, description="only jobs of this gallery")]
Limit = Annotated[int, Query(ge=1, le=MOST_JOBS, description="how many jobs")]
CHANGED = documented(404, 409, 422, 429, 503)


@router.post(
    "/v1/jobs", status_code=202, response_model=JobOut, responses=documented(400, 403, 409, 413, 422, 429, 503)
)
async def start_job(request: Request, body: JobIn) -> Response:
    """Let a job wait; the service does one after the other, and goes on after a restart."""
    service = service_of(request)
    job = await service.read(request, _asked(service, body))
    service.worker.wake()
    return as_response(JobOut.of(job), status=202)


@router.get("/v1/jobs", responses=documented(422, 429, 503))
async def jobs(request: Request, gallery: Of = None, limit: Limit = 50) -> list[JobOut]:
    """List jobs, the newest first."""
    service = service_of(request)
    found = await service.read(request, partial(service.sightline.jobs, gallery=gallery or None, limit=limit))
    return [JobOut.of(job) for job in found]


@router.get("/v1/jobs/{id}", response_model=JobOut, responses=documented(404, 422, 429, 503))
async def job(request: Request, job_id: JobId) -> Response:
    """Show how far a job is and what came of it."""
    service = service_of(request)
    return as_response(JobOut.of(await service.read(request, partial(service.sightline.job, job_id))))


@router.post("/v1/jobs/{id}/cancel", status_code=202, response_model=JobOut, responses=CHANGED)
async def cancel_job(request: Request, job_id: JobId) -> Response:
    """Stop a job: at once where it waits, after its batch where it runs. What was done stays."""
    service = service_of(request)
    found = await service.read(request, partial(service.sightline.cancel_job, job_id))
    return as_response(JobOut.of(found), status=202)


@router.post("/v1/jobs/{id}/continue", status_code=202, response_model=JobOut, responses=CHANGED)
async def continue_job(request: Request, job_id: JobId) -> Response:
    """Let a job that failed or was stopped go on where it was."""
    service = service_of(request)
    found = await service.read(request, partial(service.sightline.continue_job, job_id))
    service.worker.wake()
    return as_response(JobOut.of(found), status=202)


def _asked(service: Service, body: IndexIn | EvaluateIn | CalibrateIn) -> Callable[[], Job]:
    """Choose the verb for a body."""
    asked = body.model_dump(exclude={"kind", "gallery"})
    match body:
        case IndexIn():
            return partial(service.sightline.enqueue_index, body.gallery, **asked)
        case EvaluateIn():
            return partial(service.sightline.enqueue_evaluation, body.gallery, **asked)
        case CalibrateIn():
            return partial(service.sightline.enqueue_calibration, body.gallery)
