"""What ALBEF is asked about postcards."""

from __future__ import annotations

import pytest
import torch

from retrieval.training.albef.lessons import DIRECTIONS, DescribedPostcards
from retrieval.training.captioned import CaptionedPictures
from retrieval.training.losses import IGNORED
from retrieval.training.postcards import CaptionedPostcards
from retrieval.training.pretraining.batches import CELLS
from retrieval.training.world.claims import DIRECTION_OF, claim_slots, parse

COUNT = 8


@pytest.fixture(scope="module")
def batch() -> CaptionedPictures:
    return DescribedPostcards(captioned_pictures=COUNT, resolution=48).captioned(2)


def test_what_is_shown_and_said_is_that_of_captioned_postcards(batch: CaptionedPictures) -> None:
    theirs = CaptionedPostcards(captioned_pictures=COUNT, resolution=48).captioned(2)
    assert batch.pairs.texts == theirs.pairs.texts
    assert torch.equal(batch.pairs.hints["wrong"], theirs.pairs.hints["wrong"])
    asked = theirs.pairs.hints["where"] != IGNORED
    assert torch.equal(batch.pairs.hints["where"][asked], theirs.pairs.hints["where"][asked])


def test_every_word_of_a_mention_is_asked_what_its_noun_is_asked(batch: CaptionedPictures) -> None:
    """True captions, whose nouns are there: the words of one mention share an answer, words between have none."""
    seen, reader = 0, CaptionedPostcards().reader
    for row in range(COUNT):
        for kind in ("where", "tint", "count"):
            asked = batch.pairs.hints[kind][row].tolist()
            at = 1
            answers: dict[int, set[int]] = {}
            for slot in claim_slots(parse(batch.pairs.texts[row])):
                end = at + reader.length(slot.text)
                answers.setdefault(slot.mention, set()).update(asked[at:end])
                at = end
            assert answers.pop(-1, {IGNORED}) == {IGNORED}
            assert all(len(found) == 1 for found in answers.values())
            seen += sum(found != {IGNORED} for found in answers.values())
    assert seen > 20


def test_the_words_of_a_relation_are_asked_how_the_things_lie(batch: CaptionedPictures) -> None:
    hints = batch.pairs.hints
    asked = hints["direction"] != IGNORED
    assert asked.any()
    assert ((hints["subject"][asked] < CELLS) & (hints["object"][asked] < CELLS)).all()
    said = 0
    for row in range(COUNT):  # a true caption says the direction that is asked, or another one that is true as well
        clauses = parse(batch.pairs.texts[row]).clauses
        directions = {DIRECTION_OF[clause.relation] for clause in clauses if clause.relation}
        found = {DIRECTIONS[number] for number in hints["direction"][row][asked[row]].tolist()}
        assert bool(found) <= bool(directions)
        said += len(found & directions)
    assert said


def test_every_hint_has_an_answer_among_its_own(batch: CaptionedPictures) -> None:
    lessons = DescribedPostcards()
    assert set(batch.pairs.hints) == set(lessons.hints)
    for kind, labels in batch.pairs.hints.items():
        asked = labels[labels != IGNORED]
        assert len(asked)
        assert 0 <= asked.min() <= asked.max() < lessons.hints[kind]
