"""Block transfer: blocks in any order join, copies are dropped, a missing block is reported."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.dlms.blocks import MAX_AHEAD, Assembly, Block, split_blocks
from ingest.dlms.framing import split_messages, unwrap, wrap_wpdu
from ingest.dlms.hdlc import wrap_hdlc
from schemas.codes import RejectReason
from schemas.errors import ProtocolError

APDU = b"\x0f" + bytes(range(1, 100))


def wpdus(apdu, octets):
    return [wrap_wpdu(block) for block in split_blocks(apdu, octets)]


def reasons(data):
    return [message.error and message.error.reason for message in split_messages(data)]


@given(st.binary(min_size=1, max_size=300), st.integers(10, 60), st.randoms(use_true_random=False), st.data())
def test_blocks_in_any_order_and_with_copies_give_the_message(rest, octets, random, data):
    apdu = b"\x0f" + rest
    blocks = wpdus(apdu, octets)
    copies = data.draw(st.lists(st.sampled_from(blocks[1:] or blocks), max_size=3)) if len(blocks) > 1 else []
    shuffled = blocks + copies
    random.shuffle(shuffled)
    (message,) = split_messages(b"".join(shuffled))
    link = unwrap(message.payload)
    assert (link.link, link.apdu, link.frames) == ("wrapper+gbt", apdu, len(shuffled))
    assert bytes(message.payload[link.locate(at)] for at in range(len(apdu))) == apdu


@pytest.mark.parametrize("missing", range(5))
def test_a_missing_block_is_incomplete_and_takes_nothing_of_the_next_message(missing):
    blocks = wpdus(APDU, 20)
    assert len(blocks) == 5
    rest = b"".join(blocks[:missing] + blocks[missing + 1 :])
    broken, good = split_messages(rest + wrap_wpdu(APDU))
    assert broken.error.reason is RejectReason.BLOCK_TRANSFER_INCOMPLETE
    assert broken.payload == rest
    assert unwrap(good.payload).apdu == APDU


def test_a_new_transfer_after_an_incomplete_one_is_whole():
    other = b"\x0f" + bytes(90)
    data = b"".join(wpdus(APDU, 20)[:3] + wpdus(other, 20))
    assert reasons(data) == [RejectReason.BLOCK_TRANSFER_INCOMPLETE, None]
    assert unwrap(split_messages(data)[1].payload).apdu == other


@pytest.mark.parametrize("lost", [1, 2, 4])
@pytest.mark.parametrize("octets", [45, 90])
def test_a_transfer_that_lost_its_head_takes_nothing_of_the_next_one(lost, octets):
    """Its last block came; the first block of the next one could be its own, late. What follows that tells."""
    other = b"\x0f" + bytes(octets)
    data = b"".join(wpdus(APDU, 20)[lost:] + wpdus(other, 20))
    messages = split_messages(data)
    assert [message.error and message.error.reason for message in messages] == [
        RejectReason.BLOCK_TRANSFER_INCOMPLETE,
        None,
    ]
    assert unwrap(messages[1].payload).apdu == other
    assert b"".join(message.payload for message in messages) == data


def test_two_equal_transfers_are_two_messages():
    data = b"".join(wpdus(APDU, 20) * 2)
    assert reasons(data) == [None, None]


def test_a_block_repeated_with_other_bytes_is_never_joined():
    blocks = wpdus(APDU, 20)
    forged = wpdus(APDU[:30] + b"\x55" + APDU[31:], 20)[1]
    data = b"".join([*blocks[:2], forged, *blocks[2:]])
    assert set(reasons(data)) == {RejectReason.BLOCK_TRANSFER_INCOMPLETE}


def test_a_late_copy_after_the_last_block_is_dropped():
    blocks = wpdus(APDU, 20)
    (message,) = split_messages(b"".join([*blocks, blocks[2]]))
    assert unwrap(message.payload).apdu == APDU


def test_blocks_far_ahead_are_not_held():
    assembly = Assembly()
    assert assembly.accept(Block(1 + MAX_AHEAD, False, 0, 1), b"a")
    assert not assembly.accept(Block(2 + MAX_AHEAD, False, 0, 1), b"b")
    assert assembly.accept(Block(1, False, 0, 1), b"c")
    assert assembly.accept(Block(2 + MAX_AHEAD, False, 0, 1), b"b")
    assert not assembly.complete


def test_nothing_fits_behind_the_last_block():
    assembly = Assembly()
    assert assembly.accept(Block(3, True, 0, 1), b"c")
    assert not assembly.accept(Block(4, False, 0, 1), b"d")
    assert not assembly.accept(Block(2, True, 0, 1), b"b")
    assert assembly.accept(Block(2, False, 0, 1), b"b")
    assert assembly.accept(Block(1, False, 0, 1), b"a")
    assert assembly.complete
    assert assembly.numbers() == (1, 2, 3)


def test_blocks_of_two_senders_do_not_mix():
    blocks = split_blocks(APDU, 60)
    data = wrap_wpdu(blocks[0], 1) + wrap_wpdu(blocks[1], 2)
    assert reasons(data) == [RejectReason.BLOCK_TRANSFER_INCOMPLETE] * 2


def test_a_block_may_lie_in_hdlc_segments():
    data = b"".join(wrap_hdlc(block, max_information=15) for block in split_blocks(APDU, 40))
    link = unwrap(data)
    assert (link.link, link.apdu) == ("hdlc+gbt", APDU)


def test_a_get_response_in_datablocks_is_joined_to_one_of_one_block():
    value = bytes.fromhex("0904DEADBEEF")
    blocks = [
        bytes.fromhex("C402C1") + bytes((last,)) + number.to_bytes(4, "big") + b"\x00" + bytes((len(part),)) + part
        for number, last, part in ((1, 0, value[:2]), (2, 0, value[2:4]), (3, 1, value[4:]))
    ]
    link = unwrap(b"".join(map(wrap_wpdu, blocks)))
    assert (link.link, link.apdu, link.frames) == ("wrapper", bytes.fromhex("C402C101000000010006") + value, 3)
    with pytest.raises(ProtocolError, match="block_transfer_incomplete"):
        unwrap(wrap_wpdu(blocks[0]) + wrap_wpdu(blocks[2]))


@pytest.mark.parametrize(
    "damaged", ["E0", "E08000", "E08000010000", "E0800001000001", "E080000000000100", "E08000010000010000"]
)
def test_a_damaged_block_is_an_error_at_a_byte(damaged):
    with pytest.raises(ProtocolError) as caught:
        unwrap(wrap_wpdu(bytes.fromhex(damaged)))
    assert 8 <= caught.value.at <= 8 + len(damaged) // 2


def datablocks(octets: int) -> list[bytes]:
    """A get-response in four datablocks, each in a wrapper."""
    value = b"\x09" + bytes((octets - 2,)) + bytes(range(octets - 2))
    parts = [value[at : at + octets // 4] for at in range(0, octets, octets // 4)]
    return [
        wrap_wpdu(
            b"\xc4\x02\xc1" + bytes((number == len(parts),)) + number.to_bytes(4, "big") + b"\0"
            + bytes((len(part),)) + part
        )
        for number, part in enumerate(parts, 1)
    ]  # fmt: skip


@pytest.mark.parametrize("form", [lambda: wpdus(APDU, 20), lambda: datablocks(40)], ids=["transfer", "datablocks"])
@pytest.mark.parametrize("copies", [1, 2])
def test_a_late_copy_of_the_first_block_is_dropped(form, copies):
    blocks = form()
    (alone,) = split_messages(b"".join(blocks))
    late = [blocks[0]] * copies
    for behind in ([], [wrap_wpdu(APDU)], wpdus(b"\x0f" + bytes(90), 20), wpdus(APDU[:-1], 20)):
        data = b"".join([*blocks, *late, *behind])
        messages = split_messages(data)
        if behind and behind[0] == blocks[0]:  # another that begins alike: its first block came more than once
            assert [each.error for each in messages] == [None, None]
        else:
            assert [each.frames for each in messages][:1] == [len(blocks) + copies] and reasons(data)[0] is None
            assert len(messages) == (2 if behind else 1) and set(reasons(data)) == {None}
        assert unwrap(messages[0].payload).apdu == unwrap(alone.payload).apdu
        assert b"".join(each.payload for each in messages) == data


def test_a_first_block_that_came_again_goes_to_its_own_transfer_past_those_of_others():
    mine, other = wpdus(APDU, 20), [wrap_wpdu(block, 9) for block in split_blocks(b"\x0f" + bytes(60), 20)]
    messages = split_messages(b"".join([*mine, other[0], mine[0], *other[1:]]))
    assert [(each.frames, each.error) for each in messages] == [(len(mine) + 1, None), (len(other), None)]
    assert unwrap(messages[0].payload).apdu == APDU


def test_a_first_block_that_came_again_is_no_part_of_another_message():
    """What follows goes on from it: with other bytes, or with the same ones. Both times it is a beginning."""
    blocks, alike = wpdus(APDU, 20), wpdus(APDU[:30] + b"\x55" + APDU[31:], 20)
    for follows, wanted in ((alike[1:], [None, None]), (blocks[1:], [None, None]), (alike[1:3], [None, "torn"])):
        data = b"".join([*blocks, blocks[0], *follows])
        assert [each and "torn" for each in reasons(data)] == wanted
        assert [each.frames for each in split_messages(data)] == [len(blocks), 1 + len(follows)]


def test_a_first_block_by_itself_that_is_no_copy_is_told():
    blocks = wpdus(APDU, 20)
    other = wpdus(b"\x0f" + bytes(90), 20)[0]
    assert reasons(b"".join([*blocks, other]))[1:] == [RejectReason.BLOCK_TRANSFER_INCOMPLETE]
