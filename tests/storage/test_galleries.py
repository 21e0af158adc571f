"""Names, models and leases of galleries."""

from __future__ import annotations

from datetime import timedelta

import pytest

from storage import galleries
from storage.db import Database
from storage.errors import BadGalleryName, GalleryBusy, GalleryNotFound, LeaseLost, ModelMismatch
from storage.galleries import Gallery
from storage.holders import new_holder
from storage.tables import GalleryTable, now


@pytest.fixture
def gallery(database: Database) -> Gallery:
    with database.writing() as session:
        return galleries.create(session, "photos")


@pytest.mark.parametrize("name", ["", "Photos", "a b", "../etc", "-a", "ä", "a" * 65])
def test_a_name_that_cannot_stand_in_an_address_is_refused(database: Database, name: str) -> None:
    with pytest.raises(BadGalleryName), database.writing() as session:
        galleries.create(session, name)


def test_an_unknown_gallery_is_named_with_those_there_are(database: Database, gallery: Gallery) -> None:
    with pytest.raises(GalleryNotFound, match="'photo'; there are: photos"), database.reading() as session:
        galleries.by_name(session, "photo")


def test_a_model_is_fixed_once(database: Database, gallery: Gallery) -> None:
    with database.writing() as session:
        fixed = galleries.fix_model(session, gallery, model="m", fingerprint="aa", dimension=4, vectors=1)
        again = galleries.fix_model(session, fixed, model="m", fingerprint="aa", dimension=4, vectors=1)
    assert (again.model, again.fingerprint) == ("m", "aa")


def test_other_weights_under_the_same_name_are_another_model(database: Database, gallery: Gallery) -> None:
    with database.writing() as session:
        fixed = galleries.fix_model(session, gallery, model="m", fingerprint="aa", dimension=4, vectors=1)
        with pytest.raises(ModelMismatch, match=r"'m \(aa\)', not by 'm \(bb\)'"):
            galleries.fix_model(session, fixed, model="m", fingerprint="bb", dimension=4, vectors=1)


def test_a_second_writer_waits_its_turn(database: Database, gallery: Gallery) -> None:
    first, second = new_holder(), new_holder()
    with database.writing() as session:
        galleries.acquire_lease(session, gallery, first)
    with pytest.raises(GalleryBusy), database.writing() as session:
        galleries.acquire_lease(session, gallery, second)
    with database.writing() as session:
        galleries.release_lease(session, gallery, first)
        galleries.acquire_lease(session, gallery, second)


def test_a_lease_that_ran_out_is_taken_and_its_old_holder_is_told(database: Database, gallery: Gallery) -> None:
    first, second = new_holder(), new_holder()
    with database.writing() as session:
        galleries.acquire_lease(session, gallery, first)
        session.get_one(GalleryTable, gallery.id).lease_until = now() - timedelta(seconds=1)
    with database.writing() as session:
        galleries.acquire_lease(session, gallery, second)
    with pytest.raises(LeaseLost), database.writing() as session:
        galleries.renew_lease(session, gallery, first)


def test_a_removed_gallery_leaves_its_name_free_and_its_id_unused(database: Database, gallery: Gallery) -> None:
    with database.writing() as session:
        galleries.remove(session, gallery.id)
        again = galleries.create(session, "photos")
    assert again.id > gallery.id
