"""A run over exactly its unavoidable work: python -m tests.perf.floor [--backbone seeded:dinov2_vits14 --edge 448 ...]

The run is the runner on a planned grid: support views, fits, clean scores, fgsm_head and sign_noise at five budgets,
pixel counts. Unavoidable are its backbone passes (each view of each support image once; one clean forward; one backward
per surrogate head; one forward per attacked image) and the heads' matrix products, each at the time that it takes bare,
at the best batch size. Runs and bare work take turns: the ratio is the median of each run over the mean of the bare
work before and after it, which share what else the machine does. Rotation, synthetic anomalies, fits of heads,
decoding and counting of pixels are overhead.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from itertools import pairwise
from statistics import median, median_low

import torch

from attacks.surrogate import ANGLES, ANOMALIES
from benchmark.execution.runner import JobBench, run_job
from benchmark.planning.jobs import Job
from benchmark.storage.cells import Cell
from benchmark.types import Extractor
from detectors import bank
from tests.perf.grid import EPSILONS, chosen_grid, command, grid_options, integers, only_job
from tests.perf.measure import Report, mean_seconds, median_ratio, options, pictures, prepare, seconds

ATTACKS = ("fgsm_head", "sign_noise")


def passes(extractor: Extractor, edge: int, sizes: tuple[int, ...], device: str) -> tuple[float, float, int]:
    """Seconds per image of a bare forward, of a backward, and the batch size at which the forward is fastest."""
    batches = {size: (pictures(size, edge).float() / 255.0).to(device) for size in sizes}
    with torch.no_grad():
        size = min(sizes, key=lambda n: seconds(lambda: extractor(batches[n]), device, 3) / n)
        forward = mean_seconds(lambda: extractor(batches[size]), device, 25) / size
    both = mean_seconds(lambda: backward(extractor, batches[size]), device, 8) / size
    return forward, both - forward, size


def backward(extractor: Extractor, images: torch.Tensor) -> None:
    """A forward pass with its graph, and the backward pass to the images."""
    leaf = images.clone().requires_grad_(True)
    with torch.enable_grad():
        torch.autograd.grad(extractor(leaf).pooled().sum(), leaf)


def products(job: Job, device: str) -> Iterator[tuple[int, float]]:
    """(times, seconds) of every patch bank's matrix product on one image's patches."""
    bench = JobBench(job, {})
    known: set[str] = set()
    for cell in job.passes[0].cells:
        fitted = bench.fits.fitted(cell.detector, cell.shots, cell.seed)
        bank, parts = getattr(fitted, "bank", None), getattr(fitted, "parts", None)
        extractor = bench.fits.extractor(cell.detector)
        patches = extractor(torch.zeros(1, 3, job.canonical_edge, job.canonical_edge, device=device)).maps[-1]
        if bank is None or bank.ndim != 2 or len(bank) <= cell.shots:
            continue
        queries = torch.randn(patches.shape[1] * patches.shape[2] * 8, bank.shape[1], device=device)
        spent = mean_seconds(lambda q=queries, b=bank: q @ b.T, device, 5) / 8
        new = 1.0
        if parts is not None:  # clean and noise images: each support image's part once for all banks
            fresh = [rows for key, rows in zip(parts.keys, parts.rows, strict=True) if key not in known]
            known.update(parts.keys)
            new = sum(fresh) / sum(parts.rows)
        yield 1 + len(EPSILONS), spent * new
        yield len(EPSILONS), spent


def unavoidable(job: Job, edge: int, sizes: tuple[int, ...], device: str) -> tuple[float, dict[str, float]]:
    """Seconds of the grid's unavoidable work, and its parts."""
    extractor = JobBench(job, {}).fits.extractor(job.passes[0].cells[0].detector)
    forward, backward, size = passes(extractor, edge, sizes, device)
    images, heads = len(job.query), len(job.episodes)
    support = len({s.id for e in job.episodes for s in e.support})
    views = support * (len(ANGLES) + ANOMALIES)
    forwards = views + images * (1 + heads * len(EPSILONS) + len(EPSILONS))
    with torch.no_grad():
        search = images * sum(times * spent for times, spent in products(job, device))
    parts = {
        "forward passes": forwards,
        "backward passes": images * heads,
        "batch size": size,
        "forward s": forwards * forward,
        "backward s": images * heads * backward,
        "products s": search,
    }
    return forwards * forward + images * heads * backward + search, parts


def parsed() -> argparse.Namespace:
    """The options."""
    parser = options(__doc__)
    grid_options(parser, images=32, chunk=16, shots=(1, 4), seeds=(0,))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--batch", type=integers, default=(1, 4, 16), help="batch sizes to try bare")
    return parser.parse_args()


def main() -> None:
    """Measure."""
    chosen = parsed()
    prepare(chosen)
    job = only_job(chosen_grid(chosen, ["anomalydino", "knn"], ATTACKS), chosen.device)
    bare = [unavoidable(job, chosen.edge, chosen.batch, chosen.device)]
    cells: list[Cell] = []
    decode = seconds(lambda: list(JobBench(job, {}).chunks(job.query)))
    runs = []
    for _ in range(chosen.repeats):  # in turn, so that other load on the machine hits both
        cells.clear()
        bank.CACHE = bank.FeatureCache()  # the products fitted the banks
        runs.append(seconds(lambda: cells.extend(c for c in run_job(job, {}) if isinstance(c, Cell)), chosen.device))
        bare.append(unavoidable(job, chosen.edge, chosen.batch, chosen.device))
    around = [(before + after) / 2 for (before, _), (after, _) in pairwise(bare)]
    name = f"floor-{chosen.backbone.replace(':', '-')}-{chosen.images}"
    report = Report(name, f"Floor, {chosen.backbone}, {len(job.query)} images", command("floor", chosen, "repeats"))
    report.columns = ("what           ", "value")
    for name in bare[0][1]:
        report.row(name, median_low(parts[name] for _, parts in bare))
    report.row("unavoidable s", median(around))
    report.row("run s", median(runs))
    report.row("fastest and slowest run s", f"{min(runs):.3g}, {max(runs):.3g}")
    report.row("cells", len(cells))
    report.row("first decode s, not in the run", decode)
    report.at_most("run over its unavoidable work, with pixel counts", median_ratio(runs, around), 1.15)
    report.save(chosen.device)


if __name__ == "__main__":
    main()
