"""Settings to objects: the only place where a name becomes a model, a store or a database."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from threading import Lock, RLock
from typing import TypeVar

from PIL.Image import Image

from api.errors import UsageError, WeightsElsewhere
from api.settings import Settings
from indexer.build import Source
from indexer.decode import open_file
from indexer.errors import DecodeFailed, OriginalChanged, OriginalMissing
from indexer.originals import check_unchanged, open_original
from indexer.sources.folder import looks_rendered
from retrieval.errors import NotRun, PictureGone, RetrievalError, RoleMissing, UnknownModel, WeightsMissing
from retrieval.models import hub, load
from retrieval.models.checkpoints import CHECKPOINTS, Checkpoint, Role, Scoring, companion
from retrieval.models.resolve import resolve
from retrieval.models.roles import Answerer, Captioner, Encoder, FeatureExtractor, Precision
from retrieval.pictures import ImageTokens
from retrieval.rerank import Reranker
from storage import schema
from storage.blobs import Blobs
from storage.db import Database
from storage.errors import ModelMismatch
from storage.galleries import Gallery
from storage.items import Item
from storage.sent import SentPictures
from storage.snapshots import Snapshots
from storage.uploads import Uploads
from storage.vectors.faiss_shards import FaissStore

Say = Callable[[str], None]
Model = TypeVar("Model")

PHOTO_MODEL = "blip-itm-base-coco"
RENDERED_MODEL = "postcards"
ONLY_POSTCARDS = (
    "{} has seen drawn postcards only: on other pictures its similarities and match probabilities mean little"
)
SMALL_PIXELS = 160
"""Pictures of at most this side are cheap to encode: larger batches, deeper reranking."""


class Originals:
    """Shows the pictures of items from where they lie: `retrieval.pictures.Pictures`."""

    def __init__(self, pixel_limit: int) -> None:
        """Refuse pictures of more pixels."""
        self._pixel_limit = pixel_limit

    def is_current(self, item: Item) -> bool:
        """Say whether the file is there, with the size and time it had when it was indexed."""
        try:
            check_unchanged(item.uri, size=item.size or 0, mtime_ns=item.mtime_ns or 0)
        except (OriginalMissing, OriginalChanged):
            return False
        return True

    def open(self, item: Item, *, least_side: int | None = None) -> Image:
        """Decode the item's picture, with fewer pixels where `least_side` is enough."""
        try:
            return open_original(
                item.uri,
                size=item.size or 0,
                mtime_ns=item.mtime_ns or 0,
                pixel_limit=self._pixel_limit,
                least_side=least_side,
            )
        except (OriginalMissing, OriginalChanged, DecodeFailed) as error:
            raise PictureGone(item.uri, error.reason) from error


class Wiring:
    """Everything that commands and routes need, made when it is first asked for."""

    def __init__(self, settings: Settings, say: Say) -> None:
        """Open the database; `say` is told one line at a time what a person should know."""
        self.settings, self.say = settings, say
        self._models: dict[tuple[str, str], object] = {}
        self._checkpoints: dict[str, Checkpoint] = {}
        self._locks: dict[tuple[str, str], Lock] = {}
        self._lock = RLock()

    @cached_property
    def database(self) -> Database:
        """The database at this program's schema: SQLite is brought there, others must be there."""
        database = Database(self.settings.database)
        if database.is_sqlite:
            schema.upgrade(database)
        else:
            schema.require_current(database)
        return database

    @cached_property
    def snapshots(self) -> Snapshots:
        """Snapshots over the vector store."""
        return Snapshots(FaissStore(), self.settings.home / "vectors")

    @cached_property
    def blobs(self) -> Blobs:
        """The blob store."""
        return Blobs(self.settings.home / "blobs")

    @cached_property
    def uploads(self) -> Uploads:
        """The pictures that galleries were sent."""
        return Uploads(self.settings.home / "uploads", most_bytes=self.settings.uploads_bytes)

    @cached_property
    def sent(self) -> SentPictures:
        """The pictures that were sent to search by."""
        most_bytes, most_pictures = self.settings.sent_bytes, self.settings.sent_pictures
        return SentPictures(self.settings.home / "sent", most_bytes=most_bytes, most_pictures=most_pictures)

    @cached_property
    def originals(self) -> Originals:
        """The pictures where they lie."""
        return Originals(self.settings.pixel_limit)

    def close(self) -> None:
        """Return the database's connections and let go of the models."""
        if "database" in self.__dict__:
            self.database.close()
        self._models.clear()

    @property
    def offline(self) -> bool:
        """Whether the network must not be asked for weights."""
        return self.settings.offline

    @cached_property
    def precision(self) -> Precision:
        """What models compute in: a half is refused where there is no GPU."""
        wanted = self.settings.precision
        if wanted != "float32" and not self._on_gpu():
            raise UsageError(
                "SIGHTLINE_PRECISION", f"SIGHTLINE_PRECISION is {wanted}: a CPU computes in float32; unset it"
            )
        return wanted

    def checkpoint(self, name: str) -> Checkpoint:
        """Find what a model name means; a folder's configuration is read once and not for every query."""
        if name not in self._checkpoints:
            self._checkpoints[name] = resolve(name, offline=self.offline)
        return self._checkpoints[name]

    def encoder(self, checkpoint: Checkpoint) -> Encoder:
        """Load an encoder once."""
        return self._once("encoder", checkpoint, load.load_encoder)

    def encoder_of(self, gallery: Gallery) -> Encoder:
        """Load the encoder that built a gallery; other weights of the same name are an error."""
        assert gallery.model is not None
        encoder = self.encoder(self.checkpoint(gallery.model))
        if encoder.fingerprint != gallery.fingerprint:
            was, now = (gallery.fingerprint or "")[:8], encoder.fingerprint[:8]
            raise ModelMismatch(gallery.name, f"{gallery.model} ({was})", f"{gallery.model} ({now})")
        return encoder

    def features(self, checkpoint: Checkpoint) -> FeatureExtractor:
        """Load what gives a checkpoint's features once: its encoder."""
        return self._once("features", checkpoint, load.load_features)

    def matcher(self, name: str) -> Checkpoint:
        """Find a matcher that is asked for by name; RoleMissing where the model has none."""
        found = self.checkpoint(name)
        if found.not_run is not None:
            raise NotRun(found.name, found.not_run)
        if "matcher" not in found.roles:
            raise RoleMissing(found.name, "matcher")
        return found

    def matchers_at_hand(self, gallery: Gallery) -> list[str]:
        """Name the matchers that can read a gallery's candidates without a download: of the table, and the server's.

        The server's own are the gallery's model and the one of new galleries, whatever they are.
        """
        return self.at_hand("matcher", [gallery.model])

    def encoders_at_hand(self, models: Iterable[str]) -> list[str]:
        """Name the encoders that can be loaded without a download: of the table, of `models`, and the server's."""
        return [name for name in self.at_hand("encoder", models) if self.checkpoint(name).source is not None]

    def at_hand(self, role: Role, models: Iterable[str | None]) -> list[str]:
        """Name the models that can play a role without a download: of the table, of `models`, and the server's."""
        here = [name for name, row in CHECKPOINTS.items() if _is_at_hand(row, role)]
        for name in (*models, self.settings.model):
            # A setting that means nothing is told where it is used.
            with suppress(RetrievalError):
                if name is not None and name not in here and _is_at_hand(self.checkpoint_here(name), role):
                    here.append(name)
        return here

    def require_here(self, name: str, role: Role, *, command: str, field: str) -> Checkpoint:
        """Find a model that can play a role without a download, or raise WeightsElsewhere.

        `command` downloads what is missing, and `field` is the part of the request that asks for the model.
        """
        try:
            found = self.checkpoint_here(name)
        except WeightsMissing as error:
            raise WeightsElsewhere(name, command=command, field=field) from error
        if not hub.is_cached(found, role):
            raise WeightsElsewhere(name, command=command, field=field)
        return found

    def checkpoint_here(self, name: str) -> Checkpoint:
        """Find what a model name means, without the network; a folder or file is looked into once."""
        if name not in self._checkpoints:
            self._checkpoints[name] = resolve(name, offline=True)
        return self._checkpoints[name]

    def reranker_of(self, gallery: Gallery, matcher: str | None = None) -> Reranker | None:
        """Load the named matcher for a gallery, else that of the gallery's model; None for a model that has none."""
        assert gallery.model is not None
        return self.reranker_for(self.checkpoint(gallery.model), matcher)

    def reranker_for(self, encoder: Checkpoint, matcher: str | None) -> Reranker | None:
        """Load the named matcher for the candidates of an encoder, else its own; None for a model that has none."""
        if matcher is None:
            return self.reranker(encoder)
        chosen = self.matcher(matcher)
        self.announce_download(chosen, "matcher")
        reranker = self.reranker(chosen)
        assert reranker is not None
        return replace(reranker, scoring=scoring_of(encoder, chosen))

    def reranker(self, checkpoint: Checkpoint) -> Reranker | None:
        """Load a matcher once, with its token cache, for candidates of its own model; None for a model without one."""
        if "matcher" not in checkpoint.roles:
            return None
        return self._once("matcher", checkpoint, self._reranker)

    def captioner(self, checkpoint: Checkpoint) -> Captioner:
        """Load a checkpoint's captioner once, saying first what has to be downloaded."""
        self.announce_download(companion(checkpoint, "captioner"), "captioner")
        return self._once("captioner", checkpoint, load.load_captioner)

    def answerer(self, checkpoint: Checkpoint) -> Answerer:
        """Load a checkpoint's answerer once, saying first what has to be downloaded."""
        self.announce_download(companion(checkpoint, "answerer"), "answerer")
        return self._once("answerer", checkpoint, load.load_answerer)

    def choose_model(self, place: Path, source: Source, *, ask_network: bool) -> Checkpoint | None:
        """Choose the model of a new gallery: the photo model where it can be had, else what the pictures allow.

        None means that names and captions are searched; two lines say why and what to do.
        """
        wanted = CHECKPOINTS[PHOTO_MODEL]
        if hub.is_cached(wanted, "encoder") or (ask_network and self._fetch(wanted)):
            return wanted
        if self.is_rendered(source):
            return CHECKPOINTS[RENDERED_MODEL]
        self.say(f"No photo model is here: {PHOTO_MODEL} is not cached, and the hub is out of reach or switched off.")
        self.say(
            "Searching names and captions instead. To search by what pictures show, run once with a network: "
            f"sightline index {place} --model {PHOTO_MODEL} ({_megabytes(wanted)} MB)"
        )
        return None

    def _fetch(self, checkpoint: Checkpoint) -> bool:
        """Download weights that nobody asked for by name; where that fails there is another way to go on."""
        if self.offline or not hub.is_reachable():
            return False
        self.announce_download(checkpoint, "encoder")
        try:
            hub.locate(checkpoint, "encoder", offline=False)
        except (WeightsMissing, UnknownModel) as error:
            self.say(str(error))
            return False
        return True

    def model_of_picture(self, path: Path | None) -> Checkpoint:
        """Choose a model for one picture of no gallery; WeightsMissing where none can be had."""
        wanted = CHECKPOINTS[PHOTO_MODEL]
        if not hub.is_cached(wanted, "encoder") and path is not None and _is_rendered(path):
            return CHECKPOINTS[RENDERED_MODEL]
        return wanted

    def is_rendered(self, source: Source) -> bool:
        """Say whether a folder or a dataset holds rendered postcards only."""
        return looks_rendered(source.records(), _is_rendered)

    def are_rendered(self, pictures: Iterable[Path]) -> bool:
        """Say whether all of some pictures are rendered postcards; one that is gone is none."""
        return all(_is_rendered(path) for path in pictures)

    def announce_download(self, checkpoint: Checkpoint, role: str) -> None:
        """Say what will be downloaded before it is."""
        if checkpoint.download_bytes and not self.offline and not hub.is_cached(checkpoint, role):  # type: ignore[arg-type]
            self.say(f"Downloading {checkpoint.name}: about {_megabytes(checkpoint)} MB.")

    def batch(self, checkpoint: Checkpoint) -> int:
        """Choose how many pictures are encoded at a time: large pictures few, so that progress is seen."""
        return 32 if checkpoint.image_size <= SMALL_PIXELS else 8

    def depth(self, gallery: Gallery, matcher: str | None = None) -> int:
        """Choose how many candidates are reranked unless the user says: what the device does in about a second.

        The work is the matcher's: the named one's, else that of the gallery's model.
        """
        name = matcher or gallery.model
        assert name is not None
        return self._depth(name, small=128)

    def depth_of_evaluation(self, gallery: Gallery, matcher: str | None = None) -> int:
        """Choose how many candidates an evaluation reranks unless the user says: as a search does.

        Small pictures are reranked as deep as on the cards of the shipped models: thousands of queries add up.
        """
        name = matcher or gallery.model
        assert name is not None
        return self._depth(name, small=32)

    def _depth(self, matcher: str, *, small: int) -> int:
        if self.checkpoint(matcher).image_size <= SMALL_PIXELS:
            return small
        return 128 if self._on_gpu() else 16

    @property
    def device(self) -> str:
        """What models compute on."""
        return "cuda" if self._on_gpu() else "cpu"

    def _on_gpu(self) -> bool:
        return self.settings.device == "cuda" or (self.settings.device == "auto" and load.device_kind() == "cuda")

    def _reranker(self, checkpoint: Checkpoint, *, device: str | None, offline: bool, precision: Precision) -> Reranker:
        matcher = load.load_matcher(checkpoint, device=device, offline=offline, precision=precision)
        cache_bytes, batch = self.settings.token_cache_bytes, self.batch(checkpoint)
        return Reranker(
            matcher, ImageTokens(matcher, self.originals, cache_bytes=cache_bytes, batch=batch), checkpoint.protocol
        )

    def _once(self, role: str, checkpoint: Checkpoint, loader: Callable[..., Model]) -> Model:
        device = None if self.settings.device == "auto" else self.settings.device
        if device == "cuda" and load.device_kind() != "cuda":
            raise UsageError("SIGHTLINE_DEVICE", "SIGHTLINE_DEVICE is cuda, but torch sees no CUDA device; unset it")
        key = (role, checkpoint.name)
        with self._lock:
            own = self._locks.setdefault(key, Lock())
        # A lock for each: a model that takes a minute to load must not stop those that are there.
        with own:
            if key not in self._models:
                self._models[key] = loader(checkpoint, device=device, offline=self.offline, precision=self.precision)
            return self._models[key]  # type: ignore[return-value]


def scoring_of(encoder: Checkpoint, matcher: Checkpoint) -> Scoring:
    """Choose how candidates of an encoder are scored by a matcher.

    The authors add the ITC cosine of the very model whose logit it is. A cosine of another model has another scale and
    another spread, for which nobody has weighed the two: there the logit counts alone.
    """
    return matcher.protocol if matcher.name == encoder.name else "itm"


def _is_rendered(path: Path) -> bool:
    """Whether a file, or a member of an archive, is a rendered postcard."""
    from retrieval.training.world.render import is_rendered

    try:
        with open_file(path) as file:
            return is_rendered(file)
    except DecodeFailed:
        return False


def _is_at_hand(checkpoint: Checkpoint, role: Role) -> bool:
    return role in checkpoint.roles and hub.is_cached(checkpoint, role)


def _megabytes(checkpoint: Checkpoint) -> int:
    return round((checkpoint.download_bytes or 0) / 1e6)
