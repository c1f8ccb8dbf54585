"""AD-DINOv3 measured: the real architecture's memory and cached epochs, and what training gives on generated images.

Run: PYTHONPATH=. python tests/perf/ad_dinov3.py architecture | probe | embedded [OPTIONS]. Prints JSON lines.

``architecture``: DINOv3 ViT-L/16 and CLIP ViT-L/14-336 with seeded weights at 512 pixels, in the order of a run: texts
embedded, the tower freed, one forward and backward pass through the map to the pixels, peak memory; then one training
epoch without and one with cached features.

``probe``: what the embedded backbone's standardised tokens allow across categories, inside each half of the procedural
categories: a linear map of their direction, and their length alone.

``embedded``: adapters trained on one half of the procedural categories and tested on the other, both ways, against the
untrained adapters and the text map without adapters (an orthonormal projection in their place). The seed draws first
adapters, held-out category, order of images, text tower and projection; differences are paired over seeds.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
import torch
from scipy.stats import t
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import normalize
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


def generated(dataset: Any, categories: tuple[str, ...], good: int, defective: int) -> Any:
    """An auxiliary set with that many good images per category and that many of each of its three kinds of defect."""
    from benchmark.datasets.procedural.generator import images
    from benchmark.storage.jsonio import digest_json
    from detectors.training.auxiliary import AuxiliarySet

    samples = [
        _rendered(category, dataset.info.class_names.get(category, category), kind, number)
        for category in categories
        for kind in dict.fromkeys(image.defect for image in images(category) if image.split == "test")
        for number in range(good if kind == "good" else defective)
    ]
    return AuxiliarySet("procedural", digest_json([sample.id for sample in samples]), 112, tuple(samples))


def _rendered(category: str, class_name: str, kind: str, number: int) -> Any:
    from benchmark.datasets.procedural import GENERATOR_VERSION, render
    from benchmark.storage.jsonio import digest_json
    from detectors.training.auxiliary import AuxiliarySample

    pixels, mask = (torch.from_numpy(array) for array in render(category, "test", kind, number))
    image, digest = pixels.permute(2, 0, 1), digest_json([GENERATOR_VERSION, category, kind, number])
    return AuxiliarySample(digest, digest, category, class_name, int(kind != "good"), lambda: image, lambda: mask)


def probe(backbone: str) -> None:
    """How well a linear map can do: patch AUROC on every category of logistic regression on the rest of its half."""
    from benchmark.registry import DATASETS
    from benchmark.storage.cachedir import cache_dir
    from detectors.ad_dinov3.model import LayerExtractor, chosen_layers, standardise
    from detectors.backbones import build
    from detectors.training.frozen_features import FrozenFeatures

    dataset, extractor = DATASETS.get("procedural")(None), LayerExtractor(build(backbone, layers=chosen_layers("none")))
    frozen = FrozenFeatures(extractor, 112, cache_dir() / "features")
    for half in (dataset.info.categories[::2], dataset.info.categories[1::2]):
        tokens, truth = {}, {}
        for category in half:
            samples = generated(dataset, (category,), 30, 10).samples
            maps = frozen.batch(samples, "cpu").maps[-1]
            tokens[category] = standardise(maps).flatten(0, 1)
            masks = torch.stack([sample.mask() for sample in samples]).float()
            covered = torch.nn.functional.adaptive_avg_pool2d(masks, maps.shape[1:3])
            truth[category] = (covered > 0.25).flatten().numpy()
        for category in half:
            others = [other for other in half if other != category]
            rows = torch.cat([tokens[other] for other in others]).numpy()
            model = LogisticRegression(C=1e-5, class_weight="balanced", max_iter=50)
            model.fit(normalize(rows) * rows.shape[1] ** 0.5, np.concatenate([truth[other] for other in others]))
            direction = normalize(tokens[category].numpy()) @ model.coef_[0]
            length = tokens[category].norm(dim=1).numpy()
            known = truth[category]
            say(category=category, linear=roc_auc_score(known, direction), length=roc_auc_score(known, length))


def embedded(backbone: str, recipe: Any, images: tuple[int, int], seeds: range, directions: list[int]) -> None:
    from benchmark.data.auxiliary import auxiliary_set
    from benchmark.registry import DATASETS

    dataset = DATASETS.get("procedural")(None)
    halves = dataset.info.categories[::2], dataset.info.categories[1::2]
    ways = (halves, halves[::-1])
    for train_on, test_on in [ways[i] for i in directions]:
        data, test = generated(dataset, train_on, *images), auxiliary_set(dataset, test_on, 112)
        rows = []
        for seed in seeds:
            rows.append(_one_seed(data, test, backbone, replace(recipe, seed=seed)))
            say(trained_on=train_on, seed=seed, **rows[-1])
        for name in ("trained", "untrained", "no_adapters"):
            say(trained_on=train_on, mean_of=name, **interval([row[name] for row in rows]))
        for name in ("untrained", "no_adapters"):
            say(trained_on=train_on, trained_minus=name, **interval([row["trained"] - row[name] for row in rows]))


def interval(values: list[float]) -> dict[str, float]:
    """Mean, standard deviation and Student's 95 % interval of the mean."""
    count, deviation = len(values), stdev(values)
    half = float(t.ppf(0.975, count - 1)) * deviation / count**0.5
    return {"mean": mean(values), "deviation": deviation, "low": mean(values) - half, "high": mean(values) + half}


def _one_seed(data: Any, test: Any, backbone: str, recipe: Any) -> dict[str, Any]:
    """Train with a seed; mean pixel AUROC on the tested half. The seed also draws text tower and projection."""
    from benchmark.storage.cachedir import cache_dir
    from detectors.ad_dinov3.detector import ADDINOv3
    from detectors.clip.model import SEEDED_TINY
    from detectors.training.ad_dinov3 import train
    from detectors.training.frozen_features import FrozenFeatures

    cache, clip = cache_dir() / "features", f"{SEEDED_TINY}:{recipe.seed}"
    start = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "ad_dinov3.safetensors"
        facts = train(out, data, recipe=recipe, backbone=backbone, clip=clip, cache=cache, save_every=10**9)
        detector = ADDINOv3(backbone, clip=clip, adapters=str(out))
    seconds, features = time.process_time() - start, FrozenFeatures(detector.extractor, 112, cache)
    rows = [_compare(detector, features, test.of((category,)), recipe.seed) for category in test.categories()]
    return {
        **{name: mean(row[name] for row in rows) for name in rows[0]},
        "trained_by_category": [round(row["trained"], 3) for row in rows],
        "held_out": facts.held_out,
        "held_out_auroc": facts.auroc,
        "epoch": facts.epoch,
        "losses": [round(facts.history[i]["loss"], 3) for i in (0, facts.epoch - 1, -1)],
        "cpu_seconds": seconds,
    }


def _compare(detector: Any, frozen: Any, samples: Any, seed: int) -> dict[str, float]:
    """Pixel AUROC in one category of the trained adapters, of those they started from, and of the map without any."""
    from detectors.ad_dinov3.detector import untrained
    from detectors.ad_dinov3.model import adapt_text
    from detectors.ad_dinov3.text import class_text

    name = samples[0].class_name
    trained = detector.fit(NoSupport(samples[0].category, name, "procedural"), seed=0)
    text = class_text(detector.clip, (name,))[0]
    start = untrained(detector.extractor, text.shape[1], seed=seed).state_dict()
    start["text"] = adapt_text(start["text"], text)
    features = frozen.batch(samples, "cpu")
    with torch.no_grad():
        maps = {
            "trained": trained.score(features).anomaly_map,
            "untrained": trained.with_state(start).score(features).anomaly_map,
            "no_adapters": bare_map(features, text, seed),
        }
    truth = torch.stack([sample.mask() for sample in samples]).flatten().numpy()
    return {name: float(roc_auc_score(truth, parts.flatten().numpy())) for name, parts in maps.items()}


def bare_map(features: Any, text: Tensor, seed: int) -> Tensor:
    """The text map with an orthonormal projection in place of the adapters, as log odds: [B, 112, 112]."""
    from detectors.ad_dinov3.model import standardise
    from detectors.clip.scoring import mean_log_odds

    layers = []
    for tokens in features.maps:
        generator = torch.Generator().manual_seed(seed)
        projection = torch.linalg.qr(torch.randn(tokens.shape[-1], text.shape[1], generator=generator)).Q
        patches = torch.nn.functional.normalize(standardise(tokens) @ projection, dim=-1)
        logits = (100 * patches @ (text[1] - text[0])).reshape(-1, 1, *tokens.shape[1:3])
        layers.append(torch.nn.functional.interpolate(logits, (112, 112), mode="bilinear", align_corners=True)[:, 0])
    return mean_log_odds(torch.stack(layers))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mode", choices=["architecture", "probe", "embedded"])
    parser.add_argument("--backbone", default="embedded")
    parser.add_argument("--images", type=int, nargs=2, default=[0, 20], help="good ones, and of each kind of defect")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--learning-rate", type=float, default=3e-4)
    parser.add_argument("--seeds", type=int, nargs=2, default=[0, 6], help="first seed and the one after the last")
    parser.add_argument("--directions", type=int, nargs="+", default=[0, 1], choices=[0, 1])
    options = parser.parse_args()
    if options.mode == "architecture":
        architecture()
    elif options.mode == "probe":
        probe(options.backbone)
    else:
        from detectors.training.ad_dinov3_trainer import Recipe

        chosen = {"epochs": options.epochs, "batch": options.batch, "learning_rate": options.learning_rate}
        recipe = Recipe(held_out=0.25, **chosen)
        embedded(options.backbone, recipe, tuple(options.images), range(*options.seeds), options.directions)


if __name__ == "__main__":
    main()
