"""A small tower, and a world that can be checked by eye: pictures whose left half and right half have a colour each."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import pytest
import torch
from transformers import BlipConfig, BlipForImageTextRetrieval

from retrieval.training.captioned import CaptionedPictures, Pairs
from retrieval.training.losses import IGNORED
from retrieval.training.sibling.batches import Telling, ToldPictures
from retrieval.training.tower import save_tower, share_tower

COLOURS = {"red": (2.0, -2.0, -2.0), "green": (-2.0, 2.0, -2.0), "blue": (-2.0, -2.0, 2.0)}
WORDS = ["a", "photo", "of", "left", "right", "what", "is", "the", "on", "?"]
TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *COLOURS, *WORDS, "[DEC]", "[ENC]"]
SIDE = 32


@dataclass(frozen=True)
class Halves:
    """Lessons about pictures of two halves; the same step gives the same batch."""

    count: int = 6
    seed: int = 1
    hints = MappingProxyType({"side": 2})  # of a colour: whether it is right of the other
    told_hints = MappingProxyType({"side": 2})

    def captioned(self, step: int) -> CaptionedPictures:
        pictures = self._pictures("captioned", step)
        captions = [f"{left} left {right} right" for left, right in pictures]
        wrong = [f"{right} left {left} right" for left, right in pictures]
        truth = torch.tensor([[one == other for other in pictures] for one in pictures])
        sides = torch.tensor([[IGNORED, 0, IGNORED, 1, IGNORED, IGNORED]]).repeat(self.count, 1)
        rows, matches = [*range(self.count)] * 2, [True] * self.count + [False] * self.count
        pairs = Pairs([*captions, *wrong], rows, matches, {"side": sides})  # the wrong captions have no hints
        return CaptionedPictures(_pixels(pictures), captions, range(self.count), truth, pairs)

    def texts(self, step: int) -> Sequence[Telling]:
        return [telling for picture in self._pictures("texts", step) for telling in _tellings(picture)]

    def told(self, step: int) -> ToldPictures:
        pictures = self._pictures("told", step)
        texts = [telling for picture in pictures for telling in _tellings(picture)]
        sides = torch.tensor([[*[IGNORED] * 4, 0, IGNORED, 1], [IGNORED] * 7]).repeat(self.count, 1)
        return ToldPictures(
            _pixels(pictures), texts, [row for row in range(self.count) for _ in range(2)], {"side": sides}
        )

    def _pictures(self, kind: str, step: int) -> list[tuple[str, str]]:
        rng = random.Random(f"{self.seed} {kind} {step}")
        return [tuple(rng.sample(list(COLOURS), 2)) for _ in range(self.count)]


def _tellings(picture: tuple[str, str]) -> list[Telling]:
    left, right = picture
    return [
        Telling("a photo of", f"{left} left {right} right"),
        Telling("Question: what is on the left? Answer:", left),
    ]


def _pixels(pictures: Sequence[tuple[str, str]]) -> torch.Tensor:
    pixels = torch.zeros(len(pictures), 3, SIDE, SIDE)
    for row, (left, right) in enumerate(pictures):
        pixels[row, :, :, : SIDE // 2] = torch.tensor(COLOURS[left])[:, None, None]
        pixels[row, :, :, SIDE // 2 :] = torch.tensor(COLOURS[right])[:, None, None]
    return pixels


@pytest.fixture(scope="session")
def tower_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the two parts of a bundled model that a model on its tower needs: itm/ and tower/."""
    folder = tmp_path_factory.mktemp("models") / "parent"
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    torch.manual_seed(5)
    config = BlipConfig(
        vision_config={**sizes, "image_size": SIDE, "patch_size": 16, "layer_norm_eps": 1e-6, "initializer_range": 0.1},
        text_config={**sizes, "vocab_size": len(TOKENS), "max_position_embeddings": 40, "encoder_hidden_size": 32},
        image_text_hidden_size=16,
    )
    model = BlipForImageTextRetrieval(config)
    # Colours and places weigh the same in a token.
    embeddings = model.vision_model.embeddings
    torch.nn.init.normal_(embeddings.patch_embedding.weight, std=0.02)
    torch.nn.init.normal_(embeddings.position_embedding, std=1.0)
    for layer in model.vision_model.encoder.layers:
        torch.nn.init.normal_(layer.self_attn.qkv.bias)  # keys have a bias here, which BLIP-2 has not
    model.half().save_pretrained(folder / "itm")
    (folder / "itm" / "vocab.txt").write_text("".join(f"{token}\n" for token in TOKENS))
    save_tower(folder / "itm", folder / "tower" / "model.safetensors")
    assert share_tower(folder / "itm", folder / "tower" / "model.safetensors")
    return folder


@pytest.fixture
def lessons() -> Halves:
    return Halves()


@pytest.fixture
def tokens() -> list[str]:
    return TOKENS
