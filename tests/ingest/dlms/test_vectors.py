"""Vectors computed or published elsewhere: a round trip cannot see an error that is made twice."""

from datetime import datetime

import pytest

from ingest.dlms.apdu import DataNotification, decode_apdu, encode_data_notification, encode_event_notification
from ingest.dlms.axdr import decode_data, encode_data
from ingest.dlms.blocks import split_blocks
from ingest.dlms.compact import decode_compact_data
from ingest.dlms.data import Data
from ingest.dlms.framing import split_lines, split_messages, unwrap, wrap_wpdu
from ingest.dlms.hdlc import fcs, wrap_hdlc
from ingest.dlms.mbus import wrap_mbus
from ingest.dlms.security import protect, read_header, unprotect
from schemas.errors import ProtocolError

GLO = bytes.fromhex(
    "DB084D4D4D0000BC614E3230012345678E9212FF9A5640B26B2039749A389E0787E34D067E203E741253D5A308BAD8CA18"
    "A9A02E8E6357A021323A3FAC"
)


def plain_value(data: Data):
    items = data.items
    if items is not None:
        return [plain_value(item) for item in items]
    return data.value.hex().upper() if isinstance(data.value, bytes) else data.value


def test_each_security_control_gives_the_published_bytes_and_gives_them_back(vectors):
    for vector in vectors["security"]:
        control = int(vector["security_control"], 16)
        ek, ak, title = (bytes.fromhex(vector[name]) for name in ("ek", "ak", "system_title"))
        counter, plain = int(vector["invocation_counter"], 16), bytes.fromhex(vector["plaintext"])
        apdu = protect(plain, system_title=title, control=control, counter=counter, ek=ek, ak=ak)
        assert apdu[-len(vector["protected"]) // 2 :] == bytes.fromhex(vector["protected"])
        header = read_header(apdu)
        assert (header.system_title, header.control, header.counter) == (title, control, counter)
        assert unprotect(apdu, header, ek, ak) == plain


def test_the_whole_messages_open_to_the_plain_one(vectors):
    keys = vectors["keys"]
    ek, ak, title = (bytes.fromhex(keys[name]) for name in ("ek", "ak", "system_title"))
    plain, ciphered, event, glo_event, _ = (bytes.fromhex(each["apdu"]) for each in vectors["messages"])
    assert unprotect(ciphered, read_header(ciphered), ek, ak) == plain
    assert ciphered == protect(plain, system_title=title, control=0x30, counter=0x01234567, ek=ek, ak=ak)
    assert unprotect(glo_event, read_header(glo_event, title), ek, ak) == event


def test_a_service_ciphered_apdu_needs_a_system_title_from_the_link(vectors):
    glo_event = bytes.fromhex(vectors["messages"][3]["apdu"])
    header = read_header(glo_event)
    assert header.system_title is None
    with pytest.raises(ProtocolError, match="key_unknown"):
        unprotect(glo_event, header, bytes(16), bytes(16))


def test_the_plain_message_means_what_its_author_says(vectors):
    message = vectors["messages"][0]
    apdu, meaning = bytes.fromhex(message["apdu"]), message["meaning"]
    decoded = decode_apdu(apdu)
    assert isinstance(decoded, DataNotification)
    assert f"{decoded.long_invoke_id:08x}" == meaning["long_invoke_id"]
    assert decoded.date_time.local == datetime.fromisoformat(meaning["date_time_local"])
    assert decoded.date_time.deviation_min == meaning["deviation_min"]
    assert decoded.date_time.status == meaning["clock_status"]
    assert decoded.date_time.utc == datetime.fromisoformat(meaning["utc"])
    assert plain_value(decoded.body) == [meaning["body"][0]["octets"], meaning["body"][1]]
    assert encode_data_notification(decoded.long_invoke_id, decoded.date_time.octets, decoded.body) == apdu


def test_an_event_notification_is_written_as_the_standard_has_it(vectors):
    apdu = bytes.fromhex(vectors["messages"][2]["apdu"])
    event = decode_apdu(apdu)
    assert event.quirks == ()
    assert (event.class_id, event.logical_name, event.attribute) == (1, bytes.fromhex("808080808000"), 2)
    again = encode_event_notification(
        event.date_time.octets, event.class_id, event.logical_name, event.attribute, event.value
    )
    assert again == apdu


def test_every_link_layer_carries_the_same_apdu(vectors):
    for link in vectors["links"]:
        frames = [bytes.fromhex(frame) for frame in link["frames"]]
        (message,) = split_lines(frames)
        assert message.error is None
        assert message.frames == len(frames)
        unwrapped = unwrap(message.payload)
        assert unwrapped.apdu == GLO, link["name"]
        assert split_messages(b"".join(frames)) == [message]
        whole = [message.payload[unwrapped.locate(at)] for at in range(len(GLO))]
        assert bytes(whole) == GLO, link["name"]


def test_our_frames_are_the_frames_of_the_vectors(vectors):
    links = {link["name"]: "".join(link["frames"]).lower() for link in vectors["links"]}
    one, segmented = links["HDLC, one frame, 1-byte client and 2-byte server address"], links["HDLC, segmented"]
    assert wrap_wpdu(GLO, 1, 0x67).hex() == links["wrapper"]
    assert wrap_hdlc(GLO).hex() == one
    assert wrap_mbus(GLO, max_counted=45).hex() == links["M-Bus, two telegrams"]
    (message,) = split_messages(bytes.fromhex(segmented))
    assert message.frames == 3
    blocks = split_blocks(GLO, 20)
    assert blocks[0].hex().upper().startswith("E0400001000014")
    assert blocks[-1].hex().upper() == "E0C00004000001AC"


def test_the_frame_check_sequence_has_its_check_value(vectors):
    checksum = vectors["checksum"]
    assert fcs(checksum["text"].encode())[::-1].hex().upper() == checksum["fcs"]


def test_compact_arrays_are_read_and_written(vectors):
    for vector in vectors["compact_array"]:
        octets = bytes.fromhex(vector["data"])
        data = decode_data(octets)
        assert plain_value(data) == vector["value"]
        assert encode_data(data) == octets


def test_compact_data_is_read_by_its_template(vectors):
    vector = vectors["compact_data"]
    values = decode_compact_data(bytes.fromhex(vector["template"]), bytes.fromhex(vector["buffer"]))
    expected = [value["octets"] if isinstance(value, dict) else value for value in vector["value"]]
    assert [plain_value(value) for value in values] == expected


def test_hostile_data_end_in_one_error_at_a_byte(vectors):
    for vector in vectors["hostile"]:
        octets = bytes.fromhex(vector["data"])
        with pytest.raises(ProtocolError) as caught:
            decode_data(octets)
        assert 0 <= caught.value.at <= len(octets), vector["why"]
