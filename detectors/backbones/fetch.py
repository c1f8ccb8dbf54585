"""Download published weights from the Hugging Face hub, on request only."""

from __future__ import annotations

import shutil
from pathlib import Path

from benchmark.errors import WeightsError
from benchmark.storage.jsonio import atomic_write_with
from detectors.backbones.weights import Weights

TIMEOUT_SECONDS = 5.0


def fetch(weights: Weights, folder: str) -> Path:
    """Download one file, resumable and checked against the hub's digest.

    Args:
        weights: What to fetch.
        folder: Where to put it as ``NAME.safetensors``; "" = leave it in the Hugging Face cache.

    Raises:
        WeightsError: If the weights are not on the hub, the network is absent or forbidden (HF_HUB_OFFLINE), or the
            licence must be accepted on the page first.
    """
    if not weights.repo:
        raise WeightsError(
            f"{weights.name} ({weights.licence}) cannot be fetched by a program: take it from {weights.url} "
            f"and put it as {weights.name}.pth into the folder given by --weights-dir or TRUSTAD_WEIGHTS_DIR"
        )
    path = _download(weights)
    if not folder:
        return path
    target = Path(folder) / f"{weights.name}{path.suffix}"
    atomic_write_with(target, lambda temp: _copy(path, temp))
    return target


def _download(weights: Weights) -> Path:
    from huggingface_hub import hf_hub_download

    size = "size unknown" if weights.megabytes is None else f"about {weights.megabytes} MB"
    try:
        return Path(
            hf_hub_download(weights.repo, weights.file, revision=weights.revision, etag_timeout=TIMEOUT_SECONDS)
        )
    except Exception as error:  # the HTTP client, and so its errors, differ between versions of the hub's library
        reason = " ".join(str(error).split())[:160]
        raise WeightsError(
            f"cannot fetch {weights.name} ({weights.licence}, {size}) from {weights.url}: {reason}; "
            f"download {weights.file} elsewhere and put it as {weights.name}.safetensors into the weights folder"
        ) from error


def _copy(source: Path, target: Path) -> None:
    shutil.copyfile(source, target)
