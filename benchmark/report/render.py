"""The report as files: report.md, report.html and the figures that the Markdown page shows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from markupsafe import Markup

from benchmark.report.claims import LOSSES, Section, interval
from benchmark.report.figures import TEMPLATES, line_chart
from benchmark.report.study import METRICS, Estimate
from benchmark.results.rows import ProbeValue
from benchmark.storage.jsonio import atomic_write
from benchmark.types.condition import parse_budget

TITLE = "Do the claims hold? Robustness, calibration and uncertainty"


def render_markdown(sections: Sequence[Section]) -> str:
    """The page as Markdown; figures are linked as ``figures/<section number>-<name>.svg``."""
    return TEMPLATES.get_template("report.md.j2").render(**_context(sections))


def render_html(sections: Sequence[Section]) -> str:
    """The page as one self-contained HTML file with inline figures."""
    return TEMPLATES.get_template("report.html.j2").render(**_context(sections))


def write_report(sections: Sequence[Section], folder: Path) -> Path:
    """Write report.html, report.md and figures/ into ``folder``; returns the HTML page's path."""
    for number, section in enumerate(sections):
        for name, figure in figures(section).items():
            atomic_write(folder / "figures" / f"{number}-{name}.svg", figure)
    atomic_write(folder / "report.md", render_markdown(sections))
    atomic_write(folder / "report.html", render_html(sections))
    return folder / "report.html"


def figures(section: Section) -> dict[str, Markup]:
    """SVG charts by name: AUROC and the entropy flag against budget; none where nothing was attacked."""
    ticks = sorted({d.budget for d in section.drops}, key=parse_budget)
    if not ticks:
        return {}
    auroc: dict[str, dict[str, Estimate]] = {}
    for drop in section.drops:
        if drop.metric == "AUROC":
            auroc.setdefault(drop.attack, {"0": drop.clean})[drop.budget] = drop.attacked
    flag: dict[str, dict[str, Estimate]] = {}
    for row in section.flags:
        if row.goal == "two_sided":
            flag.setdefault(row.attack, {})[row.budget] = row.auroc
    where = f"{section.detector} on {section.dataset}"
    return {
        "auroc": Markup(line_chart(f"AUROC under attack, {where}", ["0", *ticks], auroc, "AUROC", 0.5)),
        "flag": Markup(line_chart(f"Entropy flag, {where}", ticks, flag, "entropy AUROC", 0.5)),
    }


UNITS = {
    "support_poison": "grey levels",
    "universal": "grey levels",
    "continuous_l2": "(L2)",
    "continuous_linf": "grey levels",
    "smoothing": "(sigma)",
}


def _figure_of(value: ProbeValue) -> str:
    """``0.123 [0.045, 0.210]``, without an interval where there is none, or the reason."""
    if value.value is None:
        return str(value.reason)
    limits = "" if value.low is None or value.high is None else f" [{value.low:.3f}, {value.high:.3f}]"
    return f"{value.value:.3f}{limits}"


def _context(sections: Sequence[Section]) -> dict[str, object]:
    return {
        "title": TITLE,
        "sections": sections,
        "metrics": METRICS,
        "losses": LOSSES,
        "show": interval,
        "units": UNITS,
        "figure_of": _figure_of,
        "figures": figures,
    }
