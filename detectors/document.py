"""docs/detectors.md from the cards; ``python -m detectors.document`` rewrites it. Imports no torch."""

from __future__ import annotations

from pathlib import Path

from benchmark.storage.jsonio import atomic_write
from benchmark.types import Card
from detectors.backbones.weights import WEIGHTS
from detectors.cards import CARDS

DOCUMENT = Path(__file__).parents[1] / "docs" / "detectors.md"
FLAGS = {
    "zero_shot": "zero-shot",
    "few_shot": "few-shot",
    "transductive": "transductive: sees the unlabelled query set, ranked apart",
    "auxiliary_labels": "trained on labelled anomalies of another data set",
    "random_weights": "random weights: listed, never ranked",
}


def render() -> str:
    """The document: one section per detector, then the table of weights."""
    head = (
        "# Detectors\n\nGenerated from `detectors/cards.py` and `detectors/backbones/weights.py` by "
        "`python -m detectors.document`; do not edit.\n\n"
        "`trustad list detectors` shows the flags, `trustad check NAME` runs the conformance suite, "
        "[add-a-detector.md](add-a-detector.md) adds one.\n"
    )
    return "\n".join([head, *(_section(card) for card in CARDS.values()), _weights()])


def _section(card: Card) -> str:
    flags = [text for name, text in FLAGS.items() if getattr(card, name)]
    flags += [] if card.differentiable else ["no gradient: attacked by transfer and black box only"]
    flags += [] if card.has_map else ["image score only"]
    rows = {
        "Paper": f"[{card.paper}]({card.url})",
        "Licence": card.licence,
        "Training data": card.training_data,
        "Flags": "; ".join(flags),
        "Version": str(card.version),
    }
    table = "\n".join(f"- {name}: {text}" for name, text in rows.items())
    return f"## {card.title} (`{card.name}`)\n\n{card.summary}\n\n{table}\n"


def _weights() -> str:
    lines = [
        "## Weights\n",
        "`trustad weights list|fetch|verify`. Nothing is downloaded unasked. SHA-256 values are compared where the "
        "publisher states them (hub blob names, torch.hub file names).\n",
        "| name | architecture | licence | MB | also accepted | from |",
        "|---|---|---|---|---|---|",
    ]
    for weights in WEIGHTS.values():
        also = f"`{weights.original}`" if weights.original else ""
        size = weights.megabytes or "?"
        lines.append(
            f"| `{weights.name}` | {weights.architecture} | {weights.licence} | {size} | {also} | <{weights.url}> |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    atomic_write(DOCUMENT, render())
