"""Published image counts, which `trustad data verify` compares a copy with.

Per category: ``train``, ``good`` and ``bad`` (test split), ``normal`` (both splits, where the split is ours),
``empty_masks`` (at most so many defective images have an all-zero mask), or the name of a defect. Sources: the data
sets' papers and split files. For BMAD and Real-IAD no counts per category were found: only structure is checked.
"""

from __future__ import annotations

from collections.abc import Mapping


def _table(keys: str, rows: str) -> dict[str, dict[str, int]]:
    """One category per line: its name, then one count per key."""
    names = keys.split()
    cells = [row.split() for row in rows.strip().splitlines()]
    return {category: dict(zip(names, map(int, counts), strict=True)) for category, *counts in cells}


PUBLISHED: Mapping[str, Mapping[str, Mapping[str, int]]] = {
    "mvtec_ad": _table(
        "train good bad",
        """
        bottle 209 20 63
        cable 224 58 92
        capsule 219 23 109
        carpet 280 28 89
        grid 264 21 57
        hazelnut 391 40 70
        leather 245 32 92
        metal_nut 220 22 93
        pill 267 26 141
        screw 320 41 119
        tile 230 33 84
        toothbrush 60 12 30
        transistor 213 60 40
        wood 247 19 60
        zipper 240 32 119
        """,
    ),
    "visa": _table(
        "train good bad",
        """
        candle 900 100 100
        capsules 542 60 100
        cashew 450 50 100
        chewinggum 453 50 100
        fryum 450 50 100
        macaroni1 900 100 100
        macaroni2 900 100 100
        pcb1 904 100 100
        pcb2 901 100 100
        pcb3 905 101 100
        pcb4 904 101 100
        pipe_fryum 450 50 100
        """,
    ),
    "btad": _table(
        "train good bad empty_masks",
        """
        01 400 21 49 0
        02 399 30 200 1
        03 1000 400 41 10
        """,
    ),
    "mpdd": _table(
        "train good bad",
        """
        bracket_black 289 32 47
        bracket_brown 185 26 51
        bracket_white 110 30 30
        connector 128 30 14
        metal_plate 54 26 71
        tubes 122 32 69
        """,
    ),
    "mvtec_loco": _table(
        "train good logical_anomalies structural_anomalies",
        """
        breakfast_box 351 102 83 90
        juice_bottle 335 94 142 94
        pushpins 372 138 91 81
        screw_bag 360 122 137 82
        splicing_connectors 360 119 108 85
        """,
    ),
    "mvtec_ad_2": _table(
        "train good bad",
        """
        can 412 72 90
        fabric 387 66 90
        fruit_jelly 263 20 60
        rice 313 42 90
        sheet_metal 137 24 90
        vial 291 35 105
        wallplugs 293 60 90
        walnuts 432 60 90
        """,
    ),
    "magnetic_tile": _table(
        "normal blowhole break crack fray uneven empty_masks", "magnetic_tile 952 115 85 57 32 103 4"
    ),
    "isic": _table("bad", "skin 379"),
    "colondb": _table("bad", "colon 380"),
    "clinicdb": _table("bad", "colon 612"),
    "tn3k": _table("bad", "thyroid 614"),
}
