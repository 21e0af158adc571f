"""What travels over HTTP and in --json; the names are a promise."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, Field

from api.results import Evaluated, Indexed, ModelRow, Page
from retrieval.models.checkpoints import Checkpoint, Released
from retrieval.types import Answer
from storage.galleries import GallerySummary
from storage.items import Item


class HitOut(BaseModel):
    """A hit. Ranks count from 1; scores that were not computed are null; `text` is set for texts."""

    id: int
    uri: str
    rank: int
    itc_similarity: float | None = Field(description="cosine of the ITC embeddings, -1 to 1")
    itc_rank: int | None
    itm_logit: float | None = Field(description="match logit of the ITM head")
    match_probability: float | None = Field(description="softmax of the two ITM logits, 0 to 1; not calibrated")
    text: str | None = None
    stale: bool = Field(False, description="the picture is missing or changed since it was indexed")


class PageOut(BaseModel):
    """Hits and how they were found."""

    gallery: str | None
    model: str | None
    matcher: str | None = Field(description="the model that reranked the hits; null without reranking")
    revision: int | None
    stages: Literal["itc+itm", "itc", "names"] = Field(description="names: full-text search of names and captions")
    unknown_words: list[str] = Field(description="words of the query that the model does not know")
    hits: list[HitOut]

    @classmethod
    def of(cls, page: Page) -> PageOut:
        """Shape a page."""
        # vars and not asdict, which copies every hit twice: 0.19 ms for a page of ten before, 0.02 ms after.
        hits = [HitOut(**vars(hit)) for hit in page.hits]
        return cls(**{**vars(page), "unknown_words": list(page.unknown_words), "hits": hits})


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


class FailedOut(BaseModel):
    """A file that could not be read."""

    uri: str
    reason: str | None

    @classmethod
    def of(cls, item: Item) -> FailedOut:
        """Shape a failed item."""
        return cls(uri=item.uri, reason=item.reason)


class ItemOut(BaseModel):
    """An item and what is known of it."""

    id: int
    kind: str
    uri: str
    size: int | None
    width: int | None
    height: int | None
    content_hash: str | None
    text: str | None

    @classmethod
    def of(cls, item: Item) -> ItemOut:
        """Shape an item."""
        return cls(**{name: getattr(item, name) for name in cls.model_fields})


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
    revision: int
    found: int
    added: int
    unchanged: int
    renamed: int
    removed: int
    texts: int
    pairs: int
    failed: list[FailedOut]

    @classmethod
    def of(cls, indexed: Indexed) -> IndexedOut:
        """Shape the outcome of indexing."""
        report = asdict(indexed.report)
        report["failed"] = [FailedOut(uri=uri, reason=reason) for uri, reason in indexed.report.failed]
        return cls(gallery=indexed.gallery, model=indexed.model, revision=indexed.revision, **report)


class DirectionOut(BaseModel):
    """Recall of one direction, before and after reranking."""

    name: str
    queries: int
    before: dict[str, float]
    after: dict[str, float] | None


class EvaluatedOut(BaseModel):
    """A stored evaluation."""

    id: int
    gallery: str
    model: str
    matcher: str | None = Field(description="the model that reranked; null without reranking")
    revision: int
    candidates: int
    pooled: int | None = Field(description="items that a first pass by one vector each handed on; null without one")
    directions: list[DirectionOut]

    @classmethod
    def of(cls, evaluated: Evaluated) -> EvaluatedOut:
        """Shape an evaluation."""
        return cls(**asdict(evaluated))


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
