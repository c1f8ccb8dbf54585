"""What a result says about the detector and the supports that it was computed with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmark.results.rows import Scalar
from benchmark.results.schema import DetectorRef, Flags, SupportRef
from benchmark.storage.jsonio import digest_json
from benchmark.types import Detector, Episode


def detector_ref(detector: Detector, name: str, family: str, backbone: str | None) -> DetectorRef:
    """The detector's card, configuration and weights as they go into a result.

    Args:
        detector: The detector.
        name: Its name in results, ``family@backbone``.
        family: Its registry name.
        backbone: Name of its backbone; None where it has none.
    """
    card = detector.card
    extractor = detector.extractor
    random = card.random_weights or bool(getattr(extractor, "random_weights", False))
    flags = {name: getattr(card, name) for name in Flags.model_fields if name != "random_weights"}
    return DetectorRef(
        name=name,
        family=family,
        backbone=backbone,
        version=card.version,
        title=card.title,
        summary=card.summary,
        paper=card.paper,
        url=card.url,
        licence=card.licence,
        training_data=getattr(extractor, "training_data", "") or card.training_data,
        config=plain_config(detector.config),
        weights=dict(extractor.weights) if extractor is not None else {},
        flags=Flags(**flags, random_weights=random),
    )


def plain_config(config: Mapping[str, Any]) -> dict[str, Scalar | tuple[Scalar, ...]]:
    """A configuration as results hold it: lists are tuples."""
    return {name: tuple(v) if isinstance(v, list) else v for name, v in config.items()}


def support_ref(episode: Episode) -> SupportRef:
    """The published support set of an episode, as results carry it."""
    return SupportRef(
        shots=episode.shots,
        seed=episode.seed,
        sample_ids=tuple(s.id for s in episode.support),
        digest=digest_json([[s.id, s.sha256] for s in episode.support]),
    )
