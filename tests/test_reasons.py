"""What a run could not do is told once, with its first cause; exit status 0 says that nothing failed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import lying_plugins
from benchmark.cli import main, progress
from benchmark.registry import ATTACKS, DETECTORS
from benchmark.results.provenance import one_parent
from benchmark.results.schema import load_result
from benchmark.runs.collect import slug_of

FEW = ("--category", "nut", "--limit", "2", "--attack", "sign_noise", "--progress", "off")
Trustad = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {**DETECTORS.targets, **{name: f"lying_plugins:{name}" for name in lying_plugins.DETECTORS}}
    monkeypatch.setitem(vars(DETECTORS), "targets", found)
    for name, factory in lying_plugins.DETECTORS.items():
        monkeypatch.setattr(lying_plugins, name, factory, raising=False)


@pytest.fixture
def trustad(capfd: pytest.CaptureFixture[str]) -> Trustad:
    """Runs a command; gives its status, stdout and stderr."""

    def call(*words: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as status:
            main(list(words))
        told = capfd.readouterr()
        assert isinstance(status.value.code, int)
        return status.value.code, told.out, told.err

    return call


def run(trustad: Trustad, out: Path, *words: str, detectors: tuple[str, ...]) -> tuple[int, str, str]:
    named = [word for name in detectors for word in ("--detector", name)]
    return trustad("run", *FEW, "--out", str(out), *named, *words)


def test_every_failing_detector_is_named_once_with_its_first_cause_and_file(tmp_path: Path, trustad: Trustad) -> None:
    status, out, err = run(trustad, tmp_path, detectors=("knn@gabor", "nan", "exit_in_fit"))
    assert status == 1
    (nan,) = [line for line in err.splitlines() if "nan " in line]
    assert nan.strip().startswith("failed: nan procedural: ")
    assert "detector nan: scores that are not finite in float32, first for nut/" in nan
    (left,) = [line for line in err.splitlines() if "exit_in_fit" in line]
    assert "SystemExit: 0 (traceback: " in left
    assert Path(left.rpartition("(traceback: ")[2].rstrip(")")).read_text().startswith("Traceback")
    assert "stopped by a signal" not in err
    assert out.startswith("knn@gabor")


def test_reasons_are_in_the_json_and_stdout_is_json_alone(tmp_path: Path, trustad: Trustad) -> None:
    status, out, err = run(trustad, tmp_path, "--json", detectors=("prints", "long_reason"))
    told = json.loads(out)
    assert status == 1
    assert "a word on stdout" in err
    (gap,) = told["gaps"]
    assert (gap["detector"], gap["kind"], gap["first"]) == ("long_reason", "failed", "nut 1-shot seed 0")
    assert gap["reason"].startswith("ValueError: word word")
    assert gap["reason"].endswith(" word ...")
    assert [Path(path).parts[-3] for path in told["results"]] == ["prints"]


def test_a_run_without_a_result_says_so(tmp_path: Path, trustad: Trustad, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not applicable is no fault, but where nothing else is left the exit status is not 0."""
    from benchmark.errors import NotApplicableError

    def refuse(self: Any, support: Any, *, seed: int) -> Any:
        raise NotApplicableError("needs references of one size")

    monkeypatch.setattr(lying_plugins.Lying, "fit", refuse)
    status, out, err = run(trustad, tmp_path / "a", detectors=("prints",))
    assert status == 1
    assert "not applicable: prints procedural: " in err
    assert "needs references of one size" in err
    assert "no result was written" in err
    assert ", 0 failed" in out
    status, _, err = run(trustad, tmp_path / "b", detectors=("prints", "honest"))
    assert status == 0
    assert err.count("needs references of one size") == 1


def test_an_attack_that_the_chosen_part_does_not_have_is_said(
    tmp_path: Path, trustad: Trustad, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asked for by name, and run by the track at other shots only."""
    from benchmark.tracks import load_track

    track = load_track("demo")
    other = [t.model_copy(update={"shots": (2,)}) if "pgd_score_10" in t.attacks else t for t in track.tiers]
    monkeypatch.setattr("benchmark.tracks.load_track", lambda name: track.model_copy(update={"tiers": tuple(other)}))
    status, _, err = run(trustad, tmp_path, "--attack", "pgd_score_10", "--shots", "1", detectors=("knn@gabor",))
    assert status == 0
    assert "not applicable: all detectors procedural: pgd_score_10: the track runs it with other shots, seeds" in err
    assert "sign_noise: the track" not in err


def test_the_summary_line_says_badge_and_restrictions_and_no_r_without_a_white_box(
    tmp_path: Path, trustad: Trustad
) -> None:
    status, out, _ = run(trustad, tmp_path, detectors=("knn@gabor",))
    line, _ = out.splitlines()
    assert status == 0
    badge = load_result(next(tmp_path.rglob("results/*.json"))).validity.badge
    assert "R - (no white-box attack)" in line
    assert f"  {badge}  not ranked; only categories nut; only attacks sign_noise; at most 2 images per class " in line


def test_detectors_of_similar_names_have_folders_of_their_own(tmp_path: Path, trustad: Trustad) -> None:
    names = ("my_det", "my-det", "My_Det")
    status, _, _ = run(trustad, tmp_path, detectors=names)
    assert status == 0
    found = sorted(load_result(path).detector.name for path in tmp_path.rglob("results/*.json"))
    assert found == sorted(names)
    folders = [path.name.lower() for path in tmp_path.iterdir() if (path / "results").is_dir()]
    assert len(set(folders)) == 3  # also where a file system does not tell cases apart


@pytest.mark.parametrize("name", ["cells", "con", "a/b", "..", "A", "a_b@c_d", "a@b_c@d", "a_b@c@d", "a.b", "a+b=1"])
def test_slugs_are_safe_and_their_own(name: str) -> None:
    others = {"cells", "logs", "con", "a-b", "a", "a_b@c_d", "a@b_c", "a.b", "x@y", "x_y", "x-y", "X@Y", "a+b=1", "a+b"}
    slugs = {slug_of(other).lower() for other in others | {name}}
    assert len(slugs) == len(others | {name})
    assert slug_of(name) not in {"cells", "logs", "con", "..", ""}
    assert not {"/", "@", "="} & set(slug_of(name))


def test_a_result_of_the_whole_track_never_gives_way_to_a_part(
    tmp_path: Path, trustad: Trustad, monkeypatch: pytest.MonkeyPatch
) -> None:
    from benchmark.planning.planner import Selection

    with monkeypatch.context() as patch:  # a whole run would take minutes
        patch.setattr(Selection, "restrictions", lambda self: ())
        assert run(trustad, tmp_path, detectors=("honest",))[0] == 0
    (path,) = tmp_path.rglob("results/*.json")
    before = path.read_bytes()
    status, _, err = run(trustad, tmp_path, detectors=("honest",))
    assert status == 2
    assert "is a result of the whole track, and this run leaves parts out (only categories nut; " in err
    assert "choose another --out" in err
    assert path.read_bytes() == before


def test_a_part_that_replaces_another_part_is_said(tmp_path: Path, trustad: Trustad) -> None:
    run(trustad, tmp_path, detectors=("honest",))
    status, _, err = trustad(
        *("run", "--detector", "honest", "--category", "weave", "--limit", "2", "--attack", "sign_noise"),
        *("--progress", "off", "--out", str(tmp_path)),
    )
    assert status == 0
    assert "was of only categories nut; only attacks sign_noise; at most 2 images per class" in err


# ---- progress and what comes after a run ---------------------------------------------------------------------------


def test_nothing_is_silent_for_longer_than_the_interval(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """With an interval of 10 ms: planning is told, and so is a pass that takes long."""
    monkeypatch.setattr(progress, "PLAIN_INTERVAL", 0.01)

    def told_again(words: str) -> bool:
        end = time.monotonic() + 30
        seen = ""
        while words not in seen and time.monotonic() < end:
            time.sleep(0.005)
            seen += capfd.readouterr().err
        return words in seen

    with progress.reporter("plain") as report:
        assert told_again(" s: planning")
        report(1, 5, "knn@gabor nut clean")
        assert told_again(" s: [1/5] since knn@gabor nut clean")
    capfd.readouterr()
    time.sleep(0.05)
    assert capfd.readouterr().err == ""


def test_submit_says_what_is_partial(tmp_path: Path, trustad: Trustad) -> None:
    run(trustad, tmp_path / "run", detectors=("knn@gabor",))
    status, out, err = trustad(
        *("submit", str(tmp_path / "run"), "--slug", "mine", "--author", "A", "--licence", "CC0-1.0"),
        *("--submissions", str(tmp_path / "submissions")),
    )
    assert status == 0
    assert out.startswith(str(tmp_path / "submissions" / "mine"))
    assert "partial: demo-v" in err
    assert "only categories nut; only attacks sign_noise; at most 2 images per class: it will be listed, never" in err


def test_a_board_of_the_runs_of_a_working_folder(
    tmp_path: Path, trustad: Trustad, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    status, _, err = trustad("leaderboard", "build")
    assert status == 2
    assert "neither submissions/ nor results in runs/ here; give --submissions" in err
    run(trustad, tmp_path / "runs" / "mine", detectors=("knn@gabor",))
    status, out, _ = trustad("leaderboard", "build")
    assert status == 0
    assert out.startswith("1 rows, ")
    (tmp_path / "empty").mkdir()
    assert "no results were found" in trustad("leaderboard", "build", "--submissions", "empty", "--out", "other")[2]


# ---- options and names --------------------------------------------------------------------------------------------


def test_options_reach_the_detector_and_its_result(tmp_path: Path, trustad: Trustad) -> None:
    words = ("--option", "anomalydino.mask_form=grid", "--option", "anomalydino.neighbours=2")
    plain, _, _ = run(trustad, tmp_path, detectors=("anomalydino@gabor",))
    status, _, _ = run(trustad, tmp_path, *words[:2], detectors=("anomalydino@gabor",))
    assert (plain, status) == (0, 0)
    configs = [load_result(path).detector.config["mask_form"] for path in tmp_path.rglob("results/*.json")]
    assert sorted(map(str, configs)) == ["grid", "raster"]


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--option", "knn"], "write DETECTOR.NAME=VALUE"),
        (["--option", "padim.channels=3"], "padim is not among the detectors of this run"),
        (["--option", "knn.no_such=3"], "does not take the options {'no_such': 3"),
        (["--option", "knn.a=1", "--option", "knn.a=2"], "knn.a is given twice"),
        (["--backbone", "dinov2_vits14", "--detector", "patchcore"], "patchcore keeps its own, wide_resnet50_2"),
        (["--detector", "lying_plugins:SAYINGS"], "not something that makes a detector"),
        (["--detector", "no.such:Thing"], "cannot load no.such:Thing: ModuleNotFoundError"),
        (["--detector", "os:no_such"], "cannot load os:no_such: AttributeError"),
        (["--data-root", "/nope", "--track", "few-shot"], "--data-root /nope is not a folder"),
    ],
)
def test_options_that_do_not_fit_are_one_line(words: list[str], reason: str, tmp_path: Path, trustad: Trustad) -> None:
    status, out, err = run(trustad, tmp_path / "out", *words, detectors=("knn",))
    assert (status, out) == (2, "")
    assert reason in err
    assert len(err.splitlines()) == 1
    assert not list(tmp_path.rglob("*.json"))


def trustad_process(*words: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    root = Path(__file__).parents[1]
    settings = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1", **environment}
    script = cwd.parent / f"{cwd.name}-trustad"  # as installed: the working folder is not on the path by itself
    script.write_text("from benchmark.cli import main\nmain()\n")
    command = [sys.executable, str(script), *words]
    return subprocess.run(command, cwd=cwd, env=settings, capture_output=True, text=True, timeout=120, check=False)


def test_a_detector_of_the_working_folder_is_found_and_never_shadows_what_is_installed(tmp_path: Path) -> None:
    source = (Path(__file__).parent / "honest_detector.py").read_text()
    (tmp_path / "mine.py").write_text(source)
    (tmp_path / "numpy.py").write_text("raise SystemExit('shadowed')")
    done = trustad_process("run", *FEW, "--detector", "mine:detector", "--out", "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    result = load_result(next((tmp_path / "out").rglob("results/*.json")))
    assert (result.detector.name, result.detector.title) == ("mine:detector", "Nearest colours")


def test_wrong_names_are_told_before_torch_is_imported(tmp_path: Path) -> None:
    """Measured by what is imported, not by the clock."""
    script = (
        "import sys; from benchmark.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit as stop: print(stop.code, 'torch' in sys.modules, 'pandas' in sys.modules)"
    )
    for words in (
        ["run", "--detector", "nope"],
        ["run", "--track", "nope"],
        ["run", "--dataset", "nope"],
        ["run", "--limit", "0"],
        ["run", "--track", "few-shot"],
        ["run", "--track", "few-shot", "--data-root", "nope"],
        ["run", "--nope"],
        ["list", "backbones"],
    ):
        done = subprocess.run(
            [sys.executable, "-c", script, *words], cwd=Path(__file__).parents[1], capture_output=True, text=True
        )
        status = "0" if words[0] == "list" else "2"
        assert done.stdout.splitlines()[-1] == f"{status} False False", (words, done.stdout, done.stderr)


# ---- other people's packages ----------------------------------------------------------------------------------------


def test_one_broken_entry_point_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, trustad: Trustad) -> None:
    (tmp_path / "dies_on_import.py").write_text("raise SystemExit(0)")
    monkeypatch.syspath_prepend(str(tmp_path))
    broken = {"gone": "no_such_module:X", "dies": "dies_on_import:X", "bare": "json:loads"}
    for registry, kind in ((DETECTORS, "detectors"), (ATTACKS, "attacks")):
        ours = {name: target for name, target in registry.targets.items() if not target.startswith("lying_plugins")}
        monkeypatch.setitem(vars(registry), "targets", {**ours, **broken})
        status, out, err = trustad("list", kind)
        assert status == 0
        assert len(out.splitlines()) == len(ours)
        assert sorted(line.split(": ")[1] for line in err.splitlines()) == [f"{kind[:-1]} {n}" for n in sorted(broken)]


def test_data_sets_of_others_that_break_are_left_out(monkeypatch: pytest.MonkeyPatch, trustad: Trustad) -> None:
    from benchmark.registry import DATASETS

    monkeypatch.setitem(vars(DATASETS), "targets", {**DATASETS.targets, "gone": "no_such_module:X"})
    for command in (("list", "datasets"), ("data", "list")):
        status, out, err = trustad(*command)
        assert status == 0
        assert "mvtec_ad" in out
        assert err.startswith("left out: dataset gone: cannot load no_such_module:X")


def test_a_package_installed_over_ours_is_named_without_importing_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from benchmark.results import provenance

    assert one_parent() is None
    tree = tmp_path / "site-packages"
    for package, part in provenance.PARTS.items():
        (tree / package).mkdir(parents=True)
        (tree / package / "__init__.py").write_text('"""Ours."""\n')
        (tree / package / part).write_text("")
    monkeypatch.setattr(provenance, "__file__", str(tree / "benchmark" / "results" / "provenance.py"))
    for package in provenance.PARTS:
        monkeypatch.delitem(sys.modules, package, raising=False)
    monkeypatch.setattr(sys, "path", [str(tree), *sys.path])
    assert one_parent() is None
    (tree / "detectors" / "__init__.py").write_text("import skimage\n")
    assert one_parent() == f"package 'detectors' at {tree / 'detectors'} is not TrustAD's"
    (tree / "detectors" / "__init__.py").write_text("")
    (tree / "detectors" / "cards.py").unlink()
    assert "is not TrustAD's" in str(one_parent())


# ---- terminals ------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_stdout_is_one_line(tmp_path: Path) -> None:
    root = Path(__file__).parents[1]
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "benchmark", "list", "tracks"],
            cwd=root,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert done.returncode == 2
    assert done.stderr == "trustad: cannot write: No space left on device; free space\n"


@pytest.mark.parametrize("columns", ["1", "0", "-5", "x", "39"])
def test_help_ends_in_the_narrowest_terminal(columns: str, tmp_path: Path) -> None:
    done = trustad_process("run", "--help", cwd=tmp_path, COLUMNS=columns, TERM="dumb")
    assert done.returncode == 0, done.stderr
    assert "--detector" in done.stdout


def test_any_encoding_of_the_terminal_prints(tmp_path: Path) -> None:
    done = trustad_process("run", "--detector", "größe漢", cwd=tmp_path, PYTHONIOENCODING="ascii", LC_ALL="C")
    assert done.returncode == 2
    assert done.stderr.startswith("trustad: unknown detector 'gr")
    assert "Traceback" not in done.stderr
    done = trustad_process("list", "metrics", cwd=tmp_path, PYTHONIOENCODING="ascii", LC_ALL="C")
    assert done.returncode == 0
