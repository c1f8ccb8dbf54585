"""What a cell's scores depend on: the key whose SHA-256 is the cell's address.

Whatever changes a number must change the address. A part of the key may be left out only where the number does not
depend on it; tests change every field of the inputs.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from benchmark.data.canonical import RECIPE
from benchmark.planning.jobs import DetectorSpec
from benchmark.planning.workbench import Workbench, transfer_source
from benchmark.results.schema import PROTOCOL_VERSION
from benchmark.storage.jsonio import digest_json
from benchmark.tracks import Track
from benchmark.types import Attack, Dataset, Episode, Sample

if TYPE_CHECKING:
    from benchmark.planning.planner import Selection


def key_of(
    track: Track,
    selection: Selection,
    dataset: Dataset,
    episode: Episode,
    bench: Workbench,
    spec: DetectorSpec,
    samples: tuple[Sample, ...],
) -> dict[str, Any]:
    """What every score depends on. Of the query images beside its own: what transductive detectors, decision rules of
    adaptive attacks and oracle heads are fitted to.
    """
    return {
        "protocol": PROTOCOL_VERSION,
        "edge": track.canonical_edge,
        "recipe": RECIPE,
        "chunk": track.chunk_size,
        "device": selection.device.partition(":")[0],
        "precision": selection.precision,
        "detector": _identity(bench, spec),
        "dataset": [dataset.info.name, dataset.info.version, episode.category],
        "class_name": dataset.info.class_names.get(episode.category, episode.category),
        "query": images_digest(samples),
        "others": images_digest(episode.query),
        "support": digest_json([asdict(s) for s in episode.support]),
        "shots": episode.shots,
        "seed": episode.seed,
    }


def images_digest(samples: tuple[Sample, ...]) -> str:
    """What the pixels, labels and batches of images depend on."""
    return digest_json([[s.id, s.sha256, s.label, s.width, s.height] for s in samples])


def masks_digest(samples: tuple[Sample, ...]) -> str:
    """What the masks of images depend on: the digest that an index of files keeps in ``meta``, or their names."""
    return digest_json([[s.id, s.masks, dict(s.meta)] for s in samples])


def _identity(bench: Workbench, spec: DetectorSpec) -> dict[str, Any]:
    detector = bench.detector(spec)
    extractor = detector.extractor
    return {
        "name": spec.label,
        "version": detector.card.version,
        "config": dict(detector.config),
        "options": dict(spec.options),
        "features": None if extractor is None else extractor.id,
        "weights": {} if extractor is None else dict(extractor.weights),
    }


def attack_identity(bench: Workbench, track: Track, attack: Attack) -> dict[str, Any]:
    """Which attack, exactly; of a transfer also its source and what is replayed."""
    identity = {"name": attack.name, "version": attack.card.version, "config": dict(attack.config)}
    if attack.card.knowledge == "transfer":
        source, made_by = transfer_source(attack, track), bench.attack(str(attack.config["attack"]))
        identity |= {
            "source": _identity(bench, source),
            "made_by": [made_by.name, made_by.card.version, dict(made_by.config)],
        }
    return identity
