"""Downloading from a plain address, against a server on this machine that breaks off, forgets and lies."""

from __future__ import annotations

import base64
import errno
import hashlib
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import IO, Any

import pytest

from retrieval.errors import DownloadFailed
from retrieval.models.fetch import fetch

CONTENT = b"0123456789" * 10
OTHER = b"abcdefghij" * 10
COMMAND = """
import sys
from pathlib import Path
from retrieval.models.fetch import fetch
fetch(sys.argv[1], Path(sys.argv[2]))
"""


@dataclass(frozen=True)
class Answer:
    """How the server behaves for one request: it sends `sent` bytes at most, and `waits` before it hangs up."""

    content: bytes = CONTENT
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=lambda: {"ETag": '"one"'})
    sent: int | None = None
    announced: int | None = None
    knows_ranges: bool = True
    reads_conditions: bool = True
    waits: threading.Event | None = None


class Server(ThreadingHTTPServer):
    """Gives one answer after the other, the last one again and again, and keeps what it was asked."""

    daemon_threads = True
    answers: list[Answer]
    asked: list[str | None]

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/weights/model.pth"

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that was killed is no matter."""


class Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.server.asked.append(self.headers["Range"])
        answer = self.server.answers.pop(0) if len(self.server.answers) > 1 else self.server.answers[0]
        first, total = self._first(answer), len(answer.content)
        body = answer.content[first:] if answer.status == 200 else b""
        if first and first >= total:
            self._head(416, {"Content-Range": f"bytes */{total}", "Content-Length": "0"})
            return
        headers = {**answer.headers, "Content-Length": str(answer.announced or len(body))}
        if first:
            headers["Content-Range"] = f"bytes {first}-{total - 1}/{total}"
        self._head(206 if first else answer.status, headers)
        self.wfile.write(body[: answer.sent])
        if answer.waits is not None:
            answer.waits.wait(120)
        self.close_connection = self.close_connection or answer.sent is not None or answer.announced is not None

    def _first(self, answer: Answer) -> int:
        asked, condition = self.headers["Range"], self.headers["If-Range"]
        versions = [answer.headers.get(name, "W/") for name in ("ETag", "Last-Modified")]
        # A weak ETag is never the same, however it is spelt.
        is_same = condition in [version for version in versions if not version.startswith("W/")]
        is_whole = answer.status != 200 or not answer.knows_ranges or (answer.reads_conditions and not is_same)
        if asked is None or is_whole:
            return 0
        return int(asked.removeprefix("bytes=").removesuffix("-"))

    def _head(self, status: int, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pauses worth waiting for, and no proxy between here and here."""
    monkeypatch.setattr("retrieval.models.fetch.PAUSE_SECONDS", 0.001)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    server = Server(("127.0.0.1", 0), Handler)
    server.asked = []
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()

    def start(*answers: Answer) -> Server:
        server.answers = [*answers]
        return server

    yield start
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "files" / "model.pth"


def names(folder: Path) -> list[str]:
    """What lies in a folder; the lock may stay."""
    return sorted(path.name for path in folder.iterdir() if path.suffix != ".lock")


def failure(address: str, file: Path) -> str:
    with pytest.raises(DownloadFailed) as caught:
        fetch(address, file)
    message = str(caught.value)
    assert "\n" not in message
    assert address in message
    return message


def encoded(name: str, content: bytes) -> str:
    return base64.b64encode(hashlib.new(name, content).digest()).decode()


def poll(is_so: Callable[[], bool]) -> None:
    for _ in range(12_000):
        if is_so():
            return
        threading.Event().wait(0.01)
    pytest.fail("it never came to be so")


# ------------------------------------------------------------------------------------------------ whole, and resumed


def test_a_file_is_downloaded_whole_with_its_progress_shown(
    serve: Callable[..., Server], file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server = serve(Answer())
    fetch(server.address, file)
    assert file.read_bytes() == CONTENT
    assert server.asked == [None]
    assert names(file.parent) == ["model.pth"]
    said = capsys.readouterr()
    assert said.out == ""
    assert "model.pth" in said.err
    assert "100%" in said.err


def test_nothing_is_shown_where_it_is_to_be_quiet(
    serve: Callable[..., Server], file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fetch(serve(Answer()).address, file, quiet=True)
    assert capsys.readouterr().err == ""


def test_a_file_that_is_there_is_not_asked_for(serve: Callable[..., Server], file: Path) -> None:
    file.parent.mkdir()
    file.write_bytes(b"mine")
    server = serve(Answer())
    fetch(server.address, file)
    assert (file.read_bytes(), server.asked) == (b"mine", [])


def test_after_a_break_only_the_rest_is_asked_for(serve: Callable[..., Server], file: Path) -> None:
    server = serve(Answer(sent=30), Answer(sent=25), Answer())
    fetch(server.address, file)
    assert file.read_bytes() == CONTENT
    assert server.asked == [None, "bytes=30-", "bytes=55-"]


def test_a_server_without_etags_is_asked_for_the_rest_by_date(serve: Callable[..., Server], file: Path) -> None:
    dated = {"ETag": 'W/"weak"', "Last-Modified": "Thu, 01 Jan 2026 00:00:00 GMT"}
    server = serve(Answer(sent=30, headers=dated), Answer(content=OTHER, headers=dated))
    fetch(server.address, file)
    # Other content of the same date shows that the rest was sent, and not everything.
    assert file.read_bytes() == CONTENT[:30] + OTHER[30:]
    assert server.asked == [None, "bytes=30-"]


def test_a_server_that_names_no_version_is_asked_for_everything_again(serve: Callable[..., Server], file: Path) -> None:
    server = serve(Answer(sent=30, headers={}), Answer(content=OTHER, headers={}))
    fetch(server.address, file)
    assert file.read_bytes() == OTHER
    assert server.asked == [None, None]


def test_a_server_that_ignores_ranges_sends_everything_again(serve: Callable[..., Server], file: Path) -> None:
    server = serve(Answer(sent=30), Answer(knows_ranges=False))
    fetch(server.address, file)
    assert file.read_bytes() == CONTENT
    assert server.asked == [None, "bytes=30-"]


def test_a_file_that_changed_on_the_server_is_begun_anew(serve: Callable[..., Server], file: Path) -> None:
    changed = Answer(content=OTHER, headers={"ETag": '"two"'})
    server = serve(Answer(sent=30), changed)
    fetch(server.address, file)
    assert file.read_bytes() == OTHER
    assert server.asked == [None, "bytes=30-"]


@pytest.mark.parametrize("content", [OTHER, OTHER[:60], OTHER[:20], OTHER * 2])
def test_a_changed_file_is_noticed_where_the_server_overlooks_the_condition(
    serve: Callable[..., Server], file: Path, content: bytes
) -> None:
    changed = Answer(content=content, headers={"ETag": '"two"'}, reads_conditions=False)
    server = serve(Answer(sent=30), changed)
    fetch(server.address, file)
    assert file.read_bytes() == content
    assert server.asked == [None, "bytes=30-", None]


def test_an_empty_file_is_a_file(serve: Callable[..., Server], file: Path) -> None:
    fetch(serve(Answer(content=b"")).address, file)
    assert file.read_bytes() == b""


# --------------------------------------------------------------------------------------------- processes and the disk


def test_a_killed_process_leaves_a_part_that_the_next_run_goes_on_with(
    serve: Callable[..., Server], file: Path
) -> None:
    never = threading.Event()
    server = serve(Answer(sent=40, waits=never), Answer())
    part = file.with_name("model.pth.part")
    process = subprocess.Popen([sys.executable, "-c", COMMAND, server.address, str(file)], stderr=subprocess.DEVNULL)
    try:
        poll(lambda: part.exists() and part.stat().st_size == 40)
        process.send_signal(signal.SIGKILL)
    finally:
        process.wait()
        never.set()
    assert not file.exists()
    fetch(server.address, file)
    assert file.read_bytes() == CONTENT
    assert server.asked == [None, "bytes=40-"]
    assert names(file.parent) == ["model.pth"]


def test_a_part_that_was_whole_when_the_process_was_killed_is_not_asked_for_again(
    serve: Callable[..., Server], file: Path
) -> None:
    md5 = {"ETag": '"one"', "x-goog-hash": f"md5={encoded('md5', CONTENT)}"}
    server = serve(Answer(sent=30, headers=md5), Answer(status=404))
    failure(server.address, file)
    file.with_name("model.pth.part").write_bytes(CONTENT)
    fetch(server.address, file)
    assert file.read_bytes() == CONTENT
    assert server.asked == [None, "bytes=30-"]


def test_a_part_whose_note_cannot_be_read_is_begun_anew(serve: Callable[..., Server], file: Path) -> None:
    server = serve(Answer())
    file.parent.mkdir()
    file.with_name("model.pth.part").write_bytes(OTHER[:30])
    file.with_name("model.pth.part.json").write_text("{")
    fetch(server.address, file)
    assert file.read_bytes() == CONTENT
    assert server.asked == [None]


def test_a_part_from_another_address_is_begun_anew(serve: Callable[..., Server], file: Path) -> None:
    server = serve(Answer(sent=30), Answer(status=404), Answer())
    failure(server.address, file)
    fetch(f"{server.address}?second", file)
    assert file.read_bytes() == CONTENT
    assert server.asked == [None, "bytes=30-", None]


def test_two_processes_at_once_download_once(serve: Callable[..., Server], file: Path) -> None:
    go_on = threading.Event()
    # The first connection stays open, short of its end, until the second process waits.
    server = serve(Answer(sent=40, waits=go_on), Answer())
    command = [sys.executable, "-c", COMMAND, server.address, str(file)]
    first = subprocess.Popen(command, stderr=subprocess.PIPE)
    poll(lambda: len(server.asked) == 1)
    second = subprocess.Popen(command, stderr=subprocess.PIPE)
    assert second.stderr is not None
    line = second.stderr.readline()
    go_on.set()
    first.communicate(timeout=120)
    second.communicate(timeout=120)
    assert b"Another process is downloading model.pth" in line
    assert (first.returncode, second.returncode) == (0, 0)
    assert file.read_bytes() == CONTENT
    assert server.asked == [None, "bytes=40-"]


def test_two_threads_at_once_download_once(serve: Callable[..., Server], file: Path) -> None:
    server = serve(Answer(sent=40), Answer())
    threads = [threading.Thread(target=fetch, args=(server.address, file)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert file.read_bytes() == CONTENT
    assert server.asked == [None, "bytes=40-"]


def test_a_file_larger_than_the_disk_is_not_begun(serve: Callable[..., Server], file: Path) -> None:
    server = serve(Answer(announced=10**18, sent=10))
    message = failure(server.address, file)
    assert "1.00EB more are needed" in message
    assert "make room" in message
    assert server.asked == [None]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs the device that is always full")
def test_a_disk_that_is_full_is_told_in_one_line(
    serve: Callable[..., Server], file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve(Answer(sent=30), Answer(status=404), Answer())
    failure(server.address, file)
    part = file.with_name("model.pth.part")
    opened = Path.open

    def open_on_a_full_disk(path: Path, *args: Any, **named: Any) -> IO[Any]:
        return opened(Path("/dev/full") if path == part else path, *args, **named)

    with monkeypatch.context() as full:
        full.setattr(Path, "open", open_on_a_full_disk)
        message = failure(server.address, file)
    assert f"the disk of {file.parent} is full; make room and try again: what was received is kept" in message
    assert part.read_bytes() == CONTENT[:30]
    fetch(server.address, file)
    assert file.read_bytes() == CONTENT
    assert server.asked[-1] == "bytes=30-"


def test_a_folder_that_cannot_be_made_is_told_in_one_line(serve: Callable[..., Server], tmp_path: Path) -> None:
    (tmp_path / "files").write_text("no folder")
    message = failure(serve(Answer()).address, tmp_path / "files" / "model.pth")
    assert os.strerror(errno.EEXIST) in message


# ---------------------------------------------------------------------------------------------------- what is a lie


@pytest.mark.parametrize(
    "headers",
    [
        {"x-goog-hash": f"crc32c=4gcgLQ==, md5={encoded('md5', CONTENT)}"},
        {"Repr-Digest": f"sha-256=:{encoded('sha256', CONTENT)}:"},
        {"Content-Digest": f"sha-512=:{encoded('sha512', CONTENT)}:, sha-256=:{encoded('sha256', CONTENT)}:"},
        {"Repr-Digest": "sha-256=:not one:, unixsum=:AAA=:", "x-goog-hash": "md5=AAAA"},
        {"ETag": '"781e5e245d69b566979b86e28d23f2c7"'},
    ],
)
def test_a_stated_digest_that_is_right_or_cannot_be_read_is_no_hindrance(
    serve: Callable[..., Server], file: Path, headers: Mapping[str, str]
) -> None:
    fetch(serve(Answer(headers=headers)).address, file)
    assert file.read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("name", "headers"),
    [
        ("md5", {"x-goog-hash": f"crc32c=4gcgLQ==,md5={encoded('md5', OTHER)}"}),
        ("sha256", {"Repr-Digest": f"sha-256=:{encoded('sha256', OTHER)}:"}),
        ("sha256", {"Content-Digest": f"sha-256=:{encoded('sha256', OTHER)}:"}),
    ],
)
def test_a_file_that_is_not_what_the_server_states_is_not_kept(
    serve: Callable[..., Server], file: Path, name: str, headers: Mapping[str, str]
) -> None:
    server = serve(Answer(headers=headers))
    message = failure(server.address, file)
    assert hashlib.new(name, OTHER).hexdigest() in message
    assert hashlib.new(name, CONTENT).hexdigest() in message
    assert server.asked == [None]
    assert names(file.parent) == []


def test_what_was_stated_before_the_break_is_checked_after_it(serve: Callable[..., Server], file: Path) -> None:
    stated = {"ETag": '"one"', "x-goog-hash": f"md5={encoded('md5', CONTENT)}"}
    server = serve(Answer(headers=stated, sent=30), Answer(content=OTHER))
    assert "the server states the md5" in failure(server.address, file)
    assert server.asked == [None, "bytes=30-"]


def test_a_server_that_announces_more_than_comes_is_given_up(serve: Callable[..., Server], file: Path) -> None:
    server = serve(Answer(content=CONTENT[:60], announced=100))
    message = failure(server.address, file)
    assert "the connection broke" in message or "416" in message
    assert "5 tries" in message
    assert not file.exists()


def test_a_server_that_breaks_off_again_and_again_is_given_up_and_what_came_is_kept(
    serve: Callable[..., Server], file: Path
) -> None:
    server = serve(Answer(sent=10))
    message = failure(server.address, file)
    assert "the connection broke, after 50.0B of 100B and 5 tries; try again: what was received is kept" in message
    assert server.asked == [None, *(f"bytes={first}-" for first in (10, 20, 30, 40))]
    fetch(server.address, file)
    assert file.read_bytes() == CONTENT


def test_tries_that_bring_much_do_not_count(
    serve: Callable[..., Server], file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("retrieval.models.fetch.PROGRESS_BYTES", 30)
    server = serve(Answer(sent=10))
    fetch(server.address, file)
    assert file.read_bytes() == CONTENT
    assert len(server.asked) == 10


# ------------------------------------------------------------------------------------------------- what a server says


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_server_that_is_busy_is_asked_again(serve: Callable[..., Server], file: Path, status: int) -> None:
    server = serve(Answer(sent=30), Answer(status=status), Answer(status=status), Answer())
    fetch(server.address, file)
    assert file.read_bytes() == CONTENT
    assert server.asked == [None, "bytes=30-", "bytes=30-", "bytes=30-"]


def test_pauses_grow_and_are_as_long_as_the_server_asks_for(
    serve: Callable[..., Server], file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []
    monkeypatch.setattr("retrieval.models.fetch.PAUSE_SECONDS", 1)
    monkeypatch.setattr("tenacity.nap.time.sleep", slept.append)
    busy = Answer(status=503)
    server = serve(busy, busy, Answer(status=429, headers={"Retry-After": "7"}), busy, Answer())
    fetch(server.address, file)
    assert slept == [1, 2, 7, 8]


def test_a_server_that_stays_busy_is_given_up(serve: Callable[..., Server], file: Path) -> None:
    server = serve(Answer(status=503))
    assert "the server answers 503 Service Unavailable" in failure(server.address, file)
    assert len(server.asked) == 5


@pytest.mark.parametrize(("status", "said"), [(403, "403 Forbidden"), (404, "404 Not Found")])
def test_a_file_that_is_not_given_is_asked_for_once(
    serve: Callable[..., Server], file: Path, status: int, said: str
) -> None:
    server = serve(Answer(sent=30), Answer(status=status), Answer())
    message = failure(server.address, file)
    assert f"the server answers {said}; put the file at {file}, or choose another model" in message
    fetch(server.address, file)
    assert server.asked == [None, "bytes=30-", "bytes=30-"]


def test_a_page_to_log_in_is_not_taken_for_the_file(serve: Callable[..., Server], file: Path) -> None:
    server = serve(Answer(content=b"<html>", headers={"Content-Type": "text/html; charset=utf-8"}))
    assert "a web page instead of the file" in failure(server.address, file)
    assert names(file.parent) == []


def test_a_name_that_cannot_be_resolved_is_named(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(*args: object, **kwargs: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", nobody)
    monkeypatch.setenv("NO_PROXY", "*")
    assert "the name weights.invalid cannot be resolved" in failure("http://weights.invalid/model.pth", file)


def test_a_server_that_is_not_there_is_told_in_one_line(file: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert "127.0.0.1 cannot be reached" in failure(f"http://127.0.0.1:{port}/model.pth", file)


def test_a_server_that_goes_silent_is_asked_for_the_rest(
    serve: Callable[..., Server], file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("retrieval.models.fetch.TIMEOUT", 2)
    never = threading.Event()
    server = serve(Answer(sent=30, waits=never), Answer())
    fetch(server.address, file)
    never.set()
    assert file.read_bytes() == CONTENT
    assert server.asked == [None, "bytes=30-"]
