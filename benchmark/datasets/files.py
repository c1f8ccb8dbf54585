"""Data sets that are folders of files: finding them, indexing them and decoding their pixels."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from benchmark.datasets.fileindex import FileFact, file_facts
from benchmark.datasets.formats import IMAGE_SUFFIXES, UNREAD_SUFFIXES
from benchmark.datasets.manifest import build_manifest
from benchmark.datasets.published import PUBLISHED
from benchmark.errors import DataError
from benchmark.storage.cachedir import cache_dir
from benchmark.storage.jsonio import digest_json
from benchmark.types.data import DatasetInfo, Manifest, Problem, Sample

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Entry:
    """One image that a layout knows of, before its files are read."""

    split: Literal["train", "test"]
    defect: str
    image: Path
    masks: tuple[Path, ...] = ()
    meta: Mapping[str, str] = field(default_factory=dict)
    id: str = ""
    """Given where the same image lies elsewhere in another official layout; otherwise the path is the id."""


class FileDataset(ABC):
    """A data set below a root folder. Subclasses give ``info``, ``folders`` and `scan`.

    Args:
        root: The data set's folder, or the folder that contains it; None to ask for ``info`` only.

    Raises:
        DataError: If no data set is found there; the message says what was looked for.
    """

    info: DatasetInfo
    folders: ClassVar[tuple[str, ...]]
    """Names under which people keep the data set, compared without case and punctuation."""
    mask_threshold: ClassVar[int] = 0
    """A mask pixel above this grey level is a defect."""

    def __init__(self, root: Path | None = None) -> None:
        self.root = None if root is None else self._find(Path(root))

    @abstractmethod
    def scan(self, root: Path, category: str) -> Iterator[Entry | Problem]:
        """Every image of a category with its masks, and what does not fit the layout. Reads no file contents."""

    def recognise(self, folder: Path) -> bool:
        """Whether a folder is this data set's own: at least one published category lies in it."""
        return any(self.home(folder, category).is_dir() for category in self.info.categories)

    def home(self, root: Path, category: str) -> Path:
        """The folder of a category."""
        return root / category

    @property
    def published(self) -> Mapping[str, Mapping[str, int]]:
        """Published counts per category, for `trustad data verify`; see `benchmark.datasets.published`."""
        return PUBLISHED.get(self.info.name, {})

    def present(self) -> tuple[str, ...]:
        """Categories that are on disk, in published order."""
        root = self._need_root()
        return tuple(category for category in self.info.categories if self.home(root, category).is_dir())

    def index(self, categories: Sequence[str] | None = None) -> Manifest:
        """Index the given categories (default: all present); hashes are cached by file size and modification time.

        Raises:
            DataError: If there is no root, or a category is not one of the data set's.
        """
        root, present = self._need_root(), self.present()
        wanted = present if categories is None else tuple(dict.fromkeys(categories))
        for category in wanted:
            if category not in self.info.categories:
                known = ", ".join(self.info.categories)
                raise DataError(f"{self.info.name} has no category {category!r}; it has {known}")
        found = [(category, item) for category in wanted if category in present for item in self.scan(root, category)]
        empty = set(wanted) & set(present) - {category for category, _ in found}
        checked = [(category, _named(root, category, item)) for category, item in found]
        entries = [(category, item) for category, item in checked if isinstance(item, Entry)]
        problems = [item for _, item in checked if isinstance(item, Problem)]
        problems += [Problem(category, category, "holds no images") for category in empty]
        paths = [relative(root, path) for _, entry in entries for path in (entry.image, *entry.masks)]
        facts = file_facts(root, paths, cache_dir() / "index")
        problems += [problem for category, entry in entries for problem in _problems(root, category, entry, facts)]
        samples = [_sample(root, category, entry, facts) for category, entry in entries]
        return build_manifest(self.info, samples, problems)

    def image(self, sample: Sample) -> NDArray[np.uint8]:
        """Decode one image: uint8 RGB [H, W, 3] at original resolution; EXIF orientation is ignored.

        Raises:
            DataError: If the file cannot be decoded.
        """
        from benchmark.datasets.decode import read_image

        return read_image(self._need_root() / sample.path)

    def mask(self, sample: Sample) -> NDArray[np.bool_] | None:
        """Ground truth [H, W] (True = defect), the union of all mask files; None where there are no masks.

        Raises:
            DataError: If a mask cannot be decoded or has another size than its image.
        """
        if not self.info.has_masks:
            return None
        import numpy as np

        from benchmark.datasets.decode import read_mask

        union = np.zeros((sample.height, sample.width), dtype=np.bool_)
        for path in sample.masks:
            mask = read_mask(self._need_root() / path, self.mask_threshold)
            if mask.shape != union.shape:
                raise DataError(f"{path}: {_mask_size(mask.shape[1], mask.shape[0], sample.width, sample.height)}")
            union |= mask
        return union

    def _need_root(self) -> Path:
        if self.root is None:
            raise DataError(
                f"{self.info.name} is read from disk; say where it lies with --data-root DIR (trustad data: --root DIR)"
            )
        return self.root

    def _find(self, root: Path) -> Path:
        if not root.is_dir():
            raise DataError(f"--data-root {root} is not a folder")
        names = {_plain(name) for name in self.folders}
        inside = [folder for folder in folders_in(root) if _plain(folder.name) in names]
        nested = [folder for outer in inside for folder in folders_in(outer) if _plain(folder.name) in names]
        for folder in (*inside, *nested, root):
            if self.recognise(folder):
                return folder
        raise DataError(
            f"{self.info.title} is not in {root}: looked for {', '.join(self.folders)} or the data set itself, with "
            f"{self.expected()}; `trustad data prepare {self.info.name}` says how to get it"
        )

    def expected(self) -> str:
        """What the data set's folder must hold, for error messages."""
        return f"a folder such as {self.info.categories[0]}/"


def relative(root: Path, path: Path) -> str:
    """POSIX path below the root."""
    return path.relative_to(root).as_posix()


def images_in(folder: Path) -> list[Path]:
    """Image files directly in a folder, sorted by name, any case of extension; [] when the folder is absent.

    Formats that are not read are in the list, too: their files become problems of the index.
    """
    if not folder.is_dir():
        return []
    known = IMAGE_SUFFIXES | UNREAD_SUFFIXES
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in known and path.name[0] != ".")


def folders_in(folder: Path) -> list[Path]:
    """Sub-folders, sorted by name, without hidden ones; [] when the folder is absent."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.is_dir() and path.name[0] != ".")


def is_text(name: str | Path) -> bool:
    """Whether a file name is UTF-8: results and evidence name samples by their path."""
    try:
        str(name).encode()
    except UnicodeEncodeError:
        return False
    return True


def _named(root: Path, category: str, item: Entry | Problem) -> Entry | Problem:
    """The item; a problem in its place where one of its files has a name that no result can hold."""
    if isinstance(item, Problem):
        return item
    for path in (item.image, *item.masks):
        if not is_text(relative(root, path)):
            return Problem(category, relative(root, path), "its name is not UTF-8; rename it")
    return item


def _sample(root: Path, category: str, entry: Entry, facts: Mapping[str, FileFact]) -> Sample:
    path = relative(root, entry.image)
    masks = tuple(relative(root, mask) for mask in entry.masks)
    meta = dict(entry.meta)
    if masks:
        meta["mask_sha256"] = digest_json([facts[mask].sha256 for mask in masks])
    fact, label = facts[path], int(entry.defect != "good")
    return Sample(
        id=entry.id or path,
        category=category,
        split=entry.split,
        label=label,
        defect=entry.defect,
        path=path,
        masks=masks,
        sha256=fact.sha256,
        width=fact.width,
        height=fact.height,
        meta=meta,
    )


def _problems(root: Path, category: str, entry: Entry, facts: Mapping[str, FileFact]) -> Iterator[Problem]:
    """Unreadable files, and masks of another size than their image."""
    image = facts[relative(root, entry.image)]
    if image.problem:
        yield Problem(category, relative(root, entry.image), image.problem)
    for path in (relative(root, mask) for mask in entry.masks):
        mask = facts[path]
        if mask.problem:
            yield Problem(category, path, mask.problem)
        elif not image.problem and (mask.width, mask.height) != (image.width, image.height):
            yield Problem(category, path, _mask_size(mask.width, mask.height, image.width, image.height))


def _mask_size(width: int, height: int, image_width: int, image_height: int) -> str:
    return f"mask is {width}x{height} but its image is {image_width}x{image_height}"


def _plain(name: str) -> str:
    return re.sub("[^a-z0-9]", "", name.lower())
