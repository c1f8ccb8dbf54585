"""Features of a frozen backbone on disk, so that an epoch of adapter training does not run the backbone again.

One safetensors file per image in half precision (four layers of ViT-L/16 at 512 pixels: 8.4 MB). The features are
rounded also where no folder is given: both ways train alike, bit for bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from benchmark.storage.jsonio import atomic_write, digest_json
from benchmark.types import Extractor, Features
from detectors.training.auxiliary import AuxiliarySample


class FrozenFeatures:
    """Features of auxiliary samples.

    Args:
        extractor: The frozen backbone.
        edge: Canonical edge of the images; part of the key, as is the extractor's id.
        folder: Cache folder, or None to compute features anew each time.
    """

    def __init__(self, extractor: Extractor, edge: int, folder: Path | None) -> None:
        self.extractor, self.edge = extractor, edge
        self._folder = None if folder is None else folder / digest_json([extractor.id, edge])[:32]

    def get(self, sample: AuxiliarySample) -> dict[str, Tensor]:
        """``level0`` ... [h, w, D] and ``cls`` of one image, half precision on the CPU."""
        path = None if self._folder is None else self._folder / f"{sample.digest}.safetensors"
        if path is not None and path.is_file():
            try:
                return dict(load_file(path))
            except (SafetensorError, OSError):
                path.unlink(missing_ok=True)
        tensors = self._extract(sample)
        if path is not None:
            atomic_write(path, save(tensors))
        return tensors

    def batch(self, samples: Sequence[AuxiliarySample], device: str) -> Features:
        """Features of several samples in single precision on a device."""
        rows = [self.get(sample) for sample in samples]
        joined = {name: torch.stack([row[name] for row in rows]).to(device).float() for name in rows[0]}
        cls = joined.pop("cls")
        return Features(tuple(joined[f"level{i}"] for i in range(len(joined))), cls, (0, 0, self.edge, self.edge))

    def _extract(self, sample: AuxiliarySample) -> dict[str, Tensor]:
        with torch.no_grad():
            features = self.extractor(sample.image()[None].float() / 255)
        tensors = {f"level{i}": level[0] for i, level in enumerate(features.maps)}
        if features.cls is not None:
            tensors["cls"] = features.cls[0]
        return {name: tensor.half().cpu().contiguous() for name, tensor in tensors.items()}
