"""What an evaluation itself takes: memory and time outside the models, on random vectors and with a stub matcher.

5,000 pictures and 25,000 texts of the size of COCO's test split, 128 candidates, both directions: 3.84 million pairs,
and not one of them kept in memory. Everything but the models is as users have it: SQL, FAISS, files, pages, measures,
intervals. Memory is the process's greatest resident size during the evaluation, beyond what it had with the vectors
loaded. Time is everything but what passes inside the encoder and the matcher. The reference is a matrix of all scores
in memory, as the authors' loops keep it: its bytes are printed for the ratio.
"""

from __future__ import annotations

import argparse
import gc
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from api.doors import evaluations
from api.doors.evaluations import Wanted
from api.doors.ranking import Ranking
from api.library import Silence
from api.settings import Settings
from api.wiring import Wiring
from indexer.publish import Batch, Publisher
from indexer.uri import to_uri
from retrieval.evaluation.benchmark import Choice
from retrieval.evaluation.pages import DIRECTIONS
from retrieval.models.checkpoints import Checkpoint
from retrieval.pictures import ImageTokens
from retrieval.rerank import Reranker
from retrieval.types import Float32, UInt8
from storage import galleries, items
from storage.galleries import Gallery
from storage.items import NewItem
from storage.lease import write_lease

BATCH = 1000
SIDE = 8


class Stub:
    """Answers at once: a text's vector is remembered, and a pair's logits come from its two row numbers."""

    name = "stub"
    fingerprint = "stub"
    vectors = 1

    def __init__(self, texts: Float32) -> None:
        self._texts, self.dimension = texts, texts.shape[1]
        self.seconds, self.pairs = 0.0, 0

    def prepare(self, image: Image.Image) -> UInt8:
        """Take the picture as it is."""
        begun = time.perf_counter()
        pixels = np.asarray(image)
        self.seconds += time.perf_counter() - begun
        return pixels

    def unknown_words(self, text: str) -> list[str]:
        """Know every word."""
        return []

    def encode_images(self, pixels: UInt8) -> Float32:
        """Is not asked: the vectors are there."""
        raise NotImplementedError

    def encode_texts(self, texts: Sequence[str]) -> Float32:
        """Give the vector of the text's number."""
        begun = time.perf_counter()
        found: Float32 = self._texts[[int(text.split()[1]) for text in texts]]
        self.seconds += time.perf_counter() - begun
        return found

    def image_tokens(self, pixels: UInt8) -> Float32:
        """Give one token of four numbers."""
        begun = time.perf_counter()
        tokens = pixels.reshape(len(pixels), -1)[:, None, :4].astype(np.float32)
        self.seconds += time.perf_counter() - begun
        return tokens

    def match(self, tokens: Float32, texts: Sequence[str], pairs: NDArray[np.int64]) -> Float32:
        """Draw logits."""
        begun = time.perf_counter()
        logits = np.random.default_rng(len(pairs)).standard_normal((len(pairs), 2)).astype(np.float32)
        self.seconds += time.perf_counter() - begun
        self.pairs += len(pairs)
        return logits


class Stubbed(Wiring):
    """Wires the stub as encoder and matcher."""

    def __init__(self, settings: Settings, stub: Stub) -> None:
        """Give the stub to whoever asks for a model."""
        super().__init__(settings, print)
        self._stub = stub
        tokens = ImageTokens(stub, self.originals, cache_bytes=settings.token_cache_bytes, batch=32)
        self._reranker_of_stub = Reranker(stub, tokens, "itm+itc")

    def encoder_of(self, gallery: Gallery) -> Stub:
        """Give the stub."""
        return self._stub

    def reranker_of(self, gallery: Gallery, matcher: str | None = None) -> Reranker:
        """Give the stub."""
        return self._reranker_of_stub

    def checkpoint(self, name: str) -> Checkpoint:
        """Describe the stub as a BLIP."""
        return Checkpoint("stub", "blip", None, ("encoder", "matcher"), image_size=384, licence="none")


class Peak:
    """Watches the process's resident size."""

    def __init__(self) -> None:
        self.least = self.most = resident()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Peak:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(0.02):
            self.most = max(self.most, resident())


def resident() -> int:
    """Read the resident size of this process in bytes."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--texts", type=int, default=25_000)
    parser.add_argument("--dimension", type=int, default=256)
    parser.add_argument("--candidates", type=int, default=128)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        vectors = random_vectors(options.texts, options.dimension, seed=1)
        stub = Stub(vectors)
        wiring = Stubbed(Settings(home=Path(folder) / "home", offline=True), stub)
        gallery = fill(wiring, Path(folder) / "pictures", vectors, options.images)
        load_vectors(wiring, gallery)
        gc.collect()
        before = resident()
        begun, processor = time.perf_counter(), time.process_time()
        with Peak() as peak:
            asked = Wanted(Ranking(10, options.candidates), Choice())
            found = evaluations.evaluate(wiring, gallery, asked, progress=Silence())
        seconds, processor = time.perf_counter() - begun, time.process_time() - processor
        report(found.id, stub, seconds, processor, peak.most - before, options.images, options.texts)


def random_vectors(count: int, dimension: int, *, seed: int) -> Float32:
    """Draw unit vectors `float32 [n, d]`."""
    drawn = np.random.default_rng(seed).standard_normal((count, dimension)).astype(np.float32)
    unit: Float32 = drawn / np.linalg.norm(drawn, axis=1, keepdims=True)
    return unit


def fill(wiring: Wiring, folder: Path, texts: Float32, images: int) -> Gallery:
    """Make a gallery of tiny picture files and texts; text i describes picture i modulo their number."""
    folder.mkdir()
    picture = Image.new("RGB", (SIDE, SIDE))
    with wiring.database.writing() as session:
        gallery = galleries.create(session, "random")
        galleries.add_source(session, gallery.id, to_uri(folder))
        gallery = galleries.fix_model(
            session, gallery, model="stub", fingerprint="stub", dimension=texts.shape[1], vectors=1
        )
    pictures = random_vectors(images, texts.shape[1], seed=2)
    with write_lease(wiring.database, gallery) as holder:
        publisher = Publisher(wiring.database, wiring.snapshots, gallery, holder)
        for start in range(0, images, BATCH):
            new = [_picture(folder, i, picture) for i in range(start, min(start + BATCH, images))]
            publisher.publish(Batch("image", new), lambda s=start: pictures[s : s + BATCH, None])  # type: ignore[misc]
        for start in range(0, len(texts), BATCH):
            new = [_text(folder, i) for i in range(start, min(start + BATCH, len(texts)))]
            publisher.publish(Batch("text", new), lambda s=start: texts[s : s + BATCH, None])  # type: ignore[misc]
        publisher.seal()
        with publisher.publishing() as session:
            ids = {kind: [one.id for one in items.embedded(session, gallery.id, kind)] for kind in ("image", "text")}
            pairs = {(text_id, ids["image"][i % images]) for i, text_id in enumerate(ids["text"])}
            items.set_pairs(session, gallery.id, to_uri(folder), pairs)
    return gallery


def _picture(folder: Path, number: int, picture: Image.Image) -> NewItem:
    path = folder / f"{number:06d}.png"
    picture.save(path)
    status = path.stat()
    return NewItem(
        "image", to_uri(path), to_uri(folder), status.st_size, status.st_mtime_ns, f"picture {number}", SIDE, SIDE
    )


def _text(folder: Path, number: int) -> NewItem:
    return NewItem("text", f"{to_uri(folder)}#{number}", to_uri(folder), text=f"text {number}")


def load_vectors(wiring: Wiring, gallery: Gallery) -> None:
    """Open both snapshots and read every vector once, so that they do not count."""
    with wiring.database.reading() as session:
        for kind in ("image", "text"):
            for part in wiring.snapshots.newest(session, gallery, kind).parts:
                part.vectors(np.arange(len(part.slots))).sum()


def report(evaluation: int, stub: Stub, seconds: float, processor: float, memory: int, images: int, texts: int) -> None:
    """Print what it took."""
    outside, busy = seconds - stub.seconds, processor - stub.seconds
    matrices = 2 * 4 * images * texts
    print(f"{images} pictures x {texts} texts, {len(DIRECTIONS)} directions, evaluation {evaluation}")
    print(f"{stub.pairs} pairs in {seconds:.1f} s, of which the stub took {stub.seconds:.1f} s")
    print(
        f"outside the models: {1e6 * outside / stub.pairs:.2f} us per pair, {1e6 * busy / stub.pairs:.2f} of processors"
    )
    print(f"memory beyond the vectors: {memory / 1e6:.0f} MB")
    print(f"two matrices of all scores: {matrices / 1e6:.0f} MB, ratio {memory / matrices:.2f}")


if __name__ == "__main__":
    main()
