"""Tables for a review, as they are written and as a stranger may hand them back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from api.doors.reviews import check_review_path, open_review, save_review
from api.errors import UsageError
from api.results import DOUBTED, ReviewRow

TEXTS = ["a cat", "two\nlines", "an old\rMac's line", 'commas, "quotes" and ; = more', "=1+1", "  spaces ", "Katze 🐈"]


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_every_text_comes_back_as_it_was(tmp_path: Path, suffix: str) -> None:
    rows = [ReviewRow(n, "file:///a.png", text, DOUBTED, 0.25, None) for n, text in enumerate(TEXTS, start=1)]
    save_review(rows, tmp_path / f"review.{suffix}")
    decisions = open_review(tmp_path / f"review.{suffix}")
    assert [(one.item, one.text) for one in decisions] == list(enumerate(TEXTS, start=1))
    assert {one.keep for one in decisions} == {None}


@pytest.mark.parametrize("keep", [False, True, 0, [], {}])
def test_a_decision_that_is_no_word_is_refused(tmp_path: Path, keep: object) -> None:
    row = {"item": 1, "text": "a cat", "kind": DOUBTED, "keep": keep}
    (tmp_path / "review.jsonl").write_text(json.dumps(row) + "\n")
    with pytest.raises(UsageError, match=r"line 1: keep is .*; it is yes, no or empty"):
        open_review(tmp_path / "review.jsonl")


@pytest.mark.parametrize("column", ["item", "text", "kind", "keep"])
def test_a_cell_that_is_a_tower_of_lists_is_refused(tmp_path: Path, column: str) -> None:
    cells = {"item": "1", "text": '"a cat"', "kind": f'"{DOUBTED}"', "keep": '"no"', column: "[" * 900 + "]" * 900}
    line = ", ".join(f'"{name}": {cell}' for name, cell in cells.items())
    (tmp_path / "review.jsonl").write_text(f"{{{line}}}\n")
    with pytest.raises(UsageError, match="line 1"):
        open_review(tmp_path / "review.jsonl")


@pytest.mark.parametrize("item", ["9" * 19, "9" * 5000, "-1", "1.0", "1e3", "٣", "", "one"])
def test_a_number_that_no_item_can_have_is_refused(tmp_path: Path, item: str) -> None:
    (tmp_path / "review.csv").write_text(f"item,text,kind,keep\n{item},a cat,doubted,no\n", encoding="utf-8")
    with pytest.raises(UsageError, match="line 2: item is a number"):
        open_review(tmp_path / "review.csv")


def test_a_table_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    folder = tmp_path / "review.csv"
    folder.mkdir()
    with pytest.raises(UsageError, match="cannot be written"):
        check_review_path(folder)
    with pytest.raises(UsageError, match="cannot be written"):
        save_review([], folder)
