"""AnomalyDINO: patch-token nearest neighbours with a zero-shot foreground mask and rotated references.

Source: Damm et al., WACV 2025 (arXiv 2405.14529) and its official code, whose figures the defaults reproduce.
Resolution comes
from the track: 448 or 672 pixels on the smaller edge.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import get_args

from torch import Tensor
from torch.nn.functional import normalize

from benchmark.types import CategoryInfo, Detector, Extractor, Features, Prediction, Support
from detectors.backbones import build
from detectors.bank import patch_bank
from detectors.cards import CARDS
from detectors.foreground import MaskForm, foreground, margin
from detectors.head import Head
from detectors.neighbours import Metric, Parts, nearest
from detectors.options import at_least, one_of

DEFAULT_BACKBONE = "dinov2_vits14"
ANGLES = tuple(45.0 * step for step in range(8))
ROTATED = {"mvtec_ad": frozenset({"hazelnut", "screw"}), "visa": frozenset[str]()}
"""Categories whose references the `informed` mode rotates; data sets that are not listed always rotate."""
MASKED = {"mvtec_ad": frozenset({"capsule", "hazelnut", "pill", "screw", "toothbrush"}), "visa": None}
"""Categories that the paper's masking test selects (None = all); data sets not listed are never masked."""
MODES = {
    "agnostic": ("always", "tested"),
    "informed": ("informed", "tested"),
    "masking_only": ("never", "tested"),
    "agnostic_no_mask": ("always", "never"),
    "informed_no_mask": ("informed", "never"),
    "force_mask_rotation": ("always", "always"),
    "force_mask_no_rotation": ("never", "always"),
    "force_no_mask_rotation": ("always", "never"),
    "force_no_mask_no_rotation": ("never", "never"),
}
"""Preprocessing mode -> (rotation rule, mask rule)."""
TOP_SHARE = 0.01
MAP_SIGMA = 4.0


def rotates(mode: str, info: CategoryInfo) -> bool:
    """Whether the references of a category are rotated."""
    rule = MODES[mode][0]
    listed = ROTATED.get(info.dataset)
    return rule == "always" or (rule == "informed" and (listed is None or info.category in listed))


def masks(mode: str, info: CategoryInfo) -> bool:
    """Whether the test images of a category are masked; references never are."""
    rule = MODES[mode][1]
    listed = MASKED.get(info.dataset, frozenset())
    return rule == "always" or (rule == "tested" and (listed is None or info.category in listed))


def mean_top_share(distances: Tensor) -> Tensor:
    """Mean of the int(0.01 N), at least one, largest of [B, N] patch distances -> [B]."""
    count = max(1, int(TOP_SHARE * distances.shape[1]))
    return distances.topk(count, dim=1).values.mean(dim=1)


@dataclass(frozen=True)
class FittedAnomalyDINO(Head):
    """A memory bank [M, D] (unit rows for the cosine) and what to do with test images; ``held``: masks, not theirs."""

    extractor: Extractor
    bank: Tensor
    masked: bool
    mask_form: MaskForm
    neighbours: int
    metric: Metric
    parts: Parts | None = None
    held: Tensor | None = None

    def score(self, features: Features) -> Prediction:
        """Distances of patch tokens; masked-out patches count 0 and stay in the grid."""
        tokens = features.maps[-1]  # [B, h, w, D]
        flat = tokens.flatten(0, 2)
        queries = normalize(flat, dim=1) if self.metric == "cosine" else flat
        k = min(self.neighbours, len(self.bank))
        found = nearest(queries, self.bank, k=k, metric=self.metric, parts=self.parts, memo=features.memo)
        distances = found.distance.mean(dim=1).reshape(tokens.shape[:3])
        if self.masked:
            distances = distances * self._foreground(features)
        score = mean_top_share(distances.flatten(1))
        return Prediction(score, distances, features.region, MAP_SIGMA)

    def _foreground(self, features: Features) -> Tensor:
        """The mask of the tokens, made once for all heads, unless one is held."""
        if self.held is not None:
            return self.held
        return features.once(("foreground", self.mask_form), lambda: foreground(features.maps[-1], self.mask_form))

    def with_state(self, state: Mapping[str, Tensor]) -> FittedAnomalyDINO:
        """As `Head.with_state`; nothing is known of the parts of another bank."""
        return replace(self, bank=state["bank"], parts=None)

    def with_foreground(self, features: Features) -> FittedAnomalyDINO:
        """See `MaskedScorer`."""
        return replace(self, held=self._foreground(features))

    def foreground_margin(self, features: Features) -> Tensor:
        """`detectors.foreground.margin` of the features: [B, h, w], positive = foreground, differentiable."""
        return margin(features.maps[-1])


class AnomalyDINO(Detector):
    """See the module docstring.

    Args:
        backbone: Backbone name; default ``dinov2_vits14``.
        preprocess: A key of `MODES`.
        mask_form: See `detectors.foreground.foreground`.
        neighbours: k; distances to the k nearest are averaged.
        metric: ``"cosine"``, or ``"l2"`` on tokens that are not normalised.
        layers: Block whose tokens are used; default the last.

    Raises:
        UsageError: For a value that is not allowed.
    """

    card = CARDS["anomalydino"]
    extractor: Extractor

    def __init__(
        self,
        backbone: str | None = None,
        *,
        preprocess: str = "agnostic",
        mask_form: MaskForm = "raster",
        neighbours: int = 1,
        metric: Metric = "cosine",
        layers: tuple[int, ...] | None = None,
    ) -> None:
        one_of("preprocess", preprocess, MODES)
        one_of("mask_form", mask_form, get_args(MaskForm))
        one_of("metric", metric, get_args(Metric))
        at_least("neighbours", neighbours, 1)
        self.preprocess, self.mask_form, self.neighbours, self.metric = (
            preprocess,
            mask_form,
            neighbours,
            metric,
        )
        self.extractor = build(backbone or DEFAULT_BACKBONE, layers=layers)
        self.config = {
            "backbone": backbone or DEFAULT_BACKBONE,
            "preprocess": preprocess,
            "mask_form": mask_form,
            "neighbours": neighbours,
            "metric": metric,
            "layers": None if layers is None else list(layers),
        }

    def fit(self, support: Support, *, seed: int) -> FittedAnomalyDINO:
        """Put all tokens of all references, rotated where the mode says so, into the bank."""
        angles = ANGLES if rotates(self.preprocess, support.info) else ANGLES[:1]
        bank, parts = patch_bank(self.extractor, support, angles)
        return FittedAnomalyDINO(
            extractor=self.extractor,
            bank=normalize(bank, dim=1) if self.metric == "cosine" else bank,
            masked=masks(self.preprocess, support.info),
            mask_form=self.mask_form,
            neighbours=self.neighbours,
            metric=self.metric,
            parts=parts,
        )
