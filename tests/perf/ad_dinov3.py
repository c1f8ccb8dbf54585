"""AD-DINOv3 measured: the real architecture's memory and cached epochs, and what training gives on generated images.

Run: PYTHONPATH=. python tests/perf/ad_dinov3.py architecture | embedded [OPTIONS]. Prints JSON lines, asserts nothing.

``architecture``: DINOv3 ViT-L/16 and CLIP ViT-L/14-336 with seeded weights at 512 pixels, in the order of a run: texts
embedded, the tower freed, one forward and backward pass through the map to the pixels, peak memory; then one training
epoch without and one with cached features.

``embedded``: adapters trained on one half of the procedural categories and tested on the other, both ways, against the
untrained adapters and the text map without adapters (a fixed orthonormal projection in their place).
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor

VITL, CLIP = "seeded:vit_large_patch16_dinov3", "seeded:clip_vitl14_336"


def peak_gb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def say(**facts: Any) -> None:
    print(json.dumps({name: round(f, 4) if isinstance(f, float) else f for name, f in facts.items()}), flush=True)


def random_sample(category: str, number: int) -> Any:
    from detectors.training.auxiliary import AuxiliarySample

    generator = torch.Generator().manual_seed(number)
    image = torch.randint(0, 256, (3, 512, 512), dtype=torch.uint8, generator=generator)
    mask = torch.zeros(512, 512, dtype=torch.bool)
    mask[100:200, 100:200] = bool(number % 2)
    return AuxiliarySample(f"{number}", f"{number}", category, "nut", number % 2, lambda: image, lambda: mask)


def architecture() -> None:
    from detectors.ad_dinov3.detector import UNTRAINED, ADDINOv3
    from detectors.training.ad_dinov3 import freeze
    from detectors.training.ad_dinov3_trainer import Recipe, Trainer
    from detectors.training.auxiliary import AuxiliarySet

    detector = ADDINOv3(VITL, clip=CLIP, adapters=UNTRAINED)
    say(step="backbone", peak_gb=peak_gb())
    start = time.perf_counter()
    fitted = detector.fit(NoSupport(), seed=0)
    say(step="texts of one class beside the backbone", seconds=time.perf_counter() - start, peak_gb=peak_gb())
    pixels = torch.rand(1, 3, 512, 512, generator=torch.Generator().manual_seed(0)).requires_grad_(True)
    start = time.perf_counter()
    (gradient,) = torch.autograd.grad(fitted(pixels).score.sum(), pixels)
    seconds = time.perf_counter() - start
    moved = float((gradient != 0).float().mean())
    say(step="forward and backward, 512 px", seconds=seconds, peak_gb=peak_gb(), pixels_with_gradient=moved)

    samples = tuple(random_sample(category, i) for category in ("a", "b") for i in range(2))
    data = AuxiliarySet("random", "", 512, samples)
    recipe = Recipe(epochs=3, batch=2)
    seconds_of = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, cache in (("uncached", None), ("filling", Path(folder)), ("cached", Path(folder))):
            trainer = Trainer(recipe, data, freeze(recipe, data, VITL, CLIP, "cpu", cache), micro_batch=2)
            start = time.perf_counter()
            trainer.advance()
            seconds_of[name] = time.perf_counter() - start
    ratio = seconds_of["uncached"] / seconds_of["cached"]
    say(step="epoch of 2 + 2 images", **seconds_of, times_faster=ratio, peak_gb=peak_gb())


class NoSupport:
    """The empty support of a zero-shot episode."""

    def __init__(self, category: str = "nut", class_name: str = "nut", dataset: str = "random") -> None:
        from benchmark.types import CategoryInfo

        self.info, self.samples = CategoryInfo(dataset, category, class_name), ()


def embedded(backbone: str, recipe: Any, seeds: range, directions: list[int]) -> None:
    from benchmark.cachedir import cache_dir
    from benchmark.registry import DATASETS
    from benchmark.training_data import auxiliary_set
    from detectors.training.ad_dinov3 import train

    dataset = DATASETS.get("procedural")(None)
    halves = dataset.info.categories[::2], dataset.info.categories[1::2]
    ways = (halves, halves[::-1])
    for (train_on, test_on), seed in product([ways[i] for i in directions], seeds):
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "ad_dinov3.safetensors"
            data, cache = auxiliary_set(dataset, train_on, 112), cache_dir() / "features"
            start = time.process_time()
            facts = train(out, data, recipe=replace(recipe, seed=seed), backbone=backbone, cache=cache)
            say(
                trained_on=train_on,
                seed=seed,
                cpu_seconds=time.process_time() - start,
                held_out=facts.held_out,
                epoch=facts.epoch,
                held_out_auroc=facts.auroc,
                first_loss=facts.history[0]["loss"],
                loss_at_chosen=facts.history[facts.epoch - 1]["loss"],
                last_loss=facts.history[-1]["loss"],
            )
            test = auxiliary_set(dataset, test_on, 112)
            rows = [_compare(category, test.of((category,)), backbone, str(out), seed) for category in test_on]
        say(**{f"mean_{name}": sum(row[name] for row in rows) / len(rows) for name in rows[0]})


def _compare(category: str, samples: Any, backbone: str, adapters: str, seed: int) -> dict[str, float]:
    from detectors.ad_dinov3.detector import ADDINOv3, untrained
    from detectors.ad_dinov3.model import adapt_text
    from detectors.ad_dinov3.text import class_text

    detector = ADDINOv3(backbone, adapters=adapters)
    trained = detector.fit(NoSupport(category, samples[0].class_name, "procedural"), seed=0)
    text = class_text(detector.clip, (samples[0].class_name,))[0]
    start = untrained(detector.extractor, text.shape[1], seed=seed).state_dict()
    start["text"] = adapt_text(start["text"], text)
    fitted = {"trained": trained, "untrained": trained.with_state(start)}
    generator = torch.Generator().manual_seed(seed)
    projection = torch.linalg.qr(torch.randn(detector.extractor.width, text.shape[1], generator=generator)).Q
    maps: dict[str, list[Tensor]] = {"trained": [], "untrained": [], "no_adapters": []}
    with torch.no_grad():
        for sample in samples:
            features = trained.extractor(sample.image()[None].float() / 255)
            for name, head in fitted.items():
                maps[name].append(head.score(features).anomaly_map)
            maps["no_adapters"].append(bare_map(features, projection, text))
    truth = torch.stack([sample.mask() for sample in samples]).flatten().numpy()
    row = {name: float(roc_auc_score(truth, torch.cat(parts).flatten().numpy())) for name, parts in maps.items()}
    say(category=category, **row)
    return row


def bare_map(features: Any, projection: Tensor, text: Tensor) -> Tensor:
    """The text map with a fixed projection in place of the adapters: [1, 112, 112]."""
    from detectors.ad_dinov3.model import standardise

    layers = []
    for tokens in features.maps:
        patches = torch.nn.functional.normalize(standardise(tokens) @ projection, dim=-1)
        logits = (100 * patches @ (text[1] - text[0])).reshape(1, 1, *tokens.shape[1:3])
        resized = torch.nn.functional.interpolate(logits, (112, 112), mode="bilinear", align_corners=True)
        layers.append(torch.sigmoid(resized[:, 0]))
    return torch.stack(layers).mean(0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mode", choices=["architecture", "embedded"])
    parser.add_argument("--backbone", default="embedded")
    parser.add_argument("--epochs", type=int, default=16)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--learning-rate", type=float, default=1e-4)
    parser.add_argument("--seeds", type=int, nargs=2, default=[0, 3], help="first seed and the one after the last")
    parser.add_argument("--directions", type=int, nargs="+", default=[0, 1], choices=[0, 1])
    options = parser.parse_args()
    if options.mode == "architecture":
        architecture()
    else:
        from detectors.training.ad_dinov3_trainer import Recipe

        chosen = {"epochs": options.epochs, "batch": options.batch, "learning_rate": options.learning_rate}
        embedded(options.backbone, Recipe(held_out=0.25, **chosen), range(*options.seeds), options.directions)


if __name__ == "__main__":
    main()
