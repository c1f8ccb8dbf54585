"""Train the embedded backbone from nothing: dense contrastive learning on generated images.

Two overlapping crops of one image are recoloured independently; each patch of the first must find itself among all
patches of all second crops (InfoNCE over patches, after DenseCL, Wang et al., CVPR 2021, arXiv 2011.09157). The
projection head is thrown away; an exponential moving average of the weights is what is saved.
"""

from __future__ import annotations

import json
import logging
import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor
from torch.nn.functional import cross_entropy, gelu, normalize

from benchmark.errors import UsageError, WeightsError
from benchmark.storage.jsonio import atomic_write
from detectors.backbones.embedded import IMG_SIZE, MEAN, PATCH, STD, seeded_vit
from detectors.training.classes import collection

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the result, beside the machine."""

    seed: int = 0
    steps: int = 900
    classes: int = 700
    instances: int = 3
    pairs: int = 32
    crop: int = 8  # patches per side
    max_shift: int = 3  # patches
    temperature: float = 0.12
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    warm_up: int = 50
    ema: float = 0.99


class Head(torch.nn.Module):
    """Projects tokens [..., 192] to the unit sphere [..., 128] in which patches are compared."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.out = torch.nn.Linear(192, 384), torch.nn.Linear(384, 128)

    def forward(self, tokens: Tensor) -> Tensor:
        return normalize(self.out(gelu(self.hidden(tokens))), dim=-1)


class Trainer:
    """The network, its head, optimiser and average, and the random stream of the batches."""

    def __init__(self, recipe: Recipe, device: str = "cpu") -> None:
        self.recipe, self.device, self.step = recipe, torch.device(device), 0
        self.vit = seeded_vit(recipe.seed).to(self.device).train()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(recipe.seed)
            self.head = Head().to(self.device)
        self.average = {name: weight.clone() for name, weight in self.vit.state_dict().items()}
        self.rng = torch.Generator().manual_seed(recipe.seed)
        self.images = torch.from_numpy(collection(recipe.seed, recipe.classes, recipe.instances))
        parameters = [*self.vit.parameters(), *self.head.parameters()]
        self.optimiser = torch.optim.AdamW(parameters, lr=recipe.learning_rate, weight_decay=recipe.weight_decay)

    def advance(self) -> float:
        """One step; returns the loss."""
        first, second, left, right = (part.to(self.device) for part in draw_batch(self.recipe, self.images, self.rng))
        for group in self.optimiser.param_groups:
            group["lr"] = self.recipe.learning_rate * schedule(self.recipe, self.step)
        with torch.autocast(self.device.type, dtype=torch.bfloat16):
            tokens = self.vit.forward_features(torch.cat([first, second]))[:, 1:]  # type: ignore[operator]
        points = self.head(tokens.float())  # [2 P, N, 128]
        anchors, found = select(points[: len(first)], left), select(points[len(first) :], right)
        target = torch.arange(len(anchors), device=self.device)
        logits = anchors @ found.T / self.recipe.temperature
        loss = (cross_entropy(logits, target) + cross_entropy(logits.T, target)) / 2
        self.optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.vit.parameters(), 1.0)
        self.optimiser.step()
        self.step += 1
        momentum = min(self.recipe.ema, self.step / (self.step + 10))
        for name, weight in self.vit.state_dict().items():
            self.average[name].lerp_(weight, 1 - momentum)
        return float(loss.detach())

    def weights(self) -> dict[str, Tensor]:
        """The averaged network in half precision."""
        return {name: weight.half().cpu().contiguous() for name, weight in self.average.items()}

    def checkpoint(self) -> bytes:
        """The whole state as safetensors; step and recipe are one JSON text: safetensors orders keys at random."""
        tensors = {f"average.{name}": weight for name, weight in self.average.items()}
        tensors |= {f"vit.{name}": weight for name, weight in self.vit.state_dict().items()}
        tensors |= {f"head.{name}": weight for name, weight in self.head.state_dict().items()}
        for index, state in self.optimiser.state_dict()["state"].items():
            tensors |= {f"adam.{index}.{name}": value for name, value in state.items()}
        tensors["rng"] = self.rng.get_state()
        metadata = {"state": json.dumps({"step": self.step, "recipe": asdict(self.recipe)}, sort_keys=True)}
        return bytes(save({name: tensor.cpu().contiguous() for name, tensor in tensors.items()}, metadata))

    def restore(self, path: Path) -> None:
        """Continue exactly where ``checkpoint`` stood.

        Raises:
            WeightsError: If the checkpoint was made under another recipe.
        """
        with safe_open(path, "pt") as file:
            state = json.loads(file.metadata()["state"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if state["recipe"] != asdict(self.recipe):
            raise WeightsError(f"{path} holds a run of recipe {state['recipe']}; give the same settings or delete it")
        self.vit.load_state_dict(under("vit.", tensors))
        self.head.load_state_dict(under("head.", tensors))
        self.average = {name: weight.to(self.device) for name, weight in under("average.", tensors).items()}
        moments: dict[int, dict[str, Tensor]] = {}
        for key, value in under("adam.", tensors).items():
            index, name = key.split(".")
            moments.setdefault(int(index), {})[name] = value
        self.optimiser.load_state_dict({**self.optimiser.state_dict(), "state": moments})
        self.rng.set_state(tensors["rng"])
        self.step = state["step"]


def under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def schedule(recipe: Recipe, step: int) -> float:
    """Linear warm-up, then half a cosine to zero; in [0, 1]."""
    if step < recipe.warm_up:
        return (step + 1) / recipe.warm_up
    return 0.5 + 0.5 * math.cos(math.pi * (step - recipe.warm_up) / max(1, recipe.steps - recipe.warm_up))


def draw_batch(recipe: Recipe, images: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Crops A and B [P, 3, E, E], normalised, and for each the indices [P, K] of corresponding patches."""
    edge, reach = recipe.crop * PATCH, recipe.max_shift
    chosen = torch.randint(len(images), (recipe.pairs,), generator=rng)
    start = torch.randint(IMG_SIZE - edge - reach * PATCH + 1, (recipe.pairs, 2), generator=rng)
    shift = int(torch.randint(reach + 1, (), generator=rng)), int(torch.randint(reach + 1, (), generator=rng))
    first, second = [], []
    for image, (y, x) in zip(images[chosen], start.tolist(), strict=True):
        image = torch.rot90(image, int(torch.randint(4, (), generator=rng)), (0, 1)).permute(2, 0, 1).float() / 255
        first.append(image[:, y : y + edge, x : x + edge])
        y, x = y + shift[0] * PATCH, x + shift[1] * PATCH
        second.append(image[:, y : y + edge, x : x + edge])
    grid = torch.arange(recipe.crop**2).reshape(recipe.crop, recipe.crop)
    left = grid[shift[0] :, shift[1] :].flatten()
    right = grid[: recipe.crop - shift[0], : recipe.crop - shift[1]].flatten()
    size = (recipe.pairs, -1)
    return recolour(torch.stack(first), rng), recolour(torch.stack(second), rng), left.expand(size), right.expand(size)


def recolour(images: Tensor, rng: torch.Generator) -> Tensor:
    """Another light for each image: gain, contrast, tint, gamma-like bend, a gradient and noise; then normalised."""

    def between(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(len(images), *shape, generator=rng)

    edge = images.shape[-1]
    slope = torch.linspace(-1, 1, edge)
    light = 1 + between(-0.25, 0.25, 1, 1, 1) * slope + between(-0.25, 0.25, 1, 1, 1) * slope[:, None]
    images = images * light * between(0.6, 1.4, 1, 1, 1) * between(0.85, 1.15, 3, 1, 1)
    images = 0.5 + (images - 0.5) * between(0.6, 1.3, 1, 1, 1) + between(-0.1, 0.1, 1, 1, 1)
    images = images + between(-0.6, 0.6, 1, 1, 1) * images * (1 - images)
    images = images + between(0.0, 0.04, 1, 1, 1) * torch.randn(images.shape, generator=rng)
    mean, std = torch.tensor(MEAN)[:, None, None], torch.tensor(STD)[:, None, None]
    return (images.clamp(0, 1) - mean) / std


def select(points: Tensor, indices: Tensor) -> Tensor:
    """Rows ``indices`` [P, K] of ``points`` [P, N, D], flattened to [P * K, D]."""
    return points.gather(1, indices[..., None].expand(-1, -1, points.shape[-1])).flatten(0, 1)


def train(
    out: Path,
    *,
    recipe: Recipe | None = None,
    minutes: float | None = None,
    device: str = "cpu",
    resume_from: Path | None = None,
    save_every: int = 100,
) -> Path:
    """Train and write half-precision weights to ``out``; the checkpoint lies beside it as ``<out>.checkpoint``.

    Args:
        out: Weights file to write (.safetensors).
        recipe: Settings; its ``steps`` end the run and set the learning-rate schedule.
        minutes: Stop early after this much wall time (the checkpoint allows going on).
        device: ``"cpu"`` or ``"cuda"``.
        resume_from: A checkpoint of the same recipe to continue; the result is that of an uninterrupted run.
        save_every: Steps between checkpoints.

    Raises:
        UsageError: ``out`` has another suffix.
        WeightsError: The checkpoint belongs to another recipe.
    """
    if out.suffix != ".safetensors":
        raise UsageError(f"weights are written as .safetensors, not {out.name!r}")
    checkpoint = out.with_name(out.name + ".checkpoint")
    trainer = Trainer(recipe or Recipe(), device)
    if resume_from is not None:
        trainer.restore(resume_from)
    begun, since, last = time.monotonic(), trainer.step, trainer.recipe.steps
    while trainer.step < last and (minutes is None or time.monotonic() - begun < 60 * minutes):
        loss = trainer.advance()
        if trainer.step % 20 == 0:
            pace = (time.monotonic() - begun) / (trainer.step - since)
            log.info("step %d of %d, loss %.3f, %.0f s left", trainer.step, last, loss, pace * (last - trainer.step))
        if trainer.step % save_every == 0:
            atomic_write(checkpoint, trainer.checkpoint())
    atomic_write(checkpoint, trainer.checkpoint())
    atomic_write(out, save(trainer.weights()))
    return out
