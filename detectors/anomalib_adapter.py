"""Any fitted anomalib model as a detector: ``anomalib@MODEL``, e.g. ``anomalib@stfpm`` (extra ``anomalib``).

The checkpoint lies in the weights folder as ``anomalib_MODEL_CATEGORY`` or ``anomalib_MODEL`` with the suffix
``.ckpt`` (Lightning's, its ``state_dict`` entry is read with ``weights_only=True``) or ``.safetensors``. The
model's own pre-processing is applied, its post-processing (thresholds, normalisation) is not: scores stay
raw. References are not used; the model was fitted elsewhere. anomalib's models score without gradient, so
white-box attacks do not apply.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmark.errors import UsageError, WeightsError
from benchmark.types import Detector, FittedDetector, Prediction, Support
from detectors.backbones import WEIGHTS_DIR
from detectors.backbones.checkpoints import read_state
from detectors.backbones.weights import Weights, locate
from detectors.cards import CARDS


@dataclass(frozen=True)
class FittedAnomalib(FittedDetector):
    """A loaded anomalib Lightning module."""

    module: Any

    def __call__(self, images: Tensor) -> Prediction:
        """Raw score and map of the torch model behind its pre-processor, without gradient."""
        with torch.no_grad():
            prepared = self.module.pre_processor(images) if self.module.pre_processor else images
            output = self.module.model(prepared)
        score, found = output.pred_score, output.anomaly_map
        if found is not None and found.ndim == 4:
            found = found[:, 0]
        score = found.flatten(1).amax(1) if score is None else score.reshape(len(images))
        return Prediction(score, found)


class AnomalibModel(Detector):
    """See the module docstring.

    Args:
        backbone: Name of the anomalib model.
        options: Arguments of the model's class, e.g. ``{"pre_trained": False}``.

    Raises:
        UsageError: If no model is named or anomalib is not installed.
    """

    card = CARDS["anomalib"]

    def __init__(self, backbone: str | None = None, *, options: dict[str, Any] | None = None) -> None:
        if not backbone:
            raise UsageError("name the anomalib model: `anomalib@MODEL`, e.g. anomalib@stfpm")
        self.model, self.options = backbone, dict(options or {})
        self.config = {"backbone": backbone, **{f"options.{name}": value for name, value in self.options.items()}}
        self._get_model = _anomalib_get_model()

    @staticmethod
    def default_backbone(track_backbone: str) -> str:
        """None: a track cannot know which model a user has fitted."""
        return ""

    def fit(self, support: Support, *, seed: int) -> FittedAnomalib:
        """Load the checkpoint of the category.

        Raises:
            WeightsError: If there is none, or it does not fit the model.
        """
        path = self._checkpoint(support.info.category)
        state = read_state(path, None if path.suffix == ".safetensors" else "state_dict")
        module = self._get_model(self.model, **self.options)
        wanted = {name: tensor for name, tensor in state.items() if name.startswith("model.")}
        own = {name for name in module.state_dict() if name.startswith("model.")}
        if missing := sorted(own - set(wanted)):
            raise WeightsError(f"{path}: another layout than anomalib's {self.model}: {missing[0]} is missing")
        module.load_state_dict(wanted, strict=False)
        return FittedAnomalib(module.eval().requires_grad_(False))

    def _checkpoint(self, category: str) -> Path:
        folder = os.environ.get(WEIGHTS_DIR, "")
        general = Weights(f"anomalib_{self.model}", f"anomalib {self.model}, fitted by you", "your own", None, "")
        special = replace(general, name=f"{general.name}_{category}")
        try:
            return locate(special, folder)
        except WeightsError:
            return locate(general, folder)


def _anomalib_get_model() -> Any:
    try:
        from anomalib.models import get_model
    except ImportError as error:
        raise UsageError(
            f"the anomalib detector needs the anomalib package ({error}): install trustad[anomalib]"
        ) from error
    return get_model
