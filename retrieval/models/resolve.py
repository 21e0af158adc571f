"""What a model's name means: a row of the table, a folder or a file, or a Hugging Face id."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from retrieval.errors import UnknownModel
from retrieval.models import hub
from retrieval.models.checkpoints import CHECKPOINTS, RETRIEVAL, Checkpoint, Family, Role, Scoring

# What config.json says of itself -> family and roles.
_ARCHITECTURES: Mapping[str, tuple[Family, tuple[Role, ...]]] = {
    "AlbefForImageTextRetrieval": ("albef", RETRIEVAL),
    "BlipForImageTextRetrieval": ("blip", RETRIEVAL),
    "BlipForConditionalGeneration": ("blip", ("captioner",)),
    "BlipForQuestionAnswering": ("blip", ("answerer",)),
    "Blip2ForImageTextRetrieval": ("blip2", RETRIEVAL),
    "Blip2ForConditionalGeneration": ("blip2", ("captioner", "answerer")),
    "CLIPModel": ("clip", ("encoder",)),
    "SiglipModel": ("siglip", ("encoder",)),
    "Siglip2Model": ("siglip2", ("encoder",)),
}
_PROTOCOLS: Mapping[Family, Scoring] = {"albef": "itm", "clip": "itc", "siglip": "itc", "siglip2": "itc"}
_TEXT_LENGTHS: Mapping[Family, int] = {"albef": 30, "clip": 77, "siglip": 64, "siglip2": 64}
# What transformers takes where a configuration states no side of pictures; NaFlex has none.
_SIDES: Mapping[Family, int] = {"clip": 224, "siglip": 224, "siglip2": 256}

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
MOST_NAMES = 8


@dataclass(frozen=True)
class _Part:
    """What one configuration or one file of weights says of itself."""

    family: Family
    roles: tuple[Role, ...]
    image_size: int


def resolve(name: str, *, offline: bool = False) -> Checkpoint:
    """Find the checkpoint that a table name, a local folder or file, or a Hugging Face id means.

    An id outside the table is described by its own config.json, which may have to be downloaded.
    """
    if name in CHECKPOINTS:
        return CHECKPOINTS[name]
    for row in CHECKPOINTS.values():
        if row.source == name:
            return row
    place = Path(name).expanduser()
    if place.is_dir() or (place.is_file() and place.suffix in hub.AUTHORS_SUFFIXES):
        return _describe_place(place.resolve())
    if _HUB_ID.fullmatch(name) and place.suffix not in hub.AUTHORS_SUFFIXES:
        return _describe(name, name, [_of_config(name, hub.read_config(name, offline=offline))])
    known = ", ".join([row.name for row in CHECKPOINTS.values() if row.roles][:MOST_NAMES])
    raise UnknownModel(
        name,
        f"it is no name of `sightline models` ({known} and more), no folder, no .pth file "
        "and no Hugging Face id (organisation/name)",
    )


def _describe_place(place: Path) -> Checkpoint:
    if place.is_file() or (not _has_architecture(place) and _holds_authors_files(place)):
        from retrieval.models import authors  # it needs torch

        found = authors.describe(place)
        part = _Part(found.family, found.roles, found.image_size)
        return replace(_describe(str(place), place, [part]), text_length=found.text_length, protocol=found.protocol)
    parts = [place / part for part in hub.PARTS if (place / part / "config.json").is_file()]
    parts = parts or [part for part in (place,) if (part / "config.json").is_file()]
    if not parts:
        raise UnknownModel(
            str(place), "the folder has no config.json, nor itm/, caption/, vqa/ or llm/ that have one, nor a .pth file"
        )
    return _describe(str(place), place, [_of_config(str(place), hub.read_config(part)) for part in parts])


def _describe(name: str, source: Path | str, parts: Iterable[_Part]) -> Checkpoint:
    """Describe a model by what its parts say, never by its name."""
    parts = list(parts)
    families = {part.family for part in parts}
    if len(families) > 1:
        raise UnknownModel(name, f"its parts are of different families: {', '.join(sorted(families))}")
    family = families.pop()
    return Checkpoint(
        name,
        family,
        source,
        tuple(role for part in parts for role in part.roles),
        image_size=parts[0].image_size,
        licence="unknown",
        text_length=_TEXT_LENGTHS.get(family, 35),
        protocol=_PROTOCOLS.get(family, "itm+itc"),
    )


def _of_config(name: str, config: Mapping[str, Any]) -> _Part:
    """Family, roles and picture side of one configuration."""
    architectures = config.get("architectures") or []
    for architecture in architectures:
        if architecture in _ARCHITECTURES:
            family, roles = _ARCHITECTURES[architecture]
            side = (config.get("vision_config") or {}).get("image_size", _SIDES.get(family, 384))
            return _Part(family, roles, int(side))
    found = ", ".join(map(str, architectures)) or f"none (model_type {config.get('model_type')!r})"
    raise UnknownModel(name, f"its config.json names the architecture {found}, not one of {', '.join(_ARCHITECTURES)}")


def _has_architecture(folder: Path) -> bool:
    return (folder / "config.json").is_file() and "architectures" in hub.read_config(folder)


def _holds_authors_files(folder: Path) -> bool:
    return any(file.suffix in hub.AUTHORS_SUFFIXES for file in hub.weight_files(folder))
