"""The captures below the level of `ami inspect`: frames, headers, plaintexts, and written again byte for byte."""

from datetime import datetime

import pytest

from ingest.dlms.apdu import DataNotification, EventNotification, decode_apdu, encode_data_notification
from ingest.dlms.apdu import encode_event_notification as encode_event
from ingest.dlms.cosem import obis_text
from ingest.dlms.framing import split_lines, unwrap
from ingest.dlms.push import push_values
from ingest.dlms.security import is_ciphered, read_header, unprotect
from schemas.codes import RejectReason
from schemas.errors import ProtocolError

NAMES = [
    *(f"dlms_parser_{n:02}" for n in range(1, 15)),
    *(f"amshan_{n:02}" for n in range(1, 15)),
    *(f"osgp_{n:02}" for n in range(1, 6)),
]
NO_MESSAGE = ("dlms_parser_05", "osgp_05")
NO_KEY = ("dlms_parser_04", "dlms_parser_06", "dlms_parser_10")
NO_VALUES = (*NO_MESSAGE, *NO_KEY, "dlms_parser_11", "dlms_parser_13")


def plain_apdu(capture):
    apdu = unwrap(capture.octets).apdu
    if not is_ciphered(apdu):
        return apdu
    return unprotect(apdu, read_header(apdu), capture.keys.pair.ek, capture.keys.pair.ak)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in NO_MESSAGE])
def test_frames_and_addresses_are_those_of_the_index(captures, name):
    entry = captures[name].entry
    (message,) = split_lines(captures[name].lines)
    link = unwrap(message.payload)
    assert (link.link, link.frames, len(message.payload)) == (entry["link"], entry["frames"], entry["bytes"])
    assert message.error is None
    for facts in entry.get("frame_facts", []):
        if "client" in facts:
            assert (link.destination, link.source) == (int(facts["client"], 16), int(facts["server"], 16))
        if "source_port" in facts:
            assert (link.source, link.destination) == (facts["source_port"], facts["destination_port"])


@pytest.mark.parametrize(
    "name", ["dlms_parser_03", "dlms_parser_04", "dlms_parser_06", "dlms_parser_09", "dlms_parser_10"]
)
def test_security_headers_are_those_of_the_index(captures, name):
    security = captures[name].entry["security"]
    header = read_header(unwrap(captures[name].octets).apdu)
    assert (header.suite, header.authenticated, header.encrypted) == (
        security["suite"],
        security["authenticated"],
        security["encrypted"],
    )
    tag = 12 if header.authenticated else 0
    assert header.content_stop - header.content_at + 5 + tag == security["content_bytes"]


@pytest.mark.parametrize("name", ["dlms_parser_03", "dlms_parser_09"])
def test_plaintexts_are_those_of_the_index(captures, name):
    assert plain_apdu(captures[name]).hex() == captures[name].entry["expected"]["plaintext_apdu"]


@pytest.mark.parametrize("name", [name for name in NAMES if name not in NO_VALUES])
def test_the_header_date_time_is_that_of_the_index(captures, name):
    expected = captures[name].entry["expected"]
    apdu = plain_apdu(captures[name])
    decoded = decode_apdu(apdu)
    assert len(apdu) == expected["apdu_bytes"]
    if isinstance(decoded, DataNotification):
        assert f"{decoded.long_invoke_id:08x}" == expected["long_invoke_id"]
    stamp = expected["date_time"]
    if stamp is None:
        assert decoded.date_time is decoded.date_time_at is None
        return
    assert decoded.date_time.octets.hex() == stamp["octets"]
    assert decoded.date_time.deviation_min == stamp["deviation_min"]
    assert decoded.date_time.local.replace(microsecond=0) == datetime.fromisoformat(stamp["local"])
    assert apdu[decoded.date_time_at : decoded.date_time_at + 12].hex() == stamp["octets"]


@pytest.mark.parametrize("name", [name for name in NAMES if name not in NO_VALUES])
def test_what_was_decoded_is_written_again_as_it_came_but_for_the_quirk(captures, name):
    apdu = plain_apdu(captures[name])
    decoded = decode_apdu(apdu)
    octets = decoded.date_time and decoded.date_time.octets
    if isinstance(decoded, EventNotification):
        again = encode_event(octets, decoded.class_id, decoded.logical_name, decoded.attribute, decoded.value)
        assert again == apdu.replace(b"\x09\x0c", b"\x01\x0c", 1)
        return
    standard = apdu.replace(b"\x09\x0c", b"\x0c", 1) if decoded.quirks else apdu
    assert encode_data_notification(decoded.long_invoke_id, octets, decoded.body) == standard


def test_a_swapped_name_tag_is_read_where_the_meter_type_says_so(captures):
    capture = captures["dlms_parser_05"]
    with pytest.raises(ProtocolError) as caught:
        unwrap(capture.octets)
    assert caught.value.reason is RejectReason.LINK_CHECKSUM
    apdu = capture.octets[capture.octets.index(b"\xe6\xe7\x00") + 3 : -3]
    with pytest.raises(ProtocolError, match="axdr_tag"):
        decode_apdu(apdu)
    found = {}
    for each in push_values(decode_apdu(apdu, frozenset({"obis_tag_swapped"})).body):
        value = each.data.value
        if isinstance(value, str):
            value = value.rstrip("\x00")  # the meter pads its texts, the index does not
        found[obis_text(each.obis)] = value if each.scaler is None else round(value * 10**each.scaler, 6)
    assert {
        each["obis"]: each["value"] for each in capture.entry["expected"]["values_if_repaired"]
    }.items() <= found.items()


def test_a_transfer_without_its_last_frame_is_incomplete(captures):
    for name in ("dlms_parser_04", "dlms_parser_06"):
        for lines in (captures[name].lines[:2], captures[name].lines[1:]):
            assert {message.error.reason for message in split_lines(lines)} == {RejectReason.BLOCK_TRANSFER_INCOMPLETE}


def test_segments_without_the_last_or_the_first_are_incomplete(captures):
    lines = captures["dlms_parser_01"].lines
    for part in (lines[:1], lines[:2], lines[1:]):
        assert {message.error.reason for message in split_lines(part)} == {RejectReason.LINK_INCOMPLETE}
