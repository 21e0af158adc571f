"""Names to models: the one place where a family becomes a class. Torch is imported only where a model needs it."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeVar
from weakref import WeakValueDictionary

from retrieval.errors import NotRun, RoleMissing, UnknownFamily
from retrieval.models import hub
from retrieval.models.checkpoints import Checkpoint, Role, companion
from retrieval.models.roles import FeatureExtractor, Precision

if TYPE_CHECKING:
    from retrieval.models.albef import AlbefRetrieval
    from retrieval.models.blip import BlipAnswerer, BlipCaptioner, BlipRetrieval
    from retrieval.models.blip2 import Blip2Generator, Blip2Retrieval
    from retrieval.models.clip import ClipEncoder
    from retrieval.models.roles import Answerer, Captioner, Encoder, Matcher
    from retrieval.models.siglip import Siglip2Encoder, SiglipEncoder

    _Retriever = AlbefRetrieval | BlipRetrieval | Blip2Retrieval


class Openable(Protocol):
    """A model class that loads itself from a folder."""

    @classmethod
    def open(cls, folder: Path, *, name: str, device: str | None = None, precision: Precision = "float32") -> Self:
        """Load a folder or a file."""
        ...


Model = TypeVar("Model", bound=Openable)

# Encoder and matcher are one object, and so are BLIP-2's captioner and answerer: whoever asks for the second gets the
# first, as long as somebody holds it.
_alive: WeakValueDictionary[tuple[str, str, Path, str | None, Precision], Any] = WeakValueDictionary()
_loading = threading.Lock()


def load_encoder(
    checkpoint: Checkpoint, *, device: str | None = None, offline: bool = False, precision: Precision = "float32"
) -> Encoder:
    """Load the ITC side of a checkpoint; `device` is torch's name, None takes CUDA where there is one."""
    if checkpoint.family == "hashing":
        from retrieval.models.hashing import HashingEncoder

        return HashingEncoder()
    kind = _encoder(checkpoint)
    return _shared(kind, checkpoint, "encoder", device=device, offline=offline, precision=precision)


def load_matcher(
    checkpoint: Checkpoint, *, device: str | None = None, offline: bool = False, precision: Precision = "float32"
) -> Matcher:
    """Load the ITM side of a checkpoint; it shares the encoder's weights."""
    kind = _retriever(checkpoint, "matcher")
    return _shared(kind, checkpoint, "encoder", device=device, offline=offline, precision=precision)


def load_captioner(
    checkpoint: Checkpoint, *, device: str | None = None, offline: bool = False, precision: Precision = "float32"
) -> Captioner:
    """Load the captioner of a checkpoint: itself or its companion."""
    chosen = companion(checkpoint, "captioner")
    kind = _captioner(chosen)
    return _shared(kind, chosen, "captioner", device=device, offline=offline, precision=precision)


def load_answerer(
    checkpoint: Checkpoint, *, device: str | None = None, offline: bool = False, precision: Precision = "float32"
) -> Answerer:
    """Load the answerer of a checkpoint: itself or its companion."""
    chosen = companion(checkpoint, "answerer")
    kind = _answerer(chosen)
    return _shared(kind, chosen, "answerer", device=device, offline=offline, precision=precision)


def load_features(
    checkpoint: Checkpoint, *, device: str | None = None, offline: bool = False, precision: Precision = "float32"
) -> FeatureExtractor:
    """Load what gives a checkpoint's features: the very encoder, for the families whose encoder can."""
    encoder = load_encoder(checkpoint, device=device, offline=offline, precision=precision)
    if not isinstance(encoder, FeatureExtractor):
        raise RoleMissing(checkpoint.name, "features")
    return encoder


def device_kind() -> str:
    """Say what models run on here: "cuda" or "cpu"."""
    from retrieval.models.network import best_device

    return best_device()


def _encoder(checkpoint: Checkpoint) -> type[_Retriever | ClipEncoder | SiglipEncoder | Siglip2Encoder]:
    """The class that embeds for a family."""
    _check(checkpoint, "encoder")
    match checkpoint.family:
        case "clip":
            from retrieval.models.clip import ClipEncoder

            return ClipEncoder
        case "siglip":
            from retrieval.models.siglip import SiglipEncoder

            return SiglipEncoder
        case "siglip2":
            from retrieval.models.siglip import Siglip2Encoder

            return Siglip2Encoder
        case _:
            return _retriever(checkpoint, "encoder")


def _retriever(checkpoint: Checkpoint, role: Role) -> type[_Retriever]:
    """The class that is encoder and matcher of a family."""
    _check(checkpoint, role)
    match checkpoint.family:
        case "albef":
            from retrieval.models.albef import AlbefRetrieval

            return AlbefRetrieval
        case "blip":
            from retrieval.models.blip import BlipRetrieval

            return BlipRetrieval
        case "blip2":
            from retrieval.models.blip2 import Blip2Retrieval

            return Blip2Retrieval
        case other:
            raise UnknownFamily(other)


def _captioner(checkpoint: Checkpoint) -> type[BlipCaptioner | Blip2Generator]:
    """The class that describes pictures for a family."""
    _check(checkpoint, "captioner")
    match checkpoint.family:
        case "blip":
            from retrieval.models.blip import BlipCaptioner

            return BlipCaptioner
        case "blip2":
            from retrieval.models.blip2 import Blip2Generator

            return Blip2Generator
        case other:
            raise UnknownFamily(other)


def _answerer(checkpoint: Checkpoint) -> type[BlipAnswerer | Blip2Generator]:
    """The class that answers questions for a family."""
    _check(checkpoint, "answerer")
    match checkpoint.family:
        case "blip":
            from retrieval.models.blip import BlipAnswerer

            return BlipAnswerer
        case "blip2":
            from retrieval.models.blip2 import Blip2Generator

            return Blip2Generator
        case other:
            raise UnknownFamily(other)


def _shared(
    kind: type[Model], checkpoint: Checkpoint, role: Role, *, device: str | None, offline: bool, precision: Precision
) -> Model:
    """Load once; the dictionary forgets a model when its last user does."""
    folder = hub.locate(checkpoint, role, offline=offline)
    key = (kind.__name__, checkpoint.name, folder, device, precision)
    with _loading:
        model: Model | None = _alive.get(key)
        if model is None:
            hub.verify(checkpoint, folder)
            model = kind.open(folder, name=checkpoint.name, device=device, precision=precision)
            _alive[key] = model
        return model


def _check(checkpoint: Checkpoint, role: Role) -> None:
    if checkpoint.not_run is not None:
        raise NotRun(checkpoint.name, checkpoint.not_run)
    if role not in checkpoint.roles:
        raise RoleMissing(checkpoint.name, role)
