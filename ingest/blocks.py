"""Rows of a batch before they are frames: columns of numbers, a block a plan, told apart by the message they are of."""

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from ingest.clocks import Micros
from ingest.spans import Flags, Places
from schemas.codes import Channel, EventKind, Origin

NO_TIME: Final = np.iinfo(np.int64).min
"""In a column of microseconds: not known."""
NO_NUMBER: Final = np.iinfo(np.int64).min
"""In a column of event codes: none was sent."""
CHANNELS: Final = tuple(Channel)
CHANNEL_CODE: Final[dict[Channel, int]] = {channel: code for code, channel in enumerate(CHANNELS)}
KINDS: Final = tuple(EventKind)
KIND_CODE: Final[dict[EventKind, int]] = {kind: code for code, kind in enumerate(KINDS)}
ORIGINS: Final = tuple(Origin)
ORIGIN_CODE: Final[dict[Origin, int]] = {origin: code for code, origin in enumerate(ORIGINS)}


class Quantities(NamedTuple):
    """Reads or intervals; of an interval `at` is its start."""

    message: Places
    channel: npt.NDArray[np.int16]
    obis: npt.NDArray[np.int32]  # place in the batch's list of OBIS texts, -1 for null
    at: Micros
    milli: npt.NDArray[np.int64]
    known: Flags  # False: null
    status: npt.NDArray[np.uint32]
    interval_s: npt.NDArray[np.int32]

    def take(self, rows: Places | Flags) -> "Quantities":
        """Some of the rows."""
        return Quantities._make(column[rows] for column in self)


class Instants(NamedTuple):
    """When the values of a message were, once for all values of one instant: start of an interval, or time of a read.

    `length_s` is 0 for reads.
    """

    message: Places
    at: Micros
    length_s: npt.NDArray[np.int64]


class Events(NamedTuple):
    """Events as reported."""

    message: Places
    kind: npt.NDArray[np.int16]
    code: npt.NDArray[np.int64]  # `NO_NUMBER` for null
    origin: npt.NDArray[np.int16]
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

    `own_time`: what each message's own clocks say, for messages without a time of reception.
    """

    intervals: tuple[Quantities, ...]
    reads: tuple[Quantities, ...]
    instants: tuple[Instants, ...]  # of both
    events: tuple[Events, ...]
    refused: tuple[Refused, ...]
    message: Places
    own_time: Micros


class Texts:
    """OBIS texts of a batch, numbered as they come."""

    __slots__ = ("_codes",)

    def __init__(self) -> None:
        self._codes: dict[str, int] = {}

    def code(self, text: str | None) -> int:
        """The number of a text; -1 for none."""
        return -1 if text is None else self._codes.setdefault(text, len(self._codes))

    @property
    def texts(self) -> tuple[str, ...]:
        """All texts by number."""
        return tuple(self._codes)
