"""Example strips of a result: clean image, mask, amplified perturbation, attacked image, anomaly map before and
after.

Only data sets whose licence allows redistribution; at most `MAX_ITEMS` strips of a data set. Images are
chosen by hash, not by looks.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from benchmark.execution.maps import render_map
from benchmark.execution.runner import Example, JobBench
from benchmark.planning.jobs import CellSpec, PassSpec
from benchmark.planning.passes import job_of
from benchmark.planning.planner import Plan, PlannedDataset
from benchmark.planning.workbench import Workbench
from benchmark.results.submission import Gallery, GalleryItem, Panel
from benchmark.storage.cells import CellStore
from benchmark.storage.jsonio import atomic_write, atomic_write_with, pretty_json
from benchmark.types import Sample, keyed_seed
from benchmark.types.condition import budget_text

MAX_ITEMS = 6
PANEL = 128
"""Edge of a panel in pixels."""
PANELS: tuple[Panel, ...] = ("clean", "mask", "perturbation", "attacked", "map_clean", "map_attacked")
_COLOURS = np.array([[13, 8, 65], [84, 15, 109], [187, 55, 84], [249, 142, 9], [252, 255, 164]], np.float64)

Picture = NDArray[np.uint8]


INDEX = Path("gallery", "gallery.json")


def withdraw_galleries(folders: Iterable[Path]) -> None:
    """Take back the indices of galleries whose cells are about to change: a run that is killed then leaves none, and
    the next makes it.
    """
    for folder in folders:
        (folder / INDEX).unlink(missing_ok=True)


def write_galleries(plan: Plan, bench: Workbench, stored: CellStore, folder_of: dict[str, Path]) -> None:
    """Write ``gallery/`` for every detector of a plan that has none.

    Args:
        plan: A finished plan.
        bench: Its detectors and attacks.
        stored: The cells that could be computed.
        folder_of: Detector label -> submission folder; detectors without results are left out.
    """
    for spec in plan.detectors:
        folder = folder_of.get(spec.label)
        if folder is None or (folder / INDEX).exists():
            continue
        items = [
            item
            for planned in plan.datasets
            if planned.dataset.info.redistributable and planned.dataset.info.has_masks
            for cell in _shown_cells(planned, spec.label, bench, stored)
            for item in _strips(plan, planned, cell, folder / "gallery")
        ]
        if items:
            gallery = Gallery(schema_version=1, items=tuple(items))
            atomic_write(folder / INDEX, pretty_json(gallery.model_dump(mode="json")))


def _shown_cells(planned: PlannedDataset, detector: str, bench: Workbench, stored: CellStore) -> list[CellSpec]:
    """One white-box cell with pixel evidence in each of a few hash-chosen categories."""
    cells: dict[str, CellSpec] = {}
    for cell in planned.cells:
        if not cell.pixels or cell.attack is None or cell.detector.label != detector:
            continue
        if bench.attack(cell.attack).card.knowledge == "white_box" and cell.address in stored:
            cells.setdefault(cell.samples[0].category, cell)
    names = sorted(cells, key=lambda name: keyed_seed("gallery", name))
    return [cells[name] for name in names[: MAX_ITEMS // 2]]


def _strips(plan: Plan, planned: PlannedDataset, cell: CellSpec, folder: Path) -> Iterator[GalleryItem]:
    samples = _chosen(cell.samples)
    bench = JobBench(job_of(planned, cell.samples[0].category, plan.track, plan.selection, ()), {})
    part = PassSpec(
        cell.attack, cell.detector, None, cell.shots, cell.seed, (cell.budget or Fraction(0),), samples, (cell,)
    )
    with torch.no_grad():
        for example in bench.examples(part):
            for row in range(len(example.samples)):
                yield _strip(plan, cell, example, row, folder)


def _chosen(samples: Sequence[Sample]) -> tuple[Sample, ...]:
    """One anomaly and one normal image."""
    ordered = sorted(samples, key=lambda s: keyed_seed("gallery", s.id))
    return tuple(s for label in (1, 0) for s in [x for x in ordered if x.label == label][:1])


def _strip(plan: Plan, cell: CellSpec, example: Example, row: int, folder: Path) -> GalleryItem:
    sample, clean, attacked = example.samples[row], example.clean[row], example.attacked[row]
    height, width = clean.shape[-2:]
    maps = [render_map(p, height, width)[row].cpu().numpy() for p in (example.before, example.after)]
    low, high = float(min(m.min() for m in maps)), float(max(m.max() for m in maps))
    amplification = max(1, 96 // max(1, int(cell.budget or 1)))
    difference = attacked.int() - clean.int()
    pictures = [
        _picture(clean),
        np.repeat((example.masks[row].cpu().numpy() * 255).astype(np.uint8)[..., None], 3, axis=2),
        _picture((128 + amplification * difference).clamp(0, 255).to(torch.uint8)),
        _picture(attacked),
        *(_coloured(m, low, high) for m in maps),
    ]
    name = f"{cell.key['dataset'][0]}-{sample.category}-{'anomaly' if sample.label else 'normal'}".lower()
    file = "".join(c if c.isalnum() or c in "-_" else "-" for c in name) + ".webp"
    strip = np.concatenate([_panel(p) for p in pictures], axis=1)
    atomic_write_with(folder / file, lambda temp: Image.fromarray(strip).save(temp, "WEBP", quality=80, method=6))
    return GalleryItem(
        file=file,
        panels=PANELS,
        track=plan.track.name,
        dataset=cell.key["dataset"][0],
        category=sample.category,
        sample_id=sample.id,
        label=1 if sample.label else 0,
        shots=cell.shots,
        attack=cell.attack or "",
        budget=budget_text(cell.budget or Fraction(0)),
        amplification=amplification,
        score_clean=round(float(example.before.score[row]), 6),
        score_attacked=round(float(example.after.score[row]), 6),
    )


def _picture(image: Tensor) -> Picture:
    picture: Picture = image.permute(1, 2, 0).cpu().numpy()
    return picture


def _panel(picture: Picture) -> Picture:
    """A square panel: the centre of the picture at `PANEL` pixels."""
    height, width = picture.shape[:2]
    edge = min(height, width)
    top, left = (height - edge) // 2, (width - edge) // 2
    square = Image.fromarray(picture[top : top + edge, left : left + edge])
    return np.asarray(square.resize((PANEL, PANEL), Image.Resampling.BICUBIC))


def _coloured(values: NDArray[np.float32], low: float, high: float) -> Picture:
    """A dark-to-light colour scale over [low, high], shared by the two maps of a strip."""
    place = np.clip((values - low) / max(high - low, 1e-12), 0, 1) * (len(_COLOURS) - 1)
    base = np.minimum(place.astype(int), len(_COLOURS) - 2)
    share = (place - base)[..., None]
    coloured: Picture = ((1 - share) * _COLOURS[base] + share * _COLOURS[base + 1]).round().astype(np.uint8)
    return coloured
