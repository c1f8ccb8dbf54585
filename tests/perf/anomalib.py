"""anomalib's AnomalyDINO or PatchCore against ours: python -m tests.perf.anomalib --interpreter PYTHON [--model NAME]

Same images, backbone (seeded random weights), resolution and threads; no rotation, no mask. anomalib fits and tests
every episode by itself; ours fits all episodes and scores the query images once. 518 pixels is DINOv2's native
resolution, at which both read the same position embeddings, so AnomalyDINO's scores must agree. PatchCore runs with
anomalib's 1,536 channels; coresets start at other points, so the scores of the first episode are compared once more
with our coreset in its model.
"""

from __future__ import annotations

import argparse
import importlib.util
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from statistics import median

import numpy as np
import torch
from torch import Tensor

from benchmark.types import CategoryInfo, Detector, Sample, Support
from detectors import bank
from detectors.anomalydino import AnomalyDINO
from detectors.backbones.extractor import FrozenExtractor
from detectors.patchcore import PatchCore
from tests.perf.grid import integers
from tests.perf.measure import Report, median_ratio, options, pictures, prepare, seconds

SIDE = Path(__file__).with_name("anomalib_side.py")
"""Started with ``-I``: this folder must not shadow anomalib and torchattacks."""
Key = tuple[int, int]
"""Shots and seed."""
Grid = tuple[tuple[int, ...], tuple[int, ...]]
"""All shots and all seeds."""
BACKBONES = {"anomalydino": "vit_small_patch14_dinov2", "patchcore": "wide_resnet50_2"}


class Pictures(Support):
    """Support images in memory."""

    def __init__(self, images: Tensor) -> None:
        self.info = CategoryInfo("noise", "noise", "noise")
        self.samples = tuple(
            Sample(str(i), "noise", "train", 0, "good", "", (), "", image.shape[2], image.shape[1])
            for i, image in enumerate(images)
        )
        self._images = images

    def views(self, angles: object = (0.0,)) -> list[list[Tensor]]:
        """One view each."""
        return [[image] for image in self._images]


def build(name: str) -> Detector:
    """Our side's detector with seeded weights."""
    backbone = f"seeded:{BACKBONES[name]}"
    if name == "patchcore":
        return PatchCore(backbone, dimension=1536)
    return AnomalyDINO(backbone, preprocess="force_no_mask_no_rotation")


@torch.no_grad()
def ours(name: str, episodes: Mapping[Key, Tensor], query: Tensor, chunk: int) -> tuple[dict[Key, Tensor], Tensor]:
    """Scores of every episode, no feature known before; each image goes through the backbone once. And the first
    bank."""
    bank.CACHE = bank.FeatureCache()
    detector = build(name)
    fitted = {key: detector.fit(Pictures(images), seed=0) for key, images in episodes.items()}
    found: dict[Key, list[Tensor]] = {key: [] for key in episodes}
    for part in query.split(chunk):
        assert detector.extractor is not None
        features = detector.extractor(part.float() / 255.0)
        for key, head in fitted.items():
            found[key].append(head.score(features).score)  # type: ignore[attr-defined]
    scores = {key: torch.cat(parts) for key, parts in found.items()}
    return scores, next(iter(fitted.values())).state()["bank"]


def prepared(extractor: FrozenExtractor, images: Tensor) -> Tensor:
    """The network's input: what our side's extractor makes of the images, so that both sides see the same pixels."""
    pixels, _ = extractor._prepare(images.float() / 255)
    return extractor.normalised(pixels)


def handed_over(chosen: argparse.Namespace, folder: Path, support: Tensor, query: Tensor, our_bank: Tensor) -> None:
    """Write what anomalib's side reads."""
    extractor = build(chosen.model).extractor
    assert isinstance(extractor, FrozenExtractor)
    network = extractor.network
    assert isinstance(network, torch.nn.Module)
    torch.save({name.partition(".")[2]: value for name, value in network.state_dict().items()}, folder / "state.pt")
    arrays = {n: prepared(extractor, x).numpy() for n, x in (("support", support), ("query", query))}
    np.savez(folder / "images.npz", bank=our_bank.numpy(), **arrays)


def theirs(chosen: argparse.Namespace, folder: Path, keys: Grid) -> dict[str, np.ndarray]:
    """Seconds and scores of anomalib on a grid of shots and seeds, measured in its own process."""
    grids = [",".join(map(str, values)) for values in keys]
    words = [str(folder), chosen.model, BACKBONES[chosen.model], str(chosen.chunk), str(chosen.threads), *grids]
    subprocess.run([chosen.interpreter, "-I", str(SIDE), *words], check=True)
    return dict(np.load(folder / "out.npz"))


def parsed() -> argparse.Namespace:
    """The options."""
    parser = options(__doc__)
    parser.add_argument("--interpreter", help="a Python that has anomalib")
    parser.add_argument("--model", choices=tuple(BACKBONES), default="anomalydino")
    parser.add_argument("--edge", type=int, default=518)
    parser.add_argument("--images", type=int, default=40)
    parser.add_argument("--chunk", type=int, default=4)
    parser.add_argument("--shots", type=integers, default=(1, 2, 4, 8, 16))
    parser.add_argument("--seeds", type=integers, default=(0, 1, 2))
    parser.add_argument("--repeats", type=int, default=5, help="turns of the first episode alone")
    return parser.parse_args()


def one_run(
    chosen: argparse.Namespace, folder: Path, episode: Mapping[Key, Tensor], query: Tensor
) -> tuple[list[float], list[float]]:
    """Seconds of one episode alone, ours and anomalib's in turn, so that other load on the machine hits both."""
    mine, other = [], []
    ((shots, seed),) = episode
    for _ in range(chosen.repeats):
        mine.append(seconds(lambda: ours(chosen.model, episode, query, chosen.chunk)))
        twice = (shots, shots), (seed,)  # the second time counts: our process is warm too
        other.append(float(theirs(chosen, folder, twice)[f"seconds {shots} {seed}"]))
    return mine, other


def main() -> None:
    """Measure."""
    chosen = parsed()
    if chosen.interpreter is None and importlib.util.find_spec("anomalib") is None:
        print("skipped: anomalib is not installed here; give --interpreter of an environment that has it")
        return
    prepare(chosen)
    support = pictures(max(chosen.shots) * (max(chosen.seeds) + 1), chosen.edge)
    query = pictures(chosen.images, chosen.edge, seed=1)
    episodes = {(k, s): support[s * k : (s + 1) * k] for k in chosen.shots for s in chosen.seeds}
    first = next(iter(episodes))
    alone, runs = {first: episodes[first]}, []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _, bank = ours(chosen.model, alone, query, chosen.chunk)  # and no time holds the making of the network
        handed_over(chosen, folder, support, query, bank)
        mine, other = one_run(chosen, folder, alone, query)
        whole = seconds(lambda: runs.append(ours(chosen.model, episodes, query, chosen.chunk)))
        theirs_found = theirs(chosen, folder, (chosen.shots, chosen.seeds))
    ((found, _),) = runs
    spent = sum(float(theirs_found[f"seconds {k} {s}"]) for k, s in episodes)
    pairs = [(theirs_found[f"scores {k} {s}"], found[k, s].numpy()) for k, s in episodes]
    if chosen.model == "patchcore":
        pairs = [(theirs_found["scores with our bank"], found[first].numpy())]
    shots, seeds = (",".join(map(str, values)) for values in (chosen.shots, chosen.seeds))
    words = f"--model {chosen.model} --edge {chosen.edge} --images {chosen.images} --shots {shots} --seeds {seeds}"
    report = Report(
        f"anomalib-{chosen.model}-{chosen.edge}",
        f"anomalib, {chosen.model}, {chosen.edge} pixels",
        f"python -m tests.perf.anomalib --interpreter PYTHON {words} --repeats {chosen.repeats}",
    )
    report.columns = ("what                       ", "ours s", "anomalib s")
    report.row(f"{first[0]} shot, with fit, median of {chosen.repeats}", median(mine), median(other))
    report.at_most("one run, ours over anomalib", median_ratio(mine, other), 1.0)
    if len(episodes) > 1:
        report.row(f"all {len(episodes)} episodes, with fits", whole, spent)
        distinct = len({i for k, s in episodes for i in range(s * k, (s + 1) * k)})
        limit = (sum(k for k, _ in episodes) + len(episodes) * len(query)) / (distinct + len(query))
        words = f"all episodes, times faster ({limit:.1f} by counting images through the backbone)"
        report.at_least(words, spent / whole, 5.0)
    gap = max(float(np.abs(a - b).max() / np.abs(b).max()) for a, b in pairs)
    report.at_most("largest difference of a score, relative to the largest score", gap, 1e-4)
    report.save()


if __name__ == "__main__":
    main()
