"""Fuzzing of the stage: any value of a Kafka message, through cutting and `decode_frames`, is rows, copies or rejects.

    PYTHONPATH=. python tests/fuzz/fuzz_decode.py -max_total_time=3600 tests/fuzz/corpus   with atheris, by coverage
    PYTHONPATH=. python tests/fuzz/fuzz_decode.py --seconds 3600 [--seed 1]                without: own mutations

Checked of every input: nothing is raised, every message is counted once, no byte of a reject is lost, its `at` lies in
its payload, and messages decoded together are what they are alone: two halves, and a twin in which one octet differs,
which mostly shares the layout.
"""

import argparse
import random
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from ingest.decode import Decoded, decode_frames
from ingest.enrolment import Enrolment
from ingest.kafka.records import Records, frames_of_records
from ingest.key_files import parse_clear
from ingest.key_rows import KeyRows, join_rows
from ingest.keyring import Keyring
from ingest.meter_types import parse_types
from ingest.replay import Windows
from schemas.frames import EVENTS, INTERVALS, READS, REJECTS, conform
from tests.ingest.fleet import KEYS, OTHER_NAME, TITLE, enrolled, meters

CORPUS = Path(__file__).parent / "corpus"
AT_MS = int(datetime(2026, 3, 2, tzinfo=UTC).timestamp() * 1000)
TYPES = parse_types(
    '[[meter_type]]\nname = "odd"\nquirks = ["title_length_doubled", "p1_telegram", "obis_tag_swapped"]\n'
    '[[meter_type.template]]\nid = 12\ndescription = "0206110606010002120d16"\n'
    'values = ["template_id", "clock", "7-0:3.0.0.255", "1-0:32.7.0.255", "1-0:52.7.0.255", "1-0:1.8.1.255", '
    '"1-0:1.8.2.255"]\n[meter_type.scalers]\n"3.0.0" = -2\n"32.7.0" = -1\n"52.7.0" = -1\n"1.8.1" = 0\n"1.8.2" = 0\n'
    '[[meter_type]]\nname = "czech"\nquirks = ["untagged_descriptor", "dsmr4_alarm"]\nevents = "dsmr"\n'
    '[[meter_type]]\nname = "generic"\nprofile = "interval"\nquirks = ["hdlc_numbered"]\nresponse = "1-0:99.1.0.255"\n'
    'channels = ["energy_delivered", "energy_received"]\nstatus = ["power_fail", "unused", "overflow"]\n'
    '[[meter_type.push]]\nobject = "*"\nrows = "intervals"\nstatus = "bits16"\n'
    '[[meter_type.push]]\nobject = "1-0:99.1.0.255"\nrows = "intervals"\n'
    '[[meter_type.push]]\nobject = "1-0:99.2.0.255"\nrows = "registers"\nstatus = "octet"\n'
)


def _master() -> KeyRows:
    rows = parse_clear(f"system_title,ek,ak\n{TITLE.hex()},{bytes(range(0x60, 0x70)).hex()},\n")
    return rows._replace(kinds=rows.kinds + 2)


RING = Keyring(join_rows([parse_clear(KEYS), _master()]))
REGISTRY = Enrolment.of(
    meters(
        enrolled(meter_type="odd", security_min=0),
        enrolled(meter_id=OTHER_NAME, meter_type="czech", system_title=None, security_min=0),
    ),
    TYPES,
)
NOBODY = Enrolment.of(meters().clear(), TYPES)


def decoded_of(values: list[bytes], registry: Enrolment) -> tuple[pl.DataFrame, Decoded]:
    records = Records("ami.frames.v1", 0, range(len(values)), [AT_MS] * len(values), values)
    raw = frames_of_records(records).with_columns(sender=pl.lit(TITLE.hex()))
    return raw, decode_frames(raw, RING, Windows.empty(), registry, TYPES)


def test_one_input(data: bytes) -> None:
    """Everything that must hold of any bytes; an AssertionError or any other exception is a finding."""
    half, twin = len(data) // 2, twin_of(data)
    for registry in (REGISTRY, NOBODY):
        raw, whole = decoded_of([data, twin, data[:half], data[half:]], registry)
        counts = whole.counts
        assert counts.frames == raw.height == counts.decoded + counts.rejected + counts.duplicates
        for rows, frame in (
            (whole.intervals, INTERVALS), (whole.reads, READS), (whole.events, EVENTS), (whole.rejects, REJECTS)
        ):  # fmt: skip
            conform(rows, frame)
        lengths = whole.rejects["payload"].bin.size()
        assert bool(((whole.rejects["at"] >= 0) & (whole.rejects["at"] <= lengths)).all())
        place = ["offset", "frame"]
        sent = whole.rejects.select(*place, "payload").join(raw, on=place, how="left")
        assert sent["payload"].equals(sent["payload_right"])
        in_clear = whole.messages["counter"].is_null().all()
        for offset, message in enumerate((data, twin) if in_clear else (data,)):  # a counter tells twins apart
            alone = decoded_of([message], registry)[1]
            for name in ("intervals", "reads", "events", "rejects"):
                one, many = (getattr(each, name) for each in (alone, whole))
                mine = many.filter(pl.col("offset") == offset).with_columns(offset=pl.lit(0, pl.Int64))
                assert sorted(map(str, one.rows())) == sorted(map(str, mine.rows())), name


def twin_of(data: bytes) -> bytes:
    """The same with one octet raised by one, each of them for some input."""
    at = sum(data) % len(data) if data else 0
    return data[:at] + bytes((octet + 1) % 256 for octet in data[at : at + 1]) + data[at + 1 :]


def mutated(seeds: list[bytes], chance: random.Random) -> bytes:
    """A seed changed a few times: bits, bytes, lengths, pieces cut out, doubled or taken from another seed."""
    data = bytearray(chance.choice(seeds))
    for _ in range(chance.randrange(1, 6)):
        at, kind = chance.randrange(len(data) + 1), chance.randrange(6)
        octets = chance.randrange(1, 9)
        if kind == 0 and at < len(data):
            data[at] ^= 1 << chance.randrange(8)
        elif kind == 1 and at < len(data):
            data[at] = chance.choice((0, 1, 2, 0x7E, 0x7F, 0x80, 0x81, 0x82, 0xFF, chance.randrange(256)))
        elif kind == 2:
            del data[at : at + octets]
        elif kind == 3:
            data[at:at] = data[at : at + octets]
        elif kind == 4:
            other = chance.choice(seeds)
            start = chance.randrange(len(other) + 1)
            data[at:at] = other[start : start + chance.randrange(64)]
        else:
            data[at:at] = chance.randbytes(octets)
    return bytes(data)


def run_own(seconds: float, seed: int) -> int:
    seeds = [path.read_bytes() for path in sorted(CORPUS.iterdir())]
    chance = random.Random(seed)
    until, runs = time.monotonic() + seconds, 0
    while time.monotonic() < until:
        data = mutated(seeds, chance)
        try:
            test_one_input(data)
        except BaseException:
            print(f"finding after {runs} runs: {data.hex()}", file=sys.stderr, flush=True)
            raise
        runs += 1
        if runs % 1000 == 0:
            print(f"{runs} runs", flush=True)
    print(f"{runs} runs in {seconds:.0f} s, no finding")
    return 0


def main() -> int:
    """Fuzz until stopped or the time is up; 2 where atheris is asked for and not installed."""
    if "--seconds" in sys.argv:
        options = argparse.ArgumentParser(description=__doc__)
        options.add_argument("--seconds", type=float, required=True)
        options.add_argument("--seed", type=int, default=1)
        chosen = options.parse_args()
        return run_own(chosen.seconds, chosen.seed)
    try:
        import atheris
    except ImportError:
        print("atheris is not installed: pip install atheris, or use --seconds", file=sys.stderr)
        return 2
    atheris.instrument_all()
    atheris.Setup(sys.argv, test_one_input)
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
