"""Frames are cut by their lengths; what cannot be cut is kept and named."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ingest.dlms.framing import split_lines, split_messages, unwrap, wpdu_starts, wrap_wpdu
from ingest.dlms.hdlc import LLC_FROM_SERVER, fcs, wrap_hdlc
from ingest.dlms.mbus import wrap_mbus
from schemas.codes import RejectReason
from schemas.errors import ContractError, ProtocolError

APDU = bytes.fromhex("0F40000000000203060000007E067E7E7E7E0600000001")
APDUS = st.binary(max_size=600).map(lambda rest: b"\x0f" + rest)
ADDRESSES = st.sampled_from([b"\x41", b"\x01", b"\x08\x83", b"\xce\xff", b"\x02\x04\x06\x09"])


def reason_of(message):
    assert message.error is not None
    return message.error.reason


@given(APDUS, st.integers(0, 0xFFFF), st.integers(0, 0xFFFF))
def test_a_wrapped_apdu_comes_out_of_its_wpdu(apdu, source, destination):
    link = unwrap(wrap_wpdu(apdu, source, destination))
    assert (link.link, link.apdu, link.source, link.destination) == ("wrapper", apdu, source, destination)


@given(APDUS, ADDRESSES, ADDRESSES, st.sampled_from([0x03, 0x13]), st.integers(4, 2000))
def test_a_wrapped_apdu_comes_out_of_its_hdlc_frames(apdu, client, server, control, room):
    assume(LLC_FROM_SERVER not in apdu)  # at the start of a segment it opens a new message
    frames = wrap_hdlc(apdu, client=client, server=server, control=control, max_information=room)
    link = unwrap(frames)
    assert (link.link, link.apdu) == ("hdlc", apdu)
    assert link.frames == -(-(len(apdu) + 3) // room)
    assert (link.source, link.destination) == (int.from_bytes(server, "big"), int.from_bytes(client, "big"))


@given(APDUS, st.integers(50, 255))
def test_a_wrapped_apdu_comes_out_of_its_telegrams(apdu, counted):
    link = unwrap(wrap_mbus(apdu, max_counted=counted))
    assert (link.link, link.apdu, link.source, link.destination) == ("mbus", apdu, 1, 0x67)


@given(
    st.lists(APDUS, min_size=1, max_size=5), st.sampled_from([wrap_wpdu, wrap_hdlc, wrap_mbus]), st.binary(max_size=9)
)
def test_frames_end_to_end_give_the_same_messages_with_junk_behind_them(apdus, wrap, junk):
    whole = b"".join(wrap(apdu) for apdu in apdus)
    alone = split_messages(whole)
    assert [unwrap(message.payload).apdu for message in alone] == apdus
    assert [message.start for message in alone[1:]] == [message.stop for message in alone[:-1]]
    followed = split_messages(whole + b"\x99" + junk)
    assert followed[:-1] == alone
    assert reason_of(followed[-1]) is RejectReason.NOT_DLMS
    assert followed[-1].payload == b"\x99" + junk


@pytest.mark.parametrize("wrap", [wrap_wpdu, wrap_hdlc, wrap_mbus])
def test_a_frame_cut_at_any_byte_is_incomplete_and_keeps_its_bytes(wrap):
    whole = wrap(APDU)
    for stop in range(3, len(whole)):
        (message,) = split_messages(whole[:stop])
        assert reason_of(message) is RejectReason.LINK_INCOMPLETE
        assert message.payload == whole[:stop]


def test_one_flag_may_close_a_frame_and_open_the_next_and_flags_may_fill():
    one, other = wrap_hdlc(APDU), wrap_hdlc(APDU + b"\x00")
    for stream in (one[:-1] + other, one + other, one + b"\x7e\x7e" + other, one + other + b"\x7e\x7e"):
        messages = split_messages(stream)
        assert [unwrap(message.payload).apdu for message in messages] == [APDU, APDU + b"\x00"]


def test_segments_with_a_shared_flag_join():
    frames = wrap_hdlc(APDU, max_information=10)
    assert frames.count(b"\x7e\x7e\xa8") == 1
    assert unwrap(frames.replace(b"\x7e\x7e\xa8", b"\x7e\xa8")).apdu == APDU


@pytest.mark.parametrize("at", [5, 20, -2])
def test_a_wrong_check_sequence_drops_the_frame_and_not_the_next(at):
    frame = bytearray(wrap_hdlc(APDU))
    frame[at] ^= 0x01
    damaged, good = split_messages(bytes(frame) + wrap_hdlc(APDU))
    assert reason_of(damaged) is RejectReason.LINK_CHECKSUM
    assert unwrap(good.payload).apdu == APDU
    with pytest.raises(ProtocolError, match="link_checksum"):
        unwrap(damaged.payload)


def test_a_missing_segment_breaks_the_message_and_not_the_next():
    frames = wrap_hdlc(APDU, max_information=10)
    first, second, third = frames[:22], frames[22:44], frames[44:]
    assert unwrap(first + second + third).frames == 3
    good = wrap_hdlc(APDU)
    for damaged in (first + good, first + second + good, second + good):
        broken, after = split_messages(damaged)
        assert reason_of(broken) is RejectReason.LINK_INCOMPLETE
        assert after.payload == good
    stranger = wrap_hdlc(APDU, client=b"\x43", max_information=10)
    reasons = [reason_of(message) for message in split_messages(first + second + stranger[44:])]
    assert set(reasons) == {RejectReason.LINK_INCOMPLETE}


def test_hdlc_control_bytes_are_strict_but_for_the_one_that_kaifa_sends():
    kaifa = unwrap(wrap_hdlc(APDU, control=0x10))
    assert (kaifa.apdu, kaifa.quirks) == (APDU, ("hdlc_control_10",))
    with pytest.raises(ProtocolError, match="not_dlms"):
        unwrap(wrap_hdlc(APDU, control=0x93))


@pytest.mark.parametrize("client", [b"\x02\x04\x07", b"\x02\x04\x06\x08\x09", b"\x02\x04\x06\x08"])
def test_an_address_of_three_or_five_bytes_or_without_an_end_is_refused(client):
    with pytest.raises(ContractError):
        wrap_hdlc(APDU, client=client)
    head = client + b"\x08\x83\x13"
    form = 0xA000 | len(head) + len(APDU) + 9
    head = form.to_bytes(2, "big") + head
    body = head + fcs(head) + LLC_FROM_SERVER + APDU
    with pytest.raises(ProtocolError) as caught:
        unwrap(b"\x7e" + body + fcs(body) + b"\x7e")
    assert (caught.value.reason, caught.value.at) == (RejectReason.LINK_LENGTH, 3)


def test_a_wrong_m_bus_checksum_drops_the_telegram_and_not_the_next():
    telegram = bytearray(wrap_mbus(APDU))
    telegram[-2] ^= 1
    damaged, good = split_messages(bytes(telegram) + wrap_mbus(APDU))
    assert reason_of(damaged) is RejectReason.LINK_CHECKSUM
    assert damaged.error.at == len(telegram) - 2
    assert unwrap(good.payload).apdu == APDU


def test_a_wrapped_m_bus_length_is_read_where_checksum_and_stop_byte_fit():
    counted = bytes((0x53, 0xFF, 0x10, 1, 0x67)) + b"\x0f" + bytes(251)
    assert len(counted) == 257
    telegram = b"\x68\x01\x01\x68" + counted + bytes((sum(counted) & 0xFF, 0x16))
    link = unwrap(telegram)
    assert (link.apdu, link.quirks) == (b"\x0f" + bytes(251), ("mbus_length_257",))
    for damaged in (telegram[:-1] + b"\x17", telegram[:-2] + b"\x00\x16", telegram[:-1]):
        with pytest.raises(ProtocolError, match="link_length"):
            unwrap(damaged)


def test_a_telegram_out_of_order_is_incomplete():
    frames = wrap_mbus(bytes(range(100)) * 6, max_counted=255)
    first, second, third = frames[:261], frames[261:522], frames[522:]
    assert unwrap(first + second + third).frames == 3
    messages = split_messages(first + third)
    assert [reason_of(message) for message in messages] == [RejectReason.LINK_INCOMPLETE] * 2
    assert [reason_of(message) for message in split_messages(second)] == [RejectReason.LINK_INCOMPLETE]


def test_a_line_cut_short_does_not_swallow_the_next_line():
    lines = [wrap_wpdu(APDU)[:-2], wrap_wpdu(APDU)]
    cut, good = split_lines(lines)
    assert reason_of(cut) is RejectReason.LINK_INCOMPLETE
    assert good.payload == lines[1]


def test_a_first_byte_of_no_layer_is_not_dlms_and_a_lone_llc_has_no_apdu():
    (message,) = split_messages(b"EXXXX123456789012,\x00\x00\x00\x01")
    assert (reason_of(message), message.link, message.error.at) == (RejectReason.NOT_DLMS, "none", 0)
    assert unwrap(b"\xe6\xe7\x00").apdu == b""


@given(st.lists(APDUS, max_size=5), st.binary(max_size=12))
def test_the_cheap_way_through_a_stream_finds_the_same_wpdus(apdus, rest):
    whole = b"".join(wrap_wpdu(apdu) for apdu in apdus)
    starts, stop = wpdu_starts(whole + rest)
    assert starts[: len(apdus)] == [message.start for message in split_messages(whole)]
    assert stop >= len(whole)


def test_a_wrong_header_check_is_seen_though_the_frame_check_fits():
    body = bytearray(wrap_hdlc(APDU)[1:-3])
    body[6] ^= 1
    with pytest.raises(ProtocolError) as caught:
        unwrap(b"\x7e" + bytes(body) + fcs(bytes(body)) + b"\x7e")
    assert (caught.value.reason, caught.value.at) == (RejectReason.LINK_CHECKSUM, 7)


def test_two_messages_are_not_one():
    first = wrap_wpdu(APDU)
    with pytest.raises(ProtocolError) as caught:
        unwrap(first + wrap_wpdu(APDU))
    assert (caught.value.reason, caught.value.at) == (RejectReason.TRAILING_BYTES, len(first))


def test_no_bytes_are_no_message():
    assert split_messages(b"") == []
    with pytest.raises(ProtocolError):
        unwrap(b"")
