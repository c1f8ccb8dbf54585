"""Executors carry jobs to processes. All give the same cells in files of the same bytes.

An executor is a callable ``(jobs, known) -> iterator of Cell | CellFailure``; jobs of one data set and
category stream their cells as they complete, so that a killed run loses the pass in flight and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from benchmark.errors import UnknownNameError, UsageError
from benchmark.registry import load_attribute

if TYPE_CHECKING:
    from typing import TypeAlias

    from benchmark.execution.pass_run import CellFailure
    from benchmark.planning.jobs import Job
    from benchmark.storage.cells import Cell

    Executor: TypeAlias = Callable[[Sequence[Job], Mapping[str, Cell]], Iterator[Cell | CellFailure]]

EXECUTORS = {"local": "benchmark.execution.executors.local:execute", "ray": "benchmark.execution.executors.ray:execute"}


def executor(name: str) -> Executor:
    """The executor of a name.

    Raises:
        UnknownNameError: If there is none of that name.
        UsageError: If its extra is not installed.
    """
    if name not in EXECUTORS:
        raise UnknownNameError("executor", name, EXECUTORS)
    try:
        found: Executor = load_attribute(EXECUTORS[name])
    except UsageError as error:
        raise UsageError(f"--executor {name}: {error}; install it with `pip install 'trustad[{name}]'`") from error
    return found
