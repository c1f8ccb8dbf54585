"""A comment from an artifact that a stranger may have written: comment.py ARTIFACT OUT

Prints the pull request's number. Standard library only; every text is bounded and stripped to harmless characters.
"""

import json
import re
import sys
from pathlib import Path

MAX_BYTES = 200_000
MAX_ROWS = 40
STATUSES = {"pass": "ok", "fail": "REFUSED", "skipped": "skipped"}


def plain(value: object, longest: int) -> str:
    """Letters, digits and harmless punctuation of a text: no Markdown, no HTML, no mentions, no links."""
    text = re.sub(r"[^A-Za-z0-9 .,:;()%=+/_-]", "?", str(value))
    return text.replace("://", ":??")[:longest]


def read(path: Path) -> bytes:
    """A regular file of bounded size."""
    if path.is_symlink() or not path.is_file() or path.stat().st_size > MAX_BYTES:
        raise SystemExit(f"{path.name} is missing, a link or too large")
    return path.read_bytes()


def comment(verdict: object) -> str:
    """The comment's Markdown: one code block, so that nothing in it is markup."""
    data = verdict if isinstance(verdict, dict) else {}
    findings = data.get("findings")
    rows = [row for row in findings if isinstance(row, dict)] if isinstance(findings, list) else []
    lines = []
    for row in rows[:MAX_ROWS]:
        status = STATUSES.get(str(row.get("status")), "?")
        lines.append(f"{status:8s} {plain(row.get('check'), 20):20s} {plain(row.get('detail'), 300)}")
    accepted = data.get("accepted") is True
    title = f"Submission {plain(data.get('slug'), 63)}: {'accepted' if accepted else 'refused'}"
    steps = data.get("steps")
    ladder = ", ".join(plain(s, 20) for s in steps[:6]) if isinstance(steps, list) else ""
    return "\n".join(["```", title, f"ladder: {ladder}", "", *lines, "```", ""])


def main() -> None:
    artifact, out = Path(sys.argv[1]), Path(sys.argv[2])
    number = re.fullmatch(rb"[0-9]{1,9}\n?", read(artifact / "number"))
    if not number:
        raise SystemExit("the pull request's number is none")
    try:
        verdict = json.loads(read(artifact / "verdict.json"))
    except (ValueError, RecursionError):
        verdict = {}
    out.write_text(comment(verdict), "ascii")
    print(int(number[0]))


if __name__ == "__main__":
    main()
