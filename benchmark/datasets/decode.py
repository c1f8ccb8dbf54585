"""Files to pixels: one rule for every data set.

Images become 8-bit RGB as ``PIL.Image.convert("RGB")`` does it (grey is repeated, palettes are looked up, CMYK is
converted, alpha is dropped), except that 16-bit grey keeps its high byte, where Pillow would clip. EXIF orientation is
ignored, as in the reference implementations. TIFF files that Pillow refuses are read by tifffile.

Only the formats of `FORMATS` are opened, whatever a file's suffix says: Pillow would start Ghostscript for PostScript.
Masks count by the colour that is seen; the number of a palette entry counts only where the palette shows no colour.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from PIL import Image, UnidentifiedImageError

from benchmark.datasets.formats import FORMATS, IMAGE_SUFFIXES, TIFF_SUFFIXES, listed
from benchmark.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

T = TypeVar("T")


def image_size(path: Path) -> tuple[int, int]:
    """Width and height from the header alone.

    Raises:
        DataError: If the file is empty, cut off in its header or of an unknown format.
    """
    return _reading(path, lambda file: file.size, lambda pixels: (pixels.shape[1], pixels.shape[0]))


def read_image(path: Path) -> NDArray[np.uint8]:
    """Decode an image to uint8 RGB [H, W, 3].

    Raises:
        DataError: If the file is empty, truncated, of an unknown format, or 32 bits deep.
    """
    return _reading(path, _rgb, lambda pixels: _as_rgb(_high_byte(pixels)))


def read_mask(path: Path, threshold: int = 0) -> NDArray[np.bool_]:
    """Decode a mask to bool [H, W]: True where any colour channel is above ``threshold``; transparent pixels are False.

    Palettes are looked up. Where no entry in use has a colour but black, the palette tells nothing and every entry but
    the first is a defect.

    Raises:
        DataError: As `read_image`.
    """
    return _reading(path, partial(_mask, threshold), partial(_above, threshold))


def palette_doubt(path: Path) -> str:
    """Why a palette mask may mean something else than its colours say; "" if nothing speaks for that.

    Masks of defect numbers have entry 0 for the background. Where that entry is in use and not black, colour and number
    disagree.

    Raises:
        DataError: As `read_image`.
    """
    return _reading(path, _doubt, lambda pixels: "")


def _doubt(file: Image.Image) -> str:
    if file.mode != "P":
        return ""
    entries, colours = _palette(file)
    if 0 not in entries or not colours[entries == 0].any():
        return ""
    red, green, blue = colours[entries == 0][0].tolist()
    return f"palette entry 0 is ({red}, {green}, {blue}), not black: it counts as a defect, because its colour does"


def _reading(path: Path, from_pillow: Callable[[Image.Image], T], from_array: Callable[[NDArray[Any]], T]) -> T:
    """Open with Pillow, fall back to tifffile, and give every failure as one DataError."""
    if not path.is_file():
        raise DataError(f"{path}: file is missing")
    if path.suffix.lower() not in IMAGE_SUFFIXES:
        raise DataError(f"{path}: {path.suffix} is not read; save it as {listed(IMAGE_SUFFIXES)}")
    if path.stat().st_size == 0:
        raise DataError(f"{path}: file is empty (0 bytes)")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # resolution and metadata warnings say nothing about the pixels
            try:
                with Image.open(path, formats=FORMATS) as file:
                    return from_pillow(file)
            except UnidentifiedImageError:
                if path.suffix.lower() not in TIFF_SUFFIXES:
                    raise
                return from_array(_tiff(path))
    except DataError:
        raise
    except UnidentifiedImageError as error:
        raise DataError(
            f"{path}: not an image that can be read (damaged header, or none of {listed(FORMATS)})"
        ) from error
    except Exception as error:  # decoders raise anything from SyntaxError to struct.error on damaged files
        raise DataError(f"{path}: cannot be decoded ({type(error).__name__}: {error})") from error


def _tiff(path: Path) -> NDArray[Any]:
    """First page of a TIFF as [H, W] or [H, W, C]."""
    import tifffile

    logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # it would log every fault of a file that is refused
    with tifffile.TiffFile(path) as file:
        page = file.pages[0]
        pixels: NDArray[Any] = np.asarray(page.asarray())
        if pixels.ndim not in (2, 3) or pixels.size == 0:
            raise DataError(f"{path}: its first page has shape {pixels.shape}; an image has rows and columns")
        if page.photometric == tifffile.PHOTOMETRIC.MINISWHITE:
            pixels = np.invert(pixels)
        if page.photometric == tifffile.PHOTOMETRIC.PALETTE:
            pixels = np.moveaxis(np.asarray(page.colormap), 0, -1)[pixels]
        return np.moveaxis(pixels, 0, -1) if page.axes == "SYX" else pixels


def _rgb(file: Image.Image) -> NDArray[np.uint8]:
    if file.mode == "I" and file.format == "PNG":  # older Pillow widens 16-bit PNG to 32 bits
        return _as_rgb(_high_byte(np.asarray(file).astype(np.uint16)))
    if file.mode.startswith(("I", "F")):
        return _as_rgb(_high_byte(np.asarray(file)))
    return np.asarray(file if file.mode == "RGB" else file.convert("RGB"))


def _high_byte(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    if pixels.dtype == np.uint8:
        return pixels
    if pixels.dtype == np.bool_:
        return pixels.astype(np.uint8) * np.uint8(255)
    if pixels.dtype.kind == "u" and pixels.dtype.itemsize == 2:
        return (pixels >> 8).astype(np.uint8)
    raise DataError(f"pixels of type {pixels.dtype} have no defined 8-bit range; save the image with 8 or 16 bits")


def _as_rgb(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    if pixels.ndim == 2:
        return np.repeat(pixels[:, :, None], 3, axis=2)
    return np.ascontiguousarray(pixels[:, :, :3] if pixels.shape[2] >= 3 else np.repeat(pixels[:, :, :1], 3, axis=2))


def _mask(threshold: int, file: Image.Image) -> NDArray[np.bool_]:
    if file.mode == "P" and not _palette(file)[1].any():
        return np.asarray(np.asarray(file) > 0)
    if file.mode in {"P", "PA", "LA", "La", "RGBA", "RGBa"} or "transparency" in file.info:
        pixels = np.asarray(file.convert("RGBA"))
        return _above(threshold, pixels[..., :3]) & (pixels[..., 3] > 0)
    grey = file.mode in {"1", "L", "RGB"} or file.mode.startswith(("I", "F"))
    return _above(threshold, np.asarray(file if grey else file.convert("RGB")))


def _above(threshold: int, pixels: NDArray[Any]) -> NDArray[np.bool_]:
    above: NDArray[np.bool_] = np.asarray(pixels > threshold)
    return above if above.ndim == 2 else np.asarray(above.any(axis=2))


def _palette(file: Image.Image) -> tuple[NDArray[Any], NDArray[Any]]:
    """The palette entries in use [n], and their colours [n, 3]."""
    entries, first = np.unique(np.asarray(file), return_index=True)
    return entries, np.asarray(file.convert("RGB")).reshape(-1, 3)[first]
