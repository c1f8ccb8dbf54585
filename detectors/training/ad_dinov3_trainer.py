"""The training loop of AD-DINOv3's adapters.

Loss, optimiser and schedule as published (arXiv 2509.14084 and its public code): 0.25 (focal + dice) of the calibration
map, 0.5 (focal + dice) of the text map, 0.25 cross-entropy of the CLS tokens; AdamW; 3 % linear warm-up, then constant.
The public test script walks the checkpoints of all epochs over the evaluation set; here the epoch is chosen on held-out
categories of the AUXILIARY set.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, interpolate

from benchmark.errors import UsageError
from benchmark.storage.jsonio import atomic_write, digest_json
from benchmark.types import keyed_seed
from detectors.ad_dinov3.checkpoint import Facts
from detectors.ad_dinov3.detector import clip_digest, untrained
from detectors.ad_dinov3.model import Ablation, LayerExtractor, Maps, adapt_text, compute_maps
from detectors.training.auxiliary import AuxiliarySample, AuxiliarySet, hold_out
from detectors.training.frozen_features import FrozenFeatures
from detectors.training.losses import dice, focal
from detectors.training.state import optimiser_tensors, pack_state, read_state, refuse_other, restore_optimiser

WEIGHTS_OF_LOSS = {"calibration": 0.25, "map": 0.5, "image": 0.25}
DROPPED = {"no_aacm": "calibration", "no_cmcl": "map"}
JUDGED_EDGE = 128
"""Held-out maps are judged on about this many pixels per side."""


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the result, beside data, frozen weights and machine. Defaults as published.

    Attributes:
        seed: Of the first adapters, the held-out categories and the order of images.
        epochs: Passes over the training images.
        batch: Images per step of the optimiser.
        learning_rate, weight_decay: Of AdamW.
        warm_up: Share of all steps in which the learning rate rises.
        held_out: Share of the categories on which the epoch is chosen.
        ablation: See `detectors.ad_dinov3.model.Ablation`.
        reference_quirks: Interleave the text vectors and name classes as the public code does.
    """

    seed: int = 0
    epochs: int = 100
    batch: int = 64
    learning_rate: float = 1e-5
    weight_decay: float = 1e-2
    warm_up: float = 0.03
    held_out: float = 0.2
    ablation: Ablation = "none"
    reference_quirks: bool = False

    def __post_init__(self) -> None:
        if min(self.epochs, self.batch) < 1 or self.learning_rate <= 0:
            raise UsageError(f"epochs, batch and learning rate must be positive, got {self}")


@dataclass(frozen=True)
class Frozen:
    """What is not trained: the backbone with its feature cache, and the texts.

    Attributes:
        extractor: The backbone.
        features: Its features of the auxiliary images.
        clip: Name of the CLIP model.
        text: Category -> unit text features [2, E].
    """

    extractor: LayerExtractor
    features: FrozenFeatures
    clip: str
    text: Mapping[str, Tensor]


@dataclass
class Progress:
    """Where a training stands; JSON in the checkpoint."""

    step: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    history: list[dict[str, float]] = field(default_factory=list)
    best_epoch: int = 0
    best_auroc: float = -1.0


class Trainer:
    """Adapters, optimiser and progress of one training.

    Args:
        recipe: The settings.
        data: The auxiliary set.
        frozen: Backbone and texts.
        micro_batch: Images whose maps are in memory at a time; gradients of a batch are added up.
    """

    def __init__(self, recipe: Recipe, data: AuxiliarySet, frozen: Frozen, micro_batch: int) -> None:
        self.recipe, self.data, self.frozen, self.micro_batch = recipe, data, frozen, micro_batch
        self.device = frozen.extractor.device
        categories, self.held_out = hold_out(data.categories(), recipe.held_out, recipe.seed)
        self.images = data.of(categories)
        width = next(iter(frozen.text.values())).shape[-1]
        self.adapters = untrained(frozen.extractor, width, seed=recipe.seed).to(self.device)
        self.optimiser = torch.optim.AdamW(
            self.adapters.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay
        )
        self.best = {name: tensor.clone() for name, tensor in self.adapters.state_dict().items()}
        self.progress = Progress()
        self.identity = {
            "recipe": asdict(recipe),
            "extractor": frozen.extractor.id,
            "clip": [frozen.clip, clip_digest(frozen.clip)],
            "data": [data.dataset, data.manifest, data.edge, digest_json([sample.id for sample in data.samples])],
        }

    @property
    def steps_per_epoch(self) -> int:
        """Optimiser steps in an epoch."""
        return -(-len(self.images) // self.recipe.batch)

    @property
    def steps(self) -> int:
        """Optimiser steps in all."""
        return self.recipe.epochs * self.steps_per_epoch

    def advance(self) -> dict[str, float]:
        """One step of the optimiser; at the end of an epoch also the judgement. Returns the losses of the batch."""
        epoch, place = divmod(self.progress.step, self.steps_per_epoch)
        order = torch.Generator().manual_seed(keyed_seed("epoch", self.recipe.seed, epoch))
        shuffled = torch.randperm(len(self.images), generator=order).tolist()
        chosen = shuffled[place * self.recipe.batch : (place + 1) * self.recipe.batch]
        for group in self.optimiser.param_groups:
            group["lr"] = self.recipe.learning_rate * self._warm_up()
        losses = self._accumulate([self.images[i] for i in chosen])
        self.optimiser.step()
        self.progress.step += 1
        for name, value in losses.items():
            self.progress.sums[name] = self.progress.sums.get(name, 0.0) + value * len(chosen) / len(self.images)
        if place + 1 == self.steps_per_epoch:
            self._end_epoch(epoch + 1)
        return losses

    def _warm_up(self) -> float:
        return min(1.0, (self.progress.step + 1) / max(1.0, self.recipe.warm_up * self.steps))

    def _accumulate(self, batch: Sequence[AuxiliarySample]) -> dict[str, float]:
        """Add up the gradients of a batch in parts; the losses are means over images, so the sum is exact."""
        self.optimiser.zero_grad()
        totals: dict[str, float] = {}
        for start in range(0, len(batch), self.micro_batch):
            part = batch[start : start + self.micro_batch]
            share = len(part) / len(batch)
            losses = self._losses(self.maps(part), part)
            torch.autograd.backward(share * losses["loss"])
            for name, value in losses.items():
                totals[name] = totals.get(name, 0.0) + share * float(value.detach())
        return totals

    def maps(self, part: Sequence[AuxiliarySample]) -> Maps:
        """Maps of some images under the current adapters; half precision on a GPU."""
        features = self.frozen.features.batch(part, self.device)
        text = torch.stack([self.frozen.text[sample.category] for sample in part]).to(self.device)
        device = self.device.partition(":")[0]
        with torch.autocast(device, dtype=torch.bfloat16, enabled=device == "cuda"):
            adapted = adapt_text(self.adapters.text, text, interleaved=self.recipe.reference_quirks)
            return compute_maps(features, self.adapters.patch, self.adapters.cls, adapted, self.data.edge)

    def _losses(self, maps: Maps, part: Sequence[AuxiliarySample]) -> dict[str, Tensor]:
        masks = torch.stack([square_mask(sample, self.data.edge) for sample in part]).to(self.device)
        labels = torch.tensor([float(sample.label) for sample in part], device=self.device)
        losses = {
            "calibration": focal(maps.calibration, masks) + dice(maps.calibration, masks),
            "map": focal(maps.cross_modal, masks) + dice(maps.cross_modal, masks),
            "image": binary_cross_entropy_with_logits(maps.image_logit.float(), labels),
        }
        losses.pop(DROPPED.get(self.recipe.ablation, ""), None)
        total = torch.stack([WEIGHTS_OF_LOSS[name] * value for name, value in losses.items()]).sum()
        return {"loss": total, **losses}

    def _end_epoch(self, epoch: int) -> None:
        """Judge the adapters on the held-out categories and keep the best."""
        auroc = self.judge()
        self.progress.history.append({"epoch": epoch, **self.progress.sums, "auroc": auroc})
        self.progress.sums = {}
        if auroc > self.progress.best_auroc:
            self.progress.best_epoch, self.progress.best_auroc = epoch, auroc
            self.best = {name: tensor.clone() for name, tensor in self.adapters.state_dict().items()}

    def judge(self) -> float:
        """Mean pixel AUROC over the held-out categories.

        Raises:
            UsageError: If none of them has a defect.
        """
        values = [self._auroc(self.data.of((category,))) for category in self.held_out]
        known = [value for value in values if value is not None]
        if not known:
            raise UsageError(f"the held-out categories {list(self.held_out)} have no defect pixels; use another --seed")
        return sum(known) / len(known)

    def _auroc(self, samples: Sequence[AuxiliarySample]) -> float | None:
        stride = max(1, self.data.edge // JUDGED_EDGE)
        truth, scores = [], []
        with torch.no_grad():
            for start in range(0, len(samples), self.micro_batch):
                part = samples[start : start + self.micro_batch]
                maps = self.maps(part)
                scored = maps.log_odds(calibrated=self.recipe.ablation == "no_cmcl")
                scores.append(scored[:, ::stride, ::stride].flatten().cpu())
                masks = [square_mask(sample, self.data.edge)[::stride, ::stride].flatten() for sample in part]
                truth.append(torch.cat(masks))
        labels = torch.cat(truth).numpy()
        return float(roc_auc_score(labels, torch.cat(scores).numpy())) if 0 < labels.mean() < 1 else None

    def facts(self) -> Facts:
        """What the chosen adapters say of themselves."""
        return Facts(
            extractor=self.frozen.extractor.id,
            clip=self.frozen.clip,
            ablation=self.recipe.ablation,
            reference_quirks=self.recipe.reference_quirks,
            dataset=self.data.dataset,
            categories=tuple(c for c in self.data.categories() if c not in self.held_out),
            held_out=self.held_out,
            manifest=self.data.manifest,
            epoch=self.progress.best_epoch,
            auroc=self.progress.best_auroc,
            recipe=asdict(self.recipe),
            history=tuple(self.progress.history),
        )

    def save(self, path: Path) -> None:
        """Write the whole state."""
        groups = {
            "adapters": self.adapters.state_dict(),
            "best": self.best,
            "adam": optimiser_tensors(self.optimiser),
        }
        atomic_write(path, pack_state(groups, {"identity": self.identity, "progress": asdict(self.progress)}))

    def restore(self, path: Path) -> None:
        """Continue exactly where `save` stood.

        Raises:
            WeightsError: If the file is damaged, or was made with other settings, data or weights.
        """
        groups, facts = read_state(path)
        refuse_other(path, facts["identity"], self.identity)
        self.progress = Progress(**facts["progress"])
        self.adapters.load_state_dict(groups["adapters"])
        self.best = {name: tensor.to(self.device) for name, tensor in groups["best"].items()}
        restore_optimiser(self.optimiser, groups.get("adam", {}))


def square_mask(sample: AuxiliarySample, edge: int) -> Tensor:
    """The mask of a sample as the square maps see it: float [edge, edge], nearest neighbour."""
    mask = sample.mask()[None, None].float()
    return mask[0, 0] if mask.shape[2:] == (edge, edge) else interpolate(mask, (edge, edge))[0, 0]
