"""ALBEF all the way and on meaning: the shipped postcards-albef from a folder to hits and an evaluation."""

from __future__ import annotations

import random

from api import Sightline
from retrieval.training.world.captions import fullest_claim
from retrieval.training.world.claims import claim_text, is_true
from retrieval.training.world.scenes import Scene

MODEL = "postcards-albef"


def test_a_page_is_ordered_by_the_match_logit_alone(library: Sightline, scenes: list[Scene]) -> None:
    page = library.search("postcards", claim_text(fullest_claim(scenes[0])), k=len(scenes), candidates=len(scenes))
    logits = [hit.itm_logit or 0.0 for hit in page.hits]
    assert logits == sorted(logits, reverse=True)
    sums = [logit + (hit.itc_similarity or 0.0) for logit, hit in zip(logits, page.hits, strict=True)]
    assert sums != sorted(sums, reverse=True)


def test_captions_find_their_pictures_and_reranking_tells_twins_apart(library: Sightline, scenes: list[Scene]) -> None:
    captions = [claim_text(fullest_claim(scene)) for scene in random.Random(1).sample(scenes, 20)]
    first = [library.search("postcards", caption, k=1).hits[0] for caption in captions]
    numbers = [int(hit.uri.rsplit("-", 1)[-1].removesuffix(".png")) - 1 for hit in first]
    right = [is_true(caption, scenes[number]) for caption, number in zip(captions, numbers, strict=True)]
    assert sum(right) >= 16


def test_reranking_lifts_recall_in_an_evaluation(library: Sightline) -> None:
    evaluated = library.evaluate("postcards")
    assert evaluated.model == MODEL
    for direction in evaluated.directions:
        assert direction.after is not None
        assert direction.after["recall@1"] > direction.before["recall@1"]


def test_captions_and_answers_come_from_its_companion(library: Sightline) -> None:
    page = library.search("postcards", "a red boat", k=1)
    assert library.ask(page.hits[0].id).model == "postcards"
