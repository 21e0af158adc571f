"""BLIP as its authors evaluate it, on transformers' modules: retrieval (ITC and ITM), captions, answers.

The modules are called one by one, because the classes around them differ from the authors' code in what follows:
the vision transformer's layer norm uses 1e-6 whatever a configuration says, the match head reads [ENC] and not
[CLS] at position 0, text encoders have twelve heads where a configuration is silent, and the answer decoder reads
question states of the text's width and not the vision's.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import torch
from transformers import (
    BlipConfig,
    BlipForConditionalGeneration,
    BlipForImageTextRetrieval,
    BlipForQuestionAnswering,
    GenerationConfig,
)
from transformers.models.blip.modeling_blip_text import BlipTextLMHeadModel

from retrieval.errors import BadCheckpoint
from retrieval.models import hub, material
from retrieval.models.authors import Kind
from retrieval.models.network import (
    TEXT_SIZES,
    VISION_SIZES,
    Sighted,
    as_tensor,
    padded,
    pick,
    placed,
)
from retrieval.models.preprocess import CLIP_MEAN, CLIP_STD, pre_caption, pre_question
from retrieval.models.preprocess import spaced_punctuation as spaced
from retrieval.models.retriever import Retriever
from retrieval.models.roles import Precision
from retrieval.models.vocabulary import Vocabulary
from retrieval.types import UInt8

# Raise by one whenever the embeddings of an unchanged weights file change.
ENCODER_REVISION = 1

TEXT_LENGTH = 35
PROMPT = "a picture of "

VISION_EPS = 1e-6
TEXT_EPS = 1e-12
TEXT_HEADS = 12
VOCABULARY_ROWS = 30524

_CLASSES: Mapping[str, Callable[[Any], Any]] = {
    "blip": BlipForImageTextRetrieval,
    "blip-caption": BlipForConditionalGeneration,
    "blip-vqa": BlipForQuestionAnswering,
}
_TIES = {
    "text_decoder.cls.predictions.decoder.weight": "text_decoder.bert.embeddings.word_embeddings.weight",
    "text_decoder.cls.predictions.decoder.bias": "text_decoder.cls.predictions.bias",
}


class _Generator(Sighted):
    """What captioner and answerer share: a text decoder that goes on."""

    def __init__(self, network: Any, vocabulary: Vocabulary, *, text_length: int, folder: Path, name: str) -> None:
        super().__init__(network, folder=folder, name=name)
        self.vocabulary = vocabulary
        self.text_length = text_length

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


class BlipRetrieval(Retriever):
    """Encoder and matcher in one: they share the weights."""

    vectors = 1

    @classmethod
    def open(cls, folder: Path, *, name: str, device: str | None = None, precision: Precision = "float32") -> Self:
        """Load a folder in Hugging Face's layout, or a folder or file in the authors'."""
        network, vocabulary, length = _open("blip", folder, device=device, precision=precision)
        return cls(network, vocabulary, text_length=length, folder=folder, name=name)

    @property
    def preprocessing(self) -> Mapping[str, Any]:
        """Everything beside the weights that decides the embeddings, for the fingerprint."""
        config = self.network.config
        return {
            "revision": ENCODER_REVISION,
            "image": ["RGB", "bicubic", self.image_size, CLIP_MEAN, CLIP_STD],
            "text": ["pre_caption", self.text_length, self.vocabulary.digest],
            "heads": [config.vision_config.num_attention_heads, config.text_config.num_attention_heads],
            "eps": [VISION_EPS, TEXT_EPS],
        }

    @property
    def dimension(self) -> int:
        """d: length of one vector."""
        return int(self.network.config.image_text_hidden_size)

    def unknown_words(self, text: str) -> list[str]:
        """The words of a text that the vocabulary cannot express, as written, each once, in order."""
        return self.vocabulary.unknown_words(spaced(text))

    def image_states(self, tokens: torch.Tensor) -> torch.Tensor:
        """The image tokens `[n, t, c]` themselves; the class token comes first."""
        return tokens

    def text_states(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """States `[n, s, c]` of ids `[n, s]` that begin with [CLS]; no image is attended to."""
        return as_tensor(self.network.text_encoder(input_ids=ids, attention_mask=mask).last_hidden_state)

    def pair_states(self, tokens: torch.Tensor, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """States `[m, s, c]` of m pairs: image tokens `[m, t, c]` with ids `[m, s]` that begin with [ENC]."""
        states = self.network.text_encoder(input_ids=ids, attention_mask=mask, encoder_hidden_states=tokens)
        return as_tensor(states.last_hidden_state)

    def map_images(self, states: torch.Tensor) -> torch.Tensor:
        """Image states `[..., c]` in the space of ITC, `[..., d]`."""
        return as_tensor(self.network.vision_proj(states))

    def map_texts(self, states: torch.Tensor) -> torch.Tensor:
        """Text states `[..., c]` in the space of ITC, `[..., d]`."""
        return as_tensor(self.network.text_proj(states))

    @torch.inference_mode()
    def compare(self, tokens: torch.Tensor, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """ITM logits `[m, 2]` of m pairs: image tokens `[m, t, c]` with ids `[m, s]` that begin with [ENC]."""
        return as_tensor(self.network.itm_head(self.pair_states(tokens, ids, mask)[:, 0]))

    def encoder_ids(self, text: str) -> list[int]:
        """[CLS], the pieces of a text, [SEP]."""
        return self.vocabulary.sequence(pre_caption(text), first=self.vocabulary.cls, length=self.text_length)

    def matcher_ids(self, text: str) -> list[int]:
        """[ENC], the pieces of a text, [SEP]."""
        return self.vocabulary.sequence(pre_caption(text), first=self.vocabulary.enc, length=self.text_length)


class BlipCaptioner(_Generator):
    """Describes a picture: the text decoder goes on from "a picture of"."""

    @classmethod
    def open(cls, folder: Path, *, name: str, device: str | None = None, precision: Precision = "float32") -> Self:
        """Load a folder in Hugging Face's layout, or a folder or file in the authors'."""
        network, vocabulary, length = _open("blip-caption", folder, device=device, precision=precision)
        # The authors' settings for COCO; both lengths count the prompt.
        settings = {"num_beams": 3, "max_length": 20, "min_length": 5}
        _set_generation(network, vocabulary, settings | pick(hub.read_generation(folder), tuple(settings)))
        return cls(network, vocabulary, text_length=length, folder=folder, name=name)

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


class BlipAnswerer(_Generator):
    """Answers a question about a picture: the text decoder reads what the question found in it."""

    @classmethod
    def open(cls, folder: Path, *, name: str, device: str | None = None, precision: Precision = "float32") -> Self:
        """Load a folder in Hugging Face's layout, or a folder or file in the authors'."""
        network, vocabulary, length = _open("blip-vqa", folder, device=device, precision=precision)
        settings = {"num_beams": 3, "max_length": 10, "min_length": 1}
        _set_generation(network, vocabulary, settings | pick(hub.read_generation(folder), tuple(settings)))
        return cls(network, vocabulary, text_length=length, folder=folder, name=name)

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


def _open(kind: Kind, folder: Path, *, device: str | None, precision: Precision) -> tuple[Any, Vocabulary, int]:
    """Build a network from its configuration and fill it from the weights; with its vocabulary and text length."""
    found = material.gather(folder, kind, text_length=TEXT_LENGTH)
    rows = (found.config.get("text_config") or {}).get("vocab_size", VOCABULARY_ROWS)
    vocabulary = Vocabulary.open(found.vocabulary, rows=rows)
    try:
        network = _build(kind, found.config, vocabulary)
    except Exception as error:  # transformers raises several kinds
        raise BadCheckpoint(folder, f"its config.json is no BLIP configuration ({type(error).__name__})") from error
    found.fill(network, ties=_TIES)
    return placed(network, device=device, precision=precision), vocabulary, found.text_length


def _build(kind: Kind, stated: Mapping[str, Any], vocabulary: Vocabulary) -> Any:
    """Make an empty network, on the meta device."""
    config = configure(stated, vocabulary.special_ids)
    with torch.device("meta"):
        network = _CLASSES[kind](config)
        if kind == "blip-vqa":
            network.text_decoder = BlipTextLMHeadModel(_reading_text(config.text_config))
    return network


def configure(stated: Mapping[str, Any], special_ids: Mapping[str, int]) -> Any:
    """Take the sizes from config.json and nothing else: the rest is the authors' or the vocabulary's to say."""
    text = pick(stated.get("text_config") or {}, TEXT_SIZES)
    vision = pick(stated.get("vision_config") or {}, VISION_SIZES)
    authors = {"layer_norm_eps": TEXT_EPS, "is_decoder": True, **special_ids}
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
