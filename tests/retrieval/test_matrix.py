"""Recall of score matrices through the door of the command line, small enough to count by hand."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from retrieval.evaluation.__main__ import main
from retrieval.evaluation.matrix import CELLS_AT_ONCE, Index, Matrix, ranks, recalls

REFERENCE = Path(__file__).parents[2] / "../shared/data/eval_refs/retrieval_recall"

# Two images, three captions; the second image has the last two. Caption 2 is scored the same by both images.
SCORES = np.array([[0.9, 0.2, 0.5], [0.1, 0.8, 0.5]], dtype=np.float32)
OWNERS = [0, 1, 1]


def saved(folder: Path, scores: Any, owners: Sequence[Any], images: int | None = None) -> tuple[str, str]:
    """Write a matrix and its index in their layout, and give the two paths."""
    np.save(folder / "scores.npy", np.asarray(scores))
    index = {
        "images": [{"image": f"{i}.jpg"} for i in range(len(scores) if images is None else images)],
        "captions": [f"caption {i}" for i in range(len(owners))],
        "caption_owner": list(owners),
    }
    (folder / "index.json").write_text(json.dumps(index))
    return str(folder / "scores.npy"), str(folder / "index.json")


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    """Run the command with --json and read what it prints."""
    assert main([*arguments, "--json"]) == 0
    said = capsys.readouterr()
    assert said.err == ""
    return json.loads(said.out)


def complaint(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Run the command where it must fail, and read the one line that it says."""
    assert main([*arguments, "--json"]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("error: ")
    assert said.err.count("\n") == 1
    return said.err


def test_recall_is_printed_in_percent_and_by_direction(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # Both images find a caption of theirs first. Captions 0 and 1 find their image first, caption 2 is tied.
    found = printed(capsys, *saved(tmp_path, SCORES, OWNERS))
    assert found == {
        "i2t": {"R@1": 100.0, "R@5": 100.0, "R@10": 100.0},
        "t2i": {"R@1": 100 * 2 / 3, "R@5": 100.0, "R@10": 100.0},
    }


def test_the_reference_matrix_has_the_recall_of_the_authors_scorer(capsys: pytest.CaptureFixture[str]) -> None:
    scores = REFERENCE / "coco_open_tfidf_sim_images_x_captions.npy"
    if not scores.exists():
        pytest.skip("the reference scores are not here: they belong to no checkout")
    found = printed(capsys, str(scores), str(REFERENCE / "coco_open_index.json"))
    rounded = {side: [round(value, 4) for value in values.values()] for side, values in found.items()}
    assert rounded == {"i2t": [76.3158, 94.7368, 98.6842], "t2i": [75.7895, 96.8421, 98.1579]}


def test_a_constant_matrix_has_no_more_than_one_nth(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = printed(capsys, *saved(tmp_path, np.ones((20, 40)), [i // 2 for i in range(40)]))
    assert found == {side: {"R@1": 0.0, "R@5": 0.0, "R@10": 0.0} for side in ("i2t", "t2i")}
    found = printed(capsys, *saved(tmp_path, np.zeros((6, 6)), range(6)))
    assert found["t2i"] == {"R@1": 0.0, "R@5": 0.0, "R@10": 100.0}


def test_an_image_without_captions_is_a_candidate_and_no_query(tmp_path: Path) -> None:
    scores = np.array([[0.5, 0.5], [0.9, 0.1], [0.1, 0.9]])
    found = ranks(Matrix(scores, Index(3, np.array([0, 2]))))
    assert {name: ranked.tolist() for name, ranked in found.items()} == {"i2t": [2, 1], "t2i": [2, 1]}


def test_captions_of_an_image_need_not_stand_together() -> None:
    found = ranks(Matrix(np.array([[9, 1, 8], [2, 3, 1]]), Index(2, np.array([1, 0, 1]))))
    assert {name: ranked.tolist() for name, ranked in found.items()} == {"i2t": [3, 2], "t2i": [2, 2, 2]}


@pytest.mark.parametrize("fill", [-100.0, -np.inf])
def test_what_was_not_scored_counts_as_missed(fill: float, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scores = np.full((30, 30), fill, dtype=np.float32)
    scores[:15, :15] = np.eye(15)
    found = printed(capsys, *saved(tmp_path, scores, range(30)))
    assert found == {side: {"R@1": 50.0, "R@5": 50.0, "R@10": 50.0} for side in ("i2t", "t2i")}


@pytest.mark.parametrize("kind", ["float16", "float64", ">f4", "int8", "uint64", "bool"])
def test_numbers_of_any_real_type_are_scores(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = printed(capsys, *saved(tmp_path, np.eye(12).astype(kind), range(12)))
    assert found["i2t"]["R@1"] == found["t2i"]["R@1"] == 100.0


def test_a_matrix_in_fortran_order_is_read_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert printed(capsys, *saved(tmp_path, np.asfortranarray(SCORES), OWNERS)) == printed(
        capsys, *saved(tmp_path, SCORES, OWNERS)
    )


def test_a_matrix_of_several_blocks_is_ranked_as_one() -> None:
    n = 1200
    assert n * n > CELLS_AT_ONCE
    scores = np.random.default_rng(0).integers(-50, 50, size=(n, n)).astype(np.int8)
    own = scores.diagonal()
    found = ranks(Matrix(scores, Index(n, np.arange(n))))
    assert (found["i2t"] == (scores >= own[:, None]).sum(axis=1)).all()
    assert (found["t2i"] == (scores >= own).sum(axis=0)).all()


def test_percent_are_as_the_authors_divide() -> None:
    assert recalls(np.array([1] * 29 + [6] * 71)) == {"R@1": 29.0, "R@5": 29.0, "R@10": 100.0}


def test_a_table_shows_the_authors_sort_beside_ours(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(saved(tmp_path, SCORES, OWNERS)) == 0
    heads, images, captions, last = capsys.readouterr().out.splitlines()
    assert heads.split("  ")[-1].strip() == "authors' R@10"
    assert images.split()[3:9] == ["2", "100.00", "100.00", "100.00", "1.0000", "1"]
    assert captions.split()[3:9] == ["3", "66.67", "100.00", "100.00", "0.8333", "1"]
    assert last == "mean recall 94.44; equal scores count as missed"


def test_nan_is_named_by_its_cell(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scores = SCORES.copy()
    scores[1, 2] = np.nan
    said = complaint(capsys, *saved(tmp_path, scores, OWNERS))
    assert "scores.npy: the score of image 1 and caption 2 (from 0) is NaN" in said


def test_a_matrix_of_another_shape_than_the_index_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = complaint(capsys, *saved(tmp_path, SCORES.T, OWNERS, images=2))
    assert "3 x 2 scores, but" in said
    assert "has 2 images and 3 captions: rows are images, columns are captions" in said
    assert "0 x 3 scores" in complaint(capsys, *saved(tmp_path, np.zeros((0, 3)), OWNERS, images=2))


@pytest.mark.parametrize(
    ("scores", "reason"),
    [
        (np.zeros(3), "not an array of shape [3]"),
        (np.zeros((2, 3, 1)), "not an array of shape [2, 3, 1]"),
        (np.zeros(()), "not an array of shape []"),
        (np.zeros((2, 3), dtype=np.complex64), "scores must be real numbers, not complex64"),
        (np.full((2, 3), "a"), "scores must be real numbers, not <U1"),
        (np.zeros((2, 3), dtype="M8[s]"), "scores must be real numbers, not datetime64[s]"),
        (np.full((2, 3), None), "no .npy file that can be read"),
    ],
)
def test_scores_are_a_matrix_of_real_numbers(
    scores: Any, reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = saved(tmp_path, SCORES, OWNERS)
    np.save(tmp_path / "scores.npy", scores, allow_pickle=True)
    assert reason in complaint(capsys, *paths)


def test_what_is_no_npy_file_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scores, index = saved(tmp_path, SCORES, OWNERS)
    whole = Path(scores).read_bytes()
    for content in (b"", b"0.1,0.2", whole[:-1], whole[:40], whole[:6]):
        Path(scores).write_bytes(content)
        assert "scores.npy: no .npy file" in complaint(capsys, scores, index)
    np.savez(tmp_path / "scores.npz", SCORES)
    assert "write one with numpy.save" in complaint(capsys, str(tmp_path / "scores.npz"), index)


def test_a_missing_file_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scores, index = saved(tmp_path, SCORES, OWNERS)
    assert "nowhere.npy: No such file" in complaint(capsys, str(tmp_path / "nowhere.npy"), index)
    assert "nowhere.json: No such file" in complaint(capsys, scores, str(tmp_path / "nowhere.json"))
    assert ": Is a directory" in complaint(capsys, str(tmp_path), index)
    assert r"'two\nlines': No such file" in complaint(capsys, "two\nlines", index)


@pytest.mark.parametrize(
    ("index", "reason"),
    [
        ("{", "no JSON: "),
        ("[1]", "must be a JSON object with images, captions and caption_owner"),
        ({"captions": [""], "caption_owner": [0]}, "has no list images"),
        ({"images": [0, 0], "caption_owner": [0]}, "has no list captions"),
        ({"images": [0, 0], "captions": [""]}, "has no list caption_owner"),
        ({"images": 2, "captions": [""], "caption_owner": [0]}, "has no list images"),
        ({"images": [0, 0], "captions": [], "caption_owner": []}, "has no captions"),
        (
            {"images": [0, 0], "captions": ["", ""], "caption_owner": [0]},
            "2 captions, but caption_owner names the image",
        ),
        (
            {"images": [0, 0], "captions": ["", ""], "caption_owner": [0, 2]},
            "caption_owner[1] is 2, which is not a row",
        ),
        (
            {"images": [0, 0], "captions": [""], "caption_owner": [-1]},
            "caption_owner[0] is -1, which is not a row from 0",
        ),
        ({"images": [0, 0], "captions": [""], "caption_owner": [True]}, "caption_owner[0] is true"),
        ({"images": [0, 0], "captions": [""], "caption_owner": [0.0]}, "caption_owner[0] is 0.0"),
        ({"images": [0, 0], "captions": [""], "caption_owner": ["0"]}, 'caption_owner[0] is "0"'),
        ({"images": [], "captions": [""], "caption_owner": [0]}, "has no images"),
    ],
)
def test_an_index_that_is_wrong_is_told_what_would_be_right(
    index: Any, reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scores, path = saved(tmp_path, SCORES, OWNERS)
    Path(path).write_text(index if isinstance(index, str) else json.dumps(index))
    assert f"index.json: {reason}" in complaint(capsys, scores, path)


@pytest.mark.parametrize("arguments", [[], ["scores.npy"], ["a", "b", "c"], ["a", "b", "--jsn"]])
def test_a_command_line_that_is_wrong_is_told_in_one_line(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    said = capsys.readouterr().err
    assert ended.value.code == 2
    assert said.startswith("error: ")
    assert said.count("\n") == 1


def test_the_command_needs_numpy_alone(tmp_path: Path) -> None:
    script = "import sys; from retrieval.evaluation.__main__ import main; main(); print(*sorted(sys.modules))"
    found = subprocess.run(
        [sys.executable, "-c", script, *saved(tmp_path, SCORES, OWNERS), "--json"],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    assert {"torch", "transformers", "sqlalchemy", "faiss", "click", "PIL"}.isdisjoint(found.stdout.split())
    assert json.loads(found.stdout.splitlines()[0])["i2t"]["R@1"] == 100.0
