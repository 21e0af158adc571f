"""The loop: epochs of steps, a measure after each, the best model kept, and a state to go on from after a kill."""

from __future__ import annotations

import hashlib
import time
import warnings
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import ExitStack, closing, nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from retrieval.errors import TrainingBroken, TrainingDiffers, TrainingDiverged
from retrieval.models.preprocess import normalise
from retrieval.training.finetuning.checkpoint import State, read_state, save_state
from retrieval.training.finetuning.distributed import Team
from retrieval.training.finetuning.examples import Example, Examples, Plan
from retrieval.training.finetuning.journal import Journal, has_tensorboard
from retrieval.training.finetuning.loading import View, stacks
from retrieval.training.finetuning.measure import GOALS, Measure
from retrieval.training.finetuning.recipe import Recipe
from retrieval.training.finetuning.results import occupied, put_in_place, remove, write_report
from retrieval.training.finetuning.start import Start
from retrieval.training.finetuning.tasks import AnyTask, Batch, task_for
from retrieval.training.rates import alpha_at, rate_share

WARMUP_SHARE = 0.05
BETAS = (0.9, 0.999)
TYPES = {"float32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class Watch(Protocol):
    """Who watches a run."""

    def begin(self, what: str, total: int) -> None:
        """Start a chapter of `total` steps."""
        ...

    def advance(self, count: int) -> None:
        """Note that `count` steps more are done."""
        ...


@dataclass
class Progress:
    """How far a run is: complete epochs, complete steps of the next, bytes of the log, and what was measured.

    `history[e]` are the measures after epoch e, those of the start first; `best` is the epoch whose model is kept.
    """

    epoch: int = 0
    step: int = 0
    log_size: int = 0
    best: int = 0
    history: list[dict[str, float]] = field(default_factory=list)


@dataclass(frozen=True)
class Run:
    """Everything that a training needs: what to do, to which model, with what, where, and who is told.

    `measure` judges a model folder; None, where nothing is held out, keeps the last epoch's model.
    """

    recipe: Recipe
    start: Start
    examples: Examples
    folder: Path
    team: Team
    measure: Measure | None
    watch: Watch
    say: Callable[[str], None]
    threads: int = 2
    save_seconds: float = 300.0


def finetune(run: Run) -> dict[str, Any]:
    """Train, or go on with training, in the run's folder, and give the report that is also written there.

    `checkpoint.pt` holds the state, `losses.jsonl` a line per step, `tensorboard/` the curves, `model/` the model of
    the best epoch, `report.json` what came out. The same run goes on after a kill, with the same losses.
    """
    with torch.random.fork_rng(devices=[run.team.device] if run.team.device.type == "cuda" else []):
        return _Training(run).finish()


class _Training:
    """A run under way: the weights, the optimiser, and how far they are."""

    def __init__(self, run: Run) -> None:
        self._run, self._recipe, self._team = run, run.recipe, run.team
        recipe, examples = run.recipe, run.examples.train
        self._plan = Plan.of(
            len(examples),
            batch=recipe.batch,
            accumulate=recipe.accumulate,
            processes=run.team.size,
            seed=recipe.seed,
        )
        self._steps = self._plan.steps * recipe.epochs
        self._warmup = round(WARMUP_SHARE * self._steps) if recipe.warmup is None else recipe.warmup
        self._task = task_for(recipe, run.start, examples).to(run.team.device)
        self._optimiser = optimiser_for(self._task, recipe)
        self._scaler = torch.amp.GradScaler(run.team.device.type, enabled=recipe.precision == "fp16")
        self._model: nn.Module = self._task
        if run.team.size > 1:
            self._model = _shared(self._task)
        self._progress = Progress()
        self._saved = time.monotonic()
        self._journal: Journal | None = None

    def finish(self) -> dict[str, Any]:
        """Go from wherever the run is to its end."""
        with ExitStack() as held:
            self._team.first(lambda: held.enter_context(occupied(self._run.folder)))
            self._resume()
            if self._team.is_first:
                self._journal = held.enter_context(self._open_journal())
            while True:
                if len(self._progress.history) <= self._progress.epoch:
                    self._judge()
                if self._is_over():
                    break
                self._train_epoch()
            report = self._report()
            self._team.first(lambda: write_report(report, self._run.folder))
            return report

    # An epoch

    def _train_epoch(self) -> None:
        progress, steps = self._progress, self._plan.steps
        self._model.train()
        self._run.watch.begin("steps", steps - progress.step)
        with closing(self._batches()) as batches:
            for _ in range(progress.step, steps):
                self._step(batches)
                progress.step += 1
                if time.monotonic() - self._saved >= self._run.save_seconds:
                    self._save()
                self._advance()
        progress.epoch, progress.step = progress.epoch + 1, 0
        self._save()

    def _advance(self) -> None:
        """Tell who watches; where that is the moment to stop, what was done so far is kept."""
        try:
            self._run.watch.advance(1)
        except KeyboardInterrupt:
            self._save()
            raise

    def _batches(self) -> Generator[Batch, None, None]:
        """The batches of this epoch from the next step on; what is in them follows from seed, epoch and step."""
        recipe, plan, epoch = self._recipe, self._plan, self._progress.epoch
        order = plan.order(epoch)
        rows = slice(self._team.rank * plan.batch, (self._team.rank + 1) * plan.batch)
        parts = [(step, part) for step in range(self._progress.step, plan.steps) for part in range(plan.accumulate)]

        def joined(step: int, part: int) -> list[Example]:
            return [self._run.examples.train[number] for number in plan.joined(order, step, part)]

        def views(step: int, part: int) -> list[View]:
            seeds = [f"view {recipe.seed} {epoch} {step} {part} {place}" for place in range(rows.start, rows.stop)]
            return [
                View(self._run.examples.pictures[one.picture], seed if recipe.augment else None, not one.has_sides)
                for seed, one in zip(seeds, joined(step, part)[rows], strict=True)
            ]

        wanted = (views(step, part) for step, part in parts)
        with closing(stacks(wanted, size=self._run.start.image_size, threads=self._run.threads)) as pixels:
            for (step, part), stack in zip(parts, pixels, strict=True):
                yield Batch(
                    normalise(stack, device=str(self._team.device)),
                    joined(step, part),
                    rows,
                    alpha=alpha_at(recipe.alpha, epoch * plan.steps + step, plan.steps),
                    seed=_number("dice", recipe.seed, epoch, step, part),
                )

    def _step(self, batches: Iterator[Batch]) -> None:
        """One move of the optimiser."""
        recipe, progress = self._recipe, self._progress
        done = progress.epoch * self._plan.steps + progress.step
        rate = recipe.rate * rate_share(done, self._steps, self._warmup)
        for group in self._optimiser.param_groups:
            group["lr"] = rate
        self._task.prepare()
        self._optimiser.zero_grad()
        losses = self._losses(batches)
        self._check_finite(losses)
        self._scaler.unscale_(self._optimiser)
        norm = nn.utils.clip_grad_norm_(self._task.parameters(), recipe.clip)
        if not self._scaler.is_enabled():  # a scaler leaves such a step out by itself
            self._check_finite({"gradient": norm})
        self._scaler.step(self._optimiser)
        self._scaler.update()
        if self._journal is not None:
            values = {name: loss.item() for name, loss in losses.items()}
            self._journal.write_step(done + 1, {"epoch": progress.epoch + 1, "step": done + 1, **values, "rate": rate})

    def _check_finite(self, values: Mapping[str, torch.Tensor]) -> None:
        """Stop before the weights are spoiled and saved."""
        if not all(map(torch.isfinite, values.values())):
            said = ", ".join(f"{name} {value.item():g}" for name, value in values.items())
            raise TrainingDiverged(self._progress.epoch + 1, self._progress.step + 1, said)

    def _losses(self, batches: Iterator[Batch]) -> dict[str, torch.Tensor]:
        """Add up gradients over the parts of a step; give the mean losses over parts and processes."""
        parts = []
        for part in range(self._plan.accumulate):
            batch = next(batches)
            # Dropout follows from seed, step and process, so that a resumed run need not know what was drawn before.
            torch.manual_seed(_number("dropout", batch.seed, self._team.rank))
            is_last = part == self._plan.accumulate - 1
            wait = isinstance(self._model, DistributedDataParallel) and not is_last
            with self._model.no_sync() if wait else nullcontext():  # type: ignore[operator]
                with self._autocast():
                    losses = self._model(batch)
                total = torch.stack(list(losses.values())).sum() / self._plan.accumulate
                self._scaler.scale(total).backward()  # type: ignore[no-untyped-call]
            parts.append(losses)
        return {name: self._team.mean(torch.stack([part[name].detach() for part in parts]).mean()) for name in parts[0]}

    def _autocast(self) -> torch.autocast:
        precision = self._recipe.precision
        return torch.autocast(self._team.device.type, dtype=TYPES[precision], enabled=precision != "float32")

    # Between epochs

    def _judge(self) -> None:
        """Save the model as it is, measure it, and keep it where it is the best so far."""
        progress, run = self._progress, self._run
        folder = run.folder / f"epoch-{progress.epoch:04d}"

        def judged() -> tuple[dict[str, float], bool]:
            run.start.save(folder)
            try:
                measures = run.measure(folder) if run.measure else {}
                is_best = self._is_best(measures)
                if is_best:
                    put_in_place(folder, run.folder / "model")
                return measures, is_best
            finally:
                remove(folder)

        measures, is_best = self._team.first(judged)
        progress.history.append(measures)
        if is_best:
            progress.best = progress.epoch
        if self._journal is not None:
            self._journal.write_epoch(progress.epoch * self._plan.steps, measures)
        self._save()

    def _is_best(self, measures: dict[str, float]) -> bool:
        if not measures or not self._progress.history:
            return True
        name, more_is_better = GOALS[self._recipe.task]
        best = self._progress.history[self._progress.best][name]
        return measures[name] > best if more_is_better else measures[name] < best

    def _is_over(self) -> bool:
        patience, progress = self._recipe.patience, self._progress
        is_tired = patience is not None and progress.epoch - progress.best >= patience
        return progress.epoch >= self._recipe.epochs or is_tired

    def _report(self) -> dict[str, Any]:
        run, progress = self._run, self._progress
        return {
            "task": self._recipe.task,
            "model": str(run.folder / "model"),
            "examples": {"train": len(run.examples.train), "validation": len(run.examples.validation)},
            "epochs": progress.epoch,
            "steps": progress.epoch * self._plan.steps,
            "best_epoch": progress.best,
            "before": progress.history[0],
            "after": progress.history[progress.best],
            "history": progress.history,
            "new_words": list(run.start.new_words),
            "processes": run.team.size,
            "recipe": asdict(self._recipe),
        }

    # Going on after a kill

    def _identity(self) -> dict[str, Any]:
        """What has to be the same for a run to go on."""
        words = " ".join(self._run.start.new_words)
        given = {"start": self._run.start.digest, "examples": self._run.examples.digest, "new words": words}
        return {**asdict(self._recipe), **given, "processes": self._team.size}

    def _resume(self) -> None:
        state, damage = read_state(self._run.folder)
        if damage is not None and self._team.is_first:
            self._run.say(f"{damage}; going on from the checkpoint before it")
        if state is not None:
            try:
                self._go_on_from(state)
            except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
                reason = f"its checkpoint is not that of such a training ({type(error).__name__})"
                raise TrainingBroken(self._run.folder, reason) from error
        self._team.meet()  # or else a fast process might write the next state while a slow one still reads this one

    def _go_on_from(self, state: State) -> None:
        then, now = state["identity"], self._identity()
        for name in now:
            if then.get(name) != now[name]:
                secret = name in ("start", "examples")
                what = f"other {name}" if secret else f"{name} {then.get(name)} there, {now[name]} here"
                raise TrainingDiffers(self._run.folder, what)
        self._task.load_state_dict(state["task"])
        self._optimiser.load_state_dict(state["optimiser"])
        self._scaler.load_state_dict(state["scaler"])
        self._progress = Progress(**state["progress"])

    def _save(self) -> None:
        self._saved = time.monotonic()
        if self._journal is None:
            return
        self._progress.log_size = self._journal.sync()
        state = {
            "identity": self._identity(),
            "progress": asdict(self._progress),
            "task": self._task.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "scaler": self._scaler.state_dict(),
        }
        save_state(state, self._run.folder)

    def _open_journal(self) -> Journal:
        progress, tensorboard = self._progress, has_tensorboard()
        if not tensorboard:
            self._run.say("TensorBoard is not installed (pip install 'sightline[train]'); losses.jsonl has the losses")
        done = progress.epoch * self._plan.steps + progress.step
        return Journal(self._run.folder, size=progress.log_size, step=done, tensorboard=tensorboard)


def optimiser_for(task: AnyTask, recipe: Recipe) -> torch.optim.AdamW:
    """AdamW as ALBEF and BLIP fine-tune with; as in ALBEF, biases and norms do not decay, nor does the temperature."""
    trained = [weight for weight in task.parameters() if weight.requires_grad]
    groups: list[dict[str, Any]] = [
        {"params": [weight for weight in trained if weight.ndim > 1], "weight_decay": recipe.weight_decay},
        {"params": [weight for weight in trained if weight.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=recipe.rate, betas=BETAS)


def _shared(task: AnyTask) -> DistributedDataParallel:
    """A task whose gradients all processes share; its buffers are the same everywhere and need not travel."""
    with warnings.catch_warnings():
        # torch 2.13 gives the option another name, which earlier ones do not know.
        warnings.simplefilter("ignore", FutureWarning)
        return DistributedDataParallel(task, broadcast_buffers=False)


def _number(*parts: object) -> int:
    """A number of 63 bits that follows from what it is for."""
    digest = hashlib.sha256(" ".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
