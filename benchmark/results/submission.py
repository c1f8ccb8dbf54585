"""The files of a submission beside its results: submission.toml, verification.json and gallery/gallery.json.

    submissions/<slug>/submission.toml        who, what, where: `Submission`
                       results/*.json         one `benchmark.results.schema.RunResult` per track and data set
                       evidence/*.parquet     the scores behind every number
                       verification.json      optional: `Verification`, the ladder with dates
                       gallery/gallery.json   optional: `Gallery`, at most 12 WebP strips and 1 MB

All models are strict: unknown keys, wrong types and addresses other than https are refused.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import Field, StringConstraints, ValidationError, field_validator, model_validator

from benchmark.errors import ResultError
from benchmark.results.rows import BudgetText, Count, Name, Real, Sha256, Strict, Text
from benchmark.storage.jsonio import canonical_json, strict_loads

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

MAX_METADATA_BYTES = 100_000
MAX_GALLERY_FILES = 12
MAX_GALLERY_BYTES = 1_000_000

Slug = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
Line = Annotated[str, StringConstraints(min_length=1, max_length=300, pattern=r"^[^\x00-\x1f\x7f]+$")]
Address = Annotated[str, StringConstraints(pattern=r"^https://[^\s<>\"'\\]{1,500}$")]
Day = Annotated[str, StringConstraints(pattern=r"^20[0-9]{2}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])$")]
Commit = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{40}$")]
Step = Literal["claimed", "schema_valid", "recomputed", "spot_rerun", "audited", "fully_rerun"]

LADDER: tuple[Step, ...] = ("claimed", "schema_valid", "recomputed", "spot_rerun", "audited", "fully_rerun")
Model = TypeVar("Model", bound=Strict)


class Submission(Strict):
    """submission.toml: what the authors say about their row; everything measured stands in the results.

    Attributes:
        name: Method name as the board prints it.
        paper: Citation in words; ``paper_url`` is its address, ``doi`` without the resolver.
        code_url, code_commit: Public code and the exact commit, if there is one.
        licence: Of the submitted numbers and text, SPDX-like.
        training_data: What weights, prompts and hyper-parameters have seen.
        attacks_run_by: Rows attacked by their own authors say ``self-attacked`` until the audit tier is re-run.
    """

    schema_version: Literal[1]
    slug: Slug
    name: Line
    authors: Annotated[tuple[Line, ...], Field(min_length=1, max_length=100)]
    contact: Line | None = None
    year: Annotated[int, Field(ge=1990, le=2100)]
    paper: Line | None = None
    paper_url: Address | None = None
    doi: Annotated[str, StringConstraints(pattern=r"^10\.[0-9]{4,9}/[A-Za-z0-9._;()/:-]{1,200}$")] | None = None
    code_url: Address | None = None
    code_commit: Commit | None = None
    licence: Line
    backbone: Line | None = None
    training_data: Text
    attacks_run_by: Literal["authors", "maintainers"]
    notes: Text = ""


class VerificationStep(Strict):
    """One rung that was reached, when and by whom; ``detail`` names tolerances, hardware or the workflow run."""

    step: Step
    date: Day
    by: Line
    detail: Text = ""


class CounterRecord(Strict):
    """A counter-claim that was re-scored: R of a result with and without it alone (`benchmark.verify.counter`).

    Attributes:
        id: Folder below counter/.
        result: Stem of the attacked result.
        authors: Credited by the board.
        images: Perturbed images.
        robust_before, robust_after: R from the evidence, and with the claim as one more attack.
    """

    id: Slug
    result: Name
    authors: Annotated[tuple[Line, ...], Field(min_length=1, max_length=20)]
    method: Line
    budget: BudgetText
    images: Count
    robust_before: Real | None
    robust_after: Real | None

    @property
    def lowers(self) -> bool:
        """Whether the claim takes something away."""
        before, after = self.robust_before, self.robust_after
        return before is not None and after is not None and after < before


class LoweredResult(Strict):
    """What all counter-claims against a result leave together.

    Attributes:
        result: Stem of the result.
        robust: R.
        budgets: Worst-case AUROC at every budget of R but 0.
    """

    result: Name
    robust: Real
    budgets: dict[BudgetText, Real]


class Verification(Strict):
    """verification.json: rungs reached for exactly the result files whose digests are listed (file stem -> SHA-256)."""

    schema_version: Literal[1]
    protocol: Count
    results: dict[Name, Sha256]
    steps: tuple[VerificationStep, ...]
    counter_claims: tuple[CounterRecord, ...] = ()
    lowered: tuple[LoweredResult, ...] = ()

    def lowered_result(self, stem: str) -> LoweredResult | None:
        """What the counter-claims left of a result, if they lowered it; the board shows and ranks by it."""
        return next((found for found in self.lowered if found.result == stem), None)

    def credits(self, stem: str) -> tuple[CounterRecord, ...]:
        """The claims that lowered a result."""
        return tuple(c for c in self.counter_claims if c.result == stem and c.lowers)

    @model_validator(mode="after")
    def _ordered(self) -> Verification:
        rungs = [LADDER.index(step.step) for step in self.steps]
        if rungs != sorted(set(rungs)):
            raise ValueError(f"steps must climb the ladder without repeats: {', '.join(LADDER)}")
        return self


Panel = Literal["clean", "mask", "perturbation", "attacked", "map_clean", "map_attacked"]


class GalleryItem(Strict):
    """One example: a WebP strip of square panels of equal size, from left to right as ``panels`` says.

    Attributes:
        amplification: Factor by which the perturbation panel is amplified around mid grey.
        score_clean, score_attacked: The detector's score of the image before and after.
    """

    file: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,99}\.webp$")]
    panels: Annotated[tuple[Panel, ...], Field(min_length=1, max_length=6)]
    track: Name
    dataset: Name
    category: Name
    sample_id: Text
    label: Literal[0, 1]
    shots: Count
    attack: Name
    budget: BudgetText
    amplification: Annotated[int, Field(ge=1, le=128)]
    score_clean: Real
    score_attacked: Real


class Gallery(Strict):
    """gallery.json: what the strips show; only data sets whose licence allows redistribution."""

    schema_version: Literal[1]
    items: Annotated[tuple[GalleryItem, ...], Field(max_length=MAX_GALLERY_FILES)]

    @field_validator("items")
    @classmethod
    def _distinct(cls, items: tuple[GalleryItem, ...]) -> tuple[GalleryItem, ...]:
        if len({item.file for item in items}) != len(items):
            raise ValueError("two items name one file")
        return items


def load_submission(folder: Path) -> Submission:
    """Read submissions/<slug>/submission.toml.

    Raises:
        ResultError: If it is missing, malformed, or its slug is not the folder's name.
    """
    path = folder / "submission.toml"
    if not path.exists():
        raise ResultError(f"{path} is missing; every submission has one")
    try:
        data = canonical_json(tomllib.loads(_read(path).decode()))
    except (tomllib.TOMLDecodeError, TypeError, ValueError, RecursionError) as error:
        raise ResultError(f"{path}: not valid TOML of text, numbers and lists ({error})") from error
    submission = _validate(Submission, data, path)
    if submission.slug != folder.name:
        raise ResultError(f"{path}: slug {submission.slug!r} stands in a folder named {folder.name!r}; make them equal")
    return submission


def load_verification(folder: Path) -> Verification | None:
    """Read verification.json; None where there is none.

    Raises:
        ResultError: If it is malformed.
    """
    return _load_json(Verification, folder / "verification.json")


def load_gallery(folder: Path) -> Gallery | None:
    """Read gallery/gallery.json and check its files: WebP, at most 12 and 1 MB together; None where there is none.

    Raises:
        ResultError: If it is malformed, or a file is missing, too large or no WebP.
    """
    gallery = _load_json(Gallery, folder / "gallery" / "gallery.json")
    total = 0
    for item in gallery.items if gallery else ():
        path = folder / "gallery" / item.file
        if path.is_symlink() or not path.is_file():
            raise ResultError(f"{path} is named in gallery.json but is no file")
        total += path.stat().st_size
        if total > MAX_GALLERY_BYTES:
            raise ResultError(f"{path.parent}: more than {MAX_GALLERY_BYTES:,} bytes of images; make them smaller")
        head = path.read_bytes()[:12]
        if head[:4] != b"RIFF" or head[8:12] != b"WEBP":
            raise ResultError(f"{path} is no WebP image")
    return gallery


def _load_json(model: type[Model], path: Path) -> Model | None:
    if not path.exists():
        return None
    text = _read(path)
    strict_loads(text, source=str(path))
    return _validate(model, text, path)


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > MAX_METADATA_BYTES:
            raise ResultError(f"{path}: {path.stat().st_size:,} bytes; it may have {MAX_METADATA_BYTES:,}")
        return path.read_bytes()
    except OSError as error:
        raise ResultError(f"cannot read {path}: {error.strerror}") from error


def _validate(model: type[Model], text: str | bytes, path: Path) -> Model:
    try:
        return model.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "file"
        raise ResultError(re.sub(r"\s+", " ", f"{path}: {where}: {first['msg']}")) from error
