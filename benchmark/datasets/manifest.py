"""Building a manifest: samples sorted by id, with one digest over all of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, replace
from itertools import pairwise

from benchmark.errors import DataError, shown
from benchmark.storage.jsonio import digest_json
from benchmark.types.data import DatasetInfo, Manifest, Problem, Sample


def build_manifest(info: DatasetInfo, samples: Iterable[Sample], problems: Iterable[Problem] = ()) -> Manifest:
    """Sort samples by id and problems by path, and digest the samples.

    Raises:
        DataError: If two samples share an id.
    """
    ordered = tuple(sorted(samples, key=lambda sample: sample.id))
    for first, second in pairwise(ordered):
        if first.id == second.id:
            raise DataError(f"{info.name}: two samples have the id {first.id!r}")
    digest = digest_json([asdict(sample) for sample in ordered])
    printable = [replace(problem, path=shown(problem.path), what=shown(problem.what)) for problem in problems]
    found = tuple(sorted(printable, key=lambda problem: (problem.category, problem.path, problem.what)))
    return Manifest(info.name, info.version, ordered, found, digest)
