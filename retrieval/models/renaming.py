"""Names of weights from one layout to another and back, by a table of beginnings."""

from __future__ import annotations

import re
from collections.abc import Sequence


class Renaming:
    """Pairs of beginnings, here and there, in which # stands for a layer's number; the first that fits counts."""

    def __init__(self, pairs: Sequence[tuple[str, str]]) -> None:
        self._forward = [(_pattern(here), _template(there)) for here, there in pairs]
        self._back = [(_pattern(there), _template(here)) for here, there in pairs]

    def forward(self, name: str) -> str:
        """Rename from here to there; what no pair knows keeps its name."""
        return _renamed(name, self._forward)

    def back(self, name: str) -> str:
        """Rename from there to here."""
        return _renamed(name, self._back)


def _pattern(beginning: str) -> re.Pattern[str]:
    return re.compile(re.escape(beginning).replace(r"\#", r"(\d+)"))


def _template(beginning: str) -> str:
    return beginning.replace("#", r"\1")


def _renamed(name: str, table: Sequence[tuple[re.Pattern[str], str]]) -> str:
    for pattern, template in table:
        found = pattern.match(name)
        if found:
            return found.expand(template) + name[found.end() :]
    return name
