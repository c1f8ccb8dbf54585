"""PatchCore and WinCLIP against anomalib's implementations, with aligned settings; skipped without anomalib.

What differs by design, and is aligned here: anomalib keeps all 1,536 channels of PatchCore's two levels (ours pools to
1,024), draws the first point of the coreset at random (so the whole bank is compared) and enlarges PatchCore's patch
grid by repeating values before the blur (the harness does it bilinearly). Of WinCLIP's 22 templates it has 20, one of
them twice; scores and maps are probabilities there, log odds here.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from _support import TensorSupport, images
from benchmark.conformance import check_detector
from benchmark.execution.maps import render_map
from benchmark.types import Prediction
from detectors.anomalib_adapter import AnomalibModel
from detectors.backbones import WEIGHTS_DIR
from detectors.clip.model import SEEDED_TINY, load_clip
from detectors.clip.text import NORMAL_STATES, WINDOW_ABNORMAL_STATES, WINDOW_TEMPLATES, compose, window_text
from detectors.clip.winclip import WinCLIP
from detectors.patchcore import PatchCore

CLASS = "pill"
TOKENS_OF_WINDOWS = (1 + 4, 1 + 9)


def as_floats(pictures: list[Tensor]) -> Tensor:
    return torch.stack(pictures).float() / 255


def test_patchcore_equals_anomalib_on_wide_resnet() -> None:
    theirs = pytest.importorskip("anomalib.models.image.patchcore.torch_model")
    detector = PatchCore("seeded:wide_resnet50_2", coreset_ratio=1.0, dimension=1536)
    network: Any = detector.extractor.network  # type: ignore[attr-defined]
    model = theirs.PatchcoreModel(layers=["layer2", "layer3"], pre_trained=False, num_neighbors=9)
    model.feature_extractor.feature_extractor.load_state_dict(network.model.state_dict())

    def prepared(pictures: list[Tensor]) -> Tensor:
        pixels, _ = detector.extractor._prepare(as_floats(pictures))  # type: ignore[attr-defined]
        normalised: Tensor = detector.extractor.normalised(pixels)  # type: ignore[attr-defined]
        return normalised

    support, query = images(1, 256, 1), images(2, 256, 2)
    with torch.no_grad():
        ours = detector.fit(TensorSupport(support), seed=0)(as_floats(query))
        model.train().feature_extractor.eval()
        model(prepared(support))
        model.eval()
        model.memory_bank = torch.vstack(model.embedding_store)
        expected = model(prepared(query))
    scale = float(expected.pred_score.max())
    torch.testing.assert_close(ours.score / scale, expected.pred_score / scale, rtol=0, atol=1e-5)
    assert ours.anomaly_map is not None
    resized = model.anomaly_map_generator(ours.anomaly_map[:, None], (224, 224))
    torch.testing.assert_close(
        resized / scale, expected.anomaly_map / scale, rtol=0, atol=2e-5
    )  # |x|^2 - 2 x y + |y|^2


def turn_windows(transformer: Any) -> None:
    """Hand windows over as open_clip 3 wants them: [windows, 1 + patches, D].

    anomalib turns them to [1 + patches, windows, D] first, as open_clip did until 2.26.0, to which it is pinned. With a
    newer one it runs all the same, but attention goes across windows instead of patches.
    """

    def before(_: Any, arguments: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        (tokens, *rest) = arguments
        return (tokens.transpose(0, 1) if len(tokens) in TOKENS_OF_WINDOWS else tokens, *rest)

    def after(_: Any, __: Any, tokens: Tensor) -> Tensor:
        return tokens.transpose(0, 1) if tokens.shape[1] in TOKENS_OF_WINDOWS else tokens

    transformer.register_forward_pre_hook(before)
    transformer.register_forward_hook(after)


def test_winclip_prompts_hold_all_of_anomalib() -> None:
    theirs = pytest.importorskip("anomalib.models.image.winclip.prompting")
    both = theirs.create_prompt_ensemble(CLASS)
    for states, sentences in zip((NORMAL_STATES, WINDOW_ABNORMAL_STATES), both, strict=True):
        missing = set(compose(CLASS, states, WINDOW_TEMPLATES)) - set(sentences)
        assert set(sentences) < set(compose(CLASS, states, WINDOW_TEMPLATES))
        assert missing == set(compose(CLASS, states, ("a cropped photo of a {}.", "a jpeg corrupted photo of a {}.")))


@pytest.mark.parametrize("shots", [0, 2])
def test_winclip_equals_anomalib(shots: int, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = pytest.importorskip("anomalib.models.image.winclip.torch_model")
    clip = copy.deepcopy(load_clip(SEEDED_TINY).module)
    turn_windows(clip.visual.transformer)
    monkeypatch.setattr(theirs.open_clip, "create_model_and_transforms", lambda *_, **__: (clip, None, None))
    detector = WinCLIP(SEEDED_TINY)
    support, query = images(shots, 112, 1), images(2, 112, 2)
    normalised: Any = detector.extractor.normalised
    with torch.no_grad():
        model = theirs.WinClipModel(CLASS, normalised(as_floats(support)) if shots else None)
        model._text_embeddings = window_text(SEEDED_TINY, CLASS)
        ours = detector.fit(TensorSupport(support, category=CLASS), seed=0)(as_floats(query))
        expected = model(normalised(as_floats(query)))
    torch.testing.assert_close(ours.score.sigmoid(), expected.pred_score, rtol=0, atol=1e-5)
    assert ours.anomaly_map is not None
    resized = render_map(Prediction(ours.score, ours.anomaly_map.sigmoid(), None, ours.map_sigma), 112, 112)
    torch.testing.assert_close(resized, expected.anomaly_map, rtol=0, atol=1e-5)


def test_anomalib_adapter_conforms_with_a_real_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    models = pytest.importorskip("anomalib.models")
    options = {"backbone": "resnet18", "layers": ["layer2"], "pre_trained": False}
    module = models.get_model("patchcore", **options).eval()
    module.model.memory_bank = torch.rand(200, 128, generator=torch.Generator().manual_seed(0))
    state = {name: tensor for name, tensor in module.state_dict().items() if name.startswith("model.")}
    save_file(state, tmp_path / "anomalib_patchcore.safetensors")
    monkeypatch.setenv(WEIGHTS_DIR, str(tmp_path))

    results = check_detector(lambda: AnomalibModel("patchcore", options=options), edge=64)
    failed = {r.name: r.detail for r in results if r.status == "fail"}
    assert set(failed) <= {"higher_is_anomalous"}, failed  # the bank is random, so the scores mean nothing
    fitted = AnomalibModel("patchcore", options=options).fit(TensorSupport([]), seed=0)
    query = as_floats(images(2, 64))
    with torch.no_grad():
        expected = module.model(module.pre_processor(query))
    torch.testing.assert_close(fitted(query).score, expected.pred_score, rtol=0, atol=0)
