"""Which file holds the weights of which backbone, where it comes from, and where it lies. Imports no torch.

Nothing here downloads by itself: `locate` looks into the weights folder and the Hugging Face cache. SHA-256
values are taken from where the publisher states them: file names that carry one (torch.hub's convention) and
the hub's blob names; for other files none is known, and what was found is recorded in the results.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmark.errors import WeightsError
from benchmark.storage.jsonio import digest_file

SUFFIXES = (".safetensors", ".pth", ".pt", ".bin", ".ckpt")


@dataclass(frozen=True, slots=True)
class Weights:
    """One set of published weights.

    Attributes:
        name: Backbone name in this project.
        architecture: timm model name with its tag.
        licence: SPDX-like text.
        megabytes: Approximate size, or None where not known.
        repo: Hugging Face repository.
        file: File name in the repository.
        revision: Branch or commit of the repository.
        original: File name in the authors' own layout that is accepted too, or "".
        sha256: Published SHA-256, or None.
        page: Where the file comes from, if not from a Hugging Face repository.
    """

    name: str
    architecture: str
    licence: str
    megabytes: int | None
    repo: str
    file: str = "model.safetensors"
    revision: str = "main"
    original: str = ""
    sha256: str | None = None
    page: str = ""

    @property
    def url(self) -> str:
        """Where the weights come from."""
        return self.page or f"https://huggingface.co/{self.repo}"


def _timm(name: str, architecture: str, licence: str, megabytes: int, original: str = "") -> Weights:
    return Weights(name, architecture, licence, megabytes, f"timm/{architecture}", original=original)


_DINOV2 = {"s": ("small", 88), "b": ("base", 346), "l": ("large", 1217), "g": ("giant", 4546)}
_DINOV3 = {
    "vits16": ("small", 86),
    "vits16plus": ("small_plus", 115),
    "vitb16": ("base", 343),
    "vitl16": ("large", 1213),
    "vith16plus": ("huge_plus", 3362),
}


_OPEN_CLIP_FILE = "vit_b_16_plus_240-laion400m_e31-8fb26589.pt"


def _table() -> Iterator[Weights]:
    for letter, (size, megabytes) in _DINOV2.items():
        stem = f"dinov2_vit{letter}14"
        plain, registers = f"vit_{size}_patch14_dinov2.lvd142m", f"vit_{size}_patch14_reg4_dinov2.lvd142m"
        yield _timm(stem, plain, "Apache-2.0", megabytes, f"{stem}_pretrain.pth")
        yield _timm(f"{stem}_reg", registers, "Apache-2.0", megabytes, f"{stem}_reg4_pretrain.pth")
    for tail, (size, megabytes) in _DINOV3.items():
        yield _timm(f"dinov3_{tail}", f"vit_{size}_patch16_dinov3.lvd1689m", "DINOv3 License", megabytes)
    yield _timm("wide_resnet50_2", "wide_resnet50_2.tv_in1k", "BSD-3-Clause", 276, "wide_resnet50_2-95faca4d.pth")
    for name, repo, megabytes, original in (
        ("clip_vitl14_336", "timm/vit_large_patch14_clip_336.openai", 1712, ""),
        ("clip_vitb16_plus_240", "timm/vit_base_patch16_plus_clip_240.laion400m_e31", 833, _OPEN_CLIP_FILE),
    ):
        yield Weights(
            name, repo.removeprefix("timm/"), "MIT", megabytes, repo, "open_clip_model.safetensors", original=original
        )
    for name, licence, megabytes, page in (
        ("april_gan", "none stated", 13, "https://github.com/ByChelsea/VAND-APRIL-GAN"),
        ("anomalyclip", "MIT", 23, "https://github.com/zqhang/AnomalyCLIP"),
    ):
        for auxiliary in ("mvtec", "visa"):
            stem = f"{name}_{auxiliary}"
            yield Weights(stem, f"{name} checkpoint trained on {auxiliary}", licence, megabytes, "", page=page)


WEIGHTS: dict[str, Weights] = {weights.name: weights for weights in _table()}


_SEEN = {
    "embedded": "none: a seeded initialisation",
    "gabor": "none: fixed filters",
    "lvd142m": "LVD-142M, no labels",
    "lvd1689m": "LVD-1689M, no labels",
    "in1k": "ImageNet-1k with labels",
    "openai": "400 M image-text pairs (OpenAI)",
    "laion400m": "LAION-400M image-text pairs",
}


def training_data(name: str) -> str:
    """What the frozen weights of a backbone saw, or "" where that is not known here."""
    if name.startswith("seeded:"):
        return "none: seeded random weights"
    entry = WEIGHTS.get(name) or next((w for w in WEIGHTS.values() if w.architecture.startswith(f"{name}.")), None)
    tag = entry.architecture.partition(".")[2] if entry else name
    return next((text for key, text in _SEEN.items() if key in tag), "")


def locate(weights: Weights, folder: str) -> Path:
    """The local file of the weights: the weights folder first, then the Hugging Face cache.

    Args:
        weights: What to look for.
        folder: Value of ``--weights-dir`` / TRUSTAD_WEIGHTS_DIR, or "".

    Raises:
        WeightsError: If there is none, saying which, from where, under what licence and where to put it.
    """
    for candidate in _candidates(weights, folder):
        if candidate.is_file():
            return candidate
    cached = _in_hub_cache(weights)
    if cached is not None:
        return cached
    raise WeightsError(missing_message(weights, folder))


def _candidates(weights: Weights, folder: str) -> Iterator[Path]:
    if not folder:
        return
    for stem in dict.fromkeys((weights.name, weights.architecture)):
        for suffix in SUFFIXES:
            yield Path(folder) / f"{stem}{suffix}"
    if weights.original:
        yield Path(folder) / weights.original


def _in_hub_cache(weights: Weights) -> Path | None:
    if not weights.repo:
        return None
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(weights.repo, weights.file, revision=weights.revision)
    return Path(found) if isinstance(found, str) else None


def missing_message(weights: Weights, folder: str) -> str:
    """One line on absent weights: what, licence, size, origin, how to get them and where to put them."""
    size = "size unknown" if weights.megabytes is None else f"about {weights.megabytes} MB"
    origin = f" from {weights.url}" if weights.repo or weights.page else ""
    fetch = f"run `trustad weights fetch {weights.name}` with network, or " if weights.repo else ""
    original = f" or the authors' {weights.original}" if weights.original else ""
    where = f"{folder} (--weights-dir)" if folder else "the folder given by --weights-dir or TRUSTAD_WEIGHTS_DIR"
    return (
        f"weights of {weights.name} are not on this machine: {weights.architecture} "
        f"({weights.licence}, {size}){origin}; "
        f"{fetch}put the file as {weights.name}.safetensors{original} into {where}"
    )


def expected_digest(weights: Weights, path: Path) -> str | None:
    """The SHA-256 (or its published beginning) that a file must have; None where nobody states one."""
    blob = path.resolve().name
    if re.fullmatch(r"[0-9a-f]{64}", blob):
        return blob
    in_name = re.search(r"-([0-9a-f]{8,64})$", path.stem)
    return in_name[1] if in_name else weights.sha256


def check_digest(weights: Weights, path: Path) -> str:
    """SHA-256 of a file.

    Raises:
        WeightsError: If it is not the expected one; both are named.
    """
    found, expected = digest_file(path), expected_digest(weights, path)
    if expected is not None and not found.startswith(expected):
        raise WeightsError(
            f"{path}: not the weights of {weights.name}: expected SHA-256 {expected}, found {found}; "
            f"delete the file and fetch it again from {weights.url}"
        )
    return found
