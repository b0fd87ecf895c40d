"""Link-layer messages to APDUs, a batch at once: wrapper PDUs by their columns, every other layer one by one."""

from typing import Final

import numpy as np

from ingest.dlms.blocks import DATABLOCK, TRANSFER_BLOCK
from ingest.dlms.framing import WPDU_HEAD_OCTETS, unwrap
from ingest.faults import Faults
from ingest.spans import Places, Spans
from schemas.errors import ProtocolError

_VERSION: Final = 1


def unwrap_all(messages: Spans, faults: Faults, other: Places | None = None) -> Spans:
    """The APDU of every message; that of a message with a fault is empty.

    Args:
        messages: Link-layer messages, one a row of the batch.
        other: Messages that are no DLMS and told otherwise: left alone, their APDU empty.
        faults: Receives what `framing.unwrap` refuses, with the byte of the message.
    """
    rows = np.arange(len(messages.start))
    length = messages.length
    is_wrapper = (messages.number(rows, 0, 2) == _VERSION) & (length > WPDU_HEAD_OCTETS)
    whole = messages.number(rows, 6, 2).astype(np.int64) + WPDU_HEAD_OCTETS == length
    first, second = (messages.at(rows, WPDU_HEAD_OCTETS + step) for step in (0, 1))
    is_block = (first == TRANSFER_BLOCK[0]) | (first == DATABLOCK[0]) & (second == DATABLOCK[1])
    fast = is_wrapper & whole & ~is_block
    start = messages.start + WPDU_HEAD_OCTETS
    apdus = Spans(messages.octets, start, np.where(fast, length - WPDU_HEAD_OCTETS, 0))
    if other is not None:
        start[other], fast[other] = messages.start[other], True
    slow = np.flatnonzero(~fast)
    return apdus if not len(slow) else _unwrap_each(messages, apdus, slow, faults)


def _unwrap_each(messages: Spans, apdus: Spans, rows: Places, faults: Faults) -> Spans:
    parts: list[bytes] = []
    for row in rows.tolist():
        try:
            parts.append(unwrap(messages.message(row)).apdu)
        except ProtocolError as error:
            faults.record_error(row, error)
            parts.append(b"")
    return apdus.replaced(rows, parts)
