"""The capture table: what becomes of every published message, against what its index says.

    python -m tests.ingest.capture_table FOLDER        (the folder with index.json and the *.hex files)

Through both doors. `inspect`: nothing but the keys that were published with the message. `decode`: the keys, and where
the index says that the scaling or the reading belongs to the make, a meter of that type; no serial number is printed.
"""

import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from ingest.decode import Decoded, decode_frames
from ingest.inspect import inspect_bytes
from ingest.keyring import Keyring
from ingest.meter_types import BUILT_IN, MeterTypes, parse_types
from ingest.replay import Windows
from ingest.sources import cut_hex
from schemas.frames import METERS, UTC_US
from tests.ingest.capture_numbers import differences

RECEIVED = datetime(2026, 3, 2, tzinfo=UTC)
"""When every message came in: some carry no time of their own."""
_POWERS = [f"{phase}{direction}.7.0" for phase in ("", "2", "4", "6") for direction in (1, 2)]
_UNSCALED = [*_POWERS, "2.8.0", *(f"1.8.{tariff}" for tariff in range(5))]
SWITCHES = parse_types(
    '[[meter_type]]\nname = "generic"\nevents = "dsmr"\nquirks = ["untagged_descriptor", "dsmr4_alarm"]\n'
    + "".join(f'scalers."{name}" = 0\n' for name in _UNSCALED)
)
"""A type that reads what is a reject by the letter."""


class Line(NamedTuple):
    """One message: how it came, what both doors make of it, and what of it is not as its index says."""

    name: str
    link: str
    frames: int
    apdu: str
    quirks: str
    values: int
    inspected: str
    decoded: str
    switched: str
    differs: str


class Doors(NamedTuple):
    """What both doors make of one message; `switched`: by a type that reads what is a reject by the letter."""

    entry: dict[str, Any]
    said: dict[str, Any]
    decoded: Decoded
    switched: Decoded


def lines_of(folder: Path) -> list[Line]:
    """A line for each entry of the index."""
    return [_line(each) for each in read_all(folder)]


def read_all(folder: Path) -> list[Doors]:
    """Each entry of the index, and its message through both doors."""
    entries = json.loads((folder / "index.json").read_text())["captures"]
    return [_read(entry, (folder / entry["file"]).read_text()) for entry in entries]


def _read(entry: dict[str, Any], text: str) -> Doors:
    ring = _ring(entry)
    (said,) = inspect_bytes(text.encode(), file=entry["file"], hex_lines=True, keyring=ring)
    raw = cut_hex(text.encode(), entry["file"]).with_columns(received_at=pl.lit(RECEIVED).cast(UTC_US))
    plain = decode_frames(raw, ring, Windows.empty(), METERS.empty(), _make(entry))
    switched = decode_frames(raw, ring, Windows.empty(), METERS.empty(), SWITCHES)
    return Doors(entry, dict(said), plain, switched)


def _line(doors: Doors) -> Line:
    entry, said, plain, switched = doors
    error = said.get("error")
    outcome = "decodes" if error is None else str(error["reason"])
    return Line(
        entry["name"],
        str(said["link"]),
        int(str(said["frames"])),
        str(said["apdu"] or "-"),
        ",".join(map(str, said["quirks"])) or "-",
        len(said.get("values", [])),
        outcome,
        _became(plain),
        _became(switched) if outcome != "decodes" else "",
        ", ".join(differences(*doors)),
    )


def _ring(entry: dict[str, Any]) -> Keyring:
    keys = entry["keys"]
    if not keys:
        return Keyring.empty()
    title = entry["security"]["system_title"]
    return Keyring.from_csv(f"system_title,ek,ak\n{title},{keys['ek']},{keys['ak'] or ''}\n")


def _make(entry: dict[str, Any]) -> MeterTypes:
    """The built-in type of the make where the scaling is known from the make alone, as the default for this message."""
    kind = str(entry["make"] or "").lower()
    if entry["expected"].get("scaling") != "known from the make" or kind not in BUILT_IN.by_name:
        return BUILT_IN
    return MeterTypes(BUILT_IN.by_name | {"generic": BUILT_IN.by_name[kind]}, BUILT_IN.by_list_id)


def _became(decoded: Decoded) -> str:
    parts = [
        f"{rows.height} {word}"
        for rows, word in ((decoded.intervals, "intervals"), (decoded.reads, "reads"), (decoded.events, "events"))
        if rows.height
    ]
    return ", ".join((*parts, *decoded.rejects["reason"].cast(pl.String)))


def main() -> int:
    """Print the table; 1 where a message is not what its index says."""
    lines = lines_of(Path(sys.argv[1]))
    heads = ("message", "link", "frames", "apdu", "quirks", "values", "inspect", "decode", "decode with switches", "ok")
    print("| " + " | ".join(heads) + " |\n|" + "---|" * len(heads))
    for line in lines:
        print("| " + " | ".join(map(str, (*line[:-1], line.differs or "yes"))) + " |")
    right = sum(not line.differs for line in lines)
    print(f"\n{right} of {len(lines)} as their index says")
    return 0 if right == len(lines) else 1


if __name__ == "__main__":
    sys.exit(main())
