"""What several commands make of their options."""

from __future__ import annotations

import os
from pathlib import Path


def resolve_device(name: str) -> str:
    """The device to compute on: ``auto`` is CUDA when there is one."""
    import torch

    return name if name != "auto" else "cuda" if torch.cuda.is_available() else "cpu"


def use_weights_dir(folder: Path | None) -> None:
    """Make a folder the weights folder of this process; None leaves TRUSTAD_WEIGHTS_DIR as it is."""
    if folder is not None:
        os.environ["TRUSTAD_WEIGHTS_DIR"] = str(folder.resolve())
