"""Evidence against the data: manifests, query images, labels and support sets, where the data set is at hand."""

from __future__ import annotations

from benchmark.data.episodes import sample_episode
from benchmark.data.shortcuts import CategoryAudit, audit
from benchmark.errors import DataError, NotApplicableError, ResultError, TrustADError
from benchmark.registry import DATASETS
from benchmark.results.schema import CategoryRef, load_result
from benchmark.types import Dataset, Manifest
from benchmark.verify.grid import asked_categories, limit_of
from benchmark.verify.subject import Entry, Subject

SHORTCUT_TOLERANCE = 0.01
"""Trivial statistics of images that another decoder read may differ in the last bits."""


def check_data(subject: Subject) -> str:
    """Manifest digests, and every image, label and support image of the evidence.

    Raises:
        ResultError: If something differs from the data, or from what other submissions say of the same data.
        NotApplicableError: If no data set is at hand.
    """
    compared = []
    for entry in subject.entries:
        _check_siblings(entry, subject)
        dataset = opened(entry, subject)
        if dataset is not None:
            _check_entry(entry, dataset)
            compared.append(entry.result.dataset.name)
    if not compared:
        raise NotApplicableError("the data sets are not here; say where with --data-root")
    return f"the same images, labels and support sets as {', '.join(sorted(set(compared)))}"


def opened(entry: Entry, subject: Subject) -> Dataset | None:
    """The entry's data set, or None where it is not at hand."""
    name = entry.result.dataset.name
    try:
        dataset: Dataset = DATASETS.get(name)(subject.data_root)
        if dataset.index(asked_categories(entry)).samples:
            return dataset
    except DataError:
        if subject.data_root is None:
            return None
        raise
    return None


def indexed(entry: Entry, dataset: Dataset) -> Manifest:
    """The manifest of exactly the categories that the result is about."""
    return dataset.index(asked_categories(entry))


def _check_siblings(entry: Entry, subject: Subject) -> None:
    """Two results on one data set, track and set of categories must have indexed the same files."""
    mine = entry.result
    for folder in subject.siblings():
        path = folder / "results" / entry.path.name
        if not path.is_file():
            continue
        try:
            other = load_result(path)
        except ResultError:
            continue
        if [c.name for c in other.dataset.categories] != [c.name for c in mine.dataset.categories]:
            continue
        if other.dataset.manifest_digest != mine.dataset.manifest_digest:
            raise ResultError(f"{entry.path.name}: the data set's manifest differs from that of {folder.name}")


def _check_entry(entry: Entry, dataset: Dataset) -> None:
    manifest = indexed(entry, dataset)
    if manifest.digest != entry.result.dataset.manifest_digest:
        raise ResultError(f"{entry.path.name}: the manifest digest is not that of {dataset.info.name} here")
    audits = {found.category: found for found in audit(dataset, manifest)}
    for category in entry.result.dataset.categories:
        found = audits.get(category.name, CategoryAudit(category.name, {}))
        if category.warnings != tuple(text for text in [found.warning] if text):
            raise ResultError(f"{entry.path.name}: {category.name}: its warnings are {found.warning}")
        if category.shortcuts.keys() != found.auroc.keys() or any(
            abs(category.shortcuts[name] - value) > SHORTCUT_TOLERANCE for name, value in found.auroc.items()
        ):
            raise ResultError(f"{entry.path.name}: {category.name}: other figures of the shortcut audit")
        try:
            _check_category(entry, dataset, manifest, category)
        except TrustADError as error:
            raise ResultError(f"{entry.path.name}: {error}") from error


def _check_category(entry: Entry, dataset: Dataset, manifest: Manifest, category: CategoryRef) -> None:
    from benchmark.results.references import support_ref

    for support in category.supports:
        episode = sample_episode(dataset, manifest, category.name, support.shots, support.seed, limit_of(entry))
        if support_ref(episode) != support:
            raise ResultError(f"{category.name}, {support.shots}-shot, seed {support.seed}: another support set")
        labels = {s.id: s.label for s in episode.query}
        rows = entry.episodes.get((category.name, support.shots, support.seed))
        found = {} if rows is None else dict(zip(rows["sample_id"], rows["label"].tolist(), strict=True))
        for name, label in found.items():
            if name not in labels:
                raise ResultError(f"{category.name}: {name} is no query image of this episode")
            if labels[name] != label:
                raise ResultError(f"{category.name}: {name} has label {labels[name]}, not {label}")
        if found and set(found) != set(labels):
            raise ResultError(f"{category.name}: {len(set(labels) - set(found))} query images are missing")
