"""A first reader of parquet files, run as a process of its own with limited memory: what kills it is refused."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

MEMORY = 6_000_000_000
SECONDS = 240
MAX_ROWS = 5_000_000
MAX_TEXT = 300
MAX_PARTS = 1000
TEXTS = ("dataset", "category", "sample_id", "detector", "attack", "goal", "budget", "probe")


def problem(path: Path) -> str | None:
    """What is wrong with a file, or None. Texts stay dictionaries, so that repeated ones cost nothing."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    try:
        texts = sorted(set(TEXTS) & set(pq.read_schema(path).names))
        file = pq.ParquetFile(path, read_dictionary=texts)
        if file.metadata.num_rows > MAX_ROWS or file.metadata.num_row_groups > MAX_PARTS:
            return f"{file.metadata.num_rows:,} rows in {file.metadata.num_row_groups:,} groups"
        rows = 0
        for batch in file.iter_batches(batch_size=65_536):
            rows += batch.num_rows
            for name in texts:
                words = batch.column(name)
                found = words.dictionary if isinstance(words, pa.DictionaryArray) else words
                if pa.types.is_string(found.type) and (pc.max(pc.binary_length(found)).as_py() or 0) > MAX_TEXT:
                    return f"column {name}: a text of more than {MAX_TEXT} bytes"
        if rows > MAX_ROWS:
            return f"{rows:,} rows"
    except (pa.ArrowException, OSError, ValueError, LookupError, MemoryError) as error:
        return f"not readable as parquet ({type(error).__name__})"
    return None


def main() -> int:
    """Check the files named; prints the first problem and returns 1."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    for name in sys.argv[1:]:
        if found := problem(Path(name)):
            print(f"{Path(name).name}: {found}")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
