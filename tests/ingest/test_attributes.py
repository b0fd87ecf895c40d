"""Which attribute of an object a number is: only its value is a quantity, and scaler and unit are none."""

import pytest

from ingest.dlms.apdu import encode_event_notification
from ingest.dlms.axdr import encode_data
from ingest.dlms.cosem import encode_scaler_unit, parse_obis
from ingest.dlms.data import Data, Tag
from ingest.meter_types import BUILT_IN, parse_types
from tests.ingest.fleet import NAME, decode, enrolled, meters, notification, reasons, sealed

SCALED = parse_types('[[meter_type]]\nname = "scaled"\n[meter_type.scalers]\n"1.6.0" = 0\n"1.8.0" = 1')
"""A type that knows scalers, so that a number under such a name lacks nothing to be taken for a value."""
ENERGY, DEMAND, AVERAGE = "1-0:1.8.0.255", "1-0:1.6.0.255", "1-0:1.4.0.255"
WH, W = encode_scaler_unit(-1, 30), encode_scaler_unit(-1, 27)


def u32(value: int) -> Data:
    return Data(Tag.UINT32, value)


def structure(*items: Data) -> Data:
    return Data(Tag.STRUCTURE, items)


def name(obis: str) -> Data:
    return Data(Tag.OCTET_STRING, parse_obis(obis))


def listed(*entries: tuple[int, str, int, Data]) -> bytes:
    """A push behind its push object list."""
    rows = [(40, "0-0:25.9.0.255", 2), *(entry[:3] for entry in entries)]
    described = tuple(
        structure(Data(Tag.UINT16, each), name(obis), Data(Tag.INT8, attribute), Data(Tag.UINT16, 0))
        for each, obis, attribute in rows
    )
    return notification(structure(Data(Tag.ARRAY, described), *(entry[3] for entry in entries)))


def access(*entries: tuple[int, str, int, Data]) -> bytes:
    """An access-response that repeats the request."""
    count = bytes((len(entries),))
    asked = b"".join(
        b"\x01" + each.to_bytes(2, "big") + parse_obis(obis) + bytes((attribute,))
        for each, obis, attribute, _ in entries
    )
    values = b"".join(encode_data(entry[3]) for entry in entries)
    return b"\xda\0\0\0\1\0\1" + count + asked + count + values + count + b"\x01\x00" * len(entries)


def read(message: bytes, kind: str = "scaled") -> tuple[list[tuple[str, str, int]], list[str]]:
    types = SCALED if kind == "scaled" else BUILT_IN
    decoded = decode(sealed(message), registry=meters(enrolled(meter_type=kind)), types=types)
    assert set(decoded.reads["meter_id"]) <= {NAME}
    return decoded.reads.select("channel", "obis", "value_milli").rows(), reasons(decoded)


@pytest.mark.parametrize("form", [listed, access])
def test_a_status_of_an_extended_register_is_no_demand(form: object) -> None:
    value, status = (4, DEMAND, 2, u32(7)), (4, DEMAND, 4, Data(Tag.UINT8, 9))
    expected = [("demand_max", DEMAND, 7_000)], ["layout_unknown"]
    assert read(form(value, status)) == read(form(status, value)) == expected  # type: ignore[operator]
    assert read(form(status)) == ([], ["layout_unknown"])  # type: ignore[operator]


@pytest.mark.parametrize("form", [listed, access])
def test_a_scaler_without_its_value_is_no_energy(form: object) -> None:
    assert read(form((3, ENERGY, 3, WH))) == ([], ["layout_unknown"])  # type: ignore[operator]


@pytest.mark.parametrize("kind", ["scaled", "generic"])
@pytest.mark.parametrize("form", [listed, access])
def test_a_scaler_of_the_same_message_scales_its_value(form: object, kind: str) -> None:
    value, scaling = (3, ENERGY, 2, u32(5)), (3, ENERGY, 3, WH)
    expected = [("energy_delivered", ENERGY, 500)], []
    assert read(form(value, scaling), kind) == read(form(scaling, value), kind) == expected  # type: ignore[operator]


def test_attribute_0_is_every_attribute_of_the_object() -> None:
    whole = structure(name(ENERGY), u32(5), WH)
    for kind in ("scaled", "generic"):
        assert read(listed((3, ENERGY, 0, whole)), kind) == ([("energy_delivered", ENERGY, 500)], [])


def test_a_demand_register_has_its_scaler_in_its_fourth_attribute() -> None:
    message = listed((5, AVERAGE, 3, u32(6)), (5, AVERAGE, 4, W), (5, AVERAGE, 8, u32(900)))
    assert read(message) == ([("other", AVERAGE, 600)], ["layout_unknown"])


def test_an_event_notification_of_a_status_is_no_demand() -> None:
    message = b"\xc2\x00\x00\x04" + parse_obis(DEMAND) + b"\x04" + encode_data(Data(Tag.UINT8, 9))
    assert read(message) == ([], ["layout_unknown"])


CODE, ALARMS, WORD = "0-0:96.11.0.255", "0-0:97.98.0.255", "0-0:94.91.18.255"


@pytest.mark.parametrize("form", [listed, access])
@pytest.mark.parametrize("obis", [CODE, ALARMS])
def test_a_status_of_an_event_object_is_no_event(form: object, obis: str) -> None:
    """Its 1 would be a power failure, of a code and of an alarm register alike."""
    for value, codes in (((), []), (((1, obis, 2, Data(Tag.UINT8, 2)),), [2])):
        decoded = decode(sealed(form(*value, (4, obis, 4, Data(Tag.UINT8, 1)))))  # type: ignore[operator]
        assert decoded.events["code"].to_list() == codes
        assert decoded.reads.height == 0 and reasons(decoded) == ["layout_unknown"]


def test_a_status_word_is_an_event_word_by_its_value_alone() -> None:
    gasp = Data(Tag.BIT_STRING, "0" * 85 + "1" + "0" * 42)
    registry = meters(enrolled(meter_type="is15959"))
    for attribute, codes in ((2, [85]), (4, [])):
        decoded = decode(sealed(listed((1, WORD, attribute, gasp))), registry=registry)
        assert decoded.events["code"].to_list() == codes


def test_a_notification_of_a_scaler_tells_no_event() -> None:
    message = encode_event_notification(None, 3, parse_obis(ALARMS), 3, encode_scaler_unit(0, 255))
    decoded = decode(sealed(message))
    assert (decoded.events.height, decoded.reads.height, reasons(decoded)) == (0, 0, ["layout_unknown"])
