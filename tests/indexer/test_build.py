"""Indexing a folder again and again: what is new, moved, changed, gone or broken."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
from PIL import Image

from api import Sightline
from api.results import Indexed
from indexer.errors import BadCaptions
from indexer.scan import compare
from indexer.sources.folder import FailedRecord
from indexer.uri import from_uri, to_uri
from retrieval.first_stage import vectors_of
from storage import galleries, items, snapshots
from storage.errors import GalleryBusy, ModelMismatch
from storage.holders import new_holder
from storage.items import Item
from storage.lease import write_lease

Paint = Callable[..., Path]


def index(sightline: Sightline, folder: Path) -> Indexed:
    return sightline.index(folder, model="hashing")


def found(sightline: Sightline, name: str = "photos", kind: str = "image") -> dict[str, Item]:
    with sightline.wiring.database.reading() as session:
        gallery = galleries.by_name(session, name)
        return {from_uri(one.uri).name: one for one in items.embedded(session, gallery.id, kind)}


def vector(sightline: Sightline, item: Item) -> np.ndarray:
    gallery = sightline.gallery("photos")
    with sightline.wiring.database.reading() as session:
        snapshot = sightline.wiring.snapshots.newest(session, gallery, item.kind)
    return vectors_of(snapshot, np.array([item.id]))[0]


def test_every_picture_of_a_folder_becomes_one_item(sightline: Sightline, photos: Path) -> None:
    report = index(sightline, photos).report
    assert (report.found, report.added) == (5, 5)
    assert sorted(found(sightline)) == ["a.png", "b.png", "c.png", "d.png", "e.png"]


def test_a_second_run_finds_nothing_to_do_and_keeps_the_revision(sightline: Sightline, photos: Path) -> None:
    first = index(sightline, photos)
    second = index(sightline, photos)
    assert (second.report.unchanged, second.report.added, second.revision) == (5, 0, first.revision)


def test_a_renamed_file_keeps_its_item_and_its_vector(sightline: Sightline, photos: Path) -> None:
    index(sightline, photos)
    before = found(sightline)["a.png"]
    (photos / "a.png").rename(photos / "z.png")
    report = index(sightline, photos).report
    after = found(sightline)
    assert (report.renamed, report.removed, report.added) == (1, 0, 0)
    assert after["z.png"].id == before.id
    assert "a.png" not in after


def test_a_deleted_file_leaves_the_gallery_and_its_id_is_never_used_again(
    sightline: Sightline, photos: Path, paint: Paint
) -> None:
    index(sightline, photos)
    gone = found(sightline)["e.png"].id
    (photos / "e.png").unlink()
    assert index(sightline, photos).report.removed == 1
    paint(photos / "f.png", (1, 2, 3))
    index(sightline, photos)
    assert found(sightline)["f.png"].id > gone
    assert gone not in {hit.id for hit in sightline.search("photos", "anything", k=10)}


def test_a_changed_picture_is_embedded_anew_under_a_new_id(sightline: Sightline, photos: Path, paint: Paint) -> None:
    index(sightline, photos)
    before = found(sightline)["a.png"]
    paint(photos / "a.png", (250, 250, 0))
    report = index(sightline, photos).report
    after = found(sightline)["a.png"]
    assert (report.added, len(found(sightline))) == (1, 5)
    assert after.id != before.id
    assert after.content_hash != before.content_hash


def test_a_touched_file_with_the_same_content_is_not_embedded_again(sightline: Sightline, photos: Path) -> None:
    index(sightline, photos)
    before = found(sightline)["a.png"]
    os.utime(photos / "a.png", ns=(1, 1))
    report = index(sightline, photos).report
    assert (report.added, report.renamed) == (0, 0)
    assert found(sightline)["a.png"].id == before.id
    assert found(sightline)["a.png"].mtime_ns == 1


def test_equal_content_under_two_names_stays_two_items_with_one_vector(sightline: Sightline, photos: Path) -> None:
    shutil.copy(photos / "a.png", photos / "copy.png")
    index(sightline, photos)
    both = found(sightline)
    assert both["a.png"].id != both["copy.png"].id
    assert np.array_equal(vector(sightline, both["a.png"]), vector(sightline, both["copy.png"]))


def test_a_copy_added_later_reuses_the_vector_without_decoding(sightline: Sightline, photos: Path) -> None:
    index(sightline, photos)
    shutil.copy(photos / "a.png", photos / "copy.png")
    index(sightline, photos)
    both = found(sightline)
    assert np.array_equal(vector(sightline, both["a.png"]), vector(sightline, both["copy.png"]))
    assert (both["copy.png"].width, both["copy.png"].height) == (8, 8)


def test_two_files_that_swap_names_keep_their_contents_apart(sightline: Sightline, photos: Path) -> None:
    index(sightline, photos)
    before = {name: one.content_hash for name, one in found(sightline).items()}
    (photos / "a.png").rename(photos / "x")
    (photos / "b.png").rename(photos / "a.png")
    (photos / "x").rename(photos / "b.png")
    os.utime(photos / "a.png", ns=(5, 5))
    os.utime(photos / "b.png", ns=(6, 6))
    index(sightline, photos)
    after = {name: one.content_hash for name, one in found(sightline).items()}
    assert (after["a.png"], after["b.png"]) == (before["b.png"], before["a.png"])


def test_a_file_that_is_no_picture_is_skipped_counted_and_kept_with_its_reason(
    sightline: Sightline, photos: Path
) -> None:
    (photos / "notes.txt").write_text("buy milk")
    report = index(sightline, photos).report
    assert (report.found, report.added, len(report.failed)) == (6, 5, 1)
    (failed,) = sightline.failed("photos")
    assert (from_uri(failed.uri).name, failed.reason) == ("notes.txt", "not an image")


def test_a_failed_file_is_not_read_again_until_it_changes(sightline: Sightline, photos: Path, paint: Paint) -> None:
    (photos / "f.png").write_bytes(b"not yet a picture")
    index(sightline, photos)
    assert len(index(sightline, photos).report.failed) == 1
    paint(photos / "f.png", (9, 9, 9))
    report = index(sightline, photos).report
    assert (report.added, report.failed, sightline.failed("photos")) == (1, [], [])


def test_a_picture_that_breaks_leaves_the_gallery_with_a_reason(sightline: Sightline, photos: Path) -> None:
    index(sightline, photos)
    (photos / "a.png").write_bytes(b"overwritten")
    index(sightline, photos)
    assert "a.png" not in found(sightline)
    assert [from_uri(one.uri).name for one in sightline.failed("photos")] == ["a.png"]


def test_file_names_may_be_any_bytes(sightline: Sightline, photos: Path) -> None:
    odd = os.fsencode(photos) + b"/caf\xe9\n%41.png"
    shutil.copy(photos / "a.png", odd)
    index(sightline, photos)
    (item,) = (one for one in found(sightline).values() if "%E9" in one.uri)
    assert os.fsencode(from_uri(item.uri)) == odd
    assert "\n" not in item.uri
    json.dumps(item.uri).encode("utf-8")


def test_captions_become_texts_and_pairs_and_follow_the_file(sightline: Sightline, photos: Path) -> None:
    lines = [{"file": "a.png", "texts": ["one", "two"]}, {"file": "b.png", "texts": ["two"]}]
    (photos / "captions.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    report = index(sightline, photos).report
    assert (report.texts, report.pairs) == (2, 3)
    (photos / "captions.jsonl").write_text(json.dumps({"file": "a.png", "texts": ["two"]}))
    report = index(sightline, photos).report
    assert (report.texts, report.pairs) == (1, 1)
    assert [one.text for one in found(sightline, kind="text").values()] == ["two"]


def test_a_bad_line_of_captions_names_its_file_and_line(sightline: Sightline, photos: Path) -> None:
    (photos / "captions.jsonl").write_text('{"file": "a.png", "texts": ["one"]}\n{"file": 3}\n')
    with pytest.raises(BadCaptions, match=r"captions\.jsonl, line 2"):
        index(sightline, photos)


def test_a_gallery_has_one_writer_at_a_time(sightline: Sightline, photos: Path) -> None:
    gallery_name = index(sightline, photos).gallery
    with write_lease(sightline.wiring.database, sightline.gallery(gallery_name)), pytest.raises(GalleryBusy):
        index(sightline, photos)
    index(sightline, photos)


def test_the_lease_of_a_dead_process_is_taken_over_at_once(sightline: Sightline, photos: Path) -> None:
    gallery = sightline.gallery(index(sightline, photos).gallery)
    host, _, started, token = new_holder().rsplit(":", 3)
    with sightline.wiring.database.writing() as session:
        # The largest process id of Linux is 2^22: this one cannot be running.
        galleries.acquire_lease(session, gallery, f"{host}:{1 << 22}:{started}:{token}")
    assert index(sightline, photos).report.unchanged == 5


def test_a_gallery_does_not_change_its_model(sightline: Sightline, photos: Path) -> None:
    index(sightline, photos)
    with pytest.raises(ModelMismatch, match="built by model 'hashing'"):
        sightline.index(photos, model="postcards")


def test_a_run_stopped_in_the_middle_leaves_a_usable_gallery_and_the_next_one_goes_on(
    sightline: Sightline, tmp_path: Path, paint: Paint
) -> None:
    folder = tmp_path / "many"
    for i in range(100):
        paint(folder / f"{i:03d}.png", (i, 2 * i, 255 - i))

    class StopsAfter64:
        done = 0

        def begin(self, what: str, total: int) -> None:
            pass

        def advance(self, count: int) -> None:
            self.done += count
            if self.done >= 64:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sightline.index(folder, model="hashing", progress=StopsAfter64())
    assert len(found(sightline, "many")) == 64
    assert len(sightline.search("many", "anything", k=100)) == 64
    report = index(sightline, folder).report
    assert (report.unchanged, report.added, len(found(sightline, "many"))) == (64, 36, 100)


def test_items_announced_by_a_killed_run_are_embedded_by_the_next(sightline: Sightline, photos: Path) -> None:
    gallery = sightline.gallery(index(sightline, photos).gallery)
    new = items.NewItem("image", to_uri(photos / "f.png"), to_uri(photos))
    with sightline.wiring.database.writing() as session:
        items.announce(session, gallery.id, [new])
    index(sightline, photos)
    with sightline.wiring.database.reading() as session:
        states = [one.state for one in items.living(session, gallery.id, "image", to_uri(photos))]
    assert states == ["embedded"] * 5


def test_bytes_that_a_killed_run_left_behind_a_block_are_cut_off(
    sightline: Sightline, photos: Path, paint: Paint
) -> None:
    index(sightline, photos)
    (block,) = (sightline.settings.home / "vectors").glob("gallery-*/image-*.f32")
    with block.open("ab") as file:
        file.write(b"half a vector")
    paint(photos / "f.png", (0, 0, 250))
    index(sightline, photos)
    item = found(sightline)["f.png"]
    expected = sightline.wiring.encoder_of(sightline.gallery("photos"))
    pixels = expected.prepare(sightline.wiring.originals.open(item))[None]
    assert np.array_equal(vector(sightline, item), expected.encode_images(pixels)[0])


def test_a_gallery_whose_pictures_were_all_replaced_is_still_searched(
    sightline: Sightline, tmp_path: Path, paint: Paint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshots, "SEAL_ROWS", 10)
    folder = tmp_path / "many"
    for i in range(30):
        paint(folder / f"{i}.png", (i, 0, 0))
    index(sightline, folder)
    for path in folder.iterdir():
        path.unlink()
    paint(folder / "new.png", (0, 99, 0))
    index(sightline, folder)
    assert [Path(hit.uri).name for hit in sightline.search("many", "anything")] == ["new.png"]
    (folder / "new.png").unlink()
    index(sightline, folder)
    assert len(sightline.search("many", "anything")) == 0


def test_a_picture_of_an_impossible_shape_is_skipped_and_the_others_are_indexed(
    sightline: Sightline, photos: Path
) -> None:
    Image.new("L", (1, 200_000)).save(photos / "line.png")
    report = index(sightline, photos).report
    assert report.added == 5
    assert [reason for _, reason in report.failed] == ["too large: 1 x 200000 pixels, a side may have 100000"]


def test_a_file_dated_beyond_the_reach_of_64_bits_is_indexed_and_found_unchanged(
    sightline: Sightline, photos: Path
) -> None:
    os.utime(photos / "a.png", (20_000_000_000, 20_000_000_000))
    index(sightline, photos)
    assert index(sightline, photos).report.unchanged == 5
    assert not any(hit.stale for hit in sightline.search("photos", "anything"))


def test_a_file_refused_for_its_size_is_tried_again_under_another_limit(sightline: Sightline, photos: Path) -> None:
    sightline.settings.pixel_limit = 10
    assert len(index(sightline, photos).report.failed) == 5
    sightline.settings.pixel_limit = 1000
    assert index(sightline, photos).report.added == 5


def test_a_link_to_nothing_is_kept_with_its_reason_until_it_is_gone(sightline: Sightline, photos: Path) -> None:
    (photos / "link.png").symlink_to(photos / "nowhere.png")
    report = index(sightline, photos).report
    assert (report.found, report.added, len(report.failed)) == (6, 5, 1)
    assert len(index(sightline, photos).report.failed) == 1
    assert [from_uri(one.uri).name for one in sightline.failed("photos")] == ["link.png"]
    (photos / "link.png").unlink()
    index(sightline, photos)
    assert sightline.failed("photos") == []


def test_bad_captions_leave_no_gallery_behind(sightline: Sightline, photos: Path) -> None:
    (photos / "captions.jsonl").write_text("rubbish")
    for _ in range(3):
        with pytest.raises(BadCaptions):
            index(sightline, photos)
    assert sightline.galleries() == []
    (photos / "captions.jsonl").unlink()
    assert index(sightline, photos).gallery == "photos"


def test_captions_that_name_no_file_are_reported(sightline: Sightline, photos: Path) -> None:
    (photos / "captions.jsonl").write_text('{"file": "z.png", "texts": ["one"]}')
    report = index(sightline, photos).report
    assert [(from_uri(uri).name, "no such file" in reason) for uri, reason in report.failed] == [("z.png", True)]


def test_two_first_runs_of_one_folder_at_once_make_one_gallery(sightline: Sightline, photos: Path) -> None:
    outcomes: list[object] = []

    def run() -> None:
        try:
            outcomes.append(index(sightline, photos).gallery)
        except GalleryBusy as error:
            outcomes.append(error.name)

    threads = [Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes == ["photos"] * 4
    assert [one.items for one in sightline.galleries()] == [5]


def test_what_lies_below_an_unreadable_folder_is_neither_gone_nor_new(sightline: Sightline, photos: Path) -> None:
    index(sightline, photos)
    known = {one.uri: one for one in found(sightline).values()}
    unreadable = FailedRecord(to_uri(photos), "unreadable: permission denied")
    for records, gone in (([unreadable], 0), ([FailedRecord(f"{to_uri(photos)}/a", "unreadable: no")], 5), ([], 5)):
        assert len(compare(records, known, lambda _: True).gone) == gone
    scan = compare([FailedRecord(to_uri(photos / "a.png"), "unreadable: no")], known, lambda _: True)
    assert sorted(from_uri(uri).name for uri in scan.gone) == ["b.png", "c.png", "d.png", "e.png"]
