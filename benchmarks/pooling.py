"""What a first pass by one vector an item gives and costs, where items have several: time and recall of the exact page.

Two galleries: postcards as the shipped BLIP-2 embeds them, asked for by their captions, and random unit vectors, whose
means say next to nothing. One query at a time; the exact search and every first pass are measured in turns, and the
medians compared. Times are the processor's, because a single query runs in one thread: what else the machine does then
counts little. Recall is the share of the exact page's k items that the pooled page has too.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from api import Sightline
from api.settings import Settings
from retrieval.first_stage import find
from retrieval.training.world.galleries import write_gallery
from retrieval.types import Float32
from storage.galleries import Gallery
from storage.snapshots import Part, Pool, Snapshot
from storage.vectors.faiss_shards import FaissStore

MODEL = "postcards-blip2"
SIZES = (10, 100)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenes", type=int, default=1000, help="postcards in the gallery")
    parser.add_argument("--items", type=int, default=5000, help="items of random vectors")
    parser.add_argument("--vectors", type=int, default=32, help="random vectors of an item")
    parser.add_argument("--dimension", type=int, default=256, help="length of a random vector")
    parser.add_argument("--queries", type=int, default=50)
    parser.add_argument("--pooled", type=int, nargs="+", default=[50, 100, 200, 500, 1000])
    parser.add_argument("--turns", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        snapshot, queries = postcards(Path(folder), options.scenes, options.queries)
        report("postcards", snapshot, queries, options.pooled, options.turns)
        del snapshot
    snapshot, queries = random_vectors(options.items, options.vectors, options.dimension, options.queries)
    report("random vectors", snapshot, queries, options.pooled, options.turns)


def postcards(folder: Path, scenes: int, count: int) -> tuple[Snapshot, Float32]:
    """Render and index a gallery; give its snapshot and some of its captions as queries `float32 [q, 1, d]`."""
    pictures = folder / "pictures"
    write_gallery(pictures, scenes=scenes, seed=11)
    library = Sightline(settings=Settings(home=folder / "home", offline=True))
    library.index(pictures, gallery="postcards", model=MODEL)
    lines = (pictures / "captions.jsonl").read_text(encoding="utf-8").splitlines()
    texts = list(dict.fromkeys(json.loads(line)["texts"][0] for line in lines))
    gallery = library.gallery("postcards")
    with library.wiring.database.reading() as session:
        snapshot = library.wiring.snapshots.newest(session, gallery, "image")
    queries = library.wiring.encoder_of(gallery).encode_texts(texts[:: max(1, len(texts) // count)][:count])
    library.close()
    return snapshot, queries[:, None]


def random_vectors(items: int, vectors: int, dimension: int, count: int) -> tuple[Snapshot, Float32]:
    """Draw unit vectors for items and queries."""
    generator = np.random.default_rng(3)
    embeddings = unit(generator.standard_normal((items, vectors, dimension), dtype=np.float32))
    store, slots = FaissStore(), np.arange(items)
    shard = store.hold(embeddings.reshape(-1, dimension))
    alive = np.ones(items, dtype=bool)
    part = Part(shard, slots + 1, alive, embeddings, slots, Pool(store, embeddings, slots))
    gallery = Gallery(1, "random", "none", "none", dimension, vectors, 1, ())
    queries = unit(generator.standard_normal((count, 1, dimension), dtype=np.float32))
    return Snapshot(gallery, "image", 1, (part,)), queries


def unit(vectors: Float32) -> Float32:
    """Give vectors the length 1."""
    length: Float32 = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors / length


def report(name: str, snapshot: Snapshot, queries: Float32, pooled: Sequence[int], turns: int) -> None:
    """Print a line for each page size and each first pass: recall, both times and their ratio."""
    vectors, dimension = snapshot.parts[0].embeddings.shape[1:]
    print(f"{name}: {snapshot.items} items of {vectors} vectors of {dimension}, {len(queries)} queries")
    start = time.process_time()
    for part in snapshot.parts:
        _ = part.pooled
    spent = time.process_time() - start
    print(f"  averaged once in {spent:.2f} s; cosine of a vector and its item's mean {nearness(snapshot.parts):.2f}")
    for k in SIZES:
        passes = [None, *(one for one in pooled if k <= one < snapshot.items)]
        pages = {one: [ids(query, snapshot, k, one) for query in queries] for one in passes}  # warms up
        times: dict[int | None, list[float]] = {one: [] for one in passes}
        for _ in range(turns):
            for one, measured in times.items():
                start = time.process_time()
                for query in queries:
                    find(query[None], snapshot, k, pooled=one)
                measured.append((time.process_time() - start) / len(queries))
        exact = statistics.median(times[None])
        for one in passes[1:]:
            found = statistics.fmean(len(a & b) / len(a) for a, b in zip(pages[None], pages[one], strict=True))
            median = statistics.median(times[one])
            spread = " ".join(f"{a / b:.1f}" for a, b in zip(times[None], times[one], strict=True))
            print(
                f"  k {k:3d}, pooled {one:4d}: recall {found:.3f}, {1e3 * median:.2f} ms a query, exact "
                f"{1e3 * exact:.2f} ms: ratio {exact / median:.1f} (turn by turn {spread})",
                flush=True,
            )


def nearness(parts: Sequence[Part]) -> float:
    """Average the cosine of a vector and the mean of its item: near 1, the mean speaks for all of them."""
    slots = [np.arange(len(part.ids)) for part in parts]
    cosines = [
        np.einsum("nvd,nd->nv", part.vectors(some), part.pooled.vectors(some)[:, 0])
        for part, some in zip(parts, slots, strict=True)
    ]
    return float(np.concatenate(cosines).mean())


def ids(query: Float32, snapshot: Snapshot, k: int, pooled: int | None) -> set[int]:
    """Give the items of a page."""
    return {one.item_id for one in find(query[None], snapshot, k, pooled=pooled)[0]}


if __name__ == "__main__":
    main()
