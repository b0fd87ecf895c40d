"""Link-layer messages to APDUs, a batch at once: wrapper PDUs by their columns, every other layer one by one."""

from collections.abc import Callable
from typing import Final, TypeAlias

import numpy as np

from ingest.dlms.blocks import DATABLOCK, TRANSFER_BLOCK
from ingest.dlms.framing import WPDU_HEAD_OCTETS, check_numbered, is_numbered, unwrap
from ingest.faults import Faults
from ingest.spans import EVERY, Places, Spans
from schemas.errors import ProtocolError

SendsNumbered: TypeAlias = Callable[[int, bytes], bool]
"""Whether the meter of a message (its row) with this APDU may send it in numbered HDLC frames (I)."""
_VERSION: Final = 1
_VERSION_SHIFT, _LENGTH_MASK = np.uint64(48), np.uint64(0xFFFF)
"""Of the eight octets of a wrapper's head, as one number."""


def unwrap_all(messages: Spans, faults: Faults, sends_numbered: SendsNumbered, other: Places | None = None) -> Spans:
    """The APDU of every message; that of a message with a fault is empty.

    Args:
        messages: Link-layer messages, one a row of the batch.
        sends_numbered: See `SendsNumbered`.
        other: Messages that are no DLMS and told otherwise: left alone, their APDU empty.
        faults: Receives what `framing.unwrap` refuses, with the byte of the message.
    """
    head, behind = messages.number(EVERY, 0, WPDU_HEAD_OCTETS), messages.length - WPDU_HEAD_OCTETS
    fast = (head >> _VERSION_SHIFT == _VERSION) & ((head & _LENGTH_MASK).view(np.int64) == behind) & (behind > 0)
    first = messages.at(EVERY, WPDU_HEAD_OCTETS)
    blocks = first == TRANSFER_BLOCK[0]
    datablocks = first == DATABLOCK[0]
    if datablocks.any():
        blocks |= datablocks & (messages.at(EVERY, WPDU_HEAD_OCTETS + 1) == DATABLOCK[1])
    fast &= ~blocks
    start = messages.start + WPDU_HEAD_OCTETS
    if fast.all():
        return Spans(messages.octets, start, behind)
    apdus = Spans(messages.octets, start, np.where(fast, behind, 0))
    if other is not None:
        start[other], fast[other] = messages.start[other], True
    slow = np.flatnonzero(~fast)
    return apdus if not len(slow) else _unwrap_each(messages, apdus, (slow, sends_numbered), faults)


def _unwrap_each(messages: Spans, apdus: Spans, asked: tuple[Places, SendsNumbered], faults: Faults) -> Spans:
    rows, sends_numbered = asked
    parts: list[bytes] = []
    for row in rows.tolist():
        message = messages.message(row)
        try:
            link = unwrap(message)
            if is_numbered(link) and not sends_numbered(row, link.apdu):
                check_numbered(message, link)
            parts.append(link.apdu)
        except ProtocolError as error:
            faults.record_error(row, error)
            parts.append(b"")
    return apdus.replaced(rows, parts)
