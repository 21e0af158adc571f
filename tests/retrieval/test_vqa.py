"""Answers scored as the VQA challenge does, and the files that questions come from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from retrieval.errors import BadQuestions, BadRecords
from retrieval.evaluation.questions import AskedQuestion, read_asked
from retrieval.evaluation.vqa import Marked, accuracy, accuracy_of_shares, normalise, summary, without_punctuation

REFERENCES = Path(__file__).parents[2] / "../shared/data/eval_refs/vqa"


@pytest.mark.parametrize(
    ("answer", "written"),
    [
        ("The Dog.", "dog"),
        ("a two-year-old", "2 year old"),
        ("none", "0"),
        ("1,000", "1000"),
        ("3.5", "3.5"),
        ("U.S.A.", "usa"),
        ("red, white", "red white"),
        ("black/white", "black white"),
        ("dont", "don't"),
        ("couldnt've", "couldn't've"),
        ("couldn'tve", "couldn't've"),
        ("Im", "im"),
        ("yes\n", "yes"),
        ("it's", "it's"),
    ],
)
def test_answers_are_normalised_as_the_challenge_does(answer: str, written: str) -> None:
    assert normalise(answer) == written


def test_a_sign_beside_a_space_vanishes_and_another_leaves_one() -> None:
    assert without_punctuation("stop! now") == "stop now"
    assert without_punctuation("stop!now") == "stop now"
    assert without_punctuation("stop!") == "stop "


def test_every_reference_answer_is_normalised_as_the_official_scorer_did() -> None:
    if not REFERENCES.is_dir():
        pytest.skip(f"the reference answers are not here: {REFERENCES}")
    for line in (REFERENCES / "normalisation_expected.jsonl").read_text("utf-8").splitlines():
        expected = json.loads(line)
        assert normalise(expected["input"]) == expected["normalised"]
        assert without_punctuation(expected["input"].strip()) == expected["after_punctuation"]


@pytest.mark.parametrize(("same", "right"), [(0, 0), (1, 0.3), (2, 0.6), (3, 0.9), (4, 1), (10, 1)])
def test_an_answer_of_some_of_ten_people_is_partly_right(same: int, right: float) -> None:
    # One of three: each of the three sees two others (2/3), each of the seven sees three (1): (3 * 2/3 + 7) / 10.
    given = ["red"] * same + [f"other {number}" for number in range(10 - same)]
    assert accuracy("red", given) == pytest.approx(right)


def test_what_people_said_loses_its_punctuation_where_they_differ() -> None:
    assert accuracy("t shirt", ["t-shirt"] * 9 + ["shirt"]) == 1
    assert accuracy("t shirt", ["t-shirt"] * 10) == 0


def test_what_people_said_keeps_numbers_and_articles_as_in_the_original() -> None:
    assert accuracy("two", ["two"] * 9 + ["3"]) == 0
    assert accuracy("two", ["2"] * 9 + ["3"]) == 1


def test_shares_count_as_ten_people() -> None:
    assert accuracy_of_shares("red", [("red", 0.2), ("blue", 0.8)]) == pytest.approx(
        accuracy("red", ["red"] * 2 + ["blue"] * 8)
    )
    assert accuracy_of_shares("red", [("red", 1.0)]) == 1
    assert accuracy_of_shares("green", [("red", 1.0)]) == 0


def test_accuracies_are_averaged_by_question_type_and_answer_type() -> None:
    marked = [Marked(1.0, "how many", "number"), Marked(0.0, "how many", "other"), Marked(0.5, "is the", "other")]
    scores = summary(marked)
    assert (scores.questions, scores.accuracy) == (3, 0.5)
    assert scores.by_question_type == {"how many": 0.5, "is the": 0.5}
    assert scores.by_answer_type == {"number": 1.0, "other": 0.25}
    assert scores.to_json()["by_answer_type"] == {"number": 1.0, "other": 0.25}


def test_no_questions_have_no_accuracy() -> None:
    assert summary([]).accuracy == 0


QUESTION = {"question_id": 1, "image_id": 7, "question": "what colour?"}
ANNOTATION = {"question_id": 1, "question_type": "what", "answer_type": "other", "answers": [{"answer": "red"}] * 10}


def write(folder: Path, questions: object, annotations: object) -> tuple[Path, Path]:
    paths = folder / "questions.json", folder / "annotations.json"
    for path, whole in zip(paths, (questions, annotations), strict=True):
        path.write_text(json.dumps(whole))
    return paths


def test_questions_and_annotations_of_vqav2_are_joined(tmp_path: Path) -> None:
    questions, annotations = write(tmp_path, {"questions": [QUESTION]}, {"annotations": [ANNOTATION]})
    (asked,) = read_asked(questions, annotations)
    assert asked == AskedQuestion(
        "question 1", "what colour?", image_id=7, answers=("red",) * 10, question_type="what", answer_type="other"
    )
    assert asked.mark("Red.") == Marked(1.0, "what", "other")


def test_lines_of_questions_are_read_with_their_answers(tmp_path: Path) -> None:
    file = tmp_path / "questions.jsonl"
    file.write_text('{"file": "a.png", "question": "what?", "answers": ["red", "blue"]}\n')
    (asked,) = read_asked(file, None)
    assert (asked.where, asked.file, asked.text) == ("line 1", "a.png", "what?")
    assert asked.mark("red").accuracy == 1


@pytest.mark.parametrize(
    ("questions", "annotations", "line"),
    [
        ([QUESTION], {"annotations": [ANNOTATION]}, 'questions.json: there is no list "questions"; {"questions": [{"'),
        ({"questions": [3]}, {"annotations": []}, 'questions.json, record 1 of "questions": not an object; '),
        (
            {"questions": [{"question_id": 1, "question": "what?"}]},
            {"annotations": [ANNOTATION]},
            'questions.json, question 1: "image_id" is missing or no whole number; ',
        ),
        (
            {"questions": [{"image_id": 7, "question": "what?"}]},
            {"annotations": [ANNOTATION]},
            'questions.json, record 1 of "questions": "question_id" is missing or no whole number; ',
        ),
        (
            {"questions": [{**QUESTION, "question": ""}]},
            {"annotations": [ANNOTATION]},
            'questions.json, question 1: "question" is missing or no text; ',
        ),
        (
            {"questions": [QUESTION, QUESTION]},
            {"annotations": [ANNOTATION]},
            'questions.json, record 2 of "questions": question_id 1 was there before; every id stands once',
        ),
        (
            {"questions": [QUESTION]},
            {"annotations": [ANNOTATION, {**ANNOTATION, "question_id": 2}]},
            "annotations.json, annotation of question 2: ",
        ),
        ({"questions": [QUESTION]}, {"annotations": []}, "questions.json, question 1: it has no annotation in "),
        (
            {"questions": [QUESTION]},
            {"annotations": [{"question_id": 1, "answers": []}]},
            'annotations.json, question 1: "answers" is missing or no list; ',
        ),
        (
            {"questions": [QUESTION]},
            {"annotations": [{"question_id": 1, "answers": [{"answer": 3}]}]},
            'annotations.json, question 1: an answer has no text "answer"; ',
        ),
    ],
)
def test_what_is_wrong_in_a_file_is_one_line_that_names_it(
    tmp_path: Path, questions: Any, annotations: Any, line: str
) -> None:
    with pytest.raises(BadRecords) as told:
        read_asked(*write(tmp_path, questions, annotations))
    assert str(told.value).startswith(f"{tmp_path}/{line}")
    assert "\n" not in str(told.value)


def test_questions_without_answers_ask_for_the_annotations(tmp_path: Path) -> None:
    questions, _ = write(tmp_path, {"questions": [QUESTION]}, {})
    with pytest.raises(BadRecords, match="give the annotations too"):
        read_asked(questions, None)


def test_what_is_no_json_is_told_so(tmp_path: Path) -> None:
    (tmp_path / "q.json").write_text("{")
    with pytest.raises(BadRecords, match=r"q\.json: not JSON \("):
        read_asked(tmp_path / "q.json", tmp_path / "q.json")
    with pytest.raises(BadRecords, match=r"none\.json: it cannot be read \(No such file or directory\)"):
        read_asked(tmp_path / "none.json", tmp_path / "q.json")
    with pytest.raises(BadQuestions, match=r"q\.jsonl: it cannot be read"):
        read_asked(tmp_path / "q.jsonl", None)
