"""What the sibling is taught in the world of postcards."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from retrieval.training.captioned import CaptionedPictures
from retrieval.training.losses import IGNORED
from retrieval.training.pretraining.batches import ABSENT
from retrieval.training.sibling.lessons import Postcards
from retrieval.training.world.nouns import NOUN_OF, SINGULAR_OF
from retrieval.training.world.vocabulary import Words, vocabulary, words

COUNT = 12
UNKNOWN = "submarine"


@pytest.fixture(scope="module")
def lessons() -> Postcards:
    return Postcards(captioned_pictures=COUNT, resolution=48)


@pytest.fixture(scope="module")
def batches(lessons: Postcards) -> list[CaptionedPictures]:
    return [lessons.captioned(step) for step in range(6)]


def tokens_of(text: str) -> list[str]:
    ids, _ = Words(vocabulary(words()), torch.device("cpu")).encode([text])
    return [vocabulary(words())[number] for number in ids[0].tolist()]


def test_every_picture_has_its_fullest_caption_and_another_that_is_true_as_well(
    batches: list[CaptionedPictures],
) -> None:
    for batch in batches:
        assert list(batch.rows) == [*range(COUNT)] * 2
        assert all(batch.truth[row, at] for at, row in enumerate(batch.rows))
        full, some = batch.captions[:COUNT], batch.captions[COUNT:]
        assert all(len(one) <= len(other) for one, other in zip(some, full, strict=True) if one in other)


def test_pairs_are_true_false_and_of_the_twin(batches: list[CaptionedPictures]) -> None:
    for batch in batches:
        pairs = batch.pairs
        assert list(pairs.rows) == [*range(COUNT)] * 3
        assert all(pairs.matches[:COUNT])
        assert not any(pairs.matches[COUNT : 2 * COUNT])
        twins = pairs.texts[2 * COUNT :]
        assert [batch.captions[row ^ 1] for row in range(COUNT)] == list(twins)


def test_hints_say_where_a_noun_of_a_true_caption_is_seen(batches: list[CaptionedPictures]) -> None:
    seen = 0
    for batch in batches:
        for row in range(COUNT):
            tokens = tokens_of(batch.pairs.texts[row])
            for at, (token, after) in enumerate(pairwise(tokens)):
                noun = NOUN_OF.get(token) or NOUN_OF.get(SINGULAR_OF.get(token, ""))
                if noun and tokens[at - 1] != "saying" and not after.startswith("##") and " " not in noun:
                    cell = int(batch.pairs.hints["where"][row, at])
                    assert 0 <= cell < ABSENT or cell == IGNORED  # there, or there twice
                    seen += cell != IGNORED
    assert seen > 50


def test_hints_name_the_words_that_are_wrong(batches: list[CaptionedPictures]) -> None:
    for batch in batches:
        wrong = batch.pairs.hints["wrong"]
        assert not (wrong[:COUNT] == 1).any()
        for row in range(COUNT, 2 * COUNT):
            own, false = batch.pairs.texts[row - COUNT].split(), batch.pairs.texts[row].split()
            if UNKNOWN in false:
                assert (wrong[row] == IGNORED).all()
            else:
                assert (wrong[row] == 1).any()
                assert own != false


def test_a_caption_with_a_word_that_nobody_knows_is_false_and_has_no_hints(batches: list[CaptionedPictures]) -> None:
    strange = [(batch, row) for batch in batches for row, text in enumerate(batch.pairs.texts) if UNKNOWN in text]
    assert strange
    for batch, row in strange:
        assert not batch.pairs.matches[row]
        assert all((labels[row] == IGNORED).all() for labels in batch.pairs.hints.values())


def test_every_hint_has_an_answer_among_its_own(lessons: Postcards, batches: list[CaptionedPictures]) -> None:
    for batch in batches:
        assert set(batch.pairs.hints) == set(lessons.hints)
        for kind, labels in batch.pairs.hints.items():
            asked = labels[labels != IGNORED]
            assert len(asked)
            assert 0 <= asked.min() <= asked.max() < lessons.hints[kind]


def test_a_step_gives_the_same_lesson_again(lessons: Postcards, batches: list[CaptionedPictures]) -> None:
    again = lessons.captioned(3)
    assert again.captions == batches[3].captions
    assert again.pairs.texts == batches[3].pairs.texts
    assert torch.equal(again.pixels, batches[3].pixels)


def test_what_is_told_says_where_its_nouns_are_seen(lessons: Postcards) -> None:
    batch = lessons.told(0)
    assert set(batch.hints) == set(lessons.told_hints)
    seen = 0
    for row, text in enumerate(batch.texts):
        tokens = ["[DEC]", *tokens_of(f"{text.prompt} {text.reply}".replace(":", " :").lower())[1:-1]]
        labels = batch.hints["where"][row].tolist()
        assert set(labels[len(tokens) :]) <= {IGNORED}
        for token, label in zip(tokens, labels, strict=False):
            named = NOUN_OF.get(token) or NOUN_OF.get(SINGULAR_OF.get(token, ""))
            assert (label == IGNORED) or named or token in ("##s", "##es") or token in SINGULAR_OF
            seen += label not in (IGNORED, ABSENT)
    assert seen > 50
