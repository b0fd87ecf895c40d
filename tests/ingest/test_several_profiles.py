"""Several profile buffers in one message: each is read, and of two that say one instant the first, the other told."""

from datetime import datetime

import pytest

from ingest.dlms.data import Data, Tag
from ingest.meter_types import parse_types
from tests.ingest.fleet import INTERVAL_OBJECT, decode, enrolled, meters, reasons, sealed
from tests.ingest.test_attributes import access, listed, u32
from tests.ingest.test_named_profiles import BUFFER, ends, row, stamp

DAILY = "1-0:99.2.0.255"
TYPES = parse_types(
    '[[meter_type]]\nname = "two"\n[[meter_type.push]]\nobject = "1-0:99.1.0.255"\nrows = "intervals"\n'
    '[[meter_type.push]]\nobject = "1-0:99.2.0.255"\nrows = "registers"\n'
)
MIDNIGHT = datetime(2026, 3, 3, tzinfo=ends(0).tzinfo)
REGISTERS = Data(Tag.ARRAY, (row(stamp(MIDNIGHT), 5_000, 60),))
QUARTERS = (7, INTERVAL_OBJECT, 2, BUFFER)


def later(first: int, values: int = 200) -> Data:
    """Two rows that end so many quarters of an hour after the start, and one more."""
    return Data(Tag.ARRAY, tuple(row(stamp(ends(first + at)), values + at, at) for at in (0, 1)))


def read(*messages: bytes, types=TYPES):
    registry = meters(enrolled(meter_type="two"))
    return decode(*(sealed(each, at) for at, each in enumerate(messages, 1)), registry=registry, types=types)


def starts(found) -> list[tuple[int, datetime, int]]:
    return sorted(found.intervals.select("offset", "interval_start", "value_milli").rows())


@pytest.mark.parametrize("form", [listed, access])
def test_intervals_and_registers_of_two_profiles_are_both_read(form) -> None:
    found = read(form(QUARTERS, (7, DAILY, 2, REGISTERS)))
    assert reasons(found) == []
    alone = read(form(QUARTERS))
    assert len(starts(alone)) == 4 and starts(found) == starts(alone)
    assert found.reads.select("channel", "read_at", "value_milli").rows() == [
        ("energy_delivered", MIDNIGHT, 5_000_000), ("energy_received", MIDNIGHT, 60_000)
    ]  # fmt: skip


def test_two_parts_of_one_profile_are_its_rows_together() -> None:
    found = read(listed(QUARTERS, (7, INTERVAL_OBJECT, 2, later(3))))
    assert reasons(found) == [] and len(starts(found)) == 8
    assert {at for _, at, _ in starts(found)} == {ends(quarter) for quarter in range(4)}


def test_an_instant_that_two_buffers_say_is_the_first_one_s_and_the_other_is_told() -> None:
    messages = [listed(QUARTERS, (7, INTERVAL_OBJECT, 2, later(first))) for first in (2, 3, 2)]
    found = read(*messages)
    assert found.rejects.select("offset", "reason").rows() == [(0, "date_time"), (2, "date_time")]
    assert set(found.rejects["detail"]) == {"2 values: another buffer says the same instant"}
    counted = [len([each for each in starts(found) if each[0] == offset]) for offset in range(3)]
    assert counted == [6, 8, 6]
    assert (0, ends(1), 101_000) in starts(found) and (0, ends(1), 200_000) not in starts(found)


def test_buffers_without_end_are_told_beyond_a_few() -> None:
    found = read(listed(*((7, INTERVAL_OBJECT, 2, later(2 * at + 1)) for at in range(12))))
    assert reasons(found) == ["layout_unknown"] and len(starts(found)) == 8 * 4
    assert found.rejects["detail"].to_list() == ["24 values: more buffers than 8 in a message"]


def test_a_buffer_that_the_type_does_not_know_is_told_and_the_other_read() -> None:
    found = read(listed((7, "1-0:99.1.7.255", 2, BUFFER), QUARTERS, (3, "1-0:1.8.0.255", 2, u32(1))))
    assert len(starts(found)) == 4
    assert sorted(reasons(found)) == ["layout_unknown", "scaling"]
