"""The binary protocol between the harness and an isolated detector: one frame each way, no pickle.

A frame is 4 bytes length of the words, 8 bytes length of the tensors (little-endian), the words as JSON, the tensors
as safetensors. Both sides bound what they read before they read it.
"""

from __future__ import annotations

import json
import os
import select
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from benchmark.errors import ContractError

HEAD = 12
MAX_WORDS = 100_000
MAX_TENSORS = 512_000_000


@dataclass(frozen=True, slots=True)
class Frame:
    """Words and tensors of one message."""

    words: Mapping[str, Any]
    tensors: Mapping[str, Tensor]


def encode(words: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> bytes:
    """A frame as bytes."""
    text = json.dumps(dict(words)).encode()
    payload: bytes = save({name: tensor.contiguous().cpu() for name, tensor in tensors.items()})
    return len(text).to_bytes(4, "little") + len(payload).to_bytes(8, "little") + text + payload


def decode(text: bytes, payload: bytes) -> Frame:
    """The frame of its two parts.

    Raises:
        ContractError: If a part is malformed.
    """
    try:
        words, tensors = json.loads(text), load(payload)
    except (ValueError, RecursionError, SafetensorError) as error:
        raise ContractError(f"a malformed message ({type(error).__name__})") from error
    if not isinstance(words, dict):
        raise ContractError("a message whose words are no JSON object")
    return Frame(words, tensors)


def lengths(head: bytes) -> tuple[int, int]:
    """Lengths of words and tensors that a head announces.

    Raises:
        ContractError: If a length is beyond the bounds.
    """
    words, tensors = int.from_bytes(head[:4], "little"), int.from_bytes(head[4:], "little")
    if words > MAX_WORDS or tensors > MAX_TENSORS:
        raise ContractError(f"a message of {words:,} + {tensors:,} bytes; {MAX_WORDS:,} + {MAX_TENSORS:,} are allowed")
    return words, tensors


class Channel:
    """Frames over two pipes, with one deadline for everything.

    Args:
        reader, writer: File descriptors.
        seconds: Time until the deadline; None = wait for ever (the isolated side).
    """

    def __init__(self, reader: int, writer: int, seconds: float | None) -> None:
        self._reader, self._writer = reader, writer
        self._deadline = None if seconds is None else time.monotonic() + seconds
        os.set_blocking(writer, seconds is None)

    def send(self, words: Mapping[str, Any], tensors: Mapping[str, Tensor] | None = None) -> None:
        """Write a frame.

        Raises:
            ContractError: If the other side is gone or the deadline has passed.
        """
        data = memoryview(encode(words, tensors or {}))
        while data:
            self._wait(writing=True)
            try:
                data = data[os.write(self._writer, data) :]
            except BlockingIOError:
                continue
            except BrokenPipeError:
                raise ContractError("the detector's process has ended") from None

    def receive(self) -> Frame:
        """Read a frame.

        Raises:
            ContractError: If it is malformed, the other side is gone or the deadline has passed.
        """
        words, tensors = lengths(self._read(HEAD))
        return decode(self._read(words), self._read(tensors))

    def _read(self, size: int) -> bytes:
        parts = bytearray()
        while len(parts) < size:
            self._wait(writing=False)
            part = os.read(self._reader, min(1 << 20, size - len(parts)))
            if not part:
                raise ContractError("the detector's process has ended")
            parts += part
        return bytes(parts)

    def _wait(self, *, writing: bool) -> None:
        if self._deadline is None:
            return
        left = max(0.0, self._deadline - time.monotonic())
        readers, writers = ([], [self._writer]) if writing else ([self._reader], [])
        if not any(select.select(readers, writers, [], left)):
            raise ContractError("the detector took longer than its time limit")


def checked(tensor: Tensor | None, shape: torch.Size, what: str) -> Tensor:
    """A float32 tensor from the other side.

    Raises:
        ContractError: If it is missing, of another shape or type, or not finite.
    """
    if tensor is None or tensor.shape != shape or tensor.dtype != torch.float32:
        found = None if tensor is None else (tuple(tensor.shape), str(tensor.dtype))
        raise ContractError(f"{what} must be float32 {tuple(shape)}, got {found}")
    if not bool(torch.isfinite(tensor).all()):
        raise ContractError(f"{what} holds values that are not finite")
    return tensor
