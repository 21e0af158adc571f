"""A Sightline pipeline as a model of mteb, whose MIEB tasks it answers as it answers people: ITC, FAISS, then ITM.

mteb is an extra: pip install 'sightline[mteb]'. docs/mteb.md says what is measured how.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import tempfile
import weakref
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from api.doors import pictures
from api.doors.ranking import Ranking
from api.errors import UsageError
from api.library import Sightline
from api.settings import read_settings
from api.wiring import Say
from indexer.build import Builder
from indexer.sources.description import Description
from indexer.sources.folder import Record, records
from indexer.uri import to_uri
from retrieval.evaluation.protocols import protocol_of
from retrieval.evaluation.trec import strictly_decreasing
from retrieval.first_stage import find
from retrieval.models.checkpoints import Checkpoint
from retrieval.models.roles import Encoder
from retrieval.rerank import Judged, Reranker, rerank_images, rerank_texts, unjudged
from retrieval.search import encode
from retrieval.types import Candidate, Float32, Query
from storage import galleries, items
from storage.galleries import Gallery
from storage.items import Item
from storage.lease import write_lease
from storage.snapshots import Snapshot

if TYPE_CHECKING:
    from mteb.abstasks.task_metadata import TaskMetadata
    from mteb.models import ModelMeta
    from mteb.types import Array, BatchedInput, PromptType

Rows = Any
"""A `datasets.Dataset`: a row for each query or document, with its `id` and columns `text` or `image`."""
Run = dict[str, dict[str, float]]
"""Query to the documents that it ranked, with scores."""

QUERIES_AT_ONCE = 64
READS_ENGLISH = frozenset({"albef", "blip", "blip2", "instructblip", "alpro", "clip", "siglip"})
"""Families whose texts are English; what else a model reads is not said."""
ASKED = {"image": ({"text"}, {"image"}, {"text", "image"}), "text": ({"image"},)}
"""What a query may be made of, by what is searched."""


class SightlineModel:
    """Both stages of a model for mteb: `mteb.evaluate(SightlineModel("blip-itm-base-coco"), tasks=[...])`.

    Retrieval tasks go through the first stage and the rerank that serve people (mteb's `SearchProtocol`); all other
    tasks take embeddings (its `EncoderProtocol`). What cannot be asked of Sightline is a UsageError.
    """

    def __init__(
        self,
        model: str,
        *,
        candidates: int | None = None,
        rerank: bool = True,
        matcher: str | None = None,
        home: Path | str | None = None,
        say: Say | None = None,
    ) -> None:
        """Name a model as `sightline models` does; nothing is loaded before it is needed.

        `candidates` documents of each query are reranked: those of the model's protocol unless said otherwise, as
        `Sightline.evaluate` does. `matcher` reranks in place of the model's own. Corpora become galleries in `home`,
        which may be used again; without one they lie in a temporary folder, and go with it.
        """
        _require_mteb()
        self._ranking = Ranking(candidates=candidates, rerank=rerank, matcher=matcher)
        self._is_kept = home is not None
        folder = Path(home).expanduser() if home is not None else Path(tempfile.mkdtemp(prefix="sightline-mteb-"))
        # A database that serves people is no place for benchmarks, wherever the environment says it is.
        settings = read_settings().model_copy(update={"home": folder, "database_url": None})
        self._sightline = Sightline(settings=settings, say=say)
        self._end = weakref.finalize(self, _end, self._sightline, None if self._is_kept else folder)
        self._wiring = self._sightline.wiring
        self._checkpoint = self._wiring.checkpoint(model)
        self._matcher = None if matcher is None else self._wiring.matcher(matcher)
        self._corpus: _Corpus | None = None

    def close(self) -> None:
        """Let go of the models, and of the corpora where they are not kept; without this, that comes with the end."""
        self._end()

    # What this is

    @cached_property
    def mteb_model_meta(self) -> ModelMeta:
        """What mteb writes beside the numbers. The revision is the fingerprint; what is not known is None."""
        from mteb.models import ModelMeta

        row, encoder = self._checkpoint, self._encoder
        has_licence = row.licence.lower() != "unknown"
        return ModelMeta(
            loader=None,
            name=f"sightline/{_short_name(row)}",
            revision=encoder.fingerprint,
            release_date=None,
            languages=["eng-Latn"] if row.family in READS_ENGLISH else None,
            n_parameters=None,
            memory_usage_mb=None if row.memory_bytes is None else row.memory_bytes / 2**20,
            max_tokens=row.text_length,
            embed_dim=encoder.dimension,
            license=row.licence.lower() if has_licence else None,
            open_weights=True if has_licence else None,
            public_training_code=None,
            public_training_data=None,
            framework=["PyTorch"],
            similarity_fn_name="cosine",
            use_instructions=False,
            training_datasets=None,
            modalities=["image", "text"],
            experiment_kwargs=self._experiment,
        )

    @property
    def _experiment(self) -> dict[str, Any]:
        """What else the numbers depend on: mteb keeps results apart by it."""
        if self._judge is None:
            return {"stages": "itc"}
        found: dict[str, Any] = {"stages": "itc+itm", "candidates": self._depth or "all"}
        if self._matcher is not None and self._reranker is not None:
            # The revision is the encoder's: another matcher of the same name must not find its results in mteb's cache.
            revision = self._reranker.matcher.fingerprint[:12]
            found |= {"matcher": _short_name(self._matcher), "matcher_revision": revision}
        return found

    @property
    def _judge(self) -> Checkpoint | None:
        """Whose match head reranks, if anything is reranked."""
        judge = self._matcher or self._checkpoint
        return judge if self._ranking.rerank and "matcher" in judge.roles else None

    @property
    def _depth(self) -> int | None:
        """How many candidates are reranked; None is all."""
        assert self._judge is not None
        return self._ranking.candidates or protocol_of(self._judge).candidates

    @cached_property
    def _encoder(self) -> Encoder:
        self._wiring.announce_download(self._checkpoint, "encoder")
        return self._wiring.encoder(self._checkpoint)

    @cached_property
    def _reranker(self) -> Reranker | None:
        if self._judge is None:
            return None
        return self._wiring.reranker_for(self._checkpoint, None if self._matcher is None else self._matcher.name)

    # Retrieval tasks

    def index(
        self,
        corpus: Rows,
        *,
        task_metadata: TaskMetadata,
        hf_split: str,
        hf_subset: str,
        encode_kwargs: Mapping[str, Any],
        **_: Any,
    ) -> None:
        """Make a gallery of a corpus of pictures or of texts; it takes the place of the one before."""
        kind = _kind(task_metadata)
        self._forget()
        facts = (task_metadata.name, hf_subset, hf_split, kind, self._encoder.fingerprint)
        name = f"mteb-{_word(task_metadata.name)[:40]}-{hashlib.sha256(repr(facts).encode()).hexdigest()[:12]}"
        source = _write(corpus, kind, self._folder(name))
        with _Bars(is_shown=encode_kwargs.get("show_progress_bar", True)) as bars:
            gallery = self._build(name, source, bars)
        self._corpus = self._opened(gallery, kind, list(corpus["id"]))

    def search(
        self,
        queries: Rows,
        *,
        task_metadata: TaskMetadata,
        top_k: int,
        encode_kwargs: Mapping[str, Any],
        top_ranked: Mapping[str, Collection[str]] | None = None,
        **_: Any,
    ) -> Run:
        """Rank the corpus for each query: `top_k` documents with scores, none of them equal.

        Reranked candidates come first, the others of the first stage below. Of a task that names the documents of each
        query (`top_ranked`), only these are ranked.
        """
        assert self._corpus is not None, "mteb indexes a corpus before it searches it"
        asked = _read_queries(self._sightline, queries, task_metadata.get_modalities("query"))
        is_shown = encode_kwargs.get("show_progress_bar", True)
        run: Run = {}
        with tqdm(total=len(queries), desc="queries", disable=not is_shown) as bar:
            for names, some in asked:
                for name, page in zip(names, self._pages(names, some, top_k, top_ranked), strict=True):
                    run[name] = _scored(page[:top_k], self._corpus.documents)
                    bar.update(1)
        return run

    def _forget(self) -> None:
        """Remove the corpus before, unless it is kept: a benchmark of many tasks would fill the disk."""
        if self._corpus is not None and not self._is_kept:
            name = self._corpus.gallery.name
            self._corpus = None
            self._sightline.remove(name)
            shutil.rmtree(self._folder(name), ignore_errors=True)

    def _folder(self, name: str) -> Path:
        return self._wiring.settings.home / "mteb" / name

    def _pages(
        self, names: Sequence[str], asked: Sequence[Query], top_k: int, top_ranked: Mapping[str, Collection[str]] | None
    ) -> Iterator[list[Judged]]:
        """Send some queries through both stages."""
        corpus = self._corpus
        assert corpus is not None
        depth = corpus.snapshot.items if self._reranker is None else self._depth or corpus.snapshot.items
        n = max(top_k, depth)
        vectors = self._embed(asked)
        if top_ranked is None:
            found = find(vectors, corpus.snapshot, n)
        else:
            pools = (corpus.among(top_ranked.get(name, ())) for name in names)
            found = [find(vector[None], pool, n)[0] for vector, pool in zip(vectors, pools, strict=True)]
        for query, page in zip(asked, found, strict=True):
            yield [*self._judged(query, page[:depth], corpus), *unjudged(page[depth:])]

    def _judged(self, query: Query, page: Sequence[Candidate], corpus: _Corpus) -> list[Judged]:
        """Rerank the candidates of a query; a picture that looks for pictures is answered by similarity alone."""
        reranker = self._reranker
        if reranker is None or (corpus.snapshot.kind == "image" and query.text is None):
            return unjudged(page)
        if corpus.snapshot.kind == "image":
            return rerank_images(query.text or "", page, corpus.known, reranker)
        assert query.image is not None
        tokens = reranker.matcher.image_tokens(reranker.matcher.prepare(query.image)[None])
        texts = {one.item_id: corpus.known[one.item_id].text or "" for one in page}
        return rerank_texts(tokens, page, texts, reranker)

    def _embed(self, asked: Sequence[Query]) -> Float32:
        """Embed queries of one make to `float32 [q, w, d]`; a text without words is one too, since benchmarks vary."""
        if all(query.image is None for query in asked):
            return self._encoder.encode_texts([query.text or "" for query in asked])[:, None, :]
        return encode(asked, self._encoder)

    def _build(self, name: str, source: _Source, bars: _Bars) -> Gallery:
        """Index a corpus as a folder is indexed; what is there already is not embedded again."""
        wiring, encoder = self._wiring, self._encoder
        with wiring.database.writing() as session:
            is_known = galleries.exists(session, name)
            gallery = galleries.by_name(session, name) if is_known else galleries.create(session, name)
            galleries.add_source(session, gallery.id, source.uri)
            gallery = galleries.fix_model(
                session,
                gallery,
                model=self._checkpoint.name,
                fingerprint=encoder.fingerprint,
                dimension=encoder.dimension,
                vectors=encoder.vectors,
            )
        builder = Builder(
            wiring.database,
            wiring.snapshots,
            gallery,
            encoder,
            bars,
            pixel_limit=wiring.settings.pixel_limit,
            batch=wiring.batch(self._checkpoint),
            threads=wiring.settings.decode_threads,
        )
        with write_lease(wiring.database, gallery) as holder:
            builder.run(source, holder=holder)
        return gallery

    def _opened(self, gallery: Gallery, kind: str, names: Sequence[str]) -> _Corpus:
        """Read a gallery as a corpus, and tell of documents that nothing can find."""
        with self._wiring.database.reading() as session:
            gallery = galleries.by_name(session, gallery.name)
            snapshot = self._wiring.snapshots.newest(session, gallery, kind)
            known = {item.id: item for item in items.embedded(session, gallery.id, kind)}
            failed = items.failed(session, gallery.id)
        for item in failed:
            self._wiring.say(f"document {names[_row(item.uri)]} cannot be found: {item.reason}")
        documents = {item_id: names[_row(item.uri)] for item_id, item in known.items()}
        return _Corpus(gallery, snapshot, known, documents)

    # Tasks of embeddings

    def encode(
        self,
        inputs: Any,
        *,
        task_metadata: TaskMetadata,
        hf_split: str,
        hf_subset: str,
        prompt_type: PromptType | None = None,
        **kwargs: Any,
    ) -> Float32:
        """Embed what a loader of mteb gives, texts, pictures or both, to `float32 [n, d]` of unit length.

        A picture of several vectors (BLIP-2) is given as the mean of them. That is not what such a model compares
        with a text, the greatest of them: a task of pictures and texts is a UsageError for it.
        """
        if self._encoder.vectors > 1 and {"text", "image"} <= set(task_metadata.modalities):
            raise UsageError(
                "task",
                f"{task_metadata.name} compares one vector of each picture with one of each text, and "
                f"{self._checkpoint.name} has {self._encoder.vectors} of a picture: measure it by retrieval tasks",
            )
        loader = tqdm(inputs, desc="embeddings", disable=not kwargs.get("show_progress_bar", True))
        return np.concatenate([np.zeros((0, self._encoder.dimension), np.float32), *map(self._batch, loader)])

    def similarity(self, embeddings1: Array, embeddings2: Array) -> Array:
        """Cosines of all embeddings `[n, d]` with all others `[m, d]`: `[n, m]`, a tensor as mteb wants it."""
        from mteb.similarity_functions import cos_sim

        return cos_sim(embeddings1, embeddings2)

    def similarity_pairwise(self, embeddings1: Array, embeddings2: Array) -> Array:
        """Cosines of embeddings `[n, d]` with those of the same row `[n, d]`: `[n]`."""
        from mteb.similarity_functions import pairwise_cos_sim

        return pairwise_cos_sim(embeddings1, embeddings2)

    def _batch(self, batch: BatchedInput) -> Float32:
        columns = [batch[name] for name in ("text", "image") if name in batch]
        if not columns:
            raise UsageError("task", f"a batch has the columns {', '.join(batch)}; Sightline reads text and image")
        texts, images = (batch.get(name) or [None] * len(columns[0]) for name in ("text", "image"))
        vectors = self._embed([Query(text, image) for text, image in zip(texts, images, strict=True)])
        if vectors.shape[1] == 1:
            return vectors[:, 0]
        means = vectors.mean(axis=1, dtype=np.float64)
        unit: Float32 = (means / np.linalg.norm(means, axis=1, keepdims=True)).astype(np.float32)
        return unit


@dataclass(frozen=True)
class _Corpus:
    """A gallery as mteb knows it: `documents` are its names of items."""

    gallery: Gallery
    snapshot: Snapshot
    known: Mapping[int, Item]
    documents: Mapping[int, str]

    def among(self, wanted: Collection[str]) -> Snapshot:
        """Give the snapshot as if it held some documents only."""
        kept = set(wanted)
        others = [item_id for item_id, name in self.documents.items() if name not in kept]
        return self.snapshot.without(np.array(others, dtype=np.int64))


@dataclass(frozen=True)
class _Source:
    """A corpus as what a gallery is made of: `indexer.build.Source`. The number of its row ends each uri.

    Texts of equal wording stay apart, as documents do.
    """

    folder: Path
    uri: str
    texts: Mapping[str, str]
    layout: str = "mteb"
    texts_need_pictures: bool = False

    def records(self) -> Iterator[Record]:
        """List the pictures."""
        return records(self.folder)

    def descriptions(self) -> Iterator[Description]:
        """Give the texts, which describe no file."""
        if self.texts:
            yield Description(self.uri, self.texts)

    def name_of(self, uri: str) -> str:
        """Give the number of a row."""
        return str(_row(uri))


class _Bars:
    """Progress of an index run, a bar for each chapter."""

    def __init__(self, *, is_shown: bool) -> None:
        self._is_shown = is_shown
        self._bar: tqdm[Any] | None = None

    def __enter__(self) -> _Bars:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def begin(self, what: str, total: int) -> None:
        """Start a chapter of `total` steps."""
        self.__exit__()
        self._bar = tqdm(total=total, desc=what, disable=not self._is_shown)

    def advance(self, count: int) -> None:
        """Note that `count` steps more are done."""
        if self._bar is not None:
            self._bar.update(count)


# --- what mteb gives


def _require_mteb() -> None:
    try:
        import mteb  # noqa: F401
    except ImportError as error:
        raise UsageError("mteb", "mteb is not installed: pip install 'sightline[mteb]'") from error


def _kind(task: TaskMetadata) -> str:
    """Say what a task searches, pictures or texts, or raise UsageError where Sightline has no such search."""
    documents, asked = task.get_modalities("document"), set(task.get_modalities("query"))
    if len(documents) == 1 and asked in ASKED.get(documents[0], ()):
        return str(documents[0])
    raise UsageError(
        "task",
        f"{task.name} looks for {' with '.join(documents)} by {' with '.join(sorted(asked))}: Sightline finds pictures "
        "by text, by picture or by both, and texts by picture",
    )


def _write(corpus: Rows, kind: str, folder: Path) -> _Source:
    """Put the pictures of a corpus into files named by their rows, as they are; texts stay in memory."""
    folder.mkdir(parents=True, exist_ok=True)
    uri = to_uri(folder.resolve())
    if kind == "text":
        return _Source(folder, uri, {f"{uri}/{row:09d}": text for row, text in enumerate(_texts(corpus))})
    for row, content in enumerate(_contents(corpus)):
        path = folder / f"{row:09d}"
        if not path.is_file() or path.read_bytes() != content:
            path.write_bytes(content)
    for path in folder.iterdir():
        if int(path.name) >= len(corpus):
            path.unlink()
    return _Source(folder, uri, {})


def _read_queries(
    sightline: Sightline, queries: Rows, modalities: Sequence[str]
) -> Iterator[tuple[list[str], list[Query]]]:
    """Give the names of queries and the queries, some at a time; their pictures are read as a gallery's are."""
    for start in range(0, len(queries), QUERIES_AT_ONCE):
        some = queries.select(range(start, min(start + QUERIES_AT_ONCE, len(queries))))
        nothing = [None] * len(some)
        texts = list(_texts(some)) if "text" in modalities else nothing
        contents = _contents(some) if "image" in modalities else nothing
        images = [None if one is None else pictures.read(sightline.wiring, one) for one in contents]
        yield list(some["id"]), [Query(text, image) for text, image in zip(texts, images, strict=True)]


def _texts(rows: Rows) -> Iterator[str]:
    """Give what is to be read of each row as mteb does: a document's title before it, a query's instruction behind."""
    for row in rows.select_columns([name for name in ("title", "text", "instruction") if name in rows.column_names]):
        if not isinstance(row["text"], str):
            raise UsageError("task", f"a text of the task is {type(row['text']).__name__}; Sightline reads plain texts")
        yield " ".join(part for part in (row.get("title"), row["text"], row.get("instruction")) if part).strip()


def _contents(rows: Rows) -> Iterator[bytes]:
    """Give the file of each row's picture, byte by byte as the dataset has it."""
    from datasets import Image

    if not isinstance(rows.features.get("image"), Image):
        raise UsageError("task", "the column image of the task does not hold one picture a row, which Sightline reads")
    for row in rows.with_format(None).select_columns(["image"]).cast_column("image", Image(decode=False)):
        content, path = row["image"]["bytes"], row["image"]["path"]
        yield content if content is not None else Path(path).read_bytes() if path else b""


# --- what mteb gets


def _scored(page: Sequence[Judged], documents: Mapping[int, str]) -> dict[str, float]:
    """Write a page as scores that strictly decrease: trec_eval, by which mteb measures, orders equal ones by name.

    A reranked document has the score that ordered it, the others their similarity, or what is just below the last.
    """
    scores = strictly_decreasing([one.candidate.similarity if one.score is None else one.score for one in page])
    return {documents[one.candidate.item_id]: score for one, score in zip(page, scores, strict=True)}


def _row(uri: str) -> int:
    return int(uri.rpartition("/")[2])


def _short_name(checkpoint: Checkpoint) -> str:
    """Name a model without slashes and without the folders of this machine."""
    source = checkpoint.source
    name = source.name if isinstance(source, Path) else checkpoint.name
    return name.strip("/").replace("/", "--")


def _word(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def _end(sightline: Sightline, folder: Path | None) -> None:
    sightline.close()
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)
