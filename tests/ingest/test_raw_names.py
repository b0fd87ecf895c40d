"""A name in raw octets is shown in hexadecimal: whoever is shown as a meter that owes protection must prove it."""

import pytest

from ingest.decode import Decoded
from ingest.dlms.data import Data, Tag
from ingest.dlms.framing import wrap_wpdu
from tests.ingest.fleet import RECEIVED, TITLE, decode, enrolled, meters, notification, register_rows, sealed

_RAW = bytes(range(0x80, 0x90))
_DEVICE_NAME = "0-0:42.0.0.255"
_SERIAL = "0-0:96.1.0.255"


def _push(octets: bytes, name: str = _DEVICE_NAME) -> bytes:
    value = Data(Tag.UINT32, 666)
    named = [(name, Data(Tag.OCTET_STRING, octets), None), ("1-0:1.8.0.255", value, (0, 30))]
    return notification(register_rows(named), RECEIVED)


def _reasons(decoded: Decoded) -> list[str]:
    assert decoded.reads.is_empty()
    return decoded.rejects["reason"].to_list()


@pytest.mark.parametrize("octets", [TITLE, _RAW], ids=["a title", "sixteen octets"])
@pytest.mark.parametrize("name", [_DEVICE_NAME, _SERIAL])
def test_plain_octets_that_are_shown_as_an_enrolled_meter_are_a_downgrade(octets: bytes, name: str) -> None:
    registry = meters(enrolled(meter_id=octets.hex(), system_title=None, security_min=0x30))
    assert _reasons(decode(wrap_wpdu(_push(octets, name)), registry=registry)) == ["downgrade"]


@pytest.mark.parametrize("octets", [TITLE, TITLE.hex().encode()], ids=["raw", "text"])
def test_a_plain_push_named_by_a_title_with_a_key_is_a_downgrade(octets: bytes) -> None:
    registry = meters(enrolled(meter_id="X1", system_title=None, security_min=0))
    assert _reasons(decode(wrap_wpdu(_push(octets)), registry=registry)) == ["downgrade"]


def test_octets_of_another_meter_speak_against_the_title() -> None:
    registry = meters(enrolled(), enrolled(meter_id=_RAW.hex(), system_title=None))
    assert _reasons(decode(sealed(_push(_RAW, _SERIAL)), registry=registry)) == ["identity"]


def test_octets_that_name_nobody_are_shown_as_before() -> None:
    decoded = decode(wrap_wpdu(_push(_RAW)), registry=meters(enrolled(meter_id="X1", system_title=None)))
    assert decoded.reads["meter_id"].to_list() == [_RAW.hex()]


def test_octets_that_are_the_meter_of_the_title_are_its_name() -> None:
    decoded = decode(sealed(_push(TITLE)), registry=meters(enrolled(meter_id=TITLE.hex())))
    assert decoded.reads["meter_id"].to_list() == [TITLE.hex()]
