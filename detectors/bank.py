"""Support features in a per-process cache: nested supports (shots x seeds) extract each view once."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor

from benchmark.errors import NotApplicableError
from benchmark.types import Extractor, Features, Support
from detectors.neighbours import Parts

CACHE_BYTES = 2 << 30


class FeatureCache:
    """Least recently used features by (extractor id, device, precision of products, pixels), bounded in bytes.

    The key is the digest of the view's pixels, not of its file: a poisoned support image is another image.
    """

    def __init__(self, limit: int = CACHE_BYTES) -> None:
        self.limit = limit
        self.used = 0
        self._entries: OrderedDict[tuple[str, str], tuple[Features, tuple[int, ...]]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def features(self, extractor: Extractor, image: Tensor) -> Features:
        """Features (batch of one, no gradient) of a uint8 [3, H, W] image; made anew where somebody wrote into them."""
        computed = f"{extractor.id}@{getattr(extractor, 'device', '')} {torch.get_float32_matmul_precision()}"
        key = (computed, _digest(image))
        if key in self._entries:
            self._entries.move_to_end(key)
            features, writes = self._entries[key]
            if features.writes == writes:
                return features
            self.used -= _size(self._entries.pop(key)[0])
        with torch.no_grad():
            features = extractor(image[None].float() / 255)
        self._entries[key] = features, features.writes
        self.used += _size(features)
        while self.used > self.limit and len(self._entries) > 1:
            self.used -= _size(self._entries.popitem(last=False)[1][0])
        return features


CACHE = FeatureCache()


def support_features(extractor: Extractor, support: Support, angles: Sequence[float] = (0.0,)) -> list[Features]:
    """Features of every view of every support image, image by image, each a batch of one.

    Raises:
        NotApplicableError: If the support is empty.
    """
    require_support(support)
    return [CACHE.features(extractor, view) for views in support.views(angles) for view in views]


def patch_bank(extractor: Extractor, support: Support, angles: Sequence[float] = (0.0,)) -> tuple[Tensor, Parts]:
    """The patch tokens [M, D] of the last level of all views, and which rows come from which support image.

    A part's key is the digest of the image: its views follow from it.

    Raises:
        NotApplicableError: If the support is empty.
    """
    tokens = [view.maps[-1].flatten(0, 2) for view in support_features(extractor, support, angles)]
    rows = [sum(map(len, tokens[i : i + len(angles)])) for i in range(0, len(tokens), len(angles))]
    keys = [f"{_digest(image)} {angles}" for image in support.images()]
    return torch.cat(tokens), Parts(tuple(keys), tuple(rows))


def require_support(support: Support) -> None:
    """Refuse an empty support.

    Raises:
        NotApplicableError: If there is no reference image.
    """
    if len(support) == 0:
        raise NotApplicableError("needs at least one normal reference image; the zero-shot tracks have none")


def _digest(image: Tensor) -> str:
    pixels = image.contiguous().cpu().numpy()
    return hashlib.sha256(repr(pixels.shape).encode() + pixels.tobytes()).hexdigest()


def _size(features: Features) -> int:
    tensors = [*features.maps, *([] if features.cls is None else [features.cls])]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
