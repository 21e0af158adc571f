"""The sibling's training: three stretches in order, a log of losses, checkpoints that the same call continues from."""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from retrieval.training.rates import rate_share
from retrieval.training.sibling.batches import Lessons
from retrieval.training.sibling.models import (
    Sibling,
    SiblingSize,
    Tower,
    count_weights,
    fresh_sibling,
    inherit_queries,
    save_sibling,
)
from retrieval.training.sibling.prefix import LanguageStretch, PrefixStretch
from retrieval.training.sibling.qformer import QFormerStretch

log = logging.getLogger(__name__)

STRETCHES = ("qformer", "language", "prefix")


@dataclass(frozen=True)
class SiblingRecipe:
    """Everything that decides what a run computes, with its lessons. Steps and rates: qformer, language, prefix."""

    seed: int = 1
    steps: tuple[int, int, int] = (6000, 1500, 5000)
    rates: tuple[float, float, float] = (1e-3, 1e-3, 1e-3)
    warmup: int = 100
    weight_decay: float = 0.05
    clip: float = 1.0
    half: bool = False
    save_every: int = 200
    size: SiblingSize = field(default_factory=SiblingSize)


class Stretch(Protocol):
    """One stretch of training with its own optimiser."""

    @property
    def name(self) -> str:
        """The name in the log."""
        ...

    @property
    def trained(self) -> nn.Module:
        """Everything that the optimiser may change."""
        ...

    def losses(self, batch: Any, step: int) -> dict[str, Tensor]:
        """The losses of a step, by name; their sum is what is minimised."""
        ...


def train_sibling(
    recipe: SiblingRecipe,
    tower: Path,
    out: Path,
    *,
    lessons: Lessons,
    tokens: Sequence[str],
    device: torch.device,
    minutes: float | None = None,
    workers: int = 0,
    models: Path | None = None,
) -> bool:
    """Train, or go on with training, in the folder `out`: whether every stretch is done.

    `tower` is a folder of models as `save_models` writes it, `tokens` the WordPiece list of the world that `lessons`
    speak of. `checkpoint.pt` holds weights, optimiser, stretch and step; `losses.jsonl` the losses. The two folders are
    written when every stretch is done or `minutes` are over, into `models`, else into `out/models`: they name the
    tower's file by the way there, so they have to be written where they shall stay. `workers` processes draw the
    batches.
    """
    out.mkdir(parents=True, exist_ok=True)
    opened = Tower.open(tower)
    sibling = fresh_sibling(opened, recipe.size, tokens, seed=recipe.seed)
    log.info("weights beside the tower: %s", count_weights(sibling))
    run = _Run(recipe, sibling, lessons, out, device, workers)
    deadline = math.inf if minutes is None else time.monotonic() + 60 * minutes
    done = all(run.finish(number, deadline) for number in range(run.resume(), len(STRETCHES)))
    save_sibling(sibling, models or out / "models", tower=opened.file)
    return done


class _Run:
    """The models in training, and the state of the stretch that they are in."""

    def __init__(
        self, recipe: SiblingRecipe, sibling: Sibling, lessons: Lessons, out: Path, device: torch.device, workers: int
    ) -> None:
        self._recipe, self._sibling, self._lessons = recipe, sibling, lessons
        self._out, self._device, self._workers = out, device, workers
        self._state: dict[str, Any] | None = None
        for model in sibling.by_name().values():
            model.to(device)

    def resume(self) -> int:
        """Read the checkpoint, if there is one: the stretch to go on with."""
        path = self._out / "checkpoint.pt"
        if not path.exists():
            return 0
        self._state = torch.load(path, map_location=self._device, weights_only=True)
        for name, model in self._sibling.by_name().items():
            model.load_state_dict(self._state["models"][name])
        self._forget_later_losses(self._state["stretch"], self._state["step"])
        return int(self._state["stretch"])

    def finish(self, number: int, deadline: float) -> bool:
        """Train a stretch to its end: False where the deadline comes first."""
        state = self._state if self._state is not None and self._state["stretch"] == number else None
        if state is None and STRETCHES[number] == "prefix":
            inherit_queries(self._sibling.llm, self._sibling.itm)
        stretch = self._stretch(number)
        optimiser = self._optimiser(stretch.trained, self._recipe.rates[number])
        start = 0
        if state is not None:
            stretch.trained.load_state_dict(state["trained"])
            optimiser.load_state_dict(state["optimiser"])
            start = state["step"]
        began, steps = time.monotonic(), self._recipe.steps[number]
        for step, batch in zip(range(start, steps), self._drawn(number, start), strict=True):
            self._step(number, stretch, optimiser, step, batch)
            late = time.monotonic() > deadline
            if late or (step + 1) % self._recipe.save_every == 0 or step + 1 == steps:
                self._save(number, step + 1, stretch, optimiser)
            if late:
                return step + 1 == steps
        log.info("%s: %d steps in %.0f s", STRETCHES[number], steps - start, time.monotonic() - began)
        self._state = None
        return True

    def _stretch(self, number: int) -> Stretch:
        sibling = self._sibling
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self._recipe.seed)
            made = self._make(STRETCHES[number], sibling)
        made.trained.to(self._device)
        return made

    def _make(self, name: str, sibling: Sibling) -> Stretch:
        match name:
            case "qformer":
                return QFormerStretch(sibling.itm, sibling.vocabulary, seed=self._recipe.seed)
            case "language":
                return LanguageStretch(sibling.llm, sibling.spelling)
            case _:
                return PrefixStretch(sibling.llm, sibling.spelling)

    def _drawn(self, number: int, start: int) -> Iterator[Any]:
        """The batches of a stretch from a step on."""
        draw = {"qformer": self._lessons.captioned, "language": self._lessons.texts, "prefix": self._lessons.told}
        steps = range(start, self._recipe.steps[number])
        loader = torch.utils.data.DataLoader(
            _Steps(draw[STRETCHES[number]]),
            batch_size=None,
            sampler=steps,
            num_workers=self._workers,
            collate_fn=_as_is,
        )
        return iter(loader)

    def _optimiser(self, trained: nn.Module, rate: float) -> torch.optim.AdamW:
        weights = [weight for weight in trained.parameters() if weight.ndim > 1]
        others = [weight for weight in trained.parameters() if weight.ndim <= 1]
        groups: list[dict[str, Any]] = [
            {"params": weights, "weight_decay": self._recipe.weight_decay},
            {"params": others},
        ]
        return torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.98), weight_decay=0.0)

    def _step(self, number: int, stretch: Stretch, optimiser: torch.optim.AdamW, step: int, batch: Any) -> None:
        began = time.monotonic()
        share = rate_share(step, self._recipe.steps[number], self._recipe.warmup)
        for group in optimiser.param_groups:
            group["lr"] = self._recipe.rates[number] * share
        with torch.autocast(self._device.type, dtype=torch.bfloat16, enabled=self._recipe.half):
            losses = stretch.losses(batch, step)
        optimiser.zero_grad()
        torch.stack(list(losses.values())).sum().backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(stretch.trained.parameters(), self._recipe.clip)
        optimiser.step()
        parts = {name: round(loss.item(), 4) for name, loss in losses.items()}
        line = {"stretch": stretch.name, "step": step, "seconds": round(time.monotonic() - began, 3), **parts}
        with (self._out / "losses.jsonl").open("a", encoding="utf-8") as lines:
            lines.write(json.dumps(line) + "\n")
        if step % 50 == 0:
            log.info("%s", line)

    def _save(self, number: int, step: int, stretch: Stretch, optimiser: torch.optim.AdamW) -> None:
        state = {
            "stretch": number,
            "step": step,
            "models": {name: model.state_dict() for name, model in self._sibling.by_name().items()},
            "trained": stretch.trained.state_dict(),
            "optimiser": optimiser.state_dict(),
        }
        written = self._out / "checkpoint.tmp"
        torch.save(state, written)
        written.replace(self._out / "checkpoint.pt")

    def _forget_later_losses(self, number: int, step: int) -> None:
        """Drop from the log what a killed run had done after its last checkpoint: it is done again."""
        path = self._out / "losses.jsonl"
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        kept = [line for line in lines if (STRETCHES.index(line["stretch"]), line["step"]) < (number, step)]
        path.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8", newline="\n")


class _Steps(torch.utils.data.Dataset[Any]):
    """The batches of a stretch by step."""

    def __init__(self, draw: Callable[[int], Any]) -> None:
        self._draw = draw

    def __getitem__(self, step: int) -> Any:
        return self._draw(step)


def _as_is(batch: Any) -> Any:
    return batch
