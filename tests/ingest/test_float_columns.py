"""Columns of a row that are no integers: read as registers of that type are, or refused without the columns beside."""

from datetime import timedelta
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.dlms.cosem import encode_scaler_unit, parse_obis
from ingest.dlms.data import Data, Tag
from ingest.dlms.framing import wrap_wpdu
from ingest.dlms.profile import decode_profile
from ingest.meter_types import MeterTypes, parse_types
from schemas.errors import ProtocolError
from tests.ingest.fleet import START, body_of, decode, device_name, enrolled, meters, notification, reasons, stamp

CHANNELS = ["energy_delivered", "voltage_l1", "energy_received"]
REGISTRY = meters(enrolled(meter_type="mixed", system_title=None, security_min=0, channels=CHANNELS, interval_s=900))
ALONE = [Tag.FLOAT32, Tag.FLOAT64, Tag.BCD, Tag.BOOLEAN]
NULL = Data(Tag.NULL, None)


def types(scaler: int = 0) -> MeterTypes:
    push = f'[[meter_type.push]]\nobject = "*"\nrows = "intervals"\nscaler = {scaler}\n'
    return parse_types(f'[[meter_type]]\nname = "mixed"\n{push}')


def rows_of(rows: list[tuple[Data, ...]]) -> Data:
    cells = [
        Data(Tag.STRUCTURE, (stamp(START + timedelta(minutes=15 * at)), Data(Tag.UINT8, 0), *values))
        for at, values in enumerate(rows, 1)
    ]
    return Data(Tag.ARRAY, tuple(cells))


def push(rows: list[tuple[Data, ...]]) -> bytes:
    return wrap_wpdu(notification(body_of(rows_of(rows))))


def beside(number: Data) -> tuple[Data, ...]:
    return Data(Tag.UINT32, 100), number, Data(Tag.UINT32, 7)


@pytest.mark.parametrize(
    ("number", "milli"),
    [
        (Data(Tag.FLOAT32, 230.125), 230_125),
        (Data(Tag.FLOAT64, -0.5), -500),
        (Data(Tag.BCD, 42), 42_000),
        (Data(Tag.BOOLEAN, True), 1_000),
    ],
)
def test_the_column_is_read_and_the_others_are_as_they_were(number: Data, milli: int) -> None:
    decoded = decode(push([beside(number)] * 3), registry=REGISTRY, types=types())
    assert not reasons(decoded)
    assert decoded.intervals["value_milli"].to_list() == [100_000, milli, 7_000] * 3


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf"), 1e300, 0.0625])
def test_what_no_thousandths_hold_is_refused_alone_and_its_column_named(number: float) -> None:
    sent = push([beside(Data(Tag.FLOAT64, 2.5)), beside(Data(Tag.FLOAT64, number))])
    decoded = decode(sent, push([beside(Data(Tag.FLOAT64, 2.5))] * 2), registry=REGISTRY, types=types())
    of_first = decoded.intervals.filter(decoded.intervals["offset"] == 0)["value_milli"].to_list()
    assert of_first == [100_000, 2_500, 7_000, 100_000, 7_000]
    assert decoded.rejects["offset"].to_list() == [0] and reasons(decoded) == ["scaling"]
    assert "voltage_l1: not a whole number of thousandths" in decoded.rejects["detail"][0]
    assert sent[decoded.rejects["at"][0] - 1] == Tag.FLOAT64  # the first number of that column


def test_each_message_s_refused_columns_are_named_and_no_other_s() -> None:
    odd, even = Data(Tag.FLOAT64, 0.0625), Data(Tag.FLOAT64, 0.5)
    pushes = [[(first, second, Data(Tag.UINT8, 1))] for first, second in ((odd, even), (even, odd), (odd, odd))]
    decoded = decode(*map(push, pushes), registry=REGISTRY, types=types())
    named = [detail.partition(": not")[0].rpartition("values: ")[2] for detail in decoded.rejects["detail"]]
    assert named == ["energy_delivered", "voltage_l1", "energy_delivered, voltage_l1"]
    assert decoded.intervals["value_milli"].to_list() == [500, 1_000, 500, 1_000, 1_000]


def test_a_row_of_floats_alone_is_no_row_of_integers() -> None:
    decoded = decode(push([tuple(Data(Tag.FLOAT32, n + 0.5) for n in range(3))] * 2), registry=REGISTRY, types=types())
    assert decoded.intervals["value_milli"].to_list() == [500, 1_500, 2_500] * 2


def test_a_delta_on_floats_is_refused_alone_until_a_whole_number_is_sent() -> None:
    column = [Data(Tag.FLOAT32, 2.5), NULL, Data(Tag.DELTA_INT8, 1), NULL, Data(Tag.UINT8, 4), Data(Tag.DELTA_INT8, 1)]
    decoded = decode(push([beside(each) for each in column]), registry=REGISTRY, types=types())
    by_channel = decoded.intervals.group_by("channel", maintain_order=True).agg("value_milli")
    found = dict(by_channel.rows())
    assert found["voltage_l1"] == [2_500, 2_500, 4_000, 5_000]
    assert found["energy_delivered"] == [100_000] * 6 and found["energy_received"] == [7_000] * 6
    assert reasons(decoded) == ["scaling"]
    assert decoded.rejects["detail"][0] == "2 values: voltage_l1: a delta where no whole number stands above"


def test_a_delta_on_a_float_that_no_thousandths_hold_is_told_beside_it() -> None:
    odd, delta = Data(Tag.FLOAT32, 0.0625), Data(Tag.DELTA_INT8, 1)
    sent = push([beside(each) for each in (Data(Tag.FLOAT32, 2.5), odd, NULL, delta)])
    decoded = decode(sent, push([beside(odd)] * 4), registry=REGISTRY, types=types())
    inexact = "voltage_l1: not a whole number of thousandths in 63 bits"
    assert decoded.rejects.select("offset", "detail").rows() == [
        (0, f"2 values: {inexact}"), (0, "1 values: voltage_l1: a delta where no whole number stands above"),
        (1, f"4 values: {inexact}"),
    ]  # fmt: skip
    assert [sent[at - 1] for at in decoded.rejects["at"].to_list()[:2]] == [Tag.FLOAT32, Tag.DELTA_INT8]
    assert decoded.counts.frames == decoded.counts.decoded == 2


def test_a_buffer_among_registers_is_read_with_them() -> None:
    profile = Data(Tag.STRUCTURE, (Data(9, parse_obis("1-0:99.1.0.255")), rows_of([beside(Data(Tag.FLOAT32, 1.5))])))
    name, text, _ = device_name()
    register = (Data(9, parse_obis("1-0:1.8.0.255")), Data(Tag.FLOAT32, 1.5), encode_scaler_unit(0, 30))
    named = Data(Tag.STRUCTURE, (Data(9, parse_obis(name)), text))
    sent = wrap_wpdu(notification(Data(Tag.ARRAY, (named, Data(Tag.STRUCTURE, register), profile))))
    decoded = decode(sent, registry=REGISTRY, types=types())
    assert not reasons(decoded)
    assert decoded.reads["value_milli"].to_list() == [1_500]
    assert decoded.intervals["value_milli"].to_list() == [100_000, 1_500, 7_000]


@st.composite
def cell(draw: st.DrawFn, tag: int) -> Data:
    if draw(st.integers(0, 4)) == 0:
        tag = draw(st.sampled_from([Tag.NULL, Tag.UINT16, Tag.INT32, *ALONE]))
    eighths = st.integers(-(2**20), 2**20).map(lambda number: number / 8)
    values: dict[int, st.SearchStrategy] = {
        Tag.NULL: st.none(), Tag.UINT16: st.integers(0, 2**16 - 1), Tag.INT32: st.integers(-(2**31), 2**31 - 1),
        Tag.FLOAT32: st.one_of(st.floats(width=32), eighths), Tag.FLOAT64: st.one_of(st.floats(), eighths),
        Tag.BCD: st.integers(0, 99), Tag.BOOLEAN: st.booleans(),
    }  # fmt: skip
    return Data(tag, draw(values[tag]))


@st.composite
def buffer(draw: st.DrawFn) -> list[tuple[Data, ...]]:
    tags = draw(st.tuples(*[st.sampled_from([Tag.UINT16, Tag.INT32, *ALONE])] * 3))
    return [tuple(draw(cell(tag)) for tag in tags) for _ in range(draw(st.integers(1, 6)))]


@settings(max_examples=150, deadline=None)
@given(st.lists(buffer(), min_size=1, max_size=4), buffer(), st.sampled_from([0, -3, -1, 3, 15]))
def test_every_cell_is_what_the_scalar_reader_of_profiles_says(
    buffers: list[list[tuple[Data, ...]]], twice: list[tuple[Data, ...]], scaler: int
) -> None:
    buffers = [*buffers, twice, twice]
    decoded = decode(*map(push, buffers), registry=REGISTRY, types=types(scaler))
    for offset, rows in enumerate(buffers):
        mine = decoded.intervals.filter(decoded.intervals["offset"] == offset)
        found = {
            (at, channel): milli
            for at, channel, milli in mine.select("interval_start", "channel", "value_milli").rows()
        }
        wanted: dict[tuple, int | None] = {}
        odd: set[str] = set()
        for at, row in enumerate(decode_profile(rows_of(rows), 900)):
            for channel, value in zip(CHANNELS, row.values[1:], strict=True):
                key = (START + timedelta(minutes=15 * at), channel)
                milli = None if value is None else exactly(value, scaler + 3)
                if value is not None and milli is None:
                    odd.add(channel)
                else:
                    wanted[key] = milli
        assert found == wanted
        said = decoded.rejects.filter(decoded.rejects["offset"] == offset)
        assert said["reason"].to_list() == (["scaling"] if odd else [])
        assert not odd or ", ".join(channel for channel in CHANNELS if channel in odd) in said["detail"][0]


def exactly(value: object, power: int) -> int | None:
    if not isinstance(value, (int, float)) or value != value or abs(value) == float("inf"):
        return None
    scaled = Fraction(value) * Fraction(10) ** power
    return int(scaled) if scaled.denominator == 1 and abs(scaled) < 2**63 else None


def test_the_scalar_reader_refuses_a_delta_on_floats_too() -> None:
    rows = rows_of([beside(Data(Tag.FLOAT32, 2.5)), beside(Data(Tag.DELTA_INT8, 1))])
    with pytest.raises(ProtocolError, match="delta"):
        decode_profile(rows, 900)
