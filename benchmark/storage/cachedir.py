"""Where the project keeps what can be made again."""

from __future__ import annotations

import os
from pathlib import Path


def cache_dir() -> Path:
    """``TRUSTAD_CACHE``, or the user's cache folder of the platform. The folder may not exist yet."""
    if chosen := os.environ.get("TRUSTAD_CACHE"):
        return Path(chosen)
    import platformdirs

    return Path(platformdirs.user_cache_dir("trustad"))
