"""What is held of transfers is bounded by what it takes in memory, not by the bytes that were sent."""

from ingest.datagrams import HeldBlocks
from ingest.dlms.framing import wrap_wpdu
from ingest.push_stream import StreamCutter

_EMPTY_BLOCK = b"\xe0\x40\x00\x02\x00\x00\x00"
"""General block transfer: a second block without data, of which neither the first nor the last has come."""


def test_transfers_of_empty_datagrams_are_given_out_beyond_the_bound() -> None:
    held, given = HeldBlocks(15.0, 262_144), 0
    sent = 40_000
    for sender in range(sent):
        datagram = wrap_wpdu(_EMPTY_BLOCK, source=sender, destination=1)
        given += len(held.feed(datagram, "192.0.2.1:4059", 1.0))
    assert held.held_octets <= 1 << 24
    assert given > sent // 3
    assert given + len(held.finish()) == sent
    assert held.held_octets == 0


def test_a_stream_is_charged_for_each_transfer_that_it_holds_open() -> None:
    cutter = StreamCutter(262_144, 15.0)
    for sender in range(1000):
        assert cutter.feed(wrap_wpdu(_EMPTY_BLOCK, source=sender, destination=1), 1.0) == []
    assert not cutter.lost_step  # a concentrator has many meters
    assert cutter.held_octets > 700 * 1000 > 10 * cutter.waiting
    assert len(cutter.finish()) == 1000
    assert cutter.held_octets == 0
