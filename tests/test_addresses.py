"""An address holds all that a cell's numbers depend on: every field of the inputs is changed, one at a time."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from benchmark.datasets.procedural import Procedural
from benchmark.errors import TrustADError
from benchmark.planning import address
from benchmark.planning.jobs import CellSpec, DetectorSpec
from benchmark.planning.planner import Selection, make_plan
from benchmark.planning.workbench import Workbench
from benchmark.registry import ATTACKS, DETECTORS
from benchmark.storage.cells import CellStore
from benchmark.tracks import Track, load_track
from benchmark.types.data import Manifest, Sample

SELECTION = Selection(detectors=("patchcore@gabor",), categories=("nut",))
Condition = tuple[Any, ...]


def cells(
    tmp_path: Path, selection: Selection = SELECTION, bench: Workbench | None = None, track: Track | None = None
) -> dict[Condition, CellSpec]:
    track = track or load_track("demo")
    whole = track.model_copy(update={"datasets": tuple(d.model_copy(update={"limit": None}) for d in track.datasets)})
    plan = make_plan(whole, selection, CellStore(tmp_path), bench or Workbench())
    found = {(c.shots, c.seed, c.attack, repr(c.key.get("budget")), c.probe): c for c in plan.datasets[0].cells}
    assert len(found) == len(plan.datasets[0].cells)
    return found


def changed(before: dict[Condition, CellSpec], after: dict[Condition, CellSpec]) -> set[Condition]:
    assert before.keys() == after.keys()
    return {name for name in before if before[name].address != after[name].address}


@pytest.fixture
def demo(tmp_path: Path) -> dict[Condition, CellSpec]:
    return cells(tmp_path)


OTHER: dict[str, Callable[[Sample], Any]] = {
    "id": lambda s: f"{s.id}x",
    "sha256": lambda s: "0" * 64,
    "label": lambda s: 1 - s.label,
    "width": lambda s: s.width + 1,
    "height": lambda s: s.height + 1,
    "masks": lambda s: (*s.masks, "more.png"),
    "meta": lambda s: {**s.meta, "mask_sha256": "0" * 64},
    "defect": lambda s: "other",
    "path": lambda s: f"elsewhere/{s.path}",
}
NO_NUMBER = {"category": "chooses the cells", "split": "chooses the cells"}
MASKS = {"masks", "meta"}
NAMES = {"defect", "path"}
"""Facts of query images that no number depends on: pixels are known by their digest, classes by the label."""


def test_every_field_of_a_sample_is_tried() -> None:
    assert {f.name for f in fields(Sample)} == OTHER.keys() | NO_NUMBER.keys()


def mutated(monkeypatch: pytest.MonkeyPatch, name: str, split: str) -> None:
    """One image of the split, a bad one of the test split, has another value."""
    original = Procedural.index

    def index(self: Procedural, categories: Any = None) -> Manifest:
        manifest = original(self, categories)
        victim = next(s for s in manifest.samples if s.split == split and s.label == (split == "test"))
        samples = [replace(s, **{name: OTHER[name](s)}) if s is victim else s for s in manifest.samples]
        return replace(manifest, samples=tuple(samples))

    monkeypatch.setattr(Procedural, "index", index)


@pytest.mark.parametrize("name", sorted(OTHER))
def test_a_field_of_a_query_image_changes_what_depends_on_it(
    name: str, demo: dict[Condition, CellSpec], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mutated(monkeypatch, name, "test")
    moved = changed(demo, cells(tmp_path))
    if name in MASKS:
        uses = {k for k, c in demo.items() if c.pixels or (c.attack and ATTACKS.get(c.attack).card.uses_masks)}
        assert moved == uses
        assert uses
    else:
        assert moved == (set() if name in NAMES else demo.keys())


@pytest.mark.parametrize("name", sorted(OTHER.keys() - {"label"}))
def test_any_field_of_a_support_image_changes_everything(
    name: str, demo: dict[Condition, CellSpec], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Detectors see the whole samples of their support."""
    mutated(monkeypatch, name, "train")
    assert changed(demo, cells(tmp_path)) == demo.keys()


def test_the_other_query_images_are_in_the_address(tmp_path: Path) -> None:
    """Transductive detectors, adaptive decision rules and oracle heads are fitted to the whole query set."""
    few, more = cells(tmp_path, replace(SELECTION, limit=2)), cells(tmp_path, replace(SELECTION, limit=3))
    assert changed(few, more) == few.keys()


@pytest.mark.parametrize("change", [{"canonical_edge": 96}, {"chunk_size": 3}])
def test_the_tracks_recipe_is_in_the_address(
    change: dict[str, int], demo: dict[Condition, CellSpec], tmp_path: Path
) -> None:
    assert changed(demo, cells(tmp_path, track=load_track("demo").model_copy(update=change))) == demo.keys()


@pytest.mark.parametrize("change", [{"device": "cuda"}, {"precision": "reduced"}])
def test_the_machine_is_in_the_address(change: dict[str, Any], demo: dict[Condition, CellSpec], tmp_path: Path) -> None:
    assert changed(demo, cells(tmp_path, replace(SELECTION, **change))) == demo.keys()


def test_the_pixel_recipe_is_in_the_address(
    demo: dict[Condition, CellSpec], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(address, "RECIPE", 0)
    assert changed(demo, cells(tmp_path)) == demo.keys()


@pytest.mark.parametrize("change", [{"version": 99}, {"class_names": {"nut": "bolt"}}])
def test_the_data_set_is_in_the_address(
    change: dict[str, Any], demo: dict[Condition, CellSpec], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Procedural, "info", replace(Procedural.info, **change))
    assert changed(demo, cells(tmp_path)) == demo.keys()


def buildable() -> dict[str, Any]:
    """The registered detectors that can be made here without downloads."""
    found = {}
    for name in DETECTORS:
        try:
            factory = DETECTORS.get(name)
            backbone = getattr(factory, "default_backbone", lambda track: track)("gabor")
            found[name] = factory(backbone="gabor" if backbone == "wide_resnet50_2" else backbone)
        except TrustADError:
            continue
    return found


def test_every_option_of_every_detector_is_in_its_config() -> None:
    found = buildable()
    assert {"anomalydino", "patchcore", "knn", "padim"} <= found.keys()
    for name, detector in found.items():
        options = set(inspect.signature(type(detector).__init__).parameters) - {"self"}
        assert options <= detector.config.keys(), name


def test_every_part_of_a_detector_is_in_the_address() -> None:
    for name, detector in buildable().items():
        spec = DetectorSpec(name, "gabor")
        bench = Workbench(detectors={spec: detector})
        before = address.digest_json(address._identity(bench, spec))
        keys = {name: {**detector.config, name: "another value"} for name in detector.config}
        for config in keys.values():
            detector.config = config
            assert address.digest_json(address._identity(bench, spec)) != before
    with_option = DetectorSpec("knn", "gabor", (("k", 2),))
    bench.detectors[with_option] = bench.detectors[DetectorSpec(name, "gabor")]
    assert address._identity(bench, with_option) != address._identity(bench, spec)


@pytest.mark.parametrize(
    "name", sorted(set(ATTACKS.names()) - {"torchattacks", "jpeg", "blur", "brightness", "contrast"})
)
def test_every_part_of_an_attack_is_in_the_address(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    track, bench = load_track("demo"), Workbench()
    attack = bench.attack(name)
    before = address.attack_identity(bench, track, attack)
    monkeypatch.setattr(type(attack), "card", replace(attack.card, version=99))
    assert address.attack_identity(bench, track, attack) != before
    monkeypatch.undo()
    for option in attack.config:
        if (attack.card.knowledge, option) in {("transfer", "source"), ("transfer", "attack")}:
            continue
        monkeypatch.setattr(attack, "config", {**attack.config, option: "another value"})
        assert address.attack_identity(bench, track, attack) != before
        monkeypatch.undo()
    if attack.card.knowledge == "transfer":
        made_by = bench.attack(str(attack.config["attack"]))
        monkeypatch.setattr(made_by, "config", {**made_by.config, "steps": 1})
        assert address.attack_identity(bench, track, attack) != before
