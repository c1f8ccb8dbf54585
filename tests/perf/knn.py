"""1-NN search against the matrix product alone and against faiss: python -m tests.perf.knn [--device cuda]

1,024 queries, banks of 8k to 131k rows, 384 dimensions, cosine. The product runs in the blocks of the search, into a
buffer, so that it too keeps no distance matrix. faiss runs its flat index of inner products with the same threads; its
OpenBLAS is old and takes kernels of 2004 on a processor that it does not know: name better ones in OPENBLAS_CORETYPE.
"""

from __future__ import annotations

import os
from statistics import median

import faiss
import torch
from threadpoolctl import threadpool_info
from torch import Tensor

from detectors.neighbours import BANK_BLOCK, QUERY_BLOCK, nearest
from tests.perf.measure import Report, median_ratio, options, prepare, seconds, unit_rows


def product(queries: Tensor, bank: Tensor) -> None:
    """All similarities, block by block, kept nowhere."""
    for block in torch.split(queries, QUERY_BLOCK):
        for rows in torch.split(bank, BANK_BLOCK):
            torch.mm(block, rows.T)


def kernels() -> str:
    """What faiss multiplies with."""
    return next(
        f"OpenBLAS {pool['version']}, kernels for {pool.get('architecture')}"
        for pool in threadpool_info()
        if "faiss" in pool["filepath"] and pool["internal_api"] == "openblas"
    )


def main() -> None:
    """Measure."""
    parser = options(__doc__)
    parser.add_argument("--queries", type=int, default=1024)
    parser.add_argument("--width", type=int, default=384)
    parser.add_argument("--bank", type=int, action="append", help="rows; repeatable; default 8192 to 131072")
    parser.add_argument("--repeats", type=int, default=5)
    chosen = parser.parse_args()
    prepare(chosen)
    faiss.omp_set_num_threads(chosen.threads)
    sizes = chosen.bank or [8192 * 2**step for step in range(5)]
    core = os.environ.get("OPENBLAS_CORETYPE")
    command = f"python -m tests.perf.knn --device {chosen.device} --repeats {chosen.repeats}"
    report = Report("knn", "Nearest-neighbour search", f"OPENBLAS_CORETYPE={core} {command}" if core else command)
    report.columns = ("bank rows", "product s", "search s", "faiss s", "search/product", "search/faiss")
    queries = unit_rows(chosen.queries, chosen.width, 0, chosen.device)
    product_ratio, faiss_ratio = [], []
    for size in sizes:
        bank = unit_rows(size, chosen.width, 1, chosen.device)
        index = faiss.IndexFlatIP(chosen.width)
        index.add(bank.cpu().numpy())
        sought = queries.cpu().numpy()
        works = {
            "product": lambda b=bank: product(queries, b),
            "search": lambda b=bank: nearest(queries, b),
            "faiss": lambda i=index, q=sought: i.search(q, 1),
        }
        spent: dict[str, list[float]] = {name: [] for name in works}
        for turn in range(chosen.repeats):  # in turn, so that other load on the machine hits all; each after each
            for name in list(works)[:: 1 if turn % 2 else -1]:
                spent[name].append(seconds(works[name], chosen.device))
        product_ratio.append(median_ratio(spent["search"], spent["product"]))
        faiss_ratio.append(median_ratio(spent["search"], spent["faiss"]))
        report.row(size, *map(median, spent.values()), product_ratio[-1], faiss_ratio[-1])
    report.at_most("search over the matrix product alone, worst size", max(product_ratio), 1.2)
    report.at_most("search over faiss IndexFlatIP, worst size", max(faiss_ratio), 1.0)
    wins = [size for size, ratio in zip(sizes, faiss_ratio, strict=True) if ratio > 1]
    report.notes.append(
        f"faiss is faster at {', '.join(map(str, wins))} rows." if wins else "faiss is faster at none of these sizes."
    )
    report.notes.append(f"faiss multiplies with {kernels()}.")
    report.save(chosen.device)


if __name__ == "__main__":
    main()
