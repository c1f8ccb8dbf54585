"""Index and first decode of 2,000 images of 700 px against two bare Pillow processes; then a second pass and memory.

Run: python tests/perf/decode.py [N]. Prints one JSON line; nothing is asserted.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

EDGE = 448
ROUND = 128


def make_tree(root: Path, count: int) -> None:
    """A category in MVTec layout; smooth texture with mild noise, about 1 MB per image as in MVTec AD."""
    folder = root / "mvtec_ad" / "tile" / "train" / "good"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 256, (70, 70, 3), dtype=np.uint8))
    base = np.asarray(coarse.resize((700, 700), Image.Resampling.BICUBIC)).astype(np.int16)
    for number in range(count):
        noisy = np.roll(base, number * 7, axis=1) + rng.integers(-3, 4, base.shape, dtype=np.int16)
        Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)).save(folder / f"{number:04d}.png", compress_level=3)


def bare(path: Path) -> int:
    """What any loader must do at least: decode and resize."""
    with Image.open(path) as file:
        return np.asarray(file.convert("RGB").resize((EDGE, EDGE), Image.Resampling.BICUBIC)).size


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    with tempfile.TemporaryDirectory() as folder:
        root, cache = Path(folder) / "data", Path(folder) / "cache"
        os.environ["TRUSTAD_CACHE"] = str(cache)
        make_tree(root, count)
        from benchmark.data.image_store import ImageStore
        from benchmark.datasets.mvtec import MVTecAD

        paths = sorted(root.rglob("*.png"))
        dataset = MVTecAD(root)
        used = time.process_time()
        start = time.perf_counter()
        samples = dataset.index().of("tile", "train")
        indexed = time.perf_counter() - start
        store = ImageStore(EDGE, cache, workers=2)
        reference = decoded = 0.0
        with ProcessPoolExecutor(2) as pool:
            list(pool.map(bare, paths[:2]))  # starts both processes
            for first in range(0, count, ROUND):  # interleaved, so that other load on the machine hits both
                start = time.perf_counter()
                list(pool.map(bare, paths[first : first + ROUND], chunksize=8))
                reference += time.perf_counter() - start
                start = time.perf_counter()
                store.get(dataset, samples[first : first + ROUND])
                decoded += time.perf_counter() - start
        decoded += indexed

        used = time.process_time() - used
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        again = MVTecAD(root)
        used_again = time.process_time()
        start = time.perf_counter()
        samples = again.index().of("tile", "train")
        store = ImageStore(EDGE, cache, workers=2)
        for first in range(0, count, ROUND):
            store.get(again, samples[first : first + ROUND])
        second = time.perf_counter() - start
        used_again = time.process_time() - used_again
        figures = {
            "images": count,
            "bytes_per_image": paths[0].stat().st_size,
            "bare_two_processes_s": round(reference, 2),
            "index_s": round(indexed, 2),
            "index_and_first_decode_s": round(decoded, 2),
            "share_of_bare": round(reference / decoded, 3),
            "share_of_bare_cpu": round((children.ru_utime + children.ru_stime) / used, 3),
            "second_pass_s": round(second, 3),
            "second_pass_speedup": round(decoded / second, 1),
            "second_pass_speedup_cpu": round(used / used_again, 1),
            "peak_rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        }
        print(json.dumps(figures))


if __name__ == "__main__":
    main()
