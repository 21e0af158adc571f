"""Captions, answers and hard negatives of a small gallery, measured by the shipped model."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from api import Sightline
from api.doors import folders, tasks
from api.errors import UsageError
from api.settings import Settings
from api.wiring import Wiring
from retrieval.errors import NoModel, NoPairs, RoleMissing
from retrieval.evaluation.records import BadRecords
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
