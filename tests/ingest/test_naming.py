"""Whose message it is: empty names, texts of events, devices behind a meter, what a name owes, and trials of quirks."""

import pytest

from ingest.dlms.cosem import parse_obis
from ingest.dlms.data import Data, Tag
from ingest.dlms.framing import wrap_wpdu
from ingest.meter_types import parse_types
from tests.ingest.fleet import (
    AK,
    EK,
    NAME,
    OTHER_NAME,
    TITLE,
    decode,
    device_name,
    enrolled,
    event,
    meters,
    notification,
    reasons,
    register_rows,
    sealed,
    stamp,
)
from tests.ingest.fleet import START as AT
from tests.ingest.test_make_switches import CURVES, signed

OPEN = {"system_title": None, "security_min": 0}
ENERGY = ("1-0:1.8.0.255", Data(Tag.UINT32, 5), (0, 30))
GOOD = wrap_wpdu(notification(register_rows([device_name(), ENERGY])))


def test_a_name_of_no_octets_is_a_reject_and_the_messages_beside_it_are_read() -> None:
    empty = {
        "a push": notification(register_rows([("0-0:42.0.0.255", Data(Tag.OCTET_STRING, b""), None)])),
        "a text": notification(register_rows([("0-0:42.0.0.255", Data(Tag.VISIBLE_STRING, ""), None)])),
        "an event": event("0.0.42.0.0.255", Data(Tag.OCTET_STRING, b"")),
    }
    for registry in (meters(enrolled(**OPEN)), meters().clear()):
        for message in empty.values():
            decoded = decode(GOOD, wrap_wpdu(message), GOOD, registry=registry)
            assert decoded.reads["offset"].to_list() == [0, 2]
            assert reasons(decoded) == ["identity"]
            decoded = decode(wrap_wpdu(message), registry=registry)
            assert reasons(decoded) == ["identity"]


def test_a_name_of_no_octets_does_not_contradict_a_title() -> None:
    push = register_rows([("0-0:42.0.0.255", Data(Tag.OCTET_STRING, bytes(16)), None), ENERGY])
    decoded = decode(sealed(notification(push)))
    assert decoded.reads["meter_id"].to_list() == [NAME] and reasons(decoded) == []


def told(*items: Data) -> Data:
    return Data(Tag.STRUCTURE, items)


TEXT = Data(Tag.VISIBLE_STRING, "LOW BATTERY ON L1")
CODE = Data(Tag.UINT8, 5)


def test_the_name_of_an_object_in_an_event_names_no_meter() -> None:
    """Of meters that are not enrolled: both would be filed as one, whose id is the object's name in hex."""
    field = Data(Tag.OCTET_STRING, parse_obis("0-0:42.0.0.255"))
    for name in (OTHER_NAME, "AMI0000000000003"):
        value = told(field, Data(Tag.OCTET_STRING, name.encode()), CODE)
        decoded = decode(wrap_wpdu(event("0.0.96.11.0.255", value)), registry=meters(enrolled(**OPEN)))
        assert decoded.events.select("meter_id", "code").rows() == [(name, 5)] and reasons(decoded) == []
    decoded = decode(wrap_wpdu(event("0.0.96.11.0.255", told(field, CODE))), registry=meters(enrolled(**OPEN)))
    assert (decoded.events.height, reasons(decoded)) == (0, ["identity"])


def test_words_of_an_event_name_no_other_meter() -> None:
    for value in (told(stamp(AT), CODE, TEXT), told(TEXT, CODE)):
        decoded = decode(sealed(event("0.0.96.11.0.255", value)))
        assert decoded.events.select("meter_id", "code").rows() == [(NAME, 5)] and reasons(decoded) == []
    decoded = decode(sealed(event("0.0.96.13.0.255", TEXT)))
    assert decoded.events["event"].to_list() == ["other"] and reasons(decoded) == []


def test_an_event_of_another_meter_s_name_is_still_an_impostor_s() -> None:
    registry = meters(enrolled(), enrolled(meter_id=OTHER_NAME, system_title=None))
    value = told(Data(Tag.OCTET_STRING, OTHER_NAME.encode()), CODE)
    assert reasons(decode(sealed(event("0.0.96.11.0.255", value)), registry=registry)) == ["identity"]


@pytest.mark.parametrize("name_first", [True, False])
def test_of_the_strings_of_an_event_a_meter_s_name_is_its_name(name_first: bool) -> None:
    name = Data(Tag.OCTET_STRING, NAME.encode())
    value = told(*((name, TEXT) if name_first else (TEXT, name)), CODE)
    decoded = decode(wrap_wpdu(event("0.0.96.11.0.255", value)), registry=meters(enrolled(**OPEN)))
    assert decoded.events.select("meter_id", "code").rows() == [(NAME, 5)]


GAS = ("0-1:96.1.0.255", Data(Tag.OCTET_STRING, OTHER_NAME.encode()), None)
OWN = ("0-0:96.1.1.255", Data(Tag.OCTET_STRING, NAME.encode()), None)


@pytest.mark.parametrize("rows", [[GAS, OWN, ENERGY], [OWN, GAS, ENERGY], [GAS, ENERGY]])
def test_a_device_behind_the_meter_is_not_the_meter(rows: list) -> None:
    push = notification(register_rows(rows))
    both = meters(enrolled(), enrolled(meter_id=OTHER_NAME, system_title=None, security_min=0))
    decoded = decode(sealed(push), registry=both)
    assert decoded.reads["meter_id"].to_list() == [NAME] and reasons(decoded) == []
    plain = decode(wrap_wpdu(push), registry=meters(enrolled(**OPEN), enrolled(meter_id=OTHER_NAME, **OPEN)))
    assert plain.reads["meter_id"].to_list() == ([NAME] if OWN in rows else [])
    assert reasons(plain) == ([] if OWN in rows else ["identity"])


@pytest.mark.parametrize("lowest", [0x30, 0x31, 0x32])
def test_what_the_body_names_owes_its_own_security_under_any_title(lowest: int) -> None:
    """Suite 0, by a title that has a key and no meter."""
    registry = meters(enrolled(system_title=None, security_min=lowest))
    decoded = decode(sealed(notification(register_rows([device_name(), ENERGY]))), registry=registry)
    assert decoded.reads.height == (lowest == 0x30)
    assert reasons(decoded) == ([] if lowest == 0x30 else ["downgrade"])


@pytest.mark.parametrize("lowest", [None, 0x30, 0])
def test_a_signature_alone_is_no_ciphering(lowest: int | None) -> None:
    """Signed and in the clear, naming nobody: the signer's title says whose it is, and what it owes."""
    message, public = signed(notification(register_rows([ENERGY])), *CURVES[0])
    keys = f"system_title,ek,ak,public_key\n{TITLE.hex()},{EK.hex()},{AK.hex()},{public}\n"
    decoded = decode(wrap_wpdu(message), keys=keys, registry=meters(enrolled(security_min=lowest)))
    assert reasons(decoded) == ([] if lowest == 0 else ["downgrade"])
    assert decoded.reads.height == (lowest == 0)


TYPES = parse_types(
    '[[meter_type]]\nname = "one"\nquirks = ["obis_tag_swapped"]\n'
    '[[meter_type]]\nname = "two"\nquirks = ["obis_tag_swapped", "untagged_descriptor"]\n'
)


def swapped(*rows: tuple) -> bytes:
    name = parse_obis("1-0:1.8.0.255")
    push = notification(register_rows([*rows, ENERGY]))
    return push.replace(b"\x09\x06" + name, b"\x06\x09" + name)


@pytest.mark.parametrize("order", [["one"], ["one", "two"], ["two", "one"]])
def test_what_other_meters_are_enrolled_decides_nothing(order: list[str]) -> None:
    names = {"one": NAME, "two": OTHER_NAME}
    registry = meters(*(enrolled(meter_id=names[kind], meter_type=kind, **OPEN) for kind in order))
    decoded = decode(wrap_wpdu(swapped(device_name())), registry=registry, types=TYPES)
    assert decoded.reads["value_milli"].to_list() == [5000] and reasons(decoded) == []


@pytest.mark.parametrize("kind", ["generic", "one"])
@pytest.mark.parametrize("rows", [(), (device_name("AMI0000000000009"),)])
def test_the_strict_fault_stands_whoever_else_has_a_quirk(kind: str, rows: tuple) -> None:
    registry = meters(enrolled(), enrolled(meter_id=OTHER_NAME, meter_type=kind, **OPEN))
    for message in (sealed(swapped(*rows)), wrap_wpdu(swapped(*rows))):
        assert reasons(decode(message, registry=registry, types=TYPES)) == ["axdr_tag"]


@pytest.mark.parametrize("owner", ["one", "generic"])
def test_plain_text_of_a_quirk_s_meter_that_owes_ciphering_is_a_downgrade(owner: str) -> None:
    """Of a meter without that quirk it is not readable in the first place."""
    registry = meters(
        enrolled(meter_type=owner, system_title=None, security_min=0x30),
        enrolled(meter_id=OTHER_NAME, meter_type="one", **OPEN),
    )
    decoded = decode(wrap_wpdu(swapped(device_name())), registry=registry, types=TYPES)
    assert reasons(decoded) == ["downgrade" if owner == "one" else "axdr_tag"]
