"""TREC files: what is written is read again, and the measures of a file are those of trec_eval."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pytest

from retrieval.errors import BadTrec
from retrieval.evaluation.trec import (
    Judgement,
    Ranked,
    RunLine,
    from_trec_id,
    gather_qrels,
    gather_run,
    measure,
    measure_files,
    qrels_lines,
    read_qrels,
    read_run,
    run_lines,
    strictly_decreasing,
    trec_id,
    write_lines,
)

FIXTURES = Path(__file__).parents[2] / "../shared/data/eval_refs/ir_fixtures"


def written(path: Path, *lines: str) -> Path:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def fixture(name: str) -> Path:
    path = FIXTURES / name
    if not path.exists():
        pytest.skip("the runs and qrels of other programs are not here: they belong to no checkout")
    return path


@pytest.mark.parametrize("name", ["compat", "cwl"])
def test_files_have_the_measures_that_ir_measures_gives(name: str) -> None:
    expected = json.loads(fixture("expected.json").read_text())["aggregate"][name]
    found = measure_files(fixture(f"ir_measures_{name}.run"), fixture(f"ir_measures_{name}.qrels"))
    assert found.keys() == expected.keys()
    assert found == pytest.approx(expected, abs=1e-12, rel=0)


def test_files_of_another_program_are_read() -> None:
    run, qrels = gather_run(fixture("ranx_run.trec")), gather_qrels(fixture("ranx_qrels.trec"))
    scores = {query: dict(zip(ranked.items, ranked.scores, strict=True)) for query, ranked in run.items()}
    assert scores == json.loads(fixture("ranx_run.json").read_text())
    assert qrels == json.loads(fixture("ranx_qrels.json").read_text())
    assert measure(run, qrels)["nDCG@10"] == 1.0


def test_a_run_has_six_columns_and_qrels_have_four() -> None:
    assert list(run_lines([("a dog", [("dog.jpg", 0.5), ("my cat.jpg", 0.1)])], tag="blip")) == [
        "a%20dog Q0 dog.jpg 1 0.5 blip\n",
        "a%20dog Q0 my%20cat.jpg 2 0.1 blip\n",
    ]
    assert list(qrels_lines([("a dog", "dog.jpg", 1)])) == ["a%20dog 0 dog.jpg 1\n"]


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    page = [("b", 0.1 + 0.2), ("a", 1 / 3), ("ü/x y.jpg", -1e-20)]
    write_lines(tmp_path / "run", run_lines([("1", page), ("2", [])]))
    assert list(read_run(tmp_path / "run")) == [RunLine("1", trec_id(item), score) for item, score in page]
    write_lines(tmp_path / "qrels", qrels_lines([("1", "a", 2), ("1", "b", 0)]))
    assert list(read_qrels(tmp_path / "qrels")) == [Judgement("1", "a", 2), Judgement("1", "b", 0)]


@pytest.mark.parametrize(
    "name",
    ["plain.jpg", "a b", "100%", "%20", "tab\tline\n", "\u00a0\u3000\u2028", "\ufeffx", "日本語", "\udcff", "a\x00b"],
)
def test_an_id_holds_no_white_space_and_gives_the_name_back(name: str) -> None:
    identifier = trec_id(name)
    assert identifier.split() == [identifier]
    assert identifier.encode().split() == [identifier.encode()]
    assert from_trec_id(identifier) == name


def test_an_empty_name_makes_no_id() -> None:
    with pytest.raises(ValueError, match="an empty name makes no id"):
        trec_id("")


@pytest.mark.parametrize("score", [float("nan"), float("inf"), float("-inf")])
def test_a_score_that_is_no_number_is_not_written(score: float) -> None:
    with pytest.raises(ValueError, match=r"a run holds finite scores, not .* of item 'x' for query 'q'"):
        list(run_lines([("q", [("x", score)])]))


def test_lowered_scores_keep_the_order_in_any_program() -> None:
    lowered = strictly_decreasing([0.5, 0.5, 0.5 - 1e-12, 0.4])
    assert lowered[0] == 0.5
    assert all(above > below for above, below in pairwise(lowered))
    assert lowered == pytest.approx([0.5, 0.5, 0.5, 0.4], abs=1e-6)


def test_scores_that_differ_in_float32_are_left_alone() -> None:
    assert strictly_decreasing([3.0, 0.25, -1.0]) == [3.0, 0.25, -1.0]
    assert strictly_decreasing([]) == []


def test_equal_scores_are_ordered_by_id_and_the_last_comes_first(tmp_path: Path) -> None:
    qrels = written(tmp_path / "qrels", "q 0 b 1")
    assert measure_files(written(tmp_path / "run", "q Q0 a 1 0.5 t", "q Q0 b 2 0.5 t"), qrels)["RR"] == 1.0
    assert measure_files(written(tmp_path / "run", "q Q0 b 1 0.5 t", "q Q0 c 2 0.5 t"), qrels)["RR"] == 0.5


def test_scores_are_compared_in_float32(tmp_path: Path) -> None:
    run = written(tmp_path / "run", "q Q0 a 1 1.00000000002 t", "q Q0 b 2 1.00000000001 t")
    assert measure_files(run, written(tmp_path / "qrels", "q 0 a 1"))["RR"] == 0.5


def test_the_rank_and_the_order_of_lines_do_not_count(tmp_path: Path) -> None:
    run = written(tmp_path / "run", "q Q0 a 1 0.1 t", "r Q0 x 1 3 t", "", "q Q0 b 2 0.2 t")
    assert measure_files(run, written(tmp_path / "qrels", "q 0 b 1", "r 0 x 1"))["RR"] == 1.0


def test_a_judged_query_without_results_counts_0_and_one_without_judgements_not_at_all(tmp_path: Path) -> None:
    run = written(tmp_path / "run", "q Q0 a 1 0.9 t", "unjudged Q0 b 1 0.9 t")
    qrels = written(tmp_path / "qrels", "q 0 a 1", "silent 0 a 1")
    assert set(measure_files(run, qrels).values()) == {0.5, 0.1}
    assert measure_files(run, qrels)["P@5"] == 0.1


def test_a_query_without_a_relevant_item_counts_0(tmp_path: Path) -> None:
    run = written(tmp_path / "run", "q Q0 a 1 0.9 t")
    assert set(measure_files(run, written(tmp_path / "qrels", "q 0 a 0")).values()) == {0.0}


def test_success_and_recall_differ_where_several_items_are_relevant(tmp_path: Path) -> None:
    run = written(tmp_path / "run", "q Q0 a 1 0.9 t")
    found = measure_files(run, written(tmp_path / "qrels", "q 0 a 1", "q 0 b 1"))
    assert (found["Success@5"], found["R@5"]) == (1.0, 0.5)


def test_without_judgements_there_are_no_measures() -> None:
    assert measure({"q": Ranked()}, {}) == {}


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        (["q Q0 a 1 0.5 t", "q Q0 b 2 0.4"], "line 2: 5 columns, not the 6 of `query Q0 item rank score tag`"),
        (["q Q0 my cat 1 0.5 t"], "line 1: 7 columns, not the 6"),
        (["q Q0 a 1 high t"], "line 1: the score 'high' is not a finite number"),
        (["q Q0 a 1 nan t"], "line 1: the score 'nan' is not a finite number"),
        (["q Q0 a 1 0.5 t", "q Q0 a 2 0.4 t"], "query 'q' ranks item 'a' more than once"),
    ],
)
def test_a_run_that_is_wrong_is_told_by_its_line(lines: list[str], reason: str, tmp_path: Path) -> None:
    with pytest.raises(BadTrec) as told:
        gather_run(written(tmp_path / "my.run", *lines))
    assert reason in str(told.value)
    assert "my.run" in str(told.value)


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        (["q 0 a"], "line 1: 3 columns, not the 4 of `query 0 item grade`"),
        (["", "q 0 a yes"], "line 2: the grade 'yes' is not a whole number"),
        (["q 0 a 1", "q 0 a 2"], "query 'q' has two grades for item 'a'"),
        ([], "there is no judgement in it"),
    ],
)
def test_qrels_that_are_wrong_are_told_by_their_line(lines: list[str], reason: str, tmp_path: Path) -> None:
    with pytest.raises(BadTrec) as told:
        gather_qrels(written(tmp_path / "my.qrels", *lines))
    assert reason in str(told.value)
    assert "my.qrels" in str(told.value)


def test_a_file_that_is_not_there_or_not_text_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadTrec, match="nowhere: No such file"):
        gather_run(tmp_path / "nowhere")
    with pytest.raises(BadTrec, match="xx: File name too long"):
        gather_run(tmp_path / ("x" * 5000))
    with pytest.raises(BadTrec, match="embedded null byte"):
        gather_run(tmp_path / "a\0b")
    (tmp_path / "latin").write_bytes(b"q 0 a 1\nq 0 caf\xe9 1\n")
    with pytest.raises(BadTrec, match="latin, line 2: is not UTF-8"):
        gather_qrels(tmp_path / "latin")
