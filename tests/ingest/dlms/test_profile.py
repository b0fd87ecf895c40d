"""Profile buffers: what is left out repeats, adds or cannot be known."""

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from ingest.dlms.axdr import decode_data
from ingest.dlms.profile import decode_profile
from schemas.errors import ProtocolError

CLOCK = "090C07E5030707110F0000FF888000"


def rows_of(*rows):
    body = "".join(f"02 {len(row):02x} {' '.join(row)}" for row in rows)
    return decode_data(bytes.fromhex(f"01 {len(rows):02x} {body}"))


def values(*rows):
    return [row.values for row in decode_profile(rows_of(*rows), 900, clock_column=None)]


def test_the_published_profile_comes_out_whole(vectors):
    vector = vectors["profile"]
    rows = decode_profile(decode_data(bytes.fromhex(vector["data"])), vector["capture_period_s"])
    assert [(row.instant, *row.values) for row in rows] == [
        (datetime.fromisoformat(row["clock_utc"]), row["status"], *row["registers"]) for row in vector["rows"]
    ]
    assert [row.clock is None for row in rows] == [False, True, True, True]


def test_a_null_clock_runs_in_utc_over_a_change_of_the_clock():
    before_change = "090C07EA0A19FF02300000FF8880"  # 02:48 summer time, an hour that comes twice
    rows = decode_profile(rows_of([before_change, "1101"], ["00", "1102"]), 900)
    assert [row.instant.isoformat()[11:16] for row in rows] == ["00:48", "01:03"]


def test_a_clock_without_deviation_needs_a_zone():
    stamp = "090C07EA0707FF0C000000800080"
    assert decode_profile(rows_of([stamp, "1101"]), 900)[0].instant is None
    (row, following) = decode_profile(rows_of([stamp, "1101"], ["00", "00"]), 900, zone=ZoneInfo("Europe/Oslo"))
    assert row.instant.isoformat() == "2026-07-07T10:00:00+00:00"
    assert following.instant.isoformat() == "2026-07-07T10:15:00+00:00"


def test_what_the_first_row_leaves_out_is_unknown_and_not_zero():
    assert values(["00", "1105"], ["1101", "00"]) == [(None, 5), (1, 5)]
    assert values(["1101"], ["1102", "1103"]) == [(1, None), (2, 3)]
    assert values(["1C05"], ["00"], ["1107"], ["1C05"]) == [(None,), (None,), (7,), (12,)]
    assert decode_profile(rows_of(["00", "1101"], ["00", "1102"]), 900)[1].instant is None


def test_a_zero_is_a_value_and_repeats_as_one():
    assert values(["1100"], ["00"]) == [(0,), (0,)]


@pytest.mark.parametrize(
    ("first", "delta", "expected"),
    [
        ("06 000003E8", "1C FF", 999), ("06 000003E8", "1D 001E", 1030), ("06 00000000", "1E FFFFFFFF", 2**32 - 1),
        ("06 FFFFFFFF", "1F 01", 0), ("06 00000001", "20 FFFF", 65536), ("12 FFFE", "21 00000003", 1),
        ("10 7FFF", "1F 01", -32768), ("0F FF", "1C 01", 0), ("14 0000000000000000", "1C FF", -1),
        ("11 00", "1C FF", 255),
    ],
)  # fmt: skip
def test_a_delta_adds_in_the_width_of_its_column_and_wraps(first, delta, expected):
    assert values([first], [delta]) == [(values([first])[0][0],), (expected,)]


def test_a_delta_on_a_text_is_an_error():
    with pytest.raises(ProtocolError, match="axdr_tag"):
        values(["0A0141"], ["1C01"])


@pytest.mark.parametrize("data", ["00", "0101 1105", "1105"])
def test_what_is_no_array_of_structures_is_no_profile(data):
    with pytest.raises(ProtocolError, match="apdu_malformed"):
        decode_profile(decode_data(bytes.fromhex(data)), 900)


@pytest.mark.parametrize("clock", ["1105", "0903010203", "090CFFFF0D01FF11262600FF8880"])
def test_a_clock_that_is_none_is_an_error(clock):
    with pytest.raises(ProtocolError, match="date_time"):
        decode_profile(rows_of([clock, "1101"]), 900)


def test_a_profile_may_be_a_compact_array():
    compact = decode_data(bytes.fromhex("13 02 02 12 06 0C 0001 00000002 0003 00000004"))
    assert [row.values for row in decode_profile(compact, 900, clock_column=None)] == [(1, 2), (3, 4)]


def test_no_rows_are_no_rows():
    assert decode_profile(rows_of(), 900) == []
