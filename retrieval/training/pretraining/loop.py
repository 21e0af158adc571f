"""The training loop: phases in order, a log of losses, checkpoints that the same call continues from."""

from __future__ import annotations

import json
import logging
import math
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from retrieval.training.blip import Models, Size, fresh_models, inherit_matcher, open_models, save_models
from retrieval.training.pretraining.batches import Batches
from retrieval.training.pretraining.phases import AnswerPhase, CaptionPhase, MatchPhase, Phase, SeePhase, Sight
from retrieval.training.rates import rate_share
from retrieval.training.world.render import draw_ahead
from retrieval.training.world.vocabulary import Words, vocabulary, words

log = logging.getLogger(__name__)

PHASES = ("see", "match", "caption", "vqa")


@dataclass(frozen=True)
class Recipe:
    """Everything that decides what a run computes. Steps, rates and batches are those of see, match, caption, vqa."""

    seed: int = 1
    batches: tuple[int, int, int, int] = (128, 64, 64, 64)
    steps: tuple[int, int, int, int] = (2500, 6000, 2000, 2500)
    rates: tuple[float, float, float, float] = (1e-3, 8e-4, 8e-4, 8e-4)
    itc_alone: float = 0.0
    warmup: int = 100
    weight_decay: float = 0.05
    clip: float = 1.0
    half: bool = False
    save_every: int = 200
    size: Size = field(default_factory=Size)


def train(
    recipe: Recipe, out: Path, *, device: torch.device, minutes: float | None = None, start: Path | None = None
) -> bool:
    """Train, or go on with training, in the folder `out`: whether every phase is done.

    A new run begins with random weights, or with the matcher of an earlier one in the folder `start`.

    `checkpoint.pt` holds weights, optimiser, phase and step; `losses.jsonl` the losses; `models/` the three folders,
    written at the end of each phase and when `minutes` are over.
    """
    out.mkdir(parents=True, exist_ok=True)
    tokens = vocabulary(words())
    models = fresh_models(recipe.size, tokens, seed=recipe.seed)
    if start is not None:
        models.itm.load_state_dict(open_models(start).itm.state_dict())
    run = _Run(recipe, models, Words(tokens, torch.device("cpu")), out, device)
    draw_ahead(recipe.size.resolution)
    deadline = math.inf if minutes is None else time.monotonic() + 60 * minutes
    done = all(run.finish(phase, deadline) for phase in range(run.resume(), len(PHASES)))
    save_models(run.models, out / "models")
    return done


class _Run:
    """The models in training, and the state of the phase that they are in."""

    def __init__(self, recipe: Recipe, models: Models, tokens: Words, out: Path, device: torch.device) -> None:
        self.models = models
        self._recipe, self._words, self._out, self._device = recipe, tokens, out, device
        self._state: dict[str, Any] | None = None
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(recipe.seed)
            self._sight = Sight(recipe.size.width).to(device)
        for model in models.by_name().values():
            model.to(device)

    def resume(self) -> int:
        """Read the checkpoint, if there is one: the phase to go on with."""
        path = self._out / "checkpoint.pt"
        if not path.exists():
            return 0
        self._state = torch.load(path, map_location=self._device, weights_only=True)
        for name, model in self.models.by_name().items():
            model.load_state_dict(self._state["models"][name])
        self._sight.load_state_dict(self._state["sight"])
        self._forget_later_losses(self._state["phase"], self._state["step"])
        return int(self._state["phase"])

    def finish(self, number: int, deadline: float) -> bool:
        """Train a phase to its end: False where the deadline comes first."""
        start, seconds = 0, 0.0
        state = self._state if self._state is not None and self._state["phase"] == number else None
        if state is None and number >= PHASES.index("caption"):
            inherit_matcher(self.models.by_name()[PHASES[number]], self.models.itm)
        phase = self._phase(number)
        optimiser = self._optimiser(phase.trained, self._recipe.rates[number])
        if state is not None:
            phase.trained.load_state_dict(state["trained"])
            optimiser.load_state_dict(state["optimiser"])
            start, seconds = state["step"], state["seconds"]
        steps = self._recipe.steps[number]
        since = time.monotonic() - seconds
        for step, batch in zip(range(start, steps), self._drawn(number, start), strict=True):
            self._step(number, phase, optimiser, step, batch.to(self._device))
            late = time.monotonic() > deadline
            if late or (step + 1) % self._recipe.save_every == 0 or step + 1 == steps:
                self._save(number, step + 1, phase, optimiser, time.monotonic() - since)
            if late:
                return step + 1 == steps
        log.info("%s: %d steps in %.0f s", PHASES[number], steps, time.monotonic() - since)
        return True

    def _drawn(self, number: int, start: int) -> Any:
        """The batches of a phase from a step on, drawn by a process of its own while the models learn."""
        recipe = self._recipe
        batches = Batches(
            PHASES[number],
            self._words,
            seed=recipe.seed,
            size=recipe.batches[number],
            resolution=recipe.size.resolution,
            steps=recipe.steps[number],
        )
        return torch.utils.data.DataLoader(
            batches, batch_size=None, sampler=range(start, len(batches)), num_workers=1, prefetch_factor=4
        )

    def _forget_later_losses(self, number: int, step: int) -> None:
        """Drop from the log what a killed run had done after its last checkpoint: it is done again."""
        path = self._out / "losses.jsonl"
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        kept = [line for line in lines if (PHASES.index(line["phase"]), line["step"]) < (number, step)]
        path.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8", newline="\n")

    def _phase(self, number: int) -> Phase:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self._recipe.seed)
            phase = self._make_phase(number)
        phase.trained.to(self._device)
        return phase

    def _make_phase(self, number: int) -> Phase:
        dtype = torch.bfloat16 if self._recipe.half else torch.float32
        match PHASES[number]:
            case "see":
                return SeePhase(self.models.itm, self._sight, dtype)
            case "match":
                matching_from = round(self._recipe.itc_alone * self._recipe.steps[number])
                return MatchPhase(
                    self.models.itm,
                    self._sight,
                    dtype,
                    enc=self._words["[ENC]"],
                    seed=self._recipe.seed,
                    matching_from=matching_from,
                )
            case "caption":
                return CaptionPhase(self.models.caption, dtype)
            case _:
                return AnswerPhase(self.models.vqa, dtype)

    def _optimiser(self, trained: nn.Module, rate: float) -> torch.optim.AdamW:
        weights = [weight for weight in trained.parameters() if weight.ndim > 1]
        others = [weight for weight in trained.parameters() if weight.ndim <= 1]
        groups: list[dict[str, Any]] = [
            {"params": weights, "weight_decay": self._recipe.weight_decay},
            {"params": others},
        ]
        return torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.98), weight_decay=0.0, fused=True)

    def _step(self, number: int, phase: Phase, optimiser: torch.optim.AdamW, step: int, batch: Any) -> None:
        began = time.monotonic()
        share = rate_share(step, self._recipe.steps[number], self._recipe.warmup)
        for group in optimiser.param_groups:
            group["lr"] = self._recipe.rates[number] * share
        losses = phase.losses(batch, step)
        optimiser.zero_grad()
        losses.total.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(phase.trained.parameters(), self._recipe.clip)
        optimiser.step()
        parts = {name: round(value, 4) for name, value in losses.parts.items()}
        line = {"phase": PHASES[number], "step": step, "seconds": round(time.monotonic() - began, 3), **parts}
        with (self._out / "losses.jsonl").open("a", encoding="utf-8") as lines:
            lines.write(json.dumps(line) + "\n")
        if step % 50 == 0:
            log.info("%s", line)

    def _save(self, number: int, step: int, phase: Phase, optimiser: torch.optim.AdamW, seconds: float) -> None:
        state = {
            "phase": number,
            "step": step,
            "seconds": seconds,
            "models": {name: model.state_dict() for name, model in self.models.by_name().items()},
            "sight": self._sight.state_dict(),
            "trained": phase.trained.state_dict(),
            "optimiser": optimiser.state_dict(),
        }
        written = self._out / "checkpoint.tmp"
        torch.save(state, written)
        written.replace(self._out / "checkpoint.pt")
