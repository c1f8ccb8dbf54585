"""The isolated side: loads a detector, then fits, scores and differentiates on request until its input ends.

Nothing here is trusted by the harness: a detector may replace all of it and still can only send frames.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmark.data.canonical import canonicalise, rotate
from benchmark.data.episodes import as_tensor
from benchmark.errors import UsageError
from benchmark.planning.jobs import DetectorSpec
from benchmark.planning.workbench import build_detector
from benchmark.results.references import detector_ref
from benchmark.types import Detector, FittedDetector, Sample, Support, TransductiveScorer
from benchmark.types.data import CategoryInfo
from benchmark.verify.sandbox.protocol import Channel, Frame


class SentSupport(Support):
    """Support images that came over the pipe at original resolution."""

    def __init__(self, info: CategoryInfo, originals: Sequence[Tensor], edge: int) -> None:
        self.info = info
        self.samples = tuple(_anonymous(info.category, place, image) for place, image in enumerate(originals))
        self._originals = [image.numpy() for image in originals]
        self._edge = edge

    def views(self, angles: Sequence[float] = (0.0,)) -> list[list[Tensor]]:
        """As `benchmark.types.Support.views`."""
        return [
            [as_tensor(canonicalise(rotate(image, angle), self._edge)) for angle in angles] for image in self._originals
        ]


def _anonymous(category: str, place: int, image: Tensor) -> Sample:
    height, width = image.shape[:2]
    name = f"{category}/train/good/{place:03d}.png"
    return Sample(name, category, "train", 0, "good", "", (), "0" * 64, width, height)


def load(path: Path | None, name: str, backbone: str | None, options: dict[str, Any]) -> Detector:
    """The detector of a file's ``detector(backbone=..., **config)``, or the registered one of a name.

    Raises:
        UsageError: If the file defines no ``detector``, or it returns something else.
    """
    if path is None:
        return build_detector(DetectorSpec(name, backbone, tuple(options.items())))
    spec = importlib.util.spec_from_file_location("submitted_detector", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    made = getattr(module, "detector", lambda **_: None)(**({"backbone": backbone} if backbone else {}), **options)
    if not isinstance(made, Detector):
        raise UsageError("detector.py must define detector(backbone=..., **config) -> benchmark.types.Detector")
    return made


class Server:
    """Answers frames with one detector, one fit and at most one open graph."""

    def __init__(self, detector: Detector) -> None:
        self.detector = detector
        self.fitted: FittedDetector | None = None
        self.graph: tuple[Tensor, Mapping[str, Tensor]] | None = None

    def answer(self, frame: Frame) -> dict[str, Tensor]:
        """The tensors of the reply."""
        words, tensors = frame.words, frame.tensors
        if words["do"] == "fit":
            info = CategoryInfo(words["dataset"], words["category"], words["class_name"])
            originals = [tensors[str(place)] for place in range(words["shots"])]
            support = SentSupport(info, originals, words["edge"])
            if self.detector.card.transductive:
                query = [(str(place), tensors[f"query{place}"]) for place in range(words["query"])]
                self.fitted = self.detector.fit_transductive(support, query, seed=words["seed"])
            else:
                self.fitted = self.detector.fit(support, seed=words["seed"])
            return {}
        if words["do"] == "gradient":
            return {"gradient": self._gradient(tensors)}
        return self._predict(tensors["images"], words["excluding"], differentiable=words["differentiable"])

    def _predict(self, images: Tensor, excluding: list[str], *, differentiable: bool) -> dict[str, Tensor]:
        fitted = self.fitted
        assert fitted is not None
        if excluding and isinstance(fitted, TransductiveScorer):
            fitted = fitted.excluding(excluding)
        images = images.requires_grad_(differentiable)
        with torch.set_grad_enabled(differentiable):
            found = fitted(images)
        given = {"score": found.score} | ({} if found.anomaly_map is None else {"map": found.anomaly_map})
        given = {name: tensor.float() for name, tensor in given.items()}
        self.graph = (images, given) if differentiable else None
        return {name: tensor.detach() for name, tensor in given.items()}

    def _gradient(self, wanted: Mapping[str, Tensor]) -> Tensor:
        assert self.graph is not None
        images, given = self.graph
        tracked = [name for name in sorted(wanted) if given[name].requires_grad]
        if not tracked:
            return torch.zeros_like(images)
        outputs, weights = [given[name] for name in tracked], [wanted[name] for name in tracked]
        (gradient,) = torch.autograd.grad(outputs, images, weights, allow_unused=True)
        return torch.zeros_like(images) if gradient is None else gradient.float()


def main() -> None:
    """Serve until the harness closes the pipe; prints of the detector go nowhere."""
    reader, writer = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(nothing, 1)
    torch.set_num_threads(1)
    torch.set_deterministic_debug_mode("warn")
    channel = Channel(reader, writer, None)
    asked = json.loads(sys.argv[1])
    try:
        path = Path(asked["path"]) if asked["path"] else None
        server = Server(load(path, asked["name"], asked["backbone"], asked["options"]))
        spec = DetectorSpec(asked["name"], asked["backbone"])
        channel.send(
            {"reference": detector_ref(server.detector, spec.label, spec.name, spec.backbone).model_dump(mode="json")}
        )
        while True:
            channel.send({}, server.answer(channel.receive()))
    except Exception as error:  # whatever a detector raises becomes one line for the verdict
        channel.send({"error": f"{type(error).__name__}: {error}"[:500]})
