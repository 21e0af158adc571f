"""Several vectors a picture, all the way and on meaning: BLIP-2's shipped sibling from a folder to hits and answers."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from api import Sightline
from retrieval.training.world.captions import fullest_claim
from retrieval.training.world.claims import claim_text, is_true
from retrieval.training.world.questions import questions
from retrieval.training.world.scenes import Scene

MODEL = "postcards-blip2"


def scene_of(uri: str, scenes: list[Scene]) -> Scene:
    return scenes[int(uri.rsplit("-", 1)[-1].removesuffix(".png")) - 1]


def test_a_gallery_keeps_eight_vectors_of_each_picture(library: Sightline) -> None:
    gallery = library.gallery("postcards")
    assert (gallery.model, gallery.vectors) == (MODEL, 8)


def test_captions_find_their_pictures_and_reranking_tells_twins_apart(library: Sightline, scenes: list[Scene]) -> None:
    captions = [claim_text(fullest_claim(scene)) for scene in scenes[:20]]
    first = [library.search("postcards", caption, k=1).hits[0] for caption in captions]
    right = [is_true(caption, scene_of(hit.uri, scenes)) for caption, hit in zip(captions, first, strict=True)]
    assert sum(right) >= 17


def test_a_word_or_two_find_a_thing_among_others(library: Sightline, scenes: list[Scene]) -> None:
    """The greatest similarity over a picture's vectors: one of them may speak of one thing of a crowded scene."""
    said = sorted({f"a {thing.tint} {thing.noun}" for scene in scenes for thing in scene.things if thing.tint})
    asked = [text for text in said if any(is_true(text, scene) for scene in scenes)][:30]
    pages = [library.search("postcards", text, k=3, rerank=False) for text in asked]
    found = [
        any(is_true(text, scene_of(hit.uri, scenes)) for hit in page) for text, page in zip(asked, pages, strict=True)
    ]
    assert len(asked) >= 20
    assert sum(found) / len(found) >= 0.6


def test_pages_do_not_depend_on_how_many_candidates_there_are(library: Sightline) -> None:
    wide = {hit.id: hit for hit in library.search("postcards", "a red car", k=32)}
    for hit in library.search("postcards", "a red car", k=3, candidates=7):
        assert hit.itc_similarity == wide[hit.id].itc_similarity
        assert hit.itm_logit == pytest.approx(wide[hit.id].itm_logit, abs=1e-5)


def test_a_picture_finds_itself_first(library: Sightline, folder: Path) -> None:
    page = library.search("postcards", image=folder / "postcard-0003.png", k=3)
    assert page.hits[0].uri.endswith("postcard-0003.png")
    assert page.hits[0].itc_similarity == pytest.approx(1, abs=1e-5)


def test_lookup_ranks_texts_of_a_picture(library: Sightline, folder: Path, scenes: list[Scene]) -> None:
    right = 0
    for number, scene in enumerate(scenes[:10], start=1):
        page = library.lookup(folder / f"postcard-{number:04d}.png", "postcards", k=1)
        right += is_true(page.hits[0].text or "", scene)
    assert right >= 8


def test_hits_are_described_and_asked_about(library: Sightline, scenes: list[Scene]) -> None:
    rng = random.Random(1)
    hits = library.search("postcards", "a red car", k=10)
    asked = [(hit, one) for hit in hits for one in questions(scene_of(hit.uri, scenes), rng)[:3]]
    answered = [library.ask(hit.id, one.text).text == one.answer for hit, one in asked]
    assert sum(answered) / len(answered) >= 0.6
    assert all(library.ask(hit.id).text for hit in hits)


def test_recall_is_measured_before_and_after(library: Sightline) -> None:
    for one in library.evaluate("postcards", queries=30).directions:
        assert one.before["recall@10"] >= 0.9
        assert (one.after or {})["recall@1"] >= 0.85


def test_a_word_that_the_model_does_not_know_is_named(library: Sightline) -> None:
    assert library.search("postcards", "a submarine in a library").unknown_words == ("submarine", "library")
