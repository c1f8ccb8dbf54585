"""Running a program that nobody trusts: Linux namespaces through util-linux, or not at all.

Inside there is no network, no process but its own, no file but the ones named (read-only), a private 64 MB /tmp, no
capability, and hard limits on memory, processor time, processes and files. docs/security.md has the threat model.
"""

from __future__ import annotations

import os
import platform
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from benchmark.errors import UsageError

NEEDED = ("unshare", "mount", "umount", "pivot_root", "setpriv", "prlimit")
NOBODIES = range(1_000_000_000, 2_000_000_000)
"""User and group ids inside, where the caller is root: root's processes cannot be counted, those of an id that nobody
else has can."""
_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"

# Arguments: the new root, the set-uid options of setpriv or "", the limits of prlimit, the paths, "--", the program.
_SETUP = """
set -eu
umask 022
root=$1 identity=$2 limits=$3
shift 3
mount -t tmpfs -o size=1m,mode=755 none "$root"
mkdir "$root/tmp"
mount -t tmpfs -o size=64m,nosuid,nodev,noexec,mode=1777 none "$root/tmp"
while [ "$1" != -- ]; do
  if [ -d "$1" ]; then mkdir -p "$root$1"; else mkdir -p "$(dirname "$root$1")"; : > "$root$1"; fi
  mount --bind "$1" "$root$1"
  mount -o remount,bind,ro,nosuid,nodev "$root$1"
  shift
done
shift
for link in bin sbin lib lib64; do [ -e "$root/$link" ] || ln -s "usr/$link" "$root/$link"; done
mkdir -p "$root/proc" "$root/dev" "$root/.old"
mount -t proc -o ro,nosuid,nodev,noexec proc "$root/proc"
for device in null zero urandom; do : > "$root/dev/$device"; mount --bind "/dev/$device" "$root/dev/$device"; done
cd "$root"
pivot_root . .old
umount -l .old
rmdir .old
mount -o remount,bind,ro /
cd /tmp
exec setpriv $identity --no-new-privs --inh-caps=-all --bounding-set=-all prlimit $limits -- "$@"
"""


@dataclass(frozen=True, slots=True)
class Limits:
    """What an isolated program may use.

    Attributes:
        memory: Address space of each process in bytes.
        processor: Processor seconds of each process.
        wall: Seconds until all of it is killed; the caller's reads enforce it.
        processes: Processes and threads together.
        file: Size of any file it writes, in bytes.
    """

    memory: int = 6_000_000_000
    processor: int = 1200
    wall: float = 1800.0
    processes: int = 16
    file: int = 50_000_000

    def words(self) -> str:
        """Options of ``prlimit``."""
        return (
            f"--as={self.memory} --cpu={self.processor} --nproc={self.processes} --fsize={self.file} "
            "--nofile=256 --core=0"
        )


@contextmanager
def isolated(
    program: Sequence[str], readable: Sequence[Path], limits: Limits, environment: dict[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program in isolation, with pipes for its three streams; it is gone when the block ends.

    Args:
        program: Command line; its files must be below ``readable``.
        readable: Files and folders visible inside, at the same paths, read-only. /usr always is.
        limits: See `Limits`.
        environment: All of its environment beside PATH, HOME and TMPDIR.

    Raises:
        UsageError: Where no isolation is available: the program is then not run.
    """
    if reason := unavailable():
        raise UsageError(f"no isolation on this machine ({reason}); submitted code was not run")
    root = tempfile.mkdtemp(prefix="trustad-jail-")
    try:
        process = subprocess.Popen(
            _command(root, program, readable, limits),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={"PATH": _PATH, "HOME": "/tmp", "TMPDIR": "/tmp", **(environment or {})},
            cwd="/",
            start_new_session=True,
        )
        try:
            yield process
        finally:
            _kill(process)
            process.communicate()
    finally:
        os.rmdir(root)


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End the first process inside, and with it, by the kernel, all others; a signal on our death can be waived."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    for child in children.read_text().split() if children.exists() else ():
        with suppress(ProcessLookupError):
            os.kill(int(child), signal.SIGKILL)
    process.kill()


def _command(root: str, program: Sequence[str], readable: Sequence[Path], limits: Limits) -> list[str]:
    as_root = os.geteuid() == 0
    namespaces = ["--net", "--mount", "--pid", "--ipc", "--uts", "--fork", "--kill-child"]
    nobody = secrets.choice(NOBODIES)
    identity = f"--reuid={nobody} --regid={nobody} --clear-groups" if as_root else ""
    user = [] if as_root else ["--map-root-user"]
    paths = [str(path) for path in (Path("/usr"), Path("/etc/ld.so.cache"), *readable) if path.exists()]
    setup = ["/bin/sh", "-c", _SETUP, "trustad-jail", root, identity, limits.words(), *dict.fromkeys(paths), "--"]
    return ["unshare", *user, *namespaces, *setup, *program]


@cache
def unavailable() -> str | None:
    """Why programs cannot be isolated here, or None where a trial run was isolated."""
    if platform.system() != "Linux":
        return f"{platform.system()} has no namespaces"
    missing = [name for name in NEEDED if shutil.which(name, path=_PATH) is None]
    if missing:
        return f"util-linux lacks {', '.join(missing)}"
    return _trial()


def _trial() -> str | None:
    root = tempfile.mkdtemp(prefix="trustad-jail-")
    try:
        command = _command(root, ["/usr/bin/test", "!", "-w", "/usr"], [], Limits())
        environment = {"PATH": _PATH}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.SubprocessError) as error:
        return str(error)
    finally:
        os.rmdir(root)
    words = done.stderr.strip().splitlines()
    return None if done.returncode == 0 else (words[0] if words else f"status {done.returncode}")


def interpreter_paths() -> tuple[Path, ...]:
    """What this Python needs in order to run TrustAD inside: its prefixes and the project's packages."""
    home = Path(__file__).resolve().parents[2]
    prefixes = [Path(sys.prefix).resolve(), Path(sys.base_prefix).resolve()]
    packages = [home / name for name in ("benchmark", "detectors", "attacks")]
    found = [path for path in (*prefixes, *packages) if not path.is_relative_to("/usr")]
    return tuple(path for path in found if not any(path != other and path.is_relative_to(other) for other in found))
