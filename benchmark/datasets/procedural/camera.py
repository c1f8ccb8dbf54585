"""From a painted scene to 8-bit pixels: exposure, a light gradient, tint and sensor noise.

Exposure and contrast follow a low-discrepancy sequence over the image number, the same for normal and defective
images: any first n of either class cover the range evenly, so brightness and contrast tell nothing about the label.
"""

from __future__ import annotations

import numpy as np

from benchmark.datasets.procedural.canvas import SIZE, Array, Stream, page, shade

GAIN, CONTRAST = (0.90, 1.08), (0.95, 1.04)
"""Range of the exposure factor and of the contrast about mid-grey."""


def spread(number: int) -> tuple[float, float]:
    """Point ``number`` of the R2 sequence in the unit square (M. Roberts, 2018), exact in 32-bit integers."""
    return (number * 3242174889 + 2**31) % 2**32 / 2**32, (number * 2447445414 + 2**31) % 2**32 / 2**32


class Camera:
    """One exposure setting; every draw is made on construction, so that two scenes get the very same treatment."""

    def __init__(self, stream: Stream, number: int) -> None:
        light, contrast = spread(number)
        self.gain = GAIN[0] + (GAIN[1] - GAIN[0]) * light
        self.contrast = CONTRAST[0] + (CONTRAST[1] - CONTRAST[0]) * contrast
        slope = page().turned(stream.direction()).x * (stream.uniform(-0.04, 0.04) / SIZE)
        self.light = self.gain * (1 + slope)
        self.tint = 1 + 0.01 * (2 * stream.field(3) - 1)
        self.grain = (stream.field(SIZE, SIZE, 3) + stream.field(SIZE, SIZE, 3) - 1.0) * 0.012

    def expose(self, scene: Array) -> Array:
        """Grey levels [H, W, 3] in [0, 255], not yet rounded."""
        lit = shade(scene, self.light) * self.tint
        return 255.0 * np.clip(0.5 + (lit - 0.5) * self.contrast + self.grain, 0.0, 1.0)
