"""Names and texts of others as people are shown them: without signs that a terminal or a page would obey."""

from __future__ import annotations

import re

_OBEYED = "\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff"
"""Control signs, ends of lines, what turns the direction of everything behind it, and halves of characters."""
_RUN = re.compile(f"[{_OBEYED}]")
_UNESCAPED = re.compile("[\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def visible(text: str) -> str:
    """Give a text as one line: white space for what parts lines or words, the sign � for what cannot be seen."""
    return _RUN.sub(lambda one: " " if one[0].isspace() else "\N{REPLACEMENT CHARACTER}", text)


def visible_lines(text: str) -> str:
    """Give a text of several lines, each as `visible` gives it."""
    return "\n".join(map(visible, text.split("\n")))


def escaped(document: str) -> str:
    r"""Write those signs of a JSON document that JSON allows as they are as `\u009b`, which says the same."""
    return _UNESCAPED.sub(lambda one: f"\\u{ord(one[0]):04x}", document)
