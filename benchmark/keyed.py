"""Random numbers keyed by a name: the same on every machine and in every NumPy version, whatever ran before."""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt


def keyed_uniforms(key: str, shape: tuple[int, ...]) -> npt.NDArray[np.float64]:
    """Uniform numbers in [0, 1) on a grid of 2**-53, a function of ``key`` and ``shape`` alone.

    Built on raw PCG64 output, whose stream NumPy guarantees (NEP 19); ``Generator`` methods may change.
    """
    seed = int.from_bytes(hashlib.sha256(key.encode()).digest()[:16], "big")
    raw = np.random.PCG64(seed).random_raw(int(np.prod(shape)))
    return np.asarray((raw >> np.uint64(11)) * 2.0**-53, dtype=np.float64).reshape(shape)
