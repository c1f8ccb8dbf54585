"""Do the addresses of the data sets still answer? Status 1 and one line for each that does not."""

import sys
import urllib.error
import urllib.request

from benchmark.datasets.sources import ARCHIVES
from benchmark.registry import DATASETS


def addresses() -> dict[str, str]:
    """Address -> what it is."""
    pages = {DATASETS.get(name)(None).info.url: f"page of {name}" for name in DATASETS.names() if name != "folder"}
    files = {archive.url: f"archive of {name}" for name, archive in ARCHIVES.items()}
    return {url: what for url, what in (pages | files).items() if url}


def answers(url: str) -> str:
    """ "" or why not; the body is not downloaded."""
    request = urllib.request.Request(url, headers={"Range": "bytes=0-0", "User-Agent": "trustad-link-check"})
    try:
        with urllib.request.urlopen(request, timeout=30) as reply:
            return "" if reply.status < 400 else f"status {reply.status}"
    except (urllib.error.URLError, OSError) as error:
        return str(error)


def main() -> int:
    """Ask all of them, or with --list only print them."""
    found = addresses()
    if "--list" in sys.argv:
        print("\n".join(f"{what}: {url}" for url, what in found.items()))
        return 0
    dead = [(what, url, why) for url, what in found.items() if (why := answers(url))]
    for what, url, why in dead:
        print(f"{what}: {url}: {why}")
    print(f"{len(found) - len(dead)} of {len(found)} addresses answer")
    return 1 if dead else 0


if __name__ == "__main__":
    sys.exit(main())
