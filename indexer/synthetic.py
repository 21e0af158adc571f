"""Texts that a model wrote become items of a gallery, beside those of captions.jsonl, which never touches them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import islice

from indexer.build import TEXT_BATCH, Encoder, Progress
from indexer.publish import Batch, Publisher
from storage import items
from storage.items import NewItem


def publish_synthetic(
    wanted: Mapping[str, Collection[int]],
    captioner: str,
    *,
    publisher: Publisher,
    encoder: Encoder,
    progress: Progress,
) -> tuple[int, int]:
    """Make what `captioner` wrote in a gallery exactly `wanted`, texts with the pictures (item ids) they describe.

    Gives how many pairs were added and removed. A text is published together with its pairs, so a run that is killed
    leaves no text without a picture, and the next one adds only what is missing.
    """
    source = items.WRITTEN_BY + captioner
    with publisher.database.reading() as session:
        there = {item.text or "": item.id for item in items.living(session, publisher.gallery.id, "text", source)}
        before = items.pairs_of_source(session, publisher.gallery.id, source)
    missing = [text for text in wanted if text not in there]
    progress.begin("texts", len(missing))
    for texts in _batches(missing, TEXT_BATCH):
        _publish_texts(texts, source, wanted, publisher, encoder)
        progress.advance(len(texts))
    after = {(there[text], image_id) for text, images in wanted.items() if text in there for image_id in images}
    if after != before:
        with publisher.publishing() as session:
            items.add_synthetic_pairs(session, publisher.gallery.id, sorted(after - before))
            items.remove_pairs(session, before - after)
    publisher.seal()
    return len(after - before) + sum(len(wanted[text]) for text in missing), len(before - after)


def _publish_texts(
    texts: Sequence[str],
    source: str,
    wanted: Mapping[str, Collection[int]],
    publisher: Publisher,
    encoder: Encoder,
) -> None:
    digests = [items.text_hash(text) for text in texts]
    new = [
        NewItem("text", f"{source}#{digest[:16]}", source, content_hash=digest, text=text)
        for text, digest in zip(texts, digests, strict=True)
    ]
    batch = Batch("text", new, describes=[wanted[text] for text in texts])
    publisher.publish(batch, lambda: encoder.encode_texts(texts)[:, None, :])


def _batches(values: Sequence[str], size: int) -> Iterator[list[str]]:
    waiting = iter(values)
    while batch := list(islice(waiting, size)):
        yield batch
