"""A detector without a backbone: distance of every pixel to the mean reference colour, averaged over 8 x 8 patches."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from benchmark.errors import NotApplicableError
from benchmark.types import Card, Detector, FittedDetector, Prediction, Support


@dataclass(frozen=True)
class FittedBrightness(FittedDetector):
    """Mean colour [3, 1, 1] of the references."""

    colour: Tensor

    def __call__(self, images: Tensor) -> Prediction:
        patches = avg_pool2d((images - self.colour).square().mean(1, keepdim=True), 8)[:, 0]
        height, width = (8 * edge for edge in patches.shape[1:])
        return Prediction(patches.flatten(1).amax(1), patches, (0, 0, height, width))

    def state(self) -> dict[str, Tensor]:
        return {"colour": self.colour}

    def with_state(self, state: Mapping[str, Tensor]) -> FittedBrightness:
        return FittedBrightness(state["colour"])


class Brightness(Detector):
    card = Card(
        name="brightness",
        version=1,
        title="Brightness",
        summary="Distance to the mean reference colour.",
        paper="",
        url="",
        licence="CC0-1.0",
        training_data="none",
    )

    def __init__(self, backbone: str | None = None) -> None:
        self.config = {}

    def fit(self, support: Support, *, seed: int) -> FittedBrightness:
        if len(support) == 0:
            raise NotApplicableError("needs a reference image")
        means = [image.float().mean(dim=(1, 2)) / 255 for image in support.images()]
        return FittedBrightness(torch.stack(means).mean(0)[:, None, None])
