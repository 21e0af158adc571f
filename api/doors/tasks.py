"""What a gallery's models say of pictures is held against what people said: captions, answers, true and false texts."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from random import Random
from typing import TypeVar

import numpy as np
from PIL.Image import Image

from api.doors.pages import require_model
from api.doors.task_pictures import FolderPictures, GalleryPictures, NoSuchPicture, made
from api.errors import UsageError
from api.paths import expanded
from api.wiring import Wiring
from indexer.build import Progress
from retrieval.errors import BadRecords, NoPairs, PairsWithoutPicture
from retrieval.evaluation import negatives as differing
from retrieval.evaluation import vqa as marks
from retrieval.evaluation.captions.score import score
from retrieval.evaluation.negatives import Compared, Negative, read_negatives
from retrieval.evaluation.questions import AskedQuestion, read_asked
from retrieval.evaluation.tasks import (
    AnsweredQuestion,
    CaptionedPicture,
    CaptionResult,
    Missing,
    NegativesResult,
    VqaResult,
)
from retrieval.first_stage import similarities
from retrieval.models.roles import Answerer, Encoder
from retrieval.rerank import Reranker, score_of
from retrieval.types import UInt8
from storage import items
from storage.galleries import Gallery
from storage.items import Item

T = TypeVar("T")

AT_ONCE = 256
"""Questions whose pictures are held together: each picture is opened once for them, and equal questions go together."""
WHAT = "an evaluation"


def caption(
    wiring: Wiring, gallery: Gallery, *, captioner: str | None, subset: int | None, seed: int, progress: Progress
) -> CaptionResult:
    """Describe every picture that has given texts, and score the captions against them.

    `captioner` names another model than the gallery's; `subset` takes a seeded sample of so many pictures.
    """
    model = require_model(gallery, WHAT)
    speaker = wiring.captioner(wiring.checkpoint(captioner or model))
    pictures = GalleryPictures(wiring, gallery)
    given = _given(wiring, gallery)
    chosen = _sample(list(given), subset, seed)
    progress.begin("captions", len(chosen))
    missing: dict[Item, Missing] = {}
    said: dict[Item, str] = {}
    for some in _batches(chosen, wiring.batch(wiring.checkpoint(captioner or model))):
        prepared = made(some, lambda item: speaker.prepare(pictures.open(item)), missing)
        if prepared:
            said |= zip(prepared, speaker.caption(np.stack(list(prepared.values()))), strict=True)
        progress.advance(len(some))
    if not said:
        raise PairsWithoutPicture(gallery.name, len(missing), next(iter(missing.values())).name)
    scored = score(list(said.values()), [given[item] for item in said])
    return CaptionResult(
        captioner=speaker.name,
        pictures=len(said),
        texts=sum(len(given[item]) for item in said),
        scores=scored.together,
        why_no_meteor=scored.why_no_meteor,
        missing=tuple(missing.values()),
        each=tuple(
            CaptionedPicture(item.id, item.uri, text, one)
            for (item, text), one in zip(said.items(), scored.each, strict=True)
        ),
    )


def vqa(
    wiring: Wiring,
    gallery: Gallery,
    questions: Path,
    annotations: Path | None,
    *,
    answerer: str | None,
    subset: int | None,
    seed: int,
    progress: Progress,
) -> VqaResult:
    """Answer the questions of a file about a gallery's pictures, and mark the answers.

    The files are VQAv2's with `annotations`, else lines of JSON that hold their answers. `answerer` names another model
    than the gallery's; `subset` takes a seeded sample of so many questions.
    """
    model = require_model(gallery, WHAT)
    file = expanded(questions)
    asked = read_asked(file, None if annotations is None else expanded(annotations))
    pictures = GalleryPictures(wiring, gallery)
    shown = [(one, _behind(pictures, file, one)) for one in _sample(asked, subset, seed)]
    if not shown:
        raise BadRecords(file, "", "it holds no questions")
    speaker = wiring.answerer(wiring.checkpoint(answerer or model))
    batch = wiring.batch(wiring.checkpoint(answerer or model))
    progress.begin("questions", len(shown))
    missing: dict[Item, Missing] = {}
    said: list[str | None] = []
    for some in _batches(shown, AT_ONCE):
        opened = made(
            dict.fromkeys(item for _, item in some), lambda item: speaker.prepare(pictures.open(item)), missing
        )
        looked = [(one.text, opened.get(item)) for one, item in some]
        said += _answers(speaker, looked, batch, progress.advance)
    done = [(one, item, answer) for (one, item), answer in zip(shown, said, strict=True) if answer is not None]
    if not done:
        raise _nothing_shown(file, list(missing.values()))
    marked = [one.mark(answer) for one, _, answer in done]
    return VqaResult(
        answerer=speaker.name,
        scores=marks.summary(marked),
        missing=tuple(missing.values()),
        each=tuple(
            AnsweredQuestion(one.where, item.id, one.text, answer, mark.accuracy)
            for (one, item, answer), mark in zip(done, marked, strict=True)
        ),
    )


def negatives(
    wiring: Wiring,
    gallery: Gallery,
    path: Path,
    *,
    images: Path | None,
    matcher: str | None,
    subset: int | None,
    seed: int,
    progress: Progress,
) -> NegativesResult:
    """Tell true captions of pictures from false ones: by the gallery's ITC cosine, and by a matcher's score.

    The pictures are the gallery's, or those of the folder `images`; `matcher` names another one than the gallery's own;
    `subset` takes a seeded sample of so many pairs.
    """
    model = require_model(gallery, WHAT)
    file = expanded(path)
    pairs = _sample(read_negatives(file), subset, seed)
    show = _pictures_of(wiring, gallery, file, pairs, images)
    encoder, reranker = wiring.encoder_of(gallery), wiring.reranker_of(gallery, matcher)
    progress.begin("pairs", len(pairs))
    missing: dict[str, Missing] = {}
    itc: list[Compared] = []
    itm: list[Compared] = []
    # Pairs of one picture lie side by side, so that it is looked at once for a batch of them.
    for some in _batches(sorted(pairs, key=lambda pair: pair.file), wiring.batch(wiring.checkpoint(model))):
        opened = made(dict.fromkeys(pair.file for pair in some), show, missing)
        there = [pair for pair in some if pair.file in opened]
        if there:
            first, second = _compared(encoder, reranker, opened, there)
            itc, itm = itc + first, itm + second
        progress.advance(len(some))
    if not itc:
        raise _nothing_shown(file, list(missing.values()))
    return NegativesResult(
        model=encoder.name,
        matcher=None if reranker is None else reranker.matcher.name,
        itc=differing.summary(itc),
        itm=None if reranker is None else differing.summary(itm),
        missing=tuple(missing.values()),
    )


def _given(wiring: Wiring, gallery: Gallery) -> dict[Item, list[str]]:
    """The gallery's pictures with the texts that were given for them, by item id; raises NoPairs."""
    with wiring.database.reading() as session:
        pairs = items.pairs(session, gallery.id)
        known = items.by_ids(session, {one for pair in pairs for one in pair})
    texts: dict[int, list[str]] = defaultdict(list)
    for text_id, image_id in pairs:
        if text_id in known and image_id in known:
            texts[image_id].append(known[text_id].text or "")
    if not texts:
        raise NoPairs(gallery.name)
    return {known[image_id]: texts[image_id] for image_id in sorted(texts)}


def _behind(pictures: GalleryPictures, file: Path, asked: AskedQuestion) -> Item:
    """Find the picture of a question; raises BadRecords with the question that has none."""
    try:
        if asked.file is not None:
            return pictures.of_file(asked.file)
        if asked.item is not None:
            return pictures.of_item(asked.item)
        assert asked.image_id is not None
        return pictures.of_image_id(asked.image_id)
    except NoSuchPicture as error:
        raise BadRecords(file, asked.where, str(error)) from None


def _answers(
    answerer: Answerer,
    looked: Sequence[tuple[str, UInt8 | None]],
    batch: int,
    advance: Callable[[int], None],
) -> list[str | None]:
    """Answer questions about prepared pictures, equal ones together; None where there is no picture."""
    said: list[str | None] = [None] * len(looked)
    alike: dict[str, list[tuple[int, UInt8]]] = defaultdict(list)
    for place, (question, pixels) in enumerate(looked):
        if pixels is not None:
            alike[question].append((place, pixels))
    for question, asked in alike.items():
        for some in _batches(asked, batch):
            answers = answerer.answer(np.stack([pixels for _, pixels in some]), question)
            for (place, _), answer in zip(some, answers, strict=True):
                said[place] = answer
            advance(len(some))
    advance(said.count(None))
    return said


def _pictures_of(
    wiring: Wiring, gallery: Gallery, file: Path, pairs: Sequence[Negative], images: Path | None
) -> Callable[[str], Image]:
    """Say how a pair's picture is opened by its file name; raises BadRecords for the first that a gallery lacks."""
    if images is not None:
        folder = expanded(images)
        if not os.path.isdir(folder):
            raise UsageError("images", f"{folder} is no folder; give the one that the pictures of {file} lie in")
        return FolderPictures(wiring, folder).open
    pictures = GalleryPictures(wiring, gallery)
    found: dict[str, Item] = {}
    for pair in pairs:
        try:
            found[pair.file] = pictures.of_file(pair.file)
        except NoSuchPicture as error:
            raise BadRecords(pair.source, pair.where, str(error)) from None
    return lambda name: pictures.open(found[name])


def _compared(
    encoder: Encoder, reranker: Reranker | None, opened: dict[str, Image], pairs: Sequence[Negative]
) -> tuple[list[Compared], list[Compared]]:
    """Score the captions of some pairs: by cosine, and by the matcher (nothing without one)."""
    rows = {name: row for row, name in enumerate(opened)}
    texts = [text for pair in pairs for text in (pair.caption, pair.negative)]
    of_text = [rows[pair.file] for pair in pairs for _ in range(2)]
    embeddings = encoder.encode_images(np.stack([encoder.prepare(image) for image in opened.values()]))
    vectors = encoder.encode_texts(texts)
    cosines = [
        float(similarities(vector[None], embeddings[row : row + 1])[0])
        for row, vector in zip(of_text, vectors, strict=True)
    ]
    itc = _side_by_side(pairs, cosines)
    if reranker is None:
        return itc, []
    matcher = reranker.matcher
    tokens = matcher.image_tokens(np.stack([matcher.prepare(image) for image in opened.values()]))
    asked = np.stack([np.array(of_text, dtype=np.int64), np.arange(len(texts))], axis=1)
    logits = matcher.match(tokens, texts, asked).tolist()
    scores = [
        score_of(yes, yes - no, cosine, reranker.scoring) for (no, yes), cosine in zip(logits, cosines, strict=True)
    ]
    return itc, _side_by_side(pairs, scores)


def _side_by_side(pairs: Sequence[Negative], scores: Sequence[float]) -> list[Compared]:
    """Put scores of captions and negatives, in turns, to their pairs."""
    found = zip(pairs, scores[::2], scores[1::2], strict=True)
    return [Compared(pair.kind, true, false) for pair, true, false in found]


def _nothing_shown(file: Path, missing: Sequence[Missing]) -> BadRecords:
    first = missing[0]
    return BadRecords(
        file, "", f"none of its {len(missing)} pictures can be shown, the first is {first.name}: {first.reason}"
    )


def _sample(values: Sequence[T], count: int | None, seed: int) -> list[T]:
    """Take a seeded sample of so many, in their order; all where there are no more."""
    if count is None or count >= len(values):
        return list(values)
    return [values[place] for place in sorted(Random(seed).sample(range(len(values)), count))]


def _batches(values: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    return (values[start : start + size] for start in range(0, len(values), size))
