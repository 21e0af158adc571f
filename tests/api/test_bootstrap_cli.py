"""`sightline bootstrap` in a terminal: tables, JSON, and one line for what cannot be."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from api.cli import sightline
from retrieval.training.world.galleries import write_gallery

Run = Callable[..., Result]


@pytest.fixture
def run(home: Path) -> Run:
    def invoke(*arguments: str) -> Result:
        return CliRunner().invoke(sightline, list(arguments), catch_exceptions=False)

    return invoke


@pytest.fixture
def cards(tmp_path: Path, run: Run) -> Path:
    write_gallery(tmp_path / "cards", scenes=6, seed=5)
    assert run("index", str(tmp_path / "cards"), "--model", "postcards").exit_code == 0
    return tmp_path / "cards"


def one_line(result: Result, *words: str) -> bool:
    """Say whether a command failed with one line that holds some words."""
    line = result.stderr.removesuffix("\n")
    return result.exit_code in {1, 2} and "\n" not in line and all(word in line for word in words)


def test_the_most_doubted_pairs_come_first_and_nothing_is_stored(run: Run, cards: Path) -> None:
    lines = [{"file": "postcard-0001.png", "texts": ["a photograph of a parliament"]}]
    (cards / "captions.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    result = run("bootstrap", str(cards))
    assert result.exit_code == 0
    shown = result.stdout.splitlines()
    assert shown[0] == "cards: 6 pictures, captions by postcards, judged by postcards"
    assert shown[2:4] == ["given pairs: 0 trusted, 1 doubted", "Most doubted:"]
    assert shown[4].endswith("%  postcard-0001.png  a photograph of a parliament")
    assert shown[5] == "Nothing was stored; --write stores the captions that are believed."


def test_json_has_counts_and_the_rows_of_the_table(run: Run, cards: Path, tmp_path: Path) -> None:
    result = run("bootstrap", str(cards), "--json", "--write", "--out", str(tmp_path / "review.jsonl"))
    told = json.loads(result.stdout)
    rows = [json.loads(line) for line in (tmp_path / "review.jsonl").read_text().splitlines()]
    assert told["rows"] == rows
    assert (told["pictures"], told["looked_at"], told["missing"], told["threshold"]) == (6, 6, 0, 0.5)
    assert set(told["counts"]) == {"believed", "rejected", "trusted", "doubted"}
    assert told["added"] == told["counts"]["believed"]


def test_a_text_that_a_model_wrote_is_shown_as_such(run: Run, cards: Path) -> None:
    (cards / "captions.jsonl").unlink()
    assert run("bootstrap", str(cards), "--write", "--threshold", "0").exit_code == 0
    page = run("lookup", str(cards / "postcard-0001.png"), "--gallery", "cards", "-k", "1").stdout
    assert "(written by postcards)" in page


def test_a_review_of_another_gallery_is_said_to_be_unknown(run: Run, cards: Path, tmp_path: Path) -> None:
    table = tmp_path / "review.csv"
    table.write_text("item,text,kind,keep\n4711,a cat,doubted,no\n")
    result = run("bootstrap", "cards", "--apply", str(table))
    assert result.exit_code == 0
    assert "1 rows of the review are not known to cards" in result.stderr


def test_a_gallery_without_pairs_is_captioned_and_said_to_have_none(run: Run, cards: Path) -> None:
    (cards / "captions.jsonl").unlink()
    result = run("bootstrap", str(cards))
    assert result.exit_code == 0
    assert "gallery cards has no pairs to doubt; captions are written all the same\n" in result.stderr
    assert "given pairs: 0 trusted, 0 doubted" in result.stdout


def test_a_gallery_without_pictures_is_one_line(run: Run, cards: Path) -> None:
    for path in cards.iterdir():
        path.unlink()
    assert one_line(run("bootstrap", str(cards)), "'cards' has no pictures")


def test_a_gallery_without_a_model_or_a_matcher_is_one_line(run: Run, photos: Path) -> None:
    assert run("index", str(photos)).exit_code == 0
    assert one_line(run("bootstrap", "photos"), "no model", "a bootstrap needs")
    assert run("index", str(photos), "--model", "hashing").exit_code == 0
    assert one_line(run("bootstrap", "photos"), "hashing has no matcher")


@pytest.mark.parametrize(
    ("captioner", "said"),
    [
        ("blip-image-captioning-base", "the weights of blip-image-captioning-base are missing"),
        ("hashing", "hashing has no captioner"),
        ("nobody", "unknown model 'nobody'"),
    ],
)
def test_a_captioner_that_cannot_be_had_is_one_line(run: Run, cards: Path, captioner: str, said: str) -> None:
    assert one_line(run("bootstrap", "cards", "--captioner", captioner), said)


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--threshold", "1.5", "between 0 and 1"),
        ("--threshold", "nan", "between 0 and 1"),
        ("--out", "review.txt", ".csv or .jsonl"),
        ("--out", "nowhere/review.csv", "there is no folder"),
        ("--out", "cards/review.csv", "lies among the pictures"),
        ("--apply", "nothing.csv", "nothing.csv cannot be read"),
        ("--apply", "bad.csv", "line 2: no row of a review"),
        ("--apply", "maybe.csv", "line 3: keep is 'maybe'"),
        ("--apply", "kind.jsonl", "line 1: item is a number"),
        ("--apply", "bytes.jsonl", "bytes.jsonl cannot be read"),
    ],
)
def test_what_cannot_be_is_one_line(
    run: Run, cards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: str, value: str, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("bad.csv").write_text("one,two\n1,2\n")
    Path("maybe.csv").write_text("item,text,kind,keep\n1,a cat,doubted,no\n1,a cat,doubted,maybe\n")
    Path("kind.jsonl").write_text('{"item": 1, "text": "a cat", "kind": "true", "keep": ""}\n')
    Path("bytes.jsonl").write_bytes(b"\xff\xfe")
    assert one_line(run("bootstrap", str(cards), option, value), said)
