"""Evaluations of captions, answers and hard negatives: run by name, and kept as rows beside those of recall."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any, Literal

from api.doors import tasks
from api.doors.evaluations import versions
from api.doors.pages import require_model
from api.errors import UsageError
from api.wiring import Wiring
from indexer.build import Progress
from retrieval.evaluation.tasks import CaptionResult, NegativesResult, VqaResult
from storage import evaluations, galleries
from storage.evaluations import NewEvaluation
from storage.galleries import Gallery

Name = Literal["caption", "vqa", "negatives"]
NAMES: tuple[Name, ...] = ("caption", "vqa", "negatives")
Result = CaptionResult | VqaResult | NegativesResult


@dataclass(frozen=True)
class Task:
    """What is to be measured, of what, and by which model where not by the gallery's.

    `file` holds the questions of vqa or the pairs of negatives; `annotations` are VQAv2's answers, `images` a folder of
    pictures beside the gallery's. `subset` takes a seeded sample of pictures, questions or pairs.
    """

    name: Name
    file: Path | None = None
    annotations: Path | None = None
    images: Path | None = None
    model: str | None = None
    subset: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        """Raise UsageError for what does not go together."""
        if self.name not in NAMES:
            raise UsageError("task", f"there is no task {self.name!r}; there are {', '.join(NAMES)}")
        if (self.file is None) != (self.name == "caption"):
            needed = "takes no file" if self.name == "caption" else "needs a file"
            raise UsageError("file", f"the task {self.name} {needed}")


@dataclass(frozen=True)
class TaskEvaluated:
    """A stored evaluation of a task."""

    id: int
    gallery: str
    task: Name
    result: Result

    def to_json(self) -> dict[str, Any]:
        """Write it as JSON, without what was said of every single picture."""
        return {"id": self.id, "gallery": self.gallery, "task": self.task, **self.result.to_json()}


def run(wiring: Wiring, gallery: Gallery, task: Task, *, progress: Progress) -> TaskEvaluated:
    """Measure a task on a gallery, and store the result."""
    model = require_model(gallery, "an evaluation")
    with wiring.database.reading() as session:
        revision = galleries.revision(session, gallery.id)
    begun = monotonic()
    result = _measure(wiring, gallery, task, progress)
    settings = {name: str(value) if isinstance(value, Path) else value for name, value in vars(task).items()}
    facts = json.dumps([revision, model, settings, begun], sort_keys=True)
    new = NewEvaluation(
        revision=revision,
        model=model,
        settings=settings,
        digest=hashlib.sha256(facts.encode()).hexdigest(),
        fingerprint=gallery.fingerprint,
        matcher_fingerprint=None,
        protocol=None,
        versions=versions(wiring),
        task=task.name,
    )
    with wiring.database.writing() as session:
        stored = evaluations.begin(session, gallery.id, new)
        evaluations.add_pages(session, stored.id, (), seconds=monotonic() - begun)
        stored = evaluations.finish(session, stored.id, result.to_json())
    return TaskEvaluated(stored.id, gallery.name, task.name, result)


def _measure(wiring: Wiring, gallery: Gallery, task: Task, progress: Progress) -> Result:
    chosen: dict[str, Any] = {"subset": task.subset, "seed": task.seed, "progress": progress}
    match task.name:
        case "caption":
            return tasks.caption(wiring, gallery, captioner=task.model, **chosen)
        case "vqa":
            assert task.file is not None
            return tasks.vqa(wiring, gallery, task.file, task.annotations, answerer=task.model, **chosen)
        case "negatives":
            assert task.file is not None
            return tasks.negatives(wiring, gallery, task.file, images=task.images, matcher=task.model, **chosen)
