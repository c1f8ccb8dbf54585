"""One pass in flight: what it adds up for its cells, what it spends, and what fails."""

from __future__ import annotations

import signal
import time
import traceback
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor

from benchmark.errors import ContractError, Interrupted, NotApplicableError, StoreError, Terminated, TrustADError, told
from benchmark.execution.batches import Cost, out_of_memory
from benchmark.execution.pixels import PixelCollector
from benchmark.planning.jobs import CellSpec, PassSpec
from benchmark.storage.cells import Cell
from benchmark.types import Features, FeatureScorer, FittedDetector, Prediction


@dataclass(frozen=True, slots=True)
class CellFailure:
    """Cells that a pass could not give: the reason, and the traceback for the log where the fault was not ours."""

    cells: tuple[CellSpec, ...]
    reason: str
    not_applicable: bool
    details: str = ""


@dataclass
class Tally:
    """What a pass adds up for one cell; ``seconds``: its own scoring and its share of the images and features."""

    scores: dict[str, float] = field(default_factory=dict)
    pixels: PixelCollector | None = None
    seconds: float = 0.0


class Clock:
    """Seconds since the last look, all work of the device done."""

    def __init__(self, device: str) -> None:
        self._cuda, self._last = device.startswith("cuda"), 0.0
        self.lap()

    def lap(self) -> float:
        if self._cuda:
            torch.cuda.synchronize()
        before, self._last = self._last, time.perf_counter()
        return self._last - before


class PassRun:
    """A pass in flight: its cells that still stand, what they add up, and what failed.

    ``size`` is the number of images to take at once; it shrinks where memory runs out.
    """

    def __init__(self, spec: PassSpec, size: int) -> None:
        self.spec = spec
        self.cells: dict[str, CellSpec] = {cell.address: cell for cell in spec.cells}
        self.tallies: dict[str, Tally] = {}
        self.costs = {budget: Cost() for budget in spec.budgets}
        self.size = size
        self.done: list[Cell] = []
        self.failures: list[CellFailure] = []

    def fail(self, error: BaseException, *cells: CellSpec) -> None:
        """A fault fails these cells (default: all that stand), never the run; but a full disk is nobody's result."""
        if isinstance(error, StoreError):
            raise error
        failed = tuple(cell for cell in cells or (*self.cells.values(),) if self.cells.pop(cell.address, None))
        details = "" if isinstance(error, TrustADError) else "".join(traceback.format_exception(error))
        if failed:
            self.failures.append(CellFailure(failed, told(error), isinstance(error, NotApplicableError), details))

    @contextmanager
    def guard(self, *cells: CellSpec, halve: bool = False) -> Iterator[None]:
        """`fail` what a fault inside concerns; ``halve``: running out of memory is left to smaller batches."""
        try:
            yield
        except BaseException as error:
            if not of_plugin(error) or (halve and isinstance(error, Exception) and out_of_memory(error)):
                raise
            self.fail(error, *cells)


def of_plugin(error: BaseException) -> bool:
    """Whether an error was raised by code inside the pass, and not by somebody who wants the run to end.

    A plug-in may call ``sys.exit`` or raise KeyboardInterrupt. Ctrl-C is told from it by the handler of the command
    line; without that handler any KeyboardInterrupt ends the run.
    """
    if isinstance(error, KeyboardInterrupt):
        handled = signal.getsignal(signal.SIGINT) not in (signal.default_int_handler, None)
        return handled and not isinstance(error, Interrupted)
    return isinstance(error, (Exception, SystemExit)) and not isinstance(error, Terminated)


class SharedFeatures:
    """Features of a batch, extracted once for all heads of an extractor.

    Args:
        images: float [B, 3, H, W] in [0, 1].
        scorers: The detectors that will score them.
        clock: Measures the extraction.
    """

    def __init__(self, images: Tensor, scorers: Iterable[FittedDetector], clock: Clock) -> None:
        self._images, self._clock = images, clock
        self._users = Counter(scorer.extractor.id for scorer in scorers if isinstance(scorer, FeatureScorer))
        self._known: dict[str, tuple[Features, float]] = {}

    def predict(self, label: str, scorer: FittedDetector) -> tuple[Prediction, float]:
        """The prediction of a detector, and the seconds that are its share of the features.

        Raises:
            ContractError: If it writes into features that others score, too; they are made again.
        """
        if not isinstance(scorer, FeatureScorer):
            return scorer(self._images.clone()), 0.0  # a detector may write into its own images
        name = scorer.extractor.id
        if name not in self._known:
            self._clock.lap()
            self._known[name] = scorer.extractor(self._images.clone()), self._clock.lap() / self._users[name]
        features, seconds = self._known[name]
        before = features.writes
        prediction = scorer.score(features)
        if features.writes != before:
            del self._known[name]
            raise ContractError(f"detector {label}: writes into the features that it is given; copy them first")
        return prediction, seconds
