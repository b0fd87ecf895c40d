"""Files of frames: every byte is in a message, in order."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.dlms.blocks import split_blocks
from ingest.dlms.framing import split_messages, unwrap, wrap_wpdu
from ingest.dlms.hdlc import wrap_hdlc
from ingest.inspect import inspect_bytes
from ingest.kafka.records import Records, frames_of_records
from ingest.sources import cut_bin, cut_hex
from schemas.frames import RAW_FRAMES, conform

APDU = b"\x0f\0\0\0\1\0\2\0"


@given(st.lists(st.sampled_from([wrap_wpdu(APDU), wrap_wpdu(b"\x0f" * 40), wrap_hdlc(APDU), b"junk"]), max_size=8))
def test_a_file_is_cut_as_the_framing_cuts_it(parts):
    data = b"".join(parts)
    assert cut_bin(data, "f.bin")["payload"].to_list() == [message.payload for message in split_messages(data)]


def test_messages_of_a_file_are_numbered_and_have_no_reception_time():
    frames = cut_bin(wrap_wpdu(APDU) * 3, "f.bin")
    assert conform(frames, RAW_FRAMES).equals(frames)
    assert frames["frame"].to_list() == [0, 1, 2] and frames["received_at"].null_count() == 3
    assert frames["topic"].unique().to_list() == ["f.bin"]


def test_lines_of_hexadecimal_are_frames_and_a_line_that_is_none_is_kept():
    text = f"{wrap_wpdu(APDU).hex()}\n\n{wrap_wpdu(APDU).hex(' ').upper()}\nnot hex\n{wrap_hdlc(APDU).hex()}"
    payloads = cut_hex(text.encode(), "f.hex")["payload"].to_list()
    assert payloads == [wrap_wpdu(APDU), wrap_wpdu(APDU), b"not hex", wrap_hdlc(APDU)]


@pytest.mark.parametrize("bad", [b"\x00\xff\xfe", b"caf\xe9", b"0" * 7])
def test_a_line_that_is_no_text_costs_no_other_line(bad: bytes) -> None:
    good = wrap_wpdu(APDU).hex().encode()
    text = b"\xef\xbb\xbf" + good + b"\r\n" + bad + b"\n" + good
    assert cut_hex(text, "f.hex")["payload"].to_list() == [wrap_wpdu(APDU), bad, wrap_wpdu(APDU)]
    told = inspect_bytes(
        text,
        file="f.hex",
        hex_lines=True,
    )
    assert [message.get("apdu") is not None for message in told] == [True, False, True]


def test_an_empty_file_has_no_messages():
    assert cut_bin(b"", "f.bin").is_empty() and cut_hex(b"\n", "f.hex").is_empty()


def test_blocks_of_one_apdu_in_several_wpdus_are_one_message_in_a_file_and_in_a_record():
    value = bytes.fromhex("0904DEADBEEF")
    datablocks = [
        bytes.fromhex("C402C1") + bytes((last,)) + number.to_bytes(4, "big") + b"\x00" + bytes((len(part),)) + part
        for number, last, part in ((1, 0, value[:2]), (2, 0, value[2:4]), (3, 1, value[4:]))
    ]
    for blocks, joined in ((datablocks, bytes.fromhex("C402C101000000010006") + value), (split_blocks(APDU, 3), APDU)):
        transfer = b"".join(map(wrap_wpdu, blocks))
        data = wrap_wpdu(APDU) + transfer + wrap_wpdu(APDU)
        of_record = frames_of_records(Records("t", 0, [1], [0], [data]))["payload"].to_list()
        assert cut_bin(data, "f.bin")["payload"].to_list() == of_record == [wrap_wpdu(APDU), transfer, wrap_wpdu(APDU)]
        assert unwrap(of_record[1]).apdu == joined
