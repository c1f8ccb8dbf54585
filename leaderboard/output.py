"""The folder that a build writes: only changed bytes are written, stale files of an earlier build go."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

from benchmark.errors import UsageError
from benchmark.storage.jsonio import atomic_write, pretty_json

MANIFEST = "data/build.json"


@dataclass(frozen=True, slots=True)
class EntryState:
    """What an earlier build made of one submission."""

    inputs: str
    files: tuple[str, ...]


@dataclass(slots=True)
class Output:
    """Collects the files of a build under ``root``.

    Attributes:
        generator: Digest of the code and templates; another one makes every page again.
        entries: State of each submission, kept in ``data/build.json`` for the next build.
    """

    root: Path
    generator: str
    files: set[str] = field(default_factory=set)
    written: int = 0
    entries: dict[str, EntryState] = field(default_factory=dict)
    _earlier: dict[str, EntryState] = field(default_factory=dict)
    _earlier_files: frozenset[str] = frozenset()

    @classmethod
    def open(cls, root: Path, generator: str) -> Output:
        """Open a folder that is new, empty or of an earlier build.

        Raises:
            UsageError: If it holds other files: a build never mixes with them.
        """
        output = cls(root, generator)
        manifest = root / MANIFEST
        if not manifest.exists():
            if root.exists() and (not root.is_dir() or any(root.iterdir())):
                raise UsageError(f"{root} is not empty and no earlier site; choose a new or empty folder")
            return output
        try:
            data = json.loads(manifest.read_text("utf-8"))
            output._earlier_files = frozenset(data["files"])
            if data["generator"] == generator:
                output._earlier = {k: EntryState(v["inputs"], tuple(v["files"])) for k, v in data["entries"].items()}
        except (ValueError, KeyError, TypeError) as error:
            raise UsageError(f"{manifest} is damaged; delete {root} and build again") from error
        return output

    def write(self, path: str, content: str | bytes) -> None:
        """Write a file unless it already has these bytes."""
        self.files.add(path)
        self.written += write_if_changed(self.root / path, content)

    def unchanged(self, slug: str, inputs: str) -> bool:
        """Whether an earlier build with the same generator and inputs left all files of a submission in place."""
        earlier = self._earlier.get(slug)
        return (
            earlier is not None and earlier.inputs == inputs and all((self.root / f).is_file() for f in earlier.files)
        )

    def keep(self, slug: str) -> None:
        """Keep a submission's files as they are."""
        self.take(slug, self._earlier[slug], written=0)

    def take(self, slug: str, state: EntryState, *, written: int) -> None:
        """Add files that were written for a submission."""
        self.entries[slug] = state
        self.files.update(state.files)
        self.written += written

    def close(self) -> int:
        """Write the manifest and remove what the earlier build made and this one did not; returns how many went."""
        gone = [
            self.root / f
            for f in sorted(self._earlier_files - self.files)
            if not Path(f).is_absolute() and ".." not in f
        ]
        for path in gone:
            path.unlink(missing_ok=True)
        entries = {slug: {"inputs": s.inputs, "files": sorted(s.files)} for slug, s in self.entries.items()}
        data = {"generator": self.generator, "files": sorted(self.files), "entries": entries}
        self.written += write_if_changed(self.root / MANIFEST, pretty_json(data))
        return len(gone)


def write_if_changed(path: Path, content: str | bytes) -> bool:
    """Write atomically; False if the bytes stand there already."""
    data = content.encode() if isinstance(content, str) else content
    if path.is_file() and path.stat().st_size == len(data) and path.read_bytes() == data:
        return False
    atomic_write(path, data, durable=False)
    return True
