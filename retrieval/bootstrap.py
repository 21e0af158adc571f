"""Bootstrap: a captioner writes a text for every picture, and the matcher judges it and the texts that were given.

This is CapFilt of BLIP (arXiv 2201.12086, section 3.3): the captioner makes texts, and the filter believes those that
its ITM head predicts to match, among the given texts too. Where the paper samples its captions (nucleus, p = 0.9), the
captioner here decodes as it does for users, so that a run that was stopped goes on to the same result.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from retrieval.calibration import probability
from retrieval.errors import PictureGone
from retrieval.models.roles import Captioner, Matcher
from retrieval.pictures import Pictures
from retrieval.rerank import margin_of
from retrieval.texts import has_words
from retrieval.types import UInt8
from storage.items import Item


@dataclass(frozen=True)
class Subject:
    """A picture, the given texts about it that are to be judged, and whether a caption is wanted."""

    item: Item
    texts: tuple[str, ...]
    wants_caption: bool


@dataclass(frozen=True)
class Seen:
    """A subject with its picture as the matcher reads it, and as the captioner does: `uint8 [R, R, 3]`."""

    subject: Subject
    to_match: UInt8
    to_caption: UInt8 | None


@dataclass(frozen=True)
class Claim:
    """A text that is said to describe a picture, and the matcher's probability that it does."""

    item_id: int
    text: str
    is_written: bool
    match_probability: float


def look(subject: Subject, pictures: Pictures, captioner: Captioner, matcher: Matcher) -> Seen | None:
    """Decode a picture once for both models; None where it is missing or changed."""
    try:
        image = pictures.open(subject.item)
    except PictureGone:
        return None
    to_caption = captioner.prepare(image) if subject.wants_caption else None
    return Seen(subject, matcher.prepare(image), to_caption)


def judge(batch: Sequence[Seen], captioner: Captioner, matcher: Matcher) -> list[Claim]:
    """Write the captions that are wanted, and judge them together with the given texts."""
    said = [*_given(batch), *_written(batch, captioner)]
    readable = [row for row, (_, text, _) in enumerate(said) if has_words(text)]
    pairs = np.array([(said[row][0], number) for number, row in enumerate(readable)], dtype=np.int64).reshape(-1, 2)
    # A text without words is nothing that the matcher could read, and describes no picture.
    probabilities = dict.fromkeys(range(len(said)), 0.0)
    if readable:
        tokens = matcher.image_tokens(np.stack([one.to_match for one in batch]))
        logits = matcher.match(tokens, [said[row][1] for row in readable], pairs)
        probabilities |= {row: probability(None, margin_of(pair)) for row, pair in zip(readable, logits, strict=True)}
    return [
        Claim(batch[place].subject.item.id, text, is_written, probabilities[row])
        for row, (place, text, is_written) in enumerate(said)
    ]


def _given(batch: Sequence[Seen]) -> Iterator[tuple[int, str, bool]]:
    for place, one in enumerate(batch):
        yield from ((place, text, False) for text in one.subject.texts)


def _written(batch: Sequence[Seen], captioner: Captioner) -> Iterator[tuple[int, str, bool]]:
    wanted = {place: one.to_caption for place, one in enumerate(batch) if one.to_caption is not None}
    if wanted:
        captions = captioner.caption(np.stack(list(wanted.values())))
        yield from ((place, text, True) for place, text in zip(wanted, captions, strict=True))
