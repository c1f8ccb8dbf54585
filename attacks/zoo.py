"""torchattacks' attacks by name (``torchattacks:PGD``), run against the surrogate head as a two-class model.

The library (Kim 2020, version 3.5.1, dormant) is an optional plug-in and a test oracle; the protocol's own attacks do
not use it. Its attacks expect class logits, and many draw from torch's global generator: each image is attacked alone,
with the generator seeded from its key and put back afterwards.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from attacks.cards import CARDS
from benchmark.errors import NotApplicableError, UnknownNameError
from benchmark.types.attack import Attack, AttackBatch, Target, keyed_seed
from benchmark.types.ball import Ball, to_unit

OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "FGSM": {},
    "FFGSM": {},
    "BIM": {"steps": 10},
    "RFGSM": {"steps": 10},
    "PGD": {"steps": 10},
    "EOTPGD": {"steps": 10, "eot_iter": 2},
    "TPGD": {"steps": 10},
    "MIFGSM": {"steps": 10},
    "NIFGSM": {"steps": 10},
    "SINIFGSM": {"steps": 10, "m": 3},
    "VMIFGSM": {"steps": 10, "N": 3},
    "VNIFGSM": {"steps": 10, "N": 3},
    "DIFGSM": {"steps": 10},
    "TIFGSM": {"steps": 10},
    "UPGD": {"steps": 10},
    "Jitter": {"steps": 10},
    "PIFGSM": {},
    "APGD": {"steps": 10},
    "Square": {"n_queries": 100},
    "SPSA": {"nb_iter": 2, "nb_sample": 16, "max_batch_size": 16},
}
"""L-infinity attacks of the library that work with two classes, and their settings beside epsilon and the step."""

_EPSILON = {"PIFGSM": "max_epsilon"}
_STEP = {name: "alpha" for name in OPTIONS if name not in {"FGSM", "PIFGSM", "APGD", "Square", "SPSA"}}
_ONE_STEP = {"FFGSM"}


class TwoLogits(nn.Module):
    """The surrogate's logit z as class scores (0, z): softmax gives sigmoid(z) to "anomalous"."""

    def __init__(self, target: Target, device: torch.device) -> None:
        super().__init__()
        self.target = target
        self.anchor = nn.Parameter(torch.zeros(1, device=device), requires_grad=False)  # tells torchattacks the device

    def forward(self, images: Tensor) -> Tensor:
        logit = self.target.surrogate_logit(images)
        return torch.stack([torch.zeros_like(logit), logit], dim=1)


class Zoo(Attack):
    """One attack of torchattacks; step sizes are 2.5 epsilon / steps (1.25 epsilon for one step).

    Args:
        member: Its class name in torchattacks, one of `OPTIONS`.

    Raises:
        UnknownNameError: For a name that is not offered.
    """

    card = CARDS["torchattacks"]

    def __init__(self, member: str) -> None:
        if member not in OPTIONS:
            raise UnknownNameError("torchattacks attack", member, OPTIONS)
        self.member = member
        self.config = dict(OPTIONS[member])

    @property
    def name(self) -> str:
        return f"torchattacks:{self.member}"

    def perturb(self, target: Target, batch: AttackBatch, epsilons: Sequence[int]) -> Iterator[Tensor]:
        library = _library()
        model = TwoLogits(target, batch.images.device).eval()
        for epsilon in epsilons:
            attack = getattr(library, self.member)(model, **self.options(epsilon))
            rows = [self._alone(attack, batch, row, epsilon) for row in range(len(batch))]
            yield Ball.around(batch.images, epsilon).images(torch.cat(rows) * 255.0)

    def options(self, epsilon: int) -> dict[str, Any]:
        """Keyword arguments of the library's class."""
        options = dict(self.config) | {_EPSILON.get(self.member, "eps"): epsilon / 255}
        if self.member in _STEP:
            factor = 1.25 if self.member in _ONE_STEP else 2.5 / options.get("steps", 10)
            options["alpha"] = factor * epsilon / 255
        return options

    def _alone(self, attack: Any, batch: AttackBatch, row: int, epsilon: int) -> Tensor:
        """One image [1, 3, H, W] attacked with its own random numbers."""
        devices = [batch.images.device] if batch.images.is_cuda else []
        with torch.random.fork_rng(devices), torch.enable_grad():
            torch.manual_seed(keyed_seed(batch.sample_ids[row], self.name, epsilon, 0))
            image, label = to_unit(batch.images[row : row + 1]), batch.labels[row : row + 1]
            adversarial: Tensor = attack(image, label)
        return adversarial.detach()


def _library() -> Any:
    try:
        return importlib.import_module("torchattacks")
    except ImportError as error:
        raise NotApplicableError(
            "torchattacks is not installed; pip install --no-deps torchattacks==3.5.1 (its requests pin is unused)"
        ) from error
