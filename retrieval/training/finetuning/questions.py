"""Questions to train on: a JSONL file, a line per question, with the answers that people gave."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from retrieval.errors import BadQuestions

FORMAT = 'a line reads {"file": "name", "question": "...", "answers": ["...", "..."]}, or "item": id for "file"'


@dataclass(frozen=True)
class Question:
    """A line of the file: a picture by its file name or its item id, a question, and answers with weights."""

    line: int
    picture: str | int
    question: str
    answers: tuple[tuple[str, float], ...]


def read_questions(path: Path) -> Iterator[Question]:
    """Read a file line by line; raises BadQuestions. Empty lines are passed over."""
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise BadQuestions(path, 0, f"it cannot be read ({error.strerror})") from error
    except ValueError as error:  # no name of a file
        raise BadQuestions(path, 0, f"it cannot be read ({error})") from error
    for number, line in enumerate(lines, start=1):
        if line.strip():
            yield _question(path, number, line)


def weighted(answers: Sequence[str]) -> tuple[tuple[str, float], ...]:
    """Weigh each answer by the share of people who gave it (the authors' VQA data set): the weights add to 1."""
    return tuple((answer, count / len(answers)) for answer, count in Counter(answers).items())


def _question(path: Path, number: int, line: bytes) -> Question:
    try:
        entry = json.loads(line.decode("utf-8-sig" if number == 1 else "utf-8"))
    except (ValueError, RecursionError):
        raise BadQuestions(path, number, f"not JSON; {FORMAT}") from None
    if not isinstance(entry, dict):
        raise BadQuestions(path, number, f"not an object; {FORMAT}")
    picture = _picture(entry)
    if picture is None:
        raise BadQuestions(path, number, f'neither "file" nor "item"; {FORMAT}')
    question, answers = entry.get("question"), entry.get("answers")
    if not isinstance(question, str) or not _is_text(question):
        raise BadQuestions(path, number, f'"question" is missing or no text; {FORMAT}')
    if not isinstance(answers, list) or not answers or not all(map(_is_text, answers)):
        raise BadQuestions(path, number, f'"answers" is missing or no list of texts; {FORMAT}')
    return Question(number, picture, question, weighted([answer.strip().lower() for answer in answers]))


def _picture(entry: Mapping[str, Any]) -> str | int | None:
    """The file name or the item id, whichever is there; None where there is neither."""
    item, file = entry.get("item"), entry.get("file")
    if isinstance(item, int) and not isinstance(item, bool):
        return item
    return file if item is None and isinstance(file, str) and file and _is_unicode(file) else None


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and any(sign.isalnum() for sign in value) and _is_unicode(value)


def _is_unicode(text: str) -> bool:
    """Whether a text is more than what JSON allows: it lets half a character pass."""
    return not any("\ud800" <= sign <= "\udfff" for sign in text)
