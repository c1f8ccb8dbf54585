"""Attacks by submitted code and by counter-claims."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from safetensors.torch import save_file

from benchmark.errors import ContractError
from benchmark.results.evidence import SCORE_COLUMNS, write_evidence
from benchmark.verify.isolation import Limits, interpreter_paths, isolated
from benchmark.verify.sandbox.client import answered
from benchmark.verify.sandbox.protocol import Channel
from hostile import ATTACKS, Attack, attack, simple
from submissions import STEM, edit_text, forge, scores_path


def code(text: str, where: str = "from __future__ import annotations\n"):  # type: ignore[no-untyped-def]
    """An attack that adds lines to the honest detector.py, by default run when it is loaded."""
    return lambda folder: edit_text(folder / "detector.py", where, where + text)


def scores_with(text: str):  # type: ignore[no-untyped-def]
    """An attack that runs lines whenever images are scored."""
    lines = "".join(f"        {line}\n" for line in text.splitlines())
    return code(lines, "    def __call__(self, images: Tensor) -> Prediction:\n")


JAILED = {
    "detector.py reads a secret from the environment": ("KeyError", "import os; os.environ['GITHUB_TOKEN']"),
    "detector.py opens a socket": (
        "Network is unreachable",
        "import socket; socket.create_connection(('192.0.2.1', 443), 5)",
    ),
    "detector.py listens on this machine's loopback": (
        "Network is unreachable",
        "import socket; socket.create_connection(('127.0.0.1', 80), 5)",
    ),
    "detector.py forks without end": (
        "BlockingIOError",
        "import os, time\nwhile True:\n    if os.fork() == 0: time.sleep(60)",
    ),
    "detector.py fills the memory": ("MemoryError", "x = bytearray(10**11)"),
    "detector.py fills the disk": (
        "No space left on device",
        "for i in range(99):\n    with open(f'/tmp/{i}', 'wb') as f: f.write(b'x' * 10**7)",
    ),
    "detector.py writes one huge file": ("File too large", "open('/tmp/x', 'wb').truncate(10**9)"),
    "detector.py writes into the project": (
        "benchmark/__init__.py'",
        "import sys; sys.path.insert(0, HOME); import benchmark; open(benchmark.__file__, 'a').write('x')",
    ),
    "detector.py writes into the root folder": ("Read-only file system", "open('/here', 'w')"),
    "detector.py reads the evidence that it should reproduce": ("No such file", "open(HOME + '/submissions/x')"),
    "detector.py reads the repository's history": ("No such file", "import os; os.listdir(HOME + '/.git')"),
    "detector.py reads the machine's users": ("No such file", "open('/etc/passwd')"),
    "detector.py kills every process it can see": (
        "killed only its own",
        "import os, signal\nfor pid in range(2, 40000):\n    try:\n"
        "        if pid != os.getpid(): os.kill(pid, signal.SIGKILL)\n"
        "    except ProcessLookupError: pass\nraise RuntimeError('killed only its own')",
    ),
    "detector.py becomes root in a namespace of its own": (
        "returned non-zero exit status",
        "import subprocess; subprocess.run(['unshare', '-rm', 'true'], check=True)",
    ),
    "detector.py mounts the disk": (
        "returned non-zero exit status",
        "import subprocess; subprocess.run(['mount', '-t', 'tmpfs', 'none', '/tmp'], check=True)",
    ),
    "detector.py uses a set-uid program": (
        "returned non-zero exit status",
        "import subprocess; subprocess.run(['su', '-c', 'true'], check=True, stdin=subprocess.DEVNULL)",
    ),
    "detector.py ends its process": ("has ended", "import os; os._exit(0)"),
    "detector.py sleeps": ("longer than its time limit", "import time; time.sleep(9999)"),
    "detector.py spins for ever": ("has ended", "while True: pass"),
    "detector.py writes its own frames": ("are allowed", "import os; os.write(1, b'\\xff' * 100)"),
    "detector.py sends a pickle for a frame": (
        "malformed message",
        "import os, pickle; data = pickle.dumps(print)\n"
        "os.write(1, (2).to_bytes(4, 'little') + len(data).to_bytes(8, 'little') + b'{}' + data)",
    ),
}
"""Run behind the same walls, without the server around them: what -> (the one line, the program)."""

for what, (says, text) in JAILED.items():
    ATTACKS.append(Attack(what, "isolation", says, text))


def jailed(program: str) -> str:
    """What the harness is told when a program runs where detectors run."""
    home = str(Path(__file__).parents[1])
    lines = [f"HOME = {home!r}", "try:", *(f"    {line}" for line in program.splitlines())]
    lines += ["except Exception as error: fail(f'{type(error).__name__}: {error}')"]
    reply = (
        "def fail(text):\n    import json, os\n    words = json.dumps({'error': text[:500]}).encode()\n"
        "    frame = len(words).to_bytes(4, 'little') + (10).to_bytes(8, 'little') + words\n"
        "    os.write(1, frame + (2).to_bytes(8, 'little') + b'{}')"
    )
    command = [sys.executable, "-I", "-c", "\n".join([reply, *lines])]
    limits = Limits(wall=5 if "sleep(9999)" in program else 300, processor=2, processes=16)
    with isolated(command, interpreter_paths(), limits) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            answered(Channel(process.stdout.fileno(), process.stdin.fileno(), limits.wall).receive())
        except ContractError as error:
            return str(error)
    return "it was let through"


attack("detector.py that does not parse", "spot re-run", "SyntaxError", rerun=True)(code("def (\n"))
attack(
    "an error message of a megabyte with colours and line breaks", "spot re-run", "failed: RuntimeError", rerun=True
)(code("raise RuntimeError('\\x1b[31m\\n' * 300_000)\n"))

attack("a detector.py of another version than was run", "spot re-run", "detector.version", rerun=True)(
    lambda folder: edit_text(folder / "detector.py", "version=1", "version=2")
)

WHEN_SCORING = {
    "scores that are NaN": ("not finite", "return Prediction(images.mean((1, 2, 3)) * float('nan'))"),
    "one score too few": ("the score must be", "return Prediction(images.mean((1, 2, 3))[1:])"),
    "scores drawn by chance": ("when run again", "return Prediction(torch.rand(len(images)))"),
    "a map of another batch": ("the map must be", "return Prediction(images.mean((1, 2, 3)), images[:1, 0])"),
    "the harness's metrics patched from inside": (
        "when run again",
        "import benchmark.metrics.ranking as m, benchmark.verify.rerun as r\nm.auroc = lambda *_: 1.0\n"
        "r.CLEAN_TOLERANCE = 1e9\nr._compared = lambda *_: 'fine'\nreturn Prediction(images.mean((1, 2, 3)))",
    ),
    "the harness's frames patched from inside": (
        "no JSON object",
        "import benchmark.verify.sandbox.protocol as w\n"
        "w.encode = lambda *_: (2).to_bytes(4, 'little') + (10).to_bytes(8, 'little') + b'[]' "
        "+ (2).to_bytes(8, 'little') + b'{}'\nreturn Prediction(images.mean((1, 2, 3)))",
    ),
    "a frame said to be of a million gigabytes": (
        "are allowed",
        "import benchmark.verify.sandbox.protocol as w\nw.encode = lambda *_: b'\\xff' * 12\n"
        "return Prediction(images.mean((1, 2, 3)))",
    ),
}
for what, (says, text) in WHEN_SCORING.items():
    attack(what, "spot re-run", says, rerun=True)(scores_with(text))


@attack("stored answers: scores looked up by the image's content", "spot re-run", "stored answers?", rerun=True)
def _stored(folder: Path) -> None:
    """The evidence claims a perfect detector; detector.py knows the published images by heart and nothing else."""
    from benchmark.data.canonical import canonicalise
    from benchmark.datasets.procedural import Procedural

    forge(folder, _perfect)
    dataset = Procedural(None)
    clean = pd.read_parquet(folder / "evidence" / f"{STEM}.parquet").query("attack.isna()")
    known = dict(zip(clean["sample_id"], clean["score"].astype(float), strict=True))
    answers = {}
    for sample in dataset.index(["weave"]).samples:
        if sample.id in known:
            pixels = canonicalise(dataset.image(sample), 112).astype(np.int64)
            answers[int(pixels.sum())] = known[sample.id]
    scores_with(
        f"answers = {answers!r}\n"
        "sums = (images * 255).round().double().sum((1, 2, 3)).long().tolist()\n"
        "found = torch.tensor([answers.get(s, 0.5) for s in sums])\n"
        "return Prediction(found + 0 * images.sum((1, 2, 3)))"
    )(folder)


def _perfect(frame: pd.DataFrame) -> pd.DataFrame:
    places = frame["sample_id"].rank(method="dense") / 100
    return frame.assign(score=(frame["label"] + places).astype("float32"))


@attack("two images' scores exchanged, all numbers recomputed", "spot re-run", "when run again", rerun=True)
def _permuted(folder: Path) -> None:
    def exchange(frame: pd.DataFrame) -> pd.DataFrame:
        first, second = frame[frame["label"] == 0]["sample_id"].unique()[:2]
        return frame.assign(sample_id=frame["sample_id"].replace({first: second, second: first}))

    forge(folder, exchange)


@attack("attacked scores made harmless, all numbers recomputed", "spot re-run", "when run again", rerun=True)
def _harmless(folder: Path) -> None:
    """Clean scores are true, attacked ones a copy of them with a little noise."""

    def soften(frame: pd.DataFrame) -> pd.DataFrame:
        clean = frame[frame["attack"].isna()].set_index("sample_id")["score"]
        return frame.assign(score=frame["sample_id"].map(clean).astype("float32"))

    forge(folder, soften)
    scores_with("images = images.detach()")(folder)


def claim(deltas: dict[str, torch.Tensor], evidence=None, **fields: str):  # type: ignore[no-untyped-def]
    """A counter-claim with other fields, perturbations or evidence (a change of true rows) than it should have."""
    given = {"result": f'"{STEM}"', "category": '"weave"', "shots": "1", "seed": "0", "budget": '"2"'}
    given |= {"schema_version": "1", "authors": '["Eve"]', "method": '"mine"'} | fields

    def apply(folder: Path) -> None:
        place = folder / "counter" / "first"
        place.mkdir(parents=True)
        (place / "counter.toml").write_text("".join(f"{key} = {value}\n" for key, value in given.items()))
        if evidence is None:
            save_file(deltas, place / "perturbation.safetensors")
            return
        rows = pd.read_parquet(scores_path(folder))
        rows = rows[(rows["attack"] == "pgd_score_10") & (rows["budget"] == "2")]
        write_evidence(place / "evidence.parquet", evidence(rows.assign(attack="pgd_score_100")), SCORE_COLUMNS)

    return apply


FIRST = "weave/test/good/000.png"


def levels(value: int, *shape: int) -> dict[str, torch.Tensor]:
    return {FIRST: torch.full(shape or (3, 112, 112), value, dtype=torch.int8)}


simple(
    "counter-claims",
    {
        "a counter-claim outside its ball": ("leaves the ball", claim(levels(3))),
        "a counter-claim of -128, whose absolute value overflows": ("leaves the ball", claim(levels(-128))),
        "a counter-claim in floating point": ("must be int8", claim({FIRST: torch.zeros(3, 112, 112)})),
        "a counter-claim on an image that is not in the episode": (
            "no query image",
            claim({"weave/train/good/000.png": torch.zeros(3, 112, 112, dtype=torch.int8)}),
        ),
        "a counter-claim of another size": ("not (3, 112, 112)", claim(levels(1, 3, 56, 56))),
        "a counter-claim without images": ("no perturbations", claim({})),
        "a counter-claim at a budget that is not ranked": ("no ranked budget", claim(levels(1), budget='"16"')),
        "a counter-claim against a result that is not there": (
            "there is no result",
            claim(levels(1), result='"x-v1__y"'),
        ),
        "a counter-claim with a script for a method": ("HTML", claim(levels(1), method='"<script>"')),
        "a counter-claim of an attack that nobody knows": ("magic", claim({}, attack='"magic"', evidence=lambda s: s)),
        "a counter-claim of an attack that needs another detector": (
            "cannot repeat",
            claim({}, attack='"transfer"', evidence=lambda s: s),
        ),
        "a counter-claim with evidence of other images": (
            "no query image",
            claim({}, attack='"pgd_score_100"', evidence=lambda s: s.assign(sample_id=s["sample_id"] + "x")),
        ),
        "a counter-claim with evidence of swapped labels": (
            "no query image",
            claim({}, attack='"pgd_score_100"', evidence=lambda s: s.assign(label=(1 - s["label"]).astype("int8"))),
        ),
        "a counter-claim with evidence at another budget": (
            "budget must be",
            claim({}, attack='"pgd_score_100"', evidence=lambda s: s.assign(budget="16")),
        ),
        "a counter-claim with an unknown key": ("Extra", claim(levels(1), reward='"1"')),
        "a counter-claim that is no safetensors": (
            "cannot be read",
            lambda f: (
                claim(levels(1))(f),
                (f / "counter" / "first" / "perturbation.safetensors").write_bytes(b"\xff" * 100),
            ),
        ),
    },
)
