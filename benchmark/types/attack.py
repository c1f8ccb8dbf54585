"""The attack contract: 8-bit canonical images in, 8-bit images out.

Budgets are whole grey levels n of epsilon = n/255. The harness hands an attack a `Target` (what the attacker
may query), runs it once per batch for all epsilons, and then re-projects, re-checks in integers and re-
scores: an attack's own claim counts for nothing.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

if TYPE_CHECKING:
    from torch import Tensor

    from benchmark.types.detector import Features, FittedDetector, Prediction

Knowledge = Literal["none", "surrogate", "white_box", "black_box", "transfer"]
Norm = Literal["Linf", "L2"]


@dataclass(frozen=True, slots=True)
class AttackCard:
    """What an attack is.

    Attributes:
        name: Registry name.
        version: Bumped whenever the images could change; part of every cell address.
        knowledge: What the attacker must know (PROTOCOL.md section 2).
        summary: One sentence.
        paper: Citation; ``url`` its https address.
        norm: ``"Linf"``; ``"L2"`` only in the continuous, unranked table.
        uses_labels: The direction depends on the true label (all but the noise controls).
        uses_masks: Needs the ground-truth mask.
        uses_foreground: Needs a detector that masks the background (`MaskedScorer`), in the category at hand.
        full_coverage: Perturbs every query image, so that it can enter `worst_case`.
    """

    name: str
    version: int
    knowledge: Knowledge
    summary: str
    paper: str = ""
    url: str = ""
    norm: Norm = "Linf"
    uses_labels: bool = True
    uses_masks: bool = False
    uses_foreground: bool = False
    full_coverage: bool = True


@dataclass(frozen=True, slots=True)
class AttackBatch:
    """Images to perturb.

    Attributes:
        images: uint8 [B, 3, H, W] canonical images.
        labels: int64 [B]; 1 = anomalous. The harmful direction is score down for 1 and score up for 0.
        sample_ids: B stable ids; random numbers are keyed by them, so results do not depend on the batch.
        masks: bool [B, H, W] ground truth at canonical resolution, or None where the data set has none.
    """

    images: Tensor
    labels: Tensor
    sample_ids: tuple[str, ...]
    masks: Tensor | None = None

    def __len__(self) -> int:
        return len(self.sample_ids)

    @property
    def direction(self) -> Tensor:
        """float32 [B]: +1 where the harmful move is up (normals), -1 where it is down (anomalies)."""
        return 1.0 - 2.0 * self.labels.float()


class Target(Protocol):
    """What an attacker can reach of one fitted detector. Calls are counted (forward and backward passes per image)."""

    @property
    def fitted(self) -> FittedDetector:
        """The detector of the batch, for attacks that know its inside (`MaskedScorer` ...); transductive ones leave
        each sample out of its own references."""
        ...

    @property
    def queried(self) -> tuple[str, ...]:
        """Sample ids of the batch under attack, in batch order."""
        ...

    def predict(self, images: Tensor, rows: Tensor | None = None) -> Prediction:
        """Score float [b, 3, H, W] images in [0, 1]; differentiable where the detector is.

        Args:
            images: Candidates, for all or some of the batch.
            rows: Indices into the batch of each candidate; None when ``images`` covers the whole batch in order.
        """
        ...

    def features(self, images: Tensor) -> Features:
        """Backbone features, differentiable. Raises NotApplicableError for detectors without tokens."""
        ...

    def surrogate_logit(self, images: Tensor) -> Tensor:
        """Logit [b] of "anomalous" of the linear head on the frozen features (`surrogate` knowledge).

        Raises:
            NotApplicableError: If the detector has no tokens.
        """
        ...

    def flag_probability(self, scores: Tensor) -> Tensor:
        """Platt probability [b] of scores, the calibrator that `flag_adaptive` knows; differentiable."""
        ...

    @property
    def flag_entropy_limit(self) -> float:
        """Predictive entropy (nats) above which 5 % of the clean images are flagged."""
        ...

    @property
    def threshold(self) -> float:
        """The clean decision threshold on the raw score that `flag_adaptive` tries to cross."""
        ...


class Attack(ABC):
    """A configured attack. Registered as a factory ``(**config) -> Attack``; stateless."""

    card: ClassVar[AttackCard]
    config: Mapping[str, Any] = {}

    @property
    def name(self) -> str:
        """Name in results."""
        return self.card.name

    @abstractmethod
    def perturb(self, target: Target, batch: AttackBatch, epsilons: Sequence[int]) -> Iterator[Tensor]:
        """Yield one uint8 [B, 3, H, W] tensor per epsilon (grey levels), in the given order.

        Must be repeatable, independent of the batch composition, and take its random numbers from `random_uniform`.
        """


def keyed_seed(*key: str | int) -> int:
    """A 63-bit seed from a key: the same on every machine, independent of order of evaluation."""
    digest = hashlib.sha256("\x1f".join(str(k) for k in key).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def random_uniform(batch: AttackBatch, *key: str | int) -> Tensor:
    """Uniform [0, 1) float32 noise [B, 3, H, W] keyed by (sample_id, *key), on the images' device."""
    import torch

    shape = batch.images.shape[1:]
    rows = []
    for sample_id in batch.sample_ids:
        generator = torch.Generator().manual_seed(keyed_seed(sample_id, *key))
        rows.append(torch.rand(shape, generator=generator))
    return torch.stack(rows).to(batch.images.device)


__all__ = [
    "Attack",
    "AttackBatch",
    "AttackCard",
    "Knowledge",
    "Norm",
    "Target",
    "keyed_seed",
    "random_uniform",
]
