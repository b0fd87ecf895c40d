"""Bulk decoding against the scalar decoder: every number that becomes a row is the one that the scalar decoder reads.

The oracle goes a way of its own: one message, `unwrap`, `decode_apdu`, `push_values`, and fractions.
"""

from collections import Counter
from datetime import timedelta
from fractions import Fraction

from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.dlms.apdu import DataNotification, decode_apdu
from ingest.dlms.data import Data, Tag
from ingest.dlms.framing import unwrap, wrap_wpdu
from ingest.dlms.push import push_values
from schemas.errors import ProtocolError
from tests.ingest.fleet import (
    START,
    decode,
    device_name,
    enrolled,
    meters,
    notification,
    register_rows,
    stamp,
)

NAMES = [f"AMI{number:013d}" for number in range(3)]
REGISTRY = meters(*(enrolled(meter_id=name, system_title=None, security_min=0) for name in NAMES))
REGISTERS = ["1-0:1.8.0.255", "1-0:2.8.0.255", "1-0:3.8.0.255", "1-0:32.7.0.255", "1-0:1.8.1.255", "1-0:1.8.2.255"]
INTEGERS = [
    (Tag.UINT8, 0, 2**8 - 1), (Tag.UINT16, 0, 2**16 - 1), (Tag.UINT32, 0, 2**32 - 1), (Tag.UINT64, 0, 2**64 - 1),
    (Tag.INT8, -(2**7), 2**7 - 1), (Tag.INT16, -(2**15), 2**15 - 1), (Tag.INT32, -(2**31), 2**31 - 1),
    (Tag.INT64, -(2**63), 2**63 - 1), (Tag.BCD, 0, 99),
]  # fmt: skip
NUMBERS = {tag for tag, _, _ in INTEGERS} | {Tag.FLOAT32, Tag.FLOAT64}


@st.composite
def number(draw: st.DrawFn) -> Data:
    if draw(st.integers(0, 3)) == 0:
        return (
            Data(Tag.FLOAT32, draw(st.floats(width=32)))
            if draw(st.booleans())
            else Data(Tag.FLOAT64, draw(st.floats()))
        )
    tag, low, high = draw(st.sampled_from(INTEGERS))
    return Data(tag, draw(st.integers(low, high)))


@st.composite
def shape(draw: st.DrawFn) -> list[tuple[str, Data, tuple[int, int]]]:
    """What the pushes of a make share: registers, the types of their numbers, scalers and units."""
    names = draw(st.lists(st.sampled_from(REGISTERS), min_size=1, max_size=5, unique=True))
    return [(name, draw(number()), (draw(st.sampled_from([0, -1, -3, 3, 16])), 30)) for name in names]


@st.composite
def fleet(draw: st.DrawFn) -> list[bytes]:
    """Pushes of a few makes; some bytes of some of them are damaged."""
    made = []
    for registers in draw(st.lists(shape(), min_size=1, max_size=3)):
        for _ in range(draw(st.integers(1, 12))):
            rows = []
            for name, like, scaling in registers:
                limits = {tag: (low, high) for tag, low, high in INTEGERS}.get(like.tag)
                value = like.value if limits is None else draw(st.integers(*limits))
                if limits is None and draw(st.booleans()):
                    value = float(draw(st.integers(-(2**20), 2**20))) / 8
                rows.append((name, Data(like.tag, value), scaling))
            clock = ("0-0:1.0.0.255", stamp(START + timedelta(minutes=draw(st.integers(0, 99)))), None)
            octets = wrap_wpdu(notification(register_rows([device_name(draw(st.sampled_from(NAMES))), clock, *rows])))
            if draw(st.integers(0, 3)) == 0:
                at = draw(st.integers(8, len(octets) - 1))
                octets = octets[:at] + bytes((draw(st.integers(0, 255)),)) + octets[at + 1 :]
            made.append(octets)
    return draw(st.permutations(made))


def by_scalar(octets: bytes) -> Counter[int] | None:
    """Thousandths of every scaled number; None where the scalar decoder refuses the message."""
    try:
        apdu = decode_apdu(unwrap(octets).apdu)
    except ProtocolError:
        return None
    if not isinstance(apdu, DataNotification):
        return Counter()
    found: Counter[int] = Counter()
    for each in push_values(apdu.body):
        value = each.data.value
        if each.data.tag not in NUMBERS or each.scaler is None or each.obis is None:
            continue
        if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
            continue
        scaled = Fraction(value) * Fraction(10) ** (each.scaler + 3)
        if scaled.denominator == 1 and abs(scaled) < 2**63:
            found[int(scaled)] += 1
    return found


@settings(max_examples=150, deadline=None)
@given(fleet())
def test_every_row_s_number_is_the_one_that_the_scalar_decoder_reads(messages: list[bytes]) -> None:
    decoded = decode(*messages, registry=REGISTRY)
    rows: dict[int, Counter[int]] = {}
    for offset, value in decoded.reads.select("offset", "value_milli").rows():
        rows.setdefault(offset, Counter())[value] += 1
    rejected = set(decoded.rejects["offset"].to_list())
    for offset, octets in enumerate(messages):
        expected = by_scalar(octets)
        if expected is None:
            assert offset in rejected and offset not in rows
        elif offset in rows:
            assert rows[offset] <= expected
            assert rows[offset] == expected or offset in rejected
        else:
            assert offset in rejected
