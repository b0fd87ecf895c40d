"""Deltas in bulk against the scalar reader of profiles: every type of base, every wrap, nulls between."""

from datetime import timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.dlms.data import PACKED, Data, Tag
from ingest.dlms.framing import wrap_wpdu
from ingest.dlms.profile import decode_profile
from ingest.meter_types import parse_types
from tests.ingest.fleet import START, body_of, decode, enrolled, meters, notification, reasons, stamp

TYPES = parse_types(
    '[[meter_type]]\nname = "milli"\n[[meter_type.push]]\nobject = "*"\nrows = "intervals"\nscaler = -3\n'
)
REGISTRY = meters(
    enrolled(meter_type="milli", system_title=None, security_min=0, channels=["energy_delivered"], interval_s=900)
)
BASES = [Tag.INT8, Tag.INT16, Tag.INT32, Tag.INT64, Tag.UINT8, Tag.UINT16, Tag.UINT32, Tag.UINT64]
DELTAS = [Tag.DELTA_INT8, Tag.DELTA_INT16, Tag.DELTA_INT32, Tag.DELTA_UINT8, Tag.DELTA_UINT16, Tag.DELTA_UINT32]
SIGNED = {Tag.INT8, Tag.INT16, Tag.INT32, Tag.INT64, Tag.DELTA_INT8, Tag.DELTA_INT16, Tag.DELTA_INT32}


def limits(tag: int) -> tuple[int, int]:
    bits = 8 * PACKED[tag].size
    return (-(1 << bits - 1), (1 << bits - 1) - 1) if tag in SIGNED else (0, (1 << bits) - 1)


@st.composite
def number(draw: st.DrawFn, tag: int) -> Data:
    low, high = limits(tag)
    near = st.sampled_from([low, high, min(max(low, 0), high), max(low, -1), high - 1, min(high, 1 << 62)])
    return Data(tag, draw(st.one_of(near, st.integers(low, high))))


@st.composite
def column(draw: st.DrawFn) -> list[Data]:
    """Rows of one column; each number may be whole, a delta or a null."""
    rows = []
    for _ in range(draw(st.integers(1, 8))):
        kind = draw(st.integers(0, 5))
        tag = draw(st.sampled_from(BASES if kind == 0 else DELTAS))
        rows.append(Data(Tag.NULL, None) if kind == 5 else draw(number(tag)))
    return rows


def rows_of(numbers: list[Data]) -> Data:
    clocks = [stamp(START + timedelta(minutes=15 * (at + 1))) for at in range(len(numbers))]
    cells = [
        Data(Tag.STRUCTURE, (clock, Data(Tag.UINT8, 0), each)) for clock, each in zip(clocks, numbers, strict=True)
    ]
    return Data(Tag.ARRAY, tuple(cells))


@settings(max_examples=150, deadline=None)
@given(st.lists(column(), min_size=1, max_size=4), column())
def test_every_row_is_what_the_scalar_reader_of_profiles_says(columns: list[list[Data]], twice: list[Data]) -> None:
    """Several layouts at once, one of them in two messages."""
    columns = [*columns, twice, twice]
    messages = [wrap_wpdu(notification(body_of(rows_of(numbers)))) for numbers in columns]
    decoded = decode(*messages, registry=REGISTRY, types=TYPES)
    for offset, numbers in enumerate(columns):
        wanted = [row.values[1] for row in decode_profile(rows_of(numbers), 900)]
        mine = decoded.intervals.filter(decoded.intervals["offset"] == offset)
        found = dict(mine.select("interval_start", "value_milli").rows())
        refused = [value for value in wanted if value is not None and not -(2**63) < value < 2**63]
        for at, value in enumerate(wanted):
            start = START + timedelta(minutes=15 * at)
            if value is None or -(2**63) < value < 2**63:
                assert found[start] == value
            else:
                assert start not in found
        assert len(found) == len(wanted) - len(refused)
        said = decoded.rejects.filter(decoded.rejects["offset"] == offset)["reason"].to_list()
        assert said == (["scaling"] if refused else [])
    assert set(reasons(decoded)) <= {"scaling"}
