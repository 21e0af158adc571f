"""Full-size shapes with random weights: load a checkpoint in the authors' layout, encode and match one picture.

Every model is written to a temporary folder under the real names of its weights, with momentum twins and queues where
its authors' files have them, and opened by a process of its own, whose largest memory is what is reported.

    python benchmarks/full_size.py [NAME...] [--write]     # --write puts the table into docs/full-size.md
"""

from __future__ import annotations

import json
import multiprocessing
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

import numpy as np
import torch
from PIL import Image

from retrieval.models.authors import RENAMED, Kind

TABLE = Path(__file__).parent.parent / "docs" / "full-size.md"
LIMIT_GIB = 16
TEXT = "a man in a blue shirt is standing on a ladder cleaning a window"

BERT = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}
VIT_B = BERT | {"image_size": 384, "patch_size": 16}
VIT_L = VIT_B | {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16}
VIT_G = {
    "hidden_size": 1408,
    "intermediate_size": 6144,
    "num_hidden_layers": 39,
    "num_attention_heads": 16,
    "patch_size": 14,
}
TEXT_OF_BLIP = BERT | {"vocab_size": 30524}
QFORMER = BERT | {"vocab_size": 30523, "cross_attention_frequency": 2}


@dataclass(frozen=True)
class Size:
    """One published architecture: which network, its configuration, and whether its file has momentum twins."""

    name: str
    kind: Kind
    config: Mapping[str, Any]
    twins: bool

    @property
    def stated(self) -> dict[str, Any]:
        """What the weights cannot say, as config.json has it."""
        heads = {"num_heads": self.config["vision_config"]["num_attention_heads"]}
        return {"vit": heads, "bert": {"num_attention_heads": 12}, "qformer": {"num_attention_heads": 12}}


SIZES = (
    Size("ALBEF 384", "albef", {"vision_config": VIT_B, "text_config": BERT | {"fusion_layer": 6}}, True),
    Size("BLIP base 384", "blip", {"vision_config": VIT_B, "text_config": TEXT_OF_BLIP}, True),
    Size("BLIP large 384", "blip", {"vision_config": VIT_L, "text_config": TEXT_OF_BLIP}, True),
    *(
        Size(
            f"BLIP-2 ViT-g {side}",
            "blip2",
            {"vision_config": VIT_G | {"image_size": side}, "qformer_config": QFORMER, "num_query_tokens": 32},
            False,
        )
        for side in (224, 364)
    ),
)


def main() -> None:
    """Measure the sizes that are named, or all."""
    wanted = [name for name in sys.argv[1:] if not name.startswith("--")]
    sizes = [size for size in SIZES if not wanted or size.name in wanted]
    lines = [
        f"| {'model':15} | parameters | file, GB | open, s | encode, s | match, s | largest memory, GiB | in company |",
        f"|{'-' * 17}|---|---|---|---|---|---|---|",
    ]
    print(*lines, sep="\n")
    for size in sizes:
        with tempfile.TemporaryDirectory(prefix="full-size-") as folder:
            apart(write, size, Path(folder))
            found = apart(measure, size, Path(folder))
        assert found["memory"] <= LIMIT_GIB, f"{size.name} took {found['memory']:.1f} GiB, more than {LIMIT_GIB}"
        lines.append(
            f"| {size.name:15} | {found['parameters'] / 1e6:.0f} M | {found['file'] / 1e9:.2f} | {found['open']:.1f} | "
            f"{found['encode']:.2f} | {found['match']:.2f} | {found['memory']:.1f} | {found['company']:.1e} |"
        )
        print(lines[-1], flush=True)
    if "--write" in sys.argv:
        save(lines)


def write(size: Size, folder: Path) -> dict[str, Any]:
    """Write a folder in the authors' layout: random weights, and a vocabulary of as many lines as BERT's."""
    generator = torch.Generator().manual_seed(0)
    state = {name: spread(name, shape, generator) for name, shape in authors_shapes(size).items()}
    if size.twins:
        state |= twins(state)
        state |= {"image_queue": torch.randn(256, 65536), "text_queue": torch.randn(256, 65536)}
        state |= {"queue_ptr": torch.zeros(1, dtype=torch.long), "temp": torch.tensor(0.07)}
    torch.save({"model": state}, folder / "checkpoint.pth")
    (folder / "config.json").write_text(json.dumps(size.stated))
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *dict.fromkeys(TEXT.split())]
    (folder / "vocab.txt").write_text("\n".join([*words, *(f"word{i}" for i in range(30522 - len(words)))]) + "\n")
    return {}


def authors_shapes(size: Size) -> dict[str, torch.Size]:
    """Names and shapes of the weights as the authors' file has them."""
    names = RENAMED[size.kind]
    shapes = {names.back(key): value.shape for key, value in empty(size).state_dict().items()}
    for key in [key for key in shapes if size.kind == "blip2" and key.endswith(".attn.qkv.bias")]:
        third = torch.Size([shapes.pop(key)[0] // 3])
        shapes |= {key.replace("qkv.bias", "q_bias"): third, key.replace("qkv.bias", "v_bias"): third}
    return shapes


def empty(size: Size) -> Any:
    """The network without weights."""
    from transformers import Blip2ForImageTextRetrieval, BlipForImageTextRetrieval

    from retrieval.models.albef import AlbefNetwork
    from retrieval.models.blip import configure as configure_blip
    from retrieval.models.blip2 import configure as configure_blip2

    with torch.device("meta"):
        match size.kind:
            case "albef":
                return AlbefNetwork(size.config)
            case "blip":
                return BlipForImageTextRetrieval(configure_blip(size.config, {}))
            case "blip2":
                return Blip2ForImageTextRetrieval(configure_blip2(size.config, reads_texts=True))
            case other:
                raise ValueError(other)


def spread(name: str, shape: torch.Size, generator: torch.Generator) -> torch.Tensor:
    """Numbers of the spread that trained weights have; norms begin as ones."""
    if "norm" in name.lower() or "ln_vision" in name:
        return torch.ones(shape) if name.endswith("weight") else torch.zeros(shape)
    return torch.randn(shape, generator=generator) * 0.04


def twins(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The momentum models that a retrieval checkpoint holds beside the model."""
    starts = ("visual_encoder", "text_encoder", "vision_proj", "text_proj")
    return {
        key.replace(start, f"{start}_m", 1): value + 1
        for key, value in state.items()
        for start in starts
        if key.startswith(f"{start}.")
    }


def measure(size: Size, folder: Path) -> dict[str, Any]:
    """Open the folder as a user's, encode one picture, match it with one text."""
    from retrieval.models.load import load_encoder, load_matcher
    from retrieval.models.resolve import resolve

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    seconds = {}
    checkpoint, seconds["open"] = timed(lambda: resolve(str(folder)))
    model, taken = timed(lambda: load_encoder(checkpoint, device="cpu", offline=True))
    seconds["open"] += taken
    matcher: Any = load_matcher(checkpoint, device="cpu", offline=True)
    noise = np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)
    pixels = matcher.prepare(Image.fromarray(noise))[None]
    _, seconds["encode"] = timed(lambda: model.encode_images(pixels))
    tokens = matcher.image_tokens(pixels)
    pair = np.zeros((1, 2), dtype=np.int64)
    alone, seconds["match"] = timed(lambda: matcher.match(tokens, [TEXT], pair))
    texts = [TEXT, " ".join([TEXT] * 3), *(TEXT.replace("man", word) for word in ("blue", "shirt", "window"))]
    together = matcher.match(tokens, texts, np.array([[0, text] for text in range(len(texts))]))
    return seconds | {
        "parameters": sum(weight.numel() for weight in matcher.network.parameters()),
        "file": (folder / "checkpoint.pth").stat().st_size,
        "company": float(np.abs(alone[0] - together[0]).max()),
        "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
    }


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """What a call gives and the seconds it took."""
    start = time.perf_counter()
    result = work()
    return result, time.perf_counter() - start


def apart(work: Callable[[Size, Path], dict[str, Any]], size: Size, folder: Path) -> dict[str, Any]:
    """Do it in a fresh process, so that its memory is its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(work, (size, folder))


def save(lines: list[str]) -> None:
    """Write the page."""
    cores = len(os.sched_getaffinity(0))
    TABLE.write_text(
        "# Full-size models on a CPU\n\n"
        "Random weights of the published shapes, under the names that the authors' files have, float32, "
        f"{cores} cores; written by\n`python benchmarks/full_size.py --write`. Opening reads the file, leaves momentum "
        "twins and queues out, and checks every name and\nshape. Encoding is one picture of 640 x 480 to its ITC "
        "embedding, matching one pair with cached image tokens. Memory is the\nlargest resident size of the process, "
        "which counts the pages of the file while it is read. The last column is the largest\nchange of a logit when "
        "the pair shares its batch with four others: texts of one length are read together, so\nnothing is padded, "
        "and what is left is the rounding of float32 in products of other sizes.\n\n" + "\n".join(lines) + "\n",
        encoding="utf-8",
    )


if __name__ == "__main__":
    main()
