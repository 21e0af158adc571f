"""The words of the world of postcards, and how texts become token ids."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import BertTokenizer

from retrieval.training.claims import DIRECTION_OF, NOUN_OF, PLACE_OF
from retrieval.training.nouns import TINTS
from retrieval.training.questions import NUMBERS

MAX_TOKENS = 35

_BETWEEN = "a an and the of is are there yes no nothing picture photo"
_ASKING = "how many things objects in what which colour color where it this background does show ?"


class Words:
    """Turns texts of the world into token ids, as the saved tokenizer does but faster."""

    def __init__(self, tokens: Sequence[str], device: torch.device) -> None:
        self.device = device
        self._ids = {token: number for number, token in enumerate(tokens)}

    def __getitem__(self, token: str) -> int:
        return self._ids[token]

    def encode(self, texts: Sequence[str], *, first: str = "[CLS]") -> tuple[Tensor, Tensor]:
        """Ids and mask, both `int64 [n, t]`, t the longest text: `first`, the words, [SEP], padding."""
        unknown = self._ids["[UNK]"]
        rows = [
            [self._ids[first], *(self._ids.get(word, unknown) for word in split(text)), self._ids["[SEP]"]]
            for text in texts
        ]
        longest = max(len(row) for row in rows)
        ids = torch.tensor([row + [self._ids["[PAD]"]] * (longest - len(row)) for row in rows])
        mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows])
        return ids.to(self.device), mask.to(self.device)


def split(text: str) -> list[str]:
    """The words of a text; a question mark is one."""
    return text.replace("?", " ?").split()


def words() -> list[str]:
    """Every word that a caption, a question or an answer may hold, sorted."""
    phrases = [*NOUN_OF, *TINTS, *DIRECTION_OF, *PLACE_OF, *NUMBERS, _BETWEEN, _ASKING]
    return sorted({word for phrase in phrases for word in phrase.split()})


def vocabulary(words: Sequence[str]) -> list[str]:
    """BLIP's order: BERT's special tokens, the words, then [DEC] and [ENC]."""
    return ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words, "[DEC]", "[ENC]"]


def tokenizer(tokens: Sequence[str]) -> BertTokenizer:
    """The tokenizer of a vocabulary, with [DEC] and [ENC] as special tokens."""
    return BertTokenizer(
        vocab={token: number for number, token in enumerate(tokens)},
        do_lower_case=True,
        model_max_length=MAX_TOKENS,
        bos_token="[DEC]",
        additional_special_tokens=["[ENC]"],
    )
