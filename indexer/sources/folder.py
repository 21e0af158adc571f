"""A folder of pictures, with an optional `captions.jsonl` beside them."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path, PurePosixPath

from indexer.decode import PICTURE_SUFFIXES, open_file, unreadable
from indexer.errors import BadCaptions, DecodeFailed, SourceMissing
from indexer.originals import stamp
from indexer.sources.description import Description
from indexer.uri import to_uri
from storage.items import text_hash

CAPTIONS = "captions.jsonl"
LEADS_OUT = "unreadable: a link out of the folders that may be indexed"
_FORMAT = 'a line reads {"file": "name relative to the folder", "texts": ["a text", "another"]}'


@dataclass(frozen=True)
class FileRecord:
    """A file that may be a picture."""

    path: Path
    uri: str
    size: int
    mtime_ns: int


@dataclass(frozen=True)
class FailedRecord:
    """A file or folder that could not even be looked at, and why."""

    uri: str
    reason: str


Record = FileRecord | FailedRecord


@dataclass(frozen=True)
class CaptionRecord:
    """Texts that describe one file; `file_uri` is what the file's own record carries."""

    file_uri: str
    texts: tuple[str, ...]


@dataclass(frozen=True)
class FolderSource:
    """A folder as what a gallery is made of: its files, and what its `captions.jsonl` said when it was opened.

    Equal texts are one item, and a text is one even where the file that it describes is missing.
    """

    folder: Path
    uri: str
    captions: tuple[CaptionRecord, ...]
    within: Sequence[Path] | None = None
    layout: None = None
    texts_need_pictures = False

    def records(self) -> Iterator[Record]:
        """Walk the folder: see `records`."""
        return records(self.folder, self.within)

    def descriptions(self) -> Iterator[Description]:
        """Say what `captions.jsonl` says, line by line."""
        for one in self.captions:
            texts = {f"{self.uri}/{CAPTIONS}#{text_hash(text)[:16]}": text for text in one.texts}
            yield Description(one.file_uri, texts)

    def name_of(self, uri: str) -> str:
        """Give the words in a file's name and in the folders between the source and it."""
        return str(PurePosixPath(uri.removeprefix(self.uri)).with_suffix("")).strip("/")


def open_folder(folder: Path, within: Sequence[Path] | None = None) -> FolderSource:
    """Read a folder's captions; raises `SourceMissing` and `BadCaptions`. `within` is that of `records`."""
    return FolderSource(folder, to_uri(folder), tuple(captions(folder, within)), within)


def records(folder: Path, within: Sequence[Path] | None = None) -> Iterator[Record]:
    """Walk a folder and all below it, in the byte order of the paths.

    Every regular file counts, whatever its suffix, but for `captions.jsonl` and names that start with a dot: what is no
    picture fails later, with its reason. Links to files are followed, links to folders are not, so that nothing is
    met twice. Pipes, sockets and devices are passed over unopened. `within` names the folders below which links may
    lead, besides this one; None lets them lead anywhere.
    """
    root = _resolved(folder)
    return _walk(os.fsencode(root), None if within is None else _roots(root, within))


def captions(folder: Path, within: Sequence[Path] | None = None) -> Iterator[CaptionRecord]:
    """Read the folder's `captions.jsonl`, if there is one, line by line; raises `BadCaptions`.

    Each line stands for itself: a file may come on several lines, and it may not exist. The caller matches by uri.
    Keys other than "file" and "texts" are passed over; texts are stripped, and equal ones of a line collapse.
    `within` is that of `records`.
    """
    root = _resolved(folder)
    path = root / CAPTIONS
    if not os.path.exists(path):
        return
    if within is not None and _leads_out(os.fsencode(path), _roots(root, within)):
        raise BadCaptions(path, 0, LEADS_OUT)
    try:
        file = open_file(path)
    except DecodeFailed as error:
        raise BadCaptions(path, 0, error.reason) from error
    with file:
        yield from _captions(root, path, file)


def check_captions(content: bytes) -> None:
    """Raise BadCaptions unless the content of a `captions.jsonl` can be read."""
    for _ in _captions(Path("/"), Path(CAPTIONS), BytesIO(content)):
        pass


def looks_rendered(found: Iterable[Record], is_rendered: Callable[[Path], bool], *, sample: int = 20) -> bool:
    """Tell whether records are of drawn scenes only: all of a sample, spread over the pictures, are marked as such."""
    pictures = [
        record.path
        for record in found
        if isinstance(record, FileRecord) and record.path.suffix.lower() in PICTURE_SUFFIXES
    ]
    step = max(1, -(-len(pictures) // sample))
    return bool(pictures) and all(is_rendered(path) for path in pictures[::step])


def _resolved(folder: Path) -> Path:
    try:
        root = folder.resolve(strict=True)
    except (OSError, RuntimeError, ValueError):  # RuntimeError: links in a circle
        raise SourceMissing(folder) from None
    if not root.is_dir():
        raise SourceMissing(folder)
    return root


# --- walking


def _walk(root: bytes, within: Sequence[Path] | None) -> Iterator[Record]:
    pending = [root.rstrip(b"/") + b"/"]  # a stack; folders end in a slash, which also sorts them right
    while pending:
        path = pending.pop()
        try:
            if path.endswith(b"/"):
                pending.extend(_children(path))
            elif within is not None and _leads_out(path, within):
                yield FailedRecord(to_uri(path), LEADS_OUT)
            elif (record := _record(path)) is not None:
                yield record
        except OSError as error:
            yield FailedRecord(to_uri(path.rstrip(b"/") or b"/"), unreadable(error))


def _roots(folder: Path, within: Sequence[Path]) -> list[Path]:
    return [folder, *(root.resolve() for root in within)]


def _leads_out(path: bytes, within: Sequence[Path]) -> bool:
    """Whether an entry is a link that leads out of some folders."""
    if not os.path.islink(path):
        return False
    target = Path(os.path.realpath(os.fsdecode(path)))
    return not any(target.is_relative_to(root) for root in within)


def _children(folder: bytes) -> list[bytes]:
    """The visible entries of a folder, greatest first."""
    with os.scandir(folder) as entries:
        visible = [
            entry.path + b"/" if entry.is_dir(follow_symlinks=False) else entry.path
            for entry in entries
            if not entry.name.startswith(b".") and entry.name != os.fsencode(CAPTIONS)
        ]
    return sorted(visible, reverse=True)


def _record(path: bytes) -> Record | None:
    """What there is to say about one entry; None for what is no file, or no longer there."""
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return FailedRecord(to_uri(path), "unreadable: a link to nothing") if os.path.islink(path) else None
    if not stat.S_ISREG(found.st_mode):
        return None
    return FileRecord(Path(os.fsdecode(path)), to_uri(path), *stamp(found))


# --- captions


def _captions(root: Path, path: Path, file: Iterable[bytes]) -> Iterator[CaptionRecord]:
    for number, line in enumerate(file, start=1):
        if line.strip():
            yield _caption(root, path, number, line)


def _caption(root: Path, path: Path, number: int, line: bytes) -> CaptionRecord:
    try:
        entry = json.loads(line.decode("utf-8-sig" if number == 1 else "utf-8"))
    except UnicodeDecodeError:
        raise BadCaptions(path, number, f"not UTF-8; {_FORMAT}") from None
    except (ValueError, RecursionError):
        raise BadCaptions(path, number, f"not JSON; {_FORMAT}") from None
    if not isinstance(entry, dict):
        raise BadCaptions(path, number, f"not an object; {_FORMAT}")
    name, texts = entry.get("file"), entry.get("texts")
    if not isinstance(name, str) or not name or not _is_name(name):
        raise BadCaptions(path, number, f'"file" is missing or no file name; {_FORMAT}')
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) and _is_text(text) for text in texts):
        raise BadCaptions(path, number, f'"texts" is missing or no list of texts; {_FORMAT}')
    uri = to_uri(os.path.normpath(os.path.join(root, name)))
    return CaptionRecord(uri, tuple(dict.fromkeys(text.strip() for text in texts)))


def _is_name(name: str) -> bool:
    try:
        return b"\0" not in os.fsencode(name)
    except UnicodeEncodeError:  # half a surrogate pair that stands for no byte
        return False


def _is_text(text: str) -> bool:
    """Whether a text says something and can be stored: databases refuse lone surrogates and zero bytes."""
    return bool(text.strip()) and "\0" not in text and not any("\ud800" <= letter <= "\udfff" for letter in text)
