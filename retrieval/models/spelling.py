"""How a language model spells: its tokenizer.json, of whatever kind, from text to ids and back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from retrieval.errors import BadCheckpoint
from retrieval.models.vocabulary import words_read_as


class Spelling:
    """The tokens of a language model. Reading it changes nothing, so that threads can share it."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        tokenizer.no_padding()
        tokenizer.no_truncation()
        self._tokenizer: Any = tokenizer
        unknown = getattr(tokenizer.model, "unk_token", None)
        self._unknown = tokenizer.token_to_id(unknown) if unknown else None

    @classmethod
    def open(cls, folder: Path) -> Spelling:
        """Read tokenizer.json."""
        try:
            return cls(Tokenizer.from_file(str(folder / "tokenizer.json")))
        except Exception as error:  # the tokenizers library raises nothing more special
            raise BadCheckpoint(folder, "tokenizer.json cannot be read") from error

    def encode(self, text: str) -> list[int]:
        """Split a text into ids, without special tokens."""
        return list(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def decode(self, ids: list[int]) -> str:
        """Join ids to a text, special tokens left out."""
        return str(self._tokenizer.decode(ids, skip_special_tokens=True)).strip()

    def unknown_words(self, text: str) -> list[str]:
        """The words, as written, that cannot be spelled: none where the tokens are made of bytes."""
        return [] if self._unknown is None else words_read_as(self._unknown, text, self._tokenizer)
