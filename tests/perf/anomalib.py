"""anomalib's AnomalyDINO or PatchCore against ours: python -m tests.perf.anomalib --interpreter PYTHON [--model NAME]

Same images, backbone (seeded random weights), resolution and threads; no rotation, no mask. anomalib fits and tests
every episode by itself; ours fits all episodes and scores the query images once. 518 pixels is DINOv2's native
resolution, at which both read the same position embeddings, so AnomalyDINO's scores must agree; coresets start at
other points.
"""

from __future__ import annotations

import argparse
import importlib.util
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmark.types import CategoryInfo, Detector, Sample, Support
from detectors import bank
from detectors.anomalydino import AnomalyDINO
from detectors.backbones.extractor import FrozenExtractor
from detectors.patchcore import PatchCore
from tests.perf.grid import integers
from tests.perf.measure import Report, options, pictures, prepare, seconds

SIDE = Path(__file__).with_name("anomalib_side.py")
"""Started with ``-I``: this folder must not shadow anomalib and torchattacks."""
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
    return (
        AnomalyDINO(backbone, preprocess="force_no_mask_no_rotation") if name == "anomalydino" else PatchCore(backbone)
    )


@torch.no_grad()
def ours(
    name: str, episodes: Mapping[tuple[int, int], Tensor], query: Tensor, chunk: int
) -> dict[tuple[int, int], Tensor]:
    """Scores of every episode, no feature known before; each image goes through the backbone once."""
    bank.CACHE = bank.FeatureCache()
    detector = build(name)
    fitted = {key: detector.fit(Pictures(images), seed=0) for key, images in episodes.items()}
    found: dict[tuple[int, int], list[Tensor]] = {key: [] for key in episodes}
    for part in query.split(chunk):
        assert detector.extractor is not None
        features = detector.extractor(part.float() / 255.0)
        for key, head in fitted.items():
            found[key].append(head.score(features).score)  # type: ignore[attr-defined]
    return {key: torch.cat(parts) for key, parts in found.items()}


def theirs(chosen: argparse.Namespace, support: Tensor, query: Tensor) -> dict[str, np.ndarray]:
    """Seconds and scores of anomalib, measured in its own process."""
    extractor = build(chosen.model).extractor
    assert isinstance(extractor, FrozenExtractor)
    with tempfile.TemporaryDirectory() as folder:
        network = extractor.network
        assert isinstance(network, torch.nn.Module)
        state = {name.partition(".")[2]: value for name, value in network.state_dict().items()}
        torch.save(state, Path(folder) / "state.pt")
        arrays = {n: extractor.normalised(x.float() / 255).numpy() for n, x in (("support", support), ("query", query))}
        np.savez(Path(folder) / "images.npz", **arrays)
        grids = [",".join(map(str, values)) for values in (chosen.shots, chosen.seeds)]
        words = [folder, chosen.model, BACKBONES[chosen.model], str(chosen.chunk), str(chosen.threads), *grids]
        subprocess.run([chosen.interpreter, "-I", str(SIDE), *words], check=True)
        return dict(np.load(Path(folder) / "out.npz"))


def parsed() -> argparse.Namespace:
    """The options."""
    parser = options(__doc__)
    parser.add_argument("--interpreter", help="a Python that has anomalib")
    parser.add_argument("--model", choices=tuple(BACKBONES), default="anomalydino")
    parser.add_argument("--edge", type=int, default=518)
    parser.add_argument("--images", type=int, default=4)
    parser.add_argument("--chunk", type=int, default=4)
    parser.add_argument("--shots", type=integers, default=(1, 2, 4, 8, 16))
    parser.add_argument("--seeds", type=integers, default=(0, 1, 2))
    return parser.parse_args()


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
    found: dict[tuple[int, int], Tensor] = {}
    whole = seconds(lambda: found.update(ours(chosen.model, episodes, query, chosen.chunk)))
    first = next(iter(episodes))
    alone = seconds(lambda: ours(chosen.model, {first: episodes[first]}, query, chosen.chunk))
    other = theirs(chosen, support, query)
    spent = {key: float(other[f"seconds {key[0]} {key[1]}"]) for key in episodes}
    gap = max(float(np.abs(other[f"scores {k} {s}"] - found[k, s].numpy()).max()) for k, s in episodes)
    shots, seeds = (",".join(map(str, values)) for values in (chosen.shots, chosen.seeds))
    words = f"--model {chosen.model} --edge {chosen.edge} --images {chosen.images} --shots {shots} --seeds {seeds}"
    command = f"python -m tests.perf.anomalib --interpreter PYTHON {words}"
    report = Report(
        f"anomalib-{chosen.model}-{chosen.edge}", f"anomalib, {chosen.model}, {chosen.edge} pixels", command
    )
    report.columns = ("what                       ", "ours s", "anomalib s")
    report.row(f"{first[0]} shot, seed {first[1]}, with fit", alone, spent[first])
    report.at_most("one run, ours over anomalib", alone / spent[first], 1.0)
    if len(episodes) > 1:
        report.row(f"all {len(episodes)} episodes, with fits", whole, sum(spent.values()))
        distinct = len({i for k, s in episodes for i in range(s * k, (s + 1) * k)})
        limit = (sum(k for k, _ in episodes) + len(episodes) * len(query)) / (distinct + len(query))
        words = f"all episodes, times faster ({limit:.1f} by counting images through the backbone)"
        report.at_least(words, sum(spent.values()) / whole, 5.0)
    report.found("largest difference of a score", gap)
    report.save()


if __name__ == "__main__":
    main()
