"""SVG made at build time: elements as escaped markup, linear scales, axes. Colours live in site.css as classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

LABEL_HEIGHT = 15.0


def tag(name: str, *children: Markup | str, **attributes: str | float | int | None) -> Markup:
    """An element; a trailing underscore in an attribute name is dropped, other underscores become hyphens."""
    words = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(number(value) if isinstance(value, float) else value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    inner = Markup("").join(escape(child) for child in children)
    return Markup(f"<{name}{words}>{inner}</{name}>")


def number(value: float) -> str:
    """A coordinate with at most one decimal."""
    return f"{value:.1f}".removesuffix(".0")


def figure(
    title: str, description: str, width: int, height: int, *children: Markup, kind: str, role: str = "img"
) -> Markup:
    """An accessible SVG named by its title and description; role ``group`` where it holds links."""
    return tag(
        "svg",
        tag("title", title),
        tag("desc", description),
        *children,
        viewBox=f"0 0 {width} {height}",
        role=role,
        aria_label=f"{title}. {description}",
        class_=f"chart {kind}",
        width=width,
        height=height,
    )


def text(words: str, x: float, y: float, *, anchor: str = "start", class_: str = "tick") -> Markup:
    """A text label."""
    return tag("text", words, x=x, y=y, text_anchor=anchor, class_=class_)


def path(points: Sequence[tuple[float, float]], *, class_: str, close: bool = False) -> Markup:
    """A polyline through points."""
    steps = " ".join(f"{'M' if i == 0 else 'L'}{number(x)} {number(y)}" for i, (x, y) in enumerate(points))
    return tag("path", d=steps + (" Z" if close else ""), class_=class_)


def marker(shape: int, x: float, y: float, tip: str, *, class_: str, size: float = 3.6) -> Markup:
    """A point of one of six shapes, so that series differ without colour; ``tip`` is its tooltip."""
    corners = _SHAPES[shape % len(_SHAPES)]
    note = tag("title", tip)
    if not corners:
        return tag("circle", note, cx=x, cy=y, r=size, class_=class_, data_tip=tip)
    points = " ".join(f"{number(x + dx * size)},{number(y + dy * size)}" for dx, dy in corners)
    return tag("polygon", note, points=points, class_=class_, data_tip=tip)


_SHAPES: tuple[tuple[tuple[float, float], ...], ...] = (
    (),
    ((-1, -1), (1, -1), (1, 1), (-1, 1)),
    ((0, -1.3), (1.2, 0.9), (-1.2, 0.9)),
    ((0, -1.4), (1.4, 0), (0, 1.4), (-1.4, 0)),
    ((-1.2, -0.9), (1.2, -0.9), (0, 1.3)),
    ((-0.5, -1.4), (0.5, -1.4), (0.5, 1.4), (-0.5, 1.4)),
)


@dataclass(frozen=True, slots=True)
class Frame:
    """A plot area; ``x`` and ``y`` map data to pixels linearly."""

    left: float
    top: float
    right: float
    bottom: float
    x_range: tuple[float, float] = (0.0, 1.0)
    y_range: tuple[float, float] = (0.0, 1.0)

    def x(self, value: float) -> float:
        """Pixel column."""
        low, high = self.x_range
        return self.left + (value - low) / (high - low) * (self.right - self.left)

    def y(self, value: float) -> float:
        """Pixel row."""
        low, high = self.y_range
        return self.bottom - (value - low) / (high - low) * (self.bottom - self.top)

    def y_axis(self, ticks: Sequence[float], labels: Sequence[str], title: str) -> Markup:
        """Horizontal grid lines with labels on the left."""
        lines = [tag("line", x1=self.left, x2=self.right, y1=self.y(t), y2=self.y(t), class_="grid") for t in ticks]
        words = [
            text(label, self.left - 7, self.y(t) + 4, anchor="end") for t, label in zip(ticks, labels, strict=True)
        ]
        heading = text(title, self.left - 7, self.top - 12, anchor="start", class_="axis")
        return Markup("").join([*lines, *words, heading])

    def x_axis(self, ticks: Sequence[float], labels: Sequence[str], title: str) -> Markup:
        """Base line with labels below."""
        base = tag("line", x1=self.left, x2=self.right, y1=self.bottom, y2=self.bottom, class_="base")
        words = [
            text(label, self.x(t), self.bottom + 17, anchor="middle") for t, label in zip(ticks, labels, strict=True)
        ]
        heading = text(title, (self.left + self.right) / 2, self.bottom + 35, anchor="middle", class_="axis")
        return Markup("").join([base, *words, heading])


def place_labels(
    points: Sequence[tuple[float, float]], names: Sequence[str], right: float
) -> dict[int, tuple[float, float, str]]:
    """(x, y, anchor) of a label per point, by the first of eight places that touches nothing and ends at ``right``."""
    taken = [(x - 6, y - 6, x + 6, y + 6) for x, y in points]
    found: dict[int, tuple[float, float, str]] = {}
    for i, ((x, y), name) in enumerate(zip(points, names, strict=True)):
        length = 7.0 * len(name)
        sides = [(x + 9, y + 4, "start"), (x - 9, y + 4, "end")]
        sides += [(x + 7, y + dy, "start") for dy in (-8.0, 17.0)] + [(x - 7, y + dy, "end") for dy in (-8.0, 17.0)]
        sides += [(x, y - 12, "middle"), (x, y + 22, "middle")]
        for left, base, anchor in sides:
            start = left - length * {"start": 0.0, "middle": 0.5, "end": 1.0}[anchor]
            box = (start, base - 10, start + length, base + 3)
            if box[2] <= right and not any(_overlap(box, other) for j, other in enumerate(taken) if j != i):
                found[i] = (left, base, anchor)
                taken.append(box)
                break
    return found


Box = tuple[float, float, float, float]


def _overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def spread(positions: Sequence[float], low: float, high: float, gap: float = LABEL_HEIGHT) -> list[float]:
    """Move label positions apart to at least ``gap``, in order, within [low, high]."""
    order = sorted(range(len(positions)), key=lambda i: positions[i])
    placed: list[float] = []
    for rank, i in enumerate(order):
        least = placed[-1] + gap if placed else low
        most = high - gap * (len(order) - 1 - rank)
        placed.append(max(least, min(positions[i], most)))
    result = [0.0] * len(positions)
    for i, y in zip(order, placed, strict=True):
        result[i] = y
    return result
