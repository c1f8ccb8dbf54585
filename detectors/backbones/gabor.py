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


class GaborBank(torch.nn.Module):
    """54 texture features per patch: for 3 wavelengths x 8 orientations the mean and the peak energy of the patch (48
    channels), and the mean and deviation of its three opponent colours (6).

    Energies are compressed by ``log(1 + 20 e)`` so that weak texture counts beside strong edges.
    """

    dim = 2 * len(WAVELENGTHS) * ORIENTATIONS + 6

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("kernels", gabor_kernels(), persistent=False)
        mix = [[1 / 3, 1 / 3, 1 / 3], [0.5, -0.5, 0.0], [0.25, 0.25, -0.5]]
        self.register_buffer("opponents", torch.tensor(mix)[..., None, None], persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Images [B, 3, H, W] in [0, 1], H and W multiples of 8 -> features [B, H/8, W/8, 54]."""
        colours = conv2d(images, self.get_buffer("opponents"))  # [B, 3, H, W]: grey, red-green, yellow-blue
        response = conv2d(pad(colours[:, :1], (12,) * 4, mode="reflect"), self.get_buffer("kernels"))
        even, odd = response[:, 0::2], response[:, 1::2]
        energy = torch.log1p(20 * (even * even + odd * odd + 1e-12).sqrt())  # [B, 24, H, W]
        mean = avg_pool2d(colours, GRID)
        deviation = (avg_pool2d(colours * colours, GRID) - mean * mean).clamp_min(1e-8).sqrt()
        peak = max_pool2d(energy, GRID)
        features = torch.cat([avg_pool2d(energy, GRID), peak, 2 * mean, 4 * deviation], dim=1)
        return features.permute(0, 2, 3, 1)
