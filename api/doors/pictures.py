"""Pictures from wherever they come, the items behind them, and what is said about them."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from PIL.Image import Image

from api.errors import UsageError
from api.paths import expanded
from api.results import ItemDetail
from api.wiring import Wiring
from indexer import archives
from indexer.build import Progress
from indexer.decode import decode, decode_bytes, thumbnail
from indexer.errors import DecodeFailed, OriginalMissing, PictureMissing
from indexer.originals import open_bytes
from indexer.uri import to_uri
from retrieval import ask as asking
from retrieval.errors import PictureGone
from retrieval.models.checkpoints import Checkpoint, Role, companion
from retrieval.types import Answer
from storage import galleries, items
from storage.errors import ItemNotFound
from storage.galleries import Gallery
from storage.items import Item

Picture = Image | Path | str | bytes
"""A decoded picture, a file, or a file's content."""

THUMBNAIL_SIDE = 320
FIRST_SEEN = 100
"""Pictures of the first page of a gallery."""
THUMBNAIL_REVISION = 2
"""Raised by hand when thumbnails come out otherwise: those that were kept before are not taken any more."""


def read(wiring: Wiring, picture: Picture) -> Image:
    """Decode a picture; what is wrong with it is said together with where it came from."""
    limit = wiring.settings.pixel_limit
    if isinstance(picture, bytes):
        try:
            return decode_bytes(picture, pixel_limit=limit)
        except DecodeFailed as error:
            sentence = f"the picture cannot be read: {error.reason}; send a JPEG, PNG, WebP, HEIC or the like"
            raise DecodeFailed(sentence) from error
    if isinstance(picture, (str, Path)):
        path = expanded(picture)
        if not os.path.isfile(path) and archives.split(path) is None:
            raise PictureMissing(path)
        try:
            return decode(path, pixel_limit=limit)
        except DecodeFailed as error:
            raise DecodeFailed(f"{path}: {error.reason}") from error
    return picture


def item(wiring: Wiring, item_id: int) -> Item:
    """Find a living item."""
    with wiring.database.reading() as session:
        return items.by_id(session, item_id)


def item_detail(wiring: Wiring, item_id: int) -> ItemDetail:
    """Find a living item, the gallery it is of, and when it was first seen."""
    with wiring.database.reading() as session:
        found = items.by_id(session, item_id)
        gallery = galleries.by_id(session, found.gallery_id)
        split, metadata = items.metadata_of(session, found.id)
        return ItemDetail(found, gallery.name, items.created_at(session, found.id), split, metadata)


def in_gallery(wiring: Wiring, item_id: int) -> tuple[Gallery, Image]:
    """Find the gallery of a picture, and open it."""
    found = _image_item(wiring, item_id)
    with wiring.database.reading() as session:
        gallery = galleries.by_id(session, found.gallery_id)
    return gallery, wiring.originals.open(found)


def original(wiring: Wiring, item_id: int) -> tuple[Item, BinaryIO]:
    """Open the file of an item's picture, which must be as it was when it was indexed."""
    found = _image_item(wiring, item_id)
    return found, open_bytes(found.uri, size=found.size or 0, mtime_ns=found.mtime_ns or 0)


def small(wiring: Wiring, item_id: int) -> tuple[Item, bytes]:
    """Give a small JPEG of an item's picture, made once for each content."""
    found = _image_item(wiring, item_id)
    if found.content_hash is None:
        raise OriginalMissing(found.uri)
    name = f"{found.content_hash}-{THUMBNAIL_SIDE}-{THUMBNAIL_REVISION}.jpg"

    def make() -> bytes:
        return thumbnail(wiring.originals.open(found, least_side=2 * THUMBNAIL_SIDE), side=THUMBNAIL_SIDE)

    return found, wiring.blobs.get_or_make(name, make)


def make_first_thumbnails(wiring: Wiring, gallery: Gallery, progress: Progress) -> None:
    """Make the thumbnails that a person sees first; of a picture that is gone there is none.

    They can be made again whenever they are asked for: `progress` may end this between two of them.
    """
    with wiring.database.reading() as session:
        first = items.page(session, gallery.id, "image", after=0, limit=FIRST_SEEN)
    for one in first:
        progress.advance(0)
        with suppress(PictureGone, OriginalMissing, ItemNotFound, OSError):
            small(wiring, one.id)


def item_behind(wiring: Wiring, what: int | Picture) -> Item | None:
    """Find the item that an id, a number in text or an indexed file means."""
    if isinstance(what, str) and what.isascii() and what.isdecimal() and not os.path.exists(what):
        what = int(what)
    if isinstance(what, int):
        return _image_item(wiring, what)
    if isinstance(what, (str, Path)):
        with wiring.database.reading() as session:
            found = items.by_uri(session, to_uri(expanded(what).resolve()))
        if found is not None and wiring.originals.is_current(found):
            return found
    return None


def gallery_of(wiring: Wiring, picture: Path | str) -> str | None:
    """Give the name of the gallery that a file belongs to, or of the only gallery there is."""
    found = item_behind(wiring, str(picture))
    with wiring.database.reading() as session:
        if found is not None:
            return galleries.by_id(session, found.gallery_id).name
        names = [summary.name for summary in galleries.summaries(session)]
    return names[0] if len(names) == 1 else None


def model_for(wiring: Wiring, picture: object) -> Checkpoint:
    """Choose a model for a picture of no gallery: the setting's, else what the picture allows."""
    if wiring.settings.model is not None:
        return wiring.checkpoint(wiring.settings.model)
    return wiring.model_of_picture(Path(picture) if isinstance(picture, (str, Path)) else None)


def model_of(wiring: Wiring, found: Item | None, picture: object, model: str | None) -> Checkpoint:
    """Choose a model for a picture: the given one, that of its gallery where it is an item, else what it allows."""
    if model is None and found is not None:
        with wiring.database.reading() as session:
            model = galleries.by_id(session, found.gallery_id).model
    return wiring.checkpoint(model) if model else model_for(wiring, picture)


def ask(wiring: Wiring, what: int | Picture, question: str | None, *, model: str | None) -> Answer:
    """Describe an item or a picture, or answer a question about it."""
    found = item_behind(wiring, what)
    if found is not None:
        picture, item_id = wiring.originals.open(found), found.id
    else:
        assert not isinstance(what, int)
        picture, item_id = read(wiring, what), None
    checkpoint = model_of(wiring, found, what, model)
    role: Role = "captioner" if question is None else "answerer"
    if model is not None and (speaker := companion(checkpoint, role)) != checkpoint:
        wiring.say(f"{checkpoint.name} is no {role}; {speaker.name} speaks for it.")
    if question is None:
        return asking.caption(picture, wiring.captioner(checkpoint), item_id=item_id)
    return asking.ask(picture, question, wiring.answerer(checkpoint), item_id=item_id)


def _image_item(wiring: Wiring, item_id: int) -> Item:
    found = item(wiring, item_id)
    if found.kind != "image":
        raise UsageError("id", f"item {found.id} is a {found.kind}; this needs the id of a picture")
    return found
