"""Logs of events whose rows leave out what has not changed: each row is an event or a refusal, none vanishes."""

from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.decode import Decoded
from ingest.dlms.cosem import parse_obis
from ingest.dlms.data import Data, Tag
from ingest.dlms.profile import decode_profile
from tests.ingest.fleet import START, body_of, decode, event, notification, reasons, sealed, stamp

LOG = "0-0:99.98.0.255"
WHEN = [START + timedelta(minutes=5 * at) for at in range(6)]
CLOCKS = [stamp(each) for each in WHEN]
NULL = Data(Tag.NULL, None)
DONT_CARE = Data(Tag.DONT_CARE, None)


def code(number: int, tag: Tag = Tag.UINT16) -> Data:
    return Data(tag, number)


def rows_of(*rows: tuple[Data, ...]) -> Data:
    return Data(Tag.ARRAY, tuple(Data(Tag.STRUCTURE, row) for row in rows))


def push(*rows: tuple[Data, ...], at: int = 0) -> bytes:
    return sealed(notification(body_of(rows_of(*rows), push_object=LOG), START - timedelta(hours=at)), counter=9 + at)


def told(decoded: Decoded) -> list[tuple[object, ...]]:
    return decoded.events.sort("occurred_at").select("code", "occurred_at").rows()


@pytest.mark.parametrize("left_out", [(NULL,), (DONT_CARE,), ()])
def test_a_row_that_leaves_out_its_code_repeats_the_one_above(left_out: tuple[Data, ...]) -> None:
    rows = ((CLOCKS[0], code(1)), (CLOCKS[1], *left_out), (CLOCKS[2], code(2)), (CLOCKS[3], *left_out))
    by_name = Data(Tag.ARRAY, (Data(Tag.STRUCTURE, (Data(Tag.OCTET_STRING, parse_obis(LOG)), rows_of(*rows))),))
    for message in (push(*rows), sealed(notification(by_name)), sealed(event("0.0.99.98.0.255", rows_of(*rows)))):
        decoded = decode(message)
        assert told(decoded) == list(zip((1, 1, 2, 2), WHEN, strict=False))
        assert decoded.events["event"].to_list() == ["power_down", "power_down", "power_up", "power_up"]
        assert decoded.reads.is_empty() and not reasons(decoded)


@pytest.mark.parametrize(
    ("first", "deltas", "codes"),  # EVENTS has the 32 bits of a code as a signed number
    [
        (code(1), [code(1, Tag.DELTA_UINT8), NULL, code(-1, Tag.DELTA_INT16)], [1, 2, 2, 1]),
        (code(250, Tag.UINT8), [code(7, Tag.DELTA_UINT16)], [250, 1]),
        (code(1, Tag.ENUM), [code(-2, Tag.DELTA_INT8)], [1, 255]),
        (code(2**32 - 1, Tag.UINT32), [code(2**32 - 1, Tag.DELTA_UINT32)], [-1, -2]),
    ],
)
def test_a_delta_adds_to_the_code_in_its_own_width(first: Data, deltas: list[Data], codes: list[int]) -> None:
    decoded = decode(push(*zip(CLOCKS, (first, *deltas), strict=False)))
    assert told(decoded) == list(zip(codes, WHEN, strict=False)) and not reasons(decoded)
    assert decoded.reads.is_empty()


def test_a_code_that_nothing_says_is_refused_and_the_rows_beside_it_are_not() -> None:
    decoded = decode(push((CLOCKS[0], NULL), (CLOCKS[1], code(1, Tag.DELTA_INT8)), (CLOCKS[2], code(2))))
    assert told(decoded) == [(2, WHEN[2])] and decoded.reads.is_empty()
    assert decoded.rejects["detail"].to_list() == ["2 values: a row of an event log of which nothing says the code"]


def test_a_row_without_a_clock_is_refused_but_tells_the_code_below_it() -> None:
    for above in ((NULL, code(2)), (DONT_CARE, code(1, Tag.DELTA_UINT8))):
        decoded = decode(push((CLOCKS[0], code(1)), above, (CLOCKS[2], NULL), ()))
        assert told(decoded) == [(1, WHEN[0]), (2, WHEN[2])] and decoded.reads.is_empty()
        assert reasons(decoded) == ["date_time"]
        assert decoded.rejects["detail"].to_list() == ["2 values: a row of an event log without a clock"]


@pytest.mark.parametrize("rows", [[(NULL, code(1)), (NULL, code(2))], [(code(1),), (code(2),)]])
def test_a_log_without_any_clock_tells_no_event_and_no_read_of_another_time(rows: list[tuple[Data, ...]]) -> None:
    decoded = decode(push(*rows))
    assert decoded.events.is_empty() and decoded.reads.is_empty() and reasons(decoded) == ["date_time"]
    assert decoded.rejects["detail"][0].startswith("2 values")


@pytest.mark.parametrize(
    "number", [code(1, Tag.INT16), code(1, Tag.BCD), Data(Tag.FLOAT32, 1.0), Data(Tag.BOOLEAN, True), NULL]
)
def test_a_number_that_is_no_code_is_refused_and_no_read(number: Data) -> None:
    decoded = decode(push((CLOCKS[0], number), (CLOCKS[1],)))
    assert decoded.events.is_empty() and decoded.reads.is_empty()
    said = "of which nothing says the code" if number is NULL else "whose code is no unsigned number"
    assert decoded.rejects["detail"].to_list() == [f"2 values: a row of an event log {said}"]


def test_rows_of_clocks_alone_are_refused() -> None:
    decoded = decode(push((CLOCKS[0],), (CLOCKS[1],)))
    assert decoded.events.is_empty() and reasons(decoded) == ["layout_unknown"]


def test_a_null_is_the_code_above_and_not_the_number_beside() -> None:
    """The first number behind the clock was the code, whatever its column."""
    decoded = decode(push((CLOCKS[0], code(1), code(230)), (CLOCKS[1], NULL, code(2))))
    assert told(decoded) == [(1, WHEN[0]), (1, WHEN[1])]


def test_a_code_before_its_clock_and_behind_a_text_is_found() -> None:
    text = Data(Tag.VISIBLE_STRING, "x")
    for rows in (
        [(code(1), CLOCKS[0]), (NULL, CLOCKS[1])],
        [(CLOCKS[0], text, code(1)), (CLOCKS[1], NULL, NULL)],
    ):
        assert told(decode(push(*rows))) == [(1, WHEN[0]), (1, WHEN[1])]


def test_a_code_too_wide_for_an_event_that_is_repeated_is_one_read() -> None:
    decoded = decode(push((CLOCKS[0], code(1 << 33, Tag.UINT64)), (CLOCKS[1], NULL)))
    assert decoded.reads["value_milli"].to_list() == [(1 << 33) * 1000] and decoded.events.height == 2
    moved = decode(push((CLOCKS[0], code(5, Tag.UINT64)), (CLOCKS[1], code(1, Tag.DELTA_UINT8))))
    assert told(moved) == [(5, WHEN[0])] and reasons(moved) == ["layout_unknown"]


def numbers(tag: Tag) -> st.SearchStrategy[Data]:
    bits = {Tag.UINT8: 8, Tag.ENUM: 8, Tag.UINT16: 16, Tag.UINT32: 32, Tag.DELTA_UINT8: 8, Tag.DELTA_UINT16: 16}
    signed = {Tag.DELTA_INT8: 8, Tag.DELTA_INT16: 16, Tag.DELTA_INT32: 32}
    if tag in signed:
        half = 1 << signed[tag] - 1
        return st.builds(Data, st.just(tag), st.integers(-half, half - 1))
    if tag in bits:
        return st.builds(Data, st.just(tag), st.integers(0, (1 << bits[tag]) - 1))
    return st.just(NULL)


TAGS = [Tag.UINT8, Tag.UINT16, Tag.UINT32, Tag.ENUM, Tag.DELTA_UINT8, Tag.DELTA_UINT16, Tag.DELTA_INT8, Tag.DELTA_INT16,
        Tag.DELTA_INT32, Tag.NULL, Tag.NULL]  # fmt: skip
SHAPES = st.lists(st.tuples(st.integers(0, 3), st.sampled_from(TAGS)), min_size=1, max_size=6)


def expected(rows: Data) -> tuple[set[tuple[object, object]], int]:
    """Events by `decode_profile`, and how many rows are none."""
    events: set[tuple[object, object]] = set()
    refused = 0
    for row in decode_profile(rows, 0):
        if row.clock is None or row.values[0] is None:
            refused += 1
        else:
            assert isinstance(row.values[0], int)
            events.add((row.values[0] - (row.values[0] >> 31 << 32), row.instant))
    return events, refused


@given(shape=SHAPES, data=st.data())
@settings(max_examples=120, deadline=None)
def test_messages_of_a_log_together_say_what_the_plain_decoder_says_of_each(
    shape: list[tuple[int, Tag]], data: st.DataObject
) -> None:
    logs = []
    for _ in range(3):  # of one layout, other numbers
        cells = [data.draw(numbers(tag)) for _, tag in shape]
        clocks = [NULL if at and not some else CLOCKS[at] for at, (some, _) in enumerate(shape)]
        logs.append(list(zip(clocks, cells, strict=True)))
    decoded = decode(*(push(*rows, at=at) for at, rows in enumerate(logs)))
    for at, rows in enumerate(logs):
        events, refused = expected(rows_of(*rows))
        mine = decoded.events.filter(decoded.events["offset"] == at)
        assert set(mine.select("code", "occurred_at").rows()) == events and mine.height == len(events)
        rejects = decoded.rejects.filter(decoded.rejects["offset"] == at)["detail"].to_list()
        assert sum(int(each.split()[0]) for each in rejects) == refused
    assert decoded.reads.is_empty()
