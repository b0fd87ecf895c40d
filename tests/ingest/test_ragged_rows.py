"""Rows of several lengths in one buffer are read as the plain profile decoder reads them."""

from datetime import timedelta

import pytest

from ingest.dlms.data import Data, Tag
from ingest.dlms.framing import wrap_wpdu
from ingest.dlms.profile import decode_profile
from tests.ingest.fleet import START, body_of, decode, enrolled, meters, notification, reasons, stamp

CHANNELS = ["energy_delivered", "energy_received"]
REGISTRY = meters(enrolled(system_title=None, security_min=0, channels=CHANNELS, interval_s=900))
NULL = Data(Tag.NULL, None)


def row(at: int, *cells: Data) -> Data:
    return Data(Tag.STRUCTURE, (stamp(START + timedelta(minutes=15 * at)), *cells))


def octet(value: int) -> Data:
    return Data(Tag.UINT8, value)


def number(value: int) -> Data:
    return Data(Tag.UINT32, value)


def push(*rows: Data) -> bytes:
    return wrap_wpdu(notification(body_of(Data(Tag.ARRAY, rows))))


@pytest.mark.parametrize(
    "short", [(octet(0), number(5)), (octet(0),), (), (octet(0), Data(Tag.DONT_CARE, None)), (NULL, number(5))]
)
def test_a_first_row_that_is_shorter_than_others_is_read_as_if_it_said_null(short: tuple[Data, ...]) -> None:
    """The width was that of the first row, and a longer one refused the whole buffer."""
    whole = (*short, *(NULL,) * (3 - len(short)))
    rest = (row(2, octet(0), number(6), number(7)), row(3, octet(0)))
    decoded = decode(push(row(1, *short), *rest), push(row(1, *whole), *rest), registry=REGISTRY)
    said = decoded.intervals.select("channel", "interval_start", "value_milli", "status", "offset")
    first, second = (said.filter(said["offset"] == at).drop("offset").rows() for at in (0, 1))
    assert first == second and not reasons(decoded)
    plain = decode_profile(Data(Tag.ARRAY, (row(1, *short), *rest)), 900)
    milli = [None if each is None else each * 1000 for told in plain for each in told.values[1:]]
    assert milli == [each[2] for each in first]


def test_a_row_that_no_channel_is_for_refuses_the_buffer_still() -> None:
    decoded = decode(push(row(1, octet(0), number(5)), row(2, octet(0), *(number(1),) * 3)), registry=REGISTRY)
    assert decoded.intervals.is_empty() and reasons(decoded) == ["layout_unknown"]


def test_rows_of_clocks_alone_are_refused_by_what_they_lack() -> None:
    """They had -1 values a row."""
    decoded = decode(push(row(1), row(2)), registry=REGISTRY)
    assert reasons(decoded) == ["layout_unknown"] and decoded.intervals.is_empty()
    assert decoded.rejects["detail"][0].endswith("values: a row that is not clock, octet of status and numbers")
    told = decode(push(row(1, octet(0)), row(2, octet(0))), registry=REGISTRY).rejects["detail"][0]
    assert told.endswith("0 values a row, other than the meter has")
