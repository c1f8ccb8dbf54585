"""The checks, one function each: "" for a pass, else what is wrong; `Skip` where a check cannot apply."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

from benchmark.conformance.case import Case, differ
from benchmark.conformance.images import MemorySupport, blotted, texture
from benchmark.errors import NotApplicableError
from benchmark.types import FittedDetector, Prediction, TransductiveScorer

SAME = 1e-4
"""Relative tolerance between two ways to compute one score: other matrix shapes round differently."""
CELLS = 4


class Skip(Exception):
    """A check that does not apply, with the reason."""


def card_and_config(case: Case) -> str:
    """The card is filled in, the name carries the backbone, the configuration is JSON."""
    card = case.card
    empty = [name for name in ("name", "title", "summary", "licence", "training_data") if not getattr(card, name)]
    if empty:
        return f"the card leaves {', '.join(empty)} empty"
    if not (card.few_shot or card.zero_shot):
        return "the card claims neither few-shot nor zero-shot"
    try:
        json.dumps(dict(case.detector.config), allow_nan=False)
    except (TypeError, ValueError) as error:
        return f"config is not JSON: {error}"
    return "" if case.detector.name.startswith(card.name) else f"name {case.detector.name!r} hides {card.name!r}"


def shapes_and_ranges(case: Case) -> str:
    """One finite score per image; a finite map per image exactly where the card promises one."""
    return _malformed(case, case.predict(case.fitted, case.query), case.query)


def _malformed(case: Case, prediction: Prediction, pixels: Tensor) -> str:
    batch = len(pixels)
    if tuple(prediction.score.shape) != (batch,):
        return f"score has shape {list(prediction.score.shape)}, needed is [{batch}]"
    if not prediction.score.isfinite().all():
        return "scores that are not finite"
    found = prediction.anomaly_map
    if (found is not None) != case.card.has_map:
        return f"the card says has_map = {case.card.has_map}, the prediction says otherwise"
    if found is not None and (found.ndim != 3 or len(found) != batch or not found.isfinite().all()):
        return f"anomaly map of shape {list(found.shape)} is not [{batch}, h, w] or not finite"
    top, left, bottom, right = prediction.region or (0, 0, *pixels.shape[-2:])
    height, width = pixels.shape[-2:]
    inside = 0 <= top < bottom <= height and 0 <= left < right <= width
    return "" if inside else f"region {prediction.region} does not lie in {height}x{width}"


def determinism(case: Case) -> str:
    """Scoring twice and fitting twice give the same bits, or the card says otherwise."""
    if not case.card.deterministic:
        raise Skip("declared deterministic = False")
    first, again = case.score(case.fitted, case.query), case.score(case.fitted, case.query)
    if not torch.equal(first, again):
        return f"scoring twice: {differ(first, again, 0.0)}"
    refitted = case.score(case.fit(case.references, detector=case.factory()), case.query)
    return "" if torch.equal(first, refitted) else f"fitting twice: {differ(first, refitted, 0.0)}"


def higher_is_anomalous(case: Case) -> str:
    """Pictures with a large blot score higher, on average, than pictures without."""
    if not case.references and not case.card.transductive and _random(case):
        raise Skip("random weights and no references: nothing to tell normal from anomalous by")
    normal, anomalous = case.score(case.fitted, case.query).chunk(2)
    return "" if anomalous.mean() > normal.mean() else f"blots {anomalous.mean():.4g}, normals {normal.mean():.4g}"


def _random(case: Case) -> bool:
    return case.card.random_weights or (case.detector.extractor is not None and case.detector.extractor.random_weights)


def batch_invariance(case: Case) -> str:
    """An image's score does not depend on its batch or its place there."""
    together = case.score(case.fitted, case.query)
    rows = [slice(i, i + 1) for i in range(len(together))]
    alone = torch.cat([case.score(case.fitted, case.query[row], case.ids[row]) for row in rows])
    if text := differ(together, alone, SAME):
        return f"alone and together: {text}"
    backwards = case.score(case.fitted, case.query.flip(0), case.ids[::-1]).flip(0)
    return differ(together, backwards, SAME)


def support_order(case: Case) -> str:
    """The order of the references does not matter."""
    if not case.card.few_shot:
        raise Skip("takes no references")
    straight = case.score(case.fitted, case.query)
    return differ(straight, case.score(case.fit(case.references[::-1]), case.query), SAME)


def inputs_untouched(case: Case) -> str:
    """Neither fitting nor scoring writes into the images, and scoring leaves no trace in the detector."""
    references, query = [r.clone() for r in case.references], case.query.clone()
    floats = case.query.float() / 255
    kept = floats.clone()
    fitted = case.fit(case.references)
    before = case.score(fitted, floats)
    case.score(fitted, 1 - floats)
    if not torch.equal(before, case.score(fitted, floats)):
        return "scoring other images changed later scores"
    same = torch.equal(floats, kept) and torch.equal(case.query, query)
    same = same and all(torch.equal(a, b) for a, b in zip(references, case.references, strict=True))
    return "" if same else "fit or score wrote into its input"


def query_unseen(case: Case) -> str:
    """Only transductive detectors see the query set, and those leave the scored image out."""
    if case.card.transductive:
        if not isinstance(case.fitted, TransductiveScorer):
            return "card.transductive without `excluding`: see TransductiveScorer"
        left_out = case.score(case.fitted, case.query[-1:], case.ids[-1:])
        stranger = case.score(case.fitted, case.query[-1:], ["not a query image"])
        return "" if left_out > stranger else "`excluding` does not take the image out of its own references"
    pairs = [(name, picture) for name, picture in zip(case.ids, case.query, strict=True)]
    try:
        case.detector.fit_transductive(MemorySupport(case.references), pairs, seed=0)
    except (NotImplementedError, NotApplicableError):
        return ""
    return "fit_transductive works though the card says transductive = False"


def gradient(case: Case) -> str:
    """The gradient is finite, points uphill and reaches every cell of the region; or is declared absent."""
    if not case.card.differentiable:
        raise Skip("declared differentiable = False: attacked by transfer and black box only")
    pixels = (case.query.float() / 255).requires_grad_()
    prediction = case.predict(case.fitted, pixels)
    if not prediction.score.requires_grad:
        return "the score carries no gradient, yet the card says differentiable"
    (of_score,) = torch.autograd.grad(prediction.score.sum(), pixels, retain_graph=True)
    total = of_score.abs()
    if prediction.anomaly_map is not None and prediction.anomaly_map.requires_grad:
        total = total + torch.autograd.grad(prediction.anomaly_map.sum(), pixels)[0].abs()
    if not total.isfinite().all():
        return "the gradient is not finite"
    top, left, bottom, right = prediction.region or (0, 0, *pixels.shape[-2:])
    seen = total[..., top:bottom, left:right].sum(dim=(0, 1))
    cells = torch.nn.functional.adaptive_max_pool2d(seen[None], CELLS)
    if dark := int((cells == 0).sum()):
        return f"no gradient in {dark} of {CELLS * CELLS} cells of the region"
    return _ascent(case, pixels.detach(), of_score)


def _ascent(case: Case, pixels: Tensor, direction: Tensor) -> str:
    """A small step along the gradient raises most scores and a step against it lowers them."""
    unit = direction / direction.flatten(1).norm(dim=1)[:, None, None, None].clamp_min(1e-20)
    with torch.no_grad():
        up, down = (case.predict(case.fitted, pixels + sign * 0.05 * unit).score for sign in (1, -1))
    share = float((up > down).float().mean())
    return "" if share > 0.5 else f"steps along the gradient raise only {share:.0%} of the scores"


def device_moves(case: Case) -> str:
    """On a GPU, if there is one, the same scores within 1e-3."""
    if not torch.cuda.is_available():
        raise Skip("no second device on this machine")
    if case.detector.extractor is None:
        raise Skip("no extractor to move")
    there = case.factory()
    assert there.extractor is not None
    there.extractor = there.extractor.to("cuda")
    moved = case.fit(case.references, detector=there)
    return differ(case.score(case.fitted, case.query), case.score(moved, case.query), 1e-3)


def odd_sizes(case: Case) -> str:
    """Images that are not square and no multiple of anything are scored, or refused as not applicable."""
    height, width = case.edge + 13, case.edge - 5
    pictures = torch.stack([texture(height, width, 5), blotted(height, width, 6), texture(height, width, 7)])
    references = [texture(height, width, i) for i in range(len(case.references))]
    try:
        fitted = case.fit(references, pictures)
        with torch.no_grad():
            return _malformed(case, case.predict(fitted, pictures), pictures)
    except NotApplicableError as error:
        return _unclear(error)


def one_reference(case: Case) -> str:
    """A single reference is enough for a few-shot detector."""
    if not case.card.few_shot:
        raise Skip("takes no references")
    return _malformed(case, case.predict(case.fit(case.references[:1]), case.query), case.query)


def constant_images(case: Case) -> str:
    """Black, grey and white images give finite scores, as query and as references."""
    flat = torch.stack([torch.full_like(case.query[0], value) for value in (0, 128, 255)])
    if text := _malformed(case, case.predict(case.fit(case.references, flat), flat), flat):
        return f"as query: {text}"
    if not case.card.few_shot:
        return ""
    fitted = case.fit([flat[1]] * len(case.references))
    text = _malformed(case, case.predict(fitted, case.query), case.query)
    return f"as references: {text}" if text else ""


def save_and_load(case: Case) -> str:
    """The fitted tensors survive a safetensors file: the restored detector gives the same scores."""
    from safetensors.torch import load_file, save_file

    state = case.fitted.state()
    if not state:
        raise Skip("no fitted tensors")
    with TemporaryDirectory() as folder:
        path = Path(folder) / "state.safetensors"
        save_file({name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}, path)
        loaded = load_file(path)
    restored = case.fitted.with_state(loaded)
    if text := differ(case.score(case.fitted, case.query), case.score(restored, case.query), SAME):
        return f"the restored detector: {text}"
    blank: FittedDetector = case.fitted.with_state({name: torch.zeros_like(t) for name, t in loaded.items()})
    same = torch.equal(case.score(case.fitted, case.query), case.score(blank, case.query))
    return "with_state ignores the tensors it is given" if same else ""


def error_texts(case: Case) -> str:
    """Without references a few-shot detector says in one line why it cannot run; a zero-shot one runs."""
    if case.card.transductive:
        lone = case.query[:1]
        return _refuses(lambda: case.fit([], lone), "one lone query image")
    if case.card.zero_shot:
        return _malformed(case, case.predict(case.fit([]), case.query), case.query)
    return _refuses(lambda: case.fit([]), "an empty support")


def _refuses(call: Callable[[], object], what: str) -> str:
    try:
        call()
    except NotApplicableError as error:
        return _unclear(error)
    except Exception as error:
        return f"{what} raises {type(error).__name__} instead of NotApplicableError"
    return f"{what} is accepted"


def _unclear(error: NotApplicableError) -> str:
    text = str(error)
    return "" if len(text) > 10 and "\n" not in text else f"the reason {text!r} is not one clear line"


CHECKS: tuple[Callable[[Case], str], ...] = (
    card_and_config,
    shapes_and_ranges,
    determinism,
    higher_is_anomalous,
    batch_invariance,
    support_order,
    inputs_untouched,
    query_unseen,
    gradient,
    device_moves,
    odd_sizes,
    one_reference,
    constant_images,
    save_and_load,
    error_texts,
)
"""In the order of the report."""
