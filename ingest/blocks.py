"""Rows of a batch before they are frames: numbers by message, row and column, a block a plan."""

from collections.abc import Iterable
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from ingest.clocks import Micros
from ingest.spans import Flags, Places
from schemas.codes import Channel, EventKind, Origin

NO_TIME: Final = np.iinfo(np.int64).min
"""In a column of microseconds: not known."""
NO_NUMBER: Final = np.iinfo(np.int64).min
"""In a column of event codes: none was sent."""
CODE_BITS: Final = 32
"""Of an event's code in EVENTS."""
CHANNEL_CODE: Final[dict[Channel, int]] = {channel: code for code, channel in enumerate(Channel)}
KIND_CODE: Final[dict[EventKind, int]] = {kind: code for code, kind in enumerate(EventKind)}
ORIGIN_CODE: Final[dict[Origin, int]] = {origin: code for code, origin in enumerate(Origin)}


class Quantities(NamedTuple):
    """Reads or intervals of equal messages: each has the same rows (instants) of the same columns (channels)."""

    message: Places  # row of the batch
    at: Micros  # by message and row: start of an interval, or time of a read
    status: npt.NDArray[np.uint32]  # by message and row
    interval_s: npt.NDArray[np.int32]  # by message; 0 for reads
    milli: npt.NDArray[np.int64]  # by message, row and column
    channel: npt.NDArray[np.uint8]  # by column
    obis: npt.NDArray[np.int32]  # by column: place in the batch's list of OBIS texts, -1 for null
    unknown: Flags | None = None  # by message, row and column: null. None: nowhere
    kept: Flags | None = None  # by message, row and column: becomes a row. None: all

    def take(self, rows: Flags) -> "Quantities":
        """Those of some of the messages."""
        return self._replace(
            message=self.message[rows],
            at=self.at[rows],
            status=self.status[rows],
            interval_s=self.interval_s[rows],
            milli=self.milli[rows],
            unknown=None if self.unknown is None else self.unknown[rows],
            kept=None if self.kept is None else self.kept[rows],
        )

    def messages_with_rows(self) -> Places:
        """Messages of which at least one value becomes a row."""
        return self.message if self.kept is None else self.message[self.kept.any(axis=(1, 2))]


class Events(NamedTuple):
    """Events as reported."""

    message: Places
    kind: npt.NDArray[np.uint8]
    code: npt.NDArray[np.int64]  # `NO_NUMBER` for null
    origin: npt.NDArray[np.uint8]
    at: Micros


class Refused(NamedTuple):
    """Values of a message that could not become rows, for one reason."""

    message: Places
    reason: int
    at: int
    values: npt.NDArray[np.int64]
    detail: str


class Cut(NamedTuple):
    """Everything that one plan cut from the messages of one group.

    `own_time`: what each message's own clocks say, for messages without a time of reception. `silent`: messages that
    are understood though they may have no row, because nothing has happened.
    """

    intervals: tuple[Quantities, ...]
    reads: tuple[Quantities, ...]
    events: tuple[Events, ...]
    refused: tuple[Refused, ...]
    message: Places
    own_time: Micros
    silent: Places


def once(column: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """A column by message, or its first entry where all messages share one (`slots.shared`)."""
    return column if column.strides[0] else column[:1]


class Texts:
    """OBIS texts of a batch, numbered as they come."""

    __slots__ = ("_codes",)

    def __init__(self) -> None:
        self._codes: dict[str, int] = {}

    def codes(self, texts: Iterable[str | None]) -> npt.NDArray[np.int32]:
        """The numbers of texts; -1 for none."""
        known = self._codes
        return np.array([-1 if text is None else known.setdefault(text, len(known)) for text in texts], np.int32)

    @property
    def texts(self) -> tuple[str, ...]:
        """All texts by number."""
        return tuple(self._codes)
