"""Registers that keep a value with its time (classes 4 and 5): the read is of that time, not of the push's clock."""

from datetime import UTC, datetime, timedelta

import pytest

from ingest.dlms.cosem import encode_date_time
from ingest.dlms.data import Data, Tag
from schemas.codes import Status
from tests.ingest.fleet import START, decode, sealed
from tests.ingest.test_attributes import DEMAND, ENERGY, WH, W, access, listed, structure, u32

PEAK_AT = datetime(2026, 2, 11, 17, 45, tzinfo=UTC)
CLOCK = (8, "0-0:1.0.0.255", 2, Data(Tag.OCTET_STRING, encode_date_time(START, 0)))
LAST_AVERAGE = "1-0:1.5.0.255"
BEFORE_ANY = b"\xff" * 9 + b"\x80\x00\xff"


def when(at: datetime, status: int = 0) -> Data:
    return Data(Tag.OCTET_STRING, encode_date_time(at, 0)[:11] + bytes((status,)))


def read(*messages: bytes) -> list[tuple[str, datetime, int, int]]:
    decoded = decode(*(sealed(each, at) for at, each in enumerate(messages, 1)))
    assert decoded.rejects.is_empty()
    return decoded.reads.select("obis", "read_at", "value_milli", "status").rows()


@pytest.mark.parametrize("form", [listed, access])
@pytest.mark.parametrize("tag", [Tag.OCTET_STRING, Tag.DATE_TIME])
def test_a_highest_demand_is_of_the_time_at_which_it_was(form, tag) -> None:
    peak = Data(tag, encode_date_time(PEAK_AT, 0))
    message = form(
        CLOCK,
        (3, ENERGY, 2, u32(5)),
        (3, ENERGY, 3, WH),
        (4, DEMAND, 2, u32(70)),
        (4, DEMAND, 3, W),
        (4, DEMAND, 5, peak),
    )
    assert sorted(read(message)) == [(DEMAND, PEAK_AT, 7000, 0), (ENERGY, START, 500, 0)]


def test_all_attributes_of_an_extended_register_are_told_by_their_places() -> None:
    whole = structure(Data(Tag.NULL, None), u32(70), W, Data(Tag.NULL, None), when(PEAK_AT))
    assert read(listed(CLOCK, (4, DEMAND, 0, whole))) == [(DEMAND, PEAK_AT, 7000, 0)]


def test_the_capture_time_of_a_demand_register_is_that_of_its_last_average_alone() -> None:
    last = [(5, LAST_AVERAGE, 3, u32(30)), (5, LAST_AVERAGE, 4, W), (5, LAST_AVERAGE, 6, when(PEAK_AT))]
    assert read(listed(CLOCK, *last)) == [(LAST_AVERAGE, PEAK_AT, 3000, 0)]
    current = [(5, LAST_AVERAGE, 2, u32(30)), *last[1:]]
    assert read(listed(CLOCK, *current)) == [(LAST_AVERAGE, START, 3000, 0)]


@pytest.mark.parametrize("said, flag", [
    (Data(Tag.OCTET_STRING, BEFORE_ANY), Status.CLOCK_DOUBTFUL), (when(PEAK_AT, 1), Status.CLOCK_INVALID),
])  # fmt: skip
def test_a_capture_time_that_is_none_leaves_the_push_s_time_with_a_flag(said, flag) -> None:
    message = listed(CLOCK, (4, DEMAND, 2, u32(70)), (4, DEMAND, 3, W), (4, DEMAND, 5, said))
    assert read(message) == [(DEMAND, START, 7000, int(flag))]


def test_messages_of_one_layout_have_each_its_own_capture_times() -> None:
    peaks = [PEAK_AT + timedelta(minutes=15 * step) for step in range(40)]
    messages = [
        listed(CLOCK, (4, DEMAND, 2, u32(step)), (4, DEMAND, 3, W), (4, DEMAND, 5, when(peak)))
        for step, peak in enumerate(peaks)
    ]
    assert read(*messages) == [(DEMAND, peak, 100 * step, 0) for step, peak in enumerate(peaks)]


def test_the_time_of_a_demand_is_none_of_an_event_beside_it() -> None:
    message = listed(
        (1, "0-0:96.11.0.255", 2, u32(1)), (4, DEMAND, 2, u32(70)), (4, DEMAND, 3, W), (4, DEMAND, 5, when(PEAK_AT))
    )
    decoded = decode(sealed(message))
    assert decoded.reads["read_at"].to_list() == [PEAK_AT]
    assert decoded.events["occurred_at"].to_list() == [decoded.messages["received_at"][0]]


def test_a_kept_event_code_is_of_its_capture_time() -> None:
    message = listed(CLOCK, (4, "0-0:96.11.0.255", 2, u32(1)), (4, "0-0:96.11.0.255", 5, when(PEAK_AT)))
    assert decode(sealed(message)).events["occurred_at"].to_list() == [PEAK_AT]
