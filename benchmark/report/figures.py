"""Line charts as SVG text, drawn by a template with escaping."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from jinja2 import Environment, PackageLoader, StrictUndefined

from benchmark.report.study import Estimate

TEMPLATES = Environment(
    loader=PackageLoader("benchmark.report"),
    autoescape=lambda name: name is not None and ".md" not in name,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000", "#882255")  # Okabe & Ito
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 640, 300, 52, 170, 16, 40


@dataclass(frozen=True, slots=True)
class Mark:
    """One point with its interval, in pixels."""

    x: float
    y: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Line:
    """One drawn series."""

    name: str
    colour: str
    dash: str
    marks: tuple[Mark, ...]
    label_y: float


def line_chart(
    title: str, ticks: Sequence[str], series: Mapping[str, Mapping[str, Estimate]], axis: str, reference: float
) -> str:
    """An SVG chart of estimates in [0, 1] with intervals.

    Args:
        title: Accessible name.
        ticks: Categories of the x axis, in order.
        series: Name -> tick -> estimate; a series may skip ticks.
        axis: Label of the y axis.
        reference: Value at which a dashed line is drawn.
    """
    step = (WIDTH - LEFT - RIGHT) / max(len(ticks) - 1, 1)
    columns = {tick: LEFT + index * step for index, tick in enumerate(ticks)}
    lines = [
        Line(
            name=name,
            colour=PALETTE[index % len(PALETTE)],
            dash="" if index < len(PALETTE) else "5 3",
            marks=tuple(_mark(columns[tick], points[tick]) for tick in ticks if tick in points),
            label_y=TOP + 10 + 16 * index,
        )
        for index, (name, points) in enumerate(series.items())
    ]
    return TEMPLATES.get_template("chart.svg.j2").render(
        title=title,
        axis=axis,
        width=WIDTH,
        height=max(HEIGHT, TOP + 16 * len(lines) + BOTTOM),
        left=LEFT,
        right=WIDTH - RIGHT,
        bottom=HEIGHT - BOTTOM,
        columns=columns,
        rows={f"{value:.2f}": _height(value) for value in (0, 0.25, 0.5, 0.75, 1)},
        reference=_height(reference),
        lines=lines,
    )


def _mark(x: float, estimate: Estimate) -> Mark:
    return Mark(x, _height(estimate.value), _height(estimate.low), _height(estimate.high))


def _height(value: float) -> float:
    """Pixel row of a value in [0, 1]."""
    return round(TOP + (1 - value) * (HEIGHT - TOP - BOTTOM), 2)
