from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from indexer.uri import from_uri, to_uri


@pytest.mark.parametrize(
    ("path", "uri"),
    [
        (b"/photos/cat.jpg", "/photos/cat.jpg"),
        (b"/photos/100%.jpg", "/photos/100%25.jpg"),
        (b"/photos/100%25.jpg", "/photos/100%2525.jpg"),
        (b"/photos/caf\xe9.jpg", "/photos/caf%E9.jpg"),
        (b"/photos/two\nlines.jpg", "/photos/two%0Alines.jpg"),
        ("/photos/鳥.png".encode(), "/photos/鳥.png"),
        ("/photos/a\x85b\u2028c.png".encode(), "/photos/a%C2%85b%E2%80%A8c.png"),
        (b"/photos/a surrogate \xed\xa0\x80", "/photos/a surrogate %ED%A0%80"),
    ],
)
def test_a_path_is_written_so_and_read_back(path: bytes, uri: str) -> None:
    assert to_uri(path) == uri
    assert os.fsencode(from_uri(uri)) == path


def test_any_file_name_comes_back_byte_for_byte_and_stays_on_one_line() -> None:
    chance = random.Random(7)
    alphabet = [*range(1, 256), *b"%%%25C3A9\xc3\xa9\xe2\x80\xa8\xed\xa0\x80"]
    for _ in range(5000):
        name = bytes(chance.choice(alphabet) for _ in range(chance.randint(1, 12))).replace(b"/", b"_")
        if name == b".":
            continue
        path = b"/photos/" + name
        uri = to_uri(path)
        assert os.fsencode(from_uri(uri)) == path
        assert uri.splitlines() == [uri]
        assert uri.encode("utf-8").decode("utf-8") == uri


def test_composed_and_decomposed_letters_stay_two_names() -> None:
    assert to_uri("/caf\u00e9") == "/caf\u00e9"
    assert to_uri("/cafe\u0301") == "/cafe\u0301"


def test_a_relative_path_becomes_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert to_uri(Path("cat.jpg")) == to_uri(tmp_path / "cat.jpg")
