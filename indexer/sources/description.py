"""What a source says of one of its files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Description:
    """The texts that describe a file, by the uri of each text's item, and what else is known of the file.

    `file_uri` is what the file's own record carries. Two texts of one uri are one item.
    """

    file_uri: str
    texts: Mapping[str, str]
    split: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
