"""Hard negatives: pairs of captions from files, and the share in which the true one scores higher."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from retrieval.errors import BadRecords
from retrieval.evaluation.negatives import Compared, Negative, read_negatives, summary

PAIR = {"filename": "a.jpg", "caption": "a red dog", "negative_caption": "a blue dog"}


def test_a_file_is_read_and_its_name_says_what_was_changed(tmp_path: Path) -> None:
    file = tmp_path / "replace_att.json"
    file.write_text(json.dumps({"0": PAIR}))
    assert read_negatives(file) == [Negative(file, 'record "0"', "a.jpg", "a red dog", "a blue dog", "replace_att")]


def test_a_folder_is_read_file_by_file(tmp_path: Path) -> None:
    for name in ("swap_obj", "add_att"):
        (tmp_path / f"{name}.json").write_text(json.dumps({"0": PAIR, "1": PAIR}))
    (tmp_path / "readme.txt").write_text("not this")
    assert [one.kind for one in read_negatives(tmp_path)] == ["add_att"] * 2 + ["swap_obj"] * 2


def test_a_line_names_its_own_type_or_takes_the_files(tmp_path: Path) -> None:
    file = tmp_path / "mine.jsonl"
    line = {"file": "a.jpg", "caption": "a red dog", "negative_caption": "a blue dog"}
    file.write_text(json.dumps({**line, "type": "colour"}) + "\n\n" + json.dumps(line) + "\n")
    assert [(one.where, one.kind) for one in read_negatives(file)] == [("line 1", "colour"), ("line 3", "mine")]


@pytest.mark.parametrize(
    ("name", "content", "line"),
    [
        ("n.json", "[]", "n.json: not an object; "),
        ("n.json", "{}", "n.json: it holds no pair of captions; "),
        ("n.json", "{", "n.json: not JSON ("),
        ("n.json", '{"0": 3}', 'n.json, record "0": not an object; '),
        ("n.json", '{"0": {"filename": "a"}}', 'n.json, record "0": "caption" is missing or no text; '),
        ("n.json", r'{"0\n\u001b[31m\u2028\ud800": 3}', r'n.json, record "0\n\x1b[31m\u2028\ud800": not an object; '),
        ("n.json", json.dumps({"0" * 5000: 3}), f'n.json, record "{"0" * 60}...": not an object; '),
        ("n.jsonl", "3", "n.jsonl, line 1: not an object"),
        ("n.jsonl", "{}", 'n.jsonl, line 1: "file" is missing or no text; '),
        (
            "n.jsonl",
            '{"file": "a", "caption": "b", "negative_caption": "c", "type": 3}',
            'n.jsonl, line 1: "type" is missing or no text; ',
        ),
        (
            "n.jsonl",
            '{"file": "a", "caption": "b", "negative_caption": "?!"}',
            'n.jsonl, line 1: "negative_caption" holds no words; ',
        ),
        ("n.jsonl", "", "n.jsonl: it holds no pair of captions; "),
    ],
)
def test_what_is_wrong_in_a_file_is_one_line_that_names_it(tmp_path: Path, name: str, content: str, line: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(BadRecords) as told:
        read_negatives(tmp_path / name)
    assert str(told.value).startswith(f"{tmp_path}/{line}")
    assert str(told.value).isprintable()


def test_a_folder_without_such_files_is_told_so(tmp_path: Path) -> None:
    with pytest.raises(BadRecords, match=r"the folder holds no \.json and no \.jsonl file"):
        read_negatives(tmp_path)


@pytest.mark.parametrize("name", ["none.json", "x" * 5000, "x" * 5000 + ".jsonl", "a\0b.json"])
def test_a_file_that_is_not_there_is_one_line(tmp_path: Path, name: str) -> None:
    with pytest.raises(BadRecords, match="it cannot be read") as told:
        read_negatives(tmp_path / name)
    assert str(told.value).isprintable()


def test_equal_scores_count_as_wrong_and_types_weigh_alike() -> None:
    compared = [
        Compared("colour", 0.9, 0.1),
        Compared("colour", 0.5, 0.5),
        Compared("colour", 0.1, 0.9),
        Compared("colour", 0.9, 0.1),
        Compared("count", 0.9, 0.1),
    ]
    scores = summary(compared)
    assert scores.by_type == {"colour": 0.5, "count": 1.0}
    assert (scores.pairs, scores.macro, scores.accuracy) == (5, 0.75, 0.6)
    assert scores.to_json()["macro"] == 0.75


def test_no_pairs_have_no_accuracy() -> None:
    assert summary([]).macro == 0
