"""Blocks in datagrams of their own: together once they are whole, given out as they are once they are late."""

from time import process_time

from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.datagrams import Given, HeldBlocks
from ingest.dlms.framing import split_messages, unwrap
from ingest.dlms.transfers import Past
from ingest.open_transfers import PART_OCTETS
from tests.ingest import by_hand as hand
from tests.ingest import lossy
from tests.ingest.fleet import decode, enrolled, meters, reasons, sealed

BLOCKS = [hand.wrapper(block) for block in hand.blocks(hand.PUSH, 20)]
OTHER = [hand.wrapper(block, 2) for block in hand.blocks(hand.PUSH, 31)]
PLAIN = meters(enrolled(system_title=None, security_min=0))


def fed(held: HeldBlocks, *datagrams: bytes, peer: str = "a", now: float = 0.0) -> list[Given]:
    return [each for datagram in datagrams for each in held.feed(datagram, peer, now)]


@settings(max_examples=50)
@given(st.permutations([*BLOCKS, *OTHER]), st.integers(0, 3))
def test_blocks_of_two_transfers_in_any_order_are_two_messages(sent: list[bytes], twice: int) -> None:
    held = HeldBlocks(10, 100_000)
    sent = [*sent[: twice + 1], *sent[twice:]]  # one of them comes twice
    given_out = fed(held, *sent) + held.finish()
    whole = [each.message for each in given_out]  # a copy of what was given out is not given out again
    assert len(whole) == 2 and all(any(part in message for message in whole) for part in sent)
    assert sorted(unwrap(message).apdu for message in whole[:2]) == [hand.PUSH] * 2
    assert decode(whole[0], registry=PLAIN).reads["value_milli"].to_list() == [hand.VALUE * 1000]


def test_a_message_goes_on_with_its_last_block() -> None:
    held = HeldBlocks(10, 100_000)
    assert fed(held, *BLOCKS[:-1]) == [] and fed(held, BLOCKS[-1]) == [Given(b"".join(BLOCKS), "a")]
    assert held.finish() == []


def test_what_is_no_block_goes_on_at_once_and_what_is_late_as_it_is() -> None:
    held = HeldBlocks(10, 100_000)
    plain = hand.wrapper(hand.PUSH)
    assert fed(held, BLOCKS[0], plain, BLOCKS[1][:-1], b"", b"\x00\x01") == [
        Given(each, "a") for each in (plain, BLOCKS[1][:-1], b"", b"\x00\x01")
    ]
    assert fed(held, BLOCKS[2], peer="b", now=6) == []
    assert fed(held, plain, peer="c", now=11) == [Given(BLOCKS[0], "a"), Given(plain, "c")]
    assert held.expire(16) == [Given(BLOCKS[2], "b")] and held.finish() == []
    assert reasons(decode(BLOCKS[0], registry=PLAIN)) == ["block_transfer_incomplete"]


def test_a_transfer_that_lost_its_head_takes_nothing_of_the_next_one() -> None:
    """Its last block came, and so did the first of the next within its time: what follows tells whose that was."""
    other = [hand.wrapper(block) for block in hand.blocks(hand.PUSH + bytes(7), 20)]
    for lost in range(1, len(BLOCKS)):
        held = HeldBlocks(10, 100_000)
        given_out = fed(held, *BLOCKS[lost:], *other)
        assert given_out == [Given(b"".join(BLOCKS[lost:]), "a"), Given(b"".join(other), "a")]
        assert held.finish() == []
    late = HeldBlocks(10, 100_000)
    assert fed(late, *BLOCKS[1:], BLOCKS[0]) == []
    assert late.expire(11) == [Given(b"".join([*BLOCKS[1:], BLOCKS[0]]), "a")]


def test_a_transfer_that_lost_a_block_within_takes_none_of_the_next_one_that_begins_alike() -> None:
    old, new = (lossy.wpdu_blocks(lossy.sent(1, number, alike=True), 1) for number in (1, 2))
    assert old[0] == new[0]
    for lost in range(1, len(old)):
        left = old[:lost] + old[lost + 1 :]
        held = HeldBlocks(10, 100_000)
        given_out = fed(held, *left, *new)
        if lost == 1 or lost < len(old) - 1:
            assert given_out == [Given(b"".join(left), "a"), Given(b"".join(new), "a")] and held.due is None


@settings(max_examples=150, deadline=None)
@given(lossy.lines([lossy.wpdu_blocks, lossy.datablocks], singles=False))
def test_what_one_lost_in_datagrams_costs_no_other_a_transfer(
    sent_on: tuple[list[lossy.Transfer], list[bytes]],
) -> None:
    all_sent, line = sent_on
    held = HeldBlocks(10, 100_000)
    given_out = [*fed(held, *line), *held.finish()]
    lossy.check([each.payload for one in given_out for each in split_messages(one.message)], all_sent, line)


@settings(max_examples=250, deadline=None)
@given(lossy.copied_lines([lossy.wpdu_blocks, lossy.datablocks]))
def test_a_copy_of_any_datagram_anywhere_behind_it_mixes_and_costs_nothing(
    sent_on: tuple[list[lossy.Transfer], list[bytes]],
) -> None:
    all_sent, line = sent_on
    held = HeldBlocks(10, 100_000)
    given_out = [*fed(held, *line), *held.finish()]
    lossy.check_copied([each.payload for one in given_out for each in split_messages(one.message)], all_sent)


def test_of_pushes_back_to_back_with_a_copy_no_value_is_wrong_or_lost_plain_and_sealed() -> None:
    """A copy of each block at each later place: in datagrams, and as one value of Kafka or file."""
    plain = [hand.PUSH, hand.PUSH.replace(hand.VALUE.to_bytes(4, "big"), (hand.VALUE + 1).to_bytes(4, "big"))]
    ciphered = [unwrap(sealed(apdu, counter)).apdu for counter, apdu in enumerate(plain, 7)]
    for apdus, registry in ((plain, PLAIN), (ciphered, meters(enrolled(security_min=0x30)))):
        line = [hand.wrapper(block) for apdu in apdus for block in hand.blocks(apdu, 40)]
        for again, datagram in enumerate(line):
            for at in range(again + 1, len(line) + 1):
                copied = [*line[:at], datagram, *line[at:]]
                held = HeldBlocks(10, 100_000)
                in_datagrams = [each.message for each in [*fed(held, *copied), *held.finish()]]
                for messages in (in_datagrams, [b"".join(copied)]):
                    cut = [each.payload for message in messages for each in split_messages(message)]
                    decoded = decode(*cut, registry=registry)
                    assert sorted(decoded.reads["value_milli"]) == [hand.VALUE * 1000, (hand.VALUE + 1) * 1000]
                    assert decoded.rejects.is_empty()


def test_copies_without_an_end_of_what_was_given_out_cost_neither_memory_nor_time() -> None:
    past = Past(100)
    held = HeldBlocks(10, 100_000, past)
    before, given_out = process_time(), 0
    for number in range(20_000):  # pushes that begin alike: each is given out when the next one has begun
        block = b"\xe0\xc0\x00\x02\x00\x00\x02" + number.to_bytes(2, "big")
        given_out += len(fed(held, BLOCKS[0], hand.wrapper(block), now=number / 10_000))
        assert len(past) <= 100 and held.held_octets < 10_000
    assert given_out == 19_999 and len(held.expire(12)) == 1
    assert fed(held, *[BLOCKS[0]] * 20_000, now=11.9) == []
    assert process_time() - before < 20
    parts = 110_000 // len(BLOCKS[0])  # each takes room beside its octets
    assert held.held_octets < 110_000 + PART_OCTETS * parts
    assert held.expire(22) == [] and len(past) == held.held_octets == 0


def test_each_transfer_has_its_own_time() -> None:
    held = HeldBlocks(10, 100_000)
    assert fed(held, BLOCKS[0], now=0) == fed(held, OTHER[0], now=6) == [] and held.due == 10
    assert held.expire(10) == [Given(BLOCKS[0], "a")] and held.due == 16
    # What is left of a transfer that was two has come late: it is waited for from then on.
    assert fed(held, BLOCKS[2], BLOCKS[-1], BLOCKS[0], now=12) == []
    changed = BLOCKS[2][:-1] + bytes((BLOCKS[2][-1] ^ 1,))
    assert fed(held, changed, now=14) == [Given(BLOCKS[2] + BLOCKS[-1], "a")] and held.due == 16
    assert held.expire(16) == [Given(OTHER[0], "a")] and held.due == 24


def test_a_block_with_other_bytes_ends_the_transfer_before_it() -> None:
    held = HeldBlocks(10, 100_000)
    changed = BLOCKS[1][:-1] + bytes((BLOCKS[1][-1] ^ 1,))
    assert fed(held, BLOCKS[0], BLOCKS[1], changed) == [Given(BLOCKS[0] + BLOCKS[1], "a")]
    assert fed(held, *BLOCKS[2:]) == [] and held.finish() == [Given(changed + b"".join(BLOCKS[2:]), "a")]


def test_nothing_grows_beyond_its_bounds() -> None:
    held = HeldBlocks(10, 500)
    given_out = fed(held, *[BLOCKS[0]] * 100)  # copies without an end
    assert max(len(each.message) for each in given_out) <= 500 + len(BLOCKS[0])
    wide = HeldBlocks(10, 100_000)
    first = hand.wrapper(bytes.fromhex("E04000010000") + hand.sized(bytes(60_000)))
    kept = sum(len(each.message) for number in range(400) for each in wide.feed(first, str(number), 0))
    assert 400 * len(first) - kept <= 1 << 24


def test_small_blocks_in_numbers_are_not_gone_through_again_with_each_of_them() -> None:
    """20,000 of 16 octets, then as many copies of the first one: seconds of the door's only loop, if each costs all."""
    heads = (b"\xe0\x40" + number.to_bytes(2, "big") + b"\x00\x00\x00" for number in range(1, 20_001))
    small = [hand.wrapper(head) for head in heads]
    held = HeldBlocks(10, 10_000_000)
    before = process_time()
    assert fed(held, *small, *[small[0]] * 20_000) == []
    assert process_time() - before < 8
    assert held.finish() == [Given(b"".join([*small, *[small[0]] * 20_000]), "a")]
