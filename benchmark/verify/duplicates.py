"""Has somebody else's evidence been handed in again?"""

from __future__ import annotations

import numpy as np

from benchmark.errors import ResultError
from benchmark.results.evidence import KEY, read_scores
from benchmark.verify.subject import Entry, Subject

SAME = 0.9999
"""Correlation of two detectors' standardised scores, image by image, from which they count as one."""
FEWEST = 6


def check_duplicates(subject: Subject) -> str:
    """No other submission has the same scores up to scale, offset and small noise.

    Raises:
        ResultError: Naming the other submission.
    """
    compared = 0
    for entry in subject.entries:
        for folder in subject.siblings():
            path = folder / "evidence" / f"{entry.result.stem}.parquet"
            if not path.is_file():
                continue
            likeness = _likeness(entry, read_scores(path))
            compared += 1
            if likeness is not None and likeness >= SAME:
                raise ResultError(
                    f"{entry.path.name}: the scores correlate to {likeness:.6f} with those of submission {folder.name}"
                )
    return f"compared with {compared} results"


def _likeness(entry: Entry, other: object) -> float | None:
    """Correlation over all rows that both have, each condition of each episode standardised; None if too few."""
    keys = [name for name in KEY if name not in ("dataset", "detector")]
    joined = entry.scores.merge(other, on=keys, suffixes=("", "_other"))  # type: ignore[arg-type]
    parts: list[tuple[np.ndarray, np.ndarray]] = []
    for _, rows in joined.groupby([k for k in keys if k != "sample_id"], dropna=False, observed=True):
        pair = [rows[name].to_numpy(np.float64) for name in ("score", "score_other")]
        if len(rows) >= FEWEST and all(values.std() > 0 for values in pair):
            mine, theirs = ((values - values.mean()) / values.std() for values in pair)
            parts.append((mine, theirs))
    if not parts:
        return None
    mine, theirs = (np.concatenate(side) for side in zip(*parts, strict=True))
    return float(np.mean(mine * theirs))
