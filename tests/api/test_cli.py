"""The command line: one line for what went wrong, JSON with promised names, help at once."""

from __future__ import annotations

import json
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from api.cli import COMMANDS, sightline
from api.cli.shared import Bar, notice, print_json
from api.errors import Stopped

HIT = {"id", "uri", "rank", "itc_similarity", "itc_rank", "itm_logit", "match_probability"}
Run = Callable[..., Result]


@pytest.fixture
def run(home: Path) -> Run:
    def invoke(*arguments: str) -> Result:
        return CliRunner().invoke(sightline, list(arguments), catch_exceptions=False)

    return invoke


@pytest.fixture
def indexed(run: Run, photos: Path) -> Path:
    assert run("index", str(photos), "--model", "hashing").exit_code == 0
    return photos


def parsed(result: Result) -> Any:
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def in_a_process(*arguments: str) -> subprocess.CompletedProcess[str]:
    code = "from api.cli import main; main()"
    return subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)


def test_help_names_every_command_and_imports_no_model_library() -> None:
    code = (
        "import sys; from api.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'transformers', 'faiss', 'sqlalchemy', 'fastapi', 'numpy', 'PIL', 'pydantic', 'pyarrow'}\n"
        "print('HEAVY', sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "HEAVY []" in done.stdout
    assert all(f"\n  {command} " in done.stdout for command in COMMANDS)


def test_a_folder_that_is_not_there_is_one_line_and_an_exit_code(home: Path, tmp_path: Path) -> None:
    done = in_a_process("index", str(tmp_path / "nothing"))
    assert done.returncode == 2
    assert done.stderr == f"sightline: nothing to index at {tmp_path / 'nothing'}\n"


def test_an_unknown_gallery_is_named_with_those_there_are(run: Run, indexed: Path) -> None:
    result = run("search", "phtos", "a cat")
    assert (result.exit_code, result.stderr) == (2, "sightline: no gallery is called 'phtos'; there are: photos\n")


@pytest.mark.parametrize("k", ["0", "-1", "1001"])
def test_k_out_of_range_says_what_would_be_right(run: Run, indexed: Path, k: str) -> None:
    result = run("search", "photos", "a cat", "-k", k)
    assert result.exit_code == 2
    assert result.stderr == f"sightline: k is {k}; it must lie between 1 and 1000\n"


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("SIGHTLINE_PORT", "abc", "SIGHTLINE_PORT is 'abc'"),
        ("SIGHTLINE_DATABASE_URL", "nonsense", "cannot be opened"),
        ("SIGHTLINE_DATABASE_URL", "oracle9://x", "cannot be opened"),
        ("SIGHTLINE_DATABASE_URL", "sqlite:////proc/none/x.db", "/proc/none"),
    ],
)
def test_a_wrong_setting_is_one_line(
    run: Run, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, said: str
) -> None:
    monkeypatch.setenv(variable, value)
    result = run("galleries")
    assert result.exit_code in {1, 2}
    assert said in result.stderr
    assert result.stderr.count("\n") == 1


def test_an_empty_query_is_refused(run: Run, indexed: Path) -> None:
    assert run("search", "photos", "  ").exit_code == 2
    assert run("search", "photos").stderr == "sightline: a query needs a text, a picture or both\n"


def test_an_unknown_model_says_what_would_be_right(run: Run, photos: Path) -> None:
    result = run("index", str(photos), "--model", "blip3")
    assert result.exit_code == 2
    assert "blip-itm-base-coco" in result.stderr
    assert result.stderr.count("\n") == 1


def test_weights_that_are_not_here_are_one_line_that_says_how_to_get_them(run: Run, photos: Path) -> None:
    result = run("index", str(photos), "--model", "blip-itm-base-coco")
    assert result.exit_code == 1
    assert "blip-itm-base-coco" in result.stderr
    assert "download" in result.stderr
    assert result.stderr.count("\n") == 1
    assert parsed(run("galleries", "--json")) == []


def test_a_picture_that_does_not_decode_is_named(run: Run, indexed: Path, tmp_path: Path) -> None:
    (tmp_path / "x.jpg").write_text("no picture")
    result = run("search", "photos", "--image", str(tmp_path / "x.jpg"))
    assert (result.exit_code, result.stderr) == (1, f"sightline: {tmp_path / 'x.jpg'}: not an image\n")


def test_a_hit_has_the_promised_names(run: Run, indexed: Path) -> None:
    page = parsed(run("search", "photos", "a cat", "-k", "2", "--json"))
    assert [hit["rank"] for hit in page["hits"]] == [1, 2]
    assert all(set(hit) >= HIT for hit in page["hits"])
    assert page["stages"] == "itc"


def test_galleries_are_a_list_with_the_promised_names(run: Run, indexed: Path) -> None:
    (gallery,) = parsed(run("galleries", "--json"))
    assert (gallery["name"], gallery["items"], gallery["model"], gallery["revision"]) == ("photos", 5, "hashing", 1)


def test_the_models_are_a_list_that_says_what_is_here(run: Run) -> None:
    models = {row["name"]: row for row in parsed(run("models", "--json"))}
    assert models["postcards"]["cached"]
    assert not models["blip-itm-base-coco"]["cached"]


def test_failed_files_are_listed_with_reasons_by_gallery_or_folder(run: Run, indexed: Path) -> None:
    (indexed / "notes.txt").write_text("buy milk")
    report = parsed(run("index", str(indexed), "--json"))
    assert [one["reason"] for one in report["failed"]] == ["not an image"]
    for target in ("photos", str(indexed)):
        (failed,) = parsed(run("index", "--failed", target, "--json"))
        assert (Path(failed["uri"]).name, failed["reason"]) == ("notes.txt", "not an image")


def test_searching_a_folder_indexes_what_changed(run: Run, indexed: Path) -> None:
    (indexed / "a.png").unlink()
    page = parsed(run("search", str(indexed), "a cat", "--json"))
    assert len(page["hits"]) == 4


def test_a_removed_gallery_is_forgotten_and_its_pictures_stay(run: Run, indexed: Path) -> None:
    assert parsed(run("galleries", "--remove", "photos", "--json")) == []
    assert len(list(indexed.iterdir())) == 5
    assert run("search", "photos", "a cat").exit_code == 2


def test_a_gallery_may_be_made_of_two_folders_but_not_of_one_inside_the_other(
    run: Run, indexed: Path, tmp_path: Path, paint: Any
) -> None:
    paint(tmp_path / "more" / "z.png", (3, 3, 3))
    paint(indexed / "below" / "y.png", (4, 4, 4))
    assert run("index", str(tmp_path / "more"), "--gallery", "photos").exit_code == 0
    assert parsed(run("galleries", "--json"))[0]["items"] == 6
    result = run("index", str(indexed / "below"), "--gallery", "photos")
    assert result.exit_code == 2
    assert "lie inside each other" in result.stderr


def test_a_gallery_s_name_wins_over_a_folder_of_that_name(
    run: Run, indexed: Path, tmp_path: Path, paint: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    paint(tmp_path / "elsewhere" / "photos" / "z.png")
    monkeypatch.chdir(tmp_path / "elsewhere")
    result = run("search", "photos", "a cat", "--json")
    assert len(json.loads(result.stdout)["hits"]) == 5
    assert "the folder of that name is ./photos" in result.stderr


def test_a_model_beside_a_gallery_s_own_is_refused_and_not_ignored(run: Run, indexed: Path) -> None:
    assert run("search", "photos", "a cat", "--model", "hashing").exit_code == 0
    result = run("search", "photos", "a cat", "--model", "postcards")
    assert result.exit_code == 2
    assert "built by model 'hashing', not by 'postcards'" in result.stderr


@pytest.mark.parametrize("arguments", [("ask", "/no/x.png"), ("lookup", "/no/x.png", "-g", "photos")])
def test_a_picture_that_is_not_there_is_named(run: Run, indexed: Path, arguments: tuple[str, ...]) -> None:
    assert run(*arguments).stderr == "sightline: there is no picture at /no/x.png\n"


@pytest.mark.parametrize(
    "arguments",
    [("ask", "\u00b2"), ("index", "~nobody-here/x"), ("search", "~nobody-here/x", "cat"), ("search", "photos", "!?"),
     ("search", "photos", "caf\udcff"), ("ask", "999")],
)  # fmt: skip
def test_odd_input_is_one_line(run: Run, indexed: Path, arguments: tuple[str, ...]) -> None:
    result = run(*arguments)
    assert result.exit_code in {1, 2}
    assert result.stderr.count("\n") == 1


def test_a_database_of_a_newer_program_is_named(run: Run, indexed: Path, home: Path) -> None:
    with sqlite3.connect(home / "sightline.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    result = run("galleries")
    assert "at schema 9999" in result.stderr
    assert "newer Sightline" in result.stderr


def test_a_device_that_is_not_there_is_named(run: Run, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIGHTLINE_DEVICE", "tpu")
    assert "SIGHTLINE_DEVICE" in run("index", str(photos), "--model", "hashing").stderr


def test_two_folders_of_one_name_become_two_galleries(run: Run, indexed: Path, tmp_path: Path, paint: Any) -> None:
    paint(tmp_path / "other" / "photos" / "z.png")
    report = parsed(run("index", str(tmp_path / "other" / "photos"), "--model", "hashing", "--json"))
    assert report["gallery"].startswith("photos-")
    assert len(parsed(run("galleries", "--json"))) == 2


def test_an_evaluation_without_pairs_says_what_it_needs(run: Run, indexed: Path) -> None:
    result = run("evaluate", "photos")
    assert result.exit_code == 1
    assert "captions.jsonl" in result.stderr


def test_an_evaluation_counts_what_the_pairs_say(run: Run, photos: Path) -> None:
    lines = [{"file": f"{name}.png", "texts": [f"picture {name}"]} for name in "abcde"]
    (photos / "captions.jsonl").write_text("\n".join(map(json.dumps, lines)))
    assert run("index", str(photos), "--model", "hashing").exit_code == 0
    evaluated = parsed(run("evaluate", "photos", "--json"))
    assert [(one["name"], one["queries"]) for one in evaluated["directions"]] == [
        ("text->image", 5),
        ("image->text", 5),
    ]
    # Five candidates and ten places: everything is found.
    assert all(one["before"]["recall@10"] == 1.0 for one in evaluated["directions"])
    assert all(one["after"] is None for one in evaluated["directions"])


def test_lookup_ranks_the_lines_of_a_file(run: Run, indexed: Path, tmp_path: Path) -> None:
    texts = tmp_path / "texts.txt"
    texts.write_text("a cat\n\na dog\n")
    arguments: Sequence[str] = ("lookup", str(indexed / "a.png"), "--texts", str(texts), "--model", "hashing")
    page = parsed(run(*arguments, "--json"))
    assert {hit["text"] for hit in page["hits"]} == {"a cat", "a dog"}
    texts.write_text("\n")
    assert run(*arguments).stderr == f"sightline: {texts} holds no text; give one per line\n"


def test_asking_a_model_that_cannot_answer_says_so(run: Run, indexed: Path) -> None:
    result = run("ask", str(indexed / "a.png"), "what is it")
    assert (result.exit_code, result.stderr) == (2, "sightline: the model hashing has no answerer\n")


def test_a_port_that_is_taken_is_named_with_a_way_out(run: Run, indexed: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = run("serve", "--port", port, "--no-demo")
    assert done.exit_code == 2
    assert f"port {port}, cannot be listened on" in done.stderr
    assert "--port N" in done.stderr


def test_sightline_s_own_files_are_no_pictures_of_a_gallery(run: Run, indexed: Path, home: Path) -> None:
    for folder in (home, home / "blobs"):
        folder.mkdir(exist_ok=True)
        done = run("index", str(folder), "--model", "hashing")
        assert done.exit_code == 2
        assert "Sightline's own files" in done.stderr


def test_who_cancels_a_commands_job_means_what_ctrl_c_does() -> None:
    with pytest.raises(KeyboardInterrupt), Bar():
        raise Stopped


def test_names_and_texts_cannot_steer_a_terminal(run: Run, photos: Path, paint: Any, tmp_path: Path) -> None:
    paint(photos / "\x1b[31m\x9b2J\u202e100%.png", (1, 2, 3))
    (photos / "\x1b[2Jbroken.png").write_text("no picture")
    (tmp_path / "texts").write_text("a \x1b]0;title\x07kite\nb \u202e c\n", encoding="utf-8")
    said = [
        run("index", str(photos), "--model", "hashing"),
        run("index", "--failed", "photos"),
        run("search", "photos", "anything"),
        run("search", "photos", "anything", "--json"),
        run("lookup", str(photos / "a.png"), "--texts", str(tmp_path / "texts"), "--model", "hashing"),
    ]
    assert all(line.isprintable() for one in said for line in (one.stdout + one.stderr).splitlines())
    assert "\ufffd[31m\ufffd2J\ufffd100%.png  ITC" in said[2].stdout
    assert "a \ufffd]0;title\ufffdkite" in said[4].stdout


def test_a_notice_keeps_its_lines_and_json_says_what_it_said(capsys: pytest.CaptureFixture[str]) -> None:
    notice("one\ntwo \x1b[31m\rthree")
    print_json({"text": "\x9b\u202e\x1b é 日本"})
    told = capsys.readouterr()
    assert told.err == "one\ntwo \ufffd[31m three\n"
    assert json.loads(told.out) == {"text": "\x9b\u202e\x1b é 日本"}
    assert "é 日本" in told.out
    assert all(line.isprintable() for line in told.out.splitlines())


def test_hits_of_a_dataset_are_shown_by_their_names(run: Run, photos: Path, tmp_path: Path) -> None:
    photos.rename(tmp_path / "images")
    (tmp_path / "list.csv").write_text("image,caption\na.png,a kite\n")
    assert run("index", str(tmp_path / "list.csv"), "--model", "hashing").exit_code == 0
    assert run("search", "list", "kite").stdout.startswith("  1  a.png  ITC")
