"""Where weights are found: local folders and files as they are, Hugging Face ids through the hub's own cache.

What the authors offer at their own addresses lies in Sightline's cache. What is stored is used without asking the
network. Nothing here waits longer than five seconds to learn that a server cannot be reached.
"""

from __future__ import annotations

import json
import os
import queue
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import huggingface_hub
from huggingface_hub import constants, errors

from retrieval.errors import BadCheckpoint, DownloadFailed, UnknownModel, WeightsMissing
from retrieval.models import cache, digests

if TYPE_CHECKING:
    from retrieval.models.checkpoints import Checkpoint, Released, Role

REACH_SECONDS = 4.5

# A model of several classes is one folder with a part for each.
PARTS: Mapping[str, tuple[Role, ...]] = {
    "itm": ("encoder", "matcher"),
    "caption": ("captioner",),
    "vqa": ("answerer",),
    "llm": ("captioner", "answerer"),
}

# What the authors' own files are spelt with: none of them comes with its vocabulary.
VOCABULARY = "google-bert/bert-base-uncased"

AUTHORS_SUFFIXES = (".pth", ".pt")

_DESCRIPTIONS = ("*.json", "*.txt")
_SAFE_WEIGHTS = "model*.safetensors"
_PICKLED_WEIGHTS = "pytorch_model.bin"


def locate(checkpoint: Checkpoint, role: Role, *, offline: bool) -> Path:
    """Find the folder with the weights that play a role, or the file; download what is not stored yet."""
    match checkpoint.source:
        case Path() as file if is_weights_file(file):
            return _given_file(checkpoint.name, file, offline=offline)
        case Path() as root:
            folder = _part(root, role)
            if not _is_complete(folder):
                raise WeightsMissing(checkpoint.name, f"looked in {folder}", _remedy(root))
            return folder
        case str() as repository:
            return _stored(repository) or _download(checkpoint, repository, offline=offline)
        case None:
            raise WeightsMissing(checkpoint.name, "this model has none", "choose another model")
        case released:
            return _gather(checkpoint.name, released, offline=offline)


def is_cached(checkpoint: Checkpoint, role: Role) -> bool:
    """Say whether a role can be loaded without the network."""
    match checkpoint.source:
        case Path() as file if is_weights_file(file):
            return file.is_file() and (_has_vocabulary(file.parent) or _stored_vocabulary(VOCABULARY) is not None)
        case Path() as root:
            return _is_complete(_part(root, role))
        case str() as repository:
            return _stored(repository) is not None
        case None:
            return True
        case released:
            is_spelt = _has_vocabulary(_folder_of(checkpoint.name)) or _stored_vocabulary(released.vocabulary)
            return bool(is_spelt) and all(stored_file(address).is_file() for address in released.addresses)


def verify(checkpoint: Checkpoint, folder: Path) -> None:
    """Check the weights that were downloaded to a folder; WeightsChanged where they are not what they were.

    What is bundled, and the user's own folders and files, may change.
    """
    files = weight_files(folder)
    match checkpoint.source:
        case Path() | None:
            return
        case str() as repository:
            outside = [file for file in files if not file.is_relative_to(folder) or ".." in file.parts]
            if outside:
                raise BadCheckpoint(folder, f"it names weights outside of itself: {outside[0]}")
            names = [file.relative_to(folder).as_posix() for file in files]
            origins = [f"{constants.ENDPOINT}/{repository}/resolve/{folder.name}/{name}" for name in names]
        case released:
            origins = [*released.addresses]
    # The fingerprint of a model is the digest of all its files: one pass gives that and the digest of each.
    digests.sha256(*files)
    for file, origin in zip(files, origins, strict=True):
        digests.check(file, origin)


def stored_file(address: str) -> Path:
    """Where a file from an address lies, once for all checkpoints that share it."""
    return cache.place("files", address)


def vocabulary_folder(place: Path, *, offline: bool) -> Path:
    """The folder whose vocab.txt or tokenizer.json the texts of a folder or file are spelt with: its own, or BERT's."""
    folder = place.parent if is_weights_file(place) else place
    return folder if _has_vocabulary(folder) else _vocabulary(str(place), VOCABULARY, offline=offline).parent


def is_weights_file(path: Path) -> bool:
    """Say whether a path names a file in the authors' layout and not a folder."""
    return path.suffix in AUTHORS_SUFFIXES and not path.is_dir()


def is_reachable() -> bool:
    """Say within five seconds whether the hub answers."""
    return not constants.is_offline_mode() and _in_time(_answers)


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


def weight_files(place: Path) -> list[Path]:
    """List the weights of a folder, shards in order, or the one file that was given; empty if they are not all there.

    Safetensors come before pickles, and both before the authors' files: those that config.json names in its
    "weights", or else all.
    """
    if is_weights_file(place):
        return [place] if place.is_file() else []
    index = place / "model.safetensors.index.json"
    if (place / "model.safetensors").is_file():
        return [place / "model.safetensors"]
    if index.is_file():
        return _all_there(_shards(index))
    if (place / _PICKLED_WEIGHTS).is_file():
        return [place / _PICKLED_WEIGHTS]
    return _all_there(_authors_files(place))


def _read_object(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadCheckpoint(file.parent, f"{file.name} cannot be read ({_brief(error)})") from error
    if not isinstance(content, dict):
        raise BadCheckpoint(file.parent, f"{file.name} is not an object")
    return content


def _all_there(files: list[Path]) -> list[Path]:
    return files if all(file.is_file() for file in files) else []


def _authors_files(folder: Path) -> list[Path]:
    stated = _read_object(folder / "config.json").get("weights") if (folder / "config.json").is_file() else None
    if isinstance(stated, list) and all(isinstance(name, str) for name in stated):
        return [Path(os.path.normpath(folder / name)) for name in stated]
    return sorted(file for suffix in AUTHORS_SUFFIXES for file in folder.glob(f"*{suffix}"))


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
    return (folder / "config.json").is_file() and _has_vocabulary(folder) and bool(weight_files(folder))


def _has_vocabulary(folder: Path) -> bool:
    return (folder / "vocab.txt").is_file() or (folder / "tokenizer.json").is_file()


def _given_file(name: str, file: Path, *, offline: bool) -> Path:
    if not file.is_file():
        raise WeightsMissing(name, f"there is no file {file}", "name a file that exists")
    vocabulary_folder(file, offline=offline)
    return file


def _gather(name: str, released: Released, *, offline: bool) -> Path:
    """Make sure of the folder of a checkpoint: the vocabulary, which is soon there, the weights, and what they are."""
    folder = _folder_of(name)
    if offline or constants.is_offline_mode():
        # What is large is named first: who has to fetch it elsewhere wants to know of it.
        for address in released.addresses:
            _make_sure(name, address, offline=offline)
    if not _has_vocabulary(folder):
        _put(name, folder / "vocab.txt", _vocabulary(name, released.vocabulary, offline=offline).read_bytes())
    for address in released.addresses:
        _make_sure(name, address, offline=offline)
    files = [os.path.relpath(stored_file(address), folder) for address in released.addresses]
    stated = {**released.config, "weights": [Path(file).as_posix() for file in files]}
    # Last, so that a folder with a config.json is complete.
    _put(name, folder / "config.json", f"{json.dumps(stated, indent=2)}\n".encode())
    return folder


def _put(name: str, file: Path, content: bytes) -> None:
    try:
        cache.write(file, content)
    except OSError as error:
        reason = f"{file} cannot be written ({error.strerror or error})"
        raise WeightsMissing(name, reason, "make room there or let it be written, and try again") from error


def _folder_of(name: str) -> Path:
    return cache.folder() / "checkpoints" / name


def _make_sure(name: str, address: str, *, offline: bool) -> None:
    """Download a file of the authors unless it is stored."""
    file = stored_file(address)
    if file.is_file():
        return
    remedy = f"download {address} once where there is a network, put it at {file}, or choose the bundled postcards"
    if offline or constants.is_offline_mode():
        raise WeightsMissing(name, f"{file} is not there and downloads are switched off", remedy)
    if not _in_time(lambda: _responds(address)):
        raise WeightsMissing(name, f"{file} is not there and {address} does not answer", remedy)
    try:
        from retrieval.models.fetch import fetch  # what a machine that only trains or measures may lack

        fetch(address, file)
    except DownloadFailed as error:
        raise WeightsMissing(name, f"downloading {address} failed ({error.reason})", error.remedy) from error


def _vocabulary(name: str, repository: str, *, offline: bool) -> Path:
    """The vocab.txt of a Hugging Face id; any stored copy will do."""
    return _stored_vocabulary(repository) or _fetch_file(name, repository, "vocab.txt", offline=offline)


def _stored_vocabulary(repository: str) -> Path | None:
    # BERT's first ids had no organisation; caches of that time still hold them.
    for known in (repository, repository.rpartition("/")[2]):
        stored = huggingface_hub.try_to_load_from_cache(known, "vocab.txt")
        if isinstance(stored, str):
            return Path(stored)
    return None


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
    return _fetch_file(repository, repository, "config.json", offline=offline)


def _fetch_file(name: str, repository: str, file: str, *, offline: bool) -> Path:
    _check_network(name, repository, offline=offline)
    try:
        return Path(huggingface_hub.hf_hub_download(repository, file))
    except Exception as error:  # the hub's client raises errors of four libraries
        raise _failed(name, repository, error, file=file) from error


def _check_network(name: str, repository: str, *, offline: bool) -> None:
    remedy = f"download {repository} once where there is a network, or choose the bundled model postcards"
    looked = f"{repository} is not in {constants.HF_HUB_CACHE}"
    if offline or constants.is_offline_mode():
        raise WeightsMissing(name, f"{looked} and downloads are switched off", remedy)
    if not is_reachable():
        raise WeightsMissing(name, f"{looked} and {constants.ENDPOINT} does not answer", remedy)


def _failed(name: str, repository: str, error: Exception, *, file: str = "config.json") -> Exception:
    if isinstance(error, errors.EntryNotFoundError) and not isinstance(error, errors.LocalEntryNotFoundError):
        return UnknownModel(name, f"{constants.ENDPOINT}/{repository} has no {file}")
    if isinstance(error, errors.RepositoryNotFoundError) and not isinstance(error, errors.GatedRepoError):
        return UnknownModel(name, f"{constants.ENDPOINT} knows no {repository}, or it is private")
    return WeightsMissing(name, f"downloading {repository} failed ({_brief(error.__cause__ or error)})", "try again")


def _in_time(ask: Callable[[], bool]) -> bool:
    """Ask within five seconds; no answer is a no.

    The question is asked in a thread of its own: looking up a name has no time limit, and a slow server can
    stretch any limit that is set per packet.
    """
    answers: queue.Queue[bool] = queue.Queue()
    threading.Thread(target=lambda: answers.put(ask()), name="hub-probe", daemon=True).start()
    try:
        return answers.get(timeout=REACH_SECONDS)
    except queue.Empty:
        return False


def _responds(address: str) -> bool:
    """Whether anybody is there at all: what is wrong with an answer the download will say."""
    try:
        huggingface_hub.get_session().head(address, timeout=REACH_SECONDS)
    except Exception:  # whatever went wrong, there is nobody
        return False
    return True


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
