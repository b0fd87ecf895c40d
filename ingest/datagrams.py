"""Blocks of one APDU that come in datagrams of their own, held until they are together. Sans-I/O, bounded."""

from dataclasses import dataclass, field
from typing import Final, NamedTuple

from ingest.dlms.blocks import Assembly, Block, is_block, read_block, transfer_of
from ingest.dlms.framing import WPDU_HEAD_OCTETS
from ingest.open_transfers import TRANSFER_OCTETS
from schemas.errors import ProtocolError

_HELD_OCTETS: Final = 1 << 24
"""Of all senders together; beyond it the oldest transfer is given out as it is."""


class Given(NamedTuple):
    """A message to go on, and who sent it."""

    message: bytes
    peer: str


@dataclass(slots=True)
class _Transfer:
    """Datagrams of one transfer as they came, and what of its blocks is there."""

    since: float
    datagrams: list[bytes] = field(default_factory=list)
    octets: int = 0  # of the datagrams
    assembly: Assembly = field(default_factory=Assembly)
    begins: int | None = None  # datagrams before a first block that may begin the next
    doubtful: bool = False  # for what came before it is no reason to take it for this one's

    def accept(self, datagram: bytes, block: Block) -> bool:
        """Whether the datagram belongs to the transfer; if so it is held."""
        apdu = datagram[WPDU_HEAD_OCTETS:]
        if not self.assembly.accept(block, apdu[block.data_at : block.data_stop]):
            return False
        self.datagrams.append(datagram)
        self.octets += len(datagram)
        return True


class HeldBlocks:
    """Datagrams in; out come those that are no blocks at once, and blocks of one APDU together, none lost.

    Order and copies do not matter: whoever decodes puts blocks in order. Where the first block comes after the last
    one, or a second time, the transfer waits its time out: what follows may show that the block was the next one's
    (pushes of a meter begin alike). What is not whole after `held_s`, has grown beyond `message_octets`, or gets a
    block that does not belong, is given out as far as it came: it becomes a reject that says so.
    """

    def __init__(self, held_s: float, message_octets: int) -> None:
        self._held_s, self._message_octets = held_s, message_octets
        self._transfers: dict[tuple[str, bytes], _Transfer] = {}  # the oldest first
        self._octets = 0

    def feed(self, datagram: bytes, peer: str, now: float) -> list[Given]:
        """Messages that are whole, or will not become so, after this datagram; `now` in seconds of any clock."""
        given = self.expire(now)
        apdu = datagram[WPDU_HEAD_OCTETS:]
        block = _block_of(datagram)
        if block is None:
            return [*given, Given(datagram, peer)]
        key = (peer, datagram[2:6] + transfer_of(apdu))
        known = self._transfers.get(key)
        if known is not None and block.number == 1 and not known.assembly.is_first_alone:
            known.begins, known.doubtful = len(known.datagrams), known.assembly.may_begin_next
        while known is not None and not known.accept(datagram, block):
            given.append(self._take(key, known.begins if block.number > 1 else None, now))
            known = self._transfers.get(key)
        if known is None:
            known = _Transfer(now)
            if not known.accept(datagram, block):
                return [*given, Given(datagram, peer)]
            self._transfers[key] = known
        self._octets += len(datagram)
        whole = known.assembly.complete and not known.doubtful
        if whole or known.octets > self._message_octets:
            given.append(self._take(key))
        while self.held_octets > _HELD_OCTETS:
            given.append(self._take(next(iter(self._transfers))))
        return given

    @property
    def held_octets(self) -> int:
        """What is held, in memory."""
        return self._octets + TRANSFER_OCTETS * len(self._transfers)

    def expire(self, now: float) -> list[Given]:
        """Transfers that have waited long enough, the oldest first."""
        given = []
        while self._transfers:
            key, oldest = next(iter(self._transfers.items()))
            if now - oldest.since < self._held_s:
                break
            given.append(self._take(key))
        return given

    @property
    def due(self) -> float | None:
        """When the oldest transfer has waited long enough; None while none is held."""
        return next(iter(self._transfers.values())).since + self._held_s if self._transfers else None

    def finish(self) -> list[Given]:
        """Everything that is held, as it is."""
        return [self._take(key) for key in list(self._transfers)]

    def _take(self, key: tuple[str, bytes], first: int | None = None, now: float = 0.0) -> Given:
        """A transfer as it is, or its first datagrams: the others begin one of their own, now."""
        known = self._transfers.pop(key)
        taken, left = known.datagrams[:first], [] if first is None else known.datagrams[first:]
        self._octets -= sum(map(len, taken))
        if left:
            begun = self._transfers[key] = _Transfer(now, left, sum(map(len, left)))
            for datagram in left:
                apdu = datagram[WPDU_HEAD_OCTETS:]
                block = read_block(apdu)
                begun.assembly.accept(block, apdu[block.data_at : block.data_stop])
        return Given(b"".join(taken), key[0])


def _block_of(datagram: bytes) -> Block | None:
    """The block that a datagram is: one whole wrapper PDU with one in it."""
    apdu = datagram[WPDU_HEAD_OCTETS:]
    if not datagram.startswith(b"\x00\x01") or int.from_bytes(datagram[6:8], "big") != len(apdu) or not is_block(apdu):
        return None
    try:
        return read_block(apdu)
    except ProtocolError:  # damaged: whoever decodes it says why
        return None
