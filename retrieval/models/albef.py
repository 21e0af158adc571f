"""ALBEF as its authors evaluate it: retrieval (ITC and ITM).

Source: Li et al., Align before Fuse (arXiv 2107.07651), section 3; salesforce/ALBEF, models/model_retrieval.py and
Retrieval.py. The first layers of BERT read the text alone; the layers from `fusion_layer` on read those states together
with the image tokens, so that the text pass of ITC serves ITM, too. The vision tower is transformers' ViT of BLIP, the
layers are transformers' BERT, which has no class that is cut in two. What others change and this file does not: a text
is [CLS] and its pieces, without [SEP], and token types are added. Checkpoints that LAVIS trained anew have no token
types and read [SEP]; their configuration states `type_vocab_size` 0.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from string import punctuation
from typing import Any, Self

import torch
from torch import nn
from transformers import BertConfig, BlipVisionConfig, BlipVisionModel
from transformers.models.bert.modeling_bert import BertAttention, BertEmbeddings, BertLayer
from transformers.models.blip.modeling_blip_text import BlipTextEmbeddings

from retrieval.errors import BadCheckpoint
from retrieval.models import material
from retrieval.models.network import TEXT_SIZES, VISION_SIZES, as_tensor, pick, placed
from retrieval.models.preprocess import CLIP_MEAN, CLIP_STD, pre_caption, pre_caption_albef
from retrieval.models.preprocess import spaced_punctuation as spaced
from retrieval.models.retriever import Retriever
from retrieval.models.roles import Precision
from retrieval.models.vocabulary import Vocabulary

# Raise by one whenever the embeddings of an unchanged weights file change.
ENCODER_REVISION = 1

TEXT_LENGTH = 30
VISION_EPS = 1e-6
TEXT_EPS = 1e-12

# What cleaning parts words at.
_APART = re.compile(r"[\s/-]+")

_TEXT_SIZES = (*TEXT_SIZES, "fusion_layer", "type_vocab_size")


class AlbefRetrieval(Retriever):
    """Encoder and matcher in one: they share the weights."""

    vectors = 1

    @classmethod
    def open(cls, folder: Path, *, name: str, device: str | None = None, precision: Precision = "float32") -> Self:
        """Load a folder or a file in the authors' layout, or a folder of this project."""
        found = material.gather(folder, "albef", text_length=TEXT_LENGTH)
        try:
            with torch.device("meta"):
                network = AlbefNetwork(found.config)
        except Exception as error:  # transformers raises several kinds
            raise BadCheckpoint(
                folder, f"its config.json is no ALBEF configuration ({type(error).__name__})"
            ) from error
        found.fill(network)
        rows = network.text_encoder.embeddings.word_embeddings.num_embeddings
        vocabulary = Vocabulary.open(found.vocabulary, rows=rows, added=())
        network = placed(network, device=device, precision=precision)
        return cls(network, vocabulary, text_length=found.text_length, folder=folder, name=name)

    @property
    def preprocessing(self) -> Mapping[str, Any]:
        """Everything beside the weights that decides the embeddings, for the fingerprint."""
        vision, text = self.network.config.vision_config, self.network.config.text_config
        return {
            "revision": ENCODER_REVISION,
            "image": ["RGB", "bicubic", self.image_size, CLIP_MEAN, CLIP_STD],
            "text": [self._clean.__name__, self.text_length, self._is_of_lavis, self.vocabulary.digest],
            "heads": [vision.num_attention_heads, text.num_attention_heads],
            "fusion_layer": text.fusion_layer,
            "eps": [VISION_EPS, TEXT_EPS],
        }

    @property
    def dimension(self) -> int:
        """d: length of one vector."""
        return int(self.network.vision_proj.out_features)

    def unknown_words(self, text: str) -> list[str]:
        """The words of a text that the vocabulary cannot express, as written, each once, in order."""
        if self._is_of_lavis:
            return self.vocabulary.unknown_words(spaced(text))
        words = (word.strip(punctuation) for word in _APART.split(text))
        unknown = (word for word in words if self.vocabulary.unknown_words(pre_caption_albef(word)))
        return list({word.casefold(): word for word in unknown}.values())

    def image_states(self, tokens: torch.Tensor) -> torch.Tensor:
        """The image tokens `[n, t, c]` themselves; the class token comes first."""
        return tokens

    def text_states(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """States `[n, s, c]` of ids `[n, s]` below the first layer that looks at a picture."""
        return as_tensor(self.network.read(ids, mask))

    def pair_states(self, tokens: torch.Tensor, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """States `[m, s, c]` of m pairs: image tokens `[m, t, c]` with ids `[m, s]`."""
        return as_tensor(self.network.fuse(self.network.read(ids, mask), mask, tokens))

    def map_images(self, states: torch.Tensor) -> torch.Tensor:
        """Image states `[..., c]` in the space of ITC, `[..., d]`."""
        return as_tensor(self.network.vision_proj(states))

    def map_texts(self, states: torch.Tensor) -> torch.Tensor:
        """Text states `[..., c]` in the space of ITC, `[..., d]`."""
        return as_tensor(self.network.text_proj(states))

    @torch.inference_mode()
    def compare(self, tokens: torch.Tensor, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """ITM logits `[m, 2]` of m pairs: image tokens `[m, t, c]` with ids `[m, s]`."""
        return as_tensor(self.network.itm_head(self.pair_states(tokens, ids, mask)[:, 0]))

    def encoder_ids(self, text: str) -> list[int]:
        """[CLS] and the pieces of a text, nothing behind them: the authors' tokenizer adds no [SEP]."""
        end = [self.vocabulary.sep] if self._is_of_lavis else []
        pieces = self.vocabulary.encode(self._clean(text))
        return [self.vocabulary.cls, *pieces[: self.text_length - 1 - len(end)], *end]

    matcher_ids = encoder_ids

    @property
    def _is_of_lavis(self) -> bool:
        """Whether LAVIS trained it: without token types, on texts that BLIP's cleaning left and that [SEP] ends."""
        return bool(self.network.config.text_config.type_vocab_size == 0)

    @property
    def _clean(self) -> Callable[[str], str]:
        return pre_caption if self._is_of_lavis else pre_caption_albef


class AlbefNetwork(nn.Module):
    """ALBEF's weights under the authors' names; the vision tower's are transformers'."""

    def __init__(self, stated: Mapping[str, Any]) -> None:
        super().__init__()
        self.config = AlbefConfig(stated)
        self.vision_model = BlipVisionModel(self.config.vision_config)
        self.text_encoder = _TextEncoder(self.config.text_config, width_seen=self.config.vision_config.hidden_size)
        width = self.config.text_config.hidden_size
        self.vision_proj = nn.Linear(self.config.vision_config.hidden_size, self.config.embedding)
        self.text_proj = nn.Linear(width, self.config.embedding)
        self.itm_head = nn.Linear(width, 2)

    def read(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """States `[n, s, c]` of ids and mask `[n, s]` when no picture is there: the layers below the fusion."""
        states = self.text_encoder.embeddings(input_ids=ids)
        for layer in self.text_encoder.layers[: self.config.text_config.fusion_layer]:
            states = layer(states, _visible(mask))
        return as_tensor(states)

    def fuse(self, states: torch.Tensor, mask: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """States `[m, s, c]` of texts that were read and now look at image tokens `[m, t, c]`: the other layers."""
        for layer in self.text_encoder.layers[self.config.text_config.fusion_layer :]:
            states = layer(states, _visible(mask), tokens)
        return states


class AlbefConfig:
    """Sizes from a configuration; what it does not say is the published model's."""

    def __init__(self, stated: Mapping[str, Any]) -> None:
        vision = pick(stated.get("vision_config") or {}, VISION_SIZES)
        text = pick(stated.get("text_config") or {}, _TEXT_SIZES)
        self.vision_config = BlipVisionConfig(**vision | {"layer_norm_eps": VISION_EPS})
        self.text_config = BertConfig(**{"fusion_layer": 6} | text | {"layer_norm_eps": TEXT_EPS})
        self.text_config._attn_implementation = "sdpa"
        self.embedding = int(stated.get("image_text_hidden_size", 256))


class _TextEncoder(nn.Module):
    def __init__(self, config: Any, *, width_seen: int) -> None:
        super().__init__()
        self.embeddings = (BertEmbeddings if config.type_vocab_size else BlipTextEmbeddings)(config)
        self.encoder = nn.Module()
        layers = (_layer(config, i, width_seen=width_seen) for i in range(config.num_hidden_layers))
        self.encoder.layer = nn.ModuleList(layers)

    @property
    def layers(self) -> nn.ModuleList:
        """All layers of BERT."""
        layers = self.encoder.layer
        assert isinstance(layers, nn.ModuleList)
        return layers


def _layer(config: Any, number: int, *, width_seen: int) -> Any:
    """A layer of BERT; from the fusion on with cross-attention to states of the width that pictures have."""
    layer = BertLayer(config)
    if number >= config.fusion_layer:
        layer.crossattention = BertAttention(config, is_cross_attention=True)
        layer.crossattention.self.key = nn.Linear(width_seen, config.hidden_size)
        layer.crossattention.self.value = nn.Linear(width_seen, config.hidden_size)
        layer.is_decoder = layer.add_cross_attention = True
    return layer


def _visible(mask: torch.Tensor) -> torch.Tensor:
    """Which positions are seen, `bool [n, 1, 1, s]`: padding adds nothing, as with the authors' -10000."""
    return mask.bool()[:, None, None, :]
