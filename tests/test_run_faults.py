"""Faults around a run: full and read-only disks, clocks that jump, two runs in one folder, damaged cells, signals."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from benchmark.cli import main
from benchmark.errors import StoreError
from benchmark.planning.planner import Selection
from benchmark.runs import session
from benchmark.runs.eventlog import EventLog, event_log
from benchmark.runs.session import Summary, run_track
from benchmark.storage.cells import CellStore
from benchmark.storage.jsonio import atomic_write
from benchmark.storage.scratch import scratch_file, scratch_folder, sweep
from benchmark.tracks import load_track

FULL = 400 * 1024
SELECTION = Selection(
    detectors=("patchcore@gabor",), categories=("nut",), limit=2, attacks=("sign_noise", "pgd_score_10")
)


def run(out: Path, progress: session.Progress = lambda *_: None, log: EventLog = session.SILENT) -> Summary:
    return run_track(load_track("demo"), SELECTION, out, executor_name="local", progress=progress, log=log)


def content(out: Path) -> dict[str, bytes]:
    """Everything that a run leaves except cells, by path; results without their timing."""
    found = {}
    for path in sorted(p for p in out.rglob("*") if p.is_file() and "cells" not in p.parts and p.name != ".lock"):
        data = path.read_bytes()
        if path.parent.name == "results":
            data = json.dumps(json.loads(data) | {"timing": None}, sort_keys=True).encode()
        found[str(path.relative_to(out))] = data
    return found


def strays(out: Path) -> list[Path]:
    return list(out.rglob("*.tmp"))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted run."""
    out = tmp_path_factory.mktemp("whole")
    run(out)
    return out


@contextmanager
def mounted(folder: Path, *options: str) -> Iterator[None]:
    """A file system mounted on a folder; skips where mounting is refused."""
    folder.mkdir(exist_ok=True)
    try:
        subprocess.run(["mount", *options, str(folder)], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"mounting is refused here ({error})")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


class Stopped(Exception):
    """Stands for the end of the process at one exact moment."""


def stop_after(cells: int) -> session.Progress:
    def progress(done: int, total: int, what: str) -> None:
        if done == cells:
            raise Stopped

    return progress


# ---- disks ------------------------------------------------------------------------------------------------------


def test_a_full_disk_stops_the_run_with_one_line_and_the_rest_is_run_later(tmp_path: Path, whole: Path) -> None:
    disk = tmp_path / "disk"
    with mounted(disk, "-t", "tmpfs", "-o", f"size={FULL}", "tmpfs"):
        ballast = disk / "ballast"
        ballast.write_bytes(bytes(FULL - 40_000))
        with pytest.raises(StoreError, match="No space left on device; free space"):
            run(disk / "run")
        assert not strays(disk)
        kept = list(CellStore(disk / "run").addresses())
        ballast.unlink()
        subprocess.run(["mount", "-o", "remount,size=20m", str(disk)], check=True)
        again = run(disk / "run")
        assert (again.skipped, again.corrupt) == (len(kept), 0)
        assert 0 < len(kept) < 5
        assert content(disk / "run") == content(whole)


def test_a_full_cache_disk_is_one_line_and_no_failed_cell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = tmp_path / "disk"
    with mounted(disk, "-t", "tmpfs", "-o", "size=100k", "tmpfs"):
        monkeypatch.setenv("TRUSTAD_CACHE", str(disk / "cache"))
        with pytest.raises(StoreError, match="No space left on device; free space or set TRUSTAD_CACHE"):
            run(tmp_path / "run")
        assert not strays(disk)


@pytest.mark.parametrize("began", [False, True])
def test_a_read_only_disk_is_one_line_on_stderr(
    tmp_path: Path, began: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    with mounted(out, "-t", "tmpfs", "-o", "size=1m", "tmpfs"):
        if began:
            with pytest.raises(Stopped):
                run(out, stop_after(1))
        subprocess.run(["mount", "-o", "remount,ro", str(out)], check=True)
        with pytest.raises(SystemExit) as status:
            main(["run", "--detector", "patchcore@gabor", "--category", "nut", "--limit", "2", "--out", str(out)])
        assert status.value.code == 2
        assert "Read-only file system; choose another --out" in capsys.readouterr().err


def test_a_full_disk_under_the_log_is_one_line() -> None:
    with pytest.raises(StoreError, match="No space left on device; free space"), event_log(Path("/dev/full")) as log:
        log("start", {})


# ---- clocks -----------------------------------------------------------------------------------------------------


def test_clocks_that_jump_change_nothing_but_the_timing(
    tmp_path: Path, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clock goes back by a day while the run is stopped, and files have times of the future."""
    with pytest.raises(Stopped):
        run(tmp_path, stop_after(2))
    for path in tmp_path.rglob("*"):
        os.utime(path, (4e9, 4e9))
    days = iter(range(1, 100))

    class Jumping(datetime):
        @classmethod
        def now(cls, tz: timezone | None = None) -> datetime:  # type: ignore[override]
            return datetime.now(tz) - timedelta(days=next(days))

    monkeypatch.setattr(session, "datetime", Jumping)
    monkeypatch.setattr(time, "time", lambda: 0.0)
    again = run(tmp_path)
    assert (again.skipped, again.done) == (2, 3)
    assert content(tmp_path) == content(whole)


# ---- two runs, damaged cells ------------------------------------------------------------------------------------


def test_of_two_runs_in_one_folder_the_second_refuses_and_nothing_is_lost(tmp_path: Path, whole: Path) -> None:
    refused: list[str] = []

    def second(done: int, total: int, what: str) -> None:
        with pytest.raises(StoreError, match="another run is using") as error:
            run(tmp_path)
        refused.append(str(error.value))

    assert run(tmp_path, second).done == len(refused) == 5
    assert content(tmp_path) == content(whole)


def test_truncated_cells_are_found_reported_and_computed_again(tmp_path: Path, whole: Path) -> None:
    run(tmp_path)
    store = CellStore(tmp_path)
    for address, keep in zip(list(store.addresses()), (0, 100, -1), strict=False):
        store.path(address).write_bytes(store.path(address).read_bytes()[:keep])
    stream = io.BytesIO()
    again = run(tmp_path, log=EventLog(stream))
    assert (again.done, again.corrupt, again.skipped) == (3, 3, 2)
    events = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [event["event"] for event in events] == ["start", *["damaged"] * 3, *["cell"] * 3, "end"]
    assert content(tmp_path) == content(whole)


def test_a_run_stopped_before_its_galleries_makes_them_later(
    tmp_path: Path, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(session, "write_galleries", lambda *_: stop_after(0)(0, 0, ""))
        with pytest.raises(Stopped):
            run(tmp_path)
    assert run(tmp_path).done == 0
    assert any(name.endswith(".webp") for name in content(tmp_path))
    assert content(tmp_path) == content(whole)


# ---- temporary files --------------------------------------------------------------------------------------------


def test_a_sweep_takes_abandoned_files_and_folders_and_no_others(tmp_path: Path) -> None:
    abandoned = tmp_path / "deep" / ".cell.safetensors.abc.tmp"
    abandoned.parent.mkdir()
    abandoned.write_text("half")
    (tmp_path / ".weave.xyz.tmp").mkdir()
    (tmp_path / ".weave.xyz.tmp" / "image.png").write_text("")
    (tmp_path / "mine.tmp").write_text("not ours")
    with scratch_file(tmp_path / "cell") as file, scratch_folder(tmp_path, "nut") as folder:
        assert sorted(sweep(tmp_path)) == [tmp_path / ".weave.xyz.tmp", abandoned]
        assert file.exists()
        assert folder.exists()
    assert [path.name for path in tmp_path.rglob("*")] == ["deep", "mine.tmp"]


def test_writers_and_sweepers_at_once_lose_no_file(tmp_path: Path) -> None:
    """Every write succeeds although the folder is swept all the time."""
    stop = threading.Event()

    def sweeper() -> None:
        while not stop.is_set():
            sweep(tmp_path)

    thread = threading.Thread(target=sweeper)
    thread.start()
    try:
        for place in range(300):
            atomic_write(tmp_path / f"{place}.json", str(place), durable=False)
    finally:
        stop.set()
        thread.join()
    assert sorted(int(path.read_text()) for path in tmp_path.iterdir()) == list(range(300))


def test_sigterm_during_a_write_leaves_nothing(tmp_path: Path) -> None:
    from benchmark.cli.options import stopping_in_order
    from benchmark.storage.jsonio import atomic_write_with

    def writer(temp: Path) -> None:
        temp.write_text("half")
        os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as status, stopping_in_order():
        atomic_write_with(tmp_path / "cell", writer)
    assert status.value.code == 143
    assert not list(tmp_path.iterdir())
    assert signal.getsignal(signal.SIGTERM) is before
