"""Where weights are found: bundled and local folders as they are, Hugging Face ids through the hub's own cache.

What is stored is used without asking the network. Nothing here waits longer than five seconds to learn that the
hub cannot be reached.
"""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import huggingface_hub
from huggingface_hub import constants, errors

from retrieval.errors import BadCheckpoint, UnknownModel, WeightsMissing

if TYPE_CHECKING:
    from retrieval.models.checkpoints import Checkpoint, Role

REACH_SECONDS = 4.5

# A model of several classes is one folder with a part for each.
PARTS: Mapping[str, tuple[Role, ...]] = {
    "itm": ("encoder", "matcher"),
    "caption": ("captioner",),
    "vqa": ("answerer",),
    "llm": ("captioner", "answerer"),
}

_DESCRIPTIONS = ("*.json", "*.txt")
_SAFE_WEIGHTS = "model*.safetensors"
_PICKLED_WEIGHTS = "pytorch_model.bin"


def locate(checkpoint: Checkpoint, role: Role, *, offline: bool) -> Path:
    """Find the folder with the weights that play a role; download them if they are not stored yet."""
    match checkpoint.source:
        case Path() as root:
            folder = _part(root, role)
            if not _is_complete(folder):
                raise WeightsMissing(checkpoint.name, f"looked in {folder}", _remedy(root))
            return folder
        case str() as repository:
            return _stored(repository) or _download(checkpoint, repository, offline=offline)
        case None:
            raise WeightsMissing(checkpoint.name, "this model has none", "choose another model")


def is_cached(checkpoint: Checkpoint, role: Role) -> bool:
    """Say whether a role can be loaded without the network."""
    match checkpoint.source:
        case Path() as root:
            return _is_complete(_part(root, role))
        case str() as repository:
            return _stored(repository) is not None
        case None:
            return True


def is_reachable() -> bool:
    """Say within five seconds whether the hub answers.

    The question is asked in a thread of its own: looking up a name has no time limit, and a slow server can
    stretch any limit that is set per packet.
    """
    if constants.is_offline_mode():
        return False
    answers: queue.Queue[bool] = queue.Queue()
    threading.Thread(target=lambda: answers.put(_answers()), name="hub-probe", daemon=True).start()
    try:
        return answers.get(timeout=REACH_SECONDS)
    except queue.Empty:
        return False


def read_config(source: Path | str, *, offline: bool = False) -> dict[str, Any]:
    """Read the config.json of a folder or of a Hugging Face id, downloading that one file if it is not stored."""
    return _read_object(source / "config.json" if isinstance(source, Path) else _fetch_config(source, offline=offline))


def read_generation(folder: Path) -> dict[str, Any]:
    """Read what a folder states of its text generation; nothing where it has no generation_config.json."""
    file = folder / "generation_config.json"
    return _read_object(file) if file.is_file() else {}


def read_tokenizer(folder: Path) -> dict[str, Any]:
    """Read what a folder states of its tokenizer; nothing where it has no tokenizer_config.json."""
    file = folder / "tokenizer_config.json"
    return _read_object(file) if file.is_file() else {}


def weight_files(folder: Path) -> list[Path]:
    """List the weights of a folder, safetensors before pickles, shards in order; empty if they are not all there."""
    index = folder / "model.safetensors.index.json"
    if (folder / "model.safetensors").is_file():
        return [folder / "model.safetensors"]
    if index.is_file():
        shards = _shards(index)
        return shards if all(shard.is_file() for shard in shards) else []
    return [folder / _PICKLED_WEIGHTS] if (folder / _PICKLED_WEIGHTS).is_file() else []


def _read_object(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadCheckpoint(file.parent, f"{file.name} cannot be read ({_brief(error)})") from error
    if not isinstance(content, dict):
        raise BadCheckpoint(file.parent, f"{file.name} is not an object")
    return content


def _shards(index: Path) -> list[Path]:
    try:
        names = json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadCheckpoint(index.parent, f"{index.name} cannot be read ({_brief(error)})") from error
    return sorted({index.parent / name for name in names})


def _part(root: Path, role: Role) -> Path:
    """The folder of a role: its part, or the folder itself where there are no parts."""
    if (root / "config.json").is_file():
        return root
    parts = [root / part for part, roles in PARTS.items() if role in roles]
    return next((part for part in parts if (part / "config.json").is_file()), parts[0])


def _remedy(root: Path) -> str:
    """What to do about a folder without weights: the bundled ones came with the program."""
    if root.is_relative_to(Path(__file__).parent):
        return "reinstall Sightline or name another folder"
    return "put config.json, vocab.txt and model.safetensors there, or name another folder"


def _is_complete(folder: Path) -> bool:
    has_vocabulary = (folder / "vocab.txt").is_file() or (folder / "tokenizer.json").is_file()
    return (folder / "config.json").is_file() and has_vocabulary and bool(weight_files(folder))


def _stored(repository: str) -> Path | None:
    """The folder of a Hugging Face id in the cache, if everything is there."""
    config = huggingface_hub.try_to_load_from_cache(repository, "config.json")
    folder = Path(config).parent if isinstance(config, str) else None
    return folder if folder is not None and _is_complete(folder) else None


def _download(checkpoint: Checkpoint, repository: str, *, offline: bool) -> Path:
    _check_network(checkpoint.name, repository, offline=offline)
    try:
        folder = _fetch(repository, *_DESCRIPTIONS, _SAFE_WEIGHTS)
        if not weight_files(folder):
            _fetch(repository, _PICKLED_WEIGHTS)
    except Exception as error:  # the hub's client raises errors of four libraries
        raise _failed(checkpoint.name, repository, error) from error
    if not _is_complete(folder):
        raise WeightsMissing(checkpoint.name, f"{repository} holds no weights that can be read", "choose another model")
    return folder


def _fetch(repository: str, *patterns: str) -> Path:
    """Download the files of one revision that fit a pattern; the hub's client shows its progress on stderr."""
    return Path(huggingface_hub.snapshot_download(repository, allow_patterns=[*patterns]))


def _fetch_config(repository: str, *, offline: bool) -> Path:
    stored = huggingface_hub.try_to_load_from_cache(repository, "config.json")
    if isinstance(stored, str):
        return Path(stored)
    _check_network(repository, repository, offline=offline)
    try:
        return Path(huggingface_hub.hf_hub_download(repository, "config.json"))
    except Exception as error:  # the hub's client raises errors of four libraries
        raise _failed(repository, repository, error) from error


def _check_network(name: str, repository: str, *, offline: bool) -> None:
    remedy = f"download {repository} once where there is a network, or choose the bundled model postcards"
    looked = f"{repository} is not in {constants.HF_HUB_CACHE}"
    if offline or constants.is_offline_mode():
        raise WeightsMissing(name, f"{looked} and downloads are switched off", remedy)
    if not is_reachable():
        raise WeightsMissing(name, f"{looked} and {constants.ENDPOINT} does not answer", remedy)


def _failed(name: str, repository: str, error: Exception) -> Exception:
    if isinstance(error, errors.EntryNotFoundError) and not isinstance(error, errors.LocalEntryNotFoundError):
        return UnknownModel(name, f"{constants.ENDPOINT}/{repository} has no config.json")
    if isinstance(error, errors.RepositoryNotFoundError) and not isinstance(error, errors.GatedRepoError):
        return UnknownModel(name, f"{constants.ENDPOINT} knows no {repository}, or it is private")
    return WeightsMissing(name, f"downloading {repository} failed ({_brief(error.__cause__ or error)})", "try again")


def _answers() -> bool:
    """Whether the hub says anything sensible to the shortest question; proxies are the hub client's business."""
    try:
        response = huggingface_hub.get_session().head(constants.ENDPOINT, timeout=REACH_SECONDS)
    except Exception:  # whatever went wrong, there is no hub
        return False
    return bool(response.status_code < 400)


def _brief(error: BaseException) -> str:
    """The first line of an error: the hub's own messages run over many."""
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else 'no details'}"
