"""WinCLIP, APRIL-GAN and AnomalyCLIP against plain re-statements with loops; prompts against the published counts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from safetensors.torch import save_file
from scipy.ndimage import gaussian_filter
from torch import Tensor
from torch.nn.functional import cosine_similarity, interpolate, normalize, softmax

from _support import TensorSupport, images
from benchmark.errors import UnknownNameError, WeightsError
from detectors.backbones import WEIGHTS_DIR
from detectors.clip import anomalyclip, april_gan, text
from detectors.clip import model as clip_model
from detectors.clip.anomalyclip import AnomalyCLIP, encode_learned
from detectors.clip.april_gan import AprilGAN
from detectors.clip.model import ARCHITECTURES, SEEDED_TINY, ClipModel, load_clip, load_text_tower, track_clip
from detectors.clip.networks import WindowNetwork
from detectors.clip.scoring import mean_log_odds
from detectors.clip.winclip import WinCLIP

MEAN = torch.tensor([0.48145466, 0.4578275, 0.40821073])[:, None, None]
STD = torch.tensor([0.26862954, 0.26130258, 0.27577711])[:, None, None]


def module() -> Any:
    return load_clip(SEEDED_TINY).module


def picture(seed: int) -> Tensor:
    return images(1, 112, seed)[0][None].float() / 255


def attention(block: Any, x: Tensor, values_only: bool) -> Tensor:
    """Multi-head attention by hand on normed tokens [N, D]; queries and keys are the values if asked."""
    heads, dim = block.attn.num_heads, x.shape[1]
    qkv = x @ block.attn.in_proj_weight.T + block.attn.in_proj_bias
    q, k, v = (part.reshape(len(x), heads, -1).transpose(0, 1) for part in qkv.split(dim, dim=1))
    if values_only:
        q = k = v
    weights = softmax(q @ k.transpose(1, 2) * (dim // heads) ** -0.5, dim=-1)
    out: Tensor = block.attn.out_proj((weights @ v).transpose(0, 1).reshape(len(x), dim))
    return out


def embed(image: Tensor) -> Tensor:
    """CLS and patch tokens [50, D] before the first norm, patch by patch."""
    visual = module().visual
    x = ((image[0] - MEAN) / STD).double()
    kernel = visual.conv1.weight.double().flatten(1)
    patches = [kernel @ x[:, r : r + 16, c : c + 16].flatten() for r in range(0, 112, 16) for c in range(0, 112, 16)]
    return (
        torch.cat([visual.class_embedding[None].double(), torch.stack(patches)]).float() + visual.positional_embedding
    )


def run_blocks(tokens: Tensor) -> Tensor:
    for block in module().visual.transformer.resblocks:
        tokens = tokens + attention(block, block.ln_1(tokens), False)
        tokens = tokens + block.mlp(block.ln_2(tokens))
    return tokens


def test_sentences_are_encoded_as_open_clip_does_with_all_the_padding() -> None:
    sentences = ["a photo.", "a much longer photo of the flawless circuit board connector in the scene."]
    with torch.no_grad():
        expected = module().encode_text(open_clip.tokenize(sentences))
    torch.testing.assert_close(text.encode(module(), sentences), expected, rtol=1e-5, atol=1e-5)


def test_prompt_counts_and_texts() -> None:
    assert len(text.NORMAL_STATES) == 7
    assert len(text.WINDOW_ABNORMAL_STATES) == 4
    assert len(text.ABNORMAL_STATES) == 5
    assert len(set(text.WINDOW_TEMPLATES)) == len(text.WINDOW_TEMPLATES) == 22
    assert len(set(text.PHOTO_TEMPLATES)) == len(text.PHOTO_TEMPLATES) == 35
    normal = text.compose("metal nut", text.NORMAL_STATES, text.WINDOW_TEMPLATES)
    assert len(normal) == len(set(normal)) == 7 * 22
    for sentence in (
        "a cropped photo of the flawless metal nut.",
        "a photo of a metal nut without defect for visual inspection.",
        "a photo of the small perfect metal nut.",
    ):
        assert sentence in normal
    photos = text.compose("screw", text.ABNORMAL_STATES, text.PHOTO_TEMPLATES)
    assert len(set(photos)) == 5 * 35
    assert {"a photo of my broken screw.", "this is one screw with flaw in the scene."} <= set(photos)


def test_tokens_start_end_and_fit_the_context() -> None:
    tokens = open_clip.tokenize(text.compose("chewing gum", text.NORMAL_STATES, text.PHOTO_TEMPLATES))
    assert tokens.shape == (245, 77)
    assert (tokens[:, 0] == 49406).all()
    assert (tokens == 49407).sum(1).eq(1).all()
    assert (tokens.argmax(1) < 30).all()


def test_window_text_is_the_mean_of_prompt_features() -> None:
    expected = []
    for states in (text.NORMAL_STATES, text.WINDOW_ABNORMAL_STATES):
        sentences = [t.format(s.format("pill")) for s in states for t in text.WINDOW_TEMPLATES]
        with torch.no_grad():
            mean = module().encode_text(open_clip.tokenize(sentences)).mean(0)
        expected.append(mean / mean.norm())
    assert torch.allclose(text.window_text(SEEDED_TINY, "pill"), torch.stack(expected), atol=1e-5)


def restated_windows(image: Tensor) -> tuple[Tensor, dict[int, dict[tuple[int, int], Tensor]], Tensor]:
    """Image feature, window features by edge and place, patch tokens."""
    visual = module().visual
    tokens = visual.ln_pre(embed(image))
    whole = visual.ln_post(run_blocks(tokens))
    found: dict[int, dict[tuple[int, int], Tensor]] = {2: {}, 3: {}}
    for edge in found:
        for r in range(8 - edge):
            for c in range(8 - edge):
                index = [0] + [1 + 7 * (r + i) + c + j for i in range(edge) for j in range(edge)]
                found[edge][r, c] = visual.ln_post(run_blocks(tokens[index]))[0] @ visual.proj
    return whole[0] @ visual.proj, found, whole[1:]


def harmonic(scores: dict[tuple[int, int], float], edge: int) -> np.ndarray:  # type: ignore[type-arg]
    out = np.zeros((7, 7))
    for r in range(7):
        for c in range(7):
            inside = [s for (y, x), s in scores.items() if y <= r < y + edge and x <= c < x + edge]
            out[r, c] = len(inside) / sum(1 / s for s in inside)
    return out


@pytest.mark.parametrize("shots", [0, 2])
def test_winclip_equals_the_restatement(shots: int) -> None:
    support = images(shots, 112, 3)
    fitted = WinCLIP(SEEDED_TINY).fit(TensorSupport(support, category="pill"), seed=0)
    words = text.window_text(SEEDED_TINY, "pill")

    def probability(feature: Tensor) -> float:
        return float(softmax(cosine_similarity(feature[None], words) / 0.07, dim=0)[1])

    with torch.no_grad():
        prediction = fitted(picture(1))
        whole, windows, patches = restated_windows(picture(1))
        score = probability(whole)
        maps = [np.full((7, 7), score)]
        maps += [harmonic({at: probability(f) for at, f in windows[edge].items()}, edge) for edge in (2, 3)]
        combined = 3 / sum(1 / m for m in maps)
        if shots:
            refs = [restated_windows(i[None].float() / 255) for i in support]
            bank = torch.cat([r[2] for r in refs])
            levels = [
                np.array([float((1 - cosine_similarity(p[None], bank)).min() / 2) for p in patches]).reshape(7, 7)
            ]
            for edge in (2, 3):
                gallery = torch.stack([f for r in refs for f in r[1][edge].values()])
                near = {
                    at: float((1 - cosine_similarity(f[None], gallery)).min() / 2) for at, f in windows[edge].items()
                }
                levels.append(harmonic(near, edge))
            distance = np.mean(levels, axis=0)
            combined = (combined + distance) / 2
            score = (score + distance.max()) / 2
    assert prediction.anomaly_map is not None
    np.testing.assert_allclose(prediction.anomaly_map[0].sigmoid().numpy(), combined, atol=1e-5)
    assert prediction.score.sigmoid().item() == pytest.approx(score, abs=1e-5)


@pytest.mark.parametrize("shots", [0, 1])
def test_april_gan_equals_the_restatement(shots: int) -> None:
    support = images(shots, 112, 3)
    fitted = AprilGAN(SEEDED_TINY).fit(TensorSupport(support, category="pill"), seed=0)
    words = text.photo_text(SEEDED_TINY, "pill")
    visual = module().visual

    def levels(image: Tensor) -> tuple[list[Tensor], Tensor]:
        tokens, out = visual.ln_pre(embed(image)), []
        for block in visual.transformer.resblocks:
            tokens = tokens + attention(block, block.ln_1(tokens), False)
            tokens = tokens + block.mlp(block.ln_2(tokens))
            out.append(tokens[1:])
        return out, visual.ln_post(tokens)[0] @ visual.proj

    with torch.no_grad():
        prediction = fitted(picture(1))
        tokens, feature = levels(picture(1))
        score = softmax(100 * normalize(feature, dim=0) @ words.T, dim=0)[1]
        total = torch.zeros(112, 112)
        refs = [levels(i[None].float() / 255)[0] for i in support]
        for i in range(4):
            mapped = normalize(tokens[i] @ fitted.weight[i].T + fitted.bias[i], dim=1)
            logits = (100 * mapped @ words.T).T.reshape(1, 2, 7, 7)
            total += softmax(interpolate(logits, (112, 112), mode="bilinear", align_corners=True), dim=1)[0, 1]
        for i in range(4 if shots else 0):
            near = torch.stack([(1 - cosine_similarity(t[None], refs[0][i])).min() for t in tokens[i]])
            total += interpolate(near.reshape(1, 1, 7, 7), (112, 112), mode="bilinear", align_corners=True)[0, 0]
        if shots:
            score = (score + total.max() / 12) / 2
    assert prediction.anomaly_map is not None
    bound = 12 if shots else 4
    np.testing.assert_allclose(prediction.anomaly_map[0].sigmoid().numpy(), (total / bound).numpy(), atol=1e-5)
    assert prediction.score.sigmoid().item() == pytest.approx(float(score), abs=1e-5)


def test_anomalyclip_equals_the_restatement() -> None:
    """4 blocks: the last 3 have the second path; it adds value attention of the first path and no feed-forward part."""
    fitted = AnomalyCLIP(SEEDED_TINY).fit(TensorSupport([]), seed=0)
    visual = module().visual
    with torch.no_grad():
        prediction = fitted(picture(1))
        plain = visual.ln_pre(embed(picture(1)))
        path, total = plain, torch.zeros(49)
        for index, block in enumerate(visual.transformer.resblocks):
            normed = block.ln_1(plain)
            if index >= 1:
                path = path + attention(block, normed, True)
            plain = plain + attention(block, normed, False)
            plain = plain + block.mlp(block.ln_2(plain))
            if index == 0:
                path = plain
            patches = normalize((visual.ln_post(path) @ visual.proj)[1:], dim=1)
            total += softmax(patches @ fitted.text.T / 0.07, dim=1)[:, 1]
        score = softmax(normalize(plain[0] @ visual.proj, dim=0) @ fitted.text.T / 0.07, dim=0)[1]
    assert prediction.anomaly_map is not None
    wide = interpolate(total.reshape(1, 1, 7, 7) / 4, (112, 112), mode="bilinear", align_corners=False)[0, 0]
    smooth = gaussian_filter(wide.double().numpy(), 4, mode="mirror")
    np.testing.assert_allclose(prediction.anomaly_map[0].sigmoid().numpy(), smooth, atol=1e-5)
    assert prediction.score.sigmoid().item() == pytest.approx(float(score), abs=1e-5)


def test_learned_prompts_without_learning_are_the_plain_sentence() -> None:
    """With the embeddings of "X" as context and no deep tokens, the encoder is the ordinary text tower."""
    model = module()
    sentences = ["X " * 12 + end for end in ("object.", "damaged object.")]
    tokens = open_clip.tokenize(sentences)
    with torch.no_grad():
        context = model.token_embedding(tokens)[:, 1:13]
        assert torch.allclose(encode_learned(model, context, []), model.encode_text(tokens), atol=1e-5)
        deep = [torch.ones(4, 64)] * 8
        assert not torch.allclose(encode_learned(model, context, deep), model.encode_text(tokens), atol=1e-3)


def test_windows_of_the_published_model() -> None:
    with torch.device("meta"):
        model = ClipModel(open_clip.CLIP(**open_clip.get_model_config(ARCHITECTURES["clip_vitb16_plus_240"])), {}, True)
        maps, image = WindowNetwork(model, None)(torch.empty(1, 3, 240, 240))
    assert [tuple(level.shape) for level in maps] == [(1, 15, 15, 896), (1, 14, 14, 640), (1, 13, 13, 640)]
    assert image is not None
    assert image.shape == (1, 640)


def test_square_resize_covers_the_whole_image() -> None:
    with torch.no_grad():
        features = WinCLIP(SEEDED_TINY).extractor(torch.rand(1, 3, 100, 150))
    assert features.region == (0, 0, 100, 150)
    assert features.maps[0].shape[1:3] == (7, 7)


class TestReleasedCheckpoints:
    """Files in the released layouts, at the tiny model's sizes, behind the names of the published model."""

    @pytest.fixture(autouse=True)
    def published(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        monkeypatch.setenv(WEIGHTS_DIR, str(tmp_path))
        for namespace in (anomalyclip, april_gan):
            monkeypatch.setattr(namespace, "is_seeded", lambda name: False)
        anomalyclip.learned_text.cache_clear()
        return tmp_path

    def test_april_gan(self, published: Path) -> None:
        layers = {f"fc.{i}.weight": torch.full((64, 128), float(i)) for i in range(4)}
        layers |= {f"fc.{i}.bias": torch.full((64,), -float(i)) for i in range(4)}
        torch.save({"trainable_linearlayer": layers}, published / "april_gan_visa.pth")
        weight, bias = april_gan.linear_layers(SEEDED_TINY, "mvtec_ad")
        assert weight[:, 0, 0].tolist() == [0, 1, 2, 3]
        assert bias[:, 0].tolist() == [0, -1, -2, -3]
        with pytest.raises(WeightsError, match="april_gan_mvtec are not on this machine"):
            april_gan.linear_layers(SEEDED_TINY, "visa")
        layers["fc.2.weight"] = torch.zeros(64, 127)
        torch.save({"trainable_linearlayer": layers}, published / "april_gan_visa.pth")
        with pytest.raises(WeightsError, match=r"fc.2.weight has shape \[64, 127\], needed is \[64, 128\]"):
            april_gan.linear_layers(SEEDED_TINY, "mvtec_ad")
        torch.save(layers, published / "april_gan_visa.pth")
        with pytest.raises(WeightsError, match="under 'trainable_linearlayer'"):
            april_gan.linear_layers(SEEDED_TINY, "mvtec_ad")

    def test_anomalyclip(self, published: Path) -> None:
        state = {name: torch.randn(1, 1, 12, 64).half() for name in ("ctx_pos", "ctx_neg")}
        state |= {f"compound_prompts_text.{i}": torch.randn(4, 64) for i in range(8)}
        unused = {"compound_prompt_projections.0.weight": torch.zeros(3), "token_prefix_pos": torch.zeros(1)}
        torch.save({"prompt_learner": state | unused}, published / "anomalyclip_visa.pth")
        found = anomalyclip.learned_text(SEEDED_TINY, "visa", str(published))
        context = torch.cat([state["ctx_pos"], state["ctx_neg"]])[:, 0].float()
        deep = [state[f"compound_prompts_text.{i}"] for i in range(8)]
        with torch.no_grad():
            assert torch.allclose(found, normalize(encode_learned(module(), context, deep), dim=1), atol=1e-5)


def test_tracks_without_downloads_take_the_seeded_model_and_say_so() -> None:
    assert track_clip("embedded", "clip_vitl14_336") == SEEDED_TINY
    assert track_clip("dinov2_vits14", "clip_vitl14_336") == "clip_vitl14_336"
    assert WinCLIP(SEEDED_TINY).extractor.random_weights


def test_anomalyclip_ignores_references() -> None:
    detector = AnomalyCLIP(SEEDED_TINY)
    with torch.no_grad():
        without, with_one = (detector.fit(TensorSupport(images(n, 112)), seed=0)(picture(1)) for n in (0, 1))
    torch.testing.assert_close(without.score, with_one.score, rtol=0, atol=0)


def test_text_tower_alone_gives_the_same_texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = text.photo_features(module(), "pill")
    tower = load_text_tower(SEEDED_TINY)
    assert not hasattr(tower, "visual")
    torch.testing.assert_close(text.photo_features(tower, "pill"), whole, rtol=0, atol=0)

    monkeypatch.setenv(WEIGHTS_DIR, str(tmp_path))
    monkeypatch.setattr(clip_model, "_create", lambda name: open_clip.CLIP(**clip_model.TINY))
    save_file(module().state_dict(), tmp_path / "clip_vitl14_336.safetensors")
    tower = load_text_tower("clip_vitl14_336")
    assert not hasattr(tower, "visual")
    torch.testing.assert_close(text.photo_features(tower, "pill"), whole, rtol=0, atol=0)


def test_log_odds_do_not_saturate() -> None:
    logits = torch.tensor([[-90.0, 0.0, 95.0], [-80.0, 1.0, 90.0]], requires_grad=True)
    values = mean_log_odds(logits)
    values.sum().backward()  # type: ignore[no-untyped-call]
    exact = logits.detach().double()
    yes, no = torch.sigmoid(exact).mean(0), torch.sigmoid(-exact).mean(0)
    torch.testing.assert_close(values.detach().double(), yes.log() - no.log(), rtol=1e-6, atol=1e-6)
    assert logits.grad is not None
    assert (logits.grad.abs().amax(0) > 0.1).all()


def test_refusals() -> None:
    with pytest.raises(UnknownNameError, match="clip_vitb16_plus_240"):
        WinCLIP("clip_vitb16_plus")
