"""A file as large as ALBEF's, with its keys and shapes, downloaded over a line that breaks off twice."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from retrieval.models.digests import sha256
from retrieval.models.fetch import fetch
from retrieval.models.load import load_matcher
from retrieval.models.resolve import resolve

pytestmark = pytest.mark.stress

ROOM = 5_000_000_000
QUEUE = 65_536

Shapes = dict[str, tuple[int, ...]]


class BreakingServer(ThreadingHTTPServer):
    """Serves one file with ranges; each answer ends at the next position of `breaks`."""

    daemon_threads = True
    file: Path
    breaks: list[int]
    asked: list[str | None]


class Handler(BaseHTTPRequestHandler):
    server: BreakingServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        asked, total = self.headers["Range"], self.server.file.stat().st_size
        first = int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0
        end = self.server.breaks.pop(0) if self.server.breaks else total
        self.server.asked.append(asked)
        self.send_response(206 if first else 200)
        self.send_header("ETag", '"one"')
        self.send_header("Content-Length", str(total - first))
        if first:
            self.send_header("Content-Range", f"bytes {first}-{total - 1}/{total}")
        self.end_headers()
        with self.server.file.open("rb") as stream:
            stream.seek(first)
            while first < end and (block := stream.read(min(1 << 20, end - first))):
                self.wfile.write(block)
                first += len(block)
        self.close_connection = end < total

    def log_message(self, format: str, *args: object) -> None:
        pass


def linear(name: str, rows: int, columns: int) -> Shapes:
    return {f"{name}.weight": (rows, columns), f"{name}.bias": (rows,)}


def norm(name: str, width: int = 768) -> Shapes:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def vision_shapes(name: str) -> Shapes:
    """ViT-B/16 at 384 pixels: 24 x 24 patches and [CLS]."""
    shapes: Shapes = {
        f"{name}.cls_token": (1, 1, 768),
        f"{name}.pos_embed": (1, 577, 768),
        f"{name}.patch_embed.proj.weight": (768, 3, 16, 16),
        f"{name}.patch_embed.proj.bias": (768,),
    }
    for block in (f"{name}.blocks.{i}" for i in range(12)):
        shapes |= norm(f"{block}.norm1") | linear(f"{block}.attn.qkv", 2304, 768)
        shapes |= linear(f"{block}.attn.proj", 768, 768) | norm(f"{block}.norm2")
        shapes |= linear(f"{block}.mlp.fc1", 3072, 768) | linear(f"{block}.mlp.fc2", 768, 3072)
    return shapes | norm(f"{name}.norm")


def text_shapes(name: str) -> Shapes:
    """BERT-base with cross-attention in layers 6 to 11."""
    embeddings = f"{name}.embeddings"
    shapes: Shapes = {
        f"{embeddings}.position_ids": (1, 512),
        f"{embeddings}.word_embeddings.weight": (30522, 768),
        f"{embeddings}.position_embeddings.weight": (512, 768),
        f"{embeddings}.token_type_embeddings.weight": (2, 768),
    }
    shapes |= norm(f"{embeddings}.LayerNorm")
    for i in range(12):
        layer = f"{name}.encoder.layer.{i}"
        for attention in ("attention", "crossattention") if i >= 6 else ("attention",):
            for part in ("self.query", "self.key", "self.value", "output.dense"):
                shapes |= linear(f"{layer}.{attention}.{part}", 768, 768)
            shapes |= norm(f"{layer}.{attention}.output.LayerNorm")
        shapes |= linear(f"{layer}.intermediate.dense", 3072, 768) | linear(f"{layer}.output.dense", 768, 3072)
        shapes |= norm(f"{layer}.output.LayerNorm")
    return shapes


def albef_shapes() -> Shapes:
    """What ALBEF's retrieval files hold: the model, its momentum twins and the queues of its training."""
    shapes: Shapes = {"temp": ()}
    for twin in ("", "_m"):
        shapes |= vision_shapes(f"visual_encoder{twin}") | text_shapes(f"text_encoder{twin}")
        shapes |= linear(f"vision_proj{twin}", 256, 768) | linear(f"text_proj{twin}", 256, 768)
    shapes |= linear("itm_head", 2, 768)
    return shapes | {
        "image_queue": (256, QUEUE),
        "text_queue": (256, QUEUE),
        "idx_queue": (1, QUEUE),
        "queue_ptr": (1,),
    }


def albef_state() -> dict[str, torch.Tensor]:
    """Random numbers in those shapes; what counts is counted in whole numbers."""
    generator = torch.Generator().manual_seed(0)
    state = {
        name: torch.randn(shape, generator=generator).mul_(0.02)
        for name, shape in albef_shapes().items()
        if not name.endswith(("position_ids", "idx_queue", "queue_ptr"))
    }
    for twin in ("", "_m"):
        state[f"text_encoder{twin}.embeddings.position_ids"] = torch.arange(512).expand(1, -1).clone()
    return state | {"idx_queue": torch.full((1, QUEUE), -100), "queue_ptr": torch.zeros(1, dtype=torch.long)}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[BreakingServer]:
    """The file behind a server; all that was written is deleted afterwards, as pytest would keep it."""
    free = shutil.disk_usage(tmp_path).free
    if free < ROOM:
        pytest.fail(f"{tmp_path} has {free / 1e9:.1f} GB free, and this test needs {ROOM / 1e9:.1f} GB")
    server = BreakingServer(("127.0.0.1", 0), Handler)
    server.file, server.asked = tmp_path / "served.pth", []
    thread = threading.Thread(target=server.serve_forever)
    try:
        torch.save({"model": albef_state()}, server.file)
        thread.start()
        yield server
        server.shutdown()
        thread.join()
    finally:
        server.server_close()
        for file in tmp_path.iterdir():
            file.unlink()


@pytest.mark.timeout(1200)
def test_a_file_of_full_size_that_breaks_off_twice_arrives_whole(
    server: BreakingServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    total = server.file.stat().st_size
    assert 1_600_000_000 < total < 2_000_000_000
    first, second = total // 3 + 17, total - 1_000_003
    server.breaks = [first, second]
    fetch(f"http://127.0.0.1:{server.server_port}/mscoco.pth", tmp_path / "mscoco.pth")
    assert server.asked == [None, f"bytes={first}-", f"bytes={second}-"]
    assert sha256(tmp_path / "mscoco.pth") == sha256(server.file)
    state = torch.load(tmp_path / "mscoco.pth", map_location="cpu", weights_only=True, mmap=True)["model"]
    assert {name: tuple(value.shape) for name, value in state.items()} == albef_shapes()
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "cat"]
    rows = state["text_encoder.embeddings.word_embeddings.weight"].shape[0]
    (tmp_path / "vocab.txt").write_text("\n".join([*words, *(f"word{i}" for i in range(rows - len(words)))]))
    checkpoint = resolve(str(tmp_path / "mscoco.pth"))
    assert (checkpoint.family, checkpoint.protocol, checkpoint.image_size) == ("albef", "itm", 384)
    matcher = load_matcher(checkpoint, device="cpu", offline=True)
    tokens = matcher.image_tokens(matcher.prepare(Image.new("RGB", (640, 480)))[None])
    assert tokens.shape == (1, 577, 768)
    assert np.isfinite(matcher.match(tokens, ["a cat"], np.zeros((1, 2), dtype=np.int64))).all()
