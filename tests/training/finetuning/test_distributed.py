"""Two processes on CPUs, started by torchrun, compute what one computes of the joined batch."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from retrieval.training.finetuning.distributed import Team, gathered
from retrieval.training.finetuning.recipe import Task

HERE = Path(__file__).parent
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone"]


def run(*command: str) -> None:
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.fixture(scope="module")
def results(folders: dict[Task, Path], tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What one process found, and what each of two did."""
    out = tmp_path_factory.mktemp("results")
    arguments = (str(HERE / "rank.py"), str(folders["match"].parent), str(out))
    run(*TORCHRUN, *arguments)
    run(sys.executable, *arguments)
    return [torch.load(out / f"{name}.pt", weights_only=True) for name in ("0-of-1", "0-of-2", "1-of-2")]


@pytest.mark.stress
@pytest.mark.parametrize("case", ["match 0", "match 8", "caption 0", "vqa 0"])
def test_losses_and_gradients_of_two_processes_are_those_of_one_with_the_joined_batch(
    results: list[dict[str, Any]], case: str
) -> None:
    one, first, second = (result[case] for result in results)
    assert one.keys() == first.keys() == second.keys()
    assert sum(name.startswith("gradient") for name in one) > 20
    for name, value in one.items():
        assert torch.allclose(value, first[name], atol=1e-5), name
        assert torch.allclose(value, second[name], atol=1e-5), name


def test_where_the_first_process_fails_it_alone_says_why(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "from retrieval.training.finetuning.distributed import joined\n"
        "def fail():\n"
        "    raise ValueError('the disk is full')\n"
        "with joined('cpu') as team:\n"
        "    team.meet()\n"
        "    team.first(fail)\n"
    )
    settings = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(HERE.parents[2])}
    command = [*TORCHRUN, "--tee=3", str(program)]  # every line begins with the process that said it
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=settings)
    assert done.returncode != 0
    said = done.stdout + done.stderr
    assert "ValueError: the disk is full" in said
    assert "Connection closed" not in said
    assert not [line for line in said.splitlines() if line.startswith("[default1]:") and "Error" in line]


def test_a_process_of_its_own_gathers_its_own_rows() -> None:
    rows = torch.ones(2, 3, requires_grad=True)
    assert gathered(rows) is rows
    team = Team(0, 1, torch.device("cpu"))
    assert team.is_first
    assert team.first(lambda: 5) == 5
    assert team.mean(torch.tensor(2.0)).item() == 2.0
