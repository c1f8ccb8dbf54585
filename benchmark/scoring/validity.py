"""Attack validity (PROTOCOL.md section 4): does a row's robustness come from the detector or from a broken attack?

Every check reads stored facts, so the badge can be computed again from the evidence. RED rows are listed, not ranked.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from benchmark.metrics.outcome import Floats
from benchmark.metrics.ranking import auroc_value
from benchmark.results.schema import AttackRef, Check, Flags, RunFacts, Validity
from benchmark.statistics.bootstrap import macro_auroc_replicates, percentile_interval
from benchmark.statistics.intervals import Interval
from benchmark.types.attack import Knowledge
from benchmark.types.condition import parse_budget

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

    from benchmark.types.detector import Card

Status = Literal["pass", "amber", "red", "skipped"]
Badge = Literal["green", "amber", "red"]

Pairs = Mapping[str, tuple[NDArray[np.int64], Floats]]

GREY = 128
"""At n = 128 one uniform grey image lies in every ball, so no detector can be right more often than not."""
MAX_DEAD = 0.05


@dataclass(frozen=True, slots=True)
class Condition:
    """Scores of one attack at one budget on the images of one episode.

    Attributes:
        attack: Attack name.
        budget: Grey levels.
        labels: [N] 0 or 1.
        scores: [N] scores under the attack (two-sided goal).
        sample_ids: N ids; they pair conditions of the same episode.
        episode: Names the episode (category, shots, seed); conditions are compared within it.
    """

    attack: str
    budget: Fraction
    labels: NDArray[np.int64]
    scores: Floats
    sample_ids: tuple[str, ...]
    episode: str = ""


@dataclass(frozen=True, slots=True)
class Facts:
    """What the checks read.

    Attributes:
        conditions: All attacked score vectors of a result.
        knowledge: Attack name -> what its attacker knows.
        differentiable: As the detector's card declares.
        deterministic: As the detector's card declares.
        run: What the run measured (`repeat_error`, `dead_share`).
    """

    conditions: Sequence[Condition]
    knowledge: Mapping[str, Knowledge]
    differentiable: bool = True
    deterministic: bool = True
    run: RunFacts = field(default_factory=RunFacts)


def diagnose(facts: Facts) -> Validity:
    """All checks; the badge is the worst status (skipped checks count as amber: nothing odd was ruled out)."""
    checks = tuple(check(facts) for check in CHECKS)
    found = {check.status for check in checks}
    badge: Badge = "red" if "red" in found else "amber" if found & {"amber", "skipped"} else "green"
    return Validity(badge=badge, checks=checks, facts=facts.run)


def validity_of(scores: pd.DataFrame, attacks: Sequence[AttackRef], run: RunFacts, card: Card | Flags) -> Validity:
    """The badge of a result from its evidence rows and stored facts.

    Args:
        scores: Evidence columns (PROTOCOL.md section 8).
        attacks: The attacks of the result.
        run: What the run measured.
        card: The detector's card, or the flags that a result took from it.
    """
    return diagnose(
        Facts(
            conditions=tuple(conditions_of(scores)),
            knowledge={attack.name: attack.knowledge for attack in attacks},
            differentiable=card.differentiable,
            deterministic=card.deterministic,
            run=run,
        )
    )


def conditions_of(scores: pd.DataFrame) -> Iterator[Condition]:
    """Attacked score vectors of evidence rows, in the order of the sample ids."""
    episode = ["category", "shots", "seed"]
    attacked = scores[(scores["attack"].notna()) & (scores["goal"] == "two_sided")]
    for (attack, budget, *which), rows in attacked.groupby(["attack", "budget", *episode], observed=True):
        rows = rows.sort_values("sample_id")
        yield Condition(
            attack=str(attack),
            budget=parse_budget(str(budget)),
            labels=rows["label"].to_numpy(np.int64),
            scores=rows["score"].to_numpy(np.float64),
            sample_ids=tuple(rows["sample_id"]),
            episode="/".join(map(str, which)),
        )


def repeat_error(scores: Mapping[str, float], again: Mapping[str, float]) -> float:
    """Largest difference of two score calls on the same images, relative to the range of all scores (0 = same bits).

    Args:
        scores: Sample id -> score of the whole clean set.
        again: Sample id -> score of a second call on some of it.
    """
    span = max(scores.values()) - min(scores.values()) or 1.0
    return max(abs(scores[name] - value) for name, value in again.items()) / span


def dead_share(dead: Tensor, clean: Tensor, labels: Tensor) -> float:
    """Share of images whose gradient was zero throughout an attack and whose score could still have moved.

    An image is excused when its clean score already is the most harmful one of its episode: the lowest score for an
    anomaly, the highest for a normal image.

    Args:
        dead: bool [N], see `benchmark.execution.target.BoundTarget.dead`.
        clean: [N] clean scores.
        labels: [N] 0 or 1.
    """
    import torch

    bound = torch.where(labels > 0, clean <= clean.min(), clean >= clean.max())
    return float((dead & ~bound).double().mean())


def _check(name: str, status: Status, detail: str) -> Check:
    return Check(name=name, status=status, detail=detail)


def white_box_completed(facts: Facts) -> Check:
    """A ranked row needs a white-box attack that ran."""
    name = "white_box_completed"
    ran = sorted({c.attack for c in facts.conditions if facts.knowledge[c.attack] == "white_box"})
    if ran:
        return _check(name, "pass", f"white-box attacks that ran: {', '.join(ran)}")
    if not facts.differentiable:
        return _check(
            name, "red", "black-box only: the detector declares differentiable = False and no substitute gradient"
        )
    return _check(name, "red", "black-box only: no white-box attack was completed")


def repeatable(facts: Facts) -> Check:
    """Two calls give the same scores, or randomness is declared and averaged over (EOT)."""
    name = "repeatable"
    if not facts.deterministic:
        return _check(name, "amber", "declared random: attacked and scored as the mean of several draws")
    if facts.run.repeat_error is None:
        return _check(name, "skipped", "scores were not computed twice")
    if facts.run.repeat_error > 0:
        return _check(name, "red", f"two calls differ by {facts.run.repeat_error:.2g} of the score range, undeclared")
    return _check(name, "pass", "two calls give the same scores")


def gradients(facts: Facts) -> Check:
    """At most 5 % of the images have a zero gradient without being at a score bound."""
    name = "gradients"
    if not facts.run.dead:
        return _check(name, "skipped", "no gradients were recorded")
    attack, share = max(sorted(facts.run.dead.items()), key=lambda item: item[1])
    status: Status = "red" if share > MAX_DEAD else "amber" if share > 0 else "pass"
    return _check(name, status, f"{share:.1%} of the images have zero gradients throughout {attack}")


def grey_ball(facts: Facts) -> Check:
    """At n = 128 a working white-box attack brings the two-sided AUROC to 0.5 or less."""
    name = "grey_ball"
    values = _auroc_by_attack([c for c in facts.conditions if c.budget == GREY], facts, {"white_box"})
    if not values:
        return _check(name, "skipped", "no white-box attack was run at 128")
    attack, value = min(values.items(), key=lambda item: item[1])
    status: Status = "red" if value > 0.5 else "pass"
    return _check(name, status, f"two-sided AUROC {value:.3f} under {attack} at 128, where uniform grey is reachable")


def white_box_strongest(facts: Facts) -> Check:
    """No black-box or transfer attack beats the white box beyond a paired 95 % interval."""
    weaker = {name for name, knowledge in facts.knowledge.items() if knowledge in {"black_box", "transfer"}}
    words = "black box and transfer against white box"
    return _compare(facts, "white_box_strongest", words, weaker, _on_the_score(facts), failed="red")


def controls_weakest(facts: Facts) -> Check:
    """Noise and the surrogate do not beat the white box beyond a paired 95 % interval."""
    weaker = {name for name, knowledge in facts.knowledge.items() if knowledge in {"surrogate", "none"}}
    words = "noise and surrogate against white box"
    return _compare(facts, "controls_weakest", words, weaker, _on_the_score(facts), failed="amber")


def beats_noise(facts: Facts) -> Check:
    """The white box is significantly stronger than noise at the largest budget where both ran."""
    name, noise = "beats_noise", {name for name, knowledge in facts.knowledge.items() if knowledge == "none"}
    found = [(budget, attack, pairs) for attack, budget, pairs in _paired(facts, noise, _on_the_score(facts))]
    if not found:
        return _check(name, "skipped", "noise and white box were not run on the same images")
    budget, attack, pairs = max(found, key=lambda item: item[0])
    gap = paired_interval(pairs)
    text = f"AUROC of the white box minus {attack}, [{gap.low:+.3f}, {gap.high:+.3f}] at {budget}"
    return _check(name, "pass" if gap.high < 0 else "amber", text)


def more_steps_help(facts: Facts) -> Check:
    """100 steps are not weaker than 10 beyond a paired 95 % interval."""
    words = "10 steps against 100"
    return _compare(facts, "more_steps_help", words, {"pgd_score_10"}, {"pgd_score_100"}, failed="red")


def _on_the_score(facts: Facts) -> set[str]:
    """White-box attacks whose aim is the score."""
    return {n for n, k in facts.knowledge.items() if k == "white_box"} - {"pgd_map", "mask_flip", "flag_adaptive"}


CHECKS = (
    white_box_completed,
    repeatable,
    gradients,
    grey_ball,
    white_box_strongest,
    more_steps_help,
    controls_weakest,
    beats_noise,
)


def _auroc_by_attack(conditions: Sequence[Condition], facts: Facts, knowledge: set[str]) -> dict[str, float]:
    """Macro mean over episodes of each attack's two-sided AUROC."""
    found: dict[str, list[float]] = {}
    for c in conditions:
        if facts.knowledge[c.attack] in knowledge and len(set(c.labels.tolist())) == 2:
            value = auroc_value(c.scores[c.labels == 1], c.scores[c.labels == 0], ties="lost")
            found.setdefault(c.attack, []).append(value)
    return {attack: float(np.mean(values)) for attack, values in found.items()}


def _compare(facts: Facts, name: str, words: str, weaker: set[str], stronger: set[str], *, failed: Status) -> Check:
    """Fails if a supposedly weaker attack gives a significantly lower AUROC than the stronger ones, image by image."""
    found = [
        (interval.low, interval.high, f"{attack} at {budget}")
        for attack, budget, pairs in _paired(facts, weaker, stronger)
        for interval in [paired_interval(pairs)]
    ]
    if not found:
        return _check(name, "skipped", f"{words}: not run on the same images")
    low, high, where = max(found)
    text = f"{words}: AUROC of the stronger minus the weaker, [{low:+.3f}, {high:+.3f}] for {where}"
    return _check(name, failed if low > 0 else "pass", text)


def _paired(facts: Facts, weaker: set[str], stronger: set[str]) -> Iterator[tuple[str, Fraction, Pairs]]:
    """For each weaker attack and budget: its episodes, paired with the per-image worst of the stronger attacks."""
    by_key: dict[tuple[str, Fraction], list[Condition]] = {}
    for c in facts.conditions:
        by_key.setdefault((c.attack, c.budget), []).append(c)
    for (attack, budget), weak_conditions in sorted(by_key.items()):
        if attack in weaker and budget != GREY:
            strong = [c for name in sorted(stronger) for c in by_key.get((name, budget), [])]
            found = [(c.episode, _pair(c, strong)) for c in weak_conditions]
            pairs = {episode: pair for episode, pair in found if pair is not None}
            if pairs:
                yield attack, budget, pairs


def _pair(weak: Condition, strong: Sequence[Condition]) -> tuple[NDArray[np.int64], Floats] | None:
    """Labels [n] and scores [2, n] (stronger, weaker) of the common images of an episode; None without both classes."""
    rivals = [dict(zip(c.sample_ids, c.scores.tolist(), strict=True)) for c in strong if c.episode == weak.episode]
    rows = [i for i, name in enumerate(weak.sample_ids) if any(name in rival for rival in rivals)]
    labels = weak.labels[rows]
    if len(set(labels.tolist())) < 2:
        return None
    harmful = []
    for row in rows:
        found = [rival[weak.sample_ids[row]] for rival in rivals if weak.sample_ids[row] in rival]
        harmful.append(min(found) if weak.labels[row] else max(found))
    return labels, np.stack([np.array(harmful), weak.scores[rows]])


def paired_interval(pairs: Pairs) -> Interval:
    """95 % bootstrap interval of the macro mean over episodes of AUROC(stronger) - AUROC(weaker), ties lost.

    Args:
        pairs: Episode -> labels [n] and scores [2, n] (stronger, weaker) of the same images.
    """
    stronger, weaker = macro_auroc_replicates(pairs, "diagnostics", ties="lost")
    return percentile_interval(stronger - weaker)
