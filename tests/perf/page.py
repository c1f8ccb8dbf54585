"""Make docs/performance.md from the figures that the scripts wrote: python -m tests.perf.page"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from benchmark.storage.jsonio import atomic_write
from tests.perf.measure import FIGURES

HEAD = """# Performance: what a run costs

Made by `python -m tests.perf.page` from `docs/performance/*.json`; each section names the command that measured it.

## What is shared

| work | done once for |
|---|---|
| decoding and resizing an image | everything; kept on disk |
| a view of a support image, its features, its 64 synthetic anomalies | all shots and seeds that hold it |
| clean features of a query image | all detectors, shots and seeds with one backbone |
| foreground mask of a query image | all AnomalyDINO heads |
| nearest rows in the patches of one support image | all banks that hold them (clean and noise images) |
| forward pass of the clean images with its graph | all surrogate heads: each costs one backward |
| backward pass | all budgets of a one-step attack |
| attacked features | all detectors with one backbone and surrogate head |
| PatchCore's pooled patch features | all PatchCore heads |

Beside the computing, another thread decodes the next batch and copies it to the device, and a third stores the cells.

On the grid of shots {1,2,4,8,16} x seeds {0,1,2} x fgsm_head x 5 budgets that is, per image, 2 + 15 x 2 + 75 = 107
passes (backward = 2). The graph comes from a second clean forward, not from the one that gives the clean scores: their
bits must not depend on whether an attack was missing when they were made.

Every cell of a run has the scores of the cell run alone: `tests/test_sharing.py`, all detectors, all attacks.

## Policy

- Reference results: float32, TF32 off, deterministic kernels where torch has them; recorded in `environment.precision`.
  Attention is torch's fused `scaled_dot_product_attention`.
- `--precision reduced` lets torch round the factors of matrix products to bfloat16 (processors with AMX or
  AVX512-BF16) or to TF32 (CUDA); sums, activations and distances stay float32. Such cells have addresses of their own,
  such results carry the restriction "reduced precision": never ranked, and `trustad submit` refuses them. It is meant
  for large backbones: on the shipped one it gains nothing and moved an AUROC by more than 1e-3 ("Precision and layout",
  which has the figures of bfloat16 throughout, by autocast, too: not offered).
- One process and one device (`--executor local`). Several GPUs: `--executor ray`, which starts Ray on this machine by
  itself and runs one process per GPU ([scale.md](scale.md)); a second pool of processes would have to learn again what
  Ray knows of lost workers. On the CPU torch's threads (`OMP_NUM_THREADS`); bits are fixed for one thread count.
- Channels-last and `torch.compile` are not used: see "Precision and layout" for what they gain here, and they change
  bits. CUDA graphs are unmeasured.
- Neighbours are searched exactly, in blocks of matrix products with running maxima, by torch on every device. faiss
  is a test oracle: "Nearest-neighbour search" has its times; its winners carry no gradient and it has no part-wise
  memo, which saves more than it would.
- Nothing of this page was measured on a GPU.
- Freed memory is held for the next batch and given back once it has grown by 5 %
  (`benchmark/execution/memory.py`). With glibc's
  own policy the system clears every large tensor's pages anew: a backward of 16 images of ViT-S at 448 pixels spent 1.8
  of its 12.6 s there, 0.1 of 11.8 s since. What outlives a batch lies beside the heap, in one block for all its images:
  histograms of single images in between split the room of the next batch's tensors, and the peak of `memory` grew by
  11 %.
- Batches are the track's chunks, since bits depend on them and a cell's address names them; one that does not fit into
  the device's memory is halved, and the cell says so.

## What limits the figures

- The machine: virtual cores shared with others. One forward pass of 16 images took 160 to 220 ms within a minute,
  so a figure within a tenth of its target is not decided by one run. The two sides of a ratio run in turn, but for
  anomalib's whole grid, which follows ours. What the same or nearly the same code gave: `floor`, embedded, 32 images,
  1.15 and 1.22 with five turns, 1.10 and 1.13 with nine; 60 images 1.07 and 1.19 with five, 1.07 with nine; `knn` at
  its worst size 1.17 to 1.25; `naive`, embedded, 8.3 and 8.0 in turn, 7.1 to 7.9 when the shared grid ran only before
  and after the naive one; `anomalib`, one run of PatchCore, .99 in turn, .91 and 1.11 when the sides ran minutes apart.
- Floor: the run does forwards that the floor leaves out, each on purpose. In the embedded grid: one per clean image for
  its graph, 16 to measure repeatability, 32 views of support images one by one for the detectors' fits (their bits must
  not depend on the batch): with 32 images a tenth of the 800, and fewer with larger test sets (the same grid on 60
  images), more heads or attacks of several steps. On ViT-S, 44 beside 424, with one support image; 1.13 with three
  turns, 1.15 with one.
- Peak memory: what grows with the images is their scores, pixel histograms and, at the end, their resampling.
- Naive stays below the count of its passes, which takes a backward for two forwards: with frozen weights it costs
  about 1.3, and the three heads' own scoring, timed alone, 3 % of one each, 225 times. Attacked images belong to one
  support set, so every bank is searched anew for them on both sides. With AnomalyDINO among the three at 112 pixels
  (`--backbone embedded` alone), where its search costs as much as the backbone, 4.5 times (AMD EPYC).
- anomalib, all episodes: fits cannot be shared beyond extracting each support image once, and PatchCore's coresets not
  at all; the count of images through the backbone is beside the figure. Fewer query images lower it: 12 for AnomalyDINO
  gave 4.9, 24 for PatchCore 4.6 (AMD EPYC, before its patch features were shared); test sets have about 100.
- Search: the maximum and its place cost a sixth of the product, most of it one read of the product. faiss never wins
  where its OpenBLAS uses the kernels of this processor; on an AMD EPYC it was 17 to 25 % faster than an earlier search.
- A thread that reads ahead must not start a second team of OpenMP threads: it made the first one's loops 15 % slower on
  two cores. It uses numpy alone.
"""


def section(figures: dict[str, Any]) -> Iterator[str]:
    """One script's table, findings and notes."""
    yield f"\n## {figures['title']}\n\n    {figures['command']}\n\n{figures['machine']}\n"
    if figures["columns"]:
        yield "\n| " + " | ".join(name.strip() for name in figures["columns"]) + " |"
        yield "\n|" + "---|" * len(figures["columns"]) + "\n"
        yield from (f"| {' | '.join(row)} |\n" for row in figures["rows"])
    for finding in figures["findings"]:
        verdict = {True: ", holds", False: ", **missed**", None: ""}[finding["holds"]]
        target = f" (target: {finding['target']}{verdict})" if finding["target"] else ""
        yield f"\n- {finding['what']}: {finding['value']:.3g}{target}"
    yield "\n" if figures["findings"] else ""
    yield from (f"\n{note}\n" for note in figures["notes"])


def page() -> str:
    """The whole page."""
    found = [json.loads(path.read_text()) for path in sorted(FIGURES.glob("*.json"))]
    return HEAD + "".join(part for figures in found for part in section(figures))


def main() -> None:
    """Write it."""
    atomic_write(FIGURES.with_suffix(".md"), page())


if __name__ == "__main__":
    main()
