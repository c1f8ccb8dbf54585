"""Checking a copy of a data set: every file decoded, counts compared with the published ones, leaks found."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from benchmark.datasets.files import FileDataset
from benchmark.errors import DataError
from benchmark.storage.jsonio import digest_bytes
from benchmark.types.data import Dataset, Problem, Sample


@dataclass(frozen=True, slots=True)
class CategoryReport:
    """One category of a copy: what is there, what should be there, and everything that is off."""

    category: str
    found: Mapping[str, int]
    published: Mapping[str, int]
    problems: tuple[Problem, ...]


@dataclass(frozen=True, slots=True)
class _Decoded:
    """One sample after decoding: a digest of its pixels, whether its mask is empty, and what went wrong."""

    sample: Sample
    pixels: str
    empty_mask: bool
    problem: Problem | None


def verify(dataset: Dataset, categories: Sequence[str] | None = None) -> tuple[CategoryReport, ...]:
    """Check a data set, decoding every image and mask.

    Args:
        dataset: A data set with its root.
        categories: Those to check; default: all published ones, so that absent ones are reported.

    Raises:
        DataError: If a category is not one of the data set's.
    """
    wanted = tuple(categories or dataset.info.categories)
    manifest = dataset.index(categories)
    published = dataset.published if isinstance(dataset, FileDataset) else {}
    reports = []
    for category in wanted:
        samples = [sample for sample in manifest.samples if sample.category == category]
        listed = [problem for problem in manifest.problems if problem.category == category]
        expected = published.get(category, {})
        if not samples and not listed:
            listed = [Problem(category, "", "category is missing")]
        decoded = _decode_all(dataset, samples)
        problems = [*listed, *(item.problem for item in decoded if item.problem), *_duplicates(category, decoded)]
        found = _counts(decoded, expected)
        if samples:
            problems += _miscounts(category, found, expected)
            problems += _empty(category, decoded, expected.get("empty_masks", 0))
        reports.append(CategoryReport(category, found, expected, _unique(problems)))
    return tuple(reports)


def _decode_all(dataset: Dataset, samples: Sequence[Sample]) -> list[_Decoded]:
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        return list(pool.map(lambda sample: _decode(dataset, sample), samples))


def _decode(dataset: Dataset, sample: Sample) -> _Decoded:
    try:
        image = dataset.image(sample)
    except DataError as error:
        return _Decoded(sample, "", False, _problem(sample.category, sample.path or sample.id, error))
    pixels = digest_bytes(repr(image.shape).encode() + image.tobytes())
    try:
        mask = dataset.mask(sample) if sample.label else None
        doubt = _doubt(dataset, sample)
    except DataError as error:
        place = sample.masks[0] if sample.masks else sample.path or sample.id
        return _Decoded(sample, pixels, False, _problem(sample.category, place, error))
    return _Decoded(sample, pixels, mask is not None and not mask.any(), doubt)


def _doubt(dataset: Dataset, sample: Sample) -> Problem | None:
    """A mask file that can be read in two ways."""
    if not isinstance(dataset, FileDataset) or dataset.root is None:
        return None
    from benchmark.datasets.decode import palette_doubt

    for path in sample.masks:
        if what := palette_doubt(dataset.root / path):
            return Problem(sample.category, path, what)
    return None


def _problem(category: str, path: str, error: DataError) -> Problem:
    """Drop the machine's path, which decoding errors start with."""
    _, found, what = str(error).rpartition(f"{path}: ")
    return Problem(category, path, what if found else str(error))


def _duplicates(category: str, decoded: Sequence[_Decoded]) -> Iterator[Problem]:
    """Images with the same pixels in train and test, or with two labels in test."""
    first: dict[str, Sample] = {}
    for item in sorted(decoded, key=lambda item: item.sample.split, reverse=True):  # train before test
        if not item.pixels:
            continue
        other = first.setdefault(item.pixels, item.sample)
        if other.split != item.sample.split:
            yield Problem(category, item.sample.id, f"test image has the same pixels as training image {other.id}")
        elif other.label != item.sample.label:
            yield Problem(category, item.sample.id, f"has the same pixels as {other.id} but another label")


def _counts(decoded: Sequence[_Decoded], expected: Mapping[str, int]) -> dict[str, int]:
    samples = [item.sample for item in decoded]
    counts = {
        "train": sum(s.split == "train" for s in samples),
        "good": sum(s.split == "test" and not s.label for s in samples),
        "bad": sum(s.label for s in samples),
    }
    counts |= {key: sum(s.defect == key for s in samples) for key in expected if key not in counts}
    if "normal" in expected:
        counts["normal"] = sum(not s.label for s in samples)
    if "empty_masks" in expected:
        counts["empty_masks"] = sum(item.empty_mask for item in decoded)
    return counts


def _miscounts(category: str, found: Mapping[str, int], expected: Mapping[str, int]) -> Iterator[Problem]:
    for key, count in expected.items():
        if key != "empty_masks" and found[key] != count:
            yield Problem(category, "", f"{key}: {found[key]} images, published {count}")


def _empty(category: str, decoded: Sequence[_Decoded], allowed: int) -> Iterator[Problem]:
    """Empty masks of defective images, when there are more than published."""
    empty = [item.sample for item in decoded if item.empty_mask]
    if len(empty) > allowed:
        known = f" ({allowed} such masks are published)" if allowed else ""
        yield from (Problem(category, sample.id, f"defective image with an empty mask{known}") for sample in empty)


def _unique(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """The index and the decoder can find the same broken file; the index's wording is kept."""
    kept: dict[tuple[str, str], Problem] = {}
    for problem in problems:
        kept.setdefault((problem.path, "" if problem.path else problem.what), problem)
    return tuple(kept.values())
