"""What every attack is, without importing torch: the table that `trustad list attacks` prints."""

from __future__ import annotations

from benchmark.types.attack import AttackCard

_KHAN = "Khan and Krawczyk 2025, surrogate attacks on few-shot anomaly detection"
_KHAN_URL = "https://arxiv.org/abs/2510.13643"
_MADRY = "Madry et al. 2018, Towards deep learning models resistant to adversarial attacks"
_MADRY_URL = "https://arxiv.org/abs/1706.06083"
_APGD = "Croce and Hein 2020, Reliable evaluation of adversarial robustness with an ensemble of parameter-free attacks"
_APGD_URL = "https://arxiv.org/abs/2003.01690"
_SQUARE = "Andriushchenko et al. 2020, Square attack"
_SQUARE_URL = "https://arxiv.org/abs/1912.00049"

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
    AttackCard("pgd_score_restarts", 1, "white_box", "pgd_score with five random restarts.", _MADRY, _MADRY_URL),
    AttackCard(
        "pgd_score_frozen_mask",
        1,
        "white_box",
        "pgd_score that climbs under the clean image's foreground mask, held throughout.",
        _MADRY,
        _MADRY_URL,
        uses_foreground=True,
    ),
    AttackCard(
        "apgd_score",
        1,
        "white_box",
        "Forty steps of Auto-PGD on the detector's own score; best iterate.",
        _APGD,
        _APGD_URL,
    ),
    AttackCard("apgd_score_10", 1, "white_box", "apgd_score with ten steps.", _APGD, _APGD_URL),
    AttackCard("square_score", 1, "black_box", "A thousand score queries, random squares.", _SQUARE, _SQUARE_URL),
    AttackCard("transfer", 1, "transfer", "pgd_score against AnomalyDINO, replayed on every other detector."),
    AttackCard("transfer_10", 1, "transfer", "pgd_score_10 against AnomalyDINO, replayed on every other detector."),
    AttackCard(
        "pgd_head_oracle",
        1,
        "surrogate",
        "pgd_head through a head fitted on true labels of the other half.",
        _MADRY,
        _MADRY_URL,
    ),
    AttackCard(
        "mask_flip",
        1,
        "white_box",
        "Moves defects out of, or background into, the detector's foreground mask.",
        uses_masks=True,
        uses_foreground=True,
    ),
    AttackCard(
        "pgd_map",
        1,
        "white_box",
        "Raises the anomaly map off the defect and lowers it on the defect.",
        "Nafez et al. 2025, PatchGuard",
        "https://arxiv.org/abs/2506.09237",
        uses_masks=True,
    ),
    AttackCard(
        "flag_adaptive",
        1,
        "white_box",
        "Crosses the decision threshold with an entropy below the flag; knows the calibrator.",
    ),
    AttackCard(
        "torchattacks",
        1,
        "surrogate",
        "A family: torchattacks:PGD, torchattacks:MIFGSM ... against the linear head.",
        "Kim 2020, Torchattacks",
        "https://arxiv.org/abs/2010.01950",
    ),
    AttackCard(
        "nes_score",
        1,
        "black_box",
        "A thousand score queries in antithetic pairs.",
        "Ilyas et al. 2018, Black-box adversarial attacks with limited queries",
        "https://arxiv.org/abs/1804.08598",
    ),
    *(
        AttackCard(
            name,
            1,
            "none",
            f"A family: {name}:mild, {name}:severe ... {what}; no budget, so it runs at 255/255.",
            "Hendrycks and Dietterich 2019, Benchmarking neural network robustness",
            "https://arxiv.org/abs/1903.12261",
            uses_labels=False,
            full_coverage=False,
        )
        for name, what in (
            ("jpeg", "JPEG compression"),
            ("blur", "Gaussian blur"),
            ("brightness", "every value moves up"),
            ("contrast", "values move towards the image's mean"),
        )
    ),
)

CARDS: dict[str, AttackCard] = {card.name: card for card in _ALL}
