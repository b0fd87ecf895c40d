"""Transfers of several senders on one line: segments and blocks that interleave are joined, each with its own."""

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.dlms.framing import split_lines, split_messages, unwrap
from ingest.push_stream import StreamCutter
from schemas.codes import RejectReason
from tests.ingest import by_hand as hand
from tests.ingest.lossy import hdlc_blocks, segments, sent, telegrams, wpdu_blocks

FORMS: list[Callable[[bytes, int], list[bytes]]] = [wpdu_blocks, hdlc_blocks, segments]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_of_transfers_that_interleave_none_is_lost_or_mixed(data: st.DataObject) -> None:
    form = data.draw(st.sampled_from(FORMS))
    senders = data.draw(st.integers(2, 4))
    queues = [
        [part for number in range(data.draw(st.integers(1, 3))) for part in form(sent(sender, number), sender)]
        for sender in range(1, senders + 1)
    ]
    expected = {part for queue in queues for part in queue}
    line: list[bytes] = []
    while any(queues):
        line.append(data.draw(st.sampled_from([queue for queue in queues if queue])).pop(0))
    for messages in (split_messages(b"".join(line)), split_lines(line)):
        assert [message.error for message in messages] == [None] * len(messages)
        apdus = [unwrap(message.payload).apdu for message in messages]
        assert len(set(apdus)) == len(apdus) and all(apdu == sent(apdu[1], apdu[2]) for apdu in apdus)
        for sender in range(1, senders + 1):  # each sender's in its order
            numbers = [apdu[2] for apdu in apdus if apdu[1] == sender]
            assert numbers == list(range(len(numbers))) and numbers
        assert sum(message.frames for message in messages) == len(line) and set(line) == expected


@pytest.mark.parametrize("form", FORMS)
def test_a_message_between_the_parts_of_another_s_keeps_its_place(form: Callable[[bytes, int], list[bytes]]) -> None:
    one, other = form(sent(1, 0), 1), form(sent(2, 0, 1), 2)
    assert len(other) == 1
    messages = split_messages(one[0] + other[0] + b"".join(one[1:]) + other[0])
    assert [unwrap(message.payload).apdu[1] for message in messages] == [1, 2, 2]


@pytest.mark.parametrize("form", FORMS)
def test_a_part_that_is_not_there_makes_its_own_transfer_incomplete_alone(
    form: Callable[[bytes, int], list[bytes]],
) -> None:
    one, other, last = form(sent(1, 0), 1), form(sent(2, 0), 2), form(sent(3, 0), 3)
    line = [part for pair in zip(one[:-1], other[:-1], strict=True) for part in pair] + [other[-1], *last]
    messages = split_messages(b"".join(line))
    assert [unwrap(each.payload).apdu[1] for each in messages if each.error is None] == [2, 3]
    torn = [each.error.reason for each in messages if each.error is not None]
    assert torn == [RejectReason.LINK_INCOMPLETE if form is segments else RejectReason.BLOCK_TRANSFER_INCOMPLETE]
    assert b"".join(each.payload for each in messages if each.error is not None) == b"".join(one[:-1])


def damaged(frame: bytes, at: int) -> bytes:
    return frame[:at] + bytes((frame[at] ^ 1,)) + frame[at + 1 :]


@pytest.mark.parametrize("at", [12, 1, -1])
def test_segments_are_not_joined_around_one_that_is_damaged(at: int) -> None:
    """Its information, its format, its closing flag: the values behind it would be read where its own should stand."""
    one = segments(sent(1, 0), 1)
    for split in (split_messages, lambda data: split_lines([data])):
        messages = split(b"".join((*one[:2], damaged(one[2], at), *one[3:])))
        assert all(each.error is not None for each in messages)
        assert b"".join(each.payload for each in messages) == b"".join((*one[:2], damaged(one[2], at), *one[3:]))


def test_a_damaged_segment_costs_its_sender_alone_where_its_head_verifies() -> None:
    one, other = segments(sent(1, 0), 1), segments(sent(2, 0), 2)
    for at, whole in ((14, [2]), (4, [])):  # information; an address, so that it may be anybody's
        line = [one[0], other[0], damaged(one[1], at), other[1], *one[2:], *other[2:]]
        messages = split_messages(b"".join(line))
        assert [unwrap(each.payload).apdu[1] for each in messages if each.error is None] == whole
        assert sorted(b"".join(each.payload for each in messages)) == sorted(b"".join(line))


def test_telegrams_are_not_joined_around_one_that_is_damaged() -> None:
    """Two messages of which the end of one and the beginning of the other are damaged: their rests fit by number."""
    one, other = hand.mbus(sent(1, 0), 40), hand.mbus(sent(1, 1), 40)
    assert len(one) == len(other) == 2
    messages = split_messages(b"".join((one[0], damaged(one[1], 12), damaged(other[0], 12), other[1])))
    assert all(each.error is not None for each in messages)


@pytest.mark.parametrize("form", FORMS)
def test_one_that_may_still_grow_keeps_no_other_from_being_whole(form: Callable[[bytes, int], list[bytes]]) -> None:
    one, other, last = form(sent(1, 0), 1), form(sent(2, 0), 2), form(sent(3, 0), 3)
    line = [part for pair in zip(one, other, strict=True) for part in pair]
    messages = split_messages(b"".join((*line, *last[:-1])))
    assert [unwrap(each.payload).apdu[1] for each in messages[:-1]] == [1, 2]
    assert (messages[-1].payload, messages[-1].error is None) == (b"".join(last[:-1]), False)


def test_what_is_left_of_a_transfer_takes_no_block_of_the_next() -> None:
    """Both of one sender, with a message between, while others interleave: joined wrongly they would be one push."""
    old, new = hand.blocks(sent(1, 0), 20), hand.blocks(sent(1, 1), 20)
    assert len(old) == len(new) == 4
    other = [hand.wrapper(block, source=2) for block in hand.blocks(sent(2, 0), 20)]
    alike = [new[0], *old[1:]]  # the same first block as the next one
    for left in (old[1:], old[1:-1], [old[2]], [alike[0], *alike[2:]], [alike[0], alike[-1]]):
        mine = [hand.wrapper(block) for block in left]
        whole = [hand.wrapper(block) for block in new]
        single = hand.wrapper(sent(3, 0), source=3)
        between = [single, other[0], whole[0], *other[1:], *whole[1:]]
        lines = ([*mine, *whole], [*mine, other[0], single, *other[1:], *whole], [*mine, *between])
        for line in lines:
            good = {unwrap(each.payload).apdu for each in split_messages(b"".join(line)) if each.error is None}
            assert sent(1, 1) in good and good <= {sent(1, 1), sent(2, 0), sent(3, 0)}


def test_a_telegram_that_comes_again_before_the_last_costs_nothing() -> None:
    """Its number says where it stands: directly behind itself, or behind later ones, past another's, in any form."""
    telegrams_ = telegrams(sent(1, 0), 1)
    other = telegrams(sent(2, 0), 2)
    assert len(telegrams_) > 3
    for again, telegram in enumerate(telegrams_[:-1]):
        for at in range(again + 1, len(telegrams_) if again else 2):
            alone = [*telegrams_[:at], telegram, *telegrams_[at:]]
            for line in (alone, [other[0], *alone[:at], other[1], *alone[at:], *other[2:]]):
                cutter = StreamCutter(10_000)
                on_a_connection = [*cutter.feed(b"".join(line)), *cutter.finish()]
                for messages in (
                    split_messages(b"".join(line)),
                    split_lines(line),
                    [each for message in on_a_connection for each in split_messages(message)],
                ):
                    assert [each.error for each in messages] == [None] * (1 if line is alone else 2)
                    links = [unwrap(each.payload) for each in messages]
                    assert sorted(link.apdu for link in links) == [sent(1, 0), sent(2, 0)][: len(links)]
                    for each, link in zip(messages, links, strict=True):
                        assert bytes(each.payload[link.locate(place)] for place in range(len(link.apdu))) == link.apdu


def test_a_telegram_again_with_other_bytes_is_no_copy() -> None:
    one, changed = telegrams(sent(1, 0), 1), telegrams(sent(1, 1), 1)
    messages = split_messages(b"".join([*one[:2], changed[1], *one[2:]]))
    assert all(each.error is not None for each in messages)
