"""What batching gives over HTTP: throughput of concurrent queries against the same queries one at a time.

A real server process on a loopback port, keep-alive connections, one client process, the bundled model. Both ways
are measured in turns, and the medians compared. Prints the ratios; 1.00 would be no gain.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlencode

from api import Sightline
from retrieval.training.world.galleries import write_gallery

GALLERY = "postcards"


class Connection:
    """A keep-alive connection that does little, so that the server is what is measured."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def get(self, path: str) -> bytes:
        """Ask for a path and give the body, which must be a success."""
        self._writer.write(f"GET {path} HTTP/1.1\r\nHost: sightline\r\n\r\n".encode())
        head = await self._reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
        body = await self._reader.readexactly(length)
        assert head.startswith(b"HTTP/1.1 200 "), (head, body)
        return body

    def close(self) -> None:
        """Hang up."""
        self._writer.close()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenes", type=int, default=1000, help="pictures in the gallery")
    parser.add_argument("--queries", type=int, default=512, help="queries of a turn by the first stage")
    parser.add_argument("--reranked", type=int, default=48, help="reranked queries of a turn")
    parser.add_argument("--connections", type=int, default=64, help="concurrent clients")
    parser.add_argument("--turns", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        texts = make_gallery(Path(folder), options.scenes)
        with serving(Path(folder) / "home") as port:
            # No more at once than the queue of reranked queries takes by default: the rest would be told to come back.
            reranking = min(options.connections, 24)
            plans = (
                ("first stage", "false", options.queries, options.connections),
                ("reranked", "true", options.reranked, reranking),
            )
            for name, rerank, count, connections in plans:
                paths = [path_of(texts[i % len(texts)], rerank) for i in range(count)]
                print(asyncio.run(compare(name, port, paths, connections, options.turns)), flush=True)


def make_gallery(folder: Path, scenes: int) -> list[str]:
    """Render and index a gallery; give its captions, which serve as queries."""
    pictures = folder / "pictures"
    write_gallery(pictures, scenes=scenes, seed=11)
    Sightline(folder / "home").index(pictures, gallery=GALLERY, model="postcards")
    with (pictures / "captions.jsonl").open() as lines:
        return list(dict.fromkeys(json.loads(line)["texts"][0] for line in lines))


@contextmanager
def serving(home: Path) -> Iterator[int]:
    """Run the server and give its port."""
    command = [sys.executable, "-c", "from api.cli import main; main()", "serve", "--port", "0"]
    environment = os.environ | {"SIGHTLINE_HOME": str(home), "SIGHTLINE_OFFLINE": "1"}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            yield int(server.stdout.readline().partition(";")[0].rpartition(":")[2])
        finally:
            server.terminate()


def path_of(text: str, rerank: str) -> str:
    """Give the address of a query."""
    return f"/v1/galleries/{GALLERY}/search?{urlencode({'text': text, 'k': 10, 'rerank': rerank})}"


async def compare(name: str, port: int, paths: Sequence[str], connections: int, turns: int) -> str:
    """Measure both ways in turns; give a line with the medians and their ratio."""
    clients = [Connection(*await connected(port)) for _ in range(connections)]
    pages = await ask(paths, clients)  # warms up
    rates: dict[int, list[float]] = {1: [], connections: []}
    for _ in range(turns):
        for count, measured in rates.items():
            start = time.perf_counter()
            again = await ask(paths, clients[:count])
            measured.append(len(paths) / (time.perf_counter() - start))
            assert [ids(page) for page in again] == [ids(page) for page in pages], "batching changed an answer"
    for client in clients:
        client.close()
    alone, together = (statistics.median(measured) for measured in rates.values())
    spread = " ".join(f"{two / one:.2f}" for one, two in zip(*rates.values(), strict=True))
    return (
        f"{name}: {together:.0f}/s with {connections} clients, {alone:.0f}/s one at a time: "
        f"ratio {together / alone:.2f} (turn by turn {spread})"
    )


async def connected(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect as soon as the server listens."""
    for _ in range(600):
        try:
            return await asyncio.open_connection("127.0.0.1", port)
        except ConnectionRefusedError:
            await asyncio.sleep(0.1)
    raise TimeoutError(f"nobody listens on port {port}")


async def ask(paths: Sequence[str], clients: Sequence[Connection]) -> list[bytes]:
    """Share queries among clients, each of which asks one at a time; give the answers in order."""
    answers: dict[int, bytes] = {}
    waiting = iter(enumerate(paths))

    async def work(client: Connection) -> None:
        for place, path in waiting:
            answers[place] = await client.get(path)

    await asyncio.gather(*(work(client) for client in clients))
    return [answers[i] for i in range(len(paths))]


def ids(page: bytes) -> list[int]:
    """Read the hits of a page."""
    return [hit["id"] for hit in json.loads(page)["hits"]]


if __name__ == "__main__":
    main()
