"""A fitted head whose tensors are fields of a frozen dataclass."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar, TypeVar, cast

from torch import Tensor

from benchmark.types import FeatureScorer

H = TypeVar("H", bound="Head")


class Head(FeatureScorer):
    """Saves and restores the fields named in ``tensors``; subclasses are frozen dataclasses with an ``extractor``."""

    tensors: ClassVar[tuple[str, ...]] = ("bank",)

    def state(self) -> dict[str, Tensor]:
        """The fitted tensors by field name."""
        return {name: getattr(self, name) for name in self.tensors}

    def with_state(self: H, state: Mapping[str, Tensor]) -> H:
        """The same head with the tensors of a saved twin."""
        fields: dict[str, Any] = {name: state[name] for name in self.tensors}
        return cast(H, replace(cast(Any, self), **fields))
