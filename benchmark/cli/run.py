"""`trustad run`: evaluate detectors on a track."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import timedelta
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from benchmark.cli.options import (
    resolve_device,
    stdout_kept,
    stopping_in_order,
    use_weights_dir,
    use_working_folder,
)
from benchmark.errors import UsageError, shown
from benchmark.types.condition import budget_text, parse_budget
from benchmark.types.precision import Precision

if TYPE_CHECKING:
    from benchmark.planning.planner import Plan, Selection
    from benchmark.results.schema import RunResult
    from benchmark.runs.session import Summary

Names = Annotated[list[str], Parameter(negative="")]


def run(
    *,
    track: str = "demo",
    detector: Names | None = None,
    dataset: Names | None = None,
    category: Names | None = None,
    shots: str = "",
    seeds: str = "",
    attack: Names | None = None,
    budget: Names | None = None,
    limit: int | None = None,
    data_root: Path | None = None,
    backbone: str | None = None,
    option: Names | None = None,
    weights_dir: Path | None = None,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    precision: Precision = "float32",
    executor: str = "local",
    out: Path | None = None,
    dry_run: bool = False,
    progress: Literal["auto", "plain", "off"] = "auto",
    log: Path | None = None,
    json_summary: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> int:
    """Evaluate detectors on a track. The same command again runs only what is missing.

    Parameters
    ----------
    track
        Fixed grid to run; see `trustad list tracks`.
    detector
        NAME, NAME@BACKBONE or MODULE:ATTRIBUTE[@BACKBONE], repeatable; default: the track's detectors.
    dataset
        Data set of the track, repeatable; default: all.
    category
        Category, repeatable; default: all.
    shots
        Comma-separated support sizes of the track, e.g. 1,4.
    seeds
        Comma-separated support seeds of the track, e.g. 0,1.
    attack
        Attack or probe of the track, repeatable; default: all.
    budget
        Budget of the track in grey levels, such as 1/256 or 4, repeatable; default: all.
    limit
        At most this many normal and this many anomalous query images per category.
    data_root
        Folder that holds the data sets.
    backbone
        Backbone instead of the track's default.
    option
        DETECTOR.NAME=VALUE, such as anomalydino.mask_form=grid; repeatable.
    weights_dir
        Folder that holds downloaded weights.
    device
        Where to compute; auto takes CUDA when there is one.
    precision
        reduced: let the device round factors of products to bfloat16 or TF32. For first looks: never ranked.
    executor
        How jobs are carried out: local, or ray for several machines.
    out
        Run folder; default runs/TRACK.
    dry_run
        Print the plan with its passes, time and memory, and stop; nothing is written.
    progress
        Progress on stderr: a bar on a terminal, plain lines elsewhere and in CI.
    log
        Append one JSON line per event to this file.
    json_summary
        Print the summary as JSON on stdout.
    """
    use_weights_dir(weights_dir)
    use_working_folder()
    from benchmark.planning.planner import Selection, check_selection
    from benchmark.tracks import load_track

    grid = load_track(track)
    folder = out or Path("runs") / track
    selection = Selection(
        detectors=tuple(detector or ()),
        datasets=tuple(dataset or ()),
        categories=tuple(category or ()),
        shots=_integers("--shots", shots, {n for tier in grid.tiers for n in tier.shots}),
        seeds=_integers("--seeds", seeds, {n for tier in grid.tiers for n in tier.seeds}),
        attacks=_members(
            "--attack",
            attack,
            {name for tier in grid.tiers for name in tier.attacks} | {probe.name for probe in grid.probes},
        ),
        budgets=_budgets(budget, {n for tier in grid.tiers for n in tier.budgets}),
        limit=limit,
        backbone=backbone,
        data_root=data_root,
        options=_options(option),
        precision=precision,
    )
    if limit is not None and limit < 1:
        raise UsageError(f"--limit {limit}: give a whole number of at least 1")
    check_selection(grid, selection)  # wrong names and folders are told before torch is imported
    selection = replace(selection, device=resolve_device(device))
    if dry_run:
        return _dry_run(track, selection, folder, as_json=json_summary)
    from benchmark.cli.progress import reporter
    from benchmark.runs.eventlog import event_log
    from benchmark.runs.session import run_track

    with stdout_kept(), reporter(progress) as report, event_log(log) as events, stopping_in_order():
        summary = run_track(grid, selection, folder, executor_name=executor, progress=report, log=events)
    if json_summary:
        results = [str(entry.path) for entry in summary.results]
        gaps = [asdict(gap) for gap in summary.gaps]
        print(json.dumps(summary.figures() | {"results": results, "gaps": gaps, "replaced": summary.replaced}))
    else:
        _print_summary(summary)
    return 0 if summary.complete else 1


def _print_summary(summary: Summary) -> None:
    figures = summary.figures()
    for entry in summary.results:
        print(_result_line(entry.result), f"-> {entry.path}")
    for line in (*(f"replaced {words}" for words in summary.replaced), *(gap.line() for gap in summary.gaps)):
        print(f"  {shown(line)}", file=sys.stderr)
    if not summary.results:
        print("no result was written", file=sys.stderr)
    print(
        f"{summary.done} cells computed, {summary.skipped} already there, {summary.failed} failed"
        + (f", {summary.corrupt} damaged and redone" if summary.corrupt else "")
        + (f", {summary.halved} with halved batches" if summary.halved else "")
        + f"; {summary.passes} passes, {summary.images:,} images, {figures['images_per_second']:.1f} images/s"
        + f"; {summary.seconds:.1f} s, peak memory {summary.peak_memory / 1e9:.2f} GB"
    )


def _result_line(result: RunResult) -> str:
    shots = sorted({v.shots for v in result.scored.values})
    best = shots[-1]
    clean = result.scored.find("auroc", shots=best)
    robust = next((v for v in result.scored.values if v.metric == "robust_score"), None)
    white = any(attack.knowledge == "white_box" for attack in result.attacks)
    figures = [f"{best}-shot AUROC {_figure(clean)}", f"R {_figure(robust)}" if white else "R - (no white-box attack)"]
    figures += (
        [result.validity.badge, "; ".join(("not ranked", *result.track.restrictions))] if _unranked(result) else []
    )
    return f"{result.detector.name:28s} {result.dataset.name:12s} {'  '.join(figures)}"


def _unranked(result: RunResult) -> bool:
    return not result.track.complete or result.validity.badge == "red"


def _figure(value: object) -> str:
    number, low, high = (getattr(value, name, None) for name in ("value", "low", "high"))
    if number is None:
        return "-"
    return f"{number:.3f}" + (f" [{low:.3f}, {high:.3f}]" if low is not None and high is not None else "")


def _dry_run(track: str, selection: Selection, folder: Path, *, as_json: bool) -> int:
    from benchmark.runs.estimate import estimate
    from benchmark.runs.session import plan_run
    from benchmark.tracks import load_track
    from benchmark.types.precision import computing_in

    plan, bench, _ = plan_run(load_track(track), selection, folder)
    with computing_in(selection.precision):
        rows, cost = _plan_rows(plan), estimate(plan, bench)
    if as_json:
        print(json.dumps({"done": plan.done, "missing": plan.missing, "passes": rows, "estimate": asdict(cost)}))
        return 0
    print(f"{plan.missing} cells to compute, {plan.done} already there, {sum(len(j.passes) for j in plan.jobs)} passes")
    for row in rows:
        place = f"{row['dataset']}/{row['category']}"
        print(f"{place:32s} {row['attack']:20s} {row['images']:6d} images {row['cells']:5d} cells")
    print(f"at most {cost.forward:,} images forward and {cost.backward:,} backward through a backbone; ", end="")
    if cost.seconds is None or cost.memory is None:
        print(f"no estimate of time and memory: {cost.missing}")
    else:
        took = timedelta(seconds=round(cost.seconds))
        print(f"about {took} on {selection.device} and {cost.memory / 1e9:.1f} GB, by one calibration batch")
    return 0


def _plan_rows(plan: Plan) -> list[dict[str, object]]:
    return [
        {
            "dataset": job.dataset,
            "category": job.category,
            "attack": part.probe[0] if part.probe else part.attack or "clean",
            "source": part.source.label if part.source else None,
            "budgets": [budget_text(n) for n in part.budgets if n],
            "images": len(part.samples),
            "cells": len(part.cells),
        }
        for job in plan.jobs
        for part in job.passes
    ]


def _integers(option: str, text: str, allowed: set[int]) -> tuple[int, ...]:
    if not text:
        return ()
    try:
        values = tuple(int(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"{option} {text}: give whole numbers separated by commas, such as 1,4") from None
    _check(option, map(str, values), {str(n) for n in allowed})
    return values


def _options(given: Sequence[str] | None) -> tuple[tuple[str, str, object], ...]:
    """Options of detectors; values are JSON where they can be read as such, texts otherwise."""
    found: dict[tuple[str, str], object] = {}
    for text in given or ():
        place, equals, value = text.partition("=")
        detector, dot, name = place.rpartition(".")
        if not (equals and dot and detector and name):
            raise UsageError(f"--option {text}: write DETECTOR.NAME=VALUE, such as anomalydino.mask_form=grid")
        if (detector, name) in found:
            raise UsageError(f"--option {text}: {place} is given twice")
        try:
            found[detector, name] = _hashable(json.loads(value))
        except ValueError:
            found[detector, name] = value
    return tuple((*place, value) for place, value in sorted(found.items()))


def _hashable(value: object) -> object:
    return tuple(map(_hashable, value)) if isinstance(value, list) else value


def _members(option: str, chosen: Sequence[str] | None, allowed: set[str]) -> tuple[str, ...]:
    _check(option, chosen or (), allowed)
    return tuple(chosen or ())


def _budgets(chosen: Sequence[str] | None, allowed: set[Fraction]) -> tuple[Fraction, ...]:
    budgets = tuple(map(parse_budget, chosen or ()))
    _check("--budget", map(budget_text, budgets), set(map(budget_text, allowed)))
    return budgets


def _check(option: str, chosen: object, allowed: set[str]) -> None:
    for value in chosen:  # type: ignore[attr-defined]
        if value not in allowed:
            known = ", ".join(sorted(allowed, key=lambda t: (len(t), t)))
            raise UsageError(f"{option} {value}: not part of this track; it has {known or 'none'}")
