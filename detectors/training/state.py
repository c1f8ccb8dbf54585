"""The whole state of a training in one safetensors file: tensors in named groups, the rest as JSON metadata."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from benchmark.errors import ResultError, WeightsError
from benchmark.storage.jsonio import canonical_json, strict_loads

Groups = dict[str, dict[str, Tensor]]


def pack_state(groups: Mapping[str, Mapping[str, Tensor]], facts: Mapping[str, Any]) -> bytes:
    """Bytes of a state; ``facts`` are JSON values."""
    tensors = {f"{group}/{name}": tensor for group, members in groups.items() for name, tensor in members.items()}
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    return cast(bytes, save(plain, {name: canonical_json(value) for name, value in facts.items()}))


def read_state(path: Path) -> tuple[Groups, dict[str, Any]]:
    """Groups and facts of a state file.

    Raises:
        WeightsError: If it is damaged.
    """
    groups: Groups = {}
    try:
        with safe_open(path, "pt") as file:
            for key in file.keys():  # noqa: SIM118
                group, _, name = key.partition("/")
                groups.setdefault(group, {})[name] = file.get_tensor(key)
            facts = {name: strict_loads(text, source=str(path)) for name, text in (file.metadata() or {}).items()}
    except (SafetensorError, OSError, ResultError) as error:
        raise WeightsError(f"{path}: damaged training state ({error}); delete it to start again") from error
    return groups, facts


def optimiser_tensors(optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The tensors of an optimiser's state, as ``INDEX.NAME``."""
    states = optimiser.state_dict()["state"]
    return {f"{index}.{name}": tensor for index, state in states.items() for name, tensor in state.items()}


def restore_optimiser(optimiser: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Undo `optimiser_tensors`."""
    states: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        index, _, name = key.partition(".")
        states.setdefault(int(index), {})[name] = tensor
    optimiser.load_state_dict({**optimiser.state_dict(), "state": states})


def refuse_other(path: Path, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Refuse to continue a training that differs.

    Raises:
        WeightsError: Naming what differs.
    """
    if different := sorted(key for key in wanted if canonical_json(found.get(key)) != canonical_json(wanted[key])):
        raise WeightsError(
            f"{path} holds a training with another {' and another '.join(different)}; "
            "give the same, delete it, or choose another --out"
        )
