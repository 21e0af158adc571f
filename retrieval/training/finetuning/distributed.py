"""Several processes, started by torchrun: who is who, and gathering tensors so that gradients find their way back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch import distributed as dist

T = TypeVar("T")

LONGEST_WAIT = timedelta(hours=12)
"""How long the other processes wait while the first one evaluates."""


@dataclass(frozen=True)
class Team:
    """The processes of a run: this one's number, how many there are, and the device of this one."""

    rank: int
    size: int
    device: torch.device

    @property
    def is_first(self) -> bool:
        """Whether this process writes files and speaks to the user."""
        return self.rank == 0

    def first(self, work: Callable[[], T]) -> T:
        """Let the first process do something while the others wait, and give everyone its result.

        Where that raises, the others leave without a word: the first one has said what was wrong.
        """
        if self.size == 1:
            return work()
        outcome: list[Any] = [None, False]
        if self.is_first:
            try:
                outcome = [work(), True]
            except Exception:
                dist.broadcast_object_list(outcome, src=0, device=self.device)
                raise
        dist.broadcast_object_list(outcome, src=0, device=self.device)
        result, is_done = outcome
        if not is_done:
            raise SystemExit(1)
        return result  # type: ignore[no-any-return]

    def meet(self) -> None:
        """Wait until every process has come here."""
        if self.size > 1:
            dist.barrier()

    def mean(self, value: Tensor) -> Tensor:
        """The mean of a tensor over all processes, without gradients."""
        value = value.detach().clone()
        if self.size > 1:
            dist.all_reduce(value)
        return value / self.size


@contextmanager
def joined(device: str) -> Iterator[Team]:
    """Join the processes that torchrun started; a process of its own is a team of one.

    `device` is auto, cpu or cuda; CPUs speak gloo, GPUs nccl, and every process takes the GPU of its local rank.
    """
    kind = device if device != "auto" else ("cuda" if torch.cuda.is_available() else "cpu")
    if not dist.is_torchelastic_launched():
        yield Team(0, 1, torch.device(kind))
        return
    place = torch.device(kind)
    if kind == "cuda":
        place = torch.device("cuda", dist.get_node_local_rank())
        torch.cuda.set_device(place)
    dist.init_process_group("nccl" if kind == "cuda" else "gloo", timeout=LONGEST_WAIT)
    try:
        yield Team(dist.get_rank(), dist.get_world_size(), place)
    finally:
        dist.destroy_process_group()


def gathered(rows: Tensor) -> Tensor:
    """Rows `[n, ...]` of every process, in the order of ranks, `[n * processes, ...]`; differentiable."""
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return rows
    result: Tensor = _Gather.apply(rows)  # type: ignore[no-untyped-call]
    return result


class _Gather(torch.autograd.Function):
    """all_gather whose gradient is the sum of what every process wants of a row (as BLIP's ITM gathers pictures)."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        """Collect the rows of all processes."""
        ctx.count = len(rows)
        parts = [torch.empty_like(rows) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, rows.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        """Add up what all processes say, and keep this one's rows."""
        total = gradients[0].contiguous().clone()
        dist.all_reduce(total)
        start = dist.get_rank() * ctx.count
        return total[start : start + ctx.count]
