"""WordPiece vocabularies: text to token ids and back, with the special tokens that BLIP adds to BERT's."""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers import BertTokenizer

from retrieval.errors import BadCheckpoint
from retrieval.models import hub

BERT_LENGTH = 512
LEAST_LENGTH = 3
"""A first token, one piece and [SEP]."""

_BASE_SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")

# Punctuation that closes up with what it follows, in this order, when ids become a text.
_CLOSED_UP = (
    *((f" {mark}", mark) for mark in ".?!,"),
    (" ' ", "'"),
    *((f" {ending}", ending) for ending in ("n't", "'m", "'s", "'ve", "'re")),
)


class Vocabulary:
    """An uncased WordPiece vocabulary. Reading it changes nothing, so that threads can share it.

    BERT's own list ends before [DEC] and [ENC]; where a list does not name them, they are the two rows after it.
    BLIP-2 has `added` [DEC] alone.
    """

    def __init__(
        self, tokens: dict[str, int], *, folder: Path, rows: int, added: Sequence[str] = ("[DEC]", "[ENC]")
    ) -> None:
        """Use a list of tokens for a model whose embedding has so many `rows`; `folder` is for errors only."""
        lacking = [token for token in _BASE_SPECIALS if token not in tokens]
        if lacking:
            raise BadCheckpoint(folder, f"the vocabulary lacks {', '.join(lacking)}")
        ids = dict(tokens)
        for token in added:
            ids.setdefault(token, max(ids.values()) + 1)
        highest = max(ids.values())
        if highest >= rows:
            raise BadCheckpoint(folder, f"the vocabulary has ids up to {highest}, but the embedding only {rows} rows")
        self.pad, self.unknown, self.cls, self.sep = (ids[token] for token in _BASE_SPECIALS)
        self._tokens, self._ids, self._folder = tokens, ids, folder
        specials = {*_BASE_SPECIALS, "[MASK]", "[DEC]", "[ENC]"}
        self._pieces = {row: token for token, row in tokens.items() if token not in specials}
        # The tokenizer's wrapper keeps padding and truncation as state; what it wraps is pure.
        self._wordpiece: Any = BertTokenizer(vocab=tokens).backend_tokenizer

    @classmethod
    def open(cls, folder: Path, *, rows: int, added: Sequence[str] = ("[DEC]", "[ENC]")) -> Vocabulary:
        """Read vocab.txt, or the list inside tokenizer.json where there is none."""
        try:
            tokens = _read_list(folder) if (folder / "vocab.txt").is_file() else _read_tokenizer(folder)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise BadCheckpoint(folder, f"the vocabulary cannot be read ({type(error).__name__}: {error})") from error
        return cls(tokens, folder=folder, rows=rows, added=added)

    @property
    def dec(self) -> int:
        """The id of [DEC], which the texts of BLIP and BLIP-2 are generated from; ALBEF has none."""
        return self._ids["[DEC]"]

    @property
    def enc(self) -> int:
        """The id of [ENC], which BLIP's match head reads; BLIP-2 has none."""
        return self._ids["[ENC]"]

    @property
    def digest(self) -> str:
        """SHA-256 of the list."""
        return hashlib.sha256(json.dumps(sorted(self._tokens.items())).encode()).hexdigest()

    @property
    def rows(self) -> list[str]:
        """Every token in the order of ids, [DEC] and [ENC] among them; an id without a token has a name for itself."""
        tokens = {number: token for token, number in self._ids.items()}
        return [tokens.get(number, f"[row {number}]") for number in range(max(tokens) + 1)]

    def grown(self, words: Sequence[str]) -> Vocabulary:
        """The vocabulary with further words behind its last row."""
        tokens = {token: number for number, token in enumerate([*self.rows, *words])}
        return Vocabulary(tokens, folder=self._folder, rows=len(tokens))

    def spelled(self, word: str) -> str:
        """A word as the list has it: lower case, without accents."""
        return str(self._wordpiece.normalizer.normalize_str(word))

    @property
    def special_ids(self) -> dict[str, int]:
        """The special ids by the names that transformers' configurations give them: texts end with [SEP]."""
        return {
            "bos_token_id": self.dec,
            "eos_token_id": self.sep,
            "sep_token_id": self.sep,
            "pad_token_id": self.pad,
        }

    def encode(self, text: str) -> list[int]:
        """Split a text into the ids of its pieces, without special tokens."""
        return list(self._wordpiece.encode(text, add_special_tokens=False).ids)

    def sequence(self, text: str, *, first: int, length: int) -> list[int]:
        """Frame a text as `first` pieces... [SEP], cut so that at most `length` ids result."""
        return [first, *self.encode(text)[: length - 2], self.sep]

    def decode(self, ids: list[int]) -> str:
        """Join ids to a text as the authors' tokenizer does, special tokens ([UNK] too) left out."""
        text = " ".join(self._pieces[i] for i in ids if i in self._pieces).replace(" ##", "")
        for spaced, closed in _CLOSED_UP:
            text = text.replace(spaced, closed)
        return text

    def unknown_words(self, text: str) -> list[str]:
        """The words, as written, that become [UNK]; each once, in order. Punctuation is no word."""
        return words_read_as(self.unknown, text, self._wordpiece)


def words_read_as(number: int, text: str, tokenizer: Any) -> list[str]:
    """The words of a text, as written, that a tokenizer reads as one id; each once, in order, without punctuation."""
    encoding = tokenizer.encode(text, add_special_tokens=False)
    found: dict[str, str] = {}
    for i, (start, end) in zip(encoding.ids, encoding.offsets, strict=True):
        word = text[start:end]
        if i == number and not _is_punctuation(word):
            found.setdefault(word.casefold(), word)
    return list(found.values())


def read_text_length(folder: Path, *, authors: int) -> int:
    """How many tokens a text may have: what tokenizer_config.json states, if that is less than BERT's 512.

    The published folders state 512 although the authors cut much earlier: for them it is the authors' number.
    """
    stated = hub.read_tokenizer(folder).get("model_max_length")
    if stated is None:
        return authors
    if isinstance(stated, bool) or not isinstance(stated, (int, float)) or stated < LEAST_LENGTH:
        raise BadCheckpoint(folder, "model_max_length in tokenizer_config.json is no number of tokens")
    return int(stated) if stated < BERT_LENGTH else authors


def _read_list(folder: Path) -> dict[str, int]:
    # Split at newlines only: the list of BERT holds characters that splitlines would split at, too.
    lines = (folder / "vocab.txt").read_text(encoding="utf-8").rstrip("\n").split("\n")
    return {line: row for row, line in enumerate(lines)}


def _read_tokenizer(folder: Path) -> dict[str, int]:
    content = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    added = {token["content"]: int(token["id"]) for token in content.get("added_tokens", [])}
    return {str(token): int(row) for token, row in content["model"]["vocab"].items()} | added


def _is_punctuation(text: str) -> bool:
    return all(unicodedata.category(character).startswith("P") for character in text)
