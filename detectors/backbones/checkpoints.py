"""Reading checkpoints: safetensors, or pickles with ``weights_only=True``; nothing that could run code."""

from __future__ import annotations

import hashlib
import pickle
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from benchmark.errors import WeightsError
from benchmark.storage.jsonio import digest_file


def read_state(path: Path, entry: str | None = None) -> dict[str, Tensor]:
    """Tensors of a checkpoint by name.

    Args:
        path: ``.safetensors`` or a pickle of tensors.
        entry: Name of the table inside a pickle that holds several.

    Raises:
        WeightsError: If the file is truncated, is not a checkpoint, or holds more than tensors; with its
        SHA-256.
    """
    try:
        if path.suffix == ".safetensors":
            return dict(load_file(path))
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (
        SafetensorError,
        pickle.UnpicklingError,
        zipfile.BadZipFile,
        RuntimeError,
        EOFError,
        OSError,
    ) as error:
        reason = str(error).splitlines()[0][:120]
        raise WeightsError(
            f"{path}: truncated or not a checkpoint of tensors ({reason}); "
            f"found SHA-256 {digest_file(path)}; fetch the file again"
        ) from error
    if entry is not None:
        state = state.get(entry) if isinstance(state, dict) else None
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        where = "" if entry is None else f" under {entry!r}"
        raise WeightsError(f"{path}: holds no flat table of tensors{where}; export `state_dict()`")
    return state


def from_dinov2_release(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The parameter names of facebookresearch/dinov2 checkpoints mapped to timm's; other layouts pass
    unchanged.

    Registers become ``reg_token`` and the CLS position is added to the CLS token (timm embeds positions for
    patches alone
    there); SwiGLU ``w12`` and ``w3`` of the giant model become ``fc1`` and ``fc2``; the unused mask token is
    dropped.
    """
    if "mask_token" not in state:
        return dict(state)
    mapped = {
        re.sub(r"mlp\.w3\.", "mlp.fc2.", re.sub(r"mlp\.w12\.", "mlp.fc1.", name)): value
        for name, value in state.items()
        if name != "mask_token"
    }
    if "register_tokens" in mapped:
        positions = mapped["pos_embed"]
        mapped["reg_token"] = mapped.pop("register_tokens")
        mapped["cls_token"] = mapped["cls_token"] + positions[:, 0]
        mapped["pos_embed"] = positions[:, 1:]
    return mapped


def load_into(model: nn.Module, state: Mapping[str, Tensor], path: Path, *, trunk_only: bool) -> None:
    """Fill a model.

    Args:
        model: The architecture.
        state: Tensors by name.
        path: For messages.
        trunk_only: The model leaves out stages and the classifier, so that more names in the file are fine.

    Raises:
        WeightsError: If names or shapes do not fit; the first offenders are named.
    """
    own = model.state_dict()
    missing = sorted(set(own) - set(state))
    extra = sorted(name for name in set(state) - set(own) if not _is_head(name))
    shapes = sorted(name for name in set(own) & set(state) if own[name].shape != state[name].shape)
    if missing or shapes or (extra and not trunk_only):
        raise WeightsError(
            f"{path}: another layout than {type(model).__name__} needs: "
            f"{len(missing)} names missing {missing[:2]}, "
            f"{len(extra)} unknown {extra[:2]}, {len(shapes)} of another shape {shapes[:2]}"
        )
    model.load_state_dict({name: state[name] for name in own})


def require_shapes(state: Mapping[str, Tensor], shapes: Mapping[str, tuple[int, ...]], path: Path) -> None:
    """Check that a table holds the needed tensors; more are fine.

    Raises:
        WeightsError: Naming the first that is missing or has another shape.
    """
    for name, shape in shapes.items():
        found = tuple(state[name].shape) if name in state else None
        if found != shape:
            has = "is missing" if found is None else f"has shape {list(found)}"
            raise WeightsError(f"{path}: another layout than expected: {name} {has}, needed is {list(shape)}")


def digest_state(module: nn.Module) -> str:
    """SHA-256 over names and bytes of all parameters and buffers."""
    sha = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        sha.update(name.encode())
        sha.update(tensor.contiguous().numpy().tobytes())
    return sha.hexdigest()


def _is_head(name: str) -> bool:
    return name.startswith(("head.", "fc.", "classifier.", "fc_norm."))
