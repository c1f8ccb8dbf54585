"""Batches of images: what they hold, what an attack spends on them, and how they are halved when memory runs out."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import torch

from benchmark.types import AttackBatch, Sample

_MEMORY_WORDS = ("not enough memory", "can't allocate memory", "out of memory", "alloc_failed")


@dataclass(frozen=True, slots=True)
class Chunk:
    """A fixed slice of the query set at canonical size."""

    samples: tuple[Sample, ...]
    batch: AttackBatch

    @property
    def ids(self) -> tuple[str, ...]:
        return self.batch.sample_ids

    def without_masks(self) -> Chunk:
        """What an attack that does not declare ``uses_masks`` sees: its cells' addresses do not hold the masks."""
        return Chunk(self.samples, replace(self.batch, masks=None))

    def split(self, size: int) -> Iterator[Chunk]:
        """Its images in order, at most ``size`` in one chunk."""
        images, labels, masks = self.batch.images, self.batch.labels, self.batch.masks
        for start in range(0, len(self.samples), size):
            rows = slice(start, start + size)
            part = AttackBatch(images[rows], labels[rows], self.ids[rows], None if masks is None else masks[rows])
            yield Chunk(self.samples[rows], part)


@dataclass
class Cost:
    """What an attack spent at one budget, and the images on which it never saw a gradient."""

    forward: float = 0.0
    backward: float = 0.0
    dead: set[str] = field(default_factory=set)

    def add(self, other: Cost) -> None:
        """Count the cost of further images."""
        self.forward += other.forward
        self.backward += other.backward
        self.dead |= other.dead

    def per_image(self, images: int) -> dict[str, float]:
        """Passes per image."""
        return {"forward": self.forward / images, "backward": self.backward / images}


def in_halves(chunk: Chunk, size: int, work: Callable[[Chunk], None]) -> int:
    """Do the work on a chunk; where memory runs out, on halves of it, down to single images.

    Args:
        chunk: The images.
        size: Most images to try at once.
        work: What to do; whatever it set before memory ran out, the calls on the halves must set again.

    Returns:
        The size to try next: ``size``, or the largest that was not yet found too large.

    Raises:
        Exception: What ``work`` raises other than running out of memory on more than one image.
    """
    waiting = list(chunk.split(size))
    while waiting:
        if _fits(waiting[0], work):
            waiting.pop(0)
            continue
        _free()
        size = (len(waiting[0].samples) + 1) // 2
        waiting = [part for whole in waiting for part in whole.split(size)]
    return size


def _fits(chunk: Chunk, work: Callable[[Chunk], None]) -> bool:
    try:
        work(chunk)
    except Exception as error:
        if not out_of_memory(error) or len(chunk.samples) == 1:
            raise
        return False
    return True


def out_of_memory(error: Exception) -> bool:
    """Whether an error says that the device's or the machine's memory ran out."""
    if isinstance(error, (MemoryError, torch.cuda.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _MEMORY_WORDS)


def _free() -> None:
    """Give back what the failed attempt held."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
