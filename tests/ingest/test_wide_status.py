"""A status wider than an octet, where a meter's push says its form: every bit is told, none is cut."""

from datetime import timedelta

import pytest

from ingest.dlms.data import Data, Tag
from ingest.dlms.framing import wrap_wpdu
from ingest.meter_types import MeterTypes, parse_types
from schemas.codes import Status
from schemas.errors import ContractError
from tests.ingest.fleet import START, body_of, decode, enrolled, meters, notification, reasons, stamp

NAMES = ["power_fail", "unused", *["unused"] * 6, "overflow", *["unused"] * 6, "data_not_valid"]
"""Bits 0, 8 and 15."""
LONG = [*NAMES, *["unused"] * 15, "clock_set"]
FORMS = {"u16": (Tag.UINT16, NAMES), "u32": (Tag.UINT32, LONG), "bits16": (Tag.BIT_STRING, NAMES)}
BITS = {0: Status.POWER_FAIL, 8: Status.OVERFLOW, 15: Status.DATA_NOT_VALID, 31: Status.CLOCK_SET}
NULL = Data(Tag.NULL, None)


def types(status: str, names: list[str]) -> MeterTypes:
    return parse_types(
        f'[[meter_type]]\nname = "wide"\nstatus = {names}\n[[meter_type.push]]\nobject = "*"\nrows = "intervals"\n'
        f'status = "{status}"\n'
    )


def said(form: str, bits: set[int]) -> Data:
    tag = FORMS[form][0]
    if tag is Tag.BIT_STRING:
        return Data(tag, "".join("01"[bit in bits] for bit in range(16)))
    return Data(tag, sum(1 << bit for bit in bits))


def push(*statuses: Data) -> bytes:
    rows = tuple(
        Data(Tag.STRUCTURE, (stamp(START + timedelta(minutes=15 * row)), status, Data(Tag.UINT32, row)))
        for row, status in enumerate(statuses, 1)
    )
    return wrap_wpdu(notification(body_of(Data(Tag.ARRAY, rows))))


def decoded(form: str, *messages: bytes):
    registry = meters(enrolled(meter_type="wide", system_title=None, security_min=0, channels=["energy_delivered"]))
    return decode(*messages, registry=registry, types=types(form, FORMS[form][1]))


def ours(bits: set[int]) -> int:
    return sum(int(BITS[bit]) for bit in bits if bit in BITS)


@pytest.mark.parametrize("form", FORMS)
def test_every_bit_of_a_wide_status_is_told(form: str) -> None:
    width = 32 if form == "u32" else 16
    each = [{bit} for bit in range(width)] + [set(), set(range(width))]
    found = decoded(form, *(push(said(form, bits)) for bits in each))
    assert found.rejects.is_empty()
    assert found.intervals.sort("offset")["status"].to_list() == [ours(bits) for bits in each]


@pytest.mark.parametrize("form", FORMS)
def test_rows_whose_status_is_null_have_that_of_the_row_above(form: str) -> None:
    rows = [NULL, said(form, {0, 8}), NULL, said(form, {15})]
    found = decoded(form, push(*rows), push(*rows[1:]))
    assert found.rejects.is_empty()
    wanted = [0, ours({0, 8}), ours({0, 8}), ours({15})]
    assert found.intervals.sort("offset", "interval_start")["status"].to_list() == [*wanted, *wanted[1:]]


@pytest.mark.parametrize("form", FORMS)
def test_a_status_of_another_form_than_the_type_says_is_refused(form: str) -> None:
    others = [Data(Tag.UINT8, 1), Data(Tag.UINT64, 1), Data(Tag.BIT_STRING, "1" * 15), Data(Tag.BIT_STRING, "1" * 17)]
    others += [said(other, {8}) for other in FORMS if other != form]
    found = decoded(form, *map(push, others))
    assert found.intervals.is_empty() and reasons(found) == ["layout_unknown"] * len(others)


@pytest.mark.parametrize("status, names", [("octet", NAMES), ("u16", LONG), ("bits16", [*NAMES, "unused"])])
def test_more_names_than_a_status_has_bits_are_refused_as_configuration(status: str, names: list[str]) -> None:
    with pytest.raises(ContractError, match="status"):
        types(status, names)
