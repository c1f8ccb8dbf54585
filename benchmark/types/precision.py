"""What products of float32 numbers may be rounded to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

Precision = Literal["float32", "reduced"]
"""``reduced``: factors of float32 products may be rounded to bfloat16 or TF32, where the device is faster that way."""


@contextmanager
def computing_in(precision: Precision) -> Iterator[None]:
    """Exact or rounded matrix products meanwhile; torch's process-wide switch is put back after."""
    import torch

    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium" if precision == "reduced" else "highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
