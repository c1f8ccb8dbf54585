"""Train AD-DINOv3's adapters: `trustad train ad_dinov3`. The loop is in `detectors.training.ad_dinov3_trainer`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from benchmark.errors import UsageError
from benchmark.storage.jsonio import atomic_write
from detectors.ad_dinov3.checkpoint import Facts, pack
from detectors.ad_dinov3.detector import DEFAULT_BACKBONE, DEFAULT_CLIP
from detectors.ad_dinov3.model import LayerExtractor, chosen_layers
from detectors.ad_dinov3.text import class_text, prompt_name
from detectors.backbones import build
from detectors.clip.model import track_clip
from detectors.training.ad_dinov3_trainer import Frozen, Recipe, Trainer
from detectors.training.auxiliary import AuxiliarySet
from detectors.training.frozen_features import FrozenFeatures

Report = Callable[[int, int, str], None]


def train(
    out: Path,
    data: AuxiliarySet,
    *,
    recipe: Recipe | None = None,
    backbone: str | None = None,
    clip: str | None = None,
    device: str = "cpu",
    micro_batch: int = 8,
    cache: Path | None = None,
    save_every: int = 20,
    report: Report = lambda done, total, what: None,
) -> Facts:
    """Train, or go on with ``<out>.checkpoint``, and write the adapters of the best epoch to ``out``.

    An interrupted training that is called again ends with the same bits as an uninterrupted one (on one machine and
    thread count; on a GPU as far as its kernels are deterministic).

    Args:
        out: File to write, ``.safetensors``; named ``ad_dinov3*.safetensors`` in the weights folder it is found there.
        data: Labelled auxiliary images.
        recipe: Settings; default as published.
        backbone: As `ADDINOv3`'s.
        clip: As `ADDINOv3`'s.
        device: ``"cpu"`` or ``"cuda"``.
        micro_batch: Images in memory at a time.
        cache: Folder for the features of the frozen backbone; None runs the backbone in every epoch.
        save_every: Steps between checkpoints, which are also written after every epoch.
        report: Called after every step with (steps done, steps in all, losses as text).

    Returns:
        What the file says of itself, with the losses of every epoch.

    Raises:
        UsageError: For another suffix, an impossible setting, or fewer than two categories.
        WeightsError: If weights are missing, or the checkpoint belongs to another training.
    """
    if out.suffix != ".safetensors":
        raise UsageError(f"adapters are written as .safetensors, not {out.name!r}")
    if micro_batch < 1 or save_every < 1:
        raise UsageError(f"micro_batch = {micro_batch}, save_every = {save_every}; both must be at least 1")
    recipe = recipe or Recipe()
    trainer = Trainer(recipe, data, freeze(recipe, data, backbone, clip, device, cache), micro_batch)
    checkpoint = out.with_name(f"{out.name}.checkpoint")
    if checkpoint.is_file():
        trainer.restore(checkpoint)
    while trainer.progress.step < trainer.steps:
        losses = trainer.advance()
        step = trainer.progress.step
        if step % save_every == 0 or step % trainer.steps_per_epoch == 0:
            trainer.save(checkpoint)
        report(step, trainer.steps, _as_text(trainer, losses))
    atomic_write(out, pack(trainer.facts(), trainer.best))
    return trainer.facts()


def freeze(
    recipe: Recipe, data: AuxiliarySet, backbone: str | None, clip: str | None, device: str, cache: Path | None
) -> Frozen:
    """Encode the texts, let go of the text tower, then load the backbone."""
    name = backbone or DEFAULT_BACKBONE
    clip = clip or track_clip(name, DEFAULT_CLIP)
    prompts = {
        sample.category: prompt_name(
            data.dataset, sample.category, sample.class_name, reference_quirks=recipe.reference_quirks
        )
        for sample in data.samples
    }
    text = dict(zip(prompts, class_text(clip, tuple(prompts.values())), strict=True))
    extractor = LayerExtractor(build(name, layers=chosen_layers(recipe.ablation), device=device))
    return Frozen(extractor, FrozenFeatures(extractor, data.edge, cache), clip, text)


def _as_text(trainer: Trainer, losses: dict[str, float]) -> str:
    parts = [f"{name} {value:.4f}" for name, value in losses.items()]
    history = trainer.progress.history
    if history:
        parts.append(f"epoch {len(history)}: held-out AUROC {history[-1]['auroc']:.4f}")
    return ", ".join(parts)
