"""Random models of any size in the authors' key names, and what they compute written out in double precision."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import conv2d, interpolate

from retrieval.models.albef import AlbefRetrieval
from retrieval.models.blip import BlipRetrieval
from retrieval.models.blip2 import Blip2Retrieval

State = dict[str, Tensor]

SIMILARITY = 2e-6
LOGIT = 5e-6

MASKED = -10000.0
VISION_EPS, LN_VISION_EPS, TEXT_EPS = 1e-6, 1e-5, 1e-12
WORDS = ("red", "ball", "dog", "tree", "on", "the", "two", "small", "boats", "near", "a", "green", "house")
TEXTS = ("dog", "two small boats near the house", "red ball", " ".join(WORDS[::-1] * 2))


@dataclass(frozen=True)
class Sizes:
    """Every size of a model. `fusion` is ALBEF's first layer that sees the picture, `every` the Q-Former's step."""

    image: int = 32
    patch: int = 16
    vision: int = 24
    blocks: int = 2
    vision_heads: int = 3
    vision_mlp: int = 96
    text: int = 32
    layers: int = 2
    text_heads: int = 4
    text_mlp: int = 80
    embedding: int = 12
    positions: int = 24
    longest: int = 16
    unused: int = 0
    fusion: int = 1
    every: int = 2
    queries: int = 4

    def tokens(self) -> int:
        return (self.image // self.patch) ** 2 + 1

    def special(self) -> list[str]:
        """The vocabulary begins with these; where `unused` is not 0, their ids are not those of the golden sets."""
        return ["[PAD]", *(f"[unused{i}]" for i in range(self.unused)), "[UNK]", "[CLS]", "[SEP]", "[MASK]"]

    def vocabulary(self) -> list[str]:
        return [*self.special(), *WORDS]


class Weights:
    """Draw weights under the authors' names, large enough for every nonlinearity to matter."""

    def __init__(self, seed: int) -> None:
        self.state: State = {}
        self.random = torch.Generator().manual_seed(seed)

    def table(self, name: str, *shape: int, std: float = 0.2, mean: float = 0.0) -> None:
        self.state[name] = mean + std * torch.randn(shape, generator=self.random)

    def linear(self, name: str, into: int, out: int) -> None:
        self.table(f"{name}.weight", out, into, std=1.2 * into**-0.5)
        self.table(f"{name}.bias", out)

    def norm(self, name: str, width: int) -> None:
        self.table(f"{name}.weight", width, mean=1.0)
        self.table(f"{name}.bias", width, std=0.1)

    def vision(self, name: str, sizes: Sizes, *, eva: bool = False) -> None:
        """A ViT; that of EVA has no bias for keys and no last norm."""
        width, pixels = sizes.vision, 3 * sizes.patch**2
        self.table(f"{name}cls_token", 1, 1, width)
        self.table(f"{name}pos_embed", 1, sizes.tokens(), width)
        self.table(f"{name}patch_embed.proj.weight", width, 3, sizes.patch, sizes.patch, std=pixels**-0.5)
        self.table(f"{name}patch_embed.proj.bias", width)
        for i in range(sizes.blocks):
            block = f"{name}blocks.{i}"
            self.norm(f"{block}.norm1", width)
            self.linear(f"{block}.attn.qkv", width, 3 * width)
            self.linear(f"{block}.attn.proj", width, width)
            self.norm(f"{block}.norm2", width)
            self.linear(f"{block}.mlp.fc1", width, sizes.vision_mlp)
            self.linear(f"{block}.mlp.fc2", sizes.vision_mlp, width)
            if eva:
                bias = self.state.pop(f"{block}.attn.qkv.bias")
                self.state[f"{block}.attn.q_bias"] = bias[:width].clone()
                self.state[f"{block}.attn.v_bias"] = bias[2 * width :].clone()
        # What is added up stays small, so that the norms' epsilons matter.
        added = ("cls_token", "pos_embed", "patch_embed.proj", "attn.proj", "mlp.fc2")
        for key in [key for key in self.state if key.startswith(name) and any(part in key for part in added)]:
            self.state[key] *= 0.1
        if not eva:
            self.norm(f"{name}norm", width)

    def embeddings(self, name: str, sizes: Sizes, *, added: int, types: bool = False) -> None:
        """The tables of a text transformer whose vocabulary has `added` rows after those of vocab.txt."""
        self.state[f"{name}.position_ids"] = torch.arange(sizes.positions)[None]
        self.table(f"{name}.word_embeddings.weight", len(sizes.vocabulary()) + added, sizes.text)
        self.table(f"{name}.position_embeddings.weight", sizes.positions, sizes.text)
        if types:
            self.table(f"{name}.token_type_embeddings.weight", 2, sizes.text)
        self.norm(f"{name}.LayerNorm", sizes.text)

    def attention(self, name: str, into: int, width: int) -> None:
        self.linear(f"{name}.self.query", width, width)
        self.linear(f"{name}.self.key", into, width)
        self.linear(f"{name}.self.value", into, width)
        self.linear(f"{name}.output.dense", width, width)
        self.norm(f"{name}.output.LayerNorm", width)

    def feed_forward(self, layer: str, sizes: Sizes, kind: str = "") -> None:
        self.linear(f"{layer}.intermediate{kind}.dense", sizes.text, sizes.text_mlp)
        self.linear(f"{layer}.output{kind}.dense", sizes.text_mlp, sizes.text)
        self.norm(f"{layer}.output{kind}.LayerNorm", sizes.text)

    def layer(self, layer: str, sizes: Sizes, *, crosses: bool) -> None:
        self.attention(f"{layer}.attention", sizes.text, sizes.text)
        if crosses:
            self.attention(f"{layer}.crossattention", sizes.vision, sizes.text)
        self.feed_forward(layer, sizes)

    def language_head(self, name: str, sizes: Sizes, *, words: str) -> None:
        """What the authors' files hold to predict words, tied to the table `words` as they tie it."""
        table = self.state[words]
        self.table(f"{name}.predictions.bias", len(table))
        self.linear(f"{name}.predictions.transform.dense", sizes.text, sizes.text)
        self.norm(f"{name}.predictions.transform.LayerNorm", sizes.text)
        self.state[f"{name}.predictions.decoder.weight"] = table
        self.state[f"{name}.predictions.decoder.bias"] = self.state[f"{name}.predictions.bias"]

    def heads(self, sizes: Sizes, *, image: int) -> None:
        self.linear("vision_proj", image, sizes.embedding)
        self.linear("text_proj", sizes.text, sizes.embedding)
        self.table("itm_head.weight", 2, sizes.text, std=sizes.text**-0.5)
        self.table("itm_head.bias", 2)
        self.state["temp"] = torch.tensor(0.05)

    def twins(self, *queues: str) -> None:
        """Momentum twins and queues, none of them of the values that count."""
        for part in ("visual_encoder", "text_encoder", "vision_proj", "text_proj"):
            for key in [key for key in self.state if key.startswith(f"{part}.")]:
                twin = key.replace(part, f"{part}_m", 1)
                if self.state[key].is_floating_point():
                    self.table(twin, *self.state[key].shape)
                else:
                    self.state[twin] = self.state[key]
        width = len(self.state["vision_proj.bias"])
        self.table("image_queue", width, 6)
        self.table("text_queue", width, 6)
        self.state |= {queue: torch.zeros(1, dtype=torch.long) for queue in queues}


class Reference(ABC):
    """What a model computes, in float64, from a state dict in the authors' key names."""

    def __init__(self, state: Mapping[str, Tensor], sizes: Sizes) -> None:
        self.state = {key: value.double() for key, value in state.items()}
        self.sizes = sizes

    @abstractmethod
    def look(self, pixels: Tensor) -> Tensor:
        """The image tokens [n, t, c]."""

    @abstractmethod
    def project_images(self, tokens: Tensor) -> Tensor:
        """The unit vectors [n, v, d]."""

    @abstractmethod
    def project_texts(self, ids: Tensor, mask: Tensor) -> Tensor:
        """The unit vectors [n, d]."""

    @abstractmethod
    def compare(self, tokens: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
        """The ITM logits [m, 2] of m pairs."""

    def linear(self, name: str, x: Tensor) -> Tensor:
        return x @ self.state[f"{name}.weight"].T + self.state[f"{name}.bias"]

    def norm(self, name: str, x: Tensor, eps: float) -> Tensor:
        centred = x - x.mean(-1, keepdim=True)
        scaled = centred / (centred.square().mean(-1, keepdim=True) + eps).sqrt()
        return scaled * self.state[f"{name}.weight"] + self.state[f"{name}.bias"]

    def unit(self, name: str, x: Tensor) -> Tensor:
        projected = self.linear(name, x)
        return projected / projected.square().sum(-1, keepdim=True).sqrt()

    def transform_image(self, pixels: Tensor, *, eva: bool = False) -> Tensor:
        """The pre-norm ViT, without its last norm."""
        weight, bias = (self.state[f"visual_encoder.patch_embed.proj.{kind}"] for kind in ("weight", "bias"))
        patches = conv2d(pixels.double(), weight, bias, stride=weight.shape[-1]).flatten(2).transpose(1, 2)
        first = self.state["visual_encoder.cls_token"].expand(len(pixels), -1, -1)
        x = torch.cat([first, patches], dim=1) + self.positions(patches.shape[1])
        for i in range(self.sizes.blocks):
            block = f"visual_encoder.blocks.{i}"
            x = x + self._attend_to_patches(f"{block}.attn", self.norm(f"{block}.norm1", x, VISION_EPS), eva=eva)
            inner = gelu(self.linear(f"{block}.mlp.fc1", self.norm(f"{block}.norm2", x, VISION_EPS)))
            x = x + self.linear(f"{block}.mlp.fc2", inner)
        return x

    def positions(self, patches: int) -> Tensor:
        """The position of the CLS token as it is, those of the patches brought to another grid bicubically."""
        stored = self.state["visual_encoder.pos_embed"]
        old, new = round((stored.shape[1] - 1) ** 0.5), round(patches**0.5)
        if old == new:
            return stored
        grid = stored[:, 1:].reshape(1, old, old, -1).permute(0, 3, 1, 2)
        grid = interpolate(grid, size=(new, new), mode="bicubic", align_corners=False)
        return torch.cat([stored[:, :1], grid.permute(0, 2, 3, 1).flatten(1, 2)], dim=1)

    def _attend_to_patches(self, name: str, x: Tensor, *, eva: bool) -> Tensor:
        if eva:
            q_bias, v_bias = self.state[f"{name}.q_bias"], self.state[f"{name}.v_bias"]
            bias = torch.cat([q_bias, torch.zeros_like(q_bias), v_bias])
        else:
            bias = self.state[f"{name}.qkv.bias"]
        query, key, value = (x @ self.state[f"{name}.qkv.weight"].T + bias).chunk(3, dim=-1)
        return self.linear(f"{name}.proj", attend(query, key, value, heads=self.sizes.vision_heads))

    def embed(self, name: str, ids: Tensor) -> Tensor:
        """The sum of the tables that there are, before its norm; the token type is always 0."""
        x = self.state[f"{name}.word_embeddings.weight"][ids]
        x = x + self.state[f"{name}.position_embeddings.weight"][: ids.shape[1]]
        types = self.state.get(f"{name}.token_type_embeddings.weight")
        return x if types is None else x + types[0]

    def attention(self, name: str, x: Tensor, seen: Tensor, mask: Tensor | None = None) -> Tensor:
        """BERT's post-norm attention from x to what is seen."""
        query = self.linear(f"{name}.self.query", x)
        key, value = self.linear(f"{name}.self.key", seen), self.linear(f"{name}.self.value", seen)
        context = attend(query, key, value, heads=self.sizes.text_heads, mask=mask)
        return self.norm(f"{name}.output.LayerNorm", self.linear(f"{name}.output.dense", context) + x, TEXT_EPS)

    def feed_forward(self, layer: str, x: Tensor, kind: str = "") -> Tensor:
        inner = gelu(self.linear(f"{layer}.intermediate{kind}.dense", x))
        outer = self.linear(f"{layer}.output{kind}.dense", inner)
        return self.norm(f"{layer}.output{kind}.LayerNorm", outer + x, TEXT_EPS)

    def layer(self, layer: str, x: Tensor, mask: Tensor, tokens: Tensor | None = None) -> Tensor:
        x = self.attention(f"{layer}.attention", x, x, mask)
        if tokens is not None:
            x = self.attention(f"{layer}.crossattention", x, tokens)
        return self.feed_forward(layer, x)


class AlbefReference(Reference):
    """Text layers first, then layers that also see the picture."""

    def look(self, pixels: Tensor) -> Tensor:
        return self.norm("visual_encoder.norm", self.transform_image(pixels), VISION_EPS)

    def project_images(self, tokens: Tensor) -> Tensor:
        return self.unit("vision_proj", tokens[:, :1])

    def project_texts(self, ids: Tensor, mask: Tensor) -> Tensor:
        return self.unit("text_proj", self._read(ids, mask)[:, 0])

    def compare(self, tokens: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
        x = self._read(ids, mask)
        for i in range(self.sizes.fusion, self.sizes.layers):
            x = self.layer(f"text_encoder.encoder.layer.{i}", x, mask, tokens)
        return self.linear("itm_head", x[:, 0])

    def _read(self, ids: Tensor, mask: Tensor) -> Tensor:
        x = self.embed("text_encoder.embeddings", ids)
        x = self.norm("text_encoder.embeddings.LayerNorm", x, TEXT_EPS)
        for i in range(self.sizes.fusion):
            x = self.layer(f"text_encoder.encoder.layer.{i}", x, mask)
        return x


class BlipReference(Reference):
    """One stack for both: every layer sees the picture, unless there is only text."""

    def look(self, pixels: Tensor) -> Tensor:
        return self.norm("visual_encoder.norm", self.transform_image(pixels), VISION_EPS)

    def project_images(self, tokens: Tensor) -> Tensor:
        return self.unit("vision_proj", tokens[:, :1])

    def project_texts(self, ids: Tensor, mask: Tensor) -> Tensor:
        return self.unit("text_proj", self._read(ids, mask, None)[:, 0])

    def compare(self, tokens: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
        return self.linear("itm_head", self._read(ids, mask, tokens)[:, 0])

    def _read(self, ids: Tensor, mask: Tensor, tokens: Tensor | None) -> Tensor:
        x = self.embed("text_encoder.embeddings", ids)
        x = self.norm("text_encoder.embeddings.LayerNorm", x, TEXT_EPS)
        for i in range(self.sizes.layers):
            x = self.layer(f"text_encoder.encoder.layer.{i}", x, mask, tokens)
        return x


class Blip2Reference(Reference):
    """Queries and text in one sequence; only the queries see the picture, and only in every so many layers."""

    def look(self, pixels: Tensor) -> Tensor:
        return self.norm("ln_vision", self.transform_image(pixels, eva=True), LN_VISION_EPS)

    def project_images(self, tokens: Tensor) -> Tensor:
        queries = self.state["query_tokens"].expand(len(tokens), -1, -1)
        seen = self._transform(queries, torch.ones(queries.shape[:2]), tokens, queries=queries.shape[1])
        return self.unit("vision_proj", seen)

    def project_texts(self, ids: Tensor, mask: Tensor) -> Tensor:
        x = self.embed("Qformer.bert.embeddings", ids)
        return self.unit("text_proj", self._transform(x, mask, None, queries=0)[:, 0])

    def compare(self, tokens: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
        queries = self.state["query_tokens"].expand(len(tokens), -1, -1)
        x = torch.cat([queries, self.embed("Qformer.bert.embeddings", ids)], dim=1)
        joint = torch.cat([torch.ones(queries.shape[:2]), mask], dim=1)
        seen = self._transform(x, joint, tokens, queries=queries.shape[1])[:, : queries.shape[1]]
        return self.linear("itm_head", seen).mean(1)

    def _transform(self, x: Tensor, mask: Tensor, tokens: Tensor | None, *, queries: int) -> Tensor:
        x = self.norm("Qformer.bert.embeddings.LayerNorm", x, TEXT_EPS)
        for i in range(self.sizes.layers):
            layer = f"Qformer.bert.encoder.layer.{i}"
            x = self.attention(f"{layer}.attention", x, x, mask)
            asked, text = x[:, :queries], x[:, queries:]
            if queries and i % self.sizes.every == 0:
                assert tokens is not None
                asked = self.attention(f"{layer}.crossattention", asked, tokens)
            if queries:
                asked = self.feed_forward(layer, asked, "_query")
            x = torch.cat([asked, self.feed_forward(layer, text)], dim=1)
        return x


class Family(ABC):
    """One family: its random weights, its configuration, what it computes and the port under test."""

    name: str
    port: Any
    sizes = Sizes
    reference: type[Reference]
    queues: tuple[str, ...]
    layer: str

    @abstractmethod
    def weights(self, sizes: Sizes, seed: int) -> Weights:
        """Weights of a retrieval model."""

    @abstractmethod
    def config(self, sizes: Sizes) -> dict[str, Any]:
        """What the weights do not tell."""

    def draw(self, sizes: Sizes, seed: int = 0) -> State:
        return self.weights(sizes, seed).state

    def write(self, folder: Path, state: object, config: Mapping[str, Any], sizes: Sizes) -> Path:
        """A folder as the port opens it; `state` is what goes into the file, whatever its layout."""
        folder.mkdir(parents=True, exist_ok=True)
        torch.save(state, folder / "checkpoint.pth")
        (folder / "config.json").write_text(json.dumps(config))
        (folder / "vocab.txt").write_text("\n".join(sizes.vocabulary()) + "\n")
        return folder

    def open(self, folder: Path) -> Any:
        return self.port.open(folder, name="x", device="cpu")

    def made(self, folder: Path, sizes: Sizes, seed: int = 0) -> tuple[Any, Reference]:
        """The port and the reference with the same random weights."""
        state = self.draw(sizes, seed)
        model = self.open(self.write(folder, {"model": state}, self.config(sizes), sizes))
        return model, self.reference(state, sizes)

    def encoder_ids(self, words: Sequence[str], sizes: Sizes) -> list[int]:
        """[CLS] words [SEP]."""
        ids = [sizes.vocabulary().index(word) for word in ("[CLS]", *words)]
        return [*ids[: sizes.longest - 1], sizes.vocabulary().index("[SEP]")]

    def matcher_ids(self, words: Sequence[str], sizes: Sizes) -> list[int]:
        return self.encoder_ids(words, sizes)


class Albef(Family):
    name = "albef"
    port = AlbefRetrieval
    reference = AlbefReference
    queues = ("queue_ptr",)
    layer = "text_encoder.encoder.layer"

    def weights(self, sizes: Sizes, seed: int) -> Weights:
        weights = Weights(seed)
        weights.vision("visual_encoder.", sizes)
        weights.embeddings("text_encoder.embeddings", sizes, added=0, types=True)
        for i in range(sizes.layers):
            weights.layer(f"text_encoder.encoder.layer.{i}", sizes, crosses=i >= sizes.fusion)
        weights.heads(sizes, image=sizes.vision)
        return weights

    def config(self, sizes: Sizes) -> dict[str, Any]:
        return {
            "model": "ALBEF retrieval",
            "vit": {"image_res": sizes.image, "num_heads": sizes.vision_heads},
            "bert": {"num_attention_heads": sizes.text_heads},
            "max_text_len": sizes.longest,
        }

    def encoder_ids(self, words: Sequence[str], sizes: Sizes) -> list[int]:
        """[CLS] words: ALBEF's tokenizer appends nothing."""
        return [sizes.vocabulary().index(word) for word in ("[CLS]", *words)][: sizes.longest]


class Blip(Family):
    name = "blip"
    port = BlipRetrieval
    reference = BlipReference
    queues = ("idx_queue", "ptr_queue")
    layer = "text_encoder.encoder.layer"

    def weights(self, sizes: Sizes, seed: int) -> Weights:
        weights = Weights(seed)
        weights.vision("visual_encoder.", sizes)
        weights.embeddings("text_encoder.embeddings", sizes, added=2)
        for i in range(sizes.layers):
            weights.layer(f"text_encoder.encoder.layer.{i}", sizes, crosses=True)
        weights.heads(sizes, image=sizes.vision)
        return weights

    def config(self, sizes: Sizes) -> dict[str, Any]:
        return {
            "model": "BLIP retrieval",
            "vit": {"image_size": sizes.image, "num_heads": sizes.vision_heads},
            "bert": {"num_attention_heads": sizes.text_heads},
            "max_text_len": sizes.longest,
        }

    def matcher_ids(self, words: Sequence[str], sizes: Sizes) -> list[int]:
        """[ENC], the second of the two rows that follow the vocabulary, takes the place of [CLS]."""
        return [len(sizes.vocabulary()) + 1, *self.encoder_ids(words, sizes)[1:]]


class Blip2(Family):
    name = "blip2"
    port = Blip2Retrieval
    reference = Blip2Reference
    queues = ()
    layer = "Qformer.bert.encoder.layer"

    def weights(self, sizes: Sizes, seed: int) -> Weights:
        weights = Weights(seed)
        weights.vision("visual_encoder.", sizes, eva=True)
        weights.norm("ln_vision", sizes.vision)
        weights.table("query_tokens", 1, sizes.queries, sizes.text, std=0.5)
        weights.embeddings("Qformer.bert.embeddings", sizes, added=1)
        for i in range(sizes.layers):
            weights.layer(f"Qformer.bert.encoder.layer.{i}", sizes, crosses=i % sizes.every == 0)
            weights.feed_forward(f"Qformer.bert.encoder.layer.{i}", sizes, "_query")
        weights.heads(sizes, image=sizes.text)
        weights.language_head("Qformer.cls", sizes, words="Qformer.bert.embeddings.word_embeddings.weight")
        return weights

    def config(self, sizes: Sizes) -> dict[str, Any]:
        return {
            "model": "BLIP-2 stage-1 (Q-Former) retrieval",
            "vit": {"image_size": sizes.image, "num_heads": sizes.vision_heads},
            "qformer": {"num_attention_heads": sizes.text_heads},
            "eval_text_len": sizes.longest,
        }


def gelu(x: Tensor) -> Tensor:
    return x * 0.5 * (1 + torch.erf(x / 2**0.5))


def attend(query: Tensor, key: Tensor, value: Tensor, *, heads: int, mask: Tensor | None = None) -> Tensor:
    """Softmax attention; what the mask [n, keys] says 0 of gets -10000."""
    q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (query, key, value))
    scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
    if mask is not None:
        scores = scores + (1 - mask.double())[:, None, None] * MASKED
    weights = (scores - scores.amax(-1, keepdim=True)).exp()
    return (weights / weights.sum(-1, keepdim=True) @ v).transpose(1, 2).flatten(2)


def assert_agree(
    model: Any, reference: Reference, family: Family, *, images: int = 3, texts: Sequence[str] = TEXTS
) -> None:
    """Compare all that a port gives with the reference: every picture, text, similarity and pair."""
    sizes = reference.sizes
    words = [text.split() for text in texts]
    assert [model.encoder_ids(text) for text in texts] == [family.encoder_ids(text, sizes) for text in words]
    assert [model.matcher_ids(text) for text in texts] == [family.matcher_ids(text, sizes) for text in words]
    pixels = torch.randn((images, 3, sizes.image, sizes.image), generator=torch.Generator().manual_seed(1))
    tokens, seen = model.look(pixels), reference.look(pixels)
    close(tokens / seen.abs().amax(), seen / seen.abs().amax(), LOGIT)

    ids, mask = to_length([family.encoder_ids(text, sizes) for text in words], sizes.longest)
    read, shown = reference.project_texts(ids, mask), reference.project_images(seen)
    close(model.encode_texts(texts), read, SIMILARITY)
    close(model.project_images(tokens), shown, SIMILARITY)
    ours = similarities(model.project_images(tokens), torch.tensor(model.encode_texts(texts)))
    close(ours, similarities(shown, read), SIMILARITY)

    ids, mask = to_length([family.matcher_ids(text, sizes) for text in words], sizes.longest)
    image, text = torch.cartesian_prod(torch.arange(images), torch.arange(len(texts))).unbind(1)
    logits = reference.compare(seen[image], ids[text], mask[text])
    close(model.compare(tokens[image], ids[text], mask[text]), logits, LOGIT)
    pairs = torch.stack([image, text], dim=1).flip(0)
    close(model.match(tokens.numpy(), texts, pairs.numpy()), logits.flip(0), LOGIT)


def to_length(sequences: Sequence[Sequence[int]], length: int) -> tuple[Tensor, Tensor]:
    """Ids and mask, both padded to a length."""
    ids = torch.tensor([[*sequence, *[0] * (length - len(sequence))] for sequence in sequences])
    mask = torch.tensor([[1] * len(sequence) + [0] * (length - len(sequence)) for sequence in sequences])
    return ids, mask


def similarities(images: Tensor, texts: Tensor) -> Tensor:
    """The best of an image's vectors [n, v, d] for each text [m, d]: [n, m]."""
    return torch.einsum("nvd,md->nmv", images.double(), texts.double()).amax(-1)


def close(got: Any, want: Any, tolerance: float) -> None:
    np.testing.assert_allclose(np.asarray(got), np.asarray(want), rtol=0, atol=tolerance)


@pytest.fixture
def agree() -> Callable[..., None]:
    return assert_agree


@pytest.fixture(scope="session")
def families() -> dict[str, Family]:
    return {family.name: family for family in (Albef(), Blip(), Blip2())}


@pytest.fixture(params=["albef", "blip", "blip2"])
def family(request: pytest.FixtureRequest, families: dict[str, Family]) -> Family:
    return families[request.param]


@pytest.fixture
def sizes() -> type[Sizes]:
    """The sizes of a model, small ones unless others are given."""
    return Sizes
