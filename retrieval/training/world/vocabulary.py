"""The words of the world of postcards, and how texts become token ids."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor
from transformers import BertTokenizer

from retrieval.training.world.claims import AIR_OF, DIRECTION_OF, NUMBERS, PLACE_OF, PLACES
from retrieval.training.world.letters import SIGN_WORDS
from retrieval.training.world.marks import TINTS
from retrieval.training.world.nouns import NOUN_OF, plural
from retrieval.training.world.questions import WORDS

MAX_TOKENS = 64

_BETWEEN = "a an and the of small big facing saying picture photo there is are with it"
_ENDINGS = ("##s", "##es")


class Words:
    """Turns texts of the world into token ids, as the saved tokenizer does but faster."""

    def __init__(self, tokens: Sequence[str], device: torch.device) -> None:
        self.device = device
        self._ids = {token: number for number, token in enumerate(tokens)}
        self._pieces: dict[str, list[int]] = {}

    def __getitem__(self, token: str) -> int:
        return self._ids[token]

    def pieces(self, word: str) -> list[int]:
        """The ids of a word: one, or two where it is a known word and an ending, or that of [UNK]."""
        if word not in self._pieces:
            self._pieces[word] = self._split(word)
        return self._pieces[word]

    def length(self, text: str) -> int:
        """How many tokens a text has, without the special ones."""
        return sum(len(self.pieces(word)) for word in split(text))

    def encode(self, texts: Iterable[str], *, first: str = "[CLS]") -> tuple[Tensor, Tensor]:
        """Ids and mask, both `int64 [n, t]`, t the longest text: `first`, the words, [SEP], padding."""
        rows = [
            [self._ids[first], *(piece for word in split(text) for piece in self.pieces(word)), self._ids["[SEP]"]]
            for text in texts
        ]
        ids, mask = padded(rows, self._ids["[PAD]"])
        return ids.to(self.device), mask.to(self.device)

    def _split(self, word: str) -> list[int]:
        if word in self._ids:
            return [self._ids[word]]
        for ending in ("s", "es"):
            stem = word.removesuffix(ending)
            if stem != word and stem in self._ids:
                return [self._ids[stem], self._ids[f"##{ending}"]]
        return [self._ids["[UNK]"]]


def padded(rows: Sequence[Sequence[int]], filling: int) -> tuple[Tensor, Tensor]:
    """Rows of ids as one `int64 [n, t]`, t the longest, and the mask of what is not filling."""
    longest = max(len(row) for row in rows)
    ids = torch.tensor([[*row, *[filling] * (longest - len(row))] for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows])
    return ids, mask


def split(text: str) -> list[str]:
    """The words of a text; a question mark is one."""
    return text.replace("?", " ?").split()


def words() -> list[str]:
    """Every word that a caption, a question or an answer may hold, sorted; plurals by rule are stems and endings."""
    irregular = [plural(name) for name in NOUN_OF if plural(name) not in (f"{name}s", f"{name}es")]
    phrases = [*NOUN_OF, *irregular, *TINTS, *DIRECTION_OF, *PLACE_OF, *PLACES, *AIR_OF, *NUMBERS, *SIGN_WORDS, *WORDS]
    return sorted({word for phrase in [*phrases, _BETWEEN] for word in phrase.split()})


def vocabulary(words: Sequence[str]) -> list[str]:
    """BLIP's order: BERT's special tokens, the words, then [DEC] and [ENC]."""
    return ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *_ENDINGS, *words, "[DEC]", "[ENC]"]


def tokenizer(tokens: Sequence[str], *, longest: int = MAX_TOKENS) -> BertTokenizer:
    """The tokenizer of a vocabulary, with [DEC] and [ENC] as special tokens, for texts of so many ids."""
    return BertTokenizer(
        vocab={token: number for number, token in enumerate(tokens)},
        do_lower_case=True,
        model_max_length=longest,
        bos_token="[DEC]",
        additional_special_tokens=["[ENC]"],
    )
