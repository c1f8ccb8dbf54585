"""A backbone without weights: a bank of oriented band-pass filters (J. Daugman, JOSA A 2(7), 1985)."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, conv2d, max_pool2d, pad

GRID = 8
"""Pixels per side of a patch: the grid of the embedded vision transformer."""
WAVELENGTHS = (3.0, 6.0, 12.0)
ORIENTATIONS = 8
STRIDE = 2
"""Responses are taken at every second pixel; their energy varies slowly enough."""

_GROUPS = (
    *((0.50, 0.38, 8), (0.86, 0.62, 8), (1.30, 0.80, 8)),  # mean energy of a patch, by wavelength
    *((0.86, 0.56, 8), (1.20, 0.74, 8), (1.59, 0.84, 8)),  # its peak
    *((0.45, 0.18, 1), (0.0, 0.14, 2)),  # mean grey; red-green and yellow-blue
    *((0.053, 0.044, 1), (0.033, 0.026, 2)),  # their deviation
)
"""(centre, spread, channels): rounded statistics of each kind of channel over the classes of detectors/training."""


def gabor_kernels() -> Tensor:
    """Even and odd filters, zero mean and unit norm: [3 * 8 * 2, 1, 25, 25], by wavelength, orientation, phase."""
    axis = torch.arange(-12, 13, dtype=torch.float64)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    kernels = []
    for wavelength in WAVELENGTHS:
        envelope = torch.exp(-(x * x + y * y) / (2 * (0.5 * wavelength) ** 2))
        for k in range(ORIENTATIONS):
            angle = math.pi * k / ORIENTATIONS
            phase = 2 * math.pi / wavelength * (x * math.cos(angle) + y * math.sin(angle))
            for wave in (torch.cos(phase), torch.sin(phase)):
                kernel = envelope * (wave - (envelope * wave).sum() / envelope.sum())
                kernels.append(kernel / kernel.norm())
    return torch.stack(kernels)[:, None].float()


class GaborStem(torch.nn.Module):
    """54 texture features per patch: for 3 wavelengths x 8 orientations the mean and the peak energy (48 channels), and
    mean and deviation of three opponent colours (6), each kind brought to about zero mean and unit spread.

    Energies are compressed by ``log(1 + 20 e)`` so that weak texture counts beside strong edges.
    """

    dim = 2 * len(WAVELENGTHS) * ORIENTATIONS + 6

    def __init__(self) -> None:
        super().__init__()
        mix = [[1 / 3, 1 / 3, 1 / 3], [0.5, -0.5, 0.0], [0.25, 0.25, -0.5]]
        centre, spread = (torch.cat([torch.full((group[2],), group[k]) for group in _GROUPS]) for k in (0, 1))
        constants = {"kernels": gabor_kernels(), "opponents": torch.tensor(mix)[..., None, None]}
        constants |= {"centre": centre[:, None, None], "spread": spread[:, None, None]}
        for name, value in constants.items():
            self.register_buffer(name, value, persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Images [B, 3, H, W] in [0, 1], H and W multiples of 8 -> features [B, 54, H/8, W/8]."""
        colours = conv2d(images, self.get_buffer("opponents"))  # [B, 3, H, W]: grey, red-green, yellow-blue
        grey = pad(colours[:, :1], (12,) * 4, mode="reflect")
        response = conv2d(grey, self.get_buffer("kernels"), stride=STRIDE)
        even, odd = response[:, 0::2], response[:, 1::2]
        energy = torch.log1p(20 * (even * even + odd * odd + 1e-12).sqrt())  # [B, 24, H/2, W/2]
        cell = GRID // STRIDE
        mean = avg_pool2d(colours, GRID)
        deviation = (avg_pool2d(colours * colours, GRID) - mean * mean).clamp_min(1e-8).sqrt()
        features = torch.cat([avg_pool2d(energy, cell), max_pool2d(energy, cell), mean, deviation], dim=1)
        standard: Tensor = (features - self.get_buffer("centre")) / self.get_buffer("spread")
        return standard


class GaborBank(torch.nn.Module):
    """The filter bank as a backbone of its own."""

    dim = GaborStem.dim

    def __init__(self) -> None:
        super().__init__()
        self.stem = GaborStem()

    def forward(self, images: Tensor) -> Tensor:
        """Images [B, 3, H, W] in [0, 1], H and W multiples of 8 -> features [B, H/8, W/8, 54]."""
        features: Tensor = self.stem(images)
        return features.permute(0, 2, 3, 1)
