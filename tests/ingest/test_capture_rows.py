"""Published messages of real meters become the reads that their index gives, each for its meter type."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from ingest.decode import Decoded, decode_frames
from ingest.keyring import Keyring
from ingest.meter_types import parse_types
from ingest.replay import Windows
from ingest.sources import cut_hex
from schemas.frames import METERS
from tests.ingest.capture_numbers import REASONS, differences
from tests.ingest.capture_table import lines_of, read_all
from tests.ingest.fleet import meters, reasons

RECEIVED = datetime(2026, 3, 2, tzinfo=UTC)
NAMELESS = ("amshan_01", "amshan_04", "amshan_05", "dlms_parser_08")
"""Lists that name no meter; a Kaifa list of power alone does not even name its make."""


def decoded(capture: Any, registry: pl.DataFrame | None = None, received: datetime | None = RECEIVED) -> Decoded:
    entry = capture.entry
    keys = "system_title,ek,ak\n"
    if entry["keys"]:
        keys += f"{entry['security']['system_title']},{entry['keys']['ek']},{entry['keys']['ak'] or ''}\n"
    frames = cut_hex(capture.text, entry["file"]).with_columns(received_at=pl.lit(received))
    frames = frames.with_columns(pl.col("received_at").cast(pl.Datetime("us", "UTC")))
    return decode_frames(
        frames, Keyring.from_csv(keys), Windows.empty(), METERS.empty() if registry is None else registry
    )


def test_every_capture_with_reads_decodes_to_them(captures: dict[str, Any]) -> None:
    checked = 0
    for name, capture in captures.items():
        expected = capture.entry["expected"].get("reads_milli")
        if not expected or name == "amshan_05":
            continue
        reads = decoded(capture).reads.filter(pl.col("channel").is_in(list(expected)))
        found = dict(reads.select(pl.col("channel").cast(pl.String), "value_milli").rows())
        assert found == expected, name
        assert reads["meter_id"].n_unique() == 1
        checked += 1
    assert checked >= 18


def test_a_list_without_a_name_is_refused_where_meters_are_known_and_filed_under_its_file_else(
    captures: dict[str, Any],
) -> None:
    for name in NAMELESS:
        result = decoded(captures[name], meters({"meter_id": "another"}))
        assert reasons(result) == ["identity"] and result.rejects["payload"].to_list() == [captures[name].octets]
    assert decoded(captures["amshan_01"]).reads["meter_id"].to_list() == ["amshan_01.hex"]


def test_a_bare_number_is_read_where_the_meter_s_type_knows_the_list(captures: dict[str, Any]) -> None:
    assert reasons(decoded(captures["amshan_05"])) == ["layout_unknown"]
    lists = '[[meter_type.list]]\nvalues = ["1-0:1.7.0.255"]'
    kaifa = parse_types(f'[[meter_type]]\nname = "generic"\nscalers = {{ "1.7.0" = 0 }}\n{lists}')
    frames = cut_hex(captures["amshan_05"].text, "port.hex")
    reads = decode_frames(frames, Keyring.empty(), Windows.empty(), METERS.empty(), kaifa).reads
    assert reads.select("channel", "value_milli").rows() == [("power_delivered", 5_852_000)]


def test_every_capture_is_rows_or_a_reject(captures: dict[str, Any]) -> None:
    for name, capture in captures.items():
        result = decoded(capture)
        counts = result.counts
        assert counts.frames >= 1, name
        assert counts.frames == counts.decoded + counts.rejected + counts.duplicates, name
        assert (result.intervals.height + result.reads.height + result.events.height > 0) == (counts.decoded > 0), name


def test_the_capture_table_says_of_every_message_what_its_index_says(shared_data: Path) -> None:
    lines = lines_of(shared_data / "captures")
    assert len(lines) == 33 and [(line.name, line.differs) for line in lines if line.differs] == []
    waiting = {line.name: line.inspected for line in lines if line.inspected != "decodes"}
    assert len(waiting) == 7 and set(waiting.values()) == set(REASONS.values())
    switched = {line.name: line.switched for line in lines if line.switched}
    assert all("reads" in switched[name] for name in ("dlms_parser_11", "dlms_parser_13"))
    assert switched["osgp_05"] == "1 events"


def test_no_wrong_number_passes_the_capture_table(shared_data: Path) -> None:
    """Each read of each message once wrong by a thousandth, once missing, once twice; and each reason another one."""
    wrong_ones = 0
    for entry, said, plain, switched in read_all(shared_data / "captures"):
        decodes = entry["expected"]["outcome"] == "decodes"
        shown = plain if decodes else switched
        for row in range(shown.reads.height):
            milli = shown.reads["value_milli"]
            one_off = shown.reads.with_columns(value_milli=milli.clone().scatter(row, milli[row] + 1))
            for reads in (
                one_off,
                shown.reads[:row].vstack(shown.reads[row + 1 :]),
                shown.reads.vstack(shown.reads[row]),
            ):
                wrong = shown._replace(reads=reads)
                found = differences(entry, said, *((wrong, switched) if decodes else (plain, wrong)))
                assert found == (["numbers"] if decodes else ["switched"]), (entry["name"], row)
                wrong_ones += 1
        other = plain._replace(rejects=plain.rejects.with_columns(reason=pl.lit("apdu_malformed")))
        if not decodes:
            assert differences(entry, said, other, switched) == ["reason"]
        for place, value in enumerate(said.get("values", [])):
            values = [*said["values"][:place], value | {"value": "00"}, *said["values"][place + 1 :]]
            assert differences(entry, said | {"values": values}, plain, switched) == ["values"]
    assert wrong_ones > 800


def test_events_of_dutch_meters(captures: dict[str, Any]) -> None:
    gasp = decoded(captures["osgp_01"]).events
    assert gasp.select("event", "origin", "occurred_at").rows() == [
        ("last_gasp", "nic", datetime(2023, 7, 6, 8, 54, 38, tzinfo=UTC))
    ]
    assert decoded(captures["osgp_02"]).events["event"].to_list() == ["wake_up"]
    body = bytes.fromhex(captures["osgp_03"].text.decode().strip())
    name = body[body.index(b"EXX") :][:17].decode()
    smr5 = meters({"meter_id": name, "meter_type": "smr5"})
    assert decoded(captures["osgp_03"], smr5).events.select("event", "code").rows() == [("clock_invalid", 1)]
    assert decoded(captures["osgp_04"], smr5).events["event"].to_list() == ["wake_up"]


def test_an_austrian_meter_must_be_enrolled_at_20(captures: dict[str, Any]) -> None:
    capture = captures["dlms_parser_09"]
    title = capture.entry["security"]["system_title"]
    at_30 = decoded(capture, meters({"meter_id": "AT1", "system_title": title}))
    at_20 = decoded(capture, meters({"meter_id": "AT1", "system_title": title, "security_min": 0x20}))
    assert reasons(at_30) == ["downgrade"]
    assert at_20.reads["meter_id"].unique().to_list() == ["AT1"] and at_20.windows == Windows.empty()


@pytest.mark.parametrize(("name", "zone", "instant"), [
    ("amshan_08", None, "2021-09-22T16:35:30+00:00"),
    ("amshan_13", "Europe/Oslo", "2021-11-23T23:00:25+00:00"),
])  # fmt: skip
def test_the_clock_register_places_the_reads(
    captures: dict[str, Any], name: str, zone: str | None, instant: str
) -> None:
    unplaced = decoded(captures[name])
    registry = meters({"meter_id": unplaced.reads["meter_id"][0], "timezone": zone})
    reads = decoded(captures[name], registry).reads
    assert reads["read_at"].unique().to_list() == [datetime.fromisoformat(instant)]


def test_a_file_s_reads_take_the_wall_clock_where_nothing_better_is_known(captures: dict[str, Any]) -> None:
    reads = decoded(captures["amshan_11"], received=None).reads
    assert reads["read_at"].unique().to_list() == [datetime(2017, 8, 16, 16, 0, 5, tzinfo=UTC)]
    assert reads["status"].unique().to_list() == [2]
