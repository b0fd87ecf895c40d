"""Cutting what a connection sends, whatever the network made of it."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest import push_stream
from ingest.dlms.blocks import split_blocks
from ingest.dlms.framing import cut_frames, split_messages, unwrap, wrap_wpdu
from ingest.dlms.hdlc import wrap_hdlc
from ingest.dlms.joining import LinkFrame
from ingest.lanes import FRAMES_TOPIC, LAST_GASP_TOPIC, key_of, lane_of
from ingest.packing import Waiting, packed_rows
from ingest.push_stream import StreamCutter
from tests.ingest import by_hand as hand
from tests.ingest import lossy
from tests.ingest.fleet import decode, enrolled, meters, sealed

NAME = b"SIM0000000000001"
PLAIN_PUSH = b"\x0f\x00\x00\x00\x01\x00\x02\x02\x09\x10" + NAME + b"\x06\x00\x00\x00\x07"
TITLE = b"SIM\x00\x00\x00\x00\x07"
CIPHERED = b"\xdb\x08" + TITLE + b"\x82\x01\x00\x30\x00\x00\x00\x01" + bytes(251)
HDLC = wrap_hdlc(PLAIN_PUSH)
WHOLE = st.sampled_from([wrap_wpdu(PLAIN_PUSH), wrap_wpdu(CIPHERED), wrap_wpdu(b"")])


def cut(data: bytes, sizes: list[int], limit: int = 10_000) -> tuple[list[bytes], StreamCutter]:
    cutter, messages, at = StreamCutter(limit), [], 0
    for size in [*sizes, len(data)]:
        if not cutter.lost_step and at < len(data):
            messages += cutter.feed(data[at : at + size])
            at += size
    return messages, cutter


@given(st.lists(WHOLE, max_size=5), st.lists(st.integers(1, 40), max_size=30))
def test_whole_messages_come_out_whatever_the_pieces(sent: list[bytes], sizes: list[int]) -> None:
    messages, cutter = cut(b"".join(sent), sizes)
    assert messages == sent
    assert cutter.waiting == 0


@given(st.lists(st.one_of(WHOLE, st.binary(max_size=50)), max_size=5), st.lists(st.integers(1, 40), max_size=30))
def test_no_byte_is_lost_whatever_is_sent(sent: list[bytes], sizes: list[int]) -> None:
    cutter, fed, messages = StreamCutter(10_000), b"", []
    data = b"".join(sent)
    for size in [*sizes, len(data)]:
        piece = data[len(fed) : len(fed) + size]
        if piece and not cutter.lost_step:
            messages += cutter.feed(piece)
            fed += piece
    assert b"".join(messages + cutter.finish()).replace(b"\x7e", b"") == fed.replace(b"\x7e", b"")


@given(st.lists(st.integers(1, 20), max_size=30))
def test_hdlc_frames_are_cut_as_well(sizes: list[int]) -> None:
    messages, _ = cut(HDLC * 3, sizes)
    assert messages == [HDLC] * 3


SEGMENTS = wrap_hdlc(bytes([0x0F]) + bytes(range(200)) * 30, max_information=100)


@given(st.lists(st.integers(1, 400), max_size=30), st.binary(max_size=3))
def test_many_segments_are_one_message_as_soon_as_the_last_has_come(sizes: list[int], fill: bytes) -> None:
    messages, cutter = cut(SEGMENTS + b"\x7e" * len(fill) + HDLC + SEGMENTS, sizes, limit=100_000)
    assert [message.strip(b"\x7e") for message in messages] == [
        part.strip(b"\x7e") for part in (SEGMENTS, HDLC, SEGMENTS)
    ]
    assert cutter.waiting == 0


@pytest.mark.parametrize(
    "data",
    [
        wrap_wpdu(b"\xe0\x00\x00\x01\x00\x00\x02\x0f\x00") * 2_000,
        b"\x0f" + b"\x7e\xa0\x20" * 12_000,
        b"\x0f" + b"\x00\x01\x00\x01\x00\x10\xff\xff" * 5_000,
        b"\xe6\xe7\x00" + b"\x0f" * 40_000,
        SEGMENTS[: len(SEGMENTS) - 20] * 5,
        b"\x7e\xa8\x0a\x03\x21\x13\x00\x00" + b"\x7e" * 40_000,
    ],
    ids=["blocks", "flags", "wrappers", "llc", "segments", "fill"],
)
def test_a_sender_of_small_pieces_does_not_make_us_look_at_the_same_bytes_again_and_again(
    data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_at = []

    def counted(rest: bytes, *, growing: bool) -> list[LinkFrame]:
        looked_at.append(len(rest))
        return cut_frames(rest, growing=growing)

    monkeypatch.setattr(push_stream, "cut_frames", counted)
    messages, cutter = cut(data, [7] * len(data), limit=10**6)
    came = b"".join([*messages, *cutter.finish()]).replace(b"\x7e", b"")
    sent = data.replace(b"\x7e", b"")
    assert sorted(came) == sorted(sent[: len(came)])  # what is damaged goes on before what waits
    assert cutter.lost_step or len(came) == len(sent)
    assert sum(looked_at) < 8 * len(data)


def test_what_has_no_link_layer_is_cut_when_the_connection_ends_where_something_that_has_one_came_behind_it() -> None:
    cutter = StreamCutter(10_000)
    junk = b"\x0f" + b"\x02\x01" * 300
    assert cutter.feed(junk) == cutter.feed(HDLC) == []
    assert cutter.finish() == [junk, HDLC]


def test_blocks_of_one_apdu_stay_together_until_the_last() -> None:
    first, last, next_one = *map(wrap_wpdu, split_blocks(b"abcd", 2)), wrap_wpdu(PLAIN_PUSH)
    cutter = StreamCutter(10_000)
    assert cutter.feed(first) == []
    assert cutter.feed(last + next_one) == [first + last, next_one]


*BLOCKS, LAST = split_blocks(b"abcdef", 2)


def from_port(port: int, apdu: bytes) -> bytes:
    wpdu = wrap_wpdu(apdu)
    return wpdu[:2] + port.to_bytes(2, "big") + wpdu[4:]


@given(st.lists(st.integers(1, 40), max_size=30))
def test_transfers_that_interleave_on_a_line_stay_whole_each_and_hold_nobody_up(sizes: list[int]) -> None:
    first, second = ([from_port(port, each) for each in (*BLOCKS, LAST)] for port in (1, 2))
    other = from_port(3, PLAIN_PUSH)
    sent = [first[0], second[0], other, first[1], second[1], second[2], first[2]]
    messages, cutter = cut(b"".join(sent), sizes)
    assert messages == [other, b"".join(second), b"".join(first)]
    assert cutter.waiting == 0
    # Who sends something else has given its transfer up; the other's goes on.
    sent = [first[0], second[0], from_port(1, PLAIN_PUSH), second[2], second[1]]
    messages, cutter = cut(b"".join(sent), sizes)
    assert messages == [first[0], from_port(1, PLAIN_PUSH), second[0] + second[2] + second[1]]
    assert cutter.waiting == 0


def test_transfers_that_are_not_whole_when_the_connection_ends_are_given_out_each() -> None:
    first, second = (from_port(port, BLOCKS[0]) for port in (1, 2))
    messages, cutter = cut(first + second + wrap_wpdu(PLAIN_PUSH)[:9], [])
    assert (messages, cutter.waiting) == ([], len(first) + len(second) + 9)
    assert cutter.finish() == [first, second, wrap_wpdu(PLAIN_PUSH)[:9]]
    assert cutter.waiting == 0


@settings(max_examples=150, deadline=None)
@given(lossy.lines(), st.lists(st.integers(1, 60), max_size=30))
def test_what_one_lost_on_a_connection_costs_no_other_a_transfer(
    sent_on: tuple[list[lossy.Transfer], list[bytes]], sizes: list[int]
) -> None:
    all_sent, line = sent_on
    messages, cutter = cut(b"".join(line), sizes)
    messages += cutter.finish()
    lossy.check([each.payload for message in messages for each in split_messages(message)], all_sent, line)


@settings(max_examples=200, deadline=None)
@given(lossy.copied_lines(), st.lists(st.integers(1, 60), max_size=30))
def test_a_copy_of_any_block_on_a_connection_mixes_and_costs_nothing(
    sent_on: tuple[list[lossy.Transfer], list[bytes]], sizes: list[int]
) -> None:
    all_sent, line = sent_on
    messages, cutter = cut(b"".join(line), sizes)
    messages += cutter.finish()
    lossy.check_copied([each.payload for message in messages for each in split_messages(message)], all_sent)
    assert cutter.held_octets == 0


@pytest.mark.parametrize("form", [lossy.wpdu_blocks, lossy.hdlc_blocks, lossy.datablocks])
def test_blocks_that_overtake_each_other_on_a_connection_are_waited_for(form: lossy.Form) -> None:
    """The last one too, which comes before others; what misses one is given out in its time, as far as it came."""
    one, other = form(lossy.sent(1, 0), 1), form(lossy.sent(1, 1), 1)
    for place in range(len(one) - 1):
        swapped = [*one[:place], one[place + 1], one[place], *one[place + 2 :]]
        for copies in ([], [one[-1]]):
            messages, cutter = cut(b"".join([*swapped, *copies, *other]), [])
            messages += cutter.finish()
            apdus = [lossy.joined(each.payload) for message in messages for each in split_messages(message)]
            assert apdus == [lossy.sent(1, 0), lossy.sent(1, 1)]
    cutter = StreamCutter(10_000, held_s=10)
    assert cutter.feed(b"".join([one[0], one[-1]]), 0) == [] and cutter.due == 10
    assert cutter.expire(10) == [b"".join([one[0], one[-1]])]


@pytest.mark.parametrize("control", [None, 0x30])
def test_of_pushes_on_a_connection_with_a_copy_no_value_is_wrong_or_lost(control: int | None) -> None:
    pushes = [hand.PUSH, hand.PUSH.replace(hand.VALUE.to_bytes(4, "big"), (hand.VALUE + 1).to_bytes(4, "big"))]
    if control is not None:
        pushes = [unwrap(sealed(apdu, counter, control)).apdu for counter, apdu in enumerate(pushes, 7)]
    registry = meters(enrolled(**({"system_title": None, "security_min": 0} if control is None else {})))
    line = [hand.wrapper(block) for apdu in pushes for block in hand.blocks(apdu, 40)]
    for again, block in enumerate(line):
        for at in range(again + 1, len(line) + 1):
            messages, cutter = cut(b"".join([*line[:at], block, *line[at:]]), [])
            messages += cutter.finish()
            payloads = [each.payload for message in messages for each in split_messages(message)]
            decoded = decode(*payloads, registry=registry)
            assert sorted(decoded.reads["value_milli"]) == [hand.VALUE * 1000, (hand.VALUE + 1) * 1000]
            assert decoded.rejects.is_empty()


def test_segments_on_a_connection_are_not_joined_around_one_that_is_damaged() -> None:
    """Of its sender where its head verifies, else of all; a block transfer has numbers and loses nothing by it."""
    one, other = (hand.hdlc_segments(lossy.sent(port, 0), 9, server=hand.hdlc_address(port, 2)) for port in (1, 2))
    blocks = [from_port(3, each) for each in (*BLOCKS, LAST)]
    for at, whole in ((14, [b"".join(other)]), (4, [])):  # information; an address
        bad = one[1][:at] + bytes((one[1][at] ^ 1,)) + one[1][at + 1 :]
        line = [blocks[0], one[0], other[0], bad, *other[1:], *one[2:], *blocks[1:]]
        messages, cutter = cut(b"".join(line), [])
        messages += cutter.finish()
        cuts = [each for message in messages for each in split_messages(message)]
        assert [each.payload for each in cuts if each.error is None] == [*whole, b"".join(blocks)]
        assert sorted(b"".join(messages)) == sorted(b"".join(line))


@given(st.lists(st.integers(1, 60), max_size=30))
def test_datablocks_of_one_response_stay_together_until_the_last(sizes: list[int]) -> None:
    one, other = (lossy.datablocks(lossy.sent(port, 0), port) for port in (1, 2))
    sent = [part for pair in zip(one, other, strict=True) for part in pair]
    messages, cutter = cut(b"".join(sent), sizes)
    assert (messages, cutter.waiting) == ([b"".join(one), b"".join(other)], 0)


def test_a_transfer_has_its_own_time_on_a_connection() -> None:
    one, other = (lossy.wpdu_blocks(lossy.sent(port, 0), port) for port in (1, 2))
    cutter = StreamCutter(10_000, held_s=10)
    assert cutter.due is None and cutter.feed(one[0], 0) == cutter.feed(other[0] + one[1], 6) == []
    assert cutter.due == 10 and cutter.expire(9) == []
    assert cutter.expire(10) == [one[0] + one[1]] and cutter.due == 16
    assert cutter.feed(b"".join(other[1:]), 15) == [b"".join(other)] and cutter.due is None


def test_a_telegram_that_is_cut_short_is_waited_for_whatever_it_holds() -> None:
    """Octets inside it look like a wrapper PDU that ends with what has come."""
    telegram = hand.mbus(b"\x0f" + hand.wrapper(b"\x0f\x00\x00\x00"))[0]
    assert cut(telegram * 2, [26, 3, 30])[0] == [telegram] * 2


@given(st.lists(st.integers(1, 300), max_size=30))
def test_a_telegram_whose_length_wraps_is_waited_for_as_any_other(sizes: list[int]) -> None:
    one, other = hand.mbus(b"\x0f" + bytes(range(1, 250)) * 2, 252)
    assert one.startswith(b"\x68\x01\x01\x68")
    assert cut((one + other) * 2, sizes)[0] == [one + other] * 2


def test_bytes_that_fit_nothing_are_one_message_and_the_end_of_the_connection() -> None:
    messages, cutter = cut(wrap_wpdu(b"\x0f") + b"GET / HTTP/1.1\r\n", [])
    assert messages == [wrap_wpdu(b"\x0f"), b"GET / HTTP/1.1\r\n"]
    assert cutter.lost_step


def test_a_message_past_the_limit_is_given_out_as_far_as_it_came() -> None:
    begun = wrap_wpdu(bytes(500))[:200]
    messages, cutter = cut(begun, [], limit=150)
    assert messages == [begun]
    assert cutter.lost_step


def test_a_message_that_was_cut_off_is_given_out_when_the_connection_ends() -> None:
    messages, cutter = cut(wrap_wpdu(PLAIN_PUSH)[:-1], [3])
    assert messages == []
    assert cutter.finish() == [wrap_wpdu(PLAIN_PUSH)[:-1]]


def test_what_may_be_an_event_takes_the_lane_of_last_gasps() -> None:
    small, large = wrap_wpdu(PLAIN_PUSH), wrap_wpdu(CIPHERED)
    assert len(small) <= 128 < len(large)
    assert lane_of(small, over_udp=False) == LAST_GASP_TOPIC
    assert lane_of(large, over_udp=False) == FRAMES_TOPIC
    assert lane_of(large, over_udp=True) == LAST_GASP_TOPIC
    for tag in (0xC2, 0xCA, 0xD2):
        assert lane_of(wrap_wpdu(bytes([tag]) + bytes(200)), over_udp=False) == LAST_GASP_TOPIC
    assert lane_of(bytes(129), over_udp=False) == FRAMES_TOPIC


def test_the_key_is_the_system_title_else_the_device_name_else_the_peer() -> None:
    assert key_of(wrap_wpdu(CIPHERED), "10.0.0.1") == TITLE.hex().encode()
    assert key_of(wrap_wpdu(PLAIN_PUSH), "10.0.0.1") == NAME
    assert key_of(HDLC, "10.0.0.1") == NAME
    assert key_of(b"rubbish", "10.0.0.1") == b"10.0.0.1"


@pytest.mark.parametrize(
    "first", [b"\x00\x00\x19\x09\x00\xff", b"\x07\xea\x03\x02\x01\x0a\x00\x00\x00\x80\x00\x00", b""]
)
def test_the_name_of_an_object_or_a_time_is_no_name_of_a_device(first: bytes) -> None:
    push = b"\x0f\x00\x00\x00\x01\x00\x02\x02\x09" + bytes([len(first)]) + first + b"\x06\x00\x00\x00\x07"
    assert key_of(wrap_wpdu(push), "10.0.0.1") == b"10.0.0.1"


@given(st.binary(max_size=40))
def test_every_message_has_a_key_and_a_lane(message: bytes) -> None:
    assert key_of(message, "p")
    assert lane_of(message, over_udp=False) in (FRAMES_TOPIC, LAST_GASP_TOPIC)


def test_messages_of_a_partition_are_packed_in_order_up_to_the_size() -> None:
    one, two, three = (wrap_wpdu(bytes([0x0F, i]) * 10) for i in range(3))
    waiting = {4: [Waiting(one, b"a", 5), Waiting(two, b"a", 6), Waiting(three, b"b", 7)], 1: [Waiting(one, b"a", 9)]}
    rows = packed_rows(waiting, len(one + two))
    assert rows.rows() == [(b"a", one + two, 4, 5), (b"b", three, 4, 7), (b"a", one, 1, 9)]


def test_rubbish_is_never_packed_with_what_follows_or_goes_before() -> None:
    good = wrap_wpdu(b"\x0fabc")
    blocks = wrap_wpdu(b"\xe0\x00ab") + wrap_wpdu(b"\xe0\x80cd")
    items = [Waiting(message, b"k", 0) for message in (good, good[:-1], good, blocks, good, b"", good)]
    assert packed_rows({0: items}, 1_000)["value"].to_list() == [item.message for item in items]
    torn = [Waiting(part, b"k", 0) for part in lossy.datablocks(lossy.sent(1, 0), 1)[:2]]
    assert packed_rows({0: torn}, 1_000)["value"].to_list() == [item.message for item in torn]
