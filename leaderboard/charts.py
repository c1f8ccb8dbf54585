"""The site's charts: curves over budgets, reliability diagrams, entropy histograms, cost scatter, row glyphs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from markupsafe import Markup

from benchmark.types.condition import budget_text
from leaderboard.record import SCALE
from leaderboard.svg import Frame, figure, marker, number, path, place_labels, spread, tag, text

NAMED = 40
STYLES = 8
INK = STYLES
"""The style of the line that matters most."""
QUARTERS = (0.0, 0.25, 0.5, 0.75, 1.0)
QUARTER_LABELS = ("0", ".25", ".5", ".75", "1")


@dataclass(frozen=True, slots=True)
class Point:
    """A value with its interval; ``x`` is the position on the axis."""

    x: float
    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Series:
    """A named curve; ``style`` chooses colour, dash and marker, ``band`` draws its intervals."""

    name: str
    points: tuple[Point, ...]
    style: int
    band: bool = False

    @property
    def css(self) -> str:
        """Its class in site.css."""
        return "ink" if self.style == INK else f"s{self.style % STYLES}"


def _budget(level: float) -> str:
    return budget_text(Fraction(level))


def curves(title: str, series: Sequence[Series], levels: Sequence[float], *, width: int = 460) -> Markup:
    """Curves over budgets: level 0 is clean, then grey levels at equal spacing; names stand on the right."""
    height = 300
    slots = {level: float(i) for i, level in enumerate(levels)}
    label_width = 14 + 7.5 * max((len(s.name) for s in series), default=0)
    frame = Frame(42, 34, width - min(label_width, 240), height - 48, (0.0, max(len(levels) - 1.0, 1.0)), (0.0, 1.0))
    ticks = ["clean" if level == 0 else _budget(level) for level in levels]
    body = [
        frame.y_axis(QUARTERS, QUARTER_LABELS, "AUROC"),
        frame.x_axis(list(slots.values()), ticks, "budget in grey levels"),
        tag("line", x1=frame.left, x2=frame.right, y1=frame.y(0.5), y2=frame.y(0.5), class_="chance"),
    ]
    drawn = [s for s in series if s.points]
    ends = spread([frame.y(s.points[-1].value) for s in drawn], frame.top, frame.bottom)
    for s, end in zip(drawn, ends, strict=True):
        last = s.points[-1]
        leader = [(frame.x(slots[int(last.x)]), frame.y(last.value)), (frame.right + 8, end)]
        body += [path(leader, class_=f"leader {s.css}"), _curve(frame, s, slots)]
        body.append(text(s.name, frame.right + 11, end + 4, class_=f"name {s.css}"))
    return figure(title, _in_words(drawn), width, height, *body, kind="curves")


def _curve(frame: Frame, s: Series, slots: dict[float, float]) -> Markup:
    style = s.css
    xs = [frame.x(slots[int(p.x)]) for p in s.points]
    band = [
        (x, frame.y(p.low), frame.y(p.high))
        for x, p in zip(xs, s.points, strict=True)
        if p.low is not None and p.high is not None
    ]
    parts = []
    if s.band and len(band) > 1:
        outline = [(x, low) for x, low, _ in band] + [(x, high) for x, _, high in reversed(band)]
        parts.append(path(outline, class_=f"band {style}", close=True))
    parts.append(path([(x, frame.y(p.value)) for x, p in zip(xs, s.points, strict=True)], class_=f"line {style}"))
    for x, p in zip(xs, s.points, strict=True):
        place = "clean" if p.x == 0 else _budget(p.x)
        interval = f" [{p.low:.3f}, {p.high:.3f}]" if p.low is not None and p.high is not None else ""
        tip = f"{s.name}, {place}: {p.value:.3f}{interval}"
        parts.append(marker(s.style, x, frame.y(p.value), tip, class_=f"dot {style}"))
    return tag("g", *parts)


def _in_words(series: Sequence[Series]) -> str:
    if not series:
        return "Nothing measured."
    return "; ".join(f"{s.name} from {s.points[0].value:.3f} to {s.points[-1].value:.3f}" for s in series) + "."


def reliability(title: str, bins: Sequence[tuple[float, float, int]], style: str) -> Markup:
    """A reliability diagram of (predicted, observed, count): dots grow with the count, the diagonal is perfect."""
    width, height = 264, 268
    frame = Frame(36, 26, width - 12, height - 44)
    most = max((count for *_, count in bins), default=1) or 1
    points = [(frame.x(p), frame.y(o)) for p, o, _ in bins]
    dots = [
        marker(0, frame.x(p), frame.y(o), f"predicted {p:.2f}, observed {o:.2f}, {count} images", class_=f"dot {style}",
               size=2.0 + 3.2 * math.sqrt(count / most))
        for p, o, count in bins
    ]  # fmt: skip
    body = [
        frame.y_axis(QUARTERS, QUARTER_LABELS, "observed"),
        frame.x_axis(QUARTERS, QUARTER_LABELS, "predicted probability"),
        tag("line", x1=frame.left, y1=frame.bottom, x2=frame.right, y2=frame.top, class_="chance"),
        path(points, class_=f"line {style}") if points else Markup(""),
        *dots,
    ]
    gap = max((abs(p - o) for p, o, _ in bins), default=0.0)
    return figure(title, f"{len(bins)} bins; largest gap {gap:.2f}.", width, height, *body, kind="reliability")


def histogram(title: str, clean: Sequence[int], attacked: Sequence[int], size: tuple[int, int]) -> Markup:
    """Two entropy histograms as step outlines over equal bins of [0, ln 2], each scaled to its own total."""
    width, height = size
    shares = [[c / max(sum(counts), 1) for c in counts] for counts in (clean, attacked)]
    top = max((max(s) for s in shares if s), default=1.0) or 1.0
    frame = Frame(42, 30, width - 14, height - 46, (0.0, math.log(2)), (0.0, top * 1.05))
    ticks = [0.0, 0.2, 0.4, 0.6, math.log(2)]
    body = [
        frame.y_axis([0.0, top], ["0", f"{100 * top:.0f} %"], "share of images"),
        frame.x_axis(ticks, ["0", ".2", ".4", ".6", "ln 2"], "predictive entropy, nats"),
    ]
    for share, style in zip(shares, ("clean", "attacked"), strict=True):
        if share:
            body.append(path(_steps(frame, share), class_=f"area {style}", close=True))
    return figure(title, _histogram_words(clean, attacked), width, height, *body, kind="histogram")


def _steps(frame: Frame, share: Sequence[float]) -> list[tuple[float, float]]:
    edges = [i * math.log(2) / len(share) for i in range(len(share) + 1)]
    points = [(frame.x(0.0), frame.bottom)]
    for left, right, height in zip(edges, edges[1:], share, strict=False):
        points += [(frame.x(left), frame.y(height)), (frame.x(right), frame.y(height))]
    return [*points, (frame.x(edges[-1]), frame.bottom)]


def _histogram_words(clean: Sequence[int], attacked: Sequence[int]) -> str:
    means = []
    for name, counts in (("clean", clean), ("attacked", attacked)):
        if sum(counts):
            mean = sum((i + 0.5) * c for i, c in enumerate(counts)) / sum(counts) * math.log(2) / len(counts)
            means.append(f"mean entropy {mean:.2f} {name}")
    return ", ".join(means) + "." if means else "Nothing measured."


@dataclass(frozen=True, slots=True)
class CostPoint:
    """A detector in the cost scatter: milliseconds per pass, R and its interval."""

    name: str
    slug: str
    milliseconds: float
    value: float
    low: float | None
    high: float | None
    ranked: bool


def scatter(title: str, points: Sequence[CostPoint], href: str) -> Markup:
    """Robust score over milliseconds per pass (log scale); hollow = not ranked. Names link to detector pages."""
    width, height = 900, 400
    usable = [p for p in points if p.milliseconds > 0]
    if not usable:
        return figure(title, "Nothing measured.", width, 60, text("Nothing measured.", 20, 34), kind="scatter")
    ticks = _decades(min(p.milliseconds for p in usable), max(p.milliseconds for p in usable))
    top = min(1.0, math.ceil(max((p.high or p.value) for p in usable) * 10 + 0.25) / 10)
    step = 1 if top <= 0.5 else 2
    frame = Frame(42, 34, width - 16, height - 48, (math.log10(ticks[0]), math.log10(ticks[-1])), (0.0, top))
    rows = [i / 10 for i in range(0, round(top * 10) + 1, step)]
    body = [
        frame.y_axis(rows, [f"{r:.1f}" for r in rows], "robust score R"),
        frame.x_axis([math.log10(t) for t in ticks], [f"{t:g}" for t in ticks], "milliseconds per pass (log scale)"),
    ]
    ordered = sorted(usable, key=lambda p: (-p.value, p.slug))
    places = [(frame.x(math.log10(p.milliseconds)), frame.y(p.value)) for p in ordered]
    labels = place_labels(places, [p.name for p in ordered], frame.right) if len(ordered) <= NAMED else {}
    for i, p in enumerate(ordered):
        body.append(_cost_point(p, places[i], frame, f"{href}{p.slug}.html", labels.get(i)))
    words = "; ".join(f"{p.name}: R {p.value:.3f} at {p.milliseconds:.3g} ms" for p in ordered[:NAMED])
    return figure(title, words + ".", width, height, *body, kind="scatter", role="group")


def _decades(least: float, most: float) -> list[float]:
    """1, 2, 5, 10, ... from at most ``least`` to at least ``most``, two at the least."""
    first, last = math.floor(math.log10(least)), math.ceil(math.log10(most)) + 1
    steps = [m * 10.0**k for k in range(first, last) for m in (1, 2, 5)]
    start = max(i for i, s in enumerate(steps) if s <= least)
    stop = next(i for i, s in enumerate(steps) if s >= most and i > start)
    return steps[start : stop + 1]


def _cost_point(
    p: CostPoint, at: tuple[float, float], frame: Frame, href: str, label: tuple[float, float, str] | None
) -> Markup:
    x, y = at
    style = "dot s0" if p.ranked else "dot s0 hollow"
    tip = f"{p.name}: R {p.value:.3f}, {p.milliseconds:.3g} ms per pass" + ("" if p.ranked else ", not ranked")
    parts = [marker(0, x, y, tip, class_=style, size=5.0)]
    if p.low is not None and p.high is not None:
        parts.insert(0, tag("line", x1=x, x2=x, y1=frame.y(p.low), y2=frame.y(p.high), class_="whisker s0"))
    if label is not None:
        parts.append(text(p.name, label[0], label[1], anchor=label[2], class_="name"))
    return tag("a", *parts, href=href)


def dumbbell(clean: int | None, attacked: int | None) -> Markup:
    """Row glyph: clean AUROC (filled) and what the attack leaves (hollow) on [0, 1]; hidden from screen readers."""
    parts = [
        tag("line", x1=50.0, x2=50.0, y1=1, y2=13, class_="half"),
        tag("line", x1=3, x2=97, y1=7, y2=7, class_="rail"),
    ]
    if clean is not None and attacked is not None:
        parts.append(tag("line", x1=_glyph_x(clean), x2=_glyph_x(attacked), y1=7, y2=7, class_="span"))
        parts.append(tag("circle", cx=_glyph_x(attacked), cy=7, r=3.2, class_="attacked"))
    if clean is not None:
        parts.append(tag("circle", cx=_glyph_x(clean), cy=7, r=3.2, class_="clean"))
    return tag("svg", *parts, viewBox="0 0 100 14", class_="glyph", aria_hidden="true", width=100, height=14)


def _glyph_x(value: int) -> str:
    return number(3 + 94 * value / SCALE)
