"""`trustad train`: make the weights that nobody publishes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import cyclopts
from cyclopts import Parameter

from benchmark.cli.options import resolve_device, use_weights_dir
from benchmark.cli.progress import reporter
from benchmark.registry import DATASETS, load_attribute

app = cyclopts.App(name="train", help="Train adapters or the embedded backbone.")
Names = Annotated[list[str], Parameter(negative="")]


@app.command(name="ad_dinov3")
def ad_dinov3(
    *,
    aux: str,
    out: Path,
    data_root: Path | None = None,
    category: Names | None = None,
    backbone: str | None = None,
    clip: str | None = None,
    weights_dir: Path | None = None,
    epochs: int = 100,
    batch: int = 64,
    micro_batch: int = 8,
    learning_rate: float = 1e-5,
    held_out: float = 0.2,
    ablation: Literal["none", "no_aacm", "no_cmcl", "one_layer"] = "none",
    reference_quirks: Annotated[bool, Parameter(negative="")] = False,
    seed: int = 0,
    edge: int = 512,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    cache_features: bool = True,
    progress: Literal["auto", "plain", "off"] = "auto",
) -> None:
    """Train AD-DINOv3's adapters on the labelled test split of an auxiliary data set. Again: go on where it stopped.

    Parameters
    ----------
    aux
        Auxiliary data set; its categories can then not be evaluated with these adapters.
    out
        File to write, e.g. ad_dinov3_visa.safetensors in the weights folder.
    data_root
        Folder that holds the data sets.
    category
        Category of the auxiliary set, repeatable; default: all that are there.
    backbone
        Vision transformer; default: dinov3_vitl16.
    clip
        CLIP model of the texts; default: clip_vitl14_336.
    weights_dir
        Folder that holds downloaded weights.
    epochs
        Passes over the training images.
    batch
        Images per step.
    micro_batch
        Images in memory at a time; gradients of a batch are added up.
    learning_rate
        Of AdamW.
    held_out
        Share of the auxiliary categories on which the epoch is chosen.
    ablation
        Part that is left out.
    reference_quirks
        Reproduce the interleaved text vectors and path-based class names of the public code.
    seed
        Of the first adapters, the held-out categories and the order of images.
    edge
        Smaller edge of the images in pixels.
    device
        Where to compute; auto takes CUDA when there is one.
    cache_features
        Keep the frozen backbone's features on disk (8.4 MB per image for ViT-L/16 at 512 pixels).
    progress
        Bar on a terminal (auto), plain lines, or off.
    """
    from benchmark.data.auxiliary import auxiliary_set
    from benchmark.storage.cachedir import cache_dir

    use_weights_dir(weights_dir)
    recipe: Any = load_attribute("detectors.training.ad_dinov3_trainer:Recipe")(
        seed=seed,
        epochs=epochs,
        batch=batch,
        learning_rate=learning_rate,
        held_out=held_out,
        ablation=ablation,
        reference_quirks=reference_quirks,
    )
    with reporter(progress) as report:
        facts = load_attribute("detectors.training.ad_dinov3:train")(
            out,
            auxiliary_set(DATASETS.get(aux)(data_root), tuple(category or ()), edge),
            recipe=recipe,
            backbone=backbone,
            clip=clip,
            device=resolve_device(device),
            micro_batch=micro_batch,
            cache=cache_dir() / "features" if cache_features else None,
            report=report,
        )
    print(f"{out}: epoch {facts.epoch}, pixel AUROC {facts.auroc:.4f} on held-out {', '.join(facts.held_out)}")


@app.command(name="embedded-backbone")
def embedded_backbone(
    *,
    out: Path,
    minutes: float | None = None,
    resume_from: Path | None = None,
    device: Literal["auto", "cpu", "cuda"] = "auto",
) -> None:
    """Train the backbone that ships with the package, from nothing, on generated images.

    Parameters
    ----------
    out
        Weights file to write (.safetensors); the checkpoint lies beside it.
    minutes
        Stop early after this much wall time; the checkpoint allows going on.
    resume_from
        Checkpoint to continue.
    device
        Where to compute; auto takes CUDA when there is one.
    """
    train = load_attribute("detectors.training.embedded_backbone:train")
    print(train(out, minutes=minutes, device=resolve_device(device), resume_from=resume_from))
