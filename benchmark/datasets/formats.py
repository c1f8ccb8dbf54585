"""Which image formats are read, and which are refused by name."""

from __future__ import annotations

from collections.abc import Iterable

FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP")
"""What is opened, by Pillow's names; told by a file's content, not by its suffix."""
IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".dib", ".tif", ".tiff", ".webp"})
TIFF_SUFFIXES = (".tif", ".tiff")
UNREAD_SUFFIXES = frozenset(
    {
        *(".gif", ".jp2", ".j2k", ".jxl", ".heic", ".heif", ".avif", ".tga", ".pgm", ".ppm", ".pbm", ".pnm", ".pcx"),
        *(".eps", ".ps", ".psd", ".svg", ".exr", ".hdr", ".dcm", ".nii", ".raw", ".dng", ".cr2", ".nef", ".arw"),
    }
)
"""Images that are not read. They are listed and refused by name, so that none is passed over in silence."""


def listed(names: Iterable[str]) -> str:
    """``"a, b or c"``, sorted."""
    *others, last = sorted(names)
    return f"{', '.join(others)} or {last}"
