"""Evidence is compared with images made for the occasion: honest luck passes, stored answers do not."""

from __future__ import annotations

import numpy as np
import pytest

from benchmark.errors import ResultError
from benchmark.metrics.ranking import auroc_value
from benchmark.verify.fresh import COUNT, OnFresh, check_fresh, fresh_images, hanley_mcneil


def drawn(rng: np.random.Generator, shift: float, n: int) -> float:
    return auroc_value(rng.exponential(np.exp(shift), n), rng.exponential(1.0, n))


@pytest.mark.parametrize("shift", [0.0, 1.0, 2.5])
@pytest.mark.parametrize("n", [8, 24])
def test_the_variance_is_that_of_exponential_scores(shift: float, n: int) -> None:
    rng = np.random.default_rng(0)
    areas = [drawn(rng, shift, n) for _ in range(4000)]
    assert hanley_mcneil(float(np.mean(areas)), n) == pytest.approx(np.var(areas), rel=0.1)


@pytest.mark.parametrize("shift", [0.0, 0.7, 3.0])
def test_honest_evidence_passes(shift: float) -> None:
    rng = np.random.default_rng(1)
    for _ in range(2000):
        check_fresh([OnFresh(drawn(rng, shift, 8), 8, drawn(rng, shift, COUNT), COUNT) for _ in range(3)])


def test_one_lucky_category_passes() -> None:
    check_fresh([OnFresh(0.94, 8, 0.58, COUNT), OnFresh(0.61, 8, 0.58, COUNT), OnFresh(0.64, 8, 0.48, COUNT)])


def test_stored_answers_are_refused() -> None:
    rng = np.random.default_rng(2)
    for _ in range(20):
        with pytest.raises(ResultError, match="freshly made images; stored answers"):
            check_fresh([OnFresh(1.0, 8, drawn(rng, 0.0, COUNT), COUNT) for _ in range(3)])


def test_images_are_of_both_classes_and_of_every_defect() -> None:
    images, anomalous = fresh_images("nut", {"rust", "scratch"})
    assert len(images) == 2 * COUNT
    assert anomalous.sum() == COUNT
    assert len({image.tobytes() for image in images}) == 2 * COUNT
