"""Features on their way out: which pictures and texts, which model, and a stream that is read once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from PIL.Image import Image

from api.doors import folders, pages, pictures
from api.doors.pictures import Picture
from api.errors import UsageError
from api.paths import expanded
from api.results import Features
from api.wiring import PHOTO_MODEL, Wiring
from indexer.build import Progress
from indexer.decode import PICTURE_SUFFIXES, decode, decode_bytes
from indexer.errors import DecodeFailed, PictureMissing
from indexer.scan import ahead
from indexer.sources.folder import FailedRecord, records
from indexer.uri import to_uri
from retrieval.features import Feature, Kind, Seen, Wanted, batches, image_features, pair_features, text_features
from retrieval.models.checkpoints import Checkpoint
from retrieval.models.roles import FeatureExtractor
from retrieval.texts import require_words
from retrieval.types import Float32
from storage import galleries, items
from storage.galleries import Gallery

Pictures = Picture | Sequence[Picture]
"""Pictures one by one, or one folder, or the name of one gallery."""

TEXTS_AT_ONCE = 256
STORED_AT_ONCE = 1024
MADE_OF = {"image": "pictures alone", "text": "texts alone", "multimodal": "pictures with a text each"}


@dataclass(eq=False)
class Stream:
    """Features that are made while they are read, which can be done once.

    `count` is how many there are at most. What follows it grows while the stream is read: `failed` names the files of
    a folder that turned out to be no pictures, `uris` and `texts` what was embedded, `lengths` the vectors of each.
    """

    model: str
    wanted: Wanted
    count: int
    features: Iterator[Feature]
    failed: list[tuple[str, str]] = field(default_factory=list)
    uris: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)
    width: int = 0
    is_flat: bool = False

    def __iter__(self) -> Iterator[Feature]:
        for one in self.features:
            *rows, self.width = one.embedding.shape
            self.is_flat = not rows
            self.lengths.append(rows[0] if rows else 1)
            self.uris += [] if one.uri is None else [one.uri]
            self.texts += [] if one.text is None else [one.text]
            yield one

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of all that was read as one array: `[n, v, d]`, or `[n, d]` for texts; v is the greatest of all."""
        rows = () if self.is_flat else (max(self.lengths, default=0),)
        return (len(self.lengths), *rows, self.width)


@dataclass(frozen=True)
class _Source:
    """A picture that has not been looked at, and its file, if it has one; one that was not named may be passed over."""

    uri: str
    open: Callable[[], Image]
    path: Path | None = None
    is_named: bool = True


def choose(
    kind: Kind | None, has_images: bool, has_texts: bool, *, projected: bool | None, every_token: bool
) -> Wanted:
    """Say what is wanted of what was given, or raise UsageError; whether it is projected unless somebody says so."""
    if not has_images and not has_texts:
        raise UsageError("image", "there is nothing to embed: give pictures, texts or both")
    given: Kind = "multimodal" if has_images and has_texts else "image" if has_images else "text"
    if kind is None and given == "multimodal":
        either = "ask for one after the other, or for pairs (multimodal): picture i with text i"
        raise UsageError("kind", f"pictures and texts have features of their own; {either}")
    if kind not in (None, given):
        raise UsageError("kind", f"{kind} features are made of {MADE_OF[kind]}, and {MADE_OF[given]} were given")
    if given == "multimodal" and projected:
        raise UsageError("projected", "a picture with a text has no projection: its features are unprojected only")
    return Wanted(given, given != "multimodal" if projected is None else projected, every_token)


def stream(
    wiring: Wiring,
    images: Pictures | None,
    texts: Sequence[str],
    wanted: Wanted,
    *,
    model: str | None,
    progress: Progress,
) -> Stream:
    """Give the features of pictures, texts or pairs. What is wrong with the request is told before any work is done."""
    require_words(texts)
    gallery = _gallery(wiring, images)
    if gallery is not None:
        return _stored(wiring, folders.target(wiring, gallery.name, model=model, progress=progress), wanted, progress)
    failed: list[tuple[str, str]] = []
    sources = [] if images is None else _sources(wiring, images, failed)
    if images is not None and not sources:
        raise UsageError("image", "there are no pictures to embed")
    if wanted.kind == "multimodal" and len(sources) != len(texts):
        raise UsageError("text", f"{len(sources)} pictures and {len(texts)} texts make no pairs: give a text for each")
    checkpoint = _checkpoint(wiring, model, sources)
    wiring.announce_download(checkpoint, "encoder")
    extractor = wiring.features(checkpoint)
    batch = wiring.batch(checkpoint)
    is_paired = wanted.kind == "multimodal"
    seen = _looked_at(wiring, sources, extractor, failed, depth=2 * batch, is_paired=is_paired)
    match wanted.kind:
        case "image":
            features = image_features(seen, extractor, wanted, batch=batch)
        case "text":
            features = text_features(texts, extractor, wanted, batch=TEXTS_AT_ONCE)
        case "multimodal":
            features = pair_features(seen, texts, extractor, wanted, batch=batch)
    if wanted.kind != "text":
        features = _watched(features, len(sources), progress)
    return Stream(checkpoint.name, wanted, len(sources) or len(texts), features, failed)


def collect(stream: Stream) -> Features:
    """Read a stream into one array; where lengths differ, rows of zeros fill up to the longest."""
    whole: Float32 = np.zeros((stream.count, 0), dtype=np.float32)
    for row, one in enumerate(stream):
        if not row:
            whole = np.zeros((stream.count, *one.embedding.shape), dtype=np.float32)
        if len(one.embedding) > whole.shape[1]:
            whole = np.pad(whole, ((0, 0), (0, len(one.embedding) - whole.shape[1]), (0, 0)))
        whole[row, : len(one.embedding)] = one.embedding
    return Features(
        model=stream.model,
        kind=stream.wanted.kind,
        projected=stream.wanted.projected,
        embeddings=whole[: len(stream.lengths)],
        lengths=tuple(stream.lengths),
        uris=tuple(stream.uris),
        texts=tuple(stream.texts),
        failed=tuple(stream.failed),
    )


def check_offered(wiring: Wiring, model: str | None) -> str:
    """Give the model that a stranger may ask for: none may make us read folders or download."""
    with wiring.database.reading() as session:
        offered = wiring.encoders_at_hand(galleries.models(session))
    chosen = model or wiring.settings.model or PHOTO_MODEL
    if chosen in offered:
        return chosen
    asked = f"model is {model!r}; it" if model else "model is not set, and the usual one is not here; it"
    raise UsageError("model", f"{asked} must be one of {', '.join(offered)}")


def _gallery(wiring: Wiring, images: Pictures | None) -> Gallery | None:
    """Find the gallery that a bare name means; None for files, and for folders, which are read anew."""
    if not isinstance(images, str) or Path(images).is_file() or folders.means_folder(wiring, images):
        return None
    with wiring.database.reading() as session:
        return galleries.by_name(session, images) if galleries.exists(session, images) else None


def _stored(wiring: Wiring, gallery: Gallery, wanted: Wanted, progress: Progress) -> Stream:
    """Give a gallery's embeddings as they are stored."""
    model = pages.require_model(gallery, "embedding")
    if wanted != Wanted("image"):
        remedy = "name its folder or its files for others"
        raise UsageError("image", f"gallery {gallery.name} stores the projected embeddings of its pictures; {remedy}")
    with wiring.database.reading() as session:
        count = wiring.snapshots.newest(session, gallery, "image").items
    return Stream(model, wanted, count, _watched(_read_stored(wiring, gallery), count, progress))


def _read_stored(wiring: Wiring, gallery: Gallery) -> Iterator[Feature]:
    with wiring.database.reading() as session:
        snapshot = wiring.snapshots.newest(session, gallery, "image")
        for part in snapshot.parts:
            for some in batches(np.flatnonzero(part.alive), STORED_AT_ONCE):
                slots = np.array(some)
                ids = [int(number) for number in part.ids[slots]]
                known = items.by_ids(session, ids)
                for number, embedding in zip(ids, part.vectors(slots), strict=True):
                    if number in known:
                        yield Feature(known[number].uri, None, embedding)


def _sources(wiring: Wiring, images: Pictures, failed: list[tuple[str, str]]) -> list[_Source]:
    """List pictures without looking at them; a folder stands for all that lies below it, in the indexer's order."""
    several = [images] if isinstance(images, (Image, Path, str, bytes)) else images
    limit = wiring.settings.pixel_limit
    found: list[_Source] = []
    for number, one in enumerate(several, start=1):
        match one:
            case bytes():
                found.append(_Source(f"image#{number}", partial(_open_sent, one, number, pixel_limit=limit)))
            case Image():
                found.append(_Source(f"image#{number}", partial(_itself, one)))
            case _ if (path := expanded(one)).is_dir():
                found += _below(path, failed, pixel_limit=limit)
            case _ if not path.is_file():
                raise PictureMissing(path)
            case _:
                found.append(_Source(to_uri(path.resolve()), partial(pictures.read, wiring, path), path))
    return found


def _below(folder: Path, failed: list[tuple[str, str]], *, pixel_limit: int) -> Iterator[_Source]:
    for record in records(folder):
        if isinstance(record, FailedRecord):
            failed.append((record.uri, record.reason))
        else:
            look = partial(decode, record.path, pixel_limit=pixel_limit)
            yield _Source(record.uri, look, record.path, is_named=False)


def _open_sent(content: bytes, number: int, *, pixel_limit: int) -> Image:
    try:
        return decode_bytes(content, pixel_limit=pixel_limit)
    except DecodeFailed as error:
        sentence = f"picture {number} cannot be read: {error.reason}; send a JPEG, PNG, WebP, HEIC or the like"
        raise DecodeFailed(sentence) from error


def _itself(image: Image) -> Image:
    return image


def _checkpoint(wiring: Wiring, model: str | None, sources: Sequence[_Source]) -> Checkpoint:
    """Choose the model: the one that was asked for, that of the first picture's gallery, or what it allows."""
    paths = [source.path for source in sources if source.path is not None]
    first = next((path for path in paths if path.suffix.lower() in PICTURE_SUFFIXES), None)
    found = pictures.item_behind(wiring, first) if first is not None else None
    return pictures.model_of(wiring, found, first, model)


def _looked_at(
    wiring: Wiring,
    sources: Sequence[_Source],
    extractor: FeatureExtractor,
    failed: list[tuple[str, str]],
    *,
    depth: int,
    is_paired: bool,
) -> Iterator[Seen]:
    """Decode pictures in threads; what cannot be read is passed over where nobody named it and no text needs it."""
    look = partial(_prepare, extractor)
    looks = ahead(look, sources, threads=wiring.settings.decode_threads, depth=depth)
    for source, seen in zip(sources, looks, strict=True):
        if isinstance(seen, Seen):
            yield seen
        elif source.is_named or is_paired:
            raise DecodeFailed(seen if source.is_named else f"{source.uri}: {seen}; every text needs its picture")
        else:
            failed.append((source.uri, seen))


def _prepare(extractor: FeatureExtractor, source: _Source) -> Seen | str:
    """Look at a picture as the model does; a sentence says why that is not possible."""
    try:
        return Seen(source.uri, extractor.prepare(source.open()))
    except DecodeFailed as error:
        return error.reason
    except (MemoryError, ValueError) as error:
        return f"cannot be resized: {error or 'out of memory'}"


def _watched(features: Iterable[Feature], count: int, progress: Progress) -> Iterator[Feature]:
    progress.begin("pictures", count)
    for one in features:
        yield one
        progress.advance(1)
