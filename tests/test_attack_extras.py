"""Universal, poisoned, continuous and substitute-gradient attacks, and the certificates of smoothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from attacks.continuous import ContinuousPGD
from attacks.nes import NESScore
from attacks.pgd import PGDScore10
from attacks.poison import poison_support
from attacks.universal import apply_universal, fit_universal
from benchmark.errors import ContractError, NotApplicableError, UsageError
from benchmark.execution.perturb import perturb, perturb_continuous
from benchmark.execution.poisoning import PoisonedSupport
from benchmark.execution.smoothing import smooth_scores
from benchmark.execution.target import BoundTarget
from benchmark.registry import ATTACKS
from benchmark.statistics.certificates import certified_auroc, quantile_bounds
from benchmark.types.attack import AttackBatch, Norm
from benchmark.types.detector import FittedDetector, Prediction
from tests.toy_detectors import (
    ListSupport,
    NearestNeighbour,
    Wrapped,
    nearest_neighbour,
    query,
    textures,
    two_sided_auroc,
)

BATCH = query(10, 10)


def scores(fitted: FittedDetector, images: Tensor) -> Tensor:
    with torch.no_grad():
        return fitted(images.float() / 255 if images.dtype == torch.uint8 else images).score


def test_a_universal_perturbation_harms_images_it_has_not_seen() -> None:
    fitted, unseen = nearest_neighbour(), query(10, 10, seed=5)
    with torch.no_grad():
        delta = fit_universal(BoundTarget(fitted, BATCH.sample_ids), BATCH, 8)
    assert delta.abs().max() <= 8
    assert torch.equal(delta, delta.round())
    moved = apply_universal(delta, unseen.images)
    noise = 8 * torch.sign(torch.rand(delta.shape, generator=torch.Generator().manual_seed(0)) - 0.5)
    harm, control = (
        (scores(fitted, x) * unseen.direction).mean() for x in (moved, apply_universal(noise, unseen.images))
    )
    assert harm > control


@pytest.mark.parametrize(("norm", "radius"), [("L2", 0.5), ("Linf", 1.5 / 255)])
def test_continuous_attacks_stay_in_their_ball_and_beat_noise(norm: Norm, radius: float) -> None:
    fitted = nearest_neighbour()
    attack = ContinuousPGD(norm)
    with torch.no_grad():
        (images,) = perturb_continuous(attack, BoundTarget(fitted, BATCH.sample_ids), BATCH, [radius])
    clean = BATCH.images.float() / 255
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    control = attack.project(clean + 100 * radius * attack.unit(noise), clean, radius)
    gain, floor = ((scores(fitted, x) - scores(fitted, clean)) * BATCH.direction for x in (images, control))
    assert gain.min() >= 0
    assert gain.mean() > 3 * abs(floor.mean())


def test_a_continuous_attack_outside_its_ball_is_named() -> None:
    class Far(ContinuousPGD):
        def project(self, images: Tensor, clean: Tensor, radius: float) -> Tensor:
            return super().project(images, clean, 2 * radius)

    with torch.no_grad(), pytest.raises(ContractError, match="pgd_score_l2_continuous"):
        list(perturb_continuous(Far("L2"), BoundTarget(nearest_neighbour(), BATCH.sample_ids), BATCH, [0.5]))


def test_nes_beats_noise_within_its_queries() -> None:
    fitted = nearest_neighbour()
    target = BoundTarget(fitted, BATCH.sample_ids)
    with torch.no_grad():
        (images,) = perturb(NESScore(), target, BATCH, [4])
        (noise,) = perturb(ATTACKS.get("sign_noise")(), target, BATCH, [4])
    assert target.forwards_per_image == 1 + 1000
    ours, control = (two_sided_auroc(scores(fitted, x), BATCH.labels) for x in (images, noise))
    assert ours < control - 0.05


def test_a_poisoned_reference_hides_defects() -> None:
    clean, anomalies = textures(2, seed=7), BATCH.images[10:]
    fitted = NearestNeighbour(nearest_neighbour().extractor, clean)  # type: ignore[arg-type]
    support = ListSupport(list(clean))
    poisoned = poison_support(fitted.extractor, support, anomalies, 0, 16)
    assert (poisoned.int() - clean[0].int()).abs().max() <= 16
    with_it = PoisonedSupport(support, 0, poisoned)
    assert torch.equal(with_it.images()[0], poisoned)
    assert torch.equal(with_it.images()[1], clean[1])
    after = NearestNeighbour(fitted.extractor, torch.stack(with_it.images()))  # type: ignore[arg-type]
    drop = scores(fitted, anomalies).mean() - scores(after, anomalies).mean()
    noisy = clean.clone()
    noisy[0] = apply_universal(16 * torch.sign(torch.randn(clean[0].shape)), clean[:1])[0]
    control = scores(fitted, anomalies) - scores(NearestNeighbour(fitted.extractor, noisy), anomalies)  # type: ignore[arg-type]
    assert drop > max(control.mean().item(), 0) + 0.01
    with pytest.raises(NotApplicableError, match="no support"):
        poison_support(fitted.extractor, ListSupport([]), anomalies, 0, 16)


class Rounded(FittedDetector):
    """Scores in steps: no gradient of its own."""

    def __init__(self) -> None:
        self.inner = nearest_neighbour()

    def __call__(self, images: Tensor) -> Prediction:
        return Prediction((self.inner(images).score * 200).round() / 200)


class Declared(Rounded):
    """Offers the score before rounding as a stand-in."""

    def substitute(self, images: Tensor) -> Prediction:
        return Prediction(self.inner(images).score)


def attack_score(fitted: FittedDetector, batch: AttackBatch) -> float:
    target = BoundTarget(fitted, batch.sample_ids)
    with torch.no_grad():
        (images,) = perturb(PGDScore10(), target, batch, [8])
    return two_sided_auroc(scores(fitted, images), batch.labels)


def test_a_declared_substitute_gets_through_a_step_without_gradient() -> None:
    assert attack_score(Declared(), BATCH) < attack_score(Rounded(), BATCH) - 0.3
    with torch.enable_grad():
        images = (BATCH.images.float() / 255).requires_grad_()
        seen = BoundTarget(Declared(), BATCH.sample_ids).predict(images)
    assert torch.allclose(seen.score, scores(Rounded(), BATCH.images)), "values must be the detector's own"


def test_a_detached_score_is_refused_by_the_white_box() -> None:
    detached = Wrapped(nearest_neighbour(), lambda images, p: Prediction(p.score.detach()))
    with pytest.raises(NotApplicableError, match="no gradient"):
        attack_score(detached, BATCH)


def test_draws_are_averaged_and_counted() -> None:
    noisy = Wrapped(nearest_neighbour(), lambda images, p: Prediction(p.score + torch.rand_like(p.score)))
    target = BoundTarget(noisy, BATCH.sample_ids, draws=8)
    with torch.no_grad():
        first, second = (target.predict(BATCH.images.float() / 255).score for _ in range(2))
    assert (first - second).abs().mean() < 0.25
    assert target.forwards_per_image == 16


def test_quantile_bounds_hold_for_a_linear_score() -> None:
    """For f(x) = w x the smoothed score moves by exactly r |w|: bounds must lie outside, and come close."""
    random = np.random.default_rng(0)
    draws = random.normal(0.0, 0.5, size=(2000, 300))  # sigma 0.5, |w| = 1
    low, high = quantile_bounds(draws, sigma=0.5, radius=0.3, level=0.01)
    assert (low > -0.3).mean() < 0.03
    assert (high < 0.3).mean() < 0.03
    assert np.median(low) > -0.45
    assert np.median(high) < 0.45


def test_too_few_draws_certify_nothing_and_bad_values_are_refused() -> None:
    low, high = quantile_bounds(np.zeros((100, 2)), sigma=0.1, radius=0.76, level=0.001)
    assert np.isinf(low).all()
    assert np.isinf(high).all()
    with pytest.raises(UsageError, match="sigma"):
        quantile_bounds(np.zeros((5, 1)), sigma=0.0, radius=0.1, level=0.05)


def test_certified_auroc_falls_with_the_radius_and_stays_below_the_empirical_one() -> None:
    fitted = nearest_neighbour()
    with torch.no_grad():
        draws = smooth_scores(fitted, BATCH.images, BATCH.sample_ids, 0.05)
        again = smooth_scores(fitted, BATCH.images[5:6], BATCH.sample_ids[5:6], 0.05)
    assert np.array_equal(draws[:, 5:6], again), "noise must depend on the sample alone"
    labels = BATCH.labels.numpy()
    values = [certified_auroc(labels, draws, 0.05, radius, len(labels)) for radius in (0.0, 0.02, 0.04, 0.08)]
    assert values == sorted(values, reverse=True)
    empirical = two_sided_auroc(torch.from_numpy(np.median(draws, axis=0)), BATCH.labels)
    assert values[0] <= empirical
    assert values[-1] < empirical
