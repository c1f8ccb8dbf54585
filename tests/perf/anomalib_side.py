"""anomalib's side of `tests.perf.anomalib`: for the interpreter that has anomalib; imports nothing of TrustAD.

Reads a folder: ``state.pt`` (the backbone's weights by timm name) and ``images.npz`` (float32 ``support`` [M, 3, H, W]
and ``query`` [N, 3, H, W], normalised; ``bank`` [M, D] of the first episode, ours). Writes ``out.npz``: seconds and
scores of every episode, and those of the first with that bank.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import timm
import torch

create_model = timm.create_model


def unpretrained(*words: Any, **options: Any) -> Any:
    """`timm.create_model` without a download."""
    return create_model(*words, **(options | {"pretrained": False}))


def anomaly_dino(backbone: str) -> torch.nn.Module:
    """Without rotation, mask and coreset."""
    from anomalib.models.image.anomaly_dino.torch_model import AnomalyDINOModel

    return AnomalyDINOModel(encoder_name=backbone)


def patchcore(backbone: str) -> torch.nn.Module:
    """As published: levels 2 and 3, 10 % coreset, nine neighbours."""
    from anomalib.models.image.patchcore.torch_model import PatchcoreModel

    return PatchcoreModel(layers=["layer2", "layer3"], backbone=backbone, pre_trained=False, num_neighbors=9)


def fit(model: torch.nn.Module, support: torch.Tensor) -> None:
    """Collect the references and make the memory bank."""
    model.train()
    model(support)
    if hasattr(model, "fit"):
        model.fit()  # type: ignore[operator]
    else:
        model.subsample_embedding(0.1)  # type: ignore[operator]
    model.eval()


@torch.no_grad()
def run(model: torch.nn.Module, support: torch.Tensor, query: torch.Tensor, chunk: int) -> torch.Tensor:
    """Scores [N] of the query after fitting to the support."""
    fit(model, support)
    return score(model, query, chunk)


@torch.no_grad()
def score(model: torch.nn.Module, query: torch.Tensor, chunk: int) -> torch.Tensor:
    """Scores [N] of the query."""
    return torch.cat([model(part).pred_score.flatten() for part in query.split(chunk)])


def main() -> None:
    """``FOLDER MODEL BACKBONE CHUNK THREADS SHOTS SEEDS``."""
    folder, name, backbone, chunk, threads, shots, seeds = sys.argv[1:]
    torch.set_num_threads(int(threads))
    arrays = np.load(Path(folder) / "images.npz")
    support, query = (torch.from_numpy(arrays[key]) for key in ("support", "query"))
    state = torch.load(Path(folder) / "state.pt", weights_only=True)
    found: dict[str, Any] = {}
    for k in map(int, shots.split(",")):
        for s in map(int, seeds.split(",")):
            with patch("timm.create_model", unpretrained):
                model = {"anomalydino": anomaly_dino, "patchcore": patchcore}[name](backbone)
            for part in model.modules():
                if type(part).__name__ in ("VisionTransformer", "ResNet", "FeatureListNet"):
                    part.load_state_dict(state, strict=False)
            started = time.perf_counter()
            scores = run(model, support[s * k : (s + 1) * k], query, int(chunk))
            found |= {f"seconds {k} {s}": time.perf_counter() - started, f"scores {k} {s}": scores.numpy()}
            if "scores with our bank" not in found:
                model.memory_bank = torch.from_numpy(arrays["bank"])
                found["scores with our bank"] = score(model, query, int(chunk)).numpy()
    np.savez(Path(folder) / "out.npz", **found)


if __name__ == "__main__":
    main()
