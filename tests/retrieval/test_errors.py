"""Errors about files are one line each, whatever the files are called."""

from __future__ import annotations

from pathlib import Path

import pytest

from retrieval.errors import BadMatrix, BadQuestions, BadRecords, BadTrec, NoMeteor, RetrievalError

UGLY = Path("two\nlines\x1b[31m")


@pytest.mark.parametrize(
    "error",
    [
        BadQuestions(UGLY, 3, "not JSON"),
        BadRecords(UGLY, "line 3", "not JSON"),
        BadTrec(UGLY, 3, "not JSON"),
        BadMatrix(UGLY, "not\nJSON"),
    ],
)
def test_a_file_whose_name_breaks_a_line_is_named_in_one(error: RetrievalError) -> None:
    assert str(error).isprintable()
    assert str(error).startswith(r"'two\nlines\x1b[31m'")
    assert str(error).endswith("not JSON")


def test_a_file_of_a_plain_name_is_named_as_it_is() -> None:
    assert str(BadQuestions(Path("it's q"), 3, "not JSON")) == "it's q, line 3: not JSON"
    assert str(BadRecords(Path("q"), "", "not JSON")) == "q: not JSON"
    assert str(BadTrec(Path("q"), 0, "not JSON")) == "q: not JSON"


def test_a_record_whose_name_breaks_a_line_is_named_in_one() -> None:
    assert str(BadRecords(Path("q"), "record \n", "a\x1b[31m")) == r"q, record \n: a\x1b[31m"


def test_what_meteor_lacks_is_an_error_of_this_room() -> None:
    assert issubclass(NoMeteor, RetrievalError)
