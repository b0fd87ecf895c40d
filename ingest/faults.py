"""Why messages of a batch cannot become rows, kept beside the batch: one entry a message, the first fault wins."""

from typing import Final, Self

import numpy as np
import numpy.typing as npt

from ingest.spans import Flags, Places
from schemas.codes import RejectReason
from schemas.errors import ProtocolError

NO_FAULT: Final = -1
REASONS: Final = tuple(RejectReason)
REASON_CODE: Final[dict[RejectReason, int]] = {reason: code for code, reason in enumerate(REASONS)}


class Faults:
    """Reason, byte and detail of each message of one batch; owned by one call of one stage.

    `any`: some message may have a fault. Without, nobody need look which.
    """

    __slots__ = ("any", "at", "detail", "reason")

    def __init__(self, messages: int) -> None:
        self.any = False
        self.reason: npt.NDArray[np.int16] = np.full(messages, NO_FAULT, np.int16)
        self.at: npt.NDArray[np.int32] = np.zeros(messages, np.int32)
        self.detail: dict[int, str] = {}

    def usable(self) -> Places:
        """Messages without a fault so far, ascending."""
        return np.flatnonzero(self.reason == NO_FAULT) if self.any else np.arange(len(self.reason))

    def record(self, rows: Places, reason: RejectReason, at: int | Places = 0, detail: str = "") -> None:
        """These messages have this fault, unless they had one before."""
        if not len(rows):
            return
        self.any = True
        fresh = self.reason[rows] == NO_FAULT
        chosen = rows[fresh]
        self.reason[chosen] = REASON_CODE[reason]
        self.at[chosen] = at if isinstance(at, int) else at[fresh]
        if detail:
            self.detail.update(dict.fromkeys(chosen.tolist(), detail))

    def record_where(self, rows: Places, wrong: Flags, reason: RejectReason, at: int = 0, detail: str = "") -> Places:
        """Those of the rows that are wrong have this fault; the others come back."""
        if wrong.any():
            self.record(rows[wrong], reason, at, detail)
            return rows[~wrong]
        return rows

    def record_error(self, row: int, error: ProtocolError, offset: int = 0) -> None:
        """A message has the fault that a scalar decoder found, `offset` bytes into the message."""
        self.any = True
        if self.reason[row] == NO_FAULT:
            self.reason[row] = REASON_CODE[error.reason]
            self.at[row] = error.at + offset
            if error.detail:
                self.detail[row] = error.detail

    def adopt(self, rows: Places, other: Self) -> None:
        """These messages have the faults that they have there, unless they had one before."""
        if not other.any or not len(rows):
            return
        self.any = True
        for row in rows[self.reason[rows] == NO_FAULT].tolist():
            self.reason[row], self.at[row] = other.reason[row], other.at[row]
            if row in other.detail:
                self.detail[row] = other.detail[row]

    def copy(self) -> Self:
        """The same faults, to be added to without touching these."""
        other = type(self)(len(self.reason))
        if self.any:
            other.any = True
            other.reason, other.at, other.detail = self.reason.copy(), self.at.copy(), dict(self.detail)
        return other
