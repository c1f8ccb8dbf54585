"""Labelled images of an auxiliary data set, as trainings of adapters take them; the command line builds them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from benchmark.errors import UsageError
from benchmark.types import keyed_seed


@dataclass(frozen=True)
class AuxiliarySample:
    """One labelled image.

    Attributes:
        id: As in `benchmark.types.Sample`.
        digest: SHA-256 of the image.
        category: Object or texture.
        class_name: Its natural name, for prompts.
        label: 1 = anomalous.
        image: Gives the canonical image, uint8 [3, H, W].
        mask: Gives its mask, bool [H, W] (True = defect).
    """

    id: str
    digest: str
    category: str
    class_name: str
    label: int
    image: Callable[[], Tensor]
    mask: Callable[[], Tensor]


@dataclass(frozen=True)
class AuxiliarySet:
    """The test split of an auxiliary data set, the digest of its manifest, and the canonical edge of its images."""

    dataset: str
    manifest: str
    edge: int
    samples: tuple[AuxiliarySample, ...]

    def categories(self) -> tuple[str, ...]:
        """Categories, sorted."""
        return tuple(sorted({sample.category for sample in self.samples}))

    def of(self, categories: tuple[str, ...]) -> tuple[AuxiliarySample, ...]:
        """The samples of some categories, in order."""
        return tuple(sample for sample in self.samples if sample.category in categories)


def hold_out(categories: tuple[str, ...], share: float, seed: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Split categories into (for training, held out); whole categories, since the aim is to generalise to unseen ones.

    Args:
        categories: At least two.
        share: Share that is held out; at least one category is, and one stays.
        seed: Chooses which.

    Raises:
        UsageError: If there are fewer than two categories.
    """
    if len(categories) < 2:
        raise UsageError(f"training needs at least two categories, one to choose the epoch on; got {list(categories)}")
    count = min(len(categories) - 1, max(1, round(share * len(categories))))
    held_out = sorted(categories, key=lambda name: keyed_seed("hold out", seed, name))[:count]
    return tuple(c for c in categories if c not in held_out), tuple(sorted(held_out))
