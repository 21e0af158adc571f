"""Evaluations of captions, answers and hard negatives as tables for a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from api.signs import visible

if TYPE_CHECKING:
    from api.doors.task_runs import TaskEvaluated
    from retrieval.evaluation.negatives import NegativeScores
    from retrieval.evaluation.tasks import CaptionResult, Missing, NegativesResult, VqaResult

FEW = 5
"""Missing pictures that are named."""


def task_table(evaluated: TaskEvaluated) -> str:
    """Show what was measured, and the pictures that were missing."""
    from retrieval.evaluation.tasks import CaptionResult, VqaResult

    head = f"evaluation {evaluated.id}: {evaluated.gallery}, task {evaluated.task}"
    result = evaluated.result
    if isinstance(result, CaptionResult):
        lines = _captions(result)
    elif isinstance(result, VqaResult):
        lines = _answers(result)
    else:
        lines = _negatives(result)
    return "\n".join(map(visible, [head, *lines, *_missing(result.missing)]))


def _captions(result: CaptionResult) -> list[str]:
    scores = result.scores
    bleu = " ".join(f"BLEU-{n} {value:.4f}" for n, value in enumerate(scores.bleu, start=1))
    meteor = f"METEOR {scores.meteor:.4f}" if scores.meteor is not None else result.why_no_meteor or ""
    return [
        f"captioner {result.captioner}, {result.pictures} pictures, {result.texts} texts",
        f"CIDEr {scores.cider:.4f}  ROUGE-L {scores.rouge_l:.4f}  {bleu}",
        meteor,
    ]


def _answers(result: VqaResult) -> list[str]:
    scores = result.scores
    return [
        f"answerer {result.answerer}, {scores.questions} questions, accuracy {scores.accuracy:.2%}",
        *_by_type("answers of type", scores.by_answer_type),
        *_by_type("questions of type", scores.by_question_type),
    ]


def _negatives(result: NegativesResult) -> list[str]:
    kinds = sorted(result.itc.by_type)
    stages: list[tuple[str, NegativeScores]] = [(f"ITC cosine of {result.model}", result.itc)]
    if result.itm is not None:
        stages.append((f"score of {result.matcher}", result.itm))
    width = max(len(name) for name, _ in stages)
    columns = [*kinds, "mean", "all"]
    lines = [f"{result.itc.pairs} pairs; the share whose caption scores above its negative, equal scores against it"]
    lines.append(f"{'':{width}} " + " ".join(f"{column:>{max(7, len(column))}}" for column in columns))
    for name, scores in stages:
        values = [*(scores.by_type[kind] for kind in kinds), scores.macro, scores.accuracy]
        cells = (f"{value:{max(7, len(column))}.1%}" for column, value in zip(columns, values, strict=True))
        lines.append(f"{name:{width}} " + " ".join(cells))
    return lines


def _by_type(what: str, accuracies: Mapping[str, float]) -> list[str]:
    return [f"  {what} {kind!r}: {accuracy:.2%}" for kind, accuracy in accuracies.items()]


def _missing(missing: Sequence[Missing]) -> list[str]:
    if not missing:
        return []
    named = [f"  {one.name}: {one.reason}" for one in missing[:FEW]]
    more = [f"  ... and {len(missing) - FEW} more" for _ in missing[FEW : FEW + 1]]
    return [f"{len(missing)} pictures could not be shown, and what was asked of them counts nowhere:", *named, *more]
