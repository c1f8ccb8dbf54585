"""What a result says about the machine and the program that made it."""

from __future__ import annotations

import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from benchmark.results.schema import Code, Environment
from benchmark.types.precision import Precision

PRECISIONS: dict[Precision, str] = {
    "float32": "float32, TF32 off",
    "reduced": "float32, factors of products rounded to bfloat16 or TF32 where the device can",
}
PACKAGES = (
    "torch",
    "torchvision",
    "timm",
    "open_clip_torch",
    "faiss-cpu",
    "numpy",
    "scipy",
    "scikit-learn",
    "pandas",
    "pyarrow",
    "pillow",
    "torchattacks",
)


def environment(device: str, chunk_size: int, precision: Precision) -> Environment:
    """Interpreter, platform, device, threads and package versions of this process."""
    import torch

    return Environment(
        python=platform.python_version(),
        platform=f"{platform.system()} {platform.machine()}",
        device=torch.cuda.get_device_name() if device.startswith("cuda") else f"cpu ({platform.machine()})",
        threads=torch.get_num_threads(),
        precision=PRECISIONS[precision],
        chunk_size=chunk_size,
        packages={name: found for name in PACKAGES if (found := package_version(name))},
    )


def package_version(name: str) -> str | None:
    """Installed version, or None."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def code() -> Code:
    """Program version and, in a checkout, its commit and whether the working tree differs from it."""
    commit = _git("rev-parse", "HEAD")
    dirty = None if commit is None else bool(_git("status", "--porcelain", "--untracked-files=no"))
    return Code(version=package_version("trustad") or "source", commit=commit, dirty=dirty)


def _git(*words: str) -> str | None:
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    try:
        done = subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


PARTS = {"detectors": "cards.py", "attacks": "cards.py", "leaderboard": "build.py"}
"""The packages beside this one, each with a file that it must have."""


def one_parent() -> str | None:
    """None where the four packages of TrustAD lie side by side; else which one another project has overwritten.

    Nothing is imported: an overwritten package would break with errors of its own.
    """
    import importlib.util

    home = Path(__file__).resolve().parents[2]
    for package, part in PARTS.items():
        spec = importlib.util.find_spec(package)
        origin = Path(spec.origin).resolve() if spec and spec.origin else None
        if origin is None or origin.parents[1] != home:
            return f"package {package!r} is at {origin}, not beside benchmark in {home}"
        if not origin.with_name(part).is_file() or not _ours(origin):
            return f"package {package!r} at {origin.parent} is not TrustAD's"
    return None


def _ours(origin: Path) -> bool:
    """Whether a package's first file holds nothing but its docstring and imports of its own, as all of ours do."""
    import ast

    try:
        body = ast.parse(origin.read_bytes()).body
    except (OSError, SyntaxError, ValueError):
        return False
    return len(body) == 1 and isinstance(body[0], ast.Expr)


def peak_memory_bytes() -> int:
    """Largest resident set of this process so far, in bytes (0 where the platform does not say)."""
    try:
        import resource
    except ImportError:
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak if sys.platform == "darwin" else peak * 1024)
