"""Ten million wrapped keys: seconds to load, bytes held, look-ups a second.

    python benchmarks/keys.py [--keys 10000000]

A file is written once, a part at a time, then loaded by a process of its own as a worker loads it: read in parts,
unwrapped, sorted, indexed. Memory is all that this process has held at most, interpreter and libraries included.
"""

import argparse
import multiprocessing
import tempfile
import time
from pathlib import Path

import numpy as np

from app.kek import load_book
from ingest.key_files import render_lines
from ingest.key_rows import KeyRows
from ingest.key_seal import BookSeal
from ingest.keyring import Keyring

KEK = bytes(range(32))
PART = 500_000


def part_of(first: int, count: int) -> KeyRows:
    """Keys of meters in the order of their titles."""
    random = np.random.default_rng(first)
    serial = np.arange(first, first + count, dtype=np.uint64)
    return KeyRows(
        np.uint64(0x53494D << 40) + serial,
        np.zeros(count, np.uint8),
        np.ones(count, np.uint16),
        np.zeros(count, np.bool_),
        np.ones(count, np.bool_),
        np.full(count, 16, np.uint8),
        random.integers(0, 256, (count, 32), dtype=np.uint8),
    )


def write_book(file: Path, keys: int) -> None:
    seal = BookSeal(KEK)
    with file.open("wb") as opened:
        for first in range(0, keys, PART):
            lines = render_lines(part_of(first, min(PART, keys - first)), KEK)
            part = (lines if not first else lines.split("\n", 1)[1]).encode()
            seal.add(part)
            opened.write(part)
        opened.write(seal.line())


def most_held() -> int:
    """Kilobytes of this process at most. `getrusage` would count those of the process that started it."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0])


def load(file: Path, keys: int) -> None:
    before = most_held()
    start, used = time.perf_counter(), time.process_time()
    ring = Keyring(load_book(file, KEK))
    seconds, processor = time.perf_counter() - start, time.process_time() - used
    after = most_held()
    print(
        f"{keys:,} keys: file {file.stat().st_size / 1e6:,.0f} MB, loaded in {seconds:.1f} s ({processor:.1f} s of CPU)"
    )
    print(f"ring {ring.nbytes / 1e6:,.0f} MB; the process at most {after / 1e3:,.0f} MB (before: {before / 1e3:,.0f})")
    titles = np.uint64(0x53494D << 40) + np.random.default_rng(1).integers(0, keys, 100_000).astype(np.uint64)
    start = time.perf_counter()
    found = ring.spans(titles, np.zeros(len(titles), np.bool_)).number()
    print(f"{len(titles) / (time.perf_counter() - start):,.0f} look-ups a second; found {int(found.sum()):,}")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--keys", type=int, default=10_000_000)
    keys = options.parse_args().keys
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "keys.csv"
        write_book(file, keys)
        process = multiprocessing.get_context("spawn").Process(target=load, args=(file, keys))
        process.start()
        process.join()
        if process.exitcode:
            raise SystemExit(1)


if __name__ == "__main__":
    main()
