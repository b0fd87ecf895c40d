"""Columns of date-times against the scalar decoder, one by one."""

import struct
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.clocks import Zones, read_clocks
from ingest.dlms.cosem import decode_date_time
from ingest.dlms.cursor import Cursor
from ingest.dlms.framing import wrap_wpdu
from ingest.dlms.stamps import read_text_time
from ingest.grouping import is_readable
from schemas.errors import ProtocolError
from tests.ingest.fleet import NAME, decode, enrolled, meters

OSLO = "Europe/Oslo"
edge = st.sampled_from([0, 1, 2, 12, 13, 28, 29, 30, 31, 32, 59, 60, 99, 100, 0xFD, 0xFE, 0xFF])


@st.composite
def octets(draw):
    year = draw(st.sampled_from([0, 1, 1969, 1970, 2000, 2024, 2025, 2100, 9998, 0xFFFF]))
    fields = [draw(edge | st.integers(1, 12)) for _ in range(7)]
    deviation = draw(st.sampled_from([-0x8000, -841, -840, -780, -60, 0, 120, 840, 841]))
    return struct.pack(">H7BhB", year, *fields, deviation, draw(st.sampled_from([0, 1, 2, 8, 0x80, 0xFF])))


@given(st.lists(octets(), min_size=1, max_size=20))
def test_a_header_is_readable_where_the_scalar_decoder_reads_it(clocks):
    column = np.frombuffer(b"".join(clocks), np.uint8).reshape(-1, 12)
    assert is_readable(column).tolist() == [_reads(clock) for clock in clocks]


def _reads(clock):
    try:
        decode_date_time(clock)
    except ProtocolError:
        return False
    return True


@given(st.lists(octets(), min_size=1, max_size=20), st.booleans(), st.booleans())
def test_a_column_of_clocks_says_what_each_says_alone(clocks, has_zone, inverted):
    column = np.frombuffer(b"".join(clocks), np.uint8).reshape(-1, 12)
    zone = Zones(np.full(len(clocks), 0 if has_zone else -1, np.int32), (OSLO,))
    read = read_clocks(column.view(">u4").astype(np.uint32), zone, inverted=inverted)
    for row, clock in enumerate(clocks):
        if not _reads(clock):
            assert not read.placed[row]
            continue
        alone = decode_date_time(clock)
        if alone.local is None or not 1970 <= alone.local.year <= 9998:
            assert not read.placed[row]
            continue
        expected = None
        if alone.deviation_min is not None or has_zone:
            expected = alone.instant(ZoneInfo(OSLO), inverted=inverted)
        by_zone = expected is not None and alone.deviation_min is None
        if by_zone and alone.local.year >= 2100:
            continue  # the time zone tables in use end with the century
        if by_zone and _skipped(alone.local):
            expected = None
        assert bool(read.placed[row]) == (expected is not None)
        if expected is not None:
            assert int(read.at[row]) == (expected.replace(tzinfo=None) - EPOCH) // timedelta(microseconds=1)
        assert bool(read.invalid[row]) == (not alone.is_reliable)


@pytest.mark.parametrize(
    ("wall", "deviation", "utc"),
    [
        ("07EA010F FF 0D000000", "FCF4", datetime(2026, 1, 15, 0, 0, tzinfo=UTC)),  # New Zealand, summer
        ("07EA0710 FF 02000000", "FCB8", datetime(2026, 7, 15, 12, 0, tzinfo=UTC)),  # Kiribati
        ("07EA070E FF 16000000", "0348", datetime(2026, 7, 15, 12, 0, tzinfo=UTC)),  # as far to the other side
    ],
)
def test_clocks_of_the_zones_farthest_east_are_read_in_the_header_and_in_the_body(wall, deviation, utc):
    clock = bytes.fromhex(wall + deviation + "00")
    assert decode_date_time(clock).utc == utc
    row = bytes.fromhex("0203 090C") + clock + bytes.fromhex("1100 06 00000064")
    body = bytes.fromhex("0203 0910") + NAME.encode() + bytes.fromhex("0906 0100630100FF 0101") + row
    push = wrap_wpdu(b"\x0f\x00\x00\x00\x01\x0c" + clock + body)
    registry = meters(enrolled(system_title=None, security_min=0, channels=["energy_delivered"]))
    decoded = decode(push, push, registry=registry)
    assert decoded.rejects.is_empty()
    assert decoded.intervals["interval_start"].to_list() == [utc - timedelta(minutes=15)] * 2


@pytest.mark.parametrize("deviation", ["FCB7", "0349"])
def test_a_deviation_beyond_every_zone_is_none(deviation):
    assert not _reads(bytes.fromhex("07EA010F FF 0D000000" + deviation + "00"))


def test_a_time_in_text_thirteen_hours_ahead_is_read():
    text = b"20260115130000+1300"
    assert read_text_time(Cursor(bytes((len(text),)) + text, 0)).utc == datetime(2026, 1, 15, tzinfo=UTC)


EPOCH = decode_date_time(struct.pack(">H7BhB", 1970, 1, 1, 0xFF, 0, 0, 0, 0, 0, 0)).local


def _skipped(local):
    zone = ZoneInfo(OSLO)
    there = local.replace(tzinfo=zone).astimezone(ZoneInfo("UTC")).astimezone(zone).replace(tzinfo=None)
    return there != local
