"""What VEE holds in memory while a fleet streams through it from a store, bucket after bucket.

    python benchmarks/vee_stored.py [--bucket 500] [--days 7] [--few 3] [--many 9] [--json]

96 values a day, 2 % gaps, daily register reads, in an embedded store on disk. Two fleets, of `few` and of `many`
buckets of meters, are each stored by one process and judged by another, with the worker's own `judge`: context in,
finals and exceptions out. The figures are of the judging process alone: its largest resident set after its first bucket
and at its end, the store's own memory among them, its finals and seconds. Memory is bounded by the bucket if three
times as many buckets take hardly more; the run fails where they take more than 1.25 times as much. Seen on two shared
cores with the defaults: 1,008,000 finals in 13.4 s with 886 MB, 3,024,000 in 31.9 s with 990 MB.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from app import vee_lane
from benchmarks.vee_speed import SLOTS, START, fleet
from storage.embedded import open_embedded
from storage.store import Scope
from validation.params import VeeParams

MOST_TIMES = 1.25


def fill(folder: Path, buckets: int, size: int, days: int) -> None:
    store = open_embedded(folder)
    for bucket in range(buckets):
        intervals, reads = fleet(size, days, bucket * size)
        store.append("intervals", intervals, f"intervals {bucket}")
        store.append("reads", reads, f"reads {bucket}")
    store.close()


def judge(folder: Path, buckets: int, size: int, days: int) -> None:
    """Judge every bucket; a line of JSON."""
    store = open_embedded(folder)
    params = VeeParams(START + timedelta(days=days), "stored", context_days=7)
    finals, held, begun = 0, [], time.perf_counter()
    for bucket in range(buckets):
        names = tuple(f"MTR{bucket * size + number:09d}" for number in range(size))
        scope = Scope(names, START, START + timedelta(days=days))
        finals += sum(judged.appended.height for judged in vee_lane.judge(store, [scope], params))
        held.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    seconds = time.perf_counter() - begun
    store.close()
    if finals != buckets * size * days * SLOTS:
        raise SystemExit(f"{finals} finals instead of {buckets * size * days * SLOTS}")
    print(json.dumps({"finals": finals, "seconds": seconds, "first_mb": held[0], "last_mb": held[-1]}))


def measured(buckets: int, chosen: argparse.Namespace) -> dict[str, float]:
    """Figures of a fleet of so many buckets, stored and judged by processes of their own."""
    with tempfile.TemporaryDirectory() as folder:
        told = ""
        for step in ("fill", "judge"):
            sizes = [str(number) for number in (buckets, chosen.bucket, chosen.days)]
            command = [sys.executable, __file__, "--step", step, folder, *sizes]
            told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        figures: dict[str, float] = json.loads(told)
        return figures


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--bucket", type=int, default=500, help="meters in flight")
    options.add_argument("--days", type=int, default=7)
    options.add_argument("--few", type=int, default=3, help="buckets")
    options.add_argument("--many", type=int, default=9, help="buckets")
    options.add_argument("--json", action="store_true")
    options.add_argument("--step", nargs=5, metavar="", help=argparse.SUPPRESS)
    chosen = options.parse_args()
    if chosen.step:
        step, folder, *sizes = chosen.step
        {"fill": fill, "judge": judge}[step](Path(folder) / "store", *map(int, sizes))
        return 0
    report = {f"{buckets} x {chosen.bucket} meters": measured(buckets, chosen) for buckets in (chosen.few, chosen.many)}
    few, many = (figures["last_mb"] for figures in report.values())
    print(json.dumps(report) if chosen.json else "\n".join(f"{name}: {value}" for name, value in report.items()))
    return 0 if many <= MOST_TIMES * few else 1


if __name__ == "__main__":
    sys.exit(main())
