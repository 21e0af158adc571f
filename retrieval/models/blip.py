"""BLIP as its authors evaluate it, on transformers' modules: retrieval (ITC and ITM), captions, answers.

The modules are called one by one, because the classes around them differ from the authors' code in what follows:
the vision transformer's layer norm uses 1e-6 whatever a configuration says, the match head reads [ENC] and not
[CLS] at position 0, text encoders have twelve heads where a configuration is silent, and the answer decoder reads
question states of the text's width and not the vision's.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import normalize
from transformers import (
    BlipConfig,
    BlipForConditionalGeneration,
    BlipForImageTextRetrieval,
    BlipForQuestionAnswering,
    GenerationConfig,
)
from transformers.models.blip.modeling_blip_text import BlipTextLMHeadModel

from retrieval.errors import BadCheckpoint
from retrieval.models import hub, weights
from retrieval.models.network import (
    PAIRS_AT_ONCE,
    TEXT_SIZES,
    TEXTS_AT_ONCE,
    VISION_SIZES,
    Sighted,
    as_array,
    as_tensor,
    best_device,
    joined,
    padded,
    pick,
)
from retrieval.models.preprocess import CLIP_MEAN, CLIP_STD, pre_caption, pre_question
from retrieval.models.preprocess import spaced_punctuation as spaced
from retrieval.models.vocabulary import Vocabulary, read_text_length
from retrieval.types import Float32, UInt8

# Raise by one whenever the embeddings of an unchanged weights file change.
ENCODER_REVISION = 1

TEXT_LENGTH = 35
PROMPT = "a picture of "

VISION_EPS = 1e-6
TEXT_EPS = 1e-12
TEXT_HEADS = 12
VOCABULARY_ROWS = 30524

_TIES = {
    "text_decoder.cls.predictions.decoder.weight": "text_decoder.bert.embeddings.word_embeddings.weight",
    "text_decoder.cls.predictions.decoder.bias": "text_decoder.cls.predictions.bias",
}


class _Blip(Sighted):
    """What the three models share: a network that sees, and a vocabulary."""

    def __init__(self, network: Any, vocabulary: Vocabulary, *, folder: Path, name: str) -> None:
        super().__init__(network, folder=folder, name=name)
        self.vocabulary = vocabulary
        self.text_length = read_text_length(folder, authors=TEXT_LENGTH)

    def unknown_words(self, text: str) -> list[str]:
        """The words of a text that the vocabulary cannot express, as written, each once, in order."""
        return self.vocabulary.unknown_words(spaced(text))

    def _padded(self, sequences: Sequence[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
        return padded(sequences, pad=self.vocabulary.pad, device=self.device)

    def _generate(self, ids: torch.Tensor, states: torch.Tensor) -> list[str]:
        """Let the text decoder go on from `ids [n, s]` while it reads `states [n, t, c]`: n texts."""
        generated = self.network.text_decoder.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            encoder_hidden_states=states,
            encoder_attention_mask=torch.ones(states.shape[:2], dtype=torch.long, device=states.device),
        )
        return [self.vocabulary.decode(row) for row in generated.tolist()]


class BlipRetrieval(_Blip):
    """Encoder and matcher in one: they share the weights."""

    vectors = 1

    @classmethod
    def open(cls, folder: Path, *, name: str, device: str | None = None) -> Self:
        """Load a folder in Hugging Face's layout, as float32."""
        network, vocabulary = _open(BlipForImageTextRetrieval, folder, device=device)
        return cls(network, vocabulary, folder=folder, name=name)

    @cached_property
    def fingerprint(self) -> str:
        """Digest of the weights file, the preprocessing and the encoder's revision."""
        config = self.network.config
        preprocessing = {
            "revision": ENCODER_REVISION,
            "image": ["RGB", "bicubic", self.image_size, CLIP_MEAN, CLIP_STD],
            "text": ["pre_caption", self.text_length, self.vocabulary.digest],
            "heads": [config.vision_config.num_attention_heads, config.text_config.num_attention_heads],
            "eps": [VISION_EPS, TEXT_EPS],
            "weights": weights.digest(self.folder),
        }
        return hashlib.sha256(json.dumps(preprocessing, sort_keys=True).encode()).hexdigest()

    @property
    def dimension(self) -> int:
        """d: length of one vector."""
        return int(self.network.config.image_text_hidden_size)

    def encode_images(self, pixels: UInt8) -> Float32:
        """Embed prepared pictures `uint8 [n, R, R, 3]` to `float32 [n, 1, d]`."""
        parts = [as_array(self.project_images(tokens)) for tokens in self.looks(pixels)]
        return joined(parts, (0, self.dimension))[:, None, :]

    def encode_texts(self, texts: Sequence[str]) -> Float32:
        """Embed n texts to `float32 [n, d]`."""
        sequences = [self._sequence(text, first=self.vocabulary.cls) for text in texts]
        chunks = (sequences[i : i + TEXTS_AT_ONCE] for i in range(0, len(sequences), TEXTS_AT_ONCE))
        parts = [as_array(self.project_texts(*self._padded(chunk))) for chunk in chunks]
        return joined(parts, (0, self.dimension))

    def match(self, tokens: Float32, texts: Sequence[str], pairs: NDArray[np.int64]) -> Float32:
        """Score pairs `int64 [m, 2]` of (row of `tokens`, row of `texts`): logits `float32 [m, 2]`; 1 is match."""
        sequences = [self._sequence(text, first=self.vocabulary.enc) for text in texts]
        parts = []
        for start in range(0, len(pairs), PAIRS_AT_ONCE):
            chunk = pairs[start : start + PAIRS_AT_ONCE]
            images = torch.tensor(tokens[chunk[:, 0]], device=self.device)
            ids, mask = self._padded([sequences[row] for row in chunk[:, 1]])
            parts.append(as_array(self.compare(images, ids, mask)))
        return joined(parts, (0, 2))

    @torch.inference_mode()
    def project_images(self, tokens: torch.Tensor) -> torch.Tensor:
        """ITC embeddings `[n, d]` of image tokens `[n, t, c]`: the class token, projected, of unit length."""
        return normalize(as_tensor(self.network.vision_proj(tokens[:, 0])), dim=-1)

    @torch.inference_mode()
    def project_texts(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """ITC embeddings `[n, d]` of ids `[n, s]` that begin with [CLS]; no image is attended to."""
        states = self.network.text_encoder(input_ids=ids, attention_mask=mask).last_hidden_state
        return normalize(as_tensor(self.network.text_proj(states[:, 0])), dim=-1)

    @torch.inference_mode()
    def compare(self, tokens: torch.Tensor, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """ITM logits `[m, 2]` of m pairs: image tokens `[m, t, c]` with ids `[m, s]` that begin with [ENC]."""
        states = self.network.text_encoder(input_ids=ids, attention_mask=mask, encoder_hidden_states=tokens)
        return as_tensor(self.network.itm_head(states.last_hidden_state[:, 0]))

    def _sequence(self, text: str, *, first: int) -> list[int]:
        return self.vocabulary.sequence(pre_caption(text), first=first, length=self.text_length)


class BlipCaptioner(_Blip):
    """Describes a picture: the text decoder goes on from "a picture of"."""

    @classmethod
    def open(cls, folder: Path, *, name: str, device: str | None = None) -> Self:
        """Load a folder in Hugging Face's layout, as float32."""
        network, vocabulary = _open(BlipForConditionalGeneration, folder, device=device)
        # The authors' settings for COCO; both lengths count the prompt.
        settings = {"num_beams": 3, "max_length": 20, "min_length": 5}
        _set_generation(network, vocabulary, settings | pick(hub.read_generation(folder), tuple(settings)))
        return cls(network, vocabulary, folder=folder, name=name)

    def caption(self, pixels: UInt8) -> list[str]:
        """Describe n prepared pictures `uint8 [n, R, R, 3]`: n captions without the prompt."""
        return [caption for tokens in self.looks(pixels) for caption in self.describe(tokens)]

    @torch.inference_mode()
    def describe(self, tokens: torch.Tensor) -> list[str]:
        """Captions of n pictures from their tokens `[n, t, c]`."""
        texts = self._generate(self.prompt.expand(len(tokens), -1), tokens)
        return [text[len(PROMPT) :].strip() for text in texts]

    @property
    def prompt(self) -> torch.Tensor:
        """The ids every caption begins with, `int64 [1, s]`: [DEC] a picture of."""
        return torch.tensor([[self.vocabulary.dec, *self.vocabulary.encode(PROMPT)]], device=self.device)


class BlipAnswerer(_Blip):
    """Answers a question about a picture: the text decoder reads what the question found in it."""

    @classmethod
    def open(cls, folder: Path, *, name: str, device: str | None = None) -> Self:
        """Load a folder in Hugging Face's layout, as float32."""
        network, vocabulary = _open(BlipForQuestionAnswering, folder, device=device)
        settings = {"num_beams": 3, "max_length": 10, "min_length": 1}
        _set_generation(network, vocabulary, settings | pick(hub.read_generation(folder), tuple(settings)))
        return cls(network, vocabulary, folder=folder, name=name)

    def answer(self, pixels: UInt8, question: str) -> list[str]:
        """Answer one question about n prepared pictures `uint8 [n, R, R, 3]`: n answers."""
        ids = self.vocabulary.sequence(pre_question(question), first=self.vocabulary.enc, length=self.text_length)
        parts = (self.reply(self.ask(tokens, *self._padded([ids] * len(tokens)))) for tokens in self.looks(pixels))
        return [answer for part in parts for answer in part]

    @torch.inference_mode()
    def ask(self, tokens: torch.Tensor, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Question states `[n, s, c]`: ids `[n, s]` that begin with [ENC], read with image tokens `[n, t, c]`."""
        states = self.network.text_encoder(input_ids=ids, attention_mask=mask, encoder_hidden_states=tokens)
        return as_tensor(states.last_hidden_state)

    @torch.inference_mode()
    def reply(self, states: torch.Tensor) -> list[str]:
        """Answers from n question states `[n, s, c]`, every position of which is read, padding too."""
        start = torch.full((len(states), 1), self.vocabulary.dec, device=states.device)
        return self._generate(start, states)


def _open(kind: Callable[[Any], Any], folder: Path, *, device: str | None) -> tuple[Any, Vocabulary]:
    """Build a network from config.json and fill it from the weights file; read its vocabulary."""
    stated = hub.read_config(folder)
    text = stated.get("text_config") or {}
    vocabulary = Vocabulary.open(folder, rows=text.get("vocab_size", VOCABULARY_ROWS))
    try:
        network = _build(kind, stated, vocabulary)
    except Exception as error:  # transformers raises several kinds
        raise BadCheckpoint(folder, f"config.json is no BLIP configuration ({type(error).__name__})") from error
    weights.fill(network, weights.read_state(folder), folder=folder, ties=_TIES)
    return network.eval().requires_grad_(False).to(device or best_device()), vocabulary


def _build(kind: Callable[[Any], Any], stated: Mapping[str, Any], vocabulary: Vocabulary) -> Any:
    """Make an empty network, on the meta device."""
    config = _configure(stated, vocabulary)
    with torch.device("meta"):
        network = kind(config)
        if kind is BlipForQuestionAnswering:
            network.text_decoder = BlipTextLMHeadModel(_reading_text(config.text_config))
    return network


def _configure(stated: Mapping[str, Any], vocabulary: Vocabulary) -> Any:
    """Take the sizes from config.json and nothing else: the rest is the authors' or the vocabulary's to say."""
    text = pick(stated.get("text_config") or {}, TEXT_SIZES)
    vision = pick(stated.get("vision_config") or {}, VISION_SIZES)
    authors = {"layer_norm_eps": TEXT_EPS, "is_decoder": True, **vocabulary.special_ids}
    return BlipConfig(
        text_config={"num_attention_heads": TEXT_HEADS, "vocab_size": VOCABULARY_ROWS, **text, **authors},
        vision_config=vision | {"layer_norm_eps": VISION_EPS},
        image_text_hidden_size=stated.get("image_text_hidden_size", 256),
    )


def _reading_text(text_config: Any) -> Any:
    """The configuration of a decoder whose cross-attention reads text states, not image tokens."""
    config = copy.deepcopy(text_config)
    config.encoder_hidden_size = config.hidden_size
    return config


def _set_generation(network: Any, vocabulary: Vocabulary, settings: Mapping[str, Any]) -> None:
    network.text_decoder.generation_config = GenerationConfig(
        repetition_penalty=1.0,
        do_sample=False,
        **settings,
        **{name: token for name, token in vocabulary.special_ids.items() if name != "sep_token_id"},
    )
