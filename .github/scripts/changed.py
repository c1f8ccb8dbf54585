"""Which submission a pull request is about: reads changed paths, separated by NUL, from standard input.

Prints the slug. Refuses changes of anything else, of two submissions, and of verification.json, which only maintainers
write: a row does not vouch for itself.
"""

import re
import sys

PATH = re.compile(r"submissions/([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)/(.+)", re.DOTALL)


def slug_of(paths: list[str]) -> str:
    """The one slug that all paths belong to."""
    slugs = set()
    for path in paths:
        found = PATH.fullmatch(path)
        if not found:
            raise SystemExit(f"{path!r} is no file of a submission; propose one submission and nothing else")
        if found[3] == "verification.json":
            raise SystemExit(f"{path}: only maintainers write verification.json; leave it out")
        slugs.add(found[1])
    if len(slugs) != 1:
        raise SystemExit(f"{len(slugs)} submissions changed ({', '.join(sorted(slugs))}); propose one at a time")
    return slugs.pop()


if __name__ == "__main__":
    print(slug_of([path for path in sys.stdin.read().split("\0") if path]))
