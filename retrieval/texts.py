"""What counts as a text that can be read."""

from __future__ import annotations

from collections.abc import Iterable

from retrieval.errors import EmptyText


def require_words(texts: Iterable[str]) -> None:
    """Raise EmptyText for a text without a letter or a digit: nothing of it is left after the authors' cleaning.

    Half a character (a lone surrogate, from a terminal that is not UTF-8) cannot be read either.
    """
    for text in texts:
        if not has_words(text):
            raise EmptyText(text)


def has_words(text: str) -> bool:
    """Say whether something of a text can be read: a letter or a digit, and no half characters."""
    return any(sign.isalnum() for sign in text) and not any("\ud800" <= sign <= "\udfff" for sign in text)
