"""Which rejects of a batch may blow the fuse, and why they were rejected."""

from typing import Final

import numpy as np

from ingest.blocks import Refused
from ingest.enrolment import Enrolment
from ingest.faults import NO_FAULT, REASON_CODE, REASONS, Faults
from ingest.protection import Opened
from ingest.spans import Flags, Places
from schemas.codes import RejectReason

_OUR_OWN_LACK: Final = (RejectReason.KEY_UNKNOWN, RejectReason.LAYOUT_UNKNOWN)
_ANYONE_MAY_REPEAT: Final = (RejectReason.REPLAY, RejectReason.QUARANTINED, RejectReason.KEYS_EXHAUSTED)
"""What a storm's reordering, a recording played again, or the finder of a reused counter's key brings about, and a
message under one wrapped key too many."""


def may_blow_fuse(opened: Opened, meter_row: Places, faults: Faults, enrolment: Enrolment) -> Flags:
    """By message whether a reject of it counts: no outsider can have sent it. See `ingest.decode.Counts`."""
    enrolled = meter_row >= 0
    refused_by_us = np.zeros(len(enrolled), np.bool_)
    for each in _OUR_OWN_LACK:
        refused_by_us |= faults.reason == REASON_CODE[each]
    owes_nothing = faults.reason != REASON_CODE[RejectReason.DOWNGRADE]
    keyless = enrolled & ~opened.headers.ciphered & owes_nothing
    may: Flags = opened.authenticated | keyless | (enrolled & refused_by_us)
    for each in _ANYONE_MAY_REPEAT:
        may &= faults.reason != REASON_CODE[each]
    return may & (len(enrolment.meter_id) > 0)


def by_reason(chosen: Flags, faults: Faults, refused: list[Refused]) -> dict[str, int]:
    """How many of the chosen messages have each reason: their own, or that of the first of their refused parts."""
    reason = faults.reason
    if (reason[chosen] == NO_FAULT).any():
        reason = reason.copy()
        for part in reversed(refused):
            lacking = part.message[faults.reason[part.message] == NO_FAULT]
            reason[lacking] = part.reason
    codes, messages = np.unique(reason[chosen], return_counts=True)
    return {REASONS[code].value: int(number) for code, number in zip(codes.tolist(), messages, strict=True)}
