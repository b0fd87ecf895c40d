"""Blocks of one APDU that come in datagrams of their own, held until they are together. Sans-I/O, bounded."""

from typing import Final, NamedTuple

from ingest.dlms.blocks import Block, is_block, read_block, transfer_of
from ingest.dlms.framing import WPDU_HEAD_OCTETS
from ingest.dlms.transfers import Ended, Past, Transfers
from ingest.open_transfers import PART_OCTETS, TRANSFER_OCTETS
from schemas.errors import ProtocolError

_HELD_OCTETS: Final = 1 << 24
"""Of all senders together; beyond it the oldest transfer is given out as it is."""

class Given(NamedTuple):
    """A message to go on, and who sent it."""

    message: bytes
    peer: str


class HeldBlocks:
    """Datagrams in; out come those that are no blocks at once, and blocks of one APDU together.

    Order and copies do not matter: whoever decodes puts blocks in order. Where the first block comes after the last
    one, or a second time, or a block is one that was given out before, the transfer waits its time out: what follows
    may show whose the block was (pushes of a meter begin alike). What is not whole after `held_s`, has grown beyond
    `message_octets`, or gets a block that does not belong, is given out as far as it came: it becomes a reject that
    says so. Nothing is lost but copies, for `held_s`, of what was given out.
    """

    def __init__(self, held_s: float, message_octets: int, past: Past | None = None) -> None:
        """`past`: what was given out, where others remember it too."""
        self._held_s, self._message_octets = held_s, message_octets
        self._past = Past() if past is None else past
        self._transfers: Transfers[tuple[str, bytes], bytes] = Transfers(self._past)

    def feed(self, datagram: bytes, peer: str, now: float) -> list[Given]:
        """Messages that are whole, or will not become so, after this datagram; `now` in seconds of any clock."""
        given = self.expire(now)
        apdu = datagram[WPDU_HEAD_OCTETS:]
        block = _block_of(datagram)
        if block is None:
            return [*given, Given(datagram, peer)]
        key = (peer, datagram[2:6] + transfer_of(apdu))
        octets = apdu[block.data_at : block.data_stop]
        given += _given(key[0], self._transfers.feed(key, block, octets, datagram, len(datagram), now))
        if self._transfers.octets_of(key) > self._message_octets:
            given += self._take(key, now)
        while self.held_octets > _HELD_OCTETS and (oldest := self._transfers.oldest) is not None:
            given += self._take(oldest[0], now)
        return given

    @property
    def held_octets(self) -> int:
        """What is held, in memory."""
        transfers = self._transfers
        return transfers.octets + TRANSFER_OCTETS * len(transfers) + PART_OCTETS * transfers.parts

    def expire(self, now: float) -> list[Given]:
        """Transfers that have waited long enough, the oldest first."""
        given = []
        self._past.forget(now - self._held_s)
        while (oldest := self._transfers.oldest) is not None and now - oldest[1] >= self._held_s:
            given += self._take(oldest[0], now)
        return given

    @property
    def due(self) -> float | None:
        """When the oldest transfer has waited long enough; None while none is held."""
        oldest = self._transfers.oldest
        return None if oldest is None else oldest[1] + self._held_s

    def finish(self) -> list[Given]:
        """Everything that is held, as it is."""
        return [each for key in self._transfers.open_keys() for each in self._take(key, 0.0)]

    def _take(self, key: tuple[str, bytes], now: float) -> list[Given]:
        return _given(key[0], self._transfers.take(key, now))


def _given(peer: str, ended: list[Ended[bytes]]) -> list[Given]:
    return [Given(b"".join(part.item for part in each.parts), peer) for each in ended if each.parts]


def _block_of(datagram: bytes) -> Block | None:
    """The block that a datagram is: one whole wrapper PDU with one in it."""
    apdu = datagram[WPDU_HEAD_OCTETS:]
    if not datagram.startswith(b"\x00\x01") or int.from_bytes(datagram[6:8], "big") != len(apdu) or not is_block(apdu):
        return None
    try:
        return read_block(apdu)
    except ProtocolError:  # damaged: whoever decodes it says why
        return None
