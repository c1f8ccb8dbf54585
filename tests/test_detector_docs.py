"""The generated and the executable documentation of detectors, the weights commands, and a third party's plug-in."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from _support import TensorSupport, images
from benchmark.cli import weights as cli
from benchmark.conformance import check_detector
from benchmark.errors import UnknownNameError, UsageError, WeightsError
from benchmark.registry import DETECTORS
from detectors.anomalib_adapter import AnomalibModel
from detectors.backbones import WEIGHTS_DIR
from detectors.backbones.fetch import fetch
from detectors.backbones.weights import WEIGHTS
from detectors.cards import CARDS
from detectors.document import DOCUMENT, render
from plugins import plugin

ROOT = Path(__file__).parents[1]
__all__ = ["plugin"]


def test_the_generated_document_is_up_to_date() -> None:
    assert DOCUMENT.read_text() == render(), "run `python -m detectors.document`"


def test_every_registered_detector_has_the_card_of_its_class() -> None:
    assert set(CARDS) == {name for name, target in DETECTORS.targets.items() if target.startswith("detectors.")}
    for name, card in CARDS.items():
        assert DETECTORS.get(name).card is card
        assert card.name == name
        assert card.url.startswith("https://arxiv.org/abs/")


def test_listing_detectors_and_weights_imports_no_torch() -> None:
    code = "import sys, detectors.cards, detectors.document, benchmark.cli.weights; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


@pytest.fixture(params=["docs/add-a-detector.md"])
def example(request: pytest.FixtureRequest) -> Iterator[types.ModuleType]:
    (source,) = re.findall(r"```python\n(.*?)```", (ROOT / request.param).read_text(), flags=re.S)
    assert len(source.splitlines()) <= 40
    module = types.ModuleType("documented_example")
    sys.modules[module.__name__] = module
    exec(compile(source, request.param, "exec"), module.__dict__)
    yield module
    del sys.modules[module.__name__]


def test_the_documented_examples_are_short_and_conform(example: types.ModuleType) -> None:
    results = check_detector(lambda: example.MeanToken(backbone="seeded:embedded"), edge=64)
    assert not [f"{r.name}: {r.detail}" for r in results if r.status == "fail"]


@pytest.mark.usefixtures("plugin")
def test_a_plugin_is_found_by_entry_point_and_conforms() -> None:
    assert DETECTORS.targets["brightness"] == "trustad_example.brightness:Brightness"
    results = check_detector("brightness", edge=64)
    assert not [f"{r.name}: {r.detail}" for r in results if r.status == "fail"]


class TestWeightsCommands:
    @pytest.fixture(autouse=True)
    def offline(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
        monkeypatch.delenv(WEIGHTS_DIR, raising=False)

    def test_list(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (tmp_path / "dinov2_vits14.safetensors").write_bytes(b"x")
        cli.list_(weights_dir=tmp_path, as_json=True)
        rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
        assert set(rows) == set(WEIGHTS)
        assert rows["dinov2_vits14"]["path"] == str(tmp_path / "dinov2_vits14.safetensors")
        assert rows["dinov2_vitg14"]["path"] is None
        cli.list_()
        assert "dinov3_vitl16" in capsys.readouterr().out

    def test_verify(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (tmp_path / "wide_resnet50_2-95faca4d.pth").write_bytes(b"damaged")
        assert cli.verify("wide_resnet50_2", weights_dir=tmp_path) == 1
        assert "expected SHA-256 95faca4d, found" in capsys.readouterr().out
        (tmp_path / "dinov2_vits14.pth").write_bytes(b"x")
        assert cli.verify("dinov2_vits14", weights_dir=tmp_path) == 0
        assert "not compared" in capsys.readouterr().out
        with pytest.raises(UnknownNameError, match="dinov2_vits14"):
            cli.verify("dinov2_vits")

    def test_fetch_without_network_says_what_to_do(self, tmp_path: Path) -> None:
        with pytest.raises(WeightsError, match=r"cannot fetch dinov2_vits14 \(Apache-2.0, about 88 MB\) from https"):
            fetch(WEIGHTS["dinov2_vits14"], str(tmp_path))
        with pytest.raises(WeightsError, match=r"take it from https://github.com/zqhang/AnomalyCLIP and put it as"):
            fetch(WEIGHTS["anomalyclip_visa"], str(tmp_path))


class TestAnomalibAdapter:
    """Against a stand-in for `anomalib.models`: the adapter's own logic, without the package."""

    @pytest.fixture(autouse=True)
    def stand_in(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        class Model(torch.nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.gain = torch.nn.Parameter(torch.zeros(1))

            def forward(self, x: torch.Tensor) -> types.SimpleNamespace:
                found = self.gain * x.mean(1, keepdim=True)
                return types.SimpleNamespace(pred_score=None, anomaly_map=found)

        class Module(torch.nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.model = Model()
                self.pre_processor = torch.nn.AvgPool2d(2)

        package, models = types.ModuleType("anomalib"), types.ModuleType("anomalib.models")
        models.get_model = lambda name, **options: Module()  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "anomalib", package)
        monkeypatch.setitem(sys.modules, "anomalib.models", models)
        monkeypatch.setenv(WEIGHTS_DIR, str(tmp_path))
        return tmp_path

    def test_loads_the_checkpoint_of_the_category_and_scores_raw(self, stand_in: Path) -> None:
        torch.save({"state_dict": {"model.gain": torch.tensor([3.0])}}, stand_in / "anomalib_toy.ckpt")
        torch.save({"state_dict": {"model.gain": torch.tensor([5.0])}}, stand_in / "anomalib_toy_nut.ckpt")
        detector = AnomalibModel("toy")
        picture = images(1, 32)[0][None].float() / 255
        expected = torch.nn.functional.avg_pool2d(picture, 2).mean(1)
        for category, gain in (("nut", 5.0), ("screw", 3.0)):
            prediction = detector.fit(TensorSupport([], category=category), seed=0)(picture)
            assert prediction.anomaly_map is not None
            assert torch.allclose(prediction.anomaly_map, gain * expected)
            assert torch.allclose(prediction.score, gain * expected.amax((1, 2)))

    def test_errors(self, stand_in: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        with pytest.raises(UsageError, match="name the anomalib model"):
            AnomalibModel()
        with pytest.raises(WeightsError, match="anomalib_toy are not on this machine"):
            AnomalibModel("toy").fit(TensorSupport([]), seed=0)
        torch.save({"state_dict": {"model.other": torch.zeros(1)}}, stand_in / "anomalib_toy.ckpt")
        with pytest.raises(WeightsError, match=r"model\.gain is missing"):
            AnomalibModel("toy").fit(TensorSupport([]), seed=0)
        monkeypatch.setitem(sys.modules, "anomalib.models", None)
        with pytest.raises(UsageError, match=r"install trustad\[anomalib\]"):
            AnomalibModel("toy")
