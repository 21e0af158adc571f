"""Pairs have a standing, and judgements and synthetic texts go with their pictures."""

from __future__ import annotations

from storage import galleries, items, judgements
from storage.db import Database, Session
from storage.items import NewItem
from storage.judgements import Judgement


def announced(session: Session, *new: NewItem) -> list[int]:
    gallery = galleries.create(session, "photos")
    ids = items.announce(session, gallery.id, new)
    items.publish_listed(session, ids)
    return ids


def text(said: str, source: str) -> NewItem:
    return NewItem("text", f"{source}#{said}", source, content_hash=items.text_hash(said), text=said)


def test_pairs_of_captions_are_given_and_keep_their_standing(database: Database) -> None:
    with database.writing() as session:
        image, cat, dog = announced(session, NewItem("image", "/a", "/"), text("cat", "/"), text("dog", "/"))
        items.set_pairs(session, 1, "/", {(cat, image), (dog, image)})
        items.set_standing(session, [(cat, image)], items.DROPPED)
        items.set_pairs(session, 1, "/", {(cat, image), (dog, image)})
        assert items.pairs(session, 1) == [(dog, image)]
        assert items.pairs(session, 1, (items.DROPPED,)) == [(cat, image)]


def test_a_given_pair_that_goes_and_comes_back_is_as_dropped_as_its_review_says(database: Database) -> None:
    with database.writing() as session:
        image, cat, dog = announced(session, NewItem("image", "/a", "/"), text("cat", "/"), text("dog", "/"))
        said = [(image, "cat", judgements.GIVEN, False), (image, "dog", "one", False), (image, "dog", "", True)]
        judgements.store(session, 1, [Judgement(i, words, by, 0.1, kept) for i, words, by, kept in said])
        items.set_pairs(session, 1, "/", {(cat, image), (dog, image)})
        assert items.pairs(session, 1, (items.DROPPED,)) == [(cat, image)]
        items.set_pairs(session, 1, "/", {(dog, image)})
        items.set_pairs(session, 1, "/", {(cat, image), (dog, image)})
        assert items.pairs(session, 1, (items.DROPPED,)) == [(cat, image)]
        assert items.pairs(session, 1) == [(dog, image)]


def test_captions_jsonl_does_not_touch_what_a_model_wrote(database: Database) -> None:
    with database.writing() as session:
        image, cat = announced(session, NewItem("image", "/a", "/"), text("cat", "model:one"))
        items.add_synthetic_pairs(session, 1, [(cat, image)])
        items.set_pairs(session, 1, "/", set())
        assert (items.pairs(session, 1), items.pairs(session, 1, (items.SYNTHETIC,))) == ([], [(cat, image)])


def test_a_synthetic_text_goes_with_the_last_picture_it_was_written_of(database: Database) -> None:
    with database.writing() as session:
        one, other, cat = announced(
            session, NewItem("image", "/a", "/"), NewItem("image", "/b", "/"), text("cat", "model:one")
        )
        items.add_synthetic_pairs(session, 1, [(cat, one), (cat, other)])
        judgements.store(session, 1, [Judgement(one, "cat", "one", 0.9), Judgement(other, "cat", "one", 0.8)])
        items.bury(session, [one])
        assert set(items.by_ids(session, [one, other, cat])) == {other, cat}
        items.bury(session, [other])
        assert items.by_ids(session, [one, other, cat]) == {}
        assert judgements.of_gallery(session, 1) == []


def test_a_given_text_stays_when_its_picture_goes(database: Database) -> None:
    with database.writing() as session:
        image, cat = announced(session, NewItem("image", "/a", "/"), text("cat", "/"))
        items.set_pairs(session, 1, "/", {(cat, image)})
        items.bury(session, [image])
        assert set(items.by_ids(session, [image, cat])) == {cat}


def test_a_review_names_the_text_that_was_given_or_the_one_that_was_written(database: Database) -> None:
    with database.writing() as session:
        (image,) = announced(session, NewItem("image", "/a", "/"))
        judgements.store(session, 1, [Judgement(image, "cat", "", 0.1), Judgement(image, "cat", "one", 0.1)])
        assert judgements.review(session, 1, image, "cat", is_given=True, kept=False)
        assert not judgements.review(session, 1, image, "dog", is_given=True, kept=False)
        assert not judgements.review(session, 2, image, "cat", is_given=True, kept=True)
        assert [one.kept for one in judgements.of_gallery(session, 1)] == [False, None]
