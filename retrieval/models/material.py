"""What a model is made from, whichever layout it lies in: a Hugging Face folder, or the authors' own files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from retrieval.errors import BadCheckpoint
from retrieval.models import authors, hub, weights
from retrieval.models.vocabulary import read_text_length
from retrieval.models.weights import State


@dataclass(frozen=True)
class Material:
    """A configuration in transformers' words, weights under transformers' names, and where the vocabulary lies.

    `text_length` is the most ids of a text, `name_of` gives the name that a weight has in its file.
    """

    path: Path
    config: Mapping[str, Any]
    state: State
    vocabulary: Path
    text_length: int
    name_of: Callable[[str], str]

    def fill(self, network: Any, *, ties: Mapping[str, str] | None = None) -> None:
        """Put the weights into a network made on the meta device; BadWeights names what does not fit."""
        weights.fill(network, self.state, folder=self.path, ties=ties or {}, name_of=self.name_of)


def gather(path: Path, kind: authors.Kind, *, text_length: int) -> Material:
    """Read a model's folder, or a file of its authors, for one kind of network; `text_length` is its authors'."""
    vocabulary = hub.vocabulary_folder(path, offline=True)
    if authors.is_authors(path):
        state = authors.read_state(path, kind)
        config = authors.read_config(path, kind, state)
        length = authors.read_text_length(path, authors=text_length)
        positions = (config.get("text_config") or config["qformer_config"])["max_position_embeddings"]
        if length > positions:
            said = f"a text may have {length} ids, but the position embeddings only {positions} rows: state less"
            raise BadCheckpoint(path, said)
        return Material(path, config, state, vocabulary, length, authors.RENAMED[kind].back)
    length = read_text_length(path, authors=text_length)
    return Material(path, hub.read_config(path), weights.read_state(path), vocabulary, length, str)
