"""What every built-in detector is. Imports no torch: `trustad list detectors` and the docs read it."""

from __future__ import annotations

from benchmark.types import Card

_ALL = (
    Card(
        name="anomalydino",
        version=1,
        title="AnomalyDINO",
        summary="Cosine distance of every patch token to its nearest reference token; mean of the top 1 %.",
        paper="Damm, Laszkiewicz, Lederer, Fischer: AnomalyDINO, WACV 2025",
        url="https://arxiv.org/abs/2405.14529",
        licence="Apache-2.0 (code and DINOv2 weights)",
        training_data="DINOv2: LVD-142M, no labels",
    ),
    Card(
        name="knn",
        version=1,
        title="Global kNN",
        summary="Cosine distance of the global feature to the nearest reference images; a trivial floor.",
        paper="Bergman, Cohen, Hoshen: Deep Nearest Neighbor Anomaly Detection, 2020",
        url="https://arxiv.org/abs/2002.10445",
        licence="Apache-2.0 (DINOv2 weights)",
        training_data="DINOv2: LVD-142M, no labels",
        has_map=False,
    ),
    Card(
        name="patchcore",
        version=1,
        title="PatchCore",
        summary="Distance of pooled patch features to a coreset of reference patches; re-weighted maximum.",
        paper="Roth, Pemula, Zepeda, Schoelkopf, Brox, Gehler: Towards Total Recall, CVPR 2022",
        url="https://arxiv.org/abs/2106.08265",
        licence="Apache-2.0 (code); BSD-3-Clause (Wide ResNet-50-2 weights)",
        training_data="Wide ResNet-50-2: ImageNet-1k with class labels",
    ),
)

CARDS: dict[str, Card] = {card.name: card for card in _ALL}
