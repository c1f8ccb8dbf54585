"""What stands behind the name of an attack: its kind and, where it ships with TrustAD, its card."""

from __future__ import annotations

from dataclasses import dataclass

from benchmark.registry import load_attribute
from leaderboard.record import WORST_CASE, AttackRecord, Condition

KINDS = {
    "worst": "Worst case",
    "attack": "Attacks",
    "control": "Controls: random noise, what any attack must beat",
    "natural": "Natural corruptions: no attacks, no budget",
}


def kind(condition: Condition, info: AttackRecord | None) -> str:
    """A key of `KINDS`."""
    if condition.attack == WORST_CASE:
        return "worst"
    if condition.natural:
        return "natural"
    return "control" if info is not None and info.knowledge == "none" else "attack"


@dataclass(frozen=True, slots=True)
class AttackText:
    """One sentence on an attack and, where it has one, the paper with its address."""

    summary: str
    paper: str = ""
    url: str = ""


def attack_text(name: str) -> AttackText:
    """From the card of an attack or of its family; other people's attacks have none."""
    if name == WORST_CASE:
        return AttackText("The most harmful score of every image, clean or under any attack on all images.")
    cards = load_attribute("attacks.cards:CARDS")
    card = cards.get(name) or cards.get(name.partition(":")[0])
    if card is None:
        return AttackText("An attack from outside TrustAD.")
    if ":" not in name:
        return AttackText(card.summary, card.paper, card.url)
    member = card.summary.rpartition("... ")[2].partition(";")[0].removesuffix(".")
    return AttackText(f"{member[:1].upper()}{member[1:]}.", card.paper, card.url)
