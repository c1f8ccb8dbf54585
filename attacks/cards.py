"""What every attack is, without importing torch: the table that `trustad list attacks` prints."""

from __future__ import annotations

from benchmark.types.attack import AttackCard

_KHAN = "Khan and Krawczyk 2025, surrogate attacks on few-shot anomaly detection"
_KHAN_URL = "https://arxiv.org/abs/2510.13643"
_MADRY = "Madry et al. 2018, Towards deep learning models resistant to adversarial attacks"
_MADRY_URL = "https://arxiv.org/abs/1706.06083"

_ALL = (
    AttackCard(
        "sign_noise",
        1,
        "none",
        "Every pixel value moves by epsilon up or down, at random.",
        uses_labels=False,
    ),
    AttackCard(
        "uniform_noise",
        1,
        "none",
        "Every pixel value moves by a uniform whole number of grey levels.",
        uses_labels=False,
    ),
    AttackCard(
        "gaussian_noise",
        1,
        "none",
        "Gaussian noise of standard deviation epsilon / 2, clipped at epsilon.",
        uses_labels=False,
    ),
    AttackCard(
        "fgsm_head",
        1,
        "surrogate",
        "One signed-gradient step through a linear head on the frozen features.",
        _KHAN,
        _KHAN_URL,
    ),
    AttackCard(
        "pgd_head",
        1,
        "surrogate",
        "Ten signed-gradient steps through the linear head, random start.",
        _MADRY,
        _MADRY_URL,
    ),
    AttackCard(
        "mi_fgsm_head",
        1,
        "surrogate",
        "Ten steps with momentum through the linear head.",
        "Dong et al. 2018, Boosting adversarial attacks with momentum",
        "https://arxiv.org/abs/1710.06081",
    ),
    AttackCard(
        "pgd_score",
        1,
        "white_box",
        "Forty signed-gradient steps on the detector's own score; best iterate.",
        _MADRY,
        _MADRY_URL,
    ),
    AttackCard("pgd_score_10", 1, "white_box", "pgd_score with ten steps.", _MADRY, _MADRY_URL),
    AttackCard("pgd_score_100", 1, "white_box", "pgd_score with a hundred steps.", _MADRY, _MADRY_URL),
    AttackCard("pgd_score_r5", 1, "white_box", "pgd_score with five random restarts.", _MADRY, _MADRY_URL),
)

CARDS: dict[str, AttackCard] = {card.name: card for card in _ALL}
