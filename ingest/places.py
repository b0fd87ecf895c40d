"""Where in a message, as it came, a byte stands that was named in a part of it: rejects name bytes of their payload."""

from enum import IntEnum
from typing import Final, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from ingest.dlms.blocks import DATABLOCK, TRANSFER_BLOCK
from ingest.dlms.framing import WPDU_HEAD_OCTETS, unwrap
from ingest.dlms.security import has_doubled_title
from ingest.dlms.signing import read_signed
from ingest.dlms.tags import GENERAL_DED, GENERAL_GLO, GENERAL_SIGNING
from ingest.faults import NO_FAULT, REASON_CODE, Faults
from ingest.security_headers import Headers
from ingest.spans import Flags, Places, Spans
from schemas.codes import RejectReason
from schemas.errors import ProtocolError

_OF_A_BYTE: Final = (
    RejectReason.UNKNOWN_APDU, RejectReason.APDU_UNSUPPORTED, RejectReason.APDU_MALFORMED, RejectReason.AXDR_TAG,
    RejectReason.AXDR_LENGTH, RejectReason.AXDR_TRUNCATED, RejectReason.DEPTH, RejectReason.WORK,
    RejectReason.TRAILING_BYTES,
)  # fmt: skip
"""Reasons whose byte 0 is the first of an APDU; byte 0 of any other means the message as a whole."""


class Part(IntEnum):
    """In what part of a message a fault was found: its byte counts there."""

    MESSAGE = 1
    SIGNED_APDU = 2
    APDU = 3
    BODY = 4


class Parts:
    """The part in which the fault of each message was found, noted after each step of one call of one stage."""

    __slots__ = ("found",)

    def __init__(self, messages: int) -> None:
        self.found: npt.NDArray[np.int8] = np.zeros(messages, np.int8)

    def note(self, faults: Faults, part: Part) -> Self:
        """Faults that are new since the last note were found in this part."""
        if faults.any:
            self.found[(faults.reason != NO_FAULT) & (self.found == 0)] = part
        return self


class Located(NamedTuple):
    """What finds the bytes of parts again. `rewritten`: bodies that are not the bytes that were sent, but text."""

    messages: Spans
    headers: Headers
    parts: Parts
    rewritten: Flags

    def of_faults(self, rows: Places, faults: Faults) -> Places:
        """Byte of each message's fault, in the message."""
        at, part = faults.at[rows].astype(np.int64), self.parts.found[rows]
        is_whole = (at == 0) & ~np.isin(faults.reason[rows], [REASON_CODE[each] for each in _OF_A_BYTE])
        found = self._found(rows, at, part)
        return np.where(is_whole | (part == Part.MESSAGE), at, found)

    def of_bodies(self, rows: Places, at: Places) -> Places:
        """These bytes of the bodies of messages, in the messages; 0 stays 0, the message as a whole."""
        return np.where(at == 0, 0, self._found(rows, at, np.full(len(rows), Part.BODY, np.int8)))

    def _found(self, rows: Places, at: Places, part: npt.NDArray[np.int8]) -> Places:
        in_body = (part == Part.BODY) | (part == 0)
        at = at + np.where(in_body & self.headers.ciphered[rows], self.headers.content_at[rows], 0)
        length = self.messages.length[rows]
        found = np.minimum(at + WPDU_HEAD_OCTETS, length)
        for place in np.flatnonzero(~self._is_usual(rows)).tolist():
            found[place] = self._each(int(rows[place]), int(at[place]), int(part[place]))
        return np.where(in_body & self.rewritten[rows], 0, found)

    def _is_usual(self, rows: Places) -> Flags:
        """A whole wrapper PDU whose APDU stands as it is behind its head; all else is read again, one by one."""
        first, second, third = (self.messages.at(rows, WPDU_HEAD_OCTETS + step) for step in range(3))
        usual: Flags = self.messages.number(rows, 0, 2) == 1
        usual &= self.messages.number(rows, 6, 2).astype(np.int64) + WPDU_HEAD_OCTETS == self.messages.length[rows]
        usual &= ~np.isin(first, (TRANSFER_BLOCK[0], GENERAL_SIGNING))
        usual &= ~((first == DATABLOCK[0]) & (second == DATABLOCK[1]))
        usual &= ~(np.isin(first, (GENERAL_GLO, GENERAL_DED)) & (second == 9) & (third == 8))
        return usual

    def _each(self, row: int, at: int, part: int) -> int:
        message = self.messages.message(row)
        try:
            link = unwrap(message)
            if link.apdu[:1] == bytes((GENERAL_SIGNING,)) and part != Part.SIGNED_APDU:
                at += read_signed(link.apdu).content_at
        except ProtocolError:
            return 0  # read by a switch of its meter's type, no link layer
        at += at > 0 and self.headers.title[row] != 0 and has_doubled_title(link.apdu)
        return link.locate(at)
