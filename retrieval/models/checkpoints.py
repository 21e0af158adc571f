"""The table of names: every model that Sightline knows, what it can do and where its weights come from."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from retrieval.errors import RoleMissing, UnknownModel
from retrieval.models import hub

Family = Literal["blip", "blip2", "hashing"]
Role = Literal["encoder", "matcher", "captioner", "answerer"]
Scoring = Literal["itm", "itm+itc", "itc"]

BUNDLED = Path(__file__).parent / "bundled"


@dataclass(frozen=True)
class Released:
    """Files that the authors offer at their own addresses.

    `addresses` are the weights, a second one where the vision tower is a file of its own; `config` is what the
    weights cannot say; `vocabulary` is the Hugging Face id whose vocab.txt the texts are spelt with.
    """

    addresses: tuple[str, ...]
    config: Mapping[str, Any]
    vocabulary: str = "google-bert/bert-base-uncased"


@dataclass(frozen=True)
class Checkpoint:
    """One row of the table, or the description of a model from outside it.

    `source` is a local folder or file, a Hugging Face id, files of the authors, or None where there are no weights. `roles` are what its own
    weights can do; `captioner` and `answerer` name the companions that do the rest (or the row itself).
    `protocol` says how the score of a candidate is made: "itm" by the match logit alone (ALBEF), "itm+itc" by the logit
    and the ITC cosine (BLIP, BLIP-2), "itc" has no match logit. `image_size` is the side in pixels, `text_length` the most tokens of a text,
    `download_bytes` the size of the weights file.
    """

    name: str
    family: Family
    source: Path | str | Released | None
    roles: tuple[Role, ...]
    image_size: int
    licence: str
    text_length: int = 35
    protocol: Scoring = "itm+itc"
    captioner: str | None = None
    answerer: str | None = None
    download_bytes: int | None = None


# Sizes: parameters x 4 bytes; the generating files hold the tied word embeddings twice.
_ROWS = (
    Checkpoint(
        "postcards",
        "blip",
        BUNDLED / "postcards",
        ("encoder", "matcher", "captioner", "answerer"),
        image_size=144,
        licence="BSD-3-Clause",
        text_length=64,
        captioner="postcards",
        answerer="postcards",
    ),
    Checkpoint(
        "postcards-blip2",
        "blip2",
        BUNDLED / "postcards-blip2",
        ("encoder", "matcher", "captioner", "answerer"),
        image_size=144,
        licence="BSD-3-Clause",
        text_length=64,
        captioner="postcards-blip2",
        answerer="postcards-blip2",
    ),
    Checkpoint(
        "blip-itm-base-coco",
        "blip",
        "Salesforce/blip-itm-base-coco",
        ("encoder", "matcher"),
        image_size=384,
        licence="BSD-3-Clause",
        captioner="blip-image-captioning-base",
        answerer="blip-vqa-base",
        download_bytes=895_000_000,
    ),
    Checkpoint(
        "blip-itm-large-coco",
        "blip",
        "Salesforce/blip-itm-large-coco",
        ("encoder", "matcher"),
        image_size=384,
        licence="BSD-3-Clause",
        captioner="blip-image-captioning-large",
        answerer="blip-vqa-base",
        download_bytes=1_785_000_000,
    ),
    Checkpoint(
        "blip-itm-base-flickr",
        "blip",
        "Salesforce/blip-itm-base-flickr",
        ("encoder", "matcher"),
        image_size=384,
        licence="BSD-3-Clause",
        captioner="blip-image-captioning-base",
        answerer="blip-vqa-base",
        download_bytes=895_000_000,
    ),
    Checkpoint(
        "blip-itm-large-flickr",
        "blip",
        "Salesforce/blip-itm-large-flickr",
        ("encoder", "matcher"),
        image_size=384,
        licence="BSD-3-Clause",
        captioner="blip-image-captioning-large",
        answerer="blip-vqa-base",
        download_bytes=1_785_000_000,
    ),
    Checkpoint(
        "blip-image-captioning-base",
        "blip",
        "Salesforce/blip-image-captioning-base",
        ("captioner",),
        image_size=384,
        licence="BSD-3-Clause",
        captioner="blip-image-captioning-base",
        download_bytes=990_000_000,
    ),
    Checkpoint(
        "blip-image-captioning-large",
        "blip",
        "Salesforce/blip-image-captioning-large",
        ("captioner",),
        image_size=384,
        licence="BSD-3-Clause",
        captioner="blip-image-captioning-large",
        download_bytes=1_879_000_000,
    ),
    Checkpoint(
        "blip-vqa-base",
        "blip",
        "Salesforce/blip-vqa-base",
        ("answerer",),
        image_size=384,
        licence="BSD-3-Clause",
        answerer="blip-vqa-base",
        download_bytes=1_539_000_000,
    ),
    Checkpoint(
        "hashing",
        "hashing",
        None,
        ("encoder",),
        image_size=32,
        licence="BSD-3-Clause",
        protocol="itc",
    ),
)

CHECKPOINTS: Mapping[str, Checkpoint] = {row.name: row for row in _ROWS}

# What config.json says of itself -> family and roles.
_ARCHITECTURES: Mapping[str, tuple[Family, tuple[Role, ...]]] = {
    "BlipForImageTextRetrieval": ("blip", ("encoder", "matcher")),
    "BlipForConditionalGeneration": ("blip", ("captioner",)),
    "BlipForQuestionAnswering": ("blip", ("answerer",)),
    "Blip2ForImageTextRetrieval": ("blip2", ("encoder", "matcher")),
    "Blip2ForConditionalGeneration": ("blip2", ("captioner", "answerer")),
}

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


def resolve(name: str, *, offline: bool = False) -> Checkpoint:
    """Find the checkpoint that a table name, a local folder or a Hugging Face id means.

    An id outside the table is described by its own config.json, which may have to be downloaded.
    """
    if name in CHECKPOINTS:
        return CHECKPOINTS[name]
    for row in CHECKPOINTS.values():
        if row.source == name:
            return row
    if Path(name).expanduser().is_dir():
        return _describe_folder(Path(name).expanduser().resolve())
    if _HUB_ID.fullmatch(name):
        return _describe(name, name, [hub.read_config(name, offline=offline)])
    known = ", ".join(CHECKPOINTS)
    raise UnknownModel(name, f"it is none of {known}, no folder and no Hugging Face id (organisation/name)")


def companion(checkpoint: Checkpoint, role: Role) -> Checkpoint:
    """Find the checkpoint that plays a role for this one: itself, or its captioner or answerer."""
    if role in checkpoint.roles:
        return checkpoint
    named = {"captioner": checkpoint.captioner, "answerer": checkpoint.answerer}.get(role)
    if named is None:
        raise RoleMissing(checkpoint.name, role)
    return CHECKPOINTS[named]


def _describe_folder(folder: Path) -> Checkpoint:
    parts = [folder / part for part in hub.PARTS if (folder / part / "config.json").is_file()]
    parts = parts or [part for part in (folder,) if (part / "config.json").is_file()]
    if not parts:
        raise UnknownModel(str(folder), "the folder has no config.json, nor itm/, caption/, vqa/ or llm/ that have one")
    return _describe(str(folder), folder, [hub.read_config(part) for part in parts])


def _describe(name: str, source: Path | str, configs: Iterable[Mapping[str, Any]]) -> Checkpoint:
    """Describe a model by what its configurations say, never by its name."""
    kinds = [_kind(name, config) for config in configs]
    families = {family for family, _, _ in kinds}
    if len(families) > 1:
        raise UnknownModel(name, f"its parts are of different families: {', '.join(sorted(families))}")
    roles = tuple(role for _, of_part, _ in kinds for role in of_part)
    return Checkpoint(
        name,
        families.pop(),
        source,
        roles,
        image_size=kinds[0][2],
        licence="unknown",
    )


def _kind(name: str, config: Mapping[str, Any]) -> tuple[Family, tuple[Role, ...], int]:
    """Family, roles and picture side of one configuration."""
    architectures = config.get("architectures") or []
    for architecture in architectures:
        if architecture in _ARCHITECTURES:
            family, roles = _ARCHITECTURES[architecture]
            return family, roles, int((config.get("vision_config") or {}).get("image_size", 384))
    found = ", ".join(map(str, architectures)) or f"none (model_type {config.get('model_type')!r})"
    raise UnknownModel(name, f"its config.json names the architecture {found}, not one of {', '.join(_ARCHITECTURES)}")
