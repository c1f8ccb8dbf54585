"""Training of AD-DINOv3's adapters: losses, resume to the bit, feature cache, held-out categories, command line."""

from __future__ import annotations

import math
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import roc_auc_score
from torch import Tensor

from _support import TensorSupport
from benchmark.cli import main
from benchmark.errors import NotApplicableError, UsageError, WeightsError
from detectors.ad_dinov3.checkpoint import read
from detectors.ad_dinov3.detector import ADDINOv3
from detectors.training import ad_dinov3_trainer
from detectors.training.ad_dinov3 import freeze, train
from detectors.training.ad_dinov3_trainer import Recipe, Trainer, square_mask
from detectors.training.auxiliary import AuxiliarySample, AuxiliarySet, hold_out
from detectors.training.losses import dice, focal

TINY = "seeded:embedded"
EDGE = 64
FAST = Recipe(epochs=3, batch=4, learning_rate=1e-3, held_out=0.3)


def sample(category: str, number: int) -> AuxiliarySample:
    """Every other image has a bright square of 16 pixels on dim noise."""
    label = number % 2
    generator = torch.Generator().manual_seed(1000 * len(category) + number)
    image = torch.randint(0, 90, (3, EDGE, EDGE), dtype=torch.uint8, generator=generator)
    mask = torch.zeros(EDGE, EDGE, dtype=torch.bool)
    top, left = (torch.randint(0, 4, (2,), generator=generator) * 16).tolist()
    if label:
        mask[top : top + 16, left : left + 16] = True
        image[:, mask] = 220
    name = f"{category}-{number}"
    return AuxiliarySample(name, name, category, category, label, lambda: image, lambda: mask)


@pytest.fixture(scope="module")
def data() -> AuxiliarySet:
    names = ("a", "bb", "ccc")
    return AuxiliarySet("toy", "0" * 64, EDGE, tuple(sample(name, i) for name in names for i in range(6)))


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def trainer(data: AuxiliarySet, cache: Path) -> Any:
    """A factory of trainers that share one feature cache."""

    def make(recipe: Recipe = FAST, micro_batch: int = 4, folder: Path | None = cache) -> Trainer:
        return Trainer(recipe, data, freeze(recipe, data, TINY, None, "cpu", folder), micro_batch)

    return make


@pytest.fixture(scope="module")
def whole(data: AuxiliarySet, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Adapters of an uninterrupted training."""
    out = tmp_path_factory.mktemp("whole") / "a.safetensors"
    train(out, data, recipe=FAST, backbone=TINY, cache=cache, save_every=1)
    return out.read_bytes()


def test_losses_equal_their_published_two_class_form() -> None:
    rng = np.random.default_rng(0)
    maps = rng.random((3, 4, 5))
    maps[0, 0, 0], maps[1, 0, 0] = 0.0, 1.0
    masks = (rng.random((3, 4, 5)) > 0.7).astype(float)
    masks[2] = 0
    values, overlaps = [], []
    for b, i, j in np.ndindex(maps.shape):
        probabilities = (1 - maps[b, i, j], maps[b, i, j])
        target = (1 - masks[b, i, j], masks[b, i, j])
        clamped = [min(max(t, 1e-5), 1 - 1e-5) for t in target]
        p = sum(t * q for t, q in zip(clamped, probabilities, strict=True)) + 1e-5
        values.append(-((1 - p) ** 2) * math.log(p))
    for b in range(3):
        joint = 2 * (maps[b] * masks[b]).sum() + 1
        overlaps.append(1 - joint / (maps[b].sum() + masks[b].sum() + 1))
    tensors = torch.from_numpy(maps), torch.from_numpy(masks)
    assert float(focal(*tensors)) == pytest.approx(np.mean(values), rel=1e-9)
    assert float(dice(*tensors)) == pytest.approx(np.mean(overlaps), rel=1e-9)


def test_loss_has_the_stated_weights(trainer: Any) -> None:
    losses = trainer().advance()
    stated = 0.25 * losses["calibration"] + 0.5 * losses["map"] + 0.25 * losses["image"]
    assert losses["loss"] == pytest.approx(stated, rel=1e-6)
    assert set(trainer(replace(FAST, ablation="no_aacm")).advance()) == {"loss", "map", "image"}
    assert set(trainer(replace(FAST, ablation="no_cmcl")).advance()) == {"loss", "calibration", "image"}
    alone = trainer(replace(FAST, ablation="one_layer"))
    alone.advance()
    assert len(alone.adapters.patch) == 1


def test_image_loss_is_the_cross_entropy_of_two_logits(trainer: Any) -> None:
    subject = trainer()
    part = subject.images[:4]
    maps = subject.maps(part)
    logits = torch.stack([torch.zeros(4), maps.image_logit], dim=1)
    expected = torch.nn.functional.cross_entropy(logits, torch.tensor([s.label for s in part]))
    torch.testing.assert_close(subject._losses(maps, part)["image"], expected)


def test_gradient_accumulation_equals_the_whole_batch(trainer: Any) -> None:
    gradients = []
    for micro_batch in (1, 3, 4):
        subject = trainer(micro_batch=micro_batch)
        subject.advance()
        gradients.append([p.grad for p in subject.adapters.parameters()])
    for other in gradients[1:]:
        for left, right in zip(gradients[0], other, strict=True):
            torch.testing.assert_close(left, right, rtol=1e-3, atol=1e-6)


def test_learning_rate_warms_up_and_stays(trainer: Any) -> None:
    subject = trainer(replace(FAST, warm_up=0.5))
    rates = []
    for _ in range(subject.steps):
        subject.advance()
        rates.append(subject.optimiser.param_groups[0]["lr"])
    warm = subject.steps * 0.5
    np.testing.assert_allclose(rates, [FAST.learning_rate * min(1, (i + 1) / warm) for i in range(subject.steps)])


def test_held_out_categories_are_never_trained_on(data: AuxiliarySet, trainer: Any) -> None:
    subject = trainer()
    assert subject.held_out
    assert not {s.category for s in subject.images} & set(subject.held_out)
    assert {s.category for s in subject.images} | set(subject.held_out) == set(data.categories())
    assert subject.facts().held_out == subject.held_out
    train_, held = hold_out(tuple("abcdefghijkl"), 0.2, 0)
    assert (len(train_), len(held)) == (10, 2)
    assert len(hold_out(("a", "b"), 0.9, 0)[0]) == 1
    with pytest.raises(UsageError, match="at least two categories"):
        hold_out(("a",), 0.2, 0)


def test_an_epoch_sees_every_training_image_once_in_an_order_of_its_own(
    trainer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    subject = trainer(replace(FAST, batch=5))
    seen: list[str] = []
    original = subject._accumulate
    monkeypatch.setattr(subject, "_accumulate", lambda batch: seen.extend(s.id for s in batch) or original(batch))
    for _ in range(2 * subject.steps_per_epoch):
        subject.advance()
    first, second = seen[: len(subject.images)], seen[len(subject.images) :]
    assert sorted(first) == sorted(second) == sorted(s.id for s in subject.images)
    assert first != second


def test_training_learns_and_keeps_the_best_epoch(data: AuxiliarySet, cache: Path, tmp_path: Path) -> None:
    recipe = replace(FAST, epochs=6)
    facts = train(tmp_path / "a.safetensors", data, recipe=recipe, backbone=TINY, cache=cache)
    history = facts.history
    assert [row["epoch"] for row in history] == [1, 2, 3, 4, 5, 6]
    assert history[-1]["loss"] < 0.7 * history[0]["loss"]
    best = max(history, key=lambda row: row["auroc"])
    assert (facts.epoch, facts.auroc) == (best["epoch"], best["auroc"])
    assert facts.auroc > 0.9
    assert read(tmp_path / "a.safetensors").facts == facts


def test_best_adapters_are_those_that_were_judged_whatever_comes_after(trainer: Any) -> None:
    subject = trainer()
    for _ in range(subject.steps_per_epoch):
        subject.advance()
    with torch.no_grad():
        for parameter in subject.adapters.parameters():
            parameter.mul_(-1)
    subject.adapters.load_state_dict(subject.best)
    assert subject.progress.best_epoch == 1
    assert subject.judge() == pytest.approx(subject.progress.best_auroc, abs=1e-9)


def test_held_out_maps_are_judged_where_probabilities_round_to_zero_and_one(trainer: Any) -> None:
    subject = trainer(replace(FAST, ablation="one_layer"))
    samples = subject.data.of(subject.held_out)
    with torch.no_grad():
        subject.adapters.text.mul_(1000)
        logits = subject.maps(samples).text_logits
    truth = torch.stack([square_mask(s, EDGE) for s in samples])
    assert subject.judge() == pytest.approx(roc_auc_score(truth.flatten(), logits.flatten()), abs=1e-4)


class Interrupted(Exception):
    pass


def interrupt_after(step: int) -> Any:
    def report(done: int, total: int, what: str) -> None:
        if done == step:
            raise Interrupted

    return report


@pytest.mark.parametrize("steps", [(1,), (2,), (4, 5), (6,)])
def test_interrupted_training_ends_with_the_same_bytes(
    data: AuxiliarySet, cache: Path, whole: bytes, tmp_path: Path, steps: tuple[int, ...]
) -> None:
    pieces = tmp_path / "pieces.safetensors"
    for step in steps:
        with pytest.raises(Interrupted):
            train(pieces, data, recipe=FAST, backbone=TINY, cache=cache, save_every=1, report=interrupt_after(step))
        assert not pieces.exists()
    train(pieces, data, recipe=FAST, backbone=TINY, cache=cache, save_every=1)
    assert pieces.read_bytes() == whole


def test_a_checkpoint_of_other_settings_is_refused_and_the_difference_named(
    data: AuxiliarySet, cache: Path, tmp_path: Path
) -> None:
    out = tmp_path / "a.safetensors"
    with pytest.raises(Interrupted):
        train(out, data, recipe=FAST, backbone=TINY, cache=cache, save_every=1, report=interrupt_after(1))
    with pytest.raises(WeightsError, match="another recipe"):
        train(out, data, recipe=replace(FAST, seed=1), backbone=TINY)
    with pytest.raises(WeightsError, match="another data"):
        train(out, replace(data, manifest="1" * 64), recipe=FAST, backbone=TINY)
    checkpoint = tmp_path / "a.safetensors.checkpoint"
    checkpoint.write_bytes(checkpoint.read_bytes()[:500])
    with pytest.raises(WeightsError, match="damaged"):
        train(out, data, recipe=FAST, backbone=TINY)
    with pytest.raises(UsageError, match=r"\.safetensors"):
        train(tmp_path / "a.pth", data, recipe=FAST, backbone=TINY)


def test_cached_features_spare_the_backbone_and_change_nothing(
    data: AuxiliarySet, trainer: Any, tmp_path: Path
) -> None:
    recipe = replace(FAST, epochs=2)
    subjects = [trainer(recipe, folder=folder) for folder in (None, tmp_path / "cache")]
    counts = []
    for subject in subjects:
        calls: list[int] = []
        features = subject.frozen.features
        extract = features._extract
        features._extract = lambda s, extract=extract, calls=calls: calls.append(1) or extract(s)  # type: ignore[assignment, func-returns-value, misc]
        while subject.progress.step < subject.steps:
            subject.advance()
        counts.append(len(calls))
    assert counts == [2 * len(data.samples), len(data.samples)]
    assert asdict(subjects[0].progress) == asdict(subjects[1].progress)
    for left, right in zip(subjects[0].adapters.parameters(), subjects[1].adapters.parameters(), strict=True):
        assert torch.equal(left, right)
    stored = sorted((tmp_path / "cache").rglob("*.safetensors"))
    assert len(stored) == len(data.samples)
    stored[0].write_bytes(b"damaged")
    for item in data.samples:
        subjects[1].frozen.features.get(item)
    assert stored[0].stat().st_size == stored[1].stat().st_size


def test_masks_are_squared_by_nearest_neighbour() -> None:
    mask = torch.zeros(4, 8, dtype=torch.bool)
    mask[:, 6:] = True
    oblong = replace(sample("a", 0), mask=lambda: mask)
    expected = torch.zeros(4, 4)
    expected[:, 3:] = 1
    assert torch.equal(square_mask(oblong, 4), expected)


def test_held_out_without_defects_is_refused(data: AuxiliarySet) -> None:
    blank = tuple(replace(s, mask=lambda: torch.zeros(EDGE, EDGE, dtype=torch.bool)) for s in data.samples)
    bare = replace(data, samples=blank)
    with pytest.raises(UsageError, match="no defect pixels"):
        Trainer(FAST, bare, freeze(FAST, bare, TINY, None, "cpu", None), 4).judge()


def _tree(root: Path) -> None:
    for category in ("disc", "plate", "rod"):
        for number in range(4):
            item = sample(category, number)
            split = "test/scratch" if item.label else "test/good"
            _png(root / category / split / f"{number}.png", item.image().permute(1, 2, 0))
            if item.label:
                _png(root / category / "ground_truth/scratch" / f"{number}_mask.png", item.mask() * 255)
        _png(root / category / "train/good/0.png", sample(category, 0).image().permute(1, 2, 0))


def _png(path: Path, pixels: Tensor) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.to(torch.uint8).numpy()).save(path)


def test_command_line_trains_on_a_registered_data_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TRUSTAD_CACHE", str(tmp_path / "cache"))
    _tree(tmp_path / "tree")
    out = tmp_path / "ad_dinov3_folder.safetensors"
    words = ["train", "ad_dinov3", "--aux", "folder", "--data-root", str(tmp_path / "tree"), "--out", str(out)]
    words += ["--backbone", TINY, "--epochs", "1", "--edge", "64", "--batch", "4", "--device", "cpu"]
    with pytest.raises(SystemExit) as stop:
        main(words)
    assert stop.value.code == 0
    assert "held-out" in capsys.readouterr().out
    facts = read(out).facts
    assert sorted((*facts.categories, *facts.held_out)) == ["disc", "plate", "rod"]
    detector = ADDINOv3(TINY, adapters=str(out))
    with pytest.raises(NotApplicableError, match="folder/rod"):
        detector.fit(TensorSupport([], "folder", "rod"), seed=0)
    with pytest.raises(SystemExit) as stop:
        main([*words[:4], "--data-root", str(tmp_path / "tree"), "--out", str(out), "--epochs", "0"])
    assert stop.value.code == 2
    assert "must be positive" in capsys.readouterr().err


def test_pixel_only_sets_cannot_be_trained_on() -> None:
    from benchmark.data.auxiliary import auxiliary_set
    from benchmark.registry import DATASETS

    with pytest.raises(NotApplicableError, match="normal images"):
        auxiliary_set(DATASETS.get("isic")(None), (), 64)


def test_published_settings_are_the_defaults() -> None:
    recipe = Recipe()
    assert (recipe.epochs, recipe.batch, recipe.learning_rate, recipe.weight_decay) == (100, 64, 1e-5, 1e-2)
    assert recipe.warm_up == 0.03
    assert ad_dinov3_trainer.WEIGHTS_OF_LOSS == {"calibration": 0.25, "map": 0.5, "image": 0.25}
