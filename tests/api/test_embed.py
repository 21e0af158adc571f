"""Features by library, command line and HTTP: the same vectors everywhere, and one line for what cannot be."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result
from fastapi.testclient import TestClient
from numpy.typing import NDArray
from PIL import Image

from api import Sightline
from api.cli import sightline as program
from api.errors import UsageError
from api.settings import Settings
from indexer.errors import DecodeFailed
from indexer.uri import to_uri
from retrieval.errors import EmptyText
from retrieval.models.checkpoints import CHECKPOINTS
from retrieval.models.load import load_encoder
from retrieval.training.world.galleries import write_gallery

IsProblem = Callable[[Any, int, str | None], bool]
TEXTS = ["a red car", "two blue boats left of a yellow cat", "a cat"]
# The same picture in another batch may take another path through the processor's vector units.
TOLERANCE = 2e-6


@pytest.fixture(scope="module")
def some_cards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three postcards, and a file that is no picture."""
    folder = tmp_path_factory.mktemp("embed") / "cards"
    write_gallery(folder, scenes=3, seed=5)
    (folder / "captions.jsonl").unlink()
    (folder / "notes.txt").write_text("buy milk")
    return folder


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sightline]:
    library = Sightline(settings=Settings(home=tmp_path_factory.mktemp("home"), offline=True))
    yield library
    library.close()


@pytest.fixture
def run(home: Path) -> Callable[..., Result]:
    def invoke(*arguments: str, given: str | None = None) -> Result:
        return CliRunner().invoke(program, ["embed", *arguments], input=given, catch_exceptions=False)

    return invoke


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.png"))


def close(got: Any, want: Any, tolerance: float = TOLERANCE) -> None:
    np.testing.assert_allclose(np.asarray(got), np.asarray(want), rtol=0, atol=tolerance)


def encoded(model: str, paths: list[Path]) -> NDArray[np.float32]:
    encoder = load_encoder(CHECKPOINTS[model], device="cpu")
    return encoder.encode_images(np.stack([encoder.prepare(Image.open(path).convert("RGB")) for path in paths]))


# ---------------------------------------------------------------------------------------------------------- the library


@pytest.mark.parametrize(("model", "vectors"), [("postcards", 1), ("postcards-blip2", 8)])
def test_features_are_the_embeddings_that_galleries_are_searched_by(
    library: Sightline, some_cards: Path, model: str, vectors: int
) -> None:
    pictures = library.embed(files(some_cards), model=model)
    close(pictures.embeddings, encoded(model, files(some_cards)))
    assert pictures.embeddings.shape == (3, vectors, 128)
    assert pictures.embeddings.dtype == np.float32
    assert pictures.uris == tuple(to_uri(path) for path in files(some_cards))
    texts = library.embed(texts=TEXTS, model=model)
    close(texts.embeddings, load_encoder(CHECKPOINTS[model], device="cpu").encode_texts(TEXTS))
    assert (texts.kind, texts.projected, texts.texts, texts.lengths) == ("text", True, tuple(TEXTS), (1, 1, 1))


def test_every_token_is_filled_up_with_rows_of_zeros(library: Sightline) -> None:
    features = library.embed(texts=TEXTS, model="postcards", every_token=True)
    single = library.embed(texts=TEXTS, model="postcards")
    assert features.embeddings.shape == (3, max(features.lengths), 128)
    assert len(set(features.lengths)) == 3
    for vectors, length, wanted in zip(features.embeddings, features.lengths, single.embeddings, strict=True):
        close(vectors[0], wanted)
        close(np.linalg.norm(vectors[:length], axis=1), np.ones(length))
        assert not vectors[length:].any()


@pytest.mark.parametrize(("model", "vectors"), [("postcards", 1), ("postcards-blip2", 8)])
def test_pairs_are_a_picture_each_with_its_text(library: Sightline, some_cards: Path, model: str, vectors: int) -> None:
    features = library.embed(files(some_cards), texts=TEXTS, pairs=True, model=model)
    assert (features.kind, features.projected, len(features)) == ("multimodal", False, 3)
    assert features.embeddings.shape[:2] == (3, vectors)
    assert (len(features.uris), features.texts) == (3, tuple(TEXTS))
    alone = library.embed(files(some_cards)[1], texts=TEXTS[1], pairs=True, model=model)
    close(features.embeddings[1], alone.embeddings[0], 1e-5)


def test_a_folder_is_read_in_the_indexer_s_order_and_what_is_no_picture_is_reported(
    library: Sightline, some_cards: Path
) -> None:
    features = library.embed(some_cards)
    assert features.model == "postcards"  # what drawn cards are embedded by where no photo model is here
    assert features.failed == ((to_uri(some_cards / "notes.txt"), "not an image"),)
    close(features.embeddings, encoded("postcards", files(some_cards)))


def test_pictures_may_be_in_memory(library: Sightline, some_cards: Path) -> None:
    first, second, _ = files(some_cards)
    features = library.embed([Image.open(first).convert("RGB"), second.read_bytes()], model="postcards")
    assert features.uris == ("image#1", "image#2")
    close(features.embeddings, encoded("postcards", [first, second]))


def test_a_gallery_s_stored_embeddings_are_given_as_they_are(library: Sightline, some_cards: Path) -> None:
    indexed = library.index(some_cards, gallery="stored", model="postcards-blip2")
    features = library.embed("stored")
    assert (features.model, features.uris) == (indexed.model, tuple(to_uri(path) for path in files(some_cards)))
    close(features.embeddings, encoded("postcards-blip2", files(some_cards)))
    assert library.embed(files(some_cards)[0]).model == "postcards-blip2"  # the model of its gallery
    with pytest.raises(UsageError, match="stores the projected embeddings"):
        library.embed("stored", projected=False)


def test_a_picture_that_was_named_must_be_readable(library: Sightline, some_cards: Path) -> None:
    with pytest.raises(DecodeFailed, match=r"notes.txt: not an image"):
        library.embed([*files(some_cards), some_cards / "notes.txt"], model="postcards")
    with pytest.raises(DecodeFailed, match="every text needs its picture"):
        library.embed(some_cards, texts=[*TEXTS, "milk"], pairs=True, model="postcards")


def test_what_cannot_be_asked_says_what_can(library: Sightline, some_cards: Path) -> None:
    with pytest.raises(UsageError, match="nothing to embed"):
        library.embed()
    with pytest.raises(UsageError, match="no projection"):
        library.embed(files(some_cards), texts=TEXTS, pairs=True, projected=True, model="postcards")
    with pytest.raises(UsageError, match="3 pictures and 2 texts"):
        library.embed(files(some_cards), texts=TEXTS[:2], pairs=True, model="postcards")
    with pytest.raises(UsageError, match="or for pairs"):
        library.embed(files(some_cards), texts=TEXTS, model="postcards")
    with pytest.raises(UsageError, match="texts alone were given"):
        library.embed(texts=TEXTS, pairs=True, model="postcards")
    with pytest.raises(EmptyText):
        library.embed(texts=["!?"], model="postcards")


# ------------------------------------------------------------------------------------------------------------ the files


def read_back(path: Path) -> list[NDArray[np.float32]]:
    """The vectors of a file, item by item, without what an array is filled up with."""
    match path.suffix:
        case ".npy":
            named = json.loads(path.with_name(f"{path.name}.names.json").read_text())["items"]
            whole = np.load(path)
            return [one[: item["vectors"]] if one.ndim == 2 else one for one, item in zip(whole, named, strict=True)]
        case ".json":
            return [np.array(item["embedding"], dtype=np.float32) for item in json.loads(path.read_text())["items"]]
        case _:
            rows = pq.read_table(path).to_pylist()
            return [np.array(row["embedding"], dtype=np.float32).reshape(row["shape"]) for row in rows]


@pytest.mark.parametrize("suffix", [".npy", ".parquet", ".json"])
@pytest.mark.parametrize("asked", [{}, {"every_token": True}, {"projected": False, "every_token": True}])
def test_every_format_holds_the_very_numbers(
    library: Sightline, tmp_path: Path, suffix: str, asked: dict[str, Any]
) -> None:
    features = library.embed(texts=TEXTS, model="postcards", **asked)
    written = library.embed_into(tmp_path / f"x{suffix}", texts=TEXTS, model="postcards", **asked)
    assert written.shape == features.embeddings.shape
    wanted = [
        one[:length] if one.ndim == 2 else one
        for one, length in zip(features.embeddings, features.lengths, strict=True)
    ]
    for got, want in zip(read_back(tmp_path / f"x{suffix}"), wanted, strict=True):
        np.testing.assert_array_equal(got, want)
    if suffix == ".npy":
        np.testing.assert_array_equal(np.load(tmp_path / "x.npy"), features.embeddings)


def test_rows_can_be_joined_with_what_they_are_of(library: Sightline, some_cards: Path, tmp_path: Path) -> None:
    for suffix in (".npy", ".parquet", ".json"):
        library.embed_into(tmp_path / f"x{suffix}", files(some_cards), texts=TEXTS, pairs=True, model="postcards")
    table = pq.read_table(tmp_path / "x.parquet")
    assert table.schema.names == ["uri", "text", "embedding", "shape"]
    stated = json.loads(table.schema.metadata[b"sightline"])
    assert stated == {"model": "postcards", "kind": "multimodal", "projected": False, "every_token": False}
    for items in (
        table.to_pylist(),
        json.loads((tmp_path / "x.json").read_text())["items"],
        json.loads((tmp_path / "x.npy.names.json").read_text())["items"],
    ):
        assert [(item["uri"], item["text"]) for item in items] == [
            (to_uri(path), text) for path, text in zip(files(some_cards), TEXTS, strict=True)
        ]


def test_json_says_null_where_the_number_of_vectors_varies(library: Sightline) -> None:
    file = io.BytesIO()
    library.embed_into(file, texts=TEXTS, model="postcards", every_token=True)
    assert json.loads(file.getvalue())["shape"] == [3, None, 128]


def test_nothing_is_left_of_a_file_that_fails_half_way(library: Sightline, some_cards: Path, tmp_path: Path) -> None:
    (tmp_path / "x.npy").write_text("of before")
    with pytest.raises(DecodeFailed):
        library.embed_into(tmp_path / "x.npy", [*files(some_cards), some_cards / "notes.txt"], model="postcards")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"x.npy": "of before"}


# ----------------------------------------------------------------------------------------------------- the command line


def test_without_a_file_json_is_printed(run: Callable[..., Result], library: Sightline) -> None:
    result = run("--texts", "-", "--text", "a red car", "--model", "postcards", given="a cat\n\na dog\n")
    assert result.exit_code == 0
    page = json.loads(result.stdout)
    assert {key: page[key] for key in ("model", "kind", "projected", "shape")} == {
        "model": "postcards",
        "kind": "text",
        "projected": True,
        "shape": [3, 128],
    }
    assert [item["text"] for item in page["items"]] == ["a red car", "a cat", "a dog"]
    wanted = library.embed(texts=["a red car", "a cat", "a dog"], model="postcards").embeddings
    close([item["embedding"] for item in page["items"]], wanted)


def test_a_folder_becomes_a_file_and_what_was_skipped_is_told(
    run: Callable[..., Result], some_cards: Path, tmp_path: Path
) -> None:
    result = run(str(some_cards), "--out", str(tmp_path / "x.npy"), "--model", "postcards-blip2")
    assert result.stdout == f"{tmp_path / 'x.npy'}: 3 x 8 x 128 numbers (model postcards-blip2)\n"
    assert f"skipped {to_uri(some_cards / 'notes.txt')}: not an image" in result.stderr
    close(np.load(tmp_path / "x.npy"), encoded("postcards-blip2", files(some_cards)))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "nothing to embed"),
        (("/no/x.png",), "there is no picture at /no/x.png"),
        (("nowhere",), "there is no picture at nowhere"),
        (("--text", "a cat", "--pairs"), "multimodal features are made of pictures with a text each"),
        (("--text", "a cat", "--out", "x.csv"), ".npy, .parquet, .json"),
        (("--text", "a cat", "--out", "/no/x.npy"), "no folder /no"),
        (("--text", "!?"), "holds no words"),
        (("--text", "a cat", "--model", "hashing"), "the model hashing has no features"),
        (("--text", "a cat", "--model", "blip3"), "unknown model 'blip3'"),
        (("--texts", "/no/x.txt"), "/no/x.txt cannot be read"),
    ],
)
def test_what_is_wrong_is_one_line(run: Callable[..., Result], arguments: tuple[str, ...], said: str) -> None:
    result = run(*arguments)
    assert result.exit_code in {1, 2}
    assert said in result.stderr
    assert result.stderr.count("\n") == 1
    assert not result.stdout


@pytest.mark.stress
def test_arrow_is_imported_for_parquet_alone(home: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from api.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit: pass\n"
        "print('ARROW', 'pyarrow' in sys.modules)"
    )
    for name, imported in (("x.npy", False), ("x.parquet", True)):
        arguments = ["embed", "--text", "a cat", "--model", "postcards", "--out", str(tmp_path / name)]
        done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
        assert f"ARROW {imported}" in done.stdout, done.stderr


# ----------------------------------------------------------------------------------------------------------------- HTTP


@pytest.fixture
def picture_parts(some_cards: Path) -> list[tuple[str, tuple[str, bytes]]]:
    return [("image", (path.name, path.read_bytes())) for path in files(some_cards)]


def test_pictures_that_were_sent_get_their_embeddings(
    cards: TestClient, some_cards: Path, picture_parts: list[Any]
) -> None:
    answer = cards.post("/v1/embed", params={"model": "postcards"}, files=picture_parts)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    page = answer.json()
    assert (page["kind"], page["projected"], page["shape"]) == ("image", True, [3, 1, 128])
    assert [item["uri"] for item in page["items"]] == ["image#1", "image#2", "image#3"]
    close([item["embedding"] for item in page["items"]], encoded("postcards", files(some_cards)))


def test_texts_may_be_sent_as_json_with_what_is_wanted_of_them(cards: TestClient, library: Sightline) -> None:
    body = {"texts": TEXTS, "model": "postcards", "projected": False, "every_token": True}
    page = cards.post("/v1/embed", json=body).json()
    features = library.embed(texts=TEXTS, model="postcards", projected=False, every_token=True)
    assert page["shape"] == [3, None, 128]
    for item, wanted, length in zip(page["items"], features.embeddings, features.lengths, strict=True):
        close(item["embedding"], wanted[:length], 1e-5)


def test_an_array_or_a_table_is_given_to_those_who_ask_for_it(
    cards: TestClient, library: Sightline, picture_parts: list[Any], some_cards: Path
) -> None:
    asked: dict[str, Any] = {"params": {"model": "postcards", "kind": "multimodal"}, "data": {"text": TEXTS}}
    wanted = library.embed(files(some_cards), texts=TEXTS, pairs=True, model="postcards").embeddings
    accept = {"accept": "text/html, application/x-npy"}
    array = cards.post("/v1/embed", files=picture_parts, headers=accept, **asked)
    assert array.headers["content-type"] == "application/x-npy"
    close(np.load(io.BytesIO(array.content)), wanted, 1e-5)
    accept = {"accept": "application/json;q=0.5, application/vnd.apache.parquet"}
    table = cards.post("/v1/embed", files=picture_parts, headers=accept, **asked)
    assert table.headers["content-type"] == "application/vnd.apache.parquet"
    rows = pq.read_table(io.BytesIO(table.content)).to_pylist()
    assert [(row["uri"], row["text"]) for row in rows] == [(f"image#{i}", text) for i, text in enumerate(TEXTS, 1)]
    close([row["embedding"] for row in rows], wanted[:, 0], 1e-5)


def test_a_model_that_is_not_here_is_refused_with_those_that_are(
    cards: TestClient, problem: IsProblem, tmp_path: Path
) -> None:
    for model in ("blip-itm-base-coco", str(tmp_path), "some/where", "hashing"):
        answer = cards.post("/v1/embed", json={"texts": ["a cat"], "model": model})
        assert problem(answer, 422, "model")
        assert "postcards-blip2" in answer.json()["detail"]
        assert "hashing," not in answer.json()["detail"]
    # No photo model is here, and none was set.
    assert problem(cards.post("/v1/embed", json={"texts": ["a cat"]}), 422, "model")


def test_wrong_requests_are_problems(cards: TestClient, problem: IsProblem, picture_parts: list[Any]) -> None:
    def post(**asked: Any) -> Any:
        return cards.post("/v1/embed", params={"model": "postcards", **asked.pop("params", {})}, **asked)

    assert problem(post(), 422, "body")
    assert problem(post(content=b"x", headers={"content-type": "text/plain"}), 422, "body")
    assert problem(post(content=b"{", headers={"content-type": "application/json"}), 422, "body")
    assert problem(post(json={"texts": []}), 422, "texts")
    assert problem(post(json={"texts": ["a", " "]}), 422, "texts")
    assert problem(post(json={"texts": ["a"] * 1001}), 422, "texts")
    assert problem(post(json={"texts": ["a"], "colour": "red"}), 422, "colour")
    assert problem(post(json={"texts": ["a"], "kind": "image"}), 422, "kind")
    assert problem(post(json={"texts": ["!?"]}), 422, "text")
    assert problem(post(params={"kind": "video"}, json={"texts": ["a"]}), 422, "kind")
    assert problem(post(files=picture_parts, data={"text": ["a"]}), 422, "kind")
    assert problem(post(files=picture_parts, data={"text": ["a"]}, params={"kind": "multimodal"}), 422, "text")
    assert problem(
        post(files=picture_parts, data={"text": TEXTS}, params={"kind": "multimodal", "projected": True}),
        422,
        "projected",
    )
    assert problem(post(files=[("picture", ("x", b"x"))]), 422, "picture")
    assert problem(post(files=[("image", ("x", b""))]), 422, "image")
    assert problem(post(files=[*picture_parts, ("image", ("x", b"no picture"))]), 422, "image")
    assert problem(post(files=picture_parts * 11), 422, "body")
    assert problem(post(json={"texts": ["a"]}, headers={"accept": "image/png"}), 406, None)
