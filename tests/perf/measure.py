"""What the performance scripts share: timing, a table, and the JSON that docs/performance.md is made of."""

from __future__ import annotations

import argparse
import gc
import os
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median

import torch

from benchmark.execution.runner import prepare_device
from benchmark.storage.jsonio import atomic_write, pretty_json

FIGURES = Path(__file__).parents[2] / "docs" / "performance"


@dataclass
class Finding:
    """One measured value against its target; ``None`` = reported without a target."""

    what: str
    value: float
    target: str = ""
    holds: bool | None = None


@dataclass
class Report:
    """One script's outcome."""

    name: str
    title: str
    command: str
    columns: Sequence[str] = ()
    rows: list[list[str]] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    machine: str = ""

    def row(self, *values: object) -> None:
        """Add a row and show it; floats with three significant digits."""
        texts = [f"{v:.3g}" if isinstance(v, float) else str(v) for v in values]
        if not self.rows:
            print("  ".join(self.columns))
        self.rows.append(texts)
        print("  ".join(text.rjust(len(name)) for text, name in zip(texts, self.columns, strict=True)), flush=True)

    def at_most(self, what: str, value: float, limit: float) -> None:
        """Record a value that shall not exceed a limit."""
        self._add(Finding(what, value, f"at most {limit:g}", value <= limit))

    def at_least(self, what: str, value: float, limit: float) -> None:
        """Record a value that shall reach a limit."""
        self._add(Finding(what, value, f"at least {limit:g}", value >= limit))

    def found(self, what: str, value: float) -> None:
        """Record a value that has no target."""
        self._add(Finding(what, value))

    def _add(self, finding: Finding) -> None:
        self.findings.append(finding)
        verdict = {True: "holds", False: "MISSED", None: ""}[finding.holds]
        print(f"{finding.what}: {finding.value:.3g} {finding.target} {verdict}".rstrip(), flush=True)

    def save(self, device: str = "cpu") -> None:
        """Write ``docs/performance/NAME.json``."""
        self.machine = machine(device)
        atomic_write(FIGURES / f"{self.name}.json", pretty_json(asdict(self)))


def machine(device: str) -> str:
    """Processor or card, threads, precision and torch in one line."""
    name = torch.cuda.get_device_name() if device.startswith("cuda") else f"{_processor()}, {os.cpu_count()} cores"
    return f"{name}; {torch.get_num_threads()} threads; float32, TF32 off; torch {torch.__version__.partition('+')[0]}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def options(description: str | None) -> argparse.ArgumentParser:
    """A parser with ``--device`` and ``--threads``."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    return parser


def prepare(chosen: argparse.Namespace) -> None:
    """Threads and the switches of a real run."""
    torch.set_num_threads(chosen.threads)
    prepare_device(chosen.device)


def seconds(work: Callable[[], object], device: str = "cpu", repeats: int = 1) -> float:
    """Least wall time of ``repeats`` calls, all work of the device done."""
    return min(_once(work, device) for _ in range(repeats))


def mean_seconds(work: Callable[[], object], device: str, repeats: int) -> float:
    """Mean wall time: that of a part of longer work, of which the least of short calls says too little."""
    return sum(_once(work, device) for _ in range(repeats)) / repeats


def median_ratio(over: Sequence[float], under: Sequence[float]) -> float:
    """Median of the ratios of neighbouring times, which share what else the machine does."""
    return median(a / b for a, b in zip(over, under, strict=True))


def _once(work: Callable[[], object], device: str) -> float:
    gc.collect()
    _wait(device)
    start = time.perf_counter()
    work()
    _wait(device)
    return time.perf_counter() - start


def _wait(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def unit_rows(rows: int, width: int, seed: int, device: str) -> torch.Tensor:
    """Seeded random unit vectors [rows, width]."""
    made = torch.randn(rows, width, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(made, dim=1).to(device)


def pictures(count: int, edge: int, seed: int = 0) -> torch.Tensor:
    """Seeded noise, uint8 [count, 3, edge, edge]."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, edge, edge), dtype=torch.uint8, generator=generator)
