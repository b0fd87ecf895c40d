"""What `ami inspect` says of real messages."""

import json
from types import SimpleNamespace
from typing import Any

import pytest

from ingest.dlms.blocks import split_blocks
from ingest.dlms.cosem import to_milli
from ingest.dlms.framing import wrap_wpdu
from ingest.dlms.hdlc import wrap_hdlc
from ingest.dlms.security import protect
from ingest.inspect import inspect_bytes
from ingest.meter_types import parse_types

NAMES = [
    *(f"dlms_parser_{n:02}" for n in range(1, 15)),
    *(f"amshan_{n:02}" for n in range(1, 15)),
    *(f"osgp_{n:02}" for n in range(1, 6)),
]
WAITING = {
    "dlms_parser_04": ("key_unknown", "hdlc+gbt", 3),
    "dlms_parser_05": ("link_checksum", "hdlc", 1),
    "dlms_parser_06": ("key_unknown", "hdlc+gbt", 3),
    "dlms_parser_10": ("key_unknown", "mbus", 1),
    "dlms_parser_11": ("axdr_tag", "apdu", 1),
    "dlms_parser_13": ("axdr_tag", "apdu", 1),
    "osgp_05": ("not_dlms", "none", 1),
}
DECODES = [name for name in NAMES if name not in WAITING]
KEYS_OF_AN_OBJECT = [
    "file", "frame", "frames", "link", "apdu", "system_title", "invocation_counter", "security", "authenticated",
    "date_time", "clock_status", "quirks",
]  # fmt: skip
EK, AK = bytes(range(16)), bytes(range(0xD0, 0xE0))
TITLE = bytes.fromhex("4D4D4D0000BC614E")
PLAIN = bytes.fromhex("0F800000010C07E503070211262600FF8880020209060100010800FF06000004D2")


XT211 = """
[[meter_type]]
name = "zmf100"
quirks = ["obis_tag_swapped"]

[[meter_type]]
name = "xt211"
quirks = ["untagged_descriptor"]
"""


class OneKey:
    """A keyring with one meter in it."""

    def __init__(self, system_title, ek, ak):
        self.system_title = system_title
        self.pair = SimpleNamespace(ek=ek, ak=ak)

    def candidates(self, system_title, *, broadcast=False):
        return [self.pair] if system_title == self.system_title and not broadcast else []


def as_sent(raw: Any) -> Any:
    """A value as the index writes it, in the form in which it is printed."""
    if isinstance(raw, dict):
        return raw.get("octets", raw.get("hex"))
    return [as_sent(item) for item in raw] if isinstance(raw, list) else raw


def inspected(capture, **options):
    objects = inspect_bytes(capture.text, file=capture.entry["file"], hex_lines=True, keyring=capture.keys, **options)
    assert len(objects) == 1
    assert json.loads(json.dumps(objects, allow_nan=False)) == objects
    return objects[0]


def test_every_capture_of_the_index_is_covered(captures):
    assert sorted(captures) == sorted(NAMES)
    assert {name for name, each in captures.items() if each.entry["expected"]["outcome"] == "decodes"} == set(DECODES)


@pytest.mark.parametrize("name", DECODES)
def test_a_capture_that_decodes_gives_its_expected_header_and_values(captures, name):
    entry = captures[name].entry
    expected = entry["expected"]
    said = inspected(captures[name])
    assert list(said) == [*KEYS_OF_AN_OBJECT, "data", "values"]
    assert (said["link"], said["frames"], said["apdu"]) == (entry["link"], entry["frames"], expected["apdu"])
    assert said["quirks"] == expected.get("quirks", [])
    stamp = expected["date_time"] or {"utc": None, "clock_status": None}
    assert (said["date_time"], said["clock_status"]) == (stamp["utc"], stamp["clock_status"])
    assert [(v["obis"], v["value"], v["scaler"], v["unit"]) for v in said["values"]] == [
        (v["obis"], as_sent(v["raw"]), v.get("scaler"), v.get("unit")) for v in expected["values"]
    ]


@pytest.mark.parametrize("name", DECODES)
def test_the_security_header_is_told_beside_the_values(captures, name):
    security = captures[name].entry["security"]
    said = inspected(captures[name])
    if not security["ciphered"]:
        assert said["system_title"] is said["invocation_counter"] is said["security"] is None
        return
    assert said["system_title"] == security["system_title"]
    assert said["invocation_counter"] == security["invocation_counter"]
    assert said["security"] == security["security_control"]
    assert said["authenticated"] is (security["tag"] == "verifies")


@pytest.mark.parametrize("name", DECODES)
def test_channels_scaled_in_the_frame_come_to_the_expected_thousandths(captures, name):
    expected = captures[name].entry["expected"]
    if expected.get("scaling") != "in the frame":
        pytest.skip("the scaling belongs to the make, not to the frame")
    said = inspected(captures[name])
    reads = {v["channel"]: to_milli(v["value"], v["scaler"]) for v in said["values"] if v["scaler"] is not None}
    assert expected["reads_milli"].items() <= reads.items()


@pytest.mark.parametrize(("name", "reason", "link", "frames"), [(n, *how) for n, how in WAITING.items()])
def test_a_capture_that_waits_says_why_and_where(captures, name, reason, link, frames):
    capture = captures[name]
    said = inspected(capture)
    assert list(said) == [*KEYS_OF_AN_OBJECT, "error"]
    assert (said["error"]["reason"], said["link"], said["frames"]) == (reason, link, frames)
    assert 0 <= said["error"]["at"] < len(capture.octets)
    security = capture.entry["security"]
    if security["ciphered"]:
        assert said["apdu"] == security["apdu"]
        assert said["system_title"] == security["system_title"]
        assert said["invocation_counter"] == security["invocation_counter"]
        assert said["security"] == security["security_control"]
        assert said["authenticated"] is False


@pytest.mark.parametrize("name", NAMES)
def test_bytes_end_to_end_say_the_same_as_lines(captures, name):
    capture = captures[name]
    from_lines = inspected(capture)
    from_bytes = inspect_bytes(capture.octets, file=capture.entry["file"], hex_lines=False, keyring=capture.keys)
    assert from_bytes == [from_lines]


def test_the_body_of_a_push_object_list_is_shown_nested(captures):
    entry = captures["dlms_parser_12"].entry
    assert inspected(captures["dlms_parser_12"])["data"] == as_sent(entry["expected"]["body"])


@pytest.mark.parametrize("name", ["dlms_parser_11", "dlms_parser_13"])
def test_untagged_descriptors_are_read_where_a_meter_type_says_so(captures, name):
    capture = captures[name]
    said = inspected(capture, types=parse_types(XT211))
    assert said["quirks"] == ["untagged_descriptor"]
    # The index lists them in another order than sent, and names the push setup, which names no value here.
    wanted = {v["obis"]: v["value"] for v in capture.entry["expected"]["values"] if ":25.9." not in v["obis"]}
    named = [v for v in said["values"] if v["obis"]]
    assert {v["obis"]: readable(v["value"]) for v in named} == wanted
    assert len(named) == len(wanted)


def readable(value):
    return bytes.fromhex(value).decode() if isinstance(value, str) else value


def test_a_line_that_is_no_hexadecimal_is_an_object_of_its_own():
    text = b"0f4000000000020109\n\nnot hex\n" + PLAIN.hex().encode() + b"\n0f0\n"
    said = inspect_bytes(text, file="mixed.hex", hex_lines=True)
    assert [each["frame"] for each in said] == [0, 1, 2, 3]
    assert [each.get("error", {}).get("reason") for each in said] == ["axdr_truncated", "not_dlms", None, "not_dlms"]


def test_the_older_key_of_a_rotation_still_opens_a_message():
    class Rotation:
        def candidates(self, system_title, *, broadcast=False):
            assert (system_title, broadcast) == (TITLE, False)
            return [SimpleNamespace(ek=bytes(16), ak=AK), SimpleNamespace(ek=EK, ak=AK)]

    text = protect(PLAIN, system_title=TITLE, control=0x30, counter=7, ek=EK, ak=AK).hex().encode()
    (said,) = inspect_bytes(text, file="one.hex", hex_lines=True, keyring=Rotation())
    assert (said["apdu"], said["authenticated"], said["invocation_counter"]) == ("data-notification", True, 7)
    assert said["values"] == [
        {"obis": "1-0:1.8.0.255", "value": 1234, "scaler": None, "unit": None, "channel": "energy_delivered"}
    ]


@pytest.mark.parametrize("flipped", [30, 50, 60])
def test_a_flipped_bit_under_a_tag_is_a_mismatch_and_no_value(flipped):
    octets = bytearray(protect(PLAIN, system_title=TITLE, control=0x30, counter=7, ek=EK, ak=AK))
    octets[flipped] ^= 1
    (said,) = inspect_bytes(bytes(octets), file="one.bin", hex_lines=False, keyring=OneKey(TITLE, EK, AK))
    assert said["error"]["reason"] == "tag_mismatch"
    assert "values" not in said
    assert said["authenticated"] is False


def test_the_byte_of_an_error_is_counted_in_the_message_as_it_came():
    broken = PLAIN[:-5] + b"\x07" + PLAIN[-4:]  # the tag of the value, unused
    at = len(PLAIN) - 5
    segments = wrap_hdlc(broken, max_information=20)
    blocks = b"".join(wrap_wpdu(block) for block in split_blocks(broken, 30))
    ciphered = protect(broken, system_title=TITLE, control=0x30, counter=7, ek=EK, ak=AK)
    for payload, octet in (
        (wrap_wpdu(broken), 0x07),
        (segments, 0x07),
        (blocks, 0x07),
        (wrap_wpdu(ciphered), ciphered[len(ciphered) - 12 - 5]),
    ):
        (said,) = inspect_bytes(payload, file="one.bin", hex_lines=False, keyring=OneKey(TITLE, EK, AK))
        assert said["error"]["reason"] == "axdr_tag"
        assert payload[said["error"]["at"]] == octet
    (said,) = inspect_bytes(wrap_wpdu(broken), file="one.bin", hex_lines=False)
    assert said["error"]["at"] == 8 + at
    (said,) = inspect_bytes(wrap_wpdu(ciphered), file="one.bin", hex_lines=False, keyring=OneKey(TITLE, EK, AK))
    assert said["error"]["at"] == 8 + len(ciphered) - 12 - 5


def test_a_signed_message_tells_its_sender_and_waits_for_a_key():
    apdu = bytes.fromhex("DF00084D4D4D0000BC614E000000050F0000000000")
    (said,) = inspect_bytes(wrap_wpdu(apdu), file="one.bin", hex_lines=False)
    assert (said["apdu"], said["system_title"]) == ("general-signing", TITLE.hex())
    assert said["error"]["reason"] == "key_unknown"
