"""Pushes a second of the simulator, beside the same pushes encoded one by one with the codec, in one run.

    python benchmarks/simulate.py [meters] [rounds]

Whole runs are timed: loads, faults, clocks, bytes, protection, order of reception and truth. The peer has its values
ready and only encodes (and protects) hourly pushes of four quarters and two channels. Rounds alternate.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from ingest.dlms.apdu import encode_data_notification
from ingest.dlms.cosem import encode_date_time, parse_obis
from ingest.dlms.data import Data, Tag
from ingest.dlms.framing import wrap_wpdu
from ingest.dlms.security import protect
from simulator.fleet import simulate
from simulator.params import Layouts, SimulatorParams

PROFILE = parse_obis("1-0:99.1.0.255")
EK, AK, TITLE = bytes(range(16)), bytes(range(0xD0, 0xE0)), b"AMI\x00\x00\x00\x00\x01"
GENERIC = Layouts(generic=1, profile_cumulative=0, obis_rows=0, obis_pairs=0, interval_milli=0)


def one_by_one(pushes: int, *, ciphered: bool) -> int:
    """Encode so many hourly pushes with the codec, an object per value."""
    start = datetime(2026, 3, 2, tzinfo=UTC)
    for number in range(pushes):
        ends = [start + timedelta(minutes=15 * (4 * (number % 24) + row + 1)) for row in range(4)]
        rows = tuple(
            Data(
                Tag.STRUCTURE,
                (
                    Data(Tag.OCTET_STRING, encode_date_time(end, -60)),
                    Data(Tag.UINT8, 0),
                    Data(Tag.UINT32, number + row),
                    Data(Tag.UINT32, 0),
                ),
            )
            for row, end in enumerate(ends)
        )
        name = Data(Tag.OCTET_STRING, b"AMI%013d" % number)
        body = Data(Tag.STRUCTURE, (name, Data(Tag.OCTET_STRING, PROFILE), Data(Tag.ARRAY, rows)))
        apdu = encode_data_notification(1, encode_date_time(ends[-1], -60), body)
        if ciphered:
            apdu = protect(apdu, system_title=TITLE, control=0x30, counter=number, ek=EK, ak=AK)
        wrap_wpdu(apdu)
    return pushes


def whole_run(meters: int, *, ciphered: bool, layouts: Layouts, daily: float) -> int:
    """Simulate a day of hourly pushes, or the default mix."""
    params = SimulatorParams(
        meters=meters, days=1, layouts=layouts, daily_meters=daily, ciphered_meters=float(ciphered)
    )
    return simulate(params).frames.height


def rate(work: Callable[[], int]) -> float:
    """Pushes a second."""
    began = time.perf_counter()
    pushes = work()
    return pushes / (time.perf_counter() - began)


def main() -> None:
    """Print a table: median, lowest and highest rate of each way."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("meters", nargs="?", type=int, default=3000)
    parser.add_argument("rounds", nargs="?", type=int, default=7)
    told = parser.parse_args()
    mixed = Layouts()
    ways: dict[str, Callable[[], int]] = {
        "simulate, generic hourly, plain": lambda: whole_run(told.meters, ciphered=False, layouts=GENERIC, daily=0),
        "one by one, generic hourly, plain": lambda: one_by_one(told.meters, ciphered=False),
        "simulate, generic hourly, ciphered": lambda: whole_run(told.meters, ciphered=True, layouts=GENERIC, daily=0),
        "one by one, generic hourly, ciphered": lambda: one_by_one(told.meters, ciphered=True),
        "simulate, every layout and fault, plain": lambda: whole_run(
            told.meters, ciphered=False, layouts=mixed, daily=0.5
        ),
        "simulate, every layout and fault, ciphered": lambda: whole_run(
            told.meters, ciphered=True, layouts=mixed, daily=0.5
        ),
    }
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(told.rounds):
        for name, work in ways.items():
            rates[name].append(rate(work))
    print(f"{told.meters} meters, 1 day, {told.rounds} rounds; pushes a second")
    print(f"{'':44} {'median':>9} {'lowest':>9} {'highest':>9}")
    for name, seen in rates.items():
        print(f"{name:44} {statistics.median(seen):9,.0f} {min(seen):9,.0f} {max(seen):9,.0f}")


if __name__ == "__main__":
    main()
