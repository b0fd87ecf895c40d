"""Floats and BCD as values: exactly or refused, and messages that differ in them alone are one layout."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ingest.dlms.cosem import encode_scaler_unit, parse_obis
from ingest.dlms.data import Data, Tag
from ingest.dlms.framing import wrap_wpdu
from ingest.scaling import floats_to_milli
from tests.ingest.fleet import NAME, decode, enrolled, meters, notification

PLAIN = meters(enrolled(system_title=None, security_min=0))
_INT64_MAX = 2**63 - 1


def exactly(number: float, power: int) -> int | None:
    if number != number or number in (float("inf"), float("-inf")):
        return None
    scaled = Fraction(number) * Fraction(10) ** power
    return int(scaled) if scaled.denominator == 1 and abs(scaled) <= _INT64_MAX else None


@given(st.lists(st.one_of(st.floats(), st.integers(-(10**19), 10**19).map(float)), max_size=20), st.integers(-20, 40))
@example([1e19, 2.0**63, -(2.0**63), 0.125, 0.0625, 5e-324, float("nan"), -0.0], 3)
@example([1e19, 1e20, 1.5e19, 2.0**63], -1)
def test_a_float_becomes_thousandths_exactly_or_not_at_all(numbers: list[float], power: int) -> None:
    milli, wrong = floats_to_milli(np.array(numbers, np.float64), power)
    expected = [exactly(number, power) for number in numbers]
    assert wrong.tolist() == [one is None for one in expected]
    assert milli.tolist() == [one or 0 for one in expected]


def push(tag: Tag, values: list[float]) -> bytes:
    head = Data(Tag.STRUCTURE, (Data(Tag.OCTET_STRING, parse_obis("0-0:42.0.0.255")), Data(9, NAME.encode())))
    rows = [
        Data(Tag.STRUCTURE, (Data(9, parse_obis(f"1-0:{n}.8.0.255")), Data(tag, value), encode_scaler_unit(0, unit)))
        for n, (value, unit) in enumerate(zip(values, (30, 30, 32), strict=True), start=1)
    ]
    return wrap_wpdu(notification(Data(Tag.ARRAY, (head, *rows))))


@pytest.mark.parametrize("tag", [Tag.FLOAT32, Tag.FLOAT64])
def test_each_message_s_floats_are_its_own_and_an_inexact_one_is_refused_alone(tag: Tag) -> None:
    """Every value but the clock is another in each message; one in seven has a value between two thousandths."""
    sent = [[n * 0.125, n + 0.5, 0.0625 if n % 7 == 3 else float(n * n)] for n in range(200)]
    decoded = decode(*(push(tag, values) for values in sent), registry=PLAIN)
    found = decoded.reads.sort("frame", "offset", "obis")
    of_message = found.group_by("offset", maintain_order=True).agg("value_milli")["value_milli"].to_list()
    expected = [[int(value * 1000) for value in values if value != 0.0625] for values in sent]
    assert of_message == expected
    assert decoded.rejects.height == sum(n % 7 == 3 for n in range(200))
    assert set(decoded.rejects["reason"].cast(str).to_list()) == {"scaling"}


def test_each_message_s_digits_are_its_own_and_what_is_no_digit_is_refused_alone() -> None:
    sent = [push(Tag.BCD, [n, (7 * n) % 100, 42]) for n in range(100)]
    at = sent[1].index(bytes((Tag.BCD, 1)))  # the first value of the message that says 01
    spoilt = [sent[n][: at + 1] + octet + sent[n][at + 2 :] for n, octet in ((3, b"\x0a"), (5, b"\xa0"))]
    decoded = decode(*sent[:3], spoilt[0], sent[4], spoilt[1], *sent[6:], registry=PLAIN)
    by_message = decoded.reads.sort("offset", "obis").group_by("offset", maintain_order=True).agg("value_milli")
    assert dict(by_message.rows()) == {
        n: [n * 1000, (7 * n) % 100 * 1000, 42_000] for n in range(100) if n not in (3, 5)
    }
    assert decoded.rejects["offset"].to_list() == [3, 5]
    assert decoded.rejects["reason"].cast(str).to_list() == ["apdu_malformed"] * 2
    assert all("BCD" in detail for detail in decoded.rejects["detail"])
