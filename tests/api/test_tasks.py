"""Captions, answers and hard negatives of a small gallery, measured by the shipped model."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from api import Sightline
from api.cli.task_tables import task_table
from api.doors import folders, tasks
from api.doors.task_pictures import GalleryPictures, NoSuchPicture
from api.doors.task_runs import TaskEvaluated
from api.errors import UsageError
from api.settings import Settings
from api.wiring import Wiring
from retrieval.errors import BadRecords, NoModel, NoPairs, RoleMissing
from retrieval.evaluation.negatives import NegativeScores
from retrieval.evaluation.tasks import Missing, NegativesResult
from retrieval.training.world.galleries import write_gallery
from storage import items
from storage.galleries import Gallery

SCENES = 8
"""The first four are a poster of three red apples and a big blue car, and twins of it."""
TURNED = {
    "caption": "three red apples left of a big blue car facing right in the field on a clear day",
    "negative_caption": "three red apples left of a big blue car facing left in the field on a clear day",
}


class Watched:
    """Progress that remembers what it was told."""

    def __init__(self) -> None:
        self.chapter, self.total, self.done = "", 0, 0

    def begin(self, what: str, total: int) -> None:
        self.chapter, self.total, self.done = what, total, 0

    def advance(self, count: int) -> None:
        self.done += count

    @property
    def is_over(self) -> bool:
        return self.done == self.total > 0


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of eight postcards, and the home of a library with a gallery `cards` of them."""
    folder = tmp_path_factory.mktemp("tasks")
    write_gallery(folder / "cards", scenes=SCENES, seed=5)
    library = Sightline(settings=Settings(home=folder / "home", offline=True))
    library.index(folder / "cards", gallery="cards", model="postcards")
    library.close()
    return folder


@pytest.fixture(scope="module")
def wiring(drawn: Path) -> Iterator[Wiring]:
    library = Sightline(settings=Settings(home=drawn / "home", offline=True))
    yield library.wiring
    library.close()


@pytest.fixture
def cards(wiring: Wiring) -> Gallery:
    return folders.by_name(wiring, "cards")


@pytest.fixture
def hidden(drawn: Path) -> Iterator[Path]:
    """The first postcard, put away for a while."""
    card = drawn / "cards" / "postcard-0001.png"
    shutil.move(card, drawn / "away.png")
    yield card
    shutil.move(drawn / "away.png", card)


def lines(path: Path, *records: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def caption(wiring: Wiring, gallery: Gallery, **changes: Any) -> Any:
    asked: dict[str, Any] = {"captioner": None, "subset": None, "seed": 0, "progress": Watched()}
    return tasks.caption(wiring, gallery, **asked | changes)


def vqa(wiring: Wiring, gallery: Gallery, file: Path, annotations: Path | None = None, **changes: Any) -> Any:
    asked: dict[str, Any] = {"answerer": None, "subset": None, "seed": 0, "progress": Watched()}
    return tasks.vqa(wiring, gallery, file, annotations, **asked | changes)


def negatives(wiring: Wiring, gallery: Gallery, file: Path, **changes: Any) -> Any:
    asked: dict[str, Any] = {"images": None, "matcher": None, "subset": None, "seed": 0, "progress": Watched()}
    return tasks.negatives(wiring, gallery, file, **asked | changes)


def test_every_picture_with_texts_is_captioned_and_scored(wiring: Wiring, cards: Gallery) -> None:
    progress = Watched()
    result = caption(wiring, cards, progress=progress)
    assert (result.captioner, result.pictures, result.missing) == ("postcards", SCENES, ())
    assert result.each[0].caption.startswith("three red apples")
    assert result.each[0].scores.rouge_l > 0.5
    assert result.scores.cider > 1
    assert (progress.chapter, progress.is_over) == ("captions", True)
    assert json.loads(json.dumps(result.to_json()))["pictures"] == SCENES


def test_a_subset_is_the_same_every_time(wiring: Wiring, cards: Gallery) -> None:
    chosen = [[one.item_id for one in caption(wiring, cards, subset=3, seed=1).each] for _ in range(2)]
    assert chosen[0] == chosen[1]
    assert len(chosen[0]) == 3


def test_a_picture_that_is_missing_is_named_and_its_texts_count_nowhere(
    wiring: Wiring, cards: Gallery, hidden: Path, tmp_path: Path
) -> None:
    captioned = caption(wiring, cards)
    assert captioned.pictures == SCENES - 1
    (gone,) = captioned.missing
    assert gone.name.endswith(hidden.name)
    asked = [{"file": f"postcard-000{n}.png", "question": "is it raining", "answers": ["no"]} for n in (1, 2)]
    answered = vqa(wiring, cards, lines(tmp_path / "q.jsonl", *asked))
    assert (answered.scores.questions, answered.missing) == (1, (gone,))
    pairs = [{"file": one["file"], **TURNED} for one in asked]
    compared = negatives(wiring, cards, lines(tmp_path / "n.jsonl", *pairs))
    assert (compared.itc.pairs, compared.missing) == (1, (gone,))
    assert compared.to_json()["missing"] == [{"name": gone.name, "reason": gone.reason}]


def test_where_every_picture_is_missing_there_is_no_score(
    wiring: Wiring, cards: Gallery, hidden: Path, tmp_path: Path
) -> None:
    only = {"file": hidden.name, "question": "is it raining", "answers": ["no"]}
    with pytest.raises(BadRecords, match=r"q\.jsonl: none of its 1 pictures can be shown, the first is .*0001\.png"):
        vqa(wiring, cards, lines(tmp_path / "q.jsonl", only))
    with pytest.raises(BadRecords, match=r"n\.jsonl: none of its 1 pictures can be shown"):
        negatives(wiring, cards, lines(tmp_path / "n.jsonl", {"file": hidden.name, **TURNED}))


def test_questions_of_a_jsonl_file_are_answered(wiring: Wiring, cards: Gallery, tmp_path: Path) -> None:
    first = items_of(wiring, cards)[0].id
    file = lines(
        tmp_path / "q.jsonl",
        {"file": "postcard-0001.png", "question": "which way is the car facing", "answers": ["right"]},
        {"file": "postcard-0004.png", "question": "which way is the car facing", "answers": ["left"]},
        {"item": first, "question": "what colour is the car?", "answers": ["blue", "blue", "red"]},
        {"item": first, "question": "what colour is the car?", "answers": ["green"]},
    )
    progress = Watched()
    result = vqa(wiring, cards, file, progress=progress)
    assert [one.answer for one in result.each] == ["right", "left", "blue", "blue"]
    assert [one.accuracy for one in result.each] == [1, 1, 1, 0]
    assert [one.where for one in result.each] == ["line 1", "line 2", "line 3", "line 4"]
    assert result.scores.accuracy == 0.75
    assert (progress.chapter, progress.is_over) == ("questions", True)


def test_questions_of_vqav2_find_pictures_by_the_number_of_the_file_or_by_metadata(
    wiring: Wiring, cards: Gallery, tmp_path: Path
) -> None:
    with wiring.database.writing() as session:
        items.set_metadata(session, {items_of(wiring, cards)[3].id: (None, {"image_id": 77})})
    asked = [
        {"question_id": 10, "image_id": 1, "question": "which way is the car facing"},
        {"question_id": 11, "image_id": 77, "question": "which way is the car facing"},
    ]
    said = [
        {"question_id": 10, "answers": [{"answer": "right"}] * 10, "question_type": "which", "answer_type": "other"},
        {"question_id": 11, "answers": [{"answer": "left"}] * 10, "question_type": "which", "answer_type": "other"},
    ]
    questions, annotations = tmp_path / "q.json", tmp_path / "a.json"
    questions.write_text(json.dumps({"questions": asked}))
    annotations.write_text(json.dumps({"annotations": said}))
    result = vqa(wiring, cards, questions, annotations)
    assert result.scores.by_question_type == {"which": 1.0}
    assert result.to_json()["scores"]["by_answer_type"] == {"other": 1.0}


@pytest.mark.parametrize(
    ("record", "told"),
    [
        ({"file": "none.png"}, "line 1: gallery 'cards' has no picture 'none.png'"),
        ({"item": 999999}, "line 1: gallery 'cards' has no picture with the item id 999999"),
    ],
)
def test_a_question_about_an_unknown_picture_is_named(
    wiring: Wiring, cards: Gallery, tmp_path: Path, record: dict[str, Any], told: str
) -> None:
    file = lines(tmp_path / "q.jsonl", {**record, "question": "what?", "answers": ["no"]})
    with pytest.raises(BadRecords) as error:
        vqa(wiring, cards, file)
    assert str(error.value) == f"{file}, {told}"


def test_an_unknown_image_id_is_named(wiring: Wiring, cards: Gallery, tmp_path: Path) -> None:
    questions, annotations = tmp_path / "q.json", tmp_path / "a.json"
    questions.write_text(json.dumps({"questions": [{"question_id": 1, "image_id": 999, "question": "what?"}]}))
    annotations.write_text(json.dumps({"annotations": [{"question_id": 1, "answers": [{"answer": "no"}]}]}))
    with pytest.raises(BadRecords, match=r"q\.json, question 1: gallery 'cards' has no picture with the image id 999"):
        vqa(wiring, cards, questions, annotations)


def test_turned_captions_are_told_apart_by_the_matcher(wiring: Wiring, cards: Gallery, tmp_path: Path) -> None:
    red, same = TURNED["caption"], {"caption": "a red car", "negative_caption": "a red car"}
    file = lines(
        tmp_path / "n.jsonl",
        {"file": "postcard-0001.png", **TURNED, "type": "facing"},
        {
            "file": "postcard-0001.png",
            "caption": red,
            "negative_caption": red.replace("red", "green"),
            "type": "colour",
        },
        {"file": "postcard-0002.png", **same, "type": "same"},
    )
    progress = Watched()
    result = negatives(wiring, cards, file, progress=progress)
    assert (result.model, result.matcher) == ("postcards", "postcards")
    assert result.itm.by_type == {"colour": 1.0, "facing": 1.0, "same": 0.0}
    assert result.itc.by_type["same"] == 0.0
    assert result.itm.macro == pytest.approx(2 / 3)
    assert (progress.chapter, progress.is_over) == ("pairs", True)


def test_pictures_of_hard_negatives_may_lie_in_a_folder(
    drawn: Path, wiring: Wiring, cards: Gallery, tmp_path: Path
) -> None:
    (tmp_path / "pictures").mkdir()
    shutil.copy(drawn / "cards" / "postcard-0001.png", tmp_path / "pictures" / "mine.png")
    (tmp_path / "pictures" / "broken.png").write_bytes(b"no picture")
    pairs = [{"file": name, **TURNED, "type": "facing"} for name in ("mine.png", "gone.png", "broken.png")]
    file = lines(tmp_path / "n.jsonl", *pairs)
    result = negatives(wiring, cards, file, images=tmp_path / "pictures")
    assert result.itm.by_type == {"facing": 1.0}
    assert [Path(one.name).name for one in result.missing] == ["broken.png", "gone.png"]
    assert result.missing[1].reason == "missing"
    with pytest.raises(UsageError, match="is no folder; give the one that the pictures of"):
        negatives(wiring, cards, file, images=tmp_path / "none")


def test_hard_negatives_of_an_unknown_picture_are_named(wiring: Wiring, cards: Gallery, tmp_path: Path) -> None:
    file = tmp_path / "swap_att.json"
    file.write_text(json.dumps({"7": {"filename": "none.jpg", **TURNED}}))
    with pytest.raises(BadRecords) as error:
        negatives(wiring, cards, file)
    assert str(error.value) == f"{file}, record \"7\": gallery 'cards' has no picture 'none.jpg'"


def test_a_gallery_without_pairs_or_without_a_model_says_so(wiring: Wiring, cards: Gallery, tmp_path: Path) -> None:
    bare = Gallery(cards.id, "bare", None, None, None, None, 1, ())
    with pytest.raises(NoModel):
        caption(wiring, bare)
    with pytest.raises(NoPairs):
        caption(wiring, Gallery(999, "empty", "postcards", None, 128, 1, 1, ()))


def test_a_model_that_has_no_such_role_is_refused(wiring: Wiring, cards: Gallery, tmp_path: Path) -> None:
    with pytest.raises(RoleMissing):
        caption(wiring, cards, captioner="hashing")


def items_of(wiring: Wiring, gallery: Gallery) -> list[items.Item]:
    with wiring.database.reading() as session:
        return items.embedded(session, gallery.id, "image")


# ------------------------------------------------------------------------------------------------ names of a dataset


@pytest.fixture
def two_sets(sightline: Sightline, tmp_path: Path, paint: Any) -> GalleryPictures:
    """A dataset of a/1.png, b/1.png, b/2.png and 3.png, in a folder of images."""
    names = ("a/1.png", "b/1.png", "b/2.png", "3.png")
    for place, name in enumerate(names):
        paint(tmp_path / "set" / "images" / name, (50 * place, 9, 9))
    lines(tmp_path / "set" / "list.jsonl", *({"file": name, "texts": [f"of {name}"]} for name in names))
    sightline.index(tmp_path / "set" / "list.jsonl", gallery="set", model="hashing")
    return GalleryPictures(sightline.wiring, folders.by_name(sightline.wiring, "set"))


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("a/1.png", "a/1.png"),
        ("b/1.png", "b/1.png"),
        ("./b//1.png", "b/1.png"),
        ("images/b/1.png", "b/1.png"),
        ("set/images/a/1.png", "a/1.png"),
        ("2.png", "b/2.png"),
        ("b/2.png", "b/2.png"),
        ("3.png", "3.png"),
    ],
)
def test_a_picture_of_a_dataset_is_found_by_its_name_and_by_every_end_of_its_path(
    two_sets: GalleryPictures, tmp_path: Path, name: str, found: str
) -> None:
    assert two_sets.of_file(name).uri == str(tmp_path / "set" / "images" / found)
    assert two_sets.of_file(str(tmp_path / "set" / "images" / found)).uri == str(tmp_path / "set" / "images" / found)


def test_an_end_that_several_paths_have_is_refused_in_one_line(two_sets: GalleryPictures, tmp_path: Path) -> None:
    with pytest.raises(NoSuchPicture) as error:
        two_sets.of_file("1.png")
    first, second = (tmp_path / "set" / "images" / one / "1.png" for one in "ab")
    assert str(error.value) == f"gallery 'set' has 2 pictures '1.png': {first} and {second}; give more of its path"


@pytest.mark.parametrize("name", ["c/1.png", "png", ".png", "/1.png", "/images/3.png", "x3.png", ""])
def test_what_is_no_end_of_a_path_is_not_found(two_sets: GalleryPictures, name: str) -> None:
    with pytest.raises(NoSuchPicture, match="has no picture"):
        two_sets.of_file(name)


def test_a_name_in_a_folder_goes_before_the_end_of_another(sightline: Sightline, tmp_path: Path, paint: Any) -> None:
    for place, name in enumerate(("1.png", "a/1.png")):
        paint(tmp_path / "both" / name, (90 * place, 9, 9))
    sightline.index(tmp_path / "both", gallery="both", model="hashing")
    pictures = GalleryPictures(sightline.wiring, folders.by_name(sightline.wiring, "both"))
    assert pictures.of_file("1.png").uri == str(tmp_path / "both" / "1.png")
    assert pictures.of_file("a/1.png").uri == str(tmp_path / "both" / "a" / "1.png")


def test_a_table_of_a_task_cannot_steer_a_terminal() -> None:
    missing = Missing("a\x1b[31m\n.png", "gone\x9b")
    scores = NegativeScores(1, {"kind\x1b[2J": 1.0}, 1.0, 1.0)
    result = NegativesResult("model\x07", None, scores, None, (missing,))
    said = task_table(TaskEvaluated(1, "cards", "negatives", result))
    assert all(line.isprintable() for line in said.splitlines())
    assert len(said.splitlines()) == 6
