"""Training in stretches, one after another, each with its own optimiser: a log of losses, checkpoints to go on from."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, is_dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from retrieval.errors import TrainingBroken, TrainingDiffers, TrainingNotWritten
from retrieval.training.rates import rate_share

log = logging.getLogger(__name__)


class Stretch(Protocol):
    """What one stretch of training minimises."""

    @property
    def trained(self) -> nn.Module:
        """Everything that the optimiser may change."""
        ...

    def losses(self, batch: Any, step: int) -> dict[str, Tensor]:
        """The losses of a step, by name; their sum is what is minimised."""
        ...


@dataclass(frozen=True)
class Plan:
    """A stretch to be: `make` gives it once its turn has come, `draw` the batch of a step.

    `inherit` comes before it, where it does not go on from a checkpoint.
    """

    name: str
    steps: int
    rate: float
    make: Callable[[], Stretch]
    draw: Callable[[int], Any]
    inherit: Callable[[], None] = lambda: None


@dataclass(frozen=True)
class Pace:
    """What the stretches of a run share: the optimiser's settings, the seed, and how often a checkpoint is written.

    `workers` processes draw the batches. `settings`, numbers and texts by name, mappings of them and lists, are what
    else decides what a run computes: in its folder only a run with the same ones goes on.
    """

    seed: int
    warmup: int
    weight_decay: float
    clip: float
    save_every: int
    workers: int = 0
    settings: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, recipe: Any, *, workers: int, **more: Any) -> Pace:
        """The pace of a recipe, a dataclass that has these settings among others; `more` is what else decides."""
        shared = {name: getattr(recipe, name) for name in ("seed", "warmup", "weight_decay", "clip", "save_every")}
        return cls(**shared, workers=workers, settings=settings_of(recipe, **more))


def settings_of(recipe: Any, **more: Any) -> dict[str, Any]:
    """The settings of a Pace by a recipe, a dataclass, and what is not in it; how often is saved decides nothing."""
    return {name: value for name, value in {**asdict(recipe), **more}.items() if name != "save_every"}


def stated(lessons: Any) -> dict[str, Any]:
    """What lessons are, as a setting: their kind, and what it was given."""
    given: dict[str, Any] = asdict(lessons) if is_dataclass(lessons) and not isinstance(lessons, type) else {}
    return {"kind": type(lessons).__name__, **given}


class Run:
    """Stretches in a folder. `checkpoint.pt` holds weights, optimiser, stretch and step; `losses.jsonl` the losses."""

    def __init__(
        self, plans: Sequence[Plan], kept: Mapping[str, nn.Module], out: Path, device: torch.device, pace: Pace
    ) -> None:
        """Prepare a run in a folder, or go on from its checkpoint; `kept` are the modules that checkpoints hold."""
        out.mkdir(parents=True, exist_ok=True)
        self._plans, self._kept, self._out, self._device, self._pace = plans, kept, out, device, pace
        self._names = [plan.name for plan in plans]
        self._state: dict[str, Any] | None = None
        for module in kept.values():
            module.to(device)
        if (out / "checkpoint.pt").exists():
            self._resume()
        else:
            (out / "losses.jsonl").unlink(missing_ok=True)  # a run that was killed before its first checkpoint

    def finish(self, deadline: float) -> bool:
        """Train what is left of every stretch, at least a step: False where the deadline (monotonic) comes first."""
        first = 0 if self._state is None else self._state["stretch"]
        return all(self._finish(number, deadline) for number in range(first, len(self._plans)))

    def _resume(self) -> None:
        state = self._read()
        with self._understood():
            self._check_same(state.get("identity"))
            for name, module in self._kept.items():
                module.load_state_dict(state["kept"][name])
            self._forget_later_losses(state["stretch"], state["step"])
        self._state = state

    def _read(self) -> dict[str, Any]:
        path = self._out / "checkpoint.pt"
        try:
            state: dict[str, Any] = torch.load(path, map_location=self._device, weights_only=True)
        except Exception as error:  # a damaged file raises whatever its damage makes it do
            raise TrainingBroken(self._out, f"{path} cannot be read ({type(error).__name__})") from error
        return state

    @contextmanager
    def _understood(self) -> Iterator[None]:
        """Say in one line of a whole checkpoint, or its log, that this run can do nothing with it."""
        try:
            yield
        except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
            reason = f"its checkpoint is not that of such a training ({type(error).__name__})"
            raise TrainingBroken(self._out, reason) from error

    def _identity(self) -> dict[str, Any]:
        """What has to be the same for a run to go on."""
        steps = {f"steps of {plan.name}": plan.steps for plan in self._plans}
        rates = {f"rate of {plan.name}": plan.rate for plan in self._plans}
        shared = {name: getattr(self._pace, name) for name in ("seed", "warmup", "weight_decay", "clip")}
        return {"stretches": ", ".join(self._names), **steps, **rates, **shared, **_flat(self._pace.settings)}

    def _check_same(self, then: Mapping[str, Any] | None) -> None:
        said = then or {}  # what a checkpoint of an older version does not say, it is believed to be
        for name, here in self._identity().items():
            if name in said and said[name] != here:
                raise TrainingDiffers(self._out, f"{name} {said[name]} there, {here} here")

    def _forget_later_losses(self, number: int, step: int) -> None:
        """Drop from the log what a killed run had done after its last checkpoint: it is done again."""
        path = self._out / "losses.jsonl"
        if not path.exists():
            return
        whole = path.read_text(encoding="utf-8").split("\n")[:-1]  # a line without an end was torn by the kill
        lines = [json.loads(line) for line in whole]
        kept = [line for line in lines if (self._names.index(line["stretch"]), line["step"]) < (number, step)]
        path.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8", newline="\n")

    def _finish(self, number: int, deadline: float) -> bool:
        plan = self._plans[number]
        state = self._state if self._state is not None and self._state["stretch"] == number else None
        if state is None:
            plan.inherit()
        stretch = self._make(plan)
        optimiser = self._optimiser(stretch.trained, plan.rate)
        start = 0
        if state is not None:
            with self._understood():
                stretch.trained.load_state_dict(state["trained"])
                optimiser.load_state_dict(state["optimiser"])
            start = state["step"]
        began = time.monotonic()
        for step, batch in zip(range(start, plan.steps), self._drawn(plan, start), strict=True):
            self._step(plan, stretch, optimiser, step, batch)
            late = time.monotonic() > deadline
            if late or (step + 1) % self._pace.save_every == 0 or step + 1 == plan.steps:
                self._save(number, step + 1, stretch, optimiser)
            if late:
                return step + 1 == plan.steps and number + 1 == len(self._plans)
        log.info("%s: %d steps in %.0f s", plan.name, plan.steps - start, time.monotonic() - began)
        self._state = None
        return True

    def _make(self, plan: Plan) -> Stretch:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self._pace.seed)
            stretch = plan.make()
        stretch.trained.to(self._device)
        return stretch

    def _drawn(self, plan: Plan, start: int) -> Iterator[Any]:
        """The batches of a stretch from a step on, drawn by other processes while the models learn."""
        workers = self._pace.workers
        return iter(
            torch.utils.data.DataLoader(
                _Steps(plan.draw),
                batch_size=None,
                sampler=range(start, plan.steps),
                num_workers=workers,
                prefetch_factor=4 if workers else None,
                collate_fn=_as_is,
            )
        )

    def _optimiser(self, trained: nn.Module, rate: float) -> torch.optim.AdamW:
        weights = [weight for weight in trained.parameters() if weight.ndim > 1]
        others = [weight for weight in trained.parameters() if weight.ndim <= 1]
        groups: list[dict[str, Any]] = [
            {"params": weights, "weight_decay": self._pace.weight_decay},
            {"params": others},
        ]
        return torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.98), weight_decay=0.0, fused=True)

    def _step(self, plan: Plan, stretch: Stretch, optimiser: torch.optim.AdamW, step: int, batch: Any) -> None:
        began = time.monotonic()
        for group in optimiser.param_groups:
            group["lr"] = plan.rate * rate_share(step, plan.steps, self._pace.warmup)
        losses = stretch.losses(batch, step)
        optimiser.zero_grad()
        torch.stack(list(losses.values())).sum().backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(stretch.trained.parameters(), self._pace.clip)
        optimiser.step()
        parts = {name: round(loss.item(), 4) for name, loss in losses.items()}
        line = {"stretch": plan.name, "step": step, "seconds": round(time.monotonic() - began, 3), **parts}
        with (self._out / "losses.jsonl").open("a", encoding="utf-8") as lines:
            lines.write(json.dumps(line) + "\n")
        if step % 50 == 0:
            log.info("%s", line)

    def _save(self, number: int, step: int, stretch: Stretch, optimiser: torch.optim.AdamW) -> None:
        state = {
            "identity": self._identity(),
            "stretch": number,
            "step": step,
            "kept": {name: module.state_dict() for name, module in self._kept.items()},
            "trained": stretch.trained.state_dict(),
            "optimiser": optimiser.state_dict(),
        }
        written = self._out / "checkpoint.tmp"
        try:
            with written.open("wb") as file:
                torch.save(state, file)
            written.replace(self._out / "checkpoint.pt")
        except (OSError, RuntimeError) as error:  # torch turns the system's errors into its own
            written.unlink(missing_ok=True)
            raise TrainingNotWritten(self._out / "checkpoint.pt", error) from error


class _Steps(torch.utils.data.Dataset[Any]):
    """The batches of a stretch by step."""

    def __init__(self, draw: Callable[[int], Any]) -> None:
        self._draw = draw

    def __getitem__(self, step: int) -> Any:
        return self._draw(step)


def _flat(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings without mappings among them: {"size": {"width": 8}} is {"size width": 8}."""
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping):
            flat |= {f"{name} {part}": one for part, one in _flat(value).items()}
        else:
            flat[name] = value
    return flat


def _as_is(batch: Any) -> Any:
    return batch
