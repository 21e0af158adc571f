"""An evaluation of the size of COCO's test split, with random vectors and a stub matcher: memory stays bounded."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.stress, pytest.mark.timeout(1500)]

ROOT = Path(__file__).parent.parent.parent
GIGABYTE = 1e9


def test_5000_pictures_and_25000_texts_take_less_than_a_gigabyte_beyond_their_vectors() -> None:
    command = [sys.executable, str(ROOT / "benchmarks" / "evaluation.py")]
    said = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    pairs = re.search(r"(\d+) pairs", said)
    megabytes = re.search(r"memory beyond the vectors: (\d+) MB", said)
    assert pairs, said
    assert megabytes, said
    assert int(pairs[1]) >= 2 * 5_000 * 128
    assert int(megabytes[1]) * 1e6 < GIGABYTE
