"""HDLC control bytes: UI and Kaifa's 10 as they come, numbered frames (I) by the meter's type, all others refused."""

import pytest

from ingest.dlms.framing import split_messages
from ingest.inspect import inspect_bytes
from ingest.keyring import Keyring
from ingest.meter_types import BUILT_IN, parse_types
from ingest.sources import cut_bin
from tests.ingest import by_hand as hand
from tests.ingest.fleet import KEYS, OTHER_NAME, decode, enrolled, meters, reasons

SWITCHED = parse_types('[[meter_type]]\nname = "polled"\nquirks = ["hdlc_numbered"]\n')
BY_DEFAULT = parse_types('[[meter_type]]\nname = "generic"\nquirks = ["hdlc_numbered"]\n')
RING = Keyring.from_csv(KEYS)
CONTROL_AT = 5
INFORMATION = b"\xe6\xe7\x00" + hand.general(hand.PUSH)
UI = (0x03, 0x13, 0x10)
NUMBERED = (0x32, 0x00, 0x12, 0x30, 0xFE)
OTHERS = (0x93, 0x73, 0x53, 0x01, 0x11, 0x97, 0x1F, 0x33, 0xFF)


def of_type(kind: str, control: int, types=SWITCHED):
    registry = meters(enrolled(meter_type=kind), enrolled(meter_id=OTHER_NAME, system_title=None))
    return decode(hand.hdlc(INFORMATION, control=control), registry=registry, types=types)


@pytest.mark.parametrize("control", UI)
def test_a_ui_frame_is_read_of_any_meter(control: int) -> None:
    assert of_type("generic", control).reads["value_milli"].to_list() == [hand.VALUE * 1000]


@pytest.mark.parametrize("control", NUMBERED)
def test_a_numbered_frame_is_read_where_the_meter_s_type_says_so(control: int) -> None:
    off = of_type("generic", control)
    assert off.rejects.select("reason", "at").rows() == [("not_dlms", CONTROL_AT)]
    assert off.rejects["detail"].to_list() == [f"HDLC control {control:02X}: a numbered frame (I)"]
    assert of_type("polled", control).reads["value_milli"].to_list() == [hand.VALUE * 1000]
    file = hand.hdlc(INFORMATION, control=control)
    (said,) = inspect_bytes(file, file="f", hex_lines=False, keyring=RING, types=BUILT_IN)
    assert said["error"] == {"reason": "not_dlms", "at": CONTROL_AT}
    (said,) = inspect_bytes(file, file="f", hex_lines=False, keyring=RING, types=SWITCHED)
    assert said["quirks"] == ["hdlc_numbered"] and said["authenticated"] is True


@pytest.mark.parametrize("control", OTHERS)
def test_another_control_byte_is_refused_of_any_meter(control: int) -> None:
    refused = of_type("polled", control)
    assert refused.rejects.select("reason", "at").rows() == [("not_dlms", CONTROL_AT)]


def test_a_push_in_the_clear_is_of_the_default_type_until_its_body_is_read() -> None:
    message = hand.hdlc(b"\xe6\xe7\x00" + hand.PUSH, control=0x32)
    registry = meters(enrolled(meter_type="polled", system_title=None, security_min=0))
    assert reasons(decode(message, registry=registry, types=SWITCHED)) == ["not_dlms"]
    plain = meters(enrolled(system_title=None, security_min=0))
    assert decode(message, registry=plain, types=BY_DEFAULT).reads["value_milli"].to_list() == [hand.VALUE * 1000]


def test_numbered_segments_are_one_message_between_others() -> None:
    segments = hand.hdlc_segments(hand.general(hand.PUSH), 40, control=0x32)
    whole = hand.hdlc(INFORMATION)
    cut = split_messages(whole + b"".join(segments) + whole)
    assert [(each.frames, each.error) for each in cut] == [(1, None), (len(segments), None), (1, None)]
    assert cut_bin(b"".join(segments), "f")["payload"].to_list() == [b"".join(segments)]
