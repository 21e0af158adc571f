"""A gallery's pairs, or questions about its pictures, fine-tune a model; every epoch is evaluated as users would."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from math import isfinite
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from api.doors import evaluations, folders
from api.doors.evaluations import Wanted
from api.doors.ranking import Ranking
from api.errors import UsageError
from api.paths import expanded
from api.results import Evaluated
from api.wiring import Wiring
from indexer import archives
from indexer.build import Progress, Report
from indexer.sources.folder import captions
from indexer.uri import from_uri, to_uri
from retrieval.errors import BadQuestions, NoPairs, PairsWithoutPicture, TrainingNotWritten
from retrieval.evaluation.benchmark import Choice
from retrieval.models import hub, load
from retrieval.models.checkpoints import Checkpoint, Role, companion
from retrieval.models.preprocess import pre_caption
from retrieval.training.finetuning.examples import Example, Examples, Picture, is_held_out
from retrieval.training.finetuning.questions import Question, read_questions
from retrieval.training.finetuning.recipe import Recipe, Task
from retrieval.training.finetuning.results import VALIDATION
from storage import items
from storage.galleries import Gallery
from storage.items import Item

if TYPE_CHECKING:
    from retrieval.training.finetuning.distributed import Team
    from retrieval.training.finetuning.measure import Measure
    from retrieval.training.finetuning.start import Start

Pair = tuple[Item, str]
"""A picture and a text that describes it."""
Said = tuple[Item, str, tuple[tuple[str, float], ...]]
"""A picture with a text, or with a question and its weighted answers."""

ROLES: dict[Task, Role] = {"match": "encoder", "caption": "captioner", "vqa": "answerer"}
LISTED_WORDS = 10
LARGEST_QUEUE = 1_000_000
"""Embeddings of a queue: BLIP's pictures and texts would take 2 GB, in memory and in every checkpoint."""


class Silence:
    """Progress that nobody watches."""

    def begin(self, what: str, total: int) -> None:
        """Start a chapter."""

    def advance(self, count: int) -> None:
        """Note some steps."""


def train(
    wiring: Wiring,
    target: Path | str,
    *,
    start: str,
    out: Path | str,
    recipe: Recipe,
    questions: Path | str | None,
    held_out: float,
    synthetic: bool,
    progress: Progress,
) -> dict[str, Any] | None:
    """Fine-tune the model `start` into the folder `out`, and give the report that is also written there.

    Of several processes only the first one has a report to give. `held_out` is the share of the pictures that are not
    trained on but evaluated after every epoch; `synthetic` adds the pairs that a model wrote to those trained on.
    """
    from retrieval.training.finetuning.distributed import joined

    _check_usage(wiring, recipe, questions, held_out, synthetic)
    place = expanded(out).resolve()
    with joined(wiring.settings.device) as team:
        if recipe.task == "match" and recipe.batch * team.size < 2:
            raise UsageError("batch", "--batch 1 has nothing to compare a pair with; say 2 or more")
        gallery = team.first(lambda: _gallery(wiring, target, recipe.task, progress))
        team.first(lambda: _check_place(place, gallery))
        pictures = _Pictures(wiring, gallery)
        if synthetic and not pictures.written and team.is_first:
            wiring.say(f"gallery {gallery.name} has no pairs that a model wrote: sightline bootstrap writes some")
        if recipe.task == "vqa":
            assert questions is not None
            examples = pictures.asked(expanded(questions), held_out)
        else:
            examples = pictures.paired(held_out, synthetic=synthetic)
        begin = team.first(lambda: _located(wiring, start, recipe.task))
        return _finetune(wiring, pictures, examples, begin, place, recipe, team, progress)


def _finetune(
    wiring: Wiring,
    pictures: _Pictures,
    examples: Examples,
    begin: Path,
    place: Path,
    recipe: Recipe,
    team: Team,
    progress: Progress,
) -> dict[str, Any] | None:
    from retrieval.training.finetuning.loop import Run, finetune

    start = _opened(wiring, begin, recipe, examples, say=wiring.say if team.is_first else _nothing)
    measure = _measure(wiring, pictures, examples, recipe.task, place, team, progress) if examples.validation else None
    run = Run(
        recipe=recipe,
        start=start,
        examples=examples,
        folder=place,
        team=team,
        measure=measure,
        watch=progress if team.is_first else Silence(),
        say=wiring.say,
        threads=wiring.settings.decode_threads,
    )
    report = finetune(run)
    return report if team.is_first else None


def _gallery(wiring: Wiring, target: Path | str, task: Task, progress: Progress) -> Gallery:
    """Find the gallery, or make one of a folder, where GalleryBusy is raised: half a gallery would be other pairs.

    That it may have no model does not matter, for pairs need none; what is said of models is not passed on.
    """
    if not folders.means_folder(wiring, target):
        return folders.by_name(wiring, str(target))
    quiet = Wiring(wiring.settings, _nothing)
    try:
        indexed = folders.index(
            quiet, target, gallery=None, model=None, progress=progress, downloads="for a new gallery"
        )
    finally:
        quiet.close()
    if task != "vqa" and indexed.layout is None:
        _tell_left_out(wiring, expanded(target), indexed.report)
    elif task != "vqa" and indexed.report.left_out:
        wiring.say(f"{indexed.report.left_out} texts of pictures that cannot be read are left out")
    return folders.by_name(wiring, indexed.gallery)


def _tell_left_out(wiring: Wiring, folder: Path, report: Report) -> None:
    """Name the pictures that captions speak of and that could not be indexed: as an index run, training skips them."""
    described = {one.file_uri for one in captions(folder)}
    failed = sorted((uri, reason) for uri, reason in report.failed if uri in described)
    if failed:
        uri, reason = failed[0]
        many = f"{len(failed)} pictures of pairs are left out, the first is {uri}"
        one = f"the picture of a pair is left out: {uri}"
        wiring.say(f"{one if len(failed) == 1 else many} ({reason})")


def _nothing(_: str) -> None:
    """Say nothing: another process says it."""


def _check_usage(wiring: Wiring, recipe: Recipe, questions: object, held_out: float, synthetic: bool) -> None:
    if wiring.settings.device == "cuda" and load.device_kind() != "cuda":
        raise UsageError("device", "the device is to be cuda, but torch sees no CUDA device; say --device cpu")
    if (recipe.task == "vqa") != (questions is not None):
        raise UsageError("questions", "--task vqa needs --questions FILE, and no other task takes it")
    if synthetic and recipe.task == "vqa":
        raise UsageError("synthetic", "--synthetic adds pairs, but --task vqa learns from questions")
    if recipe.queue and recipe.task != "match":
        raise UsageError("queue", f"--queue belongs to ITC, which --task {recipe.task} does not have")
    if recipe.queue > LARGEST_QUEUE:
        raise UsageError("queue", f"--queue is at most {LARGEST_QUEUE} (BLIP: 57600), not {recipe.queue}")
    for name in ("rate", "momentum", "alpha", "dropout"):
        value = getattr(recipe, name)
        if not isfinite(value):
            raise UsageError(name, f"--{name} is {value}; say a finite number")
    if not 0 <= held_out < 1:
        raise UsageError("held_out", f"--held-out is a share from 0 to below 1, not {held_out:g}")


def _check_place(place: Path, gallery: Gallery) -> None:
    """A training must not lie among the pictures, where it would be indexed, nor in a folder of something else."""
    for source in gallery.sources:
        if f"{to_uri(place)}/".startswith(f"{source}/"):
            raise UsageError(
                "out", f"{place} lies among the pictures of {gallery.name}; choose a folder outside {source}"
            )
    if place.is_file() or (place.is_dir() and any(place.iterdir()) and not (place / "losses.jsonl").exists()):
        raise UsageError("out", f"{place} holds something else; choose a new folder")


def _located(wiring: Wiring, start: str, task: Task) -> Path:
    """Find the weights of the model to begin with; what has to be downloaded is said first."""
    role = ROLES[task]
    checkpoint: Checkpoint = companion(wiring.checkpoint(start), role)
    if checkpoint.family != "blip":
        raise UsageError("from", f"{checkpoint.name} cannot be trained; BLIP models can: see `sightline models`")
    wiring.announce_download(checkpoint, role)
    folder = hub.locate(checkpoint, role, offline=wiring.offline)
    hub.verify(checkpoint, folder)
    return folder


def _opened(wiring: Wiring, begin: Path, recipe: Recipe, examples: Examples, *, say: Callable[[str], None]) -> Start:
    """Open the start; words that it has no pieces for get rows of their own where that is wanted, else are named."""
    from retrieval.training.finetuning.start import open_start, unknown_words, with_new_words

    start = open_start(recipe.task, begin, name=str(begin))
    words = unknown_words(start.vocabulary, examples.train)
    if words and recipe.new_words:
        return with_new_words(start, words, seed=recipe.seed)
    if words:
        listed = ", ".join(words[:LISTED_WORDS]) + (", ..." if len(words) > LISTED_WORDS else "")
        say(f"the model has no pieces for {len(words)} words ({listed}): --new-words gives them rows")
    return start


class _Pictures:
    """A gallery's pictures with their texts, as training sees them: `pairs` were given, `written` is by a model."""

    def __init__(self, wiring: Wiring, gallery: Gallery) -> None:
        self._wiring, self.gallery = wiring, gallery
        with wiring.database.reading() as session:
            given, written = (items.pairs(session, gallery.id, (one,)) for one in (items.GIVEN, items.SYNTHETIC))
            self.by_uri = {
                item.uri: item
                for source in gallery.sources
                for item in items.living(session, gallery.id, "image", source)
                if item.state in items.FINDABLE
            }
            texts = items.by_ids(session, {text for text, _ in (*given, *written)})
        self.by_id = {item.id: item for item in self.by_uri.values()}
        self.pairs = self._readable(given, texts)
        known = set(self.pairs)
        # What was given already, or written by two captioners, is no second example.
        self.written = [pair for pair in dict.fromkeys(self._readable(written, texts)) if pair not in known]

    def _readable(self, pairs: Iterable[tuple[int, int]], texts: Mapping[int, Item]) -> list[Pair]:
        """The pairs (text id, image id) that have a picture and words, in an order that other ids do not change."""
        found = [
            (self.by_id[image], texts[text].text or "")
            for text, image in pairs
            if image in self.by_id and text in texts and pre_caption(texts[text].text or "")
        ]
        return sorted(found, key=lambda pair: (pair[0].content_hash or "", pair[0].id, pair[1]))

    def paired(self, held_out: float, *, synthetic: bool) -> Examples:
        """The gallery's pairs as examples; raises NoPairs, or PairsWithoutPicture where files are missing.

        What a model wrote is trained on where `synthetic` asks for it, but never evaluated.
        """
        if not self.pairs:
            self._check_without_given(held_out, synthetic=synthetic)
        given: list[Said] = [(item, text, ()) for item, text in self.pairs]
        written: list[Said] = [(item, text, ()) for item, text in self.written] if synthetic else []
        return self._examples(given, held_out, written)

    def _check_without_given(self, held_out: float, *, synthetic: bool) -> None:
        """What a model wrote can be trained on alone, but then there is nothing to evaluate."""
        if not self.written:
            raise NoPairs(self.gallery.name)
        alone = f"gallery {self.gallery.name!r} has only pairs that a model wrote"
        if not synthetic:
            raise UsageError("synthetic", f"{alone}: --synthetic trains on them")
        if held_out:
            raise UsageError("held_out", f"{alone}, which are not evaluated: --held-out 0 does without")

    def asked(self, path: Path, held_out: float) -> Examples:
        """The questions of a file as examples; raises BadQuestions with the line that names no picture."""
        asked = [(self._behind(path, one), one.question, one.answers) for one in read_questions(path)]
        if not asked:
            raise BadQuestions(path, 0, "it holds no questions")
        return self._examples(asked, held_out)

    def _behind(self, path: Path, question: Question) -> Item:
        if isinstance(question.picture, int):
            item = self.by_id.get(question.picture)
        else:
            places = (os.path.normpath(from_uri(source) / question.picture) for source in self.gallery.sources)
            item = next((self.by_uri[uri] for place in places if (uri := to_uri(place)) in self.by_uri), None)
        if item is None:
            reason = f"the gallery {self.gallery.name!r} has no picture {question.picture!r}"
            raise BadQuestions(path, question.line, reason)
        return item

    def _examples(self, found: list[Said], held_out: float, written: Iterable[Said] = ()) -> Examples:
        """Number the pictures by content, so that equal ones are one, and hold out some of those found."""
        taught = [said for said in written if not is_held_out(_content(said[0]), held_out)]
        self.check_there({item.id: item for item, _, _ in (*found, *taught)}.values())
        numbers: dict[str, int] = {}
        pictures: list[Picture] = []
        parts: tuple[list[Example], list[Example]] = ([], [])
        for item, text, answers in (*found, *taught):
            content = _content(item)
            if content not in numbers:
                numbers[content] = len(pictures)
                pictures.append(Picture(item.uri, content, partial(self._wiring.originals.open, item)))
            parts[is_held_out(content, held_out)].append(Example(numbers[content], text, answers))
        if held_out and not parts[True]:
            count = len({_content(item) for item, _, _ in found})
            few = f"--held-out {held_out:g} of {count} pictures holds out none; raise it, or say 0 to do without"
            raise UsageError("held_out", few)
        return Examples(tuple(pictures), tuple(parts[False]), tuple(parts[True]))

    def check_there(self, wanted: Iterable[Item]) -> None:
        """Raise PairsWithoutPicture where the file of a picture is missing or changed."""
        gone = sorted(item.uri for item in wanted if not self._wiring.originals.is_current(item))
        if gone:
            raise PairsWithoutPicture(self.gallery.name, len(gone), gone[0])


def _content(item: Item) -> str:
    """What equal pictures have in common."""
    return item.content_hash or item.uri


def _measure(
    wiring: Wiring,
    pictures: _Pictures,
    examples: Examples,
    task: Task,
    place: Path,
    team: Team,
    progress: Progress,
) -> Measure:
    """Say how a model folder is judged: retrieval by an evaluation, captions by their loss, answers by accuracy."""
    from retrieval.training.finetuning.measure import answer_accuracy, caption_loss

    match task:
        case "match":
            return partial(_recall, wiring, pictures, examples, place / VALIDATION, progress)
        case "caption":
            return partial(caption_loss, examples=examples, device=str(team.device))
        case "vqa":
            return partial(answer_accuracy, examples=examples, device=str(team.device))


def _recall(
    wiring: Wiring, pictures: _Pictures, examples: Examples, place: Path, progress: Progress, model: Path
) -> dict[str, float]:
    """Index the held-out pictures with a model in a home of its own and evaluate that gallery: recalls and their mean.

    The home lies in the folder of the training, and goes afterwards. Raises TrainingNotWritten where the disk is full.
    """
    texts = _held_out_texts(pictures, examples)
    pictures.check_there(texts)  # fewer pictures would be another measure
    shown = place / "pictures"
    if not shown.exists():
        _show_held_out(texts, shown)
    home = place / f"home-{model.name}"
    shutil.rmtree(home, ignore_errors=True)
    changes = {"home": home, "database_url": None, "model": None, "offline": True}
    apart = Wiring(wiring.settings.model_copy(update=changes), _nothing)
    try:
        indexed = folders.index(apart, shown, gallery="held-out", model=str(model), progress=progress)
        gallery = folders.by_name(apart, indexed.gallery)
        depth = max(apart.depth_of_evaluation(gallery), evaluations.LEAST_CANDIDATES)
        asked = Wanted(Ranking(evaluations.LEAST_CANDIDATES, depth), Choice())
        evaluated = evaluations.evaluate(apart, gallery, asked, progress=progress)
    except Exception as error:
        if isinstance(error.__cause__, sqlite3.OperationalError):  # SQLAlchemy's own error would be a traceback
            raise TrainingNotWritten(home, error.__cause__) from error
        raise
    finally:
        apart.close()
        shutil.rmtree(home, ignore_errors=True)
    return measures_of(evaluated)


def measures_of(evaluated: Evaluated) -> dict[str, float]:
    """Name the recalls of both directions by direction, stage and cut-off; `mean_recall` is the mean of the last."""
    named: dict[str, float] = {}
    final: list[float] = []
    for direction in evaluated.directions:
        stages = {"itc": direction.before, "itm": direction.after}
        for stage, recalls in stages.items():
            named |= {f"{direction.name} {stage} {name}": value for name, value in _recalls(recalls).items()}
        final += _recalls(direction.after or direction.before).values()
    return {"mean_recall": fmean(final), **named}


def _recalls(measures: Mapping[str, float | None] | None) -> dict[str, float]:
    return {name: value for name, value in (measures or {}).items() if name.startswith("recall@") and value is not None}


def _held_out_texts(pictures: _Pictures, examples: Examples) -> dict[Item, list[str]]:
    """The held-out pictures, each with the texts that were given."""
    held_out = {examples.pictures[example.picture].content for example in examples.validation}
    texts: dict[Item, list[str]] = {}
    for item, text in pictures.pairs:
        if _content(item) in held_out:
            texts.setdefault(item, []).append(text)
    return texts


def _show_held_out(texts: Mapping[Item, Sequence[str]], folder: Path) -> None:
    """Make a folder of links to pictures, with their captions."""
    folder.mkdir(parents=True)
    lines = []
    for number, (item, said) in enumerate(sorted(texts.items(), key=lambda one: one[0].id), start=1):
        original = from_uri(item.uri)
        name = f"{number:06d}{original.suffix}"
        if archives.split(original) is None:
            (folder / name).symlink_to(original)
        else:
            (folder / name).write_bytes(archives.read(original))
        lines.append(json.dumps({"file": name, "texts": said}) + "\n")
    (folder / "captions.jsonl").write_text("".join(lines), encoding="utf-8", newline="\n")
