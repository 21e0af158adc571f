"""Recall of a score matrix that any program wrote: images x captions, and an index that says whose each caption is.

The index is a JSON object: `images` has an entry per row of the matrix, `captions` one per column, and `caption_owner`
gives for each caption the row of its image, from 0. An image may have any number of captions; one without any is asked
for by nobody, but every caption has to pass it by.

Both directions go by the tie rule of `ranks`. The matrix is mapped and read in blocks, so one that is larger than the
memory can be measured.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from retrieval.errors import BadMatrix
from retrieval.evaluation.measures import CUTOFFS, mean_recall, median_rank, reciprocal_rank, success
from retrieval.evaluation.ranks import Int64, Right, Scores, authors_first_rights, first_rights

CELLS_AT_ONCE = 1 << 20
MAGIC = b"\x93NUMPY"
DIRECTIONS = {"i2t": "image to text", "t2i": "text to image"}


@dataclass(frozen=True)
class Index:
    """How many images there are, and the image of each caption: a row from 0, `int64 [captions]`."""

    images: int
    owners: Int64


@dataclass(frozen=True)
class Matrix:
    """Scores `[images, captions]`, greater is better, with their index."""

    scores: Scores
    index: Index


Rank = Callable[[Scores, Right], Int64]
"""Scores and right `[q, n]` to the place of each query's best right item."""


def open_matrix(scores: Path, index: Path) -> Matrix:
    """Open a matrix and its index; raises BadMatrix where one of them, or the two together, cannot be measured."""
    read = read_index(index)
    found = open_scores(scores)
    rows, columns = found.shape
    if (rows, columns) != (read.images, len(read.owners)):
        raise BadMatrix(
            scores,
            f"{rows} x {columns} scores, but {index} has {read.images} images and {len(read.owners)} captions: "
            "rows are images, columns are captions",
        )
    _refuse_nan(scores, found)
    return Matrix(found, read)


def open_scores(path: Path) -> Scores:
    """Map a matrix of real numbers, `[images, captions]`; raises BadMatrix."""
    try:
        with path.open("rb") as file:
            is_npy = file.read(len(MAGIC)) == MAGIC
    except OSError as error:
        raise BadMatrix(path, error.strerror or str(error)) from error
    if not is_npy:
        raise BadMatrix(path, "no .npy file; write one with numpy.save")
    try:
        # It refuses what is pickled, which would run a stranger's code. A bare array, not the subclass memmap.
        scores: Scores = np.asarray(np.lib.format.open_memmap(path, mode="r"))
    except Exception as error:
        # A header is a Python literal, and numpy lets out whatever Python's own parser raises.
        raise BadMatrix(path, f"no .npy file that can be read: {error}") from error
    if scores.dtype.kind not in "biuf":
        raise BadMatrix(path, f"scores must be real numbers, not {scores.dtype}")
    if scores.ndim != 2:
        raise BadMatrix(path, f"scores must be images x captions, not an array of shape {list(scores.shape)}")
    return scores


def read_index(path: Path) -> Index:
    """Read which image each caption belongs to; raises BadMatrix."""
    try:
        read = json.loads(path.read_bytes())
    except OSError as error:
        raise BadMatrix(path, error.strerror or str(error)) from error
    except (ValueError, RecursionError) as error:
        raise BadMatrix(path, f"no JSON: {error}") from error
    if not isinstance(read, dict):
        raise BadMatrix(path, "must be a JSON object with images, captions and caption_owner")
    images, captions, owners = (_list_of(path, read, name) for name in ("images", "captions", "caption_owner"))
    if not images or not captions:
        raise BadMatrix(path, f"has no {'captions' if images else 'images'}, so there is nothing to ask for")
    if len(owners) != len(captions):
        raise BadMatrix(path, f"{len(captions)} captions, but caption_owner names the image of {len(owners)}")
    for caption, owner in enumerate(owners):
        if type(owner) is not int or not 0 <= owner < len(images):
            right = f"a row from 0 to {len(images) - 1}"
            raise BadMatrix(path, f"caption_owner[{caption}] is {json.dumps(owner)[:40]}, which is not {right}")
    return Index(len(images), np.array(owners, dtype=np.int64))


def ranks(matrix: Matrix, rank: Rank = first_rights) -> dict[str, Int64]:
    """Give the place of every query's best right item, by direction; `rank` decides about equal scores.

    i2t has one query per image with captions (rows in their order), t2i one per caption.
    """
    owners = matrix.index.owners
    rows = np.arange(matrix.index.images)
    asked = np.unique(owners)
    return {
        "i2t": _ranks(matrix.scores, asked, lambda some: owners == some[:, None], rank),
        "t2i": _ranks(matrix.scores.T, np.arange(len(owners)), lambda some: rows == owners[some, None], rank),
    }


def recalls(ranked: Int64) -> dict[str, float]:
    """Recall at the usual cut-offs in percent, by the papers' names: R@1, R@5, R@10."""
    return {f"R@{k}": 100 * float(success(ranked, k).sum()) / len(ranked) for k in CUTOFFS}


def table(matrix: Matrix) -> str:
    """Draw a table of both directions: recall in percent, MRR, median rank, and recall by the authors' own sort."""
    ours, authors = ranks(matrix), ranks(matrix, authors_first_rights)
    heads = ["", "queries", *(f"R@{k}" for k in CUTOFFS), "MRR", "median rank", *(f"authors' R@{k}" for k in CUTOFFS)]
    body = [
        [
            DIRECTIONS[name],
            f"{len(ranked)}",
            *(f"{value:.2f}" for value in recalls(ranked).values()),
            f"{reciprocal_rank(ranked).mean():.4f}",
            f"{median_rank(ranked):g}",
            *(f"{value:.2f}" for value in recalls(authors[name]).values()),
        ]
        for name, ranked in ours.items()
    ]
    average = mean_recall(*(list(recalls(ranked).values()) for ranked in ours.values()))
    return "\n".join([*_aligned([heads, *body]), f"mean recall {average:.2f}; equal scores count as missed"])


def _ranks(scores: Scores, queries: Int64, right: Callable[[Int64], Right], rank: Rank) -> Int64:
    return np.concatenate([rank(*block) for block in _blocks(scores, queries, right)])


def _blocks(scores: Scores, queries: Int64, right: Callable[[Int64], Right]) -> Iterator[tuple[Scores, Right]]:
    """Give the scores of some queries at a time, and what is right for them."""
    step = max(1, CELLS_AT_ONCE // scores.shape[1])
    for start in range(0, len(queries), step):
        some = queries[start : start + step]
        yield scores[some], right(some)


def _refuse_nan(path: Path, scores: Scores) -> None:
    if scores.dtype.kind != "f":
        return
    step = max(1, CELLS_AT_ONCE // scores.shape[1])
    for start in range(0, len(scores), step):
        is_nan = np.isnan(scores[start : start + step])
        if is_nan.any():
            row, column = np.argwhere(is_nan)[0]
            raise BadMatrix(path, f"the score of image {start + row} and caption {column} (from 0) is NaN")


def _list_of(path: Path, index: dict[str, Any], name: str) -> list[Any]:
    found = index.get(name)
    if not isinstance(found, list):
        raise BadMatrix(path, f"has no list {name}: it must have images, captions and caption_owner")
    return found


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Put the first column to the left and the others to the right."""
    first, *others = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join([row[0].ljust(first), *(cell.rjust(width) for cell, width in zip(row[1:], others, strict=True))])
        for row in rows
    ]
