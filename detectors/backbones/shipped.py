"""The two backbones that need no download: the shipped tiny vision transformer and the Gabor filter bank."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from benchmark.errors import UsageError, WeightsError
from benchmark.storage.jsonio import digest_file
from detectors.backbones import Layers
from detectors.backbones.embedded import IMG_SIZE, WEIGHTS, embedded_vit
from detectors.backbones.gabor import GRID, GaborBank
from detectors.backbones.networks import ViTNetwork


def embedded(layers: Layers) -> ViTNetwork:
    """The shipped vision transformer (patches of 8 pixels, 192 channels)."""
    if not WEIGHTS.is_file():
        raise WeightsError(f"{WEIGHTS.name} is missing from the installed package; reinstall trustad")
    network = ViTNetwork(embedded_vit(), layers)
    network.largest_edge = IMG_SIZE
    network.weights = {WEIGHTS.name: digest_file(WEIGHTS)}
    return network


class GaborNetwork(nn.Module):
    """The filter bank as a network without weights; the global feature is the mean over patches."""

    weights: Mapping[str, str] = {}
    random_weights = False
    interpolation = "bilinear"
    largest_edge: int | None = IMG_SIZE
    multiple = GRID
    mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)

    def __init__(self) -> None:
        super().__init__()
        self.bank = GaborBank()

    def forward(self, images: Tensor) -> tuple[tuple[Tensor, ...], Tensor | None]:
        """Images in [0, 1] -> (one map [B, h, w, 54], its mean [B, 54])."""
        features = self.bank(images)
        return (features,), features.mean(dim=(1, 2))


def gabor(layers: Layers) -> GaborNetwork:
    """The Gabor filter bank.

    Raises:
        UsageError: If layers are chosen; it has one level.
    """
    if isinstance(layers, tuple):
        raise UsageError(f"the gabor backbone has one level, got layers {list(layers)}; leave them out")
    return GaborNetwork()
