"""Encoder, matcher and features in one, for families whose ITC and ITM share their weights."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import normalize

from retrieval.models import weights
from retrieval.models.network import (
    PAIRS_AT_ONCE,
    TEXTS_AT_ONCE,
    Sighted,
    alike,
    as_array,
    joined,
    padded,
)
from retrieval.models.vocabulary import Vocabulary
from retrieval.types import Float32, UInt8


class Retriever(Sighted, ABC):
    """A family says how it reads pictures, texts and pairs; batches, bounds on memory and the fingerprint are here."""

    def __init__(self, network: Any, vocabulary: Vocabulary, *, text_length: int, **known: Any) -> None:
        super().__init__(network, **known)
        self.vocabulary = vocabulary
        self.text_length = text_length

    @property
    @abstractmethod
    def dimension(self) -> int:
        """d: length of one vector."""

    @property
    @abstractmethod
    def vectors(self) -> int:
        """v: vectors per image."""

    @property
    @abstractmethod
    def preprocessing(self) -> Mapping[str, Any]:
        """Everything beside the weights that decides the embeddings, for the fingerprint."""

    @abstractmethod
    def image_states(self, tokens: torch.Tensor) -> torch.Tensor:
        """What is projected of image tokens `[n, t, c]`: `[n, s, c]`; the embedding is made of the first v."""

    @abstractmethod
    def text_states(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """States `[n, s, c]` of ids `[n, s]` as the encoder reads them; the embedding is made of the first."""

    @abstractmethod
    def pair_states(self, tokens: torch.Tensor, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """States `[m, s, c]` of m pairs, image tokens `[m, t, c]` with ids `[m, s]`; the first v are matched by."""

    @abstractmethod
    def map_images(self, states: torch.Tensor) -> torch.Tensor:
        """Image states `[..., c]` in the space of ITC, `[..., d]`, not yet of unit length."""

    @abstractmethod
    def map_texts(self, states: torch.Tensor) -> torch.Tensor:
        """Text states `[..., c]` in the space of ITC, `[..., d]`, not yet of unit length."""

    @abstractmethod
    def compare(self, tokens: torch.Tensor, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """ITM logits `[m, 2]` of m pairs: image tokens `[m, t, c]` with ids `[m, s]` as the matcher reads them."""

    @abstractmethod
    def encoder_ids(self, text: str) -> list[int]:
        """The ids of a text as the encoder reads it."""

    @abstractmethod
    def matcher_ids(self, text: str) -> list[int]:
        """The ids of a text as the matcher reads it."""

    @abstractmethod
    def unknown_words(self, text: str) -> list[str]:
        """The words of a text that the vocabulary cannot express, as written, each once, in order."""

    @cached_property
    def fingerprint(self) -> str:
        """Digest of the weights, the preprocessing, the precision and the encoder's revision."""
        facts = {**self.preprocessing, "weights": weights.digest(self.folder)}
        if self.precision != "float32":
            facts["precision"] = self.precision
        if self.activations != ["gelu"]:
            facts["activations"] = self.activations
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()

    @property
    def activations(self) -> list[str]:
        """What the layers of the configuration's parts use; the published models use the exact GELU everywhere."""
        config = self.network.config
        parts: Iterable[Any] = (
            getattr(config, name, None) for name in ("vision_config", "text_config", "qformer_config")
        )
        # BLIP-2's text_config is that of a language model, which retrieval has none of.
        return sorted({str(part.hidden_act) for part in parts if hasattr(part, "hidden_act")})

    @torch.inference_mode()
    def project_images(self, tokens: torch.Tensor) -> torch.Tensor:
        """ITC embeddings `[n, v, d]` of image tokens `[n, t, c]`, of unit length."""
        return _unit(self.map_images(self.image_states(tokens)[:, : self.vectors]))

    @torch.inference_mode()
    def project_texts(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """ITC embeddings `[n, d]` of ids `[n, s]` as the encoder reads them, of unit length."""
        return _unit(self.map_texts(self.text_states(ids, mask)[:, 0]))

    def encode_images(self, pixels: UInt8) -> Float32:
        """Embed prepared pictures `uint8 [n, R, R, 3]` to `float32 [n, v, d]`."""
        parts = [as_array(self.project_images(tokens)) for tokens in self.looks(pixels)]
        return joined(parts, (0, self.vectors, self.dimension))

    def encode_texts(self, texts: Sequence[str]) -> Float32:
        """Embed n texts to `float32 [n, d]`."""
        sequences = [self.encoder_ids(text) for text in texts]
        # Padded, unlike pairs: unit vectors move by about 1e-7, and 64 queries at once are answered an eighth faster.
        chunks = (sequences[i : i + TEXTS_AT_ONCE] for i in range(0, len(sequences), TEXTS_AT_ONCE))
        parts = [as_array(self.project_texts(*self.padded(chunk))) for chunk in chunks]
        return joined(parts, (0, self.dimension))

    def match(self, tokens: Float32, texts: Sequence[str], pairs: NDArray[np.int64]) -> Float32:
        """Score pairs `int64 [m, 2]` of (row of `tokens`, row of `texts`): logits `float32 [m, 2]`; 1 is match."""
        sequences = [self.matcher_ids(text) for text in texts]
        found = np.zeros((len(pairs), 2), dtype=np.float32)
        for rows in alike([len(sequences[text]) for text in pairs[:, 1]], most=PAIRS_AT_ONCE):
            images = torch.tensor(tokens[pairs[rows, 0]], device=self.device, dtype=self.dtype)
            asked = self.padded([sequences[text] for text in pairs[rows, 1]])
            found[rows] = as_array(self.compare(images, *asked))
        return found

    @torch.inference_mode()
    def image_features(self, pixels: UInt8, *, projected: bool, every_token: bool) -> list[Float32]:
        """Say what is seen in n prepared pictures: n arrays `[v, d]`, or `[s, d]` with every token."""
        rows = None if every_token else self.vectors
        found: list[Float32] = []
        for tokens in self.looks(pixels):
            states = self.image_states(tokens)[:, :rows]
            found.extend(as_array(_unit(self.map_images(states)) if projected else states))
        return found

    @torch.inference_mode()
    def text_features(self, texts: Sequence[str], *, projected: bool, every_token: bool) -> list[Float32]:
        """Say what is read in n texts: n arrays `[d]`, or `[s, d]` with every token, s being each text's own length."""
        sequences = [self.encoder_ids(text) for text in texts]
        found: list[Float32] = []
        for start in range(0, len(sequences), TEXTS_AT_ONCE):
            chunk = sequences[start : start + TEXTS_AT_ONCE]
            states = self.text_states(*self.padded(chunk))
            states = states if every_token else states[:, 0]
            vectors = as_array(_unit(self.map_texts(states)) if projected else states)
            found += [one[: len(ids)] for one, ids in zip(vectors, chunk, strict=True)] if every_token else [*vectors]
        return found

    @torch.inference_mode()
    def pair_features(self, pixels: UInt8, texts: Sequence[str], *, every_token: bool) -> list[Float32]:
        """Say what the match head reads of picture i with text i: n arrays `[v, c]`, or `[s, c]` with every token."""
        sequences = [self.matcher_ids(text) for text in texts]
        found: list[Float32] = []
        for tokens in self.looks(pixels):
            chunk = sequences[len(found) : len(found) + len(tokens)]
            states = as_array(self.pair_states(tokens, *self.padded(chunk)))
            rows = (self.pair_length(ids) if every_token else self.vectors for ids in chunk)
            found += [one[:count] for one, count in zip(states, rows, strict=True)]
        return found

    def pair_length(self, ids: Sequence[int]) -> int:
        """How many states a pair has: one for each of its text's ids."""
        return len(ids)

    def padded(self, sequences: Sequence[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
        """Ids and mask, `int64 [n, s]`, on the model's device."""
        return padded(sequences, pad=self.vocabulary.pad, device=self.device)


def _unit(vectors: torch.Tensor) -> torch.Tensor:
    """Vectors `[..., d]` of unit length, in float32 whatever the network computes in."""
    return normalize(vectors.float(), dim=-1)
