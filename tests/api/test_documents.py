"""What is written down stays true: the README's program runs, its commands exist, help texts are as stored."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from click.testing import CliRunner

from api.cli import COMMANDS, sightline
from retrieval.training.world.galleries import write_gallery

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
HELP = Path(__file__).with_name("help.txt")


def test_the_program_in_the_readme_runs(home: Path, tmp_path: Path) -> None:
    (program,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len([line for line in program.splitlines() if line.strip()]) <= 8
    write_gallery(tmp_path / "photos", scenes=12, seed=3)
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 30  # ten hits, three lines each


def test_every_command_in_the_readme_exists() -> None:
    named = set(re.findall(r"^sightline (\w+)", README, re.MULTILINE))
    assert named
    assert named <= set(COMMANDS)


def test_every_file_that_the_readme_points_to_is_there() -> None:
    targets = re.findall(r"\]\(([^)#]+)\)", README)
    assert [target for target in targets if not (ROOT / target).exists()] == []


def test_the_help_texts_are_those_stored() -> None:
    """Written anew by `WRITE_HELP=1 pytest tests/api/test_documents.py`."""
    runner = CliRunner()
    pages = [
        runner.invoke(sightline, [*command, "--help"], prog_name="sightline", terminal_width=80).output
        for command in ([], *([name] for name in COMMANDS))
    ]
    text = "\n".join(pages)
    if os.environ.get("WRITE_HELP"):
        HELP.write_text(text, encoding="utf-8")
    assert HELP.read_text(encoding="utf-8") == text
