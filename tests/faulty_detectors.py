"""Detectors that fail on purpose: out of memory above a batch size, or always in one category. Scores are those of
`honest_detector`.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from benchmark.types import FittedDetector, Prediction, Support
from honest_detector import Colours

ERRORS: dict[str, Callable[[], Exception]] = {
    "cuda": lambda: torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    "cpu": lambda: RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes."),
    "numpy": lambda: MemoryError("Unable to allocate 8 bytes"),
    "bug": lambda: ValueError("no such thing as a nut"),
}


class Bounded(FittedDetector):
    """Raises ``error`` on more than ``most`` images at once."""

    def __init__(self, inner: FittedDetector, error: str, most: int) -> None:
        self.inner, self.error, self.most = inner, error, most

    def __call__(self, images: Tensor) -> Prediction:
        if len(images) > self.most:
            raise ERRORS[self.error]()
        return self.inner(images)


class Faulty(Colours):
    """`Colours` that raises ``error`` on more than ``most`` images at once, in ``category`` or everywhere."""

    def __init__(self, error: str, most: int, category: str = "") -> None:
        self.error, self.most, self.category = error, most, category

    def fit(self, support: Support, *, seed: int) -> FittedDetector:  # type: ignore[override]
        fitted = super().fit(support, seed=seed)
        hit = self.category in ("", support.info.category)
        return Bounded(fitted, self.error, self.most) if hit else fitted


def _factory(error: str, most: int, category: str = "") -> Callable[..., Faulty]:
    def build(backbone: str | None = None) -> Faulty:
        return Faulty(error, most, category)

    build.default_backbone = lambda track: None  # type: ignore[attr-defined]
    return build


plenty = _factory("cpu", 10**6)
cuda = _factory("cuda", 3)
cpu = _factory("cpu", 1)
numpy = _factory("numpy", 4)
hopeless = _factory("cpu", 0)
breaks_on_nut = _factory("bug", 0, "nut")
