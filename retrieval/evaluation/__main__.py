"""Recall of a score matrix at the command line: `python -m retrieval.evaluation SCORES.npy INDEX.json`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from retrieval.errors import BadMatrix
from retrieval.evaluation.matrix import open_matrix, ranks, recalls, table

FAILED = 2


class _Parser(argparse.ArgumentParser):
    """Says in one line what is wrong."""

    def error(self, message: str) -> NoReturn:
        self.exit(FAILED, f"error: {message}; {self.prog} --help says more\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Print recall at 1, 5 and 10 in both directions, and give the exit code."""
    given = _parser().parse_args(arguments)
    try:
        matrix = open_matrix(given.scores, given.index)
    except BadMatrix as error:
        sys.stderr.write(f"error: {error}\n")
        return FAILED
    if given.json:
        found = json.dumps({name: recalls(ranked) for name, ranked in ranks(matrix).items()})
    else:
        found = table(matrix)
    sys.stdout.write(f"{found}\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="python -m retrieval.evaluation",
        description="Recall at 1, 5 and 10 of a matrix of scores, in both directions and in percent. A wrong item "
        "stands before every right item of the same score.",
    )
    parser.add_argument("scores", metavar="SCORES.npy", type=Path, help="images x captions, greater is better")
    parser.add_argument(
        "index",
        metavar="INDEX.json",
        type=Path,
        help="images, captions, and caption_owner: the row of each caption's image",
    )
    parser.add_argument("--json", action="store_true", help="print recall alone, as JSON")
    return parser


if __name__ == "__main__":
    sys.exit(main())
