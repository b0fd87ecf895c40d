"""Buffers of load profiles that are sent as a value among others, and rows before the first clock (dlms.md 7)."""

from datetime import datetime, timedelta

import pytest

from ingest.decode import Decoded
from ingest.dlms.apdu import encode_event_notification
from ingest.dlms.cosem import encode_date_time, encode_scaler_unit, parse_obis
from ingest.dlms.data import Data, Tag
from tests.ingest.fleet import (
    INTERVAL_OBJECT,
    NAME,
    START,
    body_of,
    decode,
    notification,
    reasons,
    sealed,
    stamp,
)
from tests.ingest.test_attributes import access, listed, name, structure, u32

SENDER = Data(Tag.OCTET_STRING, NAME.encode())
ENERGY = "1-0:1.8.0.255"
NULL = Data(Tag.NULL, None)


def row(clock: Data, *values: int) -> Data:
    return Data(Tag.STRUCTURE, (clock, Data(Tag.UINT8, 0), *(u32(value) for value in values)))


def ends(at: int) -> datetime:
    return START + timedelta(minutes=15 * at)


BUFFER = Data(Tag.ARRAY, (row(stamp(ends(1)), 100, 7), row(stamp(ends(2)), 101, 8)))
NAMED = {
    "a pair": notification(structure(name("0-0:42.0.0.255"), SENDER, name(INTERVAL_OBJECT), BUFFER)),
    "a push object list": listed((1, "0-0:42.0.0.255", 2, SENDER), (7, INTERVAL_OBJECT, 2, BUFFER)),
    "an access-response": access((7, INTERVAL_OBJECT, 2, BUFFER)),
    "a notification": encode_event_notification(encode_date_time(START, 0), 7, parse_obis(INTERVAL_OBJECT), 2, BUFFER),
}


def cells(decoded: Decoded) -> list[tuple[str, datetime, int]]:
    assert set(decoded.intervals["meter_id"]) <= {NAME}
    return sorted(decoded.intervals.select("channel", "interval_start", "value_milli").rows())


@pytest.mark.parametrize("form", NAMED)
def test_the_buffer_of_a_load_profile_is_its_intervals_however_it_is_named(form: str) -> None:
    found = decode(sealed(NAMED[form]))
    wanted = decode(sealed(notification(body_of(BUFFER))))
    assert len(cells(wanted)) == 4
    assert (cells(found), found.reads.height, found.events.height) == (cells(wanted), 0, 0)
    assert reasons(found) == []


def test_registers_beside_a_buffer_are_reads() -> None:
    entries = ((7, INTERVAL_OBJECT, 2, BUFFER), (3, ENERGY, 2, u32(5)), (3, ENERGY, 3, encode_scaler_unit(0, 30)))
    found = decode(sealed(listed(*entries)))
    assert len(cells(found)) == 4 and reasons(found) == []
    assert found.reads.select("channel", "value_milli").rows() == [("energy_delivered", 5_000)]


def test_another_attribute_than_the_buffer_is_no_profile() -> None:
    found = decode(sealed(listed((7, INTERVAL_OBJECT, 3, BUFFER))))
    assert found.intervals.height == 0 and reasons(found)


def test_rows_before_the_first_clock_are_refused_alone() -> None:
    rows = (row(NULL, 1, 2), row(NULL, 3, 4), row(stamp(ends(3)), 5, 6), row(NULL, 7, 8))
    found = decode(sealed(notification(body_of(Data(Tag.ARRAY, rows)))))
    assert cells(found) == [
        ("energy_delivered", ends(2), 5_000),
        ("energy_delivered", ends(3), 7_000),
        ("energy_received", ends(2), 6_000),
        ("energy_received", ends(3), 8_000),
    ]
    assert reasons(found) == ["date_time"] and found.rejects["detail"][0].startswith("4 values")


def test_rows_without_any_clock_are_no_intervals() -> None:
    found = decode(sealed(notification(body_of(Data(Tag.ARRAY, (row(NULL, 1, 2), row(NULL, 3, 4)))))))
    assert found.intervals.height == 0 and reasons(found)


def test_a_push_of_no_rows_is_understood() -> None:
    found = decode(sealed(notification(body_of(Data(Tag.ARRAY, ())))))
    assert (found.intervals.height, reasons(found)) == (0, []) and found.counts == (1, 1, 0, 0, 0)
    # What names nobody is a reject as before.
    nothing = decode(sealed(notification(structure(Data(Tag.ARRAY, ())))))
    assert reasons(nothing) == ["layout_unknown"]
