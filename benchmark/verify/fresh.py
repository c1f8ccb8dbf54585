"""Images made for one verification: who answers from a list cannot tell them apart."""

from __future__ import annotations

import secrets
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmark.errors import ResultError

COUNT = 24
"""Images of each class for an episode."""
MAX_Z = 3.7
"""Standard errors by which the evidence may be better than fresh images: one-sided p = 1e-4."""


@dataclass(frozen=True, slots=True)
class OnFresh:
    """Clean AUROC of an episode's evidence and on fresh images, each with the size of its smaller class."""

    claimed: float
    claimed_n: int
    found: float
    found_n: int

    @property
    def variance(self) -> float:
        """Of ``claimed - found`` if both estimate one AUROC, which is then best estimated from both."""
        common = (self.claimed * self.claimed_n + self.found * self.found_n) / (self.claimed_n + self.found_n)
        return hanley_mcneil(common, self.claimed_n) + hanley_mcneil(common, self.found_n)


def hanley_mcneil(area: float, n: int) -> float:
    """Variance of an AUROC from n samples of each class (Hanley and McNeil 1982, exponential scores)."""
    shared_positive, shared_negative = area / (2 - area), 2 * area**2 / (1 + area)
    return (area * (1 - area) + (n - 1) * (shared_positive + shared_negative - 2 * area**2)) / n**2


def fresh_images(category: str, defects: Collection[str]) -> tuple[list[NDArray[np.uint8]], NDArray[np.bool_]]:
    """Generated images uint8 [H, W, 3] of a procedural category by unforeseeable seeds, and which are anomalous."""
    from benchmark.datasets.procedural import render

    kinds = [sorted(defects)[turn // 2 % len(defects)] if turn % 2 else "good" for turn in range(2 * COUNT)]
    images = [render(category, "test", kind, 10_000 + secrets.randbelow(10**6))[0] for kind in kinds]
    return images, np.array([kind != "good" for kind in kinds])


def check_fresh(episodes: Sequence[OnFresh]) -> None:
    """The AUROCs of the evidence must not be better than those on fresh images, by their mean over the episodes.

    Raises:
        ResultError: If they are better by more than `MAX_Z` standard errors.
    """
    excess = sum(episode.claimed - episode.found for episode in episodes)
    if excess > MAX_Z * sum(episode.variance for episode in episodes) ** 0.5:
        claimed = sum(episode.claimed for episode in episodes) / len(episodes)
        found = sum(episode.found for episode in episodes) / len(episodes)
        raise ResultError(
            f"mean clean AUROC {claimed:.3f} in the evidence, {found:.3f} on freshly made images; stored answers?"
        )
