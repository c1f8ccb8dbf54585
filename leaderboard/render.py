"""Jinja2 set-up: everything is escaped, undefined names are errors, addresses are https or nothing."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from leaderboard import words
from leaderboard.attack_kinds import KINDS
from leaderboard.charts import scatter
from leaderboard.columns import COLUMNS
from leaderboard.detector_page import heat
from leaderboard.record import quantum
from leaderboard.reported import metrics_of

HERE = Path(__file__).parent
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'none'; "
    "base-uri 'none'; form-action 'none'"
)


def https(address: str | None) -> str:
    """The address if it is https and has no space, quote or bracket; else an empty string."""
    return address if address and re.fullmatch(r"https://[^\s<>\"'\\]+", address) else ""


@lru_cache(maxsize=1)
def environment() -> Environment:
    """The site's environment. ``autoescape=True`` and not select_autoescape, which skips ``.html.j2``."""
    env = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    env.filters.update(
        https=https,
        score=words.score,
        interval=words.interval,
        condition=words.condition_words,
        shots=words.shots_words,
        quantity=words.quantity,
        heat=heat,
        filename=words.file_name,
        millionths=quantum,
    )
    env.globals.update(
        POLICY=POLICY,
        BADGES=words.BADGES,
        KINDS=KINDS,
        metrics_of=metrics_of,
        DASH=words.DASH,
        GOALS=words.GOALS,
        STEPS=words.STEPS,
        COLUMNS=COLUMNS,
        scatter=scatter,
        place=words.place,
    )
    return env


def page(template: str, *, root: str, **values: object) -> str:
    """Render ``templates/<template>.html.j2``; ``root`` leads from the page to the site's top, e.g. ``../``."""
    return environment().get_template(f"{template}.html.j2").render(root=root, **values)
