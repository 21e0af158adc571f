"""Visual question answering scored as the VQA challenge does: an answer is as right as people gave it.

Antol et al. 2015 and Goyal et al. 2017 (arXiv 1612.00837), as the challenge's own scorer computes it (vqaEval.py of
GT-Vision-Lab/VQA), which ports follow loosely: what a model says is always normalised, what people said is only rid of
its punctuation, and only where they do not all say the same.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

ENOUGH = 3
"""So many of the other people give full marks."""

_SIGNS = ';/[]"{}()=+\\_-><@`,?!'
_COMMA_IN_NUMBER = re.compile(r"\d,\d")
# The original misspells its look behind the point, so that only what follows counts: ".5" and "3.5" keep theirs.
_POINT = re.compile(r"\.(?!\d)")
MOST_POINTS = 32
"""Full stops that are taken away: the original hands a flag to where `re.sub` expects a count."""

_ARTICLES = frozenset(["a", "an", "the"])
_NUMBERS = {"none": "0", "zero": "0", "one": "1", "two": "2", "three": "3", "four": "4", "five": "5", "six": "6"}
_NUMBERS |= {"seven": "7", "eight": "8", "nine": "9", "ten": "10"}
_WITH_APOSTROPHES = (
    "ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't haven't he'd "
    "he'd've he's how'd how'll how's isn't it'd it'd've it'll ma'am mightn't mightn't've might've mustn't must've "
    "needn't not've o'clock oughtn't 'ow's'at shan't she'd've should've shouldn't shouldn't've somebody'd've "
    "somebody'll somebody's someone'd someone'd've someone'll someone's something'd something'd've something'll "
    "that's there'd there'd've there're there's they'd they'd've they'll they're they've 'twas wasn't we'd've we've "
    "weren't what'll what're what's what've when's where'd where's where've who'd who'd've who'll who's who've "
    "why'll why're why's won't would've wouldn't wouldn't've y'all y'all'll y'all'd've you'd you'd've you'll you're "
    "you've"
)
"""Words whose spellings with one apostrophe left out are put right."""
_RIGHT = {
    word[:at] + word[at + 1 :]: word
    for word in _WITH_APOSTROPHES.split(" ")
    for at, sign in enumerate(word)
    if sign == "'"
} | {"somebody'd": "somebodyd"}  # the other way round in the original


def normalise(answer: str) -> str:
    """Write a model's answer as the challenge compares it: lower case, digits, no articles, no punctuation."""
    line = answer.replace("\n", " ").replace("\t", " ").strip()
    words = [_NUMBERS.get(word, word) for word in without_punctuation(line).lower().split()]
    return " ".join(_RIGHT.get(word, word) for word in words if word not in _ARTICLES)


def without_punctuation(answer: str) -> str:
    """Take the signs out of an answer: away where a space is beside one of its kind, else a space in its place."""
    text = answer
    for sign in _SIGNS:
        is_apart = f"{sign} " in answer or f" {sign}" in answer or _COMMA_IN_NUMBER.search(answer)
        text = text.replace(sign, "" if is_apart else " ")
    return _POINT.sub("", text, count=MOST_POINTS)


def accuracy(answer: str, given: Sequence[str]) -> float:
    """Score an answer against what ten people said, in [0, 1].

    It is the mean over the people, each of them left out in turn, of min(1, others who said the same / 3).
    """
    said = _as_compared(given)
    same = said.count(normalise(answer))
    return _mean_of_others(same, len(said))


def accuracy_of_shares(answer: str, given: Iterable[tuple[str, float]]) -> float:
    """Score an answer where only the share of people who gave each answer is known, as if there were ten of them."""
    shares = list(given)
    said = _as_compared([text for text, _ in shares])
    wanted = normalise(answer)
    return _mean_of_others(10 * sum(share for text, (_, share) in zip(said, shares, strict=True) if text == wanted), 10)


@dataclass(frozen=True)
class Marked:
    """The accuracy of one answer, in [0, 1], with the type of its question and of its answers where they are known."""

    accuracy: float
    question_type: str | None = None
    answer_type: str | None = None


@dataclass(frozen=True)
class VqaScores:
    """Mean accuracies in [0, 1]: of all questions, and by the types that are known of them."""

    questions: int
    accuracy: float
    by_question_type: Mapping[str, float]
    by_answer_type: Mapping[str, float]

    def to_json(self) -> dict[str, Any]:
        """Write the scores as JSON keeps them."""
        return {
            "questions": self.questions,
            "accuracy": self.accuracy,
            "by_question_type": dict(self.by_question_type),
            "by_answer_type": dict(self.by_answer_type),
        }


def summary(marked: Sequence[Marked]) -> VqaScores:
    """Average accuracies over questions, and over those of each type; without questions all is zero."""
    return VqaScores(
        len(marked),
        fmean(one.accuracy for one in marked) if marked else 0.0,
        _by_type((one.question_type, one.accuracy) for one in marked),
        _by_type((one.answer_type, one.accuracy) for one in marked),
    )


def _as_compared(given: Sequence[str]) -> list[str]:
    return [without_punctuation(one) for one in given] if len(set(given)) > 1 else list(given)


def _mean_of_others(same: float, people: int) -> float:
    """Average over everybody left out: `same` of them said the same."""
    if not people:
        return 0.0
    if_left_out, if_other = min(1.0, max(0.0, same - 1) / ENOUGH), min(1.0, same / ENOUGH)
    return (same * if_left_out + (people - same) * if_other) / people


def _by_type(found: Iterable[tuple[str | None, float]]) -> dict[str, float]:
    values: dict[str, list[float]] = defaultdict(list)
    for name, value in found:
        if name is not None:
            values[name].append(value)
    return {name: fmean(values[name]) for name in sorted(values)}
