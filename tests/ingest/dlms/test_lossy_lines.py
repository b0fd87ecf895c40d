"""Lines on which parts of some transfers are lost while others interleave: whole ones decode, torn ones say so."""

from hypothesis import given, settings

from ingest.dlms.framing import split_lines, split_messages
from tests.ingest import lossy


@settings(max_examples=250, deadline=None)
@given(lossy.lines())
def test_what_one_lost_costs_no_other_a_transfer(sent_on: tuple[list[lossy.Transfer], list[bytes]]) -> None:
    all_sent, line = sent_on
    lossy.check([each.payload for each in split_messages(b"".join(line))], all_sent, line)
    lossy.check([each.payload for each in split_lines(line)], all_sent, line)
    assert len(b"".join(each.payload for each in split_messages(b"".join(line)))) == len(b"".join(line))


@settings(max_examples=250, deadline=None)
@given(lossy.copied_lines())
def test_a_copy_of_any_block_anywhere_behind_it_mixes_and_costs_nothing(
    sent_on: tuple[list[lossy.Transfer], list[bytes]],
) -> None:
    all_sent, line = sent_on
    for messages in (split_messages(b"".join(line)), split_lines(line)):
        lossy.check_copied([each.payload for each in messages], all_sent)
        assert sum(each.frames for each in messages) == len(line)


def test_a_tail_is_not_believed_of_a_first_block_that_goes_on_behind_another_message() -> None:
    """In a row the first block stands behind the tail and completes it; its own blocks come behind the message."""
    old, new, other = (lossy.wpdu_blocks(lossy.sent(1, 0), 1), lossy.wpdu_blocks(lossy.sent(1, 1), 1),
                       lossy.wpdu_blocks(lossy.sent(2, 0, 1), 2))  # fmt: skip
    line = [*old[1:], new[0], *other, *new[1:]]
    apdus = [lossy.joined(each.payload) for each in split_messages(b"".join(line))]
    assert apdus == [None, lossy.sent(1, 1), lossy.sent(2, 0, 1)]


def test_what_comes_behind_a_whole_message_of_a_sender_fills_no_gap_of_its_transfer_before() -> None:
    old, new = lossy.wpdu_blocks(lossy.sent(1, 0), 1), lossy.wpdu_blocks(lossy.sent(1, 1), 1)
    single = lossy.hand.wrapper(lossy.sent(1, 2), source=1)
    line = [*old[:2], *old[3:], single, *new[2:]]
    apdus = [lossy.joined(each.payload) for each in split_messages(b"".join(line))]
    assert apdus == [None, lossy.sent(1, 2), None]


def test_a_telegram_damaged_beside_another_is_no_wrapper_pdu_that_takes_the_next_ones_along() -> None:
    """Its octets read as the head of such a PDU of 257 octets, and what stands behind it has a wrong checksum too."""
    inside = bytes.fromhex("00 01 00 01 00 01 01 01")
    damaged = bytearray(lossy.hand.mbus(inside + inside, 257)[0])
    damaged[-2] = 0xC2  # the tag of an event-notification, where the checksum was
    other = bytearray(lossy.hand.mbus(lossy.sent(1, 1, 3), 257)[0])
    other[-2] ^= 1
    swallowed = 257 - len(damaged[-2:] + other)
    one = next(each for octets in range(250) if len(each := lossy.hand.mbus(b'\x0f' + bytes(octets), 257)[0])
               == swallowed)  # fmt: skip
    line = [bytes(damaged), bytes(other), one, one]
    apdus = [lossy.joined(each.payload) for each in split_messages(b"".join(line))]
    assert apdus == [None, None, lossy.joined(one), lossy.joined(one)]


def test_a_block_in_a_damaged_frame_is_no_wrapper_pdu_that_takes_the_next_frames_along() -> None:
    """Its head holds 00 01, the block's number, and its octets what such a PDU could begin with, to the next frame."""
    others = b"".join(lossy.hdlc_blocks(lossy.sent(2, 0), 2))
    length = 600
    inside = b"\x0f" + length.to_bytes(2, "big") + b"\x0f"
    first = bytearray(lossy.hdlc_blocks(inside + bytes(30), 1)[0])
    at = first.index(b"\x00\x01\x00\x00\x07" + inside) + 8
    filler = lossy.hand.hdlc(b"\xe6\xe7\x00\x0f" + bytes(length - (len(first) - at) - 15))
    assert len(first) - at + len(filler) == length
    first[-2] ^= 1
    messages = split_messages(bytes(first) + filler + others)
    assert [each.payload for each in messages] == [bytes(first), filler, others]
    assert lossy.joined(messages[2].payload) == lossy.sent(2, 0)
