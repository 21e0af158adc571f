from __future__ import annotations

from pathlib import Path

import pytest

from retrieval.errors import BadQuestions
from retrieval.training.finetuning.questions import read_questions


def write(folder: Path, *lines: str) -> Path:
    path = folder / "questions.jsonl"
    path.write_bytes("\n".join(lines).encode())
    return path


def test_a_line_names_a_picture_by_file_or_item_and_weighs_its_answers(tmp_path: Path) -> None:
    by_file = '{"file": "a.png", "question": "what?", "answers": ["Red", "red", "blue ", "red"]}'
    by_item = '{"item": 7, "question": "how many?", "answers": ["2"]}'
    first, second = read_questions(write(tmp_path, by_file, "", by_item))
    assert (first.line, first.picture, first.answers) == (1, "a.png", (("red", 0.75), ("blue", 0.25)))
    assert (second.line, second.picture, second.answers) == (3, 7, (("2", 1.0),))


@pytest.mark.parametrize(
    "picture", ['"file": 3', '"file": ""', '"item": "a.png"', '"item": true', '"item": 1.0', '"file": "\\ud800.png"']
)
def test_a_picture_is_a_file_name_or_an_item_number(tmp_path: Path, picture: str) -> None:
    path = write(tmp_path, f'{{{picture}, "question": "what?", "answers": ["red"]}}')
    with pytest.raises(BadQuestions, match='line 1: neither "file" nor "item"'):
        list(read_questions(path))


@pytest.mark.parametrize(
    ("question", "answer", "said"), [("what \\ud83d?", "red", '"question"'), ("what?", "\\udc00 red", '"answers"')]
)
def test_half_a_character_is_no_text(tmp_path: Path, question: str, answer: str, said: str) -> None:
    path = write(tmp_path, f'{{"file": "a.png", "question": "{question}", "answers": ["{answer}"]}}')
    with pytest.raises(BadQuestions, match=said):
        list(read_questions(path))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadQuestions, match=r"nothing\.jsonl: it cannot be read"):
        list(read_questions(tmp_path / "nothing.jsonl"))
