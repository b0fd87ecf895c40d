"""HDLC control bytes: UI and Kaifa's 10 as they come, numbered frames (I) by the meter's type, all others refused."""

import pytest

from ingest.dlms.framing import split_messages
from ingest.inspect import inspect_bytes
from ingest.keyring import Keyring
from ingest.meter_types import BUILT_IN, parse_types
from ingest.sources import cut_bin
from tests.ingest import by_hand as hand
from tests.ingest.fleet import KEYS, NAME, OTHER_NAME, decode, enrolled, meters, reasons

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


PLAIN = hand.hdlc(b"\xe6\xe7\x00" + hand.PUSH, control=0x32)


def in_the_clear(kind: str, types, *messages: bytes, name: str = NAME):
    """Plain pushes of the example meter to METERS that enrol a meter of this type under that name."""
    registry = meters(enrolled(meter_id=name, meter_type=kind, system_title=None, security_min=0))
    return decode(*(messages or (PLAIN,)), registry=registry, types=types)


def test_a_push_in_the_clear_is_of_the_type_of_the_meter_that_its_body_names() -> None:
    assert in_the_clear("polled", SWITCHED).reads["value_milli"].to_list() == [hand.VALUE * 1000]
    assert in_the_clear("generic", BY_DEFAULT).reads["value_milli"].to_list() == [hand.VALUE * 1000]
    refused = in_the_clear("generic", SWITCHED)
    assert refused.rejects.select("reason", "at", "detail").rows() == [
        ("not_dlms", CONTROL_AT, "HDLC control 32: a numbered frame (I)")
    ]
    assert refused.reads.is_empty() and refused.counts.rejected == 1 and refused.heard.is_empty()


def test_a_push_in_the_clear_of_another_type_than_the_default_is_not_read_by_the_default() -> None:
    types = parse_types(
        '[[meter_type]]\nname = "generic"\nquirks = ["hdlc_numbered"]\n[[meter_type]]\nname = "other"\n'
    )
    assert reasons(in_the_clear("other", types)) == ["not_dlms"]


def test_of_a_push_in_the_clear_that_names_no_meter_of_meters_the_default_type_decides() -> None:
    assert reasons(in_the_clear("polled", SWITCHED, name=OTHER_NAME)) == ["not_dlms"]
    assert in_the_clear("generic", BY_DEFAULT, name=OTHER_NAME).reads.height == 1


def test_for_the_fuse_a_push_in_the_clear_counts_as_any_other_of_the_meter_that_its_body_names() -> None:
    assert in_the_clear("generic", SWITCHED).fusible_by == {"not_dlms": 1}
    assert not in_the_clear("polled", SWITCHED, name=OTHER_NAME).fusible_by  # names nobody of METERS
    owing = decode(PLAIN, registry=meters(enrolled(meter_type="generic")), types=SWITCHED)
    assert reasons(owing) == ["downgrade"] and not owing.fusible_by
    unread = hand.hdlc(b"\xe6\xe7\x00" + hand.PUSH, control=0x93)  # refused before its body is read
    assert reasons(in_the_clear("generic", SWITCHED, unread)) == ["not_dlms"]
    assert not in_the_clear("generic", SWITCHED, unread).fusible_by
    ciphered = decode(hand.hdlc(INFORMATION, control=0x32), registry=meters(enrolled(meter_type="generic")))
    assert reasons(ciphered) == ["not_dlms"] and not ciphered.fusible_by


def test_pushes_in_the_clear_of_one_batch_are_told_apart() -> None:
    other = hand.hdlc(b"\xe6\xe7\x00" + hand.PUSH.replace(NAME.encode(), OTHER_NAME.encode()), control=0x32)
    unnumbered = hand.hdlc(b"\xe6\xe7\x00" + hand.PUSH.replace(NAME.encode(), OTHER_NAME.encode()))
    registry = meters(
        enrolled(meter_type="polled", system_title=None, security_min=0),
        enrolled(meter_id=OTHER_NAME, meter_type="generic", system_title=None, security_min=0),
    )
    decoded = decode(PLAIN, other, unnumbered, registry=registry, types=SWITCHED)
    assert decoded.reads["offset"].to_list() == [0, 2]
    assert decoded.rejects.select("offset", "reason", "at").rows() == [(1, "not_dlms", CONTROL_AT)]


def test_a_body_that_cannot_be_read_keeps_its_own_reason_and_byte() -> None:
    cut = hand.PUSH[:-1]
    decoded = in_the_clear(
        "polled", SWITCHED, hand.hdlc(b"\xe6\xe7\x00" + cut, control=0x32), hand.hdlc(b"\xe6\xe7\x00" + cut)
    )
    numbered, usual = decoded.rejects.select("reason", "at").rows()
    assert numbered == usual and numbered[0] != "not_dlms"


def test_numbered_segments_are_one_message_between_others() -> None:
    segments = hand.hdlc_segments(hand.general(hand.PUSH), 40, control=0x32)
    whole = hand.hdlc(INFORMATION)
    cut = split_messages(whole + b"".join(segments) + whole)
    assert [(each.frames, each.error) for each in cut] == [(1, None), (len(segments), None), (1, None)]
    assert cut_bin(b"".join(segments), "f")["payload"].to_list() == [b"".join(segments)]
