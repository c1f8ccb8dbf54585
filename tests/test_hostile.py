"""Every attack of the table is refused by the check that should, in one clear line, and leaves nothing behind."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

import hostile_files  # noqa: F401
import hostile_numbers  # noqa: F401
from benchmark.verify.checks import verify_submission
from benchmark.verify.isolation import Limits, unavailable
from benchmark.verify.subject import Subject
from hostile import ATTACKS, Attack
from hostile_code import jailed
from submissions import copy, honest, tree  # noqa: F401

SECURITY = Path(__file__).parents[1] / "docs" / "security.md"
BEGIN, END = "<!-- attacks: written by tests/test_hostile.py -->", "<!-- end of attacks -->"


PROGRAMS = [a for a in ATTACKS if isinstance(a.apply, str)]
isolated_here = pytest.mark.skipif(unavailable() is not None, reason=f"no isolation: {unavailable()}")


@isolated_here
@pytest.mark.parametrize("attack", PROGRAMS, ids=lambda a: a.what)
def test_walled_in(attack: Attack) -> None:
    assert isinstance(attack.apply, str)
    line = jailed(attack.apply)
    assert attack.says in line
    assert "\n" not in line


@pytest.mark.parametrize("attack", [a for a in ATTACKS if a not in PROGRAMS], ids=lambda a: a.what)
def test_refused(attack: Attack, honest: Path, tmp_path: Path) -> None:  # noqa: F811
    if attack.rerun and unavailable():
        pytest.skip(f"no isolation: {unavailable()}")
    assert callable(attack.apply)
    folder = copy(honest, tmp_path)
    changed = attack.apply(folder)
    folder = changed if isinstance(changed, Path) else folder
    temporary = Path(tempfile.gettempdir())
    before, around = tree(tmp_path), {p.name for p in temporary.glob("trustad-*")}

    verdict = verify_submission(Subject(folder), rerun=attack.rerun, limits=Limits())

    assert not verdict.accepted
    last = verdict.findings[-1]
    assert (last.check, last.status) == (attack.check, "fail"), verdict.words
    assert attack.says in last.detail, verdict.words
    assert "\n" not in verdict.words
    assert len(verdict.words) < 700
    assert str(tmp_path) not in verdict.words
    assert "cannot be checked" not in verdict.words, "a check must refuse, not break"
    assert tree(tmp_path) == before
    assert {p.name for p in temporary.glob("trustad-*")} == around


def table() -> str:
    """The table in docs/security.md."""
    rows = [f"| {place} | {a.what} | {a.check} |" for place, a in enumerate(ATTACKS, 1)]
    return "\n".join(["| | attack | refused by |", "|---|---|---|", *rows])


def test_the_table_in_the_docs_is_this_one() -> None:
    assert len(ATTACKS) >= 60
    assert len({a.what for a in ATTACKS}) == len(ATTACKS)
    text = SECURITY.read_text("utf-8")
    assert text.partition(BEGIN)[2].partition(END)[0].strip() == table()
