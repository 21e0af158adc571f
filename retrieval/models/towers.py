"""What CLIP and SigLIP share: a picture tower and a text tower that meet in one space and never see each other.

The networks are transformers' own; this file reads what lies beside their weights (preprocessor_config.json and
tokenizer.json), puts pictures and texts through the towers in bounded batches, and says what an embedding depends on.
"""

from __future__ import annotations

import hashlib
import json
import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from PIL.Image import Image, Resampling
from tokenizers import Tokenizer
from torch.nn.functional import normalize

from retrieval.errors import BadCheckpoint, FeaturesMissing
from retrieval.models import hub, weights
from retrieval.models.network import (
    IMAGES_AT_ONCE,
    TEXTS_AT_ONCE,
    as_array,
    as_tensor,
    joined,
    pick,
    placed,
)
from retrieval.models.preprocess import Channels
from retrieval.models.roles import Precision
from retrieval.types import Float32, UInt8

# What changes a tower's output although its weights are the same.
_LAYER_FACTS = ("num_attention_heads", "hidden_act", "layer_norm_eps")

# What lies further from the middle of a strip than half of this, in shorter edges, is cropped away before resizing.
_LONGEST = 64


@dataclass(frozen=True)
class Preparation(ABC):
    """What a picture goes through before a tower; its fields are all that the pixels depend on."""

    resample: int
    mean: Channels
    std: Channels

    @abstractmethod
    def apply(self, image: Image) -> UInt8:
        """Make an RGB picture what the tower reads, as `uint8` of one shape for all pictures."""


@dataclass(frozen=True)
class Framing(Preparation):
    """Resize a picture and crop its middle: `size` is the shorter edge, or a height and a width."""

    size: int | tuple[int, int]
    crop: tuple[int, int] | None

    @classmethod
    def read(cls, folder: Path, *, side: int, defaults: Mapping[str, Any]) -> Framing:
        """Read preprocessor_config.json over a family's defaults, for a network that reads squares of `side`."""
        stated = {**defaults, **read_processor(folder)}
        try:
            size = _read_size(stated["size"])
            crop = _read_square(stated["crop_size"]) if stated.get("do_center_crop") else None
            framing = cls(int(stated["resample"]), *read_channels(stated), size, crop)
        except (KeyError, TypeError, ValueError) as error:
            raise unreadable(folder, error) from error
        made = crop or size
        if made != (side, side):
            raise BadCheckpoint(folder, f"its pictures are made {made}, but the network reads squares of {side}")
        return framing

    def apply(self, image: Image) -> UInt8:
        """Turn a picture into `uint8 [R, R, 3]`."""
        rgb = as_rgb(image)
        if isinstance(self.size, int):
            rgb = _middle(rgb, most=min(rgb.size) * _LONGEST)
        whole = resized(rgb, self._whole(rgb), self.resample)
        return np.array(_cropped(whole, self.crop) if self.crop else whole, dtype=np.uint8)

    def _whole(self, image: Image) -> tuple[int, int]:
        """Height and width before the crop."""
        if not isinstance(self.size, int):
            return self.size
        width, height = image.size
        longer = int(self.size * max(width, height) / min(width, height))
        return (longer, self.size) if width <= height else (self.size, longer)


class Tokens:
    """A tokenizer.json of whatever kind. Reading it changes nothing, so that threads can share it."""

    def __init__(self, text: str, *, folder: Path) -> None:
        """Use the content of a tokenizer.json; `folder` holds what else is said of it."""
        content = json.loads(text)
        model = content["model"]
        tokenizer = Tokenizer.from_str(text)
        tokenizer.no_padding()
        tokenizer.no_truncation()
        self._tokenizer: Any = tokenizer
        self._folder = folder
        self.kind = type(tokenizer.model).__name__  # old files do not say
        self.unknown: int | None = model.get("unk_id", tokenizer.token_to_id(model.get("unk_token") or ""))
        self.highest = max(tokenizer.get_vocab().values())
        # Padding and truncation change when a folder is saved again, and are not used here.
        essence = {key: value for key, value in content.items() if key not in ("padding", "truncation")}
        self.digest = hashlib.sha256(json.dumps(essence, sort_keys=True).encode()).hexdigest()

    @classmethod
    def open(cls, folder: Path, *, rows: int) -> Tokens:
        """Read tokenizer.json, for a model whose embedding has so many `rows`."""
        file = folder / "tokenizer.json"
        if not file.is_file() and (folder / "spiece.model").is_file():
            remedy = "put the tokenizer.json that is published with the model beside it"
            raise BadCheckpoint(folder, f"it has spiece.model, which is not read here, but no tokenizer.json; {remedy}")
        try:
            tokens = cls(file.read_text(encoding="utf-8"), folder=folder)
        except Exception as error:  # the tokenizers library raises nothing more special
            raise BadCheckpoint(folder, f"tokenizer.json cannot be read ({type(error).__name__})") from error
        if tokens.highest >= rows:
            reach = f"tokenizer.json has ids up to {tokens.highest}"
            raise BadCheckpoint(folder, f"{reach}, but the embedding only {rows} rows")
        return tokens

    def special(self, role: str, *, usual: str) -> int:
        """The id of a special token ("eos_token"): the one tokenizer_config.json names, or the family's usual one."""
        stated = hub.read_tokenizer(self._folder).get(role) or usual
        token = str(stated["content"] if isinstance(stated, Mapping) else stated)
        number = self._tokenizer.token_to_id(token)
        if number is None:
            raise BadCheckpoint(self._folder, f"tokenizer.json lacks {token}, which is its {role}")
        return int(number)

    def encode(self, text: str) -> list[int]:
        """Split a text into the ids of its pieces, without special tokens."""
        return list(self._tokenizer.encode(text, add_special_tokens=False).ids)


@dataclass(frozen=True)
class Wording:
    """How a text becomes a sequence of ids: cleaned, split, cut, framed by `first` and `last`.

    Where there is a `pad`, every sequence is filled up to `length`; otherwise it is as long as its text.
    """

    tokens: Tokens
    length: int
    last: int
    first: tuple[int, ...] = ()
    clean: Callable[[str], str] = str
    pad: int | None = None
    pads_left: bool = False

    @property
    def facts(self) -> list[Any]:
        """All that the ids depend on."""
        frame = [self.length, self.first, self.last, self.pad, self.pads_left]
        return [self.clean.__name__, *frame, self.tokens.digest]

    def sequence(self, text: str) -> list[int]:
        """Turn a text into first pieces... last padding..., at most `length` ids."""
        pieces = self.tokens.encode(self.clean(text))[: self.length - len(self.first) - 1]
        framed = [*self.first, *pieces, self.last]
        padding = [] if self.pad is None else [self.pad] * (self.length - len(framed))
        return padding + framed if self.pads_left else framed + padding

    def unknown_words(self, text: str) -> list[str]:
        """The words, as written, of which a part cannot be spelled; each once, in order. Punctuation is no word."""
        found: dict[str, str] = {}
        for word in filter(None, map(_trimmed, text.split())):
            if self.tokens.unknown in self.tokens.encode(self.clean(word)):
                found.setdefault(word.casefold(), word)
        return list(found.values())


class Towers(ABC):
    """An encoder of two towers: the ITC side of the roles, without a matcher."""

    vectors = 1

    # Raise by one whenever the embeddings of an unchanged weights file change.
    revision: ClassVar[int]

    def __init__(
        self, network: Any, preparation: Preparation, wording: Wording, *, folder: Path, name: str, precision: Precision
    ) -> None:
        self.name = name
        self.folder = folder
        self.network = network
        self.preparation = preparation
        self.wording = wording
        self.precision = precision
        self.device = str(network.logit_scale.device)

    @property
    @abstractmethod
    def dimension(self) -> int:
        """d: length of one vector."""

    @abstractmethod
    def see(self, pixels: UInt8) -> torch.Tensor:
        """What the picture tower says of a few prepared pictures: `[n, d]`, not yet of unit length."""

    @abstractmethod
    def read(self, sequences: Sequence[list[int]]) -> torch.Tensor:
        """What the text tower says of a few sequences of ids: `[n, d]`, not yet of unit length."""

    def pool_images(self, pixels: UInt8) -> torch.Tensor:
        """What becomes the vector of a few prepared pictures: `[n, c]`; `see` itself where nothing projects it."""
        return self.see(pixels)

    def pool_texts(self, sequences: Sequence[list[int]]) -> torch.Tensor:
        """What becomes the vector of a few sequences of ids: `[n, c]`; `read` itself where nothing projects it."""
        return self.read(sequences)

    @cached_property
    def fingerprint(self) -> str:
        """Digest of the weights, the preprocessing, the encoder's revision and a precision other than float32."""
        config = self.network.config
        facts = {
            "family": type(self).__name__,
            "revision": self.revision,
            "image": asdict(self.preparation),
            "text": self.wording.facts,
            "layers": [[getattr(side, fact) for fact in _LAYER_FACTS] for side in _sides(config)],
            "weights": weights.digest(self.folder),
        }
        reduced = {} if self.precision == "float32" else {"precision": self.precision}
        return hashlib.sha256(json.dumps(facts | reduced, sort_keys=True).encode()).hexdigest()

    def prepare(self, image: Image) -> UInt8:
        """Make an RGB picture what the tower reads, as `uint8` of one shape for all pictures."""
        return self.preparation.apply(image)

    def encode_images(self, pixels: UInt8) -> Float32:
        """Embed n prepared pictures to `float32 [n, 1, d]`."""
        starts = range(0, len(pixels), IMAGES_AT_ONCE)
        parts = [_unit(self.see(pixels[start : start + IMAGES_AT_ONCE])) for start in starts]
        return joined(parts, (0, self.dimension))[:, None, :]

    def encode_texts(self, texts: Sequence[str]) -> Float32:
        """Embed n texts to `float32 [n, d]`."""
        sequences = [self.wording.sequence(text) for text in texts]
        starts = range(0, len(sequences), TEXTS_AT_ONCE)
        parts = [_unit(self.read(sequences[start : start + TEXTS_AT_ONCE])) for start in starts]
        return joined(parts, (0, self.dimension))

    def image_features(self, pixels: UInt8, *, projected: bool, every_token: bool) -> list[Float32]:
        """Say what is seen in n prepared pictures: n arrays `[1, d]`, or `[1, c]` before the projection."""
        self._refuse_tokens(every_token)
        if projected:
            return list(self.encode_images(pixels))
        starts = range(0, len(pixels), IMAGES_AT_ONCE)
        parts = (as_array(self.pool_images(pixels[start : start + IMAGES_AT_ONCE])) for start in starts)
        return [one for part in parts for one in part[:, None, :]]

    def text_features(self, texts: Sequence[str], *, projected: bool, every_token: bool) -> list[Float32]:
        """Say what is read in n texts: n arrays `[d]`, or `[c]` before the projection."""
        self._refuse_tokens(every_token)
        if projected:
            return list(self.encode_texts(texts))
        sequences = [self.wording.sequence(text) for text in texts]
        starts = range(0, len(sequences), TEXTS_AT_ONCE)
        parts = (as_array(self.pool_texts(sequences[start : start + TEXTS_AT_ONCE])) for start in starts)
        return [one for part in parts for one in part]

    def pair_features(self, pixels: UInt8, texts: Sequence[str], *, every_token: bool) -> list[Float32]:
        """Raise FeaturesMissing: the towers never see each other."""
        instead = "its towers never see each other; ask for one kind alone, or take an ALBEF, BLIP or BLIP-2"
        raise FeaturesMissing(self.name, "features of pictures with texts", instead)

    def unknown_words(self, text: str) -> list[str]:
        """The words of a text that cannot be spelled, as written, each once, in order."""
        return self.wording.unknown_words(text)

    def _refuse_tokens(self, every_token: bool) -> None:
        if every_token:
            instead = "it compares one vector of each; leave that out, or take an ALBEF, BLIP or BLIP-2"
            raise FeaturesMissing(self.name, "features of every token", instead)


def configure(
    kind: Callable[..., Any], folder: Path, *, sizes: Mapping[str, Sequence[str]], end: int | None, **more: Any
) -> Any:
    """Make a configuration of the sizes that config.json states, side by side: "vision_config", "text_config".

    The ids of special tokens are the tokenizer's to say: config.json has CLIP's for all families, and many wrong.
    `end` is there for a class that insists on one.
    """
    stated = hub.read_config(folder)
    ids = {"bos_token_id": None, "eos_token_id": end, "pad_token_id": None}
    try:
        sides = {side: pick(stated.get(side) or {}, names) for side, names in sizes.items()}
        return kind(**{side: found | ids if "text" in side else found for side, found in sides.items()}, **more)
    except Exception as error:  # transformers raises several kinds
        raise BadCheckpoint(folder, f"config.json is no {kind.__name__} ({type(error).__name__})") from error


def open_network(
    kind: Callable[[Any], Any], config: Any, folder: Path, *, device: str | None, precision: Precision
) -> Any:
    """Build a network from its configuration and fill it from the weights files."""
    try:
        with torch.device("meta"):
            network = kind(config)
    except Exception as error:  # transformers raises several kinds
        raise BadCheckpoint(folder, f"config.json fits no {kind.__name__} ({type(error).__name__})") from error
    weights.fill(network, weights.read_state(folder), folder=folder, ties={})
    return placed(network, device=device, precision=precision)


def read_processor(folder: Path) -> dict[str, Any]:
    """Read what a folder states of its pictures' preprocessing; nothing where it is silent.

    Newer folders may state it inside processor_config.json.
    """
    inside = _read_object(folder / "processor_config.json").get("image_processor") or {}
    stated = _read_object(folder / "preprocessor_config.json") or dict(inside)
    for step in ("do_resize", "do_rescale", "do_normalize"):
        if stated.get(step) is False:
            raise BadCheckpoint(folder, f"its pictures are prepared without {step}, which is not done here")
    if abs(float(stated.get("rescale_factor") or 1 / 255) * 255 - 1) > 1e-6:
        raise BadCheckpoint(folder, "its pictures are rescaled by another factor than 1/255, which is not done here")
    return stated


def read_channels(stated: Mapping[str, Any]) -> tuple[Channels, Channels]:
    """Mean and standard deviation of a preprocessor_config.json."""
    (a, b, c), (d, e, f) = (map(float, stated[name]) for name in ("image_mean", "image_std"))
    return (a, b, c), (d, e, f)


def unreadable(folder: Path, error: Exception) -> BadCheckpoint:
    """Say that a preprocessor_config.json holds something unexpected."""
    return BadCheckpoint(folder, f"preprocessor_config.json cannot be read ({type(error).__name__}: {error})")


def as_rgb(image: Image) -> Image:
    """A picture in the mode that all towers read."""
    return image if image.mode == "RGB" else image.convert("RGB")


def resized(image: Image, size: tuple[int, int], resample: int) -> Image:
    """Resize a picture to a height and a width, with antialiasing."""
    height, width = size
    return image.resize((width, height), Resampling(resample))


def _read_size(stated: Any) -> int | tuple[int, int]:
    """A size as configurations have it: a number or a shorter edge, or a height and a width."""
    if isinstance(stated, Mapping):
        if stated.get("shortest_edge"):
            return int(stated["shortest_edge"])
        return int(stated["height"]), int(stated["width"])
    return int(stated)


def _read_square(stated: Any) -> tuple[int, int]:
    """A height and a width, which a single number gives both."""
    size = _read_size(stated)
    return (size, size) if isinstance(size, int) else size


def _cropped(image: Image, size: tuple[int, int]) -> Image:
    """The middle of a picture; an odd pixel goes below and to the right, as in transformers."""
    height, width = size
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))


def _middle(image: Image, *, most: int) -> Image:
    """The middle of a strip, at most so many pixels long: enlarged as a whole, a thin one would fill the memory."""
    if max(image.size) <= most:
        return image
    return _cropped(image, (min(image.height, most), min(image.width, most)))


def _trimmed(word: str) -> str:
    """A word without the punctuation around it."""
    inner = [i for i, character in enumerate(word) if not unicodedata.category(character).startswith("P")]
    return word[inner[0] : inner[-1] + 1] if inner else ""


def _sides(config: Any) -> tuple[Any, Any]:
    return config.vision_config, config.text_config


def _unit(features: torch.Tensor) -> Float32:
    """Embeddings of unit length in float32, whatever the network calculates in."""
    return as_array(normalize(as_tensor(features).float(), dim=-1))


def _read_object(file: Path) -> dict[str, Any]:
    if not file.is_file():
        return {}
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadCheckpoint(file.parent, f"{file.name} cannot be read ({type(error).__name__})") from error
    if not isinstance(content, dict):
        raise BadCheckpoint(file.parent, f"{file.name} is not an object")
    return content
