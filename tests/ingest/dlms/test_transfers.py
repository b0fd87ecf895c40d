"""What is remembered of transfers that were given out: bounded in memory and time, whoever sends."""

from time import process_time

from ingest.dlms.blocks import Block
from ingest.dlms.transfers import REMEMBERED, Past, Transfers


def test_the_past_is_bounded_and_losing_it_costs_no_more_than_gaining_it() -> None:
    past, before = Past(), process_time()
    for mark in range(2 * REMEMBERED):
        past.add(mark, float(mark))
    assert len(past) == REMEMBERED and REMEMBERED - 1 not in past and REMEMBERED in past
    past.forget(2 * REMEMBERED - 2)
    assert len(past) == 1
    past.forget(2 * REMEMBERED)
    assert len(past) == 0
    assert process_time() - before < 15


def fed(transfers: Transfers[str, int], *blocks: tuple[int, bool, bytes]) -> list[tuple[list[bytes], list[bytes]]]:
    """What came out, as the octets of its parts and of the copies; a last block is marked."""
    ended = [each for number, last, octets in blocks
             for each in transfers.feed("a", Block(number, last, 0, 0), octets, 0, 1, 0.0)]  # fmt: skip
    return [([part.octets for part in parts], [part.octets for part in copies]) for parts, copies in ended]


def test_a_block_that_was_given_out_is_used_where_no_other_of_its_number_comes() -> None:
    transfers: Transfers[str, int] = Transfers(Past())
    assert fed(transfers, (1, False, b"a"), (2, True, b"z")) == [([b"a", b"z"], [])]
    assert fed(transfers, (1, False, b"b"), (2, True, b"z")) == []  # it may be a copy
    assert fed(transfers, (1, False, b"c")) == [([b"b", b"z"], [])]  # the next one has begun
    assert fed(transfers, (2, True, b"x")) == [([b"c", b"x"], [])]
    assert fed(transfers, (1, False, b"d"), (2, True, b"x"), (2, True, b"y")) == [([b"d", b"y"], [b"x"])]
    assert len(transfers) == transfers.octets == 0


def test_of_two_firsts_for_one_tail_neither_is_believed_where_nothing_follows() -> None:
    """Its own, equal to one before, and the next one begun; or a copy, and its own overtaken."""
    transfers: Transfers[str, int] = Transfers(Past())
    assert len(fed(transfers, (1, False, b"a"), (2, True, b"z"))) == 1
    assert fed(transfers, (1, False, b"a"), (2, True, b"y"), (1, False, b"b")) == []
    assert [[part.octets for part in each.parts] for each in transfers.take("a", 0.0)] == [[b"y"], [b"b"]]


def test_hostile_orders_cost_no_more_with_each_block() -> None:
    """Thousands of small blocks again, as they were, changed, and first ones between."""
    before = process_time()
    transfers: Transfers[str, int] = Transfers(Past())
    many = [(number, False, number.to_bytes(2, "big")) for number in range(1, 8_001)]
    changed = [(number, False, octets + b"x") for number, _, octets in many]
    assert len(fed(transfers, *many, (8_001, True, b""))) == 1
    fed(transfers, *many, *changed, *many)  # old ones, each put aside by its own, then copies
    fed(transfers, *(each for pair in zip(many, changed, strict=True) for each in (pair[1], many[0], pair[0])))
    fed(transfers, *(block for number in range(2_000) for block in (many[0], (2, True, bytes((number % 7,))), many[1])))
    assert process_time() - before < 15


def test_parts_that_are_held_are_counted_and_given_back() -> None:
    transfers = Transfers[str, int](Past())
    for number in (1, 2, 2, 4):
        transfers.feed("a", Block(number, False, 0, 0), bytes((number,)), number, 1, 0.0)
    assert transfers.parts == 4
    transfers.take("a", 1.0)
    assert (transfers.parts, transfers.octets) == (0, 0)
