"""What travels over HTTP and in --json; the names are a promise."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, Field

from api.results import (
    Calibration,
    Evaluated,
    GalleryDetail,
    Indexed,
    ItemDetail,
    MeasuredDirection,
    ModelRow,
    Page,
    Uploaded,
)
from indexer.sources.naming import item_name
from retrieval.models.checkpoints import Checkpoint, Released
from retrieval.search import Read
from retrieval.types import Answer
from storage.galleries import GallerySummary
from storage.items import Item
from storage.jobs import Job


class HitOut(BaseModel):
    """A hit. Ranks count from 1; scores that were not computed are null; `text` is set for texts."""

    id: int
    uri: str
    rank: int
    itc_similarity: float | None = Field(description="cosine of the ITC embeddings, -1 to 1")
    itc_rank: int | None
    itm_logit: float | None = Field(description="match logit of the ITM head")
    match_probability: float | None = Field(
        description="how likely the hit is right, 0 to 1, by the page's calibration; else the softmax of the ITM head"
    )
    text: str | None = None
    stale: bool = Field(False, description="the picture is missing or changed since it was indexed")


class CalibrationOut(BaseModel):
    """What match probabilities are worth: expected calibration errors on queries that the fit had not seen, 0 to 1.

    Each query was asked of the gallery as it is, and of the gallery without what is right.
    """

    matcher: str
    direction: Literal["text->image", "image->text"]
    source: Literal["pairs", "captions"] = Field(description="captions: a model wrote them, the gallery has no pairs")
    method: Literal["softmax", "temperature", "isotonic"] = Field(
        description="softmax: measured, and no fit was better beyond doubt"
    )
    queries: int
    hits: int
    ece: float = Field(description="over all hits")
    ece_first: float = Field(description="over the first hits of pages")
    ece_uncalibrated: float = Field(description="over all hits, of the softmax as it comes")
    ece_first_uncalibrated: float
    revision: int
    is_current: bool = Field(description="false: the gallery was indexed since")
    created_at: datetime

    @classmethod
    def of(cls, one: Calibration) -> Self:
        """Shape a calibration."""
        return cls(**cls.values(one))

    @staticmethod
    def values(one: Calibration) -> dict[str, Any]:
        """Name a calibration's facts as they travel."""
        errors = {"error": "ece", "first_error": "ece_first", "softmax_error": "ece_uncalibrated"}
        errors["softmax_first_error"] = "ece_first_uncalibrated"
        return {errors.get(name, name): value for name, value in vars(one).items()}


class BinOut(BaseModel):
    """First hits of similar match probability: its mean, the share that was right, and their number."""

    confidence: float
    accuracy: float
    count: int


class ThresholdOut(BaseModel):
    """What is gained by showing only hits from a match probability on."""

    threshold: float
    precision: float = Field(description="share of right hits among those shown")
    recall: float = Field(description="share of right hits that are shown")


class CalibrationDetailOut(CalibrationOut):
    """A calibration with its reliability diagram and its thresholds."""

    bins: list[BinOut]
    precisions: list[ThresholdOut]

    @staticmethod
    def values(one: Calibration) -> dict[str, Any]:
        """Name a calibration's facts as they travel."""
        found = CalibrationOut.values(one)
        bins = [BinOut(**vars(part)) for part in one.bins]
        return {**found, "bins": bins, "precisions": [ThresholdOut(**vars(part)) for part in one.thresholds]}


class PageOut(BaseModel):
    """Hits and how they were found."""

    gallery: str | None
    model: str | None
    matcher: str | None = Field(description="the model that reranked the hits; null without reranking")
    revision: int | None
    stages: Literal["itc+itm", "itc", "names"] = Field(description="names: full-text search of names and captions")
    unknown_words: list[str] = Field(description="words of the query that the model does not know")
    hits: list[HitOut]
    calibration: CalibrationOut | None = Field(
        None, description="null: match probabilities are the ITM head's softmax, held against nothing"
    )
    threshold: float | None = Field(None, description="the match probability that was asked of hits")
    nothing_matches: bool = Field(False, description="no hit reaches the threshold")
    best_below: HitOut | None = Field(None, description="where nothing matches, the best of what was found")

    @classmethod
    def of(cls, page: Page) -> PageOut:
        """Shape a page."""
        # vars and not asdict, which copies every hit twice: 0.19 ms for a page of ten before, 0.02 ms after.
        return cls(
            gallery=page.gallery,
            model=page.model,
            matcher=page.matcher,
            revision=page.revision,
            stages=page.stages,  # type: ignore[arg-type]
            unknown_words=list(page.unknown_words),
            hits=[HitOut(**vars(hit)) for hit in page.hits],
            calibration=None if page.calibration is None else CalibrationOut.of(page.calibration),
            threshold=page.threshold,
            nothing_matches=page.nothing_matches,
            best_below=None if page.best_below is None else HitOut(**vars(page.best_below)),
        )


class JudgedOut(BaseModel):
    """A candidate that the matcher has just read; `score` is what the final order goes by."""

    id: int
    score: float | None
    itm_logit: float | None
    match_probability: float | None
    stale: bool


class ReadOut(BaseModel):
    """A batch of candidates that the matcher has read: `done` of `total` are."""

    done: int
    total: int
    hits: list[JudgedOut]

    @classmethod
    def of(cls, step: Read) -> ReadOut:
        """Shape a step of reranking."""
        hits = [
            JudgedOut(
                id=one.candidate.item_id,
                score=one.score,
                itm_logit=one.logit,
                match_probability=one.match_probability,
                stale=one.stale,
            )
            for one in step.judged
        ]
        return cls(done=step.done, total=step.total, hits=hits)


class GalleryOut(BaseModel):
    """A gallery: `items` counts pictures that can be found."""

    name: str
    items: int
    texts: int
    failed: int
    model: str | None
    revision: int
    sources: list[str]

    @classmethod
    def of(cls, summary: GallerySummary) -> GalleryOut:
        """Shape a gallery."""
        return cls(**{**asdict(summary), "sources": list(summary.sources)})


class JobOut(BaseModel):
    """A long piece of work: `done` of `total` steps of `stage` are durable."""

    id: int
    kind: str = Field(description="index, evaluate, calibrate, demo or bootstrap")
    gallery: str | None
    state: Literal["waiting", "running", "done", "failed", "stopped", "killed"]
    request: dict[str, Any] | None = Field(description="what was asked for; null where a command line began the job")
    stage: str | None = Field(description="what the steps are: pictures, texts, queries and so on")
    done: int
    total: int
    rate: float | None = Field(description="steps per second in this stage so far")
    seconds_left: float | None = Field(description="how long the rest of this stage takes at this rate")
    error: str | None = Field(description="why a job failed")
    report: dict[str, Any] = Field(description="what was found and done so far")
    cancel_wanted: bool
    created_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None

    @classmethod
    def of(cls, job: Job) -> JobOut:
        """Shape a job."""
        return cls(**{name: getattr(job, name) for name in cls.model_fields})


class GalleryDetailOut(GalleryOut):
    """A gallery and what there is to know before it is searched."""

    examples: list[str] = Field(description="queries to begin with")
    matcher: str | None = Field(description="the model that reranks; null: nobody can")
    captioner: str | None = Field(description="the model that describes pictures; null: nobody can")
    answerer: str | None = Field(description="the model that answers questions; null: nobody can")
    pairs: int = Field(description="how often a given text is known to describe a picture")
    candidates: int = Field(description="how many hits of the first stage are reranked unless a query says")
    calibration: CalibrationDetailOut | None = Field(
        description="what match probabilities of a search for pictures are worth; null: they are not calibrated"
    )
    warning: str | None = Field(None, description="a sentence where the gallery's numbers are worth little")
    jobs: list[JobOut] = Field(description="those that wait or run")

    @classmethod
    def of_detail(cls, detail: GalleryDetail) -> GalleryDetailOut:
        """Shape what is known of a gallery."""
        known = {name: getattr(detail, name) for name in ("matcher", "captioner", "answerer", "pairs", "candidates")}
        return cls(
            **GalleryOut.of(detail.summary).model_dump(),
            **known,
            examples=list(detail.examples),
            warning=detail.warning,
            calibration=None if detail.calibration is None else CalibrationDetailOut.of(detail.calibration),
            jobs=[JobOut.of(job) for job in detail.jobs],
        )


class FailedOut(BaseModel):
    """A file that could not be read."""

    uri: str
    reason: str | None

    @classmethod
    def of(cls, item: Item) -> FailedOut:
        """Shape a failed item."""
        return cls(uri=item.uri, reason=item.reason)


class ItemRowOut(BaseModel):
    """A picture of a gallery."""

    id: int
    uri: str
    name: str = Field(description="the file's name below the folder that was indexed, as a person reads it")
    width: int | None
    height: int | None

    @classmethod
    def of(cls, item: Item) -> ItemRowOut:
        """Shape an item."""
        return cls(id=item.id, uri=item.uri, name=item_name(item), width=item.width, height=item.height)


class ItemsOut(BaseModel):
    """Some pictures of a gallery, by id."""

    items: list[ItemRowOut]
    next: int | None = Field(description="give it as `after` for the next page; null: this is the last")


class UploadedOut(BaseModel):
    """What became of files that were sent."""

    stored: int
    skipped: list[FailedOut]

    @classmethod
    def of(cls, uploaded: Uploaded) -> UploadedOut:
        """Shape the outcome of an upload."""
        skipped = [FailedOut(uri=uri, reason=reason) for uri, reason in uploaded.skipped]
        return cls(stored=uploaded.stored, skipped=skipped)


class PictureOut(BaseModel):
    """A picture that was sent to search by; it is kept for a while."""

    picture: str = Field(description="the SHA-256 of its bytes: the parameter `picture` of a search")
    width: int
    height: int


class ItemOut(BaseModel):
    """An item and what is known of it."""

    id: int
    kind: str
    uri: str
    name: str = Field(description="the file's name below the folder that was indexed, as a person reads it")
    source: str = Field(description="the folder that was indexed, or the model that wrote the text")
    gallery: str
    size: int | None
    width: int | None
    height: int | None
    content_hash: str | None
    text: str | None
    created_at: datetime = Field(description="when it was first seen")
    split: str | None = Field(None, description="the dataset's split that it belongs to")
    metadata: dict[str, Any] = Field({}, description="what else its dataset says of it: licence, size, other columns")

    @classmethod
    def of(cls, detail: ItemDetail) -> ItemOut:
        """Shape an item."""
        item = detail.item
        named = {name: getattr(item, name) for name in cls.model_fields if hasattr(item, name)}
        more = {"name": item_name(item, detail.metadata), "gallery": detail.gallery, "created_at": detail.created_at}
        more |= {"split": detail.split, "metadata": detail.metadata}
        return cls(**named | more)


class AnswerOut(BaseModel):
    """A caption (`question` is null) or an answer."""

    item_id: int | None
    question: str | None
    text: str
    model: str
    unknown_words: list[str] = Field(description="words of the question that the model does not know")

    @classmethod
    def of(cls, answer: Answer) -> AnswerOut:
        """Shape an answer."""
        return cls(**asdict(answer) | {"unknown_words": list(answer.unknown_words)})


class FeatureOut(BaseModel):
    """The vectors of a picture, a text or both; those of a text alone are one list of numbers."""

    uri: str | None = Field(None, description="the picture; sent ones are image#1, image#2 and so on")
    text: str | None = None
    embedding: list[float] | list[list[float]]


class FeaturesOut(BaseModel):
    """What a model makes of pictures, texts or both, in the order in which they were given."""

    model: str
    kind: Literal["image", "text", "multimodal"]
    projected: bool = Field(description="L2-normalised, in the space where pictures and texts are compared")
    every_token: bool
    items: list[FeatureOut]
    shape: list[int | None] = Field(description="items, vectors of each (null where that varies), numbers of a vector")


class IndexedOut(BaseModel):
    """What an index run found and did."""

    gallery: str
    model: str | None
    layout: str | None = Field(None, description="of a dataset; null for a folder")
    revision: int
    found: int
    added: int
    unchanged: int
    renamed: int
    removed: int
    texts: int
    pairs: int
    left_out: int = Field(0, description="texts that are no items because their pictures are missing or broken")
    failed: list[FailedOut]

    @classmethod
    def of(cls, indexed: Indexed) -> IndexedOut:
        """Shape the outcome of indexing."""
        report = asdict(indexed.report)
        report["failed"] = [FailedOut(uri=uri, reason=reason) for uri, reason in indexed.report.failed]
        named = {name: getattr(indexed, name) for name in ("gallery", "model", "layout", "revision")}
        return cls(**named, **report)


class RecallCurveOut(BaseModel):
    """Recall at growing depths."""

    k: list[int]
    before: list[float]
    after: list[float] | None


class DepthsOut(BaseModel):
    """What other numbers of candidates would have given, and at what cost."""

    candidates: list[int]
    recall: dict[str, list[float]]
    milliseconds: list[float] = Field(description="per query, reckoned from what one pair took")
    cheapest: dict[str, int] = Field(description="the least number within half a point of the best")


class QueryRankOut(BaseModel):
    """A query and the ranks of its first right item; null is missed."""

    query: int = Field(description="an item id")
    before: int | None
    after: int | None


Measures = dict[str, float | None]


class DirectionOut(BaseModel):
    """What was measured of one direction, before and after reranking."""

    name: str
    queries: int | None
    items: int | None = Field(description="how many there were to choose from")
    before: Measures = Field(description="recall@k, mrr, ndcg@10, median_rank (null where half or more were missed)")
    after: Measures | None
    intervals: dict[str, dict[str, tuple[float | None, float | None]]] = Field(
        description='95 % bootstrap intervals over queries, of "before" and "after"'
    )
    authors: dict[str, Measures] = Field(description="recall by the authors' own sort of the same scores")
    scores: dict[str, Measures] = Field(description="recall after reranking, by each way to score the same candidates")
    misses: dict[str, dict[str, int]] = Field(description="queries that were missed, by what lost them")
    folds: list[Measures] = Field(description="recall fold by fold, where there are several")
    curve: RecallCurveOut | None
    depths: DepthsOut | None
    milliseconds: dict[str, float] = Field(description="per query: first_stage, rerank; and of one pair")
    calibration: CalibrationDetailOut | None = Field(description="null without reranking, or where hits were too few")
    unread: int = Field(description="queries whose own picture could not be read")
    best: list[QueryRankOut]
    worst: list[QueryRankOut]

    @classmethod
    def of(cls, one: MeasuredDirection) -> DirectionOut:
        """Shape a direction."""
        shaped = {
            "curve": None if one.curve is None else RecallCurveOut(**asdict(one.curve)),
            "depths": None if one.depths is None else DepthsOut(**asdict(one.depths)),
            "calibration": None if one.calibration is None else CalibrationDetailOut.of(one.calibration),
            "best": [QueryRankOut(**asdict(query)) for query in one.best],
            "worst": [QueryRankOut(**asdict(query)) for query in one.worst],
        }
        return cls(**{**vars(one), **shaped})


class EvaluatedOut(BaseModel):
    """A stored evaluation."""

    id: int
    gallery: str
    model: str
    matcher: str | None = Field(description="the model that reranked; null without reranking")
    revision: int
    candidates: int
    pooled: int | None = Field(description="items that a first pass by one vector each handed on; null without one")
    protocol: str | None = Field(description="whose rules were followed")
    departures: list[str] = Field(description="what was done otherwise than the protocol does")
    scoring: str | None = Field(description="what ordered the candidates after reranking")
    settings: dict[str, Any] = Field(description="everything that was asked for")
    mean_recall: dict[str, float] = Field(description="the mean of recall@1, @5 and @10 of both directions")
    directions: list[DirectionOut]
    fingerprint: str | None = Field(description="of the encoder's weights and preprocessing")
    matcher_fingerprint: str | None
    versions: dict[str, Any] = Field(description="what computed it")
    seconds: float | None
    created_at: datetime
    finished_at: datetime | None

    @classmethod
    def of(cls, evaluated: Evaluated) -> EvaluatedOut:
        """Shape an evaluation."""
        return cls(**{**vars(evaluated), "directions": [DirectionOut.of(one) for one in evaluated.directions]})


def sources(checkpoint: Checkpoint) -> list[str]:
    """Say where a checkpoint's weights come from."""
    match checkpoint.source:
        case None:
            return []
        case Released(addresses=addresses):
            return [*addresses]
        case Path():
            return ["bundled"]
        case str() as repository:
            return [repository]


class ModelOut(BaseModel):
    """A model that has a name."""

    name: str
    family: str
    source: list[str] = Field(description="a folder, a Hugging Face id, or addresses of the authors")
    roles: list[str] = Field(description="what its own weights can do")
    image_size: int
    text_length: int
    protocol: str = Field(description="how a candidate is scored: itm, itm+itc or itc")
    licence: str
    download_bytes: int | None = Field(description="size of the weights files, where it is known")
    memory_bytes: int | None = Field(description="what loading it and reading one picture takes in float32")
    cached: bool
    not_run: str | None = Field(description="why a known model cannot be run here")

    @classmethod
    def of(cls, row: ModelRow) -> ModelOut:
        """Shape a row of the table."""
        one = row.checkpoint
        return cls(
            name=one.name,
            family=one.family,
            source=sources(one),
            roles=list(one.roles),
            image_size=one.image_size,
            text_length=one.text_length,
            protocol=one.protocol,
            licence=one.licence,
            download_bytes=one.download_bytes,
            memory_bytes=one.memory_bytes,
            cached=row.cached,
            not_run=one.not_run,
        )


class Problem(BaseModel):
    """An error (RFC 9457): `field` names the part of the request that is wrong, where one is."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    field: str | None = None


class Health(BaseModel):
    """How the service is."""

    status: Literal["alive", "ready"]
