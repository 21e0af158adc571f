"""Reading weights files and putting them into a network: everything fits, or an error names what does not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from retrieval.errors import BadCheckpoint, BadWeights
from retrieval.models import digests
from retrieval.models.hub import weight_files

State = dict[str, torch.Tensor]


def read_state(folder: Path) -> State:
    """Read all weights of a folder as float32 on the CPU, in whatever type they are stored."""
    files = weight_files(folder)
    if not files:
        raise BadCheckpoint(folder, "it holds no weights")
    state: State = {}
    for file in files:
        state |= _read_file(file)
    return {key: value.float() if value.is_floating_point() else value for key, value in state.items()}


def fill(
    network: Any, state: State, *, folder: Path, ties: Mapping[str, str], name_of: Callable[[str], str] = str
) -> None:
    """Put a state into a network made on the meta device.

    `ties` maps a weight to the one it shares: a file may hold either or both. Position ids, a buffer that
    older files kept, may be left over; nothing else may. `name_of` gives the name that a weight has in its file.
    """
    expected: Mapping[str, torch.Tensor] = network.state_dict()
    state = _tied(state, {alias: origin for alias, origin in ties.items() if alias in expected})
    unexpected = sorted(key for key in state.keys() - expected.keys() if not key.endswith(".position_ids"))
    missing = sorted(expected.keys() - state.keys())
    mismatched = [
        f"{name_of(key)} {list(state[key].shape)} instead of {list(expected[key].shape)}"
        for key in sorted(expected.keys() & state.keys())
        if state[key].shape != expected[key].shape
    ]
    mismatched += [
        f"{name_of(key)} of {state[key].dtype} instead of floating point numbers"
        for key in sorted(expected.keys() & state.keys())
        if expected[key].is_floating_point() and not state[key].is_floating_point()
    ]
    if missing or unexpected or mismatched:
        names = {"missing": [*map(name_of, missing)], "unexpected": [*map(name_of, unexpected)]}
        raise BadWeights(folder, **names, mismatched=mismatched)
    broken = [name_of(key) for key in expected if state[key].is_floating_point() and not _is_finite(state[key])]
    if broken:
        raise BadCheckpoint(folder, f"{broken[0]} holds numbers that are infinite or none: the file is damaged")
    network.load_state_dict({key: state[key] for key in expected}, assign=True)
    _number_positions(network)


def digest(folder: Path) -> str:
    """SHA-256 of the weights files' bytes, one after the other; about two seconds per gigabyte, once per process."""
    return digests.sha256(*weight_files(folder))


def _read_file(file: Path) -> State:
    try:
        if file.suffix == ".safetensors":
            return dict(safetensors.torch.load_file(file))
        return dict(torch.load(file, map_location="cpu", weights_only=True))
    except Exception as error:  # a damaged pickle raises whatever its damage makes it do
        raise BadCheckpoint(file.parent, f"{file.name} cannot be read ({type(error).__name__})") from error


def _is_finite(weight: torch.Tensor) -> bool:
    return bool(torch.isfinite(weight).all())


def _tied(state: State, ties: Mapping[str, str]) -> State:
    """Fill in the weights that a file leaves out because they are shared; equal copies share memory again."""
    state = dict(state)
    for alias, origin in ties.items():
        if alias in state and origin not in state:
            state[origin] = state[alias]
        elif origin in state and (alias not in state or torch.equal(state[alias], state[origin])):
            state[alias] = state[origin]
    return state


def _number_positions(network: Any) -> None:
    """Make the position ids and the token types, which no file holds: the only buffers of these networks."""
    for module in network.modules():
        if isinstance(getattr(module, "token_type_ids", None), torch.Tensor):
            module.token_type_ids = torch.zeros(module.token_type_ids.shape, dtype=torch.long)
        if isinstance(getattr(module, "position_ids", None), torch.Tensor):
            module.position_ids = torch.arange(module.position_ids.shape[-1]).expand(1, -1)
