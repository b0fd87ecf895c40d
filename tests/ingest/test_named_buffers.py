"""Buffers under a name whose rows cannot be read: refused by what they are, and never a read at the header's time."""

from datetime import timedelta

import pytest

from ingest.dlms.cosem import parse_obis
from ingest.dlms.data import Data, Tag
from ingest.dlms.framing import wrap_wpdu
from tests.ingest.fleet import START, body_of, decode, device_name, enrolled, meters, notification, reasons, stamp

REGISTRY = meters(enrolled(system_title=None, security_min=0))
CLOCKS = [stamp(START + timedelta(minutes=15 * at)) for at in range(1, 4)]
NULL = Data(Tag.NULL, None)
LOAD = "1-0:99.1.0.255"


def row(*cells: Data) -> Data:
    return Data(Tag.STRUCTURE, cells)


def number(value: int) -> Data:
    return Data(Tag.UINT32, value)


def by_name(name: str, rows: Data) -> bytes:
    named = [row(Data(Tag.OCTET_STRING, parse_obis(each)), value) for each, value in (NAMED, (name, rows))]
    return wrap_wpdu(notification(Data(Tag.ARRAY, tuple(named)), START))


NAMED = ("0-0:42.0.0.255", device_name()[1])


@pytest.mark.parametrize("name", ["0-0:98.1.0.255", "1-0:98.1.0.255", "1-0:99.97.0.255", "0-0:98.1.0.126"])
def test_rows_of_another_profile_are_refused_and_no_read_of_the_header_s_time(name: str) -> None:
    rows = Data(Tag.ARRAY, (row(CLOCKS[0], number(1), number(2)), row(CLOCKS[1], NULL, number(3))))
    decoded = decode(by_name(name, rows), registry=REGISTRY)
    assert decoded.reads.is_empty() and decoded.intervals.is_empty() and reasons(decoded) == ["layout_unknown"]
    assert decoded.rejects["detail"].to_list() == [
        "3 values: a row of a profile that is no load profile: nothing says what its columns are"
    ]


@pytest.mark.parametrize(
    "rows",
    [
        [row(CLOCKS[0], Data(Tag.UINT8, 0), number(1), number(2)), row()],
        [row(NULL, Data(Tag.UINT8, 0), number(1), number(2)), row(NULL, NULL, NULL, NULL)],
        [row(CLOCKS[0], Data(Tag.UINT8, 0), row(number(1), number(2)))],
    ],
)
def test_a_buffer_that_is_none_says_so_and_not_that_a_scaler_lacks(rows: list[Data]) -> None:
    buffer = Data(Tag.ARRAY, tuple(rows))
    for sent in (by_name(LOAD, buffer), wrap_wpdu(notification(body_of(buffer, push_object=LOAD), START))):
        decoded = decode(sent, registry=REGISTRY)
        assert decoded.reads.is_empty() and reasons(decoded) == ["layout_unknown"]
        assert decoded.rejects["detail"][0].startswith("3 values: a buffer without a clock, or with a row")


def test_a_number_alone_under_such_a_name_is_a_read_as_before() -> None:
    decoded = decode(by_name("0-0:98.1.0.255", number(5)), registry=REGISTRY)
    assert decoded.reads["value_milli"].to_list() == [5_000] and not reasons(decoded)
