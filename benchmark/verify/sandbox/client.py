"""The trusted side of an isolated detector: it looks like a fitted detector, and every answer is checked.

The harness stays outside: it holds the images, runs the attacks, checks the ball and computes the metrics. What runs
inside sees pixels in an order that it cannot foresee, and answers with scores and gradients.
"""

from __future__ import annotations

import json
import secrets
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmark.errors import ContractError
from benchmark.types import FittedDetector, Prediction
from benchmark.types.data import CategoryInfo
from benchmark.verify.isolation import Limits, interpreter_paths, isolated
from benchmark.verify.sandbox.protocol import Channel, Frame, checked


class Served(FittedDetector):
    """A detector in another process, fitted to the episode of the last `fit`.

    Attributes:
        reference: What it says about itself, as a `benchmark.results.schema.DetectorRef`; as untrusted as the rest.
    """

    def __init__(self, channel: Channel, reference: object) -> None:
        self._channel = channel
        self.reference = reference
        self._open = 0

    def fit(
        self, info: CategoryInfo, originals: Sequence[Tensor], edge: int, seed: int, query: Sequence[Tensor] = ()
    ) -> None:
        """Fit to support images, uint8 [H, W, 3] at original resolution.

        ``query``: canonical query images, uint8 [3, h, w], for transductive detectors; they go by their places.
        """
        names = {"dataset": info.dataset, "category": info.category, "class_name": info.class_name}
        words = {**names, "shots": len(originals), "edge": edge, "seed": seed, "query": len(query)}
        images = {str(place): image for place, image in enumerate(originals)}
        self.ask("fit", words, images | {f"query{place}": image for place, image in enumerate(query)})

    def __call__(self, images: Tensor) -> Prediction:
        return Prediction(*_Answer.apply(images, self, ()))

    def predict(
        self, images: Tensor, *, differentiable: bool, excluding: Sequence[str] = ()
    ) -> tuple[Tensor, Tensor | None, int]:
        """Scores [B], map [B, h, w] or None, and the number of this question, by which its gradient is asked for."""
        words = {"differentiable": differentiable, "excluding": list(excluding)}
        reply = self.ask("predict", words, {"images": images.detach().float()})
        self._open += 1
        score = checked(reply.tensors.get("score"), torch.Size([len(images)]), "the score")
        found = reply.tensors.get("map")
        if found is not None and (found.ndim != 3 or len(found) != len(images)):
            raise ContractError(f"the map must be [{len(images)}, h, w], got {tuple(found.shape)}")
        return score, None if found is None else checked(found, found.shape, "the map"), self._open

    def gradient(self, question: int, gradients: Mapping[str, Tensor], shape: torch.Size) -> Tensor:
        """Gradient with respect to the images of the last question, of scores and map weighted by ``gradients``."""
        if question != self._open:
            raise ContractError("only the gradient of the last scored batch can be asked for")
        reply = self.ask("gradient", {}, gradients)
        return checked(reply.tensors.get("gradient"), shape, "the gradient")

    def ask(self, do: str, words: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Frame:
        """Send one question and read its answer.

        Raises:
            ContractError: If the detector failed, ended, took too long or sent something malformed.
        """
        self._channel.send({"do": do, **words}, tensors)
        return answered(self._channel.receive())


class ServedTransductive(Served):
    """One that was fitted to the query images too, which have no names there and come in an order drawn by chance."""

    def __init__(self, channel: Channel, reference: object) -> None:
        super().__init__(channel, reference)
        self._places: dict[str, str] = {}

    def fit_query(
        self, info: CategoryInfo, originals: Sequence[Tensor], edge: int, seed: int, query: Mapping[str, Tensor]
    ) -> None:
        """Fit to support images and the query images by sample id."""
        names = list(query)
        secrets.SystemRandom().shuffle(names)
        self._places = {name: str(place) for place, name in enumerate(names)}
        self.fit(info, originals, edge, seed, [query[name] for name in names])

    def excluding(self, sample_ids: Sequence[str]) -> FittedDetector:
        """As `benchmark.types.TransductiveScorer.excluding`."""
        return _Excluding(self, [self._places[name] for name in sample_ids])


@dataclass(frozen=True)
class _Excluding(FittedDetector):
    """A served detector for one batch, each image left out of its own references."""

    served: Served
    places: Sequence[str]

    def __call__(self, images: Tensor) -> Prediction:
        return Prediction(*_Answer.apply(images, self.served, self.places))


def answered(frame: Frame) -> Frame:
    """The frame, unless it reports an error."""
    if "error" in frame.words:
        text = "".join(c if c.isprintable() else " " for c in str(frame.words["error"]))[:300]
        raise ContractError(f"the detector failed: {text}")
    return frame


class _Answer(torch.autograd.Function):
    """Score and map whose backward pass asks the isolated process."""

    @staticmethod
    def forward(ctx: Any, images: Tensor, served: Served, excluding: Sequence[str]) -> tuple[Tensor, ...]:
        ctx.served, ctx.shape = served, images.shape
        found = served.predict(images, differentiable=images.requires_grad, excluding=excluding)
        score, anomaly_map, ctx.question = found
        return (score,) if anomaly_map is None else (score, anomaly_map)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        named = dict(zip(("score", "map"), gradients, strict=False))
        return ctx.served.gradient(ctx.question, named, ctx.shape), None, None


@contextmanager
def serving(
    folder: Path | None,
    name: str,
    backbone: str | None,
    options: Mapping[str, Any],
    limits: Limits,
    *,
    transductive: bool = False,
) -> Iterator[Served]:
    """A detector in isolation.

    Args:
        folder: Holds detector.py and its safetensors files, and nothing else that it may see; None = the registered
            detector ``name``.
        name, backbone, options: How it is built.
        limits: Bounds; ``wall`` holds for everything together.
        transductive: As its flags say; then it is a `ServedTransductive`.

    Raises:
        UsageError: Where no isolation is available.
        ContractError: If it cannot be loaded.
    """
    home = Path(__file__).resolve().parents[3]
    asked = {"path": str(folder / "detector.py") if folder else "", "name": name, "backbone": backbone}
    start = f"import sys; sys.path.insert(0, {str(home)!r}); from benchmark.verify.sandbox.worker import main; main()"
    program = [sys.executable, "-I", "-c", start, json.dumps(asked | {"options": dict(options)})]
    readable = (*interpreter_paths(), *([folder] if folder else []))
    quiet = {"OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    with isolated(program, readable, limits, quiet) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        channel = Channel(process.stdout.fileno(), process.stdin.fileno(), limits.wall)
        kind = ServedTransductive if transductive else Served
        yield kind(channel, answered(channel.receive()).words.get("reference"))
