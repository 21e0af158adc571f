"""Names to models: the one place where a family becomes a class. Torch is imported only where a model needs it."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeVar
from weakref import WeakValueDictionary

from retrieval.errors import RoleMissing, UnknownFamily
from retrieval.models import hub
from retrieval.models.checkpoints import Checkpoint, Role, companion

if TYPE_CHECKING:
    from retrieval.models.blip import BlipRetrieval
    from retrieval.models.blip2 import Blip2Generator, Blip2Retrieval
    from retrieval.models.roles import Answerer, Captioner, Encoder, Matcher


class Openable(Protocol):
    """A model class that loads itself from a folder."""

    @classmethod
    def open(cls, folder: Path, *, name: str, device: str | None = None) -> Self:
        """Load a folder in Hugging Face's layout."""
        ...


Model = TypeVar("Model", bound=Openable)

# Encoder and matcher are one object, and so are BLIP-2's captioner and answerer: whoever asks for the second gets the
# first, as long as somebody holds it.
_alive: WeakValueDictionary[tuple[str, str, Path, str | None], Any] = WeakValueDictionary()
_loading = threading.Lock()


def load_encoder(checkpoint: Checkpoint, *, device: str | None = None, offline: bool = False) -> Encoder:
    """Load the ITC side of a checkpoint; `device` is torch's name, None takes CUDA where there is one."""
    _check(checkpoint, "encoder")
    match checkpoint.family:
        case "blip":
            return _blip_retrieval(checkpoint, device=device, offline=offline)
        case "blip2":
            return _blip2_retrieval(checkpoint, device=device, offline=offline)
        case "hashing":
            from retrieval.models.hashing import HashingEncoder

            return HashingEncoder()
        case other:
            raise UnknownFamily(other)


def load_matcher(checkpoint: Checkpoint, *, device: str | None = None, offline: bool = False) -> Matcher:
    """Load the ITM side of a checkpoint; it shares the encoder's weights."""
    _check(checkpoint, "matcher")
    match checkpoint.family:
        case "blip":
            return _blip_retrieval(checkpoint, device=device, offline=offline)
        case "blip2":
            return _blip2_retrieval(checkpoint, device=device, offline=offline)
        case other:
            raise UnknownFamily(other)


def load_captioner(checkpoint: Checkpoint, *, device: str | None = None, offline: bool = False) -> Captioner:
    """Load the captioner of a checkpoint: itself or its companion."""
    chosen = companion(checkpoint, "captioner")
    match chosen.family:
        case "blip":
            from retrieval.models.blip import BlipCaptioner

            return _shared(BlipCaptioner, chosen, "captioner", device=device, offline=offline)
        case "blip2":
            return _blip2_generator(chosen, "captioner", device=device, offline=offline)
        case other:
            raise UnknownFamily(other)


def load_answerer(checkpoint: Checkpoint, *, device: str | None = None, offline: bool = False) -> Answerer:
    """Load the answerer of a checkpoint: itself or its companion."""
    chosen = companion(checkpoint, "answerer")
    match chosen.family:
        case "blip":
            from retrieval.models.blip import BlipAnswerer

            return _shared(BlipAnswerer, chosen, "answerer", device=device, offline=offline)
        case "blip2":
            return _blip2_generator(chosen, "answerer", device=device, offline=offline)
        case other:
            raise UnknownFamily(other)


def device_kind() -> str:
    """Say what models run on here: "cuda" or "cpu"."""
    from retrieval.models.network import best_device

    return best_device()


def _blip_retrieval(checkpoint: Checkpoint, *, device: str | None, offline: bool) -> BlipRetrieval:
    from retrieval.models.blip import BlipRetrieval

    return _shared(BlipRetrieval, checkpoint, "encoder", device=device, offline=offline)


def _blip2_retrieval(checkpoint: Checkpoint, *, device: str | None, offline: bool) -> Blip2Retrieval:
    from retrieval.models.blip2 import Blip2Retrieval

    return _shared(Blip2Retrieval, checkpoint, "encoder", device=device, offline=offline)


def _blip2_generator(checkpoint: Checkpoint, role: Role, *, device: str | None, offline: bool) -> Blip2Generator:
    from retrieval.models.blip2 import Blip2Generator

    return _shared(Blip2Generator, checkpoint, role, device=device, offline=offline)


def _shared(kind: type[Model], checkpoint: Checkpoint, role: Role, *, device: str | None, offline: bool) -> Model:
    """Load once; the dictionary forgets a model when its last user does."""
    folder = hub.locate(checkpoint, role, offline=offline)
    key = (kind.__name__, checkpoint.name, folder, device)
    with _loading:
        model: Model | None = _alive.get(key)
        if model is None:
            model = kind.open(folder, name=checkpoint.name, device=device)
            _alive[key] = model
        return model


def _check(checkpoint: Checkpoint, role: Role) -> None:
    if role not in checkpoint.roles:
        raise RoleMissing(checkpoint.name, role)
