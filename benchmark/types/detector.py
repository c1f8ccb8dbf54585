"""The detector contract.

A detector never has an unfitted state: ``Detector.fit(support)`` returns a NEW fitted object. All
preprocessing after the canonical image (resize, crop, normalise) happens inside the detector, in torch,
differentiably: attacks take gradients of the score with respect to the canonical pixels.

Most detectors score features of a frozen backbone. They split the work at a seam: an `Extractor` (shared by
every detector, shot count and seed with the same ``id``) and a `FeatureScorer` (the fitted head). The harness
runs the extractor once per image batch and condition and feeds every head.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar, runtime_checkable

if TYPE_CHECKING:
    from torch import Tensor

    from benchmark.types.data import Support

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Card:
    """What a detector is; shown by `trustad list detectors`, docs and the leaderboard.

    Attributes:
        name: Registry name, lower case.
        version: Bumped whenever a score could change; part of every cell address.
        title: Human name.
        summary: One sentence.
        paper: Citation text; ``url`` is its https address.
        licence: Licence of the method's weights or official code, SPDX-like.
        training_data: What the frozen weights and adapters saw.
        zero_shot: Needs no support image.
        few_shot: Uses support images.
        transductive: Sees the unlabelled query set.
        auxiliary_labels: Trained on labelled anomalies of another data set.
        differentiable: The score has a gradient w.r.t. the canonical pixels.
        deterministic: Two calls give the same bits.
        has_map: Gives an anomaly map.
        random_weights: Some part carries seeded random weights: listed, never ranked.
    """

    name: str
    version: int
    title: str
    summary: str
    paper: str
    url: str
    licence: str
    training_data: str
    zero_shot: bool = False
    few_shot: bool = True
    transductive: bool = False
    auxiliary_labels: bool = False
    differentiable: bool = True
    deterministic: bool = True
    has_map: bool = True
    random_weights: bool = False


@dataclass(frozen=True, slots=True)
class Features:
    """What a frozen backbone says about a batch.

    Attributes:
        maps: Patch features, one [B, h, w, D] tensor per level (a ViT layer, a CNN stage, a window scale).
        cls: Global feature [B, D], or None.
        region: (top, left, bottom, right) in canonical pixels that the maps cover; crops leave the rest unseen.
        memo: What heads have computed from these features without gradient and other heads may use (`once`); a key
            names everything besides the features that its value depends on.
    """

    maps: tuple[Tensor, ...]
    cls: Tensor | None
    region: tuple[int, int, int, int]
    memo: dict[Any, Any] = field(default_factory=dict, compare=False, repr=False)

    def once(self, key: Any, make: Callable[[], T]) -> T:
        """``make()``, kept in ``memo`` for other heads; made anew where a gradient flows through it."""
        import torch

        if torch.is_grad_enabled() and self.maps[-1].requires_grad:
            return make()
        if key not in self.memo:
            self.memo[key] = make()
        made: T = self.memo[key]
        return made

    @property
    def writes(self) -> tuple[int, ...]:
        """How often each tensor was written into in place: users that share features compare it before and after."""
        parts = self.maps if self.cls is None else (*self.maps, self.cls)
        return tuple(0 if part.is_inference() else part._version for part in parts)

    def pooled(self) -> Tensor:
        """[CLS, mean patch of the last level] per image, [B, D'] (mean patch alone where there is no CLS)."""
        import torch

        mean = self.maps[-1].mean(dim=(1, 2))
        return mean if self.cls is None else torch.cat([self.cls, mean], dim=1)


@dataclass(frozen=True, slots=True)
class Prediction:
    """Scores of a batch; higher is more anomalous.

    Attributes:
        score: [B] image scores, any finite range.
        anomaly_map: [B, h, w] raw map on the detector's own grid, or None. The harness resizes it.
        region: (top, left, bottom, right) in canonical pixels that the map covers; None = the whole image.
        map_sigma: Standard deviation in pixels of the Gaussian applied AFTER resizing the map (0 = none).
    """

    score: Tensor
    anomaly_map: Tensor | None = None
    region: tuple[int, int, int, int] | None = None
    map_sigma: float = 0.0


class Extractor(Protocol):
    """A frozen feature extractor: canonical images [B, 3, H, W] float in [0, 1] -> `Features`, differentiable."""

    @property
    def id(self) -> str:
        """Identifies the computation: name, layers, preprocessing and weights digest. Equal id = equal features."""
        ...

    @property
    def weights(self) -> Mapping[str, str]:
        """File or model name -> SHA-256 of the weights in use."""
        ...

    @property
    def random_weights(self) -> bool:
        """The weights are seeded, not trained: listed, never ranked."""
        ...

    def __call__(self, images: Tensor) -> Features: ...

    def to(self, device: str) -> Extractor: ...


class FittedDetector(ABC):
    """A detector fitted to one episode."""

    @abstractmethod
    def __call__(self, images: Tensor) -> Prediction:
        """Score canonical images, float [B, 3, H, W] in [0, 1]."""

    def state(self) -> dict[str, Tensor]:
        """The fitted tensors by name, for save/load round trips and digests."""
        return {}

    def with_state(self, state: Mapping[str, Tensor]) -> FittedDetector:
        """This detector with the fitted tensors of `state`, as read back from a file."""
        raise NotImplementedError(f"{type(self).__name__} cannot take a saved state")


class FeatureScorer(FittedDetector):
    """A fitted head on a shared frozen extractor; subclasses implement `score`."""

    extractor: Extractor

    @abstractmethod
    def score(self, features: Features) -> Prediction:
        """Score features of a batch; row b depends on row b alone."""

    def __call__(self, images: Tensor) -> Prediction:
        return self.score(self.extractor(images))


@runtime_checkable
class MaskedScorer(Protocol):
    """A head with a foreground mask, which `mask_flip` attacks and `pgd_score_frozen_mask` holds."""

    masked: bool

    def score(self, features: Features) -> Prediction:
        """As in `FeatureScorer`: every image under the mask of its own features."""
        ...

    def with_foreground(self, features: Features) -> MaskedScorer:
        """This head with the masks of these features held: image b of what it scores is masked as image b of these."""
        ...

    def foreground_margin(self, features: Features) -> Tensor:
        """Signed margin [B, h, w] of the soft mask decision: > 0 where a patch counts as foreground; differentiable."""
        ...


@runtime_checkable
class SubstituteGradient(Protocol):
    """A detector with a step that has no useful gradient: white-box attacks differentiate its stand-in (BPDA).

    Athalye et al. 2018, "Obfuscated gradients give a false sense of security".
    """

    def substitute(self, images: Tensor) -> Prediction:
        """A differentiable approximation; only its gradient is used, values come from the detector itself."""
        ...


@runtime_checkable
class TransductiveScorer(Protocol):
    """A detector fitted on the unlabelled query set; the sample being scored is left out of its references."""

    def excluding(self, sample_ids: Sequence[str]) -> FittedDetector:
        """A detector for exactly this batch: image b is scored against all references but ``sample_ids[b]``."""
        ...


class Detector(ABC):
    """A configured method. Registered as a factory ``(backbone: Backbone-name or None, **config) -> Detector``.

    Subclasses set ``card`` and ``config`` (JSON values only: it is hashed into cell addresses) and implement `fit`.
    """

    card: ClassVar[Card]
    config: Mapping[str, Any] = {}
    extractor: Extractor | None = None

    @property
    def name(self) -> str:
        """``name`` or ``name@backbone``, as results show it."""
        backbone = self.config.get("backbone")
        return f"{self.card.name}@{backbone}" if backbone else self.card.name

    @abstractmethod
    def fit(self, support: Support, *, seed: int) -> FittedDetector:
        """Fit to the support set and return a new object.

        Args:
            support: k reference images; k = 0 only for zero-shot detectors.
            seed: Seed of everything random in the fit (coreset, subspace ...).

        Raises:
            NotApplicableError: If the method cannot run on this support, with the reason.
        """

    def fit_transductive(self, support: Support, query: Sequence[tuple[str, Tensor]], *, seed: int) -> FittedDetector:
        """Fit to (sample_id, canonical uint8 [3, H, W]) pairs of the unlabelled query set; transductive cards only."""
        raise NotImplementedError(f"{self.card.name} is not transductive")
