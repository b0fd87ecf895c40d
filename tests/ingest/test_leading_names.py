"""A string at the head of a push, of any length, and a UTF-8 string are names of meters: they speak against a title."""

import pytest

from ingest.dlms.cosem import encode_scaler_unit, parse_obis
from ingest.dlms.data import Data, Tag
from ingest.dlms.framing import wrap_wpdu
from tests.ingest.fleet import (
    NAME,
    OTHER_NAME,
    OTHER_TITLE,
    RECEIVED,
    body_of,
    decode,
    enrolled,
    meters,
    notification,
    register_rows,
    sealed,
    stamp,
)

_OTHERS = ["M7", "AMI000000000009", OTHER_NAME, "A-LONGER-NAME-THAN-A-DEVICE-HAS"]
_VALUE = Data(Tag.UINT32, 5)
_INTERVALS = Data(
    Tag.ARRAY, (Data(Tag.STRUCTURE, (stamp(RECEIVED.replace(minute=0, second=0)), Data(Tag.UINT8, 0), _VALUE, _VALUE)),)
)


def _led(text: Data, behind: tuple[Data, ...]) -> bytes:
    return notification(Data(Tag.STRUCTURE, (text, *behind)), RECEIVED)


def _pairs(text: Data) -> bytes:
    return _led(text, (Data(Tag.OCTET_STRING, parse_obis("1-0:1.8.0.255")), _VALUE, encode_scaler_unit(0, 30)))


def _rows(text: Data) -> bytes:
    items = body_of(_INTERVALS).value
    assert isinstance(items, tuple)
    return _led(text, items[1:])


def _registry(other: str):  # type: ignore[no-untyped-def]
    return meters(enrolled(), enrolled(meter_id=other, system_title=OTHER_TITLE.hex()))


@pytest.mark.parametrize("other", _OTHERS)
@pytest.mark.parametrize("push", [_pairs, _rows])
@pytest.mark.parametrize("tag", [Tag.OCTET_STRING, Tag.VISIBLE_STRING, Tag.UTF8_STRING])
def test_the_leading_name_of_another_meter_is_an_identity_fault(other: str, push, tag: Tag) -> None:  # type: ignore[no-untyped-def]
    text = Data(tag, other.encode() if tag == Tag.OCTET_STRING else other)
    decoded = decode(sealed(push(text)), registry=_registry(other))
    assert decoded.rejects["reason"].to_list() == ["identity"]
    assert decoded.intervals.is_empty()
    assert decoded.reads.is_empty()


@pytest.mark.parametrize("name", ["0-0:42.0.0.255", "0-0:96.1.0.255"])
def test_a_utf8_string_is_a_name(name: str) -> None:
    def push(text: str) -> bytes:
        rows = [(name, Data(Tag.UTF8_STRING, text), None), ("1-0:1.8.0.255", _VALUE, (0, 30))]
        return notification(register_rows(rows), RECEIVED)

    wrong = decode(sealed(push(OTHER_NAME)), registry=_registry(OTHER_NAME))
    assert wrong.rejects["reason"].to_list() == ["identity"]
    plain = decode(wrap_wpdu(push(NAME)), registry=meters(enrolled(system_title=None, security_min=0)))
    assert plain.reads["meter_id"].to_list() == [NAME]
    foreign = decode(wrap_wpdu(push("Z\N{LATIN SMALL LETTER A WITH DIAERESIS}hler")), registry=meters())
    assert foreign.counts.decoded == 1


def test_a_leading_text_that_is_nobody_leaves_the_message_to_its_title() -> None:
    decoded = decode(sealed(_pairs(Data(Tag.VISIBLE_STRING, "LIST 7"))), registry=_registry("M7"))
    assert decoded.reads["meter_id"].to_list() == [NAME]


def test_the_name_behind_a_leading_text_is_judged_as_before() -> None:
    device = (Data(Tag.OCTET_STRING, parse_obis("0-0:42.0.0.255")), Data(Tag.OCTET_STRING, OTHER_NAME.encode()))
    value = (Data(Tag.OCTET_STRING, parse_obis("1-0:1.8.0.255")), _VALUE, encode_scaler_unit(0, 30))
    for leading in ("LIST 7", "M1"):  # nobody; the meter of the title itself
        push = _led(Data(Tag.VISIBLE_STRING, leading), (*device, *value))
        registry = meters(enrolled(meter_id="M1"), enrolled(meter_id=OTHER_NAME, system_title=OTHER_TITLE.hex()))
        assert decode(sealed(push), registry=registry).rejects["reason"].to_list() == ["identity"]


def test_a_short_leading_name_names_a_plain_meter() -> None:
    registry = meters(enrolled(meter_id="M7", system_title=None, security_min=0))
    decoded = decode(wrap_wpdu(_pairs(Data(Tag.OCTET_STRING, b"M7"))), registry=registry)
    assert decoded.reads["meter_id"].to_list() == ["M7"]
