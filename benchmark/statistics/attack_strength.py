"""How strong an attack is: its gap to the worst case, what it decides alone, whether more gradients would help."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from benchmark.errors import ContractError
from benchmark.metrics.outcome import Bools, Floats
from benchmark.metrics.ranking import auroc_value
from benchmark.statistics.bootstrap import macro_auroc_replicates, percentile_interval
from benchmark.statistics.intervals import Interval
from benchmark.statistics.robust import worst_case

Attacked = Mapping[str, tuple[Bools, Floats]]
"""Episode -> labels [n] and scores [conditions, n] of the same images."""


@dataclass(frozen=True, slots=True)
class Strength:
    """One attack beside the others at one budget.

    Attributes:
        auroc: Macro mean over episodes of its robust AUROC (ties lost).
        gap: That minus the worst case of all attacks on the same images; 0 = none of them adds anything.
        interval: 95 % interval of the gap, paired over images; None where it is the same in every resample.
        alone: Share of the images on which it does more harm than any other attack and the clean image.
        images: Images that both it and the others attacked, over all episodes.
    """

    attack: str
    auroc: float
    gap: float
    interval: Interval | None
    alone: float
    images: int


def strengths(attacks: Sequence[str], episodes: Attacked, dataset: str) -> list[Strength]:
    """Every attack against the worst case at one budget.

    An attack on part of the images is compared on those, so that it and the worst case saw the same. Episodes where
    the shared images hold one label are left out; an attack without any episode is missing in the answer.

    Args:
        attacks: Their names.
        episodes: Scores [1 + attacks, n], the clean ones first; NaN where an attack skipped the image.
        dataset: Key of the resamples.

    Raises:
        ContractError: a table has another number of rows.

    >>> labels = np.array([True, True, False, False])
    >>> scores = np.array([[5.0, 6.0, 1.0, 2.0], [1.0, 6.0, 1.0, 2.0], [4.0, 4.0, 1.0, 5.0]])
    >>> [(s.attack, s.auroc, s.gap, s.alone) for s in strengths(["a", "b"], {"e": (labels, scores)}, "d")]
    [('a', 0.5, 0.25, 0.25), ('b', 0.5, 0.25, 0.5)]
    """
    for labels, scores in episodes.values():
        if scores.shape != (1 + len(attacks), labels.size):
            raise ContractError(f"{len(attacks)} attacks on {labels.size} images, but scores are {scores.shape}")
    found = [_strength(row, name, episodes, dataset) for row, name in enumerate(attacks, start=1)]
    return [each for each in found if each is not None]


def _strength(row: int, attack: str, episodes: Attacked, dataset: str) -> Strength | None:
    pairs: dict[str, tuple[Bools, Floats]] = {}
    alone = 0
    for name, (labels, scores) in episodes.items():
        seen = np.isfinite(scores[row])
        positive, clean = labels[seen], scores[0, seen]
        if positive.all() or not positive.any():
            continue
        others = _filled(np.delete(scores[1:, seen], row - 1, axis=0), clean)
        own = scores[row, seen]
        rivals = worst_case(positive, clean, others)
        alone += int(np.sum(np.where(positive, own < rivals, own > rivals)))
        pairs[name] = positive, np.stack([own, worst_case(positive, rivals, own[None])])
    if not pairs:
        return None
    images = sum(labels.size for labels, _ in pairs.values())
    areas = np.mean([[auroc_value(s[y], s[~y], "lost") for s in scores] for y, scores in pairs.values()], axis=0)
    gap = np.subtract(*macro_auroc_replicates(pairs, dataset, ties="lost"))
    return Strength(attack, float(areas[0]), float(areas[0] - areas[1]), _interval(gap), alone / images, images)


def _filled(scores: Floats, clean: Floats) -> Floats:
    """Where a rival skipped an image, it did no more than leave it clean."""
    return np.where(np.isfinite(scores), scores, clean)


def _interval(replicates: Floats) -> Interval | None:
    return None if np.ptp(replicates) == 0 else percentile_interval(replicates)


@dataclass(frozen=True, slots=True)
class Progress:
    """Robust AUROC of an attack against the gradients it spent.

    Attributes:
        gradients: Rising numbers of gradients an image.
        aurocs: Macro mean of the robust AUROC after each.
        last_drop: 95 % interval of the drop over the last doubling, paired over images; None where nothing was run at
            half of the largest number or less, or the drop is the same in every resample.
    """

    gradients: tuple[int, ...]
    aurocs: tuple[float, ...]
    last_drop: Interval | None

    @property
    def still_falling(self) -> bool:
        """The last doubling lowered the AUROC beyond its interval: the attack had not converged."""
        return self.last_drop is not None and self.last_drop.low > 0


def progress(gradients: Sequence[int], episodes: Attacked, dataset: str) -> Progress:
    """An attack that was stopped after several numbers of gradients.

    The last doubling compares the largest number with the largest one of at most half of it.

    Args:
        gradients: Rising numbers of gradients.
        episodes: Scores [numbers, n] of the same images, all finite; both labels in every episode.
        dataset: Key of the resamples.

    Raises:
        ContractError: the numbers do not rise.
    """
    if len(gradients) < 1 or any(b <= a for a, b in pairwise(gradients)):
        raise ContractError(f"numbers of gradients rise, got {tuple(gradients)}")
    areas = np.mean([[auroc_value(s[y], s[~y], "lost") for s in scores] for y, scores in episodes.values()], axis=0)
    half = [row for row, count in enumerate(gradients) if 2 * count <= gradients[-1]]
    drop = None
    if half:
        last = {name: (labels, scores[[half[-1], -1]]) for name, (labels, scores) in episodes.items()}
        drop = _interval(np.subtract(*macro_auroc_replicates(last, dataset, ties="lost")))
    return Progress(tuple(gradients), tuple(float(a) for a in areas), drop)
