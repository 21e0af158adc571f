"""Questions about pictures with the answers that people gave: the files of VQAv2, and this project's own JSONL."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from retrieval.errors import BadRecords
from retrieval.evaluation.records import Record, read_json, words
from retrieval.evaluation.vqa import Marked, accuracy, accuracy_of_shares
from retrieval.training.finetuning.questions import read_questions

QUESTIONS_FORM = '{"questions": [{"question_id": 1, "image_id": 1, "question": "..."}, ...]}'
ANNOTATIONS_FORM = '{"annotations": [{"question_id": 1, "answers": [{"answer": "..."}, ...]}, ...]}'


@dataclass(frozen=True)
class AskedQuestion:
    """A question of a file; `where` names its record, and one of `file`, `item` and `image_id` its picture.

    `answers` are what people said, one each. The project's own file is read as shares: of all people, how many said so.
    """

    where: str
    text: str
    file: str | None = None
    item: int | None = None
    image_id: int | None = None
    answers: tuple[str, ...] = ()
    shares: tuple[tuple[str, float], ...] = ()
    question_type: str | None = None
    answer_type: str | None = None

    def mark(self, answer: str) -> Marked:
        """Score an answer."""
        score = accuracy(answer, self.answers) if self.answers else accuracy_of_shares(answer, self.shares)
        return Marked(score, self.question_type, self.answer_type)


def read_asked(questions: Path, annotations: Path | None) -> list[AskedQuestion]:
    """Read questions with their answers, in the order of the file; raises BadRecords or BadQuestions.

    With `annotations` both are files of VQAv2; without, the questions are lines of JSON that hold their answers.
    """
    if annotations is not None:
        return _vqav2(questions, annotations)
    if questions.suffix.lower() == ".json":
        reason = "its answers are in another file: give the annotations too, or questions as lines of JSON (.jsonl)"
        raise BadRecords(questions, "", reason)
    return [
        AskedQuestion(
            where=f"line {one.line}",
            text=one.question,
            file=one.picture if isinstance(one.picture, str) else None,
            item=one.picture if isinstance(one.picture, int) else None,
            shares=one.answers,
        )
        for one in read_questions(questions)
    ]


def _vqav2(questions: Path, annotations: Path) -> list[AskedQuestion]:
    asked = {
        _whole_number(questions, where, record, "question_id", QUESTIONS_FORM): (where, record)
        for where, record in _records(questions, "questions", QUESTIONS_FORM)
    }
    answered = {
        _whole_number(annotations, where, record, "question_id", ANNOTATIONS_FORM): (where, record)
        for where, record in _records(annotations, "annotations", ANNOTATIONS_FORM)
    }
    for number in answered:
        if number not in asked:
            raise BadRecords(annotations, f"annotation of question {number}", f"{questions} has no such question")
    alone = [number for number in asked if number not in answered]
    if alone:
        more = f", nor have {len(alone) - 1} more" if len(alone) > 1 else ""
        raise BadRecords(questions, f"question {alone[0]}", f"it has no annotation in {annotations}{more}")
    return [
        _asked(questions, annotations, number, record, answered[number][1]) for number, (_, record) in asked.items()
    ]


def _asked(questions: Path, annotations: Path, number: int, record: Record, answered: Record) -> AskedQuestion:
    where = f"question {number}"
    return AskedQuestion(
        where=where,
        text=words(questions, where, record, "question", QUESTIONS_FORM),
        image_id=_whole_number(questions, where, record, "image_id", QUESTIONS_FORM),
        answers=_answers(annotations, where, answered),
        question_type=_known(answered.get("question_type")),
        answer_type=_known(answered.get("answer_type")),
    )


def _answers(path: Path, where: str, record: Record) -> tuple[str, ...]:
    answers = record.get("answers")
    if not isinstance(answers, list) or not answers:
        raise BadRecords(path, where, f'"answers" is missing or no list; {ANNOTATIONS_FORM}')
    said = [answer.get("answer") if isinstance(answer, Mapping) else None for answer in answers]
    if not all(isinstance(one, str) for one in said):
        raise BadRecords(path, where, f'an answer has no text "answer"; {ANNOTATIONS_FORM}')
    return tuple(map(str, said))


def _records(path: Path, key: str, form: str) -> Iterator[tuple[str, Record]]:
    """Give the records below a key; of two with one question id the second is an error."""
    whole = read_json(path)
    records = whole.get(key) if isinstance(whole, dict) else None
    if not isinstance(records, list):
        raise BadRecords(path, "", f'there is no list "{key}"; {form}')
    seen: Counter[Any] = Counter()
    for place, record in enumerate(records, start=1):
        where = f'record {place} of "{key}"'
        if not isinstance(record, dict):
            raise BadRecords(path, where, f"not an object; {form}")
        number = record.get("question_id")
        if isinstance(number, int):
            seen[number] += 1
            if seen[number] > 1:
                raise BadRecords(path, where, f"question_id {number} was there before; every id stands once")
        yield where, record


def _whole_number(path: Path, where: str, record: Record, key: str, form: str) -> int:
    value = record.get(key)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise BadRecords(path, where, f'"{key}" is missing or no whole number; {form}')


def _known(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
