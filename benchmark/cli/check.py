"""``trustad check``: conformance of a detector."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

from cyclopts import Parameter

from benchmark.cli.options import use_working_folder


def check(
    target: str,
    /,
    *,
    backbone: str = "embedded",
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> int:
    """Run the conformance checks on a detector. Exits 1 when one fails.

    Parameters
    ----------
    target
        NAME, NAME@BACKBONE or MODULE:ATTRIBUTE.
    backbone
        Backbone for detectors that leave the choice open.
    as_json
        Print the results as JSON.
    """
    use_working_folder()
    from benchmark.conformance import check_detector
    from benchmark.storage.jsonio import pretty_json

    results = check_detector(target, backbone=backbone)
    if as_json:
        print(pretty_json([asdict(result) for result in results]), end="")
    else:
        for result in results:
            print(f"{result.status:4s}  {result.name:20s}  {result.detail or result.meaning}")
    return int(any(result.status == "fail" for result in results))
