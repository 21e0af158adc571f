"""Files from the authors' own addresses: resumed after a break, checked, and in place only when they are whole.

While a file is on its way three others lie beside it: `<file>.part` is what was received, `<file>.part.json` what the
server said of the file when the part was begun, and `<file>.lock` keeps a second process from writing the same part.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import errno
import hashlib
import json
import os
import re
import shutil
import socket
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
from filelock import FileLock, Timeout
from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential
from tqdm import tqdm

from retrieval.errors import DownloadFailed
from retrieval.models import cache

TRIES = 5
PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 60.0

# Tries that brought this much were not in vain: the next break gets as many again.
PROGRESS_BYTES = 1 << 20

TIMEOUT = httpx2.Timeout(30, connect=10)

# Ranges, lengths and digests are those of the file, not of a packed form of it.
HEADERS = {"Accept-Encoding": "identity", "User-Agent": "sightline"}

KEPT = "try again: what was received is kept"

_BUSY = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS)
_BREAKS = (httpx2.TimeoutException, httpx2.NetworkError, httpx2.RemoteProtocolError, httpx2.ProxyError)


def fetch(address: str, file: Path, *, quiet: bool = False) -> None:
    """Download a file unless it is there; DownloadFailed says why that cannot be.

    The progress is shown on stderr unless it is to be quiet.
    """
    if file.is_file():
        return
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with _alone(file):
            if not file.is_file():
                _download(address, Part(file), quiet=quiet)
    except OSError as error:
        raise DownloadFailed(address, *_told(error, file)) from error


@dataclass(frozen=True)
class Stated:
    """What a server says of a file: its version, its length in bytes and its digests by hashlib's names.

    Without an address nothing was said.
    """

    address: str = ""
    etag: str | None = None
    modified: str | None = None
    length: int | None = None
    digests: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, address: str, headers: httpx2.Headers) -> Stated:
        """Read the headers of a whole answer."""
        length = headers.get("Content-Length", "")
        return cls(
            address,
            headers.get("ETag"),
            headers.get("Last-Modified"),
            int(length) if length.isdecimal() else None,
            dict(_stated_digests(headers)),
        )

    @property
    def version(self) -> str | None:
        """What a range can be asked for with; a weak ETag does not promise the same bytes."""
        return self.etag if self.etag and not self.etag.startswith("W/") else self.modified


class Part:
    """What was received of a file, and what the server said of it: the state that outlives a break."""

    def __init__(self, file: Path) -> None:
        """Go on with what lies beside the file, if that can be used."""
        self.file = file
        self._content = file.with_name(f"{file.name}.part")
        self._note = file.with_name(f"{file.name}.part.json")
        self.stated = self._read_note()

    @property
    def received(self) -> int:
        """How many bytes are there."""
        return self._content.stat().st_size if self._content.exists() else 0

    def is_whole(self, address: str) -> bool:
        """Say whether all of the file at an address is there."""
        return self.stated.address == address and self._content.exists() and self.stated.length == self.received

    def range_of(self, address: str) -> dict[str, str]:
        """The headers that ask for the rest, provided that the file is still the same; none where all is needed."""
        if self.stated.address != address or self.stated.version is None or not self.received:
            return {}
        return {"Range": f"bytes={self.received}-", "If-Range": self.stated.version}

    def begin(self, stated: Stated) -> None:
        """Start anew with what the server says now."""
        # In this order: a part must never lie beside what was said of another version.
        self.discard()
        cache.write(self._note, json.dumps(asdict(stated)).encode())
        self.stated = stated

    def append(self, blocks: Iterator[bytes]) -> Iterator[int]:
        """Write blocks as they come, saying how long each was."""
        with self._content.open("ab") as stream:
            for block in blocks:
                stream.write(block)
                stream.flush()
                yield len(block)

    def check(self) -> None:
        """Compare the whole part with the digests that the server stated."""
        for name, expected in self.stated.digests.items():
            with self._content.open("rb") as stream:
                found = hashlib.file_digest(stream, name).hexdigest()
            if found != expected:
                address = self.stated.address
                self.discard()
                reason = f"the server states the {name} {expected}, but what came has {found}"
                raise DownloadFailed(address, reason, "try again: what was received is deleted")

    def finish(self) -> None:
        """Put the part in the file's place for good."""
        with self._content.open("rb") as stream:
            os.fsync(stream.fileno())
        os.replace(self._content, self.file)
        self._note.unlink(missing_ok=True)

    def discard(self) -> None:
        """Forget everything."""
        self._content.unlink(missing_ok=True)
        self._note.unlink(missing_ok=True)
        self.stated = Stated()

    def _read_note(self) -> Stated:
        try:
            return Stated(**json.loads(self._note.read_bytes()))
        except (OSError, ValueError, TypeError):
            return Stated()


class _Broken(Exception):
    """A try that ended early; the next one may go on after a pause of at least so many seconds."""

    def __init__(self, reason: str, pause: float = 0) -> None:
        super().__init__(reason)
        self.pause = pause


@contextlib.contextmanager
def _alone(file: Path) -> Iterator[None]:
    """Hold the lock of a file; wait for another process that downloads it."""
    lock = FileLock(file.with_name(f"{file.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        tqdm.write(f"Another process is downloading {file.name}: waiting for it.", file=sys.stderr)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _download(address: str, part: Part, *, quiet: bool) -> None:
    if not part.is_whole(address):
        _receive(address, part, quiet=quiet)
    part.check()
    part.finish()


def _receive(address: str, part: Part, *, quiet: bool) -> None:
    """Try until everything is there, or until all tries in a row brought nothing."""
    client = httpx2.Client(follow_redirects=True, timeout=TIMEOUT, headers=HEADERS)
    bar = tqdm(desc=part.file.name, unit="B", unit_scale=True, unit_divisor=1000, mininterval=0.5, disable=quiet)
    tries = Retrying(retry=retry_if_exception_type(_Broken), stop=stop_after_attempt(TRIES), wait=_pause, reraise=True)
    with client, bar:
        while True:
            before = part.received
            try:
                return tries(_try, client, address, part, bar)
            except _Broken as broken:
                if part.received < before + PROGRESS_BYTES:
                    reason = f"{broken}, after {_amount(part)} and {TRIES} tries"
                    raise DownloadFailed(address, reason, KEPT if part.range_of(address) else "try again") from broken


def _try(client: httpx2.Client, address: str, part: Part, bar: tqdm[Any]) -> None:
    """Ask for what is missing and write it down as it comes."""
    try:
        with client.stream("GET", address, headers=part.range_of(address)) as response:
            _check_status(response, address, part)
            if response.status_code == HTTPStatus.PARTIAL_CONTENT:
                _check_range(response, part)
            else:
                _check_kind(response, address)
                part.begin(Stated.of(address, response.headers))
            _check_room(part)
            _show(bar, part)
            for length in part.append(response.iter_raw()):
                bar.update(length)
    except _BREAKS as error:
        raise _Broken(_why(error, address)) from error
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        raise DownloadFailed(
            address, f"it cannot be asked for ({_first_line(error)})", "choose another model"
        ) from error
    if part.stated.length not in (None, part.received):
        raise _Broken("the server sent another length than it said")


def _check_status(response: httpx2.Response, address: str, part: Part) -> None:
    status = response.status_code
    if status == HTTPStatus.OK or (status == HTTPStatus.PARTIAL_CONTENT and "Range" in response.request.headers):
        return
    said = f"the server answers {status} {response.reason_phrase}".rstrip()
    if status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
        part.discard()
        raise _Broken(said)
    if status in _BUSY or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        seconds = response.headers.get("Retry-After", "")
        raise _Broken(said, pause=float(seconds) if seconds.isdecimal() else 0)
    raise DownloadFailed(address, said, f"put the file at {part.file}, or choose another model")


def _check_range(response: httpx2.Response, part: Part) -> None:
    """The rest must be that of what is there; a server may overlook If-Range."""
    first, total = _content_range(response.headers.get("Content-Range", ""))
    etag = response.headers.get("ETag", part.stated.etag)
    if first != part.received or total not in (None, part.stated.length) or etag != part.stated.etag:
        part.discard()
        raise _Broken("the file changed on the server")


def _check_kind(response: httpx2.Response, address: str) -> None:
    """Some networks answer everything with a page to log in."""
    if response.headers.get("Content-Type", "").startswith("text/html"):
        raise DownloadFailed(address, "the server sent a web page instead of the file", "check the network")
    packed = response.headers.get("Content-Encoding", "identity")
    if packed != "identity":
        raise DownloadFailed(address, f"the server packs the file ({packed})", "choose another model")


def _check_room(part: Part) -> None:
    missing = (part.stated.length or 0) - part.received
    free = shutil.disk_usage(part.file.parent).free
    if missing > free:
        reason = f"{_bytes(missing)} more are needed in {part.file.parent}, where {_bytes(free)} are free"
        raise DownloadFailed(part.stated.address, reason, "make room and " + KEPT)


def _pause(state: RetryCallState) -> float:
    """Growing pauses, and what the server asks for; nobody waits longer than a minute."""
    asked = state.outcome.exception() if state.outcome else None
    growing: float = wait_exponential(multiplier=PAUSE_SECONDS)(state)
    return min(max(growing, asked.pause if isinstance(asked, _Broken) else 0), LONGEST_PAUSE_SECONDS)


def _show(bar: tqdm[Any], part: Part) -> None:
    """Let the bar go on where the part ends; what was there before says nothing of the speed."""
    bar.total = part.stated.length
    bar.initial = bar.n = bar.last_print_n = part.received
    bar.refresh()


def _stated_digests(headers: httpx2.Headers) -> Iterator[tuple[str, str]]:
    """What servers state: Google's x-goog-hash, and RFC 9530's two fields, which are the same for a whole file."""
    for encoded in re.findall(r"\bmd5=([\w+/]+=*)", headers.get("x-goog-hash", "")):
        yield from _decoded("md5", encoded)
    fields = f"{headers.get('Content-Digest', '')},{headers.get('Repr-Digest', '')}"
    for bits, encoded in re.findall(r"\bsha-(256|512)=:([\w+/]+=*):", fields):
        yield from _decoded(f"sha{bits}", encoded)


def _decoded(name: str, encoded: str) -> Iterator[tuple[str, str]]:
    """A digest as hashlib writes it; what is no digest is passed over."""
    with contextlib.suppress(binascii.Error):
        content = base64.b64decode(encoded, validate=True)
        if len(content) == hashlib.new(name).digest_size:
            yield name, content.hex()


def _content_range(value: str) -> tuple[int, int | None]:
    """First byte and length of the file that a partial answer is of; -1 where it does not say."""
    found = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", value)
    if found is None:
        return -1, None
    return int(found[1]), None if found[2] == "*" else int(found[2])


def _why(error: Exception, address: str) -> str:
    """What a break means, in a few words."""
    host = urlsplit(address).hostname
    if any(isinstance(cause, socket.gaierror) for cause in _causes(error)):
        return f"the name {host} cannot be resolved"
    match error:
        case httpx2.ConnectError() | httpx2.ConnectTimeout() | httpx2.ProxyError():
            return f"{host} cannot be reached ({_first_line(error)})"
        case httpx2.TimeoutException():
            return f"{host} went silent"
        case _:
            return "the connection broke"


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _told(error: OSError, file: Path) -> tuple[str, str]:
    """Reason and remedy of a disk that does not take the file."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"the disk of {file.parent} is full", "make room and " + KEPT
    return f"{file} cannot be written ({error.strerror or error})", "let it be written there, and try again"


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _amount(part: Part) -> str:
    length = part.stated.length
    return f"{_bytes(part.received)} of {_bytes(length)}" if length else _bytes(part.received)


def _bytes(count: int) -> str:
    return f"{tqdm.format_sizeof(count)}B"
