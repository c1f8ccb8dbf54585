"""Judge a backbone: clean 4-shot AUROC of the AnomalyDINO recipe on its tokens, on sets fixed before any training.

    python -m detectors.training.judge PROCEDURAL_ROOT [SHARED_DATA] [--weights FILE ...]

AnomalyDINO (Damm et al., WACV 2025, arXiv 2405.14529) without mask: 8 rotations of each reference, nearest neighbour
by cosine, mean of the highest 1 % of patch distances. Mean over three disjoint draws of references.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from PIL import Image
from sklearn.metrics import roc_auc_score
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample, normalize
from torchvision.transforms.functional import pil_to_tensor

from detectors.backbones.embedded import IMG_SIZE, MEAN, PATCH, STD, load_weights, seeded_vit
from detectors.backbones.gabor import GaborBank

Tokens = Callable[[Tensor], Tensor]
"""Images [B, 3, H, W] in [0, 1] -> patch tokens [B, N, D]."""


class JudgingSet(NamedTuple):
    """References and test images of one class."""

    name: str
    references: Sequence[Path]
    normal: Sequence[Path]
    anomalous: Sequence[Path]


def vit_tokens(model: torch.nn.Module) -> Tokens:
    """The patch tokens of a vision transformer's last block, after its norm."""
    mean, std = torch.tensor(MEAN)[:, None, None], torch.tensor(STD)[:, None, None]
    forward: Tokens = model.forward_features  # type: ignore[assignment]
    return lambda images: forward((images - mean) / std)[:, 1:]


def gabor_tokens() -> Tokens:
    bank = GaborBank()
    return lambda images: bank(images).flatten(1, 2)


def mvtec_sets(root: Path) -> Iterator[JudgingSet]:
    """Every category folder of an MVTec AD tree."""
    for train in sorted(root.glob("*/train/good")):
        test = train.parents[1] / "test"
        bad = [path for path in sorted(test.glob("*/*.png")) if path.parent.name != "good"]
        yield JudgingSet(train.parents[1].name, sorted(train.glob("*.png")), sorted(test.glob("good/*.png")), bad)


def magnetic_tile(root: Path) -> JudgingSet:
    """Flawless tiles, the first 12 as references, against all defects."""
    free = sorted(root.glob("MT_Free/Imgs/*.jpg"))
    bad = [path for path in sorted(root.glob("MT_*/Imgs/*.jpg")) if path.parts[-3] != "MT_Free"]
    return JudgingSet("magnetic_tile", free[:12], free[12:], bad)


def read(path: Path) -> Tensor:
    """The image [3, H, W] in [0, 1], smaller edge 112, cropped at the right and bottom to whole patches."""
    image = Image.open(path).convert("RGB")
    scale = IMG_SIZE / min(image.size)
    width, height = round(image.width * scale), round(image.height * scale)
    pixels: Tensor = pil_to_tensor(image.resize((width, height), Image.Resampling.BICUBIC)).float() / 255
    return pixels[:, : height // PATCH * PATCH, : width // PATCH * PATCH]


def rotations(image: Tensor) -> Tensor:
    """The image [3, H, W] turned by 0, 45, ..., 315 degrees about its centre (bilinear, mirrored): [8, 3, H, W]."""
    height, width = image.shape[1:]
    turns = []
    for k in range(8):
        cos, sin = math.cos(math.pi * k / 4), math.sin(math.pi * k / 4)
        turns.append([[cos, -sin * height / width, 0.0], [sin * width / height, cos, 0.0]])
    grid = affine_grid(torch.tensor(turns), [8, *image.shape], align_corners=True)
    return grid_sample(image.expand(8, -1, -1, -1), grid, padding_mode="reflection", align_corners=True)


def score(tokens: Tensor, bank: Tensor) -> float:
    """Mean of the highest 1 % (at least one) of cosine distances from patch tokens [N, D] to the bank [M, D]."""
    distance = 1 - (tokens @ bank.T).amax(dim=1)
    return float(distance.topk(max(1, int(0.01 * len(distance)))).values.mean())


@torch.no_grad()
def judge(extract: Tokens, judged: JudgingSet, *, shots: int = 4, draws: int = 3) -> float:
    """Mean AUROC over as many disjoint draws of ``shots`` references as there are files for, at most ``draws``."""
    used = judged.references[: shots * draws]
    banks = [normalize(extract(rotations(read(path))).flatten(0, 1), dim=1) for path in used]
    queries = [normalize(extract(read(path)[None])[0], dim=1) for path in (*judged.normal, *judged.anomalous)]
    labels = [0] * len(judged.normal) + [1] * len(judged.anomalous)
    aurocs = []
    for start in range(0, len(banks) - shots + 1, shots):
        bank = torch.cat(banks[start : start + shots])
        aurocs.append(float(roc_auc_score(labels, [score(query, bank) for query in queries])))
    return sum(aurocs) / len(aurocs)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("procedural", type=Path)
    parser.add_argument("shared", type=Path, nargs="?")
    parser.add_argument("--weights", type=Path, nargs="*", default=[])
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    options = parser.parse_args(arguments)
    sets = list(mvtec_sets(options.procedural))
    if options.shared:
        sets += [*mvtec_sets(options.shared / "mvtec_ad"), magnetic_tile(options.shared / "magnetic_tile")]
    backbones: dict[str, Tokens] = {"gabor": gabor_tokens()}
    backbones |= {f"seed {seed}": vit_tokens(seeded_vit(seed).eval()) for seed in options.seeds}
    for path in options.weights:
        model = seeded_vit(0).eval()
        load_weights(model, path)
        backbones[path.stem] = vit_tokens(model)
    for name, extract in backbones.items():
        figures = {judged.name: judge(extract, judged) for judged in sets}
        figures["mean"] = sum(figures.values()) / len(figures)
        sys.stdout.write(f"{name:12s} " + "  ".join(f"{key} {value:.3f}" for key, value in figures.items()) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
