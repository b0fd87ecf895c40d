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

WAITING = {
    "no key": "key_unknown",
    "wrong check sequence": "link_checksum",
    "needs a meter type": "axdr_tag",
    "not DLMS": "not_dlms",
}
RECEIVED = datetime(2026, 3, 2, tzinfo=UTC)
"""When every message came in: some carry no time of their own."""
SWITCHES = parse_types(
    '[[meter_type]]\nname = "generic"\nevents = "dsmr"\nquirks = ["untagged_descriptor", "dsmr4_alarm"]\n'
    'scalers = { "1.8.0" = 0, "1.8.1" = 0, "1.8.2" = 0, "1.8.3" = 0, "1.8.4" = 0 }\n'
)


class Line(NamedTuple):
    """One message: how it came, what both doors make of it, and whether that is what its index says."""

    name: str
    link: str
    frames: int
    apdu: str
    quirks: str
    values: int
    inspected: str
    decoded: str
    switched: str
    as_indexed: bool


def lines_of(folder: Path) -> list[Line]:
    """A line for each entry of the index."""
    entries = json.loads((folder / "index.json").read_text())["captures"]
    return [_line(entry, (folder / entry["file"]).read_text()) for entry in entries]


def _line(entry: dict[str, Any], text: str) -> Line:
    ring = _ring(entry)
    (said,) = inspect_bytes(text.encode(), file=entry["file"], hex_lines=True, keyring=ring)
    error: Any = said.get("error")
    outcome = "decodes" if error is None else str(error["reason"])
    raw = cut_hex(text, entry["file"]).with_columns(received_at=pl.lit(RECEIVED).cast(UTC_US))
    plain = decode_frames(raw, ring, Windows.empty(), METERS.empty(), _make(entry))
    switched = decode_frames(raw, ring, Windows.empty(), METERS.empty(), SWITCHES)
    values: Any = said.get("values", [])
    return Line(
        entry["name"],
        str(said["link"]),
        int(str(said["frames"])),
        str(said["apdu"] or "-"),
        ",".join(map(str, said["quirks"] if isinstance(said["quirks"], list) else [])) or "-",
        len(values),
        outcome,
        _became(plain),
        _became(switched) if outcome != "decodes" else "",
        _as_indexed(entry, said, plain),
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


def _as_indexed(entry: dict[str, Any], said: dict[str, Any], decoded: Decoded) -> bool:
    expected = entry["expected"]
    if expected["outcome"] != "decodes":
        reasons = set(decoded.rejects["reason"].cast(pl.String))
        return "error" in said and reasons == {said["error"]["reason"]} and said["error"]["reason"] in WAITING.values()
    stamp = expected["date_time"] or {"utc": None, "clock_status": None}
    header = (said["date_time"], said["clock_status"]) == (stamp["utc"], stamp["clock_status"])
    link = (said["link"], said["frames"]) == (entry["link"], entry["frames"])
    values = [(v["obis"], v["value"], v["scaler"], v["unit"]) for v in said["values"]]
    wanted = [(v["obis"], _sent(v["raw"]), v.get("scaler"), v.get("unit")) for v in expected["values"]]
    found = dict(decoded.reads.select(pl.col("channel").cast(pl.String), "value_milli").rows())
    reads = (expected.get("reads_milli") or {}).items() <= found.items()
    return header and link and values == wanted and reads and said["quirks"] == expected.get("quirks", [])


def _sent(raw: Any) -> Any:
    if isinstance(raw, dict):
        return raw.get("octets", raw.get("hex"))
    return [_sent(item) for item in raw] if isinstance(raw, list) else raw


def main() -> int:
    """Print the table; 1 where a message is not what its index says."""
    lines = lines_of(Path(sys.argv[1]))
    heads = ("message", "link", "frames", "apdu", "quirks", "values", "inspect", "decode", "decode with switches", "ok")
    print("| " + " | ".join(heads) + " |\n|" + "---|" * len(heads))
    for line in lines:
        print("| " + " | ".join(str(part) if part is not True else "yes" for part in line) + " |")
    print(f"\n{sum(line.as_indexed for line in lines)} of {len(lines)} as their index says")
    return 0 if all(line.as_indexed for line in lines) else 1


if __name__ == "__main__":
    sys.exit(main())
