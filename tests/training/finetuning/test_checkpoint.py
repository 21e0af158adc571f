from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from retrieval.errors import TrainingBroken
from retrieval.training.finetuning.checkpoint import BEFORE, LAST, read_state, save_state


def state(number: int) -> dict[str, object]:
    return {"number": number, "weights": torch.full((1000,), float(number))}


def test_a_state_is_read_as_it_was_saved(tmp_path: Path) -> None:
    assert read_state(tmp_path) == (None, None)
    save_state(state(1), tmp_path)
    found, damage = read_state(tmp_path)
    assert found is not None
    assert damage is None
    assert found["number"] == 1
    assert torch.equal(found["weights"], torch.ones(1000))


def test_two_generations_are_kept(tmp_path: Path) -> None:
    for number in (1, 2, 3):
        save_state(state(number), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [BEFORE, LAST]
    assert torch.load(tmp_path / BEFORE, weights_only=True)["number"] == 2


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "gone"])
def test_a_broken_state_gives_way_to_the_one_before(tmp_path: Path, damage: str) -> None:
    save_state(state(1), tmp_path)
    save_state(state(2), tmp_path)
    content = bytearray((tmp_path / LAST).read_bytes())
    if damage == "gone":
        (tmp_path / LAST).unlink()
    else:
        content[len(content) // 2] ^= 0xFF  # in the weights
        kept = {"cut": content[: len(content) // 2], "flipped": content, "empty": b""}[damage]
        (tmp_path / LAST).write_bytes(kept)
    found, said = read_state(tmp_path)
    assert found is not None
    assert found["number"] == 1
    assert (said is None) is (damage == "gone")


def test_where_no_state_is_whole_one_line_says_so(tmp_path: Path) -> None:
    save_state(state(1), tmp_path)
    save_state(state(2), tmp_path)
    for name in (LAST, BEFORE):
        (tmp_path / name).write_bytes(b"no checkpoint")
    with pytest.raises(TrainingBroken, match=r"checkpoint\.pt cannot be read.*checkpoint\.before\.pt") as raised:
        read_state(tmp_path)
    assert "\n" not in str(raised.value)


def test_a_log_that_cannot_be_written_is_one_line_that_names_it(tmp_path: Path) -> None:
    code = f"""
import resource
from pathlib import Path
from retrieval.errors import TrainingNotWritten
from retrieval.training.finetuning.journal import Journal
resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
try:
    with Journal(Path({str(tmp_path)!r}), size=0, step=0, tensorboard=False) as journal:
        for step in range(1, 9):
            journal.write_step(step, {{"epoch": 1, "step": step, "itc": 0.5}})
except TrainingNotWritten as error:
    print(step, error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"3 {tmp_path / 'losses.jsonl'} could not be written")
    assert done.stderr == ""


def test_a_disk_that_fills_up_leaves_the_last_state_whole(tmp_path: Path) -> None:
    save_state(state(1), tmp_path)
    # A limit on the size of files stops the write in the middle, as a full disk does.
    code = f"""
import resource, torch
from pathlib import Path
from retrieval.errors import TrainingNotWritten
from retrieval.training.finetuning.checkpoint import save_state
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
try:
    save_state({{"number": 2, "weights": torch.zeros(100_000)}}, Path({str(tmp_path)!r}))
except TrainingNotWritten as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.count("\n") == 1
    assert "could not be written ([Errno 27] File too large)" in done.stdout  # not what torch makes of it
    assert [path.name for path in tmp_path.iterdir()] == [LAST]
    found, damage = read_state(tmp_path)
    assert found is not None
    assert (found["number"], damage) == (1, None)
