"""What transductive detectors share: features of the unlabelled query set, and leaving the scored image out."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from benchmark.errors import NotApplicableError
from benchmark.types import Extractor, Features, Support
from detectors.bank import CACHE

MIN_QUERY = 2


def refuse_support_only(name: str) -> NotApplicableError:
    """The error of `fit` on a detector that needs the query set."""
    return NotApplicableError(f"{name} is fitted on the unlabelled query set, not on references")


def query_features(extractor: Extractor, query: Sequence[tuple[str, Tensor]], support: Support) -> dict[str, Features]:
    """Features (batches of one, no gradient) of the query set by sample id; the support is not used.

    Raises:
        NotApplicableError: If fewer than two images are there, so that none has a reference.
    """
    if len(query) < MIN_QUERY:
        raise NotApplicableError(f"a transductive detector needs at least {MIN_QUERY} query images, got {len(query)}")
    return {sample_id: CACHE.features(extractor, image) for sample_id, image in query}
