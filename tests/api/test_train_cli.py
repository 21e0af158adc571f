"""`sightline train`: a new noun, captions, answers, two processes, and what can be wrong with the input."""

from __future__ import annotations

import hashlib
import json
import os
import random
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from PIL import Image, ImageDraw

from api import Sightline
from api.cli import sightline as program
from retrieval.errors import PairsWithoutPicture
from retrieval.training.finetuning.examples import is_held_out
from retrieval.training.finetuning.recipe import DEFAULTS
from storage.lease import write_lease

Run = Callable[..., Result]

PAINTS = {"red": (220, 40, 40), "green": (40, 170, 60), "blue": (50, 80, 220), "yellow": (240, 210, 50)}
PAINTS |= {"purple": (150, 60, 190), "orange": (250, 140, 30)}
GROUNDS = ((235, 235, 235), (200, 220, 240), (225, 235, 205))


@pytest.fixture
def run(home: Path) -> Run:
    def invoke(*arguments: str) -> Result:
        return CliRunner().invoke(program, list(arguments), catch_exceptions=False)

    return invoke


def draw(noun: str, tint: str, rng: random.Random) -> Image.Image:
    """A wug is a ring, a dax a swarm of dots: things for which the model has neither word nor picture."""
    picture = Image.new("RGB", (128, 128), rng.choice(GROUNDS))
    radius = rng.randint(22, 40)
    x, y = rng.randint(radius, 128 - radius), rng.randint(radius, 128 - radius)
    pen = ImageDraw.Draw(picture)
    if noun == "wug":
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), outline=PAINTS[tint], width=radius // 2)
    else:
        for x, y in [(rng.randint(6, 122), rng.randint(6, 122)) for _ in range(9)]:
            pen.ellipse((x - 6, y - 6, x + 6, y + 6), fill=PAINTS[tint])
    return picture


def write_shapes(folder: Path, *, each: int) -> Path:
    """Draw wugs and daxes in six tints, `each` times, with captions.jsonl and questions.jsonl (beside the folder)."""
    folder.mkdir()
    rng, captions, questions = random.Random(0), [], []
    for noun in ("wug", "dax"):
        for tint in PAINTS:
            for _ in range(each):
                name = f"{len(captions):04d}.png"
                draw(noun, tint, rng).save(folder / name)
                captions.append({"file": name, "texts": [f"a {tint} {noun}"]})
                answers = [tint, tint, tint, "colour"]
                questions.append({"file": name, "question": "what colour is it?", "answers": answers})
    for path, lines in ((folder / "captions.jsonl", captions), (folder.with_name("questions.jsonl"), questions)):
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


@pytest.fixture
def shapes(tmp_path: Path) -> Path:
    return write_shapes(tmp_path / "shapes", each=2)


def train(run: Run, target: Path | str, out: Path, *options: str) -> Result:
    quick = ("--rate", "1e-3", "--batch", "6", "--epochs", "2", "--held-out", "0.3")
    return run("train", str(target), "--from", "postcards", "--out", str(out), *quick, *options)


@pytest.mark.stress
def test_a_new_noun_is_learned_and_found_by_search(run: Run, sightline: Sightline, tmp_path: Path) -> None:
    folder, out = write_shapes(tmp_path / "shapes", each=20), tmp_path / "out"
    options = (
        "--rate 1e-3 --batch 12 --epochs 5 --warmup 30 --held-out 0.25 --no-augment --dropout 0 --new-words --json"
    )
    done = run("train", str(folder), "--from", "postcards", "--out", str(out), *options.split())
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert report["new_words"] == ["wug", "dax"]
    before, after = report["before"], report["after"]
    # Without the words, tints alone tell pictures apart: one picture in two is right.
    assert before["text->image itm recall@1"] <= 0.7
    for direction in ("text->image", "image->text"):
        assert after[f"{direction} itm recall@1"] >= max(0.8, before[f"{direction} itm recall@1"] + 0.2)
    page = sightline.search(folder, "a red wug", k=1)
    assert page.stages == "names"  # the gallery that was trained on has no model of its own
    sightline.index(folder, gallery="wugs", model=report["model"])
    page = sightline.search("wugs", "a red wug", k=10)
    assert page.unknown_words == ()
    captions = {
        line["file"]: line["texts"][0] for line in map(json.loads, (folder / "captions.jsonl").read_text().splitlines())
    }
    found = [captions[hit.uri.rsplit("/", 1)[-1]] for hit in page]
    assert found.count("a red wug") >= 8


def test_a_matcher_is_trained_and_measured_in_both_directions(run: Run, shapes: Path, tmp_path: Path) -> None:
    done = train(run, shapes, tmp_path / "out", "--queue", "32", "--accumulate", "2", "--precision", "bf16")
    assert done.exit_code == 0, done.output
    assert "mean_recall" in done.stdout
    assert "text->image itm recall@1" in done.stdout
    assert "image->text itc recall@10" in done.stdout
    assert "--new-words gives them rows" in done.stderr
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "checkpoint.before.pt",
        "checkpoint.pt",
        "losses.jsonl",
        "model",
        "report.json",
        "tensorboard",
    ]


@pytest.mark.parametrize(
    ("task", "extra", "measure"), [("caption", [], "loss"), ("vqa", ["--questions", "questions.jsonl"], "accuracy")]
)
def test_captions_and_answers_are_trained(
    run: Run,
    shapes: Path,
    sightline: Sightline,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    task: str,
    extra: list[str],
    measure: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    done = train(run, shapes, tmp_path / "out", "--task", task, "--json", *extra)
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert list(report["before"]) == [measure]
    gain = report["after"][measure] - report["before"][measure]
    assert gain < -0.1 if task == "caption" else gain >= 0
    question = "what colour is it?" if task == "vqa" else None
    assert sightline.ask(shapes / "0000.png", question, model=report["model"]).text


@pytest.fixture
def captioned(run: Run, shapes: Path) -> Path:
    """The shapes as the gallery "shapes": half have the texts that were given, every one has a text by the model."""
    captions = shapes / "captions.jsonl"
    captions.write_text("".join(captions.read_text().splitlines(keepends=True)[::2]))
    assert run("index", str(shapes), "--gallery", "shapes", "--model", "postcards").exit_code == 0
    assert run("bootstrap", "shapes", "--write", "--threshold", "0").exit_code == 0
    return shapes


def without_given(run: Run, folder: Path) -> None:
    (folder / "captions.jsonl").unlink()
    assert run("index", str(folder), "--gallery", "shapes", "--model", "postcards").exit_code == 0


def test_texts_that_a_model_wrote_are_trained_on_where_that_is_asked_for_and_never_evaluated(
    run: Run, captioned: Path, tmp_path: Path
) -> None:
    given, both = (
        json.loads(train(run, "shapes", tmp_path / name, "--epochs", "1", "--json", *more).stdout)
        for name, more in (("given", []), ("both", ["--synthetic"]))
    )
    assert sum(given["examples"].values()) == 12
    # The model writes a text for each of 24 pictures; what it wrote of those held out is left aside.
    assert 12 < both["examples"]["train"] - given["examples"]["train"] < 24
    assert both["examples"]["validation"] == given["examples"]["validation"]
    assert both["before"] == given["before"]


def test_a_text_that_was_given_and_is_written_too_is_one_example(run: Run, captioned: Path, tmp_path: Path) -> None:
    options = ["--synthetic", "--held-out", "0", "--epochs", "1", "--json"]
    every = json.loads(train(run, "shapes", tmp_path / "first", *options).stdout)["examples"]["train"]
    assert every == 12 + 24
    with (captioned / "captions.jsonl").open("a") as captions:
        captions.write(json.dumps({"file": "0001.png", "texts": [written_of(run, captioned / "0001.png")]}) + "\n")
    assert run("index", str(captioned), "--gallery", "shapes").exit_code == 0
    assert json.loads(train(run, "shapes", tmp_path / "second", *options).stdout)["examples"]["train"] == every


def written_of(run: Run, picture: Path) -> str:
    return str(json.loads(run("ask", str(picture), "--model", "postcards", "--json").stdout)["text"])


def test_a_gallery_of_written_texts_alone_is_trained_on_without_evaluation(
    run: Run, captioned: Path, tmp_path: Path
) -> None:
    without_given(run, captioned)
    out = tmp_path / "out"
    one_line(train(run, "shapes", out), 2, "only pairs that a model wrote", "--synthetic")
    one_line(train(run, "shapes", out, "--synthetic"), 2, "--held-out 0 does without")
    assert not out.exists()
    done = train(run, "shapes", out, "--synthetic", "--held-out", "0", "--epochs", "1", "--json")
    assert json.loads(done.stdout)["examples"] == {"train": 24, "validation": 0}


def test_a_gallery_without_written_texts_is_said_to_have_none(run: Run, shapes: Path, tmp_path: Path) -> None:
    done = train(run, shapes, tmp_path / "out", "--synthetic", "--epochs", "1")
    assert done.exit_code == 0, done.output
    assert "no pairs that a model wrote" in done.stderr


@pytest.mark.stress
def test_the_same_command_again_tells_the_same(run: Run, shapes: Path, tmp_path: Path) -> None:
    first = train(run, shapes, tmp_path / "out", "--json")
    again = train(run, shapes, tmp_path / "out", "--json")
    assert json.loads(first.stdout) == json.loads(again.stdout)
    other = train(run, shapes, tmp_path / "out", "--seed", "5")
    assert other.exit_code == 1
    assert "seed 1 there, 5 here" in other.stderr


@pytest.mark.stress
def test_two_processes_have_the_losses_of_one_with_the_joined_batch(
    run: Run, shapes: Path, home: Path, tmp_path: Path
) -> None:
    still = ["--dropout", "0", "--epochs", "1", "--device", "cpu"]
    assert train(run, shapes, tmp_path / "one", *still).exit_code == 0
    code = tmp_path / "program.py"
    code.write_text("from api.cli import main\nmain()\n")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone", str(code)]
    options = ["--rate", "1e-3", "--batch", "3", "--held-out", "0.3", *still, "--json"]
    command = [*torchrun, "train", str(shapes), "--from", "postcards", "--out", str(tmp_path / "two"), *options]
    settings = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(command, env=settings, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(done.stdout)["processes"] == 2  # one of them speaks
    assert "FutureWarning" not in done.stderr
    one, two = (
        [json.loads(line) for line in (tmp_path / name / "losses.jsonl").read_text().splitlines()]
        for name in ("one", "two")
    )
    assert len(one) == len(two) > 1
    for line, other in zip(one, two, strict=True):
        assert line == pytest.approx(other, abs=1e-3)  # steps of AdamW magnify what sums of floats differ by
    assert one[0] == pytest.approx(two[0], abs=1e-5)


# What can be wrong with the input: one line, an exit code, and nothing left behind


def one_line(result: Result, exit_code: int, *parts: str) -> None:
    said = [line for line in result.stderr.splitlines() if line.startswith("sightline: ")]
    assert result.exit_code == exit_code, result.output
    assert len(said) == 1
    assert all(part in said[0] for part in parts), said[0]


def test_a_gallery_without_pairs_is_refused(run: Run, photos: Path, tmp_path: Path) -> None:
    one_line(train(run, photos, tmp_path / "out"), 1, "has no pairs", "captions.jsonl")
    assert not (tmp_path / "out").exists()


def test_texts_without_a_word_are_no_pairs(run: Run, shapes: Path, tmp_path: Path) -> None:
    captions = shapes / "captions.jsonl"
    lines = [{**json.loads(line), "texts": ["!!!", " . "]} for line in captions.read_text().splitlines()]
    captions.write_text("".join(json.dumps(line) + "\n" for line in lines))
    one_line(train(run, shapes, tmp_path / "out"), 1, "has no pairs")


def test_a_pair_whose_picture_is_gone_is_named(run: Run, shapes: Path, tmp_path: Path) -> None:
    assert run("index", str(shapes), "--gallery", "shapes").exit_code == 0
    (shapes / "0003.png").unlink()
    one_line(train(run, "shapes", tmp_path / "out"), 1, "0003.png", "index gallery 'shapes' again")
    assert train(run, shapes, tmp_path / "out").exit_code == 0  # a folder is indexed first


def test_a_folder_names_the_pictures_of_pairs_that_it_cannot_train_on(run: Run, shapes: Path, tmp_path: Path) -> None:
    (shapes / "notes.txt").write_text("no picture, and no caption speaks of it")
    (shapes / "0003.png").unlink()
    done = train(run, shapes, tmp_path / "one", "--epochs", "1", "--json")
    assert done.exit_code == 0, done.output
    gone = "0003.png (captions.jsonl names it, but there is no such file)"
    assert [line for line in done.stderr.splitlines() if "left out" in line] == [
        f"the picture of a pair is left out: {shapes}/{gone}"
    ]
    (shapes / "0001.png").write_bytes(b"rubbish")
    done = train(run, shapes, tmp_path / "two", "--epochs", "1", "--json")
    (said,) = [line for line in done.stderr.splitlines() if "left out" in line]
    assert said.startswith(f"2 pictures of pairs are left out, the first is {shapes}/0001.png (")
    assert sum(json.loads(done.stdout)["examples"].values()) == 22


def test_a_run_whose_folder_has_lost_a_picture_says_so_and_keeps_what_it_has(
    run: Run, shapes: Path, tmp_path: Path
) -> None:
    assert train(run, shapes, tmp_path / "out").exit_code == 0
    before = (tmp_path / "out" / "checkpoint.pt").read_bytes()
    (shapes / "0003.png").unlink()
    done = train(run, shapes, tmp_path / "out")
    one_line(done, 1, "other examples")
    assert "the picture of a pair is left out: " in done.stderr
    assert (tmp_path / "out" / "checkpoint.pt").read_bytes() == before


def test_a_folder_that_is_being_indexed_is_not_trained_on_by_half(
    run: Run, shapes: Path, sightline: Sightline, tmp_path: Path
) -> None:
    assert run("index", str(shapes), "--gallery", "shapes").exit_code == 0
    with write_lease(sightline.wiring.database, sightline.gallery("shapes")):
        one_line(train(run, shapes, tmp_path / "out"), 1, "is being written by another process")
    assert not (tmp_path / "out").exists()


class Deleting:
    """A progress bar whose owner deletes pictures once training begins."""

    def __init__(self, *pictures: Path) -> None:
        self.pictures = pictures

    def begin(self, what: str, total: int) -> None:
        for picture in self.pictures if what == "steps" else ():
            picture.unlink()

    def advance(self, count: int) -> None:
        pass


def test_a_held_out_picture_that_goes_while_training_is_named_for_fewer_pictures_are_another_measure(
    shapes: Path, sightline: Sightline, tmp_path: Path
) -> None:
    recipe = replace(DEFAULTS["match"], epochs=2, batch=6)
    held_out = [path for path in sorted(shapes.glob("*.png")) if is_held_out(digest(path), 0.3)]
    with pytest.raises(PairsWithoutPicture, match=held_out[0].name):
        sightline.train(
            shapes,
            start="postcards",
            out=tmp_path / "out",
            recipe=recipe,
            held_out=0.3,
            progress=Deleting(held_out[0]),
        )
    assert not (tmp_path / "out" / "validation").exists()
    assert (tmp_path / "out" / "model").is_dir()  # the start, measured before


def digest(picture: Path) -> str:
    return hashlib.sha256(picture.read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("not json", "not JSON"),
        ('["a"]', "not an object"),
        ('{"question": "what?", "answers": ["a"]}', 'neither "file" nor "item"'),
        ('{"file": "0001.png", "answers": ["red"]}', '"question" is missing'),
        ('{"file": "0001.png", "question": "what?", "answers": []}', '"answers" is missing'),
        ('{"file": "0001.png", "question": "what?", "answers": [3]}', '"answers" is missing'),
        ('{"file": "nothing.png", "question": "what?", "answers": ["red"]}', "has no picture 'nothing.png'"),
        ('{"item": 9999, "question": "what?", "answers": ["red"]}', "has no picture 9999"),
        ('{"file": "\\ud800.png", "question": "what?", "answers": ["red"]}', 'neither "file" nor "item"'),
        ('{"file": "0001.png", "question": "what \\ud800?", "answers": ["red"]}', '"question" is missing'),
    ],
)
def test_a_bad_question_is_told_with_its_line(run: Run, shapes: Path, tmp_path: Path, line: str, said: str) -> None:
    questions = tmp_path / "questions.jsonl"
    questions.write_text(questions.read_text() + f"\n{line}\n")
    result = train(run, shapes, tmp_path / "out", "--task", "vqa", "--questions", str(questions))
    one_line(result, 1, "questions.jsonl, line 26", said)


def test_an_item_id_names_a_picture_too(run: Run, shapes: Path, sightline: Sightline, tmp_path: Path) -> None:
    sightline.index(shapes, gallery="shapes", model="postcards")
    ids = [hit.id for hit in sightline.search("shapes", "a red car", k=24, rerank=False)]
    lines = [json.dumps({"item": i, "question": "what colour is it?", "answers": ["red"]}) + "\n" for i in ids]
    (tmp_path / "questions.jsonl").write_text("".join(lines))
    done = train(run, "shapes", tmp_path / "out", "--task", "vqa", "--questions", str(tmp_path / "questions.jsonl"))
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--task", "vqa"], "--task vqa needs --questions FILE"),
        (["--questions", "questions.jsonl"], "no other task takes it"),
        (["--task", "caption", "--queue", "8"], "--queue belongs to ITC"),
        (["--queue", "1000000000"], "--queue is at most 1000000 (BLIP: 57600), not 1000000000"),
        (["--alpha", "0.4"], "--alpha belongs to the momentum encoders, which --queue adds to --task match"),
        (["--momentum", "0.9", "--queue", "0"], "say --queue 57600 too, or leave --momentum out"),
        (["--task", "vqa", "--questions", "questions.jsonl", "--synthetic"], "--task vqa learns from questions"),
        (["--batch", "1"], "has nothing to compare a pair with"),
        (["--rate", "nan"], "--rate is nan"),
        (["--queue", "8", "--alpha", "nan"], "--alpha is nan"),
        (["--dropout", "nan"], "--dropout is nan"),
        (["--rate", "inf"], "--rate is inf"),
        (["--held-out", "1.5"], "a share from 0 to below 1"),
        (["--held-out", "0.001"], "holds out none"),
        (["--from", "hashing"], "hashing cannot be trained"),
        (["--from", "nothing"], "unknown model 'nothing'"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_written(
    run: Run, shapes: Path, tmp_path: Path, options: list[str], said: str
) -> None:
    one_line(train(run, shapes, tmp_path / "out", *options), 2, said)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("rank", "lines"), [("0", 1), ("1", 0)])
def test_of_torchruns_processes_the_first_one_says_what_is_wrong_with_the_command(
    run: Run, shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rank: str, lines: int
) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "one")
    monkeypatch.setenv("LOCAL_RANK", rank)
    done = train(run, shapes, tmp_path / "out", "--held-out", "1.5")
    assert done.exit_code == 2
    assert done.stderr.count("a share from 0 to below 1") == lines


def test_a_folder_among_the_pictures_is_refused(run: Run, shapes: Path) -> None:
    one_line(train(run, shapes, shapes / "out"), 2, "lies among the pictures")
    assert not (shapes / "out").exists()


def test_a_folder_that_holds_something_else_is_refused(run: Run, shapes: Path, tmp_path: Path) -> None:
    (tmp_path / "out" / "model").mkdir(parents=True)
    one_line(train(run, shapes, tmp_path / "out"), 2, "holds something else")
    assert (tmp_path / "out" / "model").is_dir()


@pytest.mark.stress
def test_a_disk_that_fills_up_is_one_line_and_the_same_command_goes_on(
    run: Run, shapes: Path, home: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    options = ["--from", "postcards", "--out", str(out), "--rate", "1e-3", "--batch", "6", "--epochs", "2"]
    limited = (
        "import resource, sys; from api.cli import main\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (12_000_000, 12_000_000))\n"  # the model fits, a checkpoint does not
        "main(sys.argv[1:])"
    )
    command = [sys.executable, "-c", limited, "train", str(shapes), *options, "--held-out", "0.3"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    (said,) = [line for line in done.stderr.splitlines() if "could not be written" in line]
    assert said.startswith("sightline: ")
    assert "Traceback" not in done.stderr
    assert list(out.glob("*.tmp")) == []
    assert train(run, shapes, out).exit_code == 0
