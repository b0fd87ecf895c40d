"""Profile-generic buffers (class 7): rows in which meters leave out what has not changed.

A null repeats the column of the row above, a null clock adds the capture period in UTC (local stamps jump over a change
of the clock), a short row repeats its missing last columns, a delta adds to the column in its own width and wraps.
What the first row leaves out cannot be known: it is None, never zero.
"""

from datetime import datetime, timedelta, tzinfo
from typing import Final, NamedTuple

from ingest.dlms.cosem import DateTime, decode_date_time
from ingest.dlms.data import PACKED, Data, DataValue, Tag
from schemas.codes import RejectReason
from schemas.errors import ProtocolError

DELTAS: Final = frozenset(range(Tag.DELTA_INT8, Tag.DELTA_UINT32 + 1))
_SIGNED: Final = frozenset((Tag.INT8, Tag.INT16, Tag.INT32, Tag.INT64))
_UNSIGNED: Final = frozenset((Tag.UINT8, Tag.UINT16, Tag.UINT32, Tag.UINT64, Tag.ENUM))


class ProfileRow(NamedTuple):
    """One capture. `clock` is None where it was left out or there is no clock column; `instant` is UTC.

    `values` are those of the other columns, in their order; None where a value cannot be known.
    """

    clock: DateTime | None
    instant: datetime | None
    values: tuple[DataValue, ...]


class _Column:
    """The newest value of a column, and the tag it had when it was sent whole."""

    __slots__ = ("tag", "value")

    def __init__(self) -> None:
        self.tag: int = Tag.NULL
        self.value: DataValue = None

    def take(self, data: Data) -> DataValue:
        if data.tag in DELTAS:
            self.value = self._moved(data)
        elif data.tag not in (Tag.NULL, Tag.DONT_CARE):
            self.tag, self.value = data.tag, data.value
        return self.value

    def _moved(self, data: Data) -> DataValue:
        if self.tag == Tag.NULL:
            return None
        if self.tag not in _SIGNED | _UNSIGNED or not isinstance(self.value, int) or not isinstance(data.value, int):
            raise ProtocolError(RejectReason.AXDR_TAG, 0, f"a delta on a column of tag {self.tag}")
        bits = 8 * PACKED[self.tag].size
        moved = (self.value + data.value) & ((1 << bits) - 1)
        return moved - (1 << bits) if self.tag in _SIGNED and moved >> (bits - 1) else moved


def decode_profile(
    buffer: Data, capture_period_s: int, *, clock_column: int | None = 0, zone: tzinfo | None = None
) -> list[ProfileRow]:
    """The rows of a profile buffer, whole.

    Args:
        buffer: array (or compact array) of structures.
        capture_period_s: Added to the row above where the clock is null.
        clock_column: Place of the clock in a row; None where there is none.
        zone: Zone of a clock whose deviation is unspecified; without one such a row has no instant.

    Raises:
        ProtocolError: Not an array of structures, a clock that is none, or a delta on a column that holds no integer.
            Its byte is 0: values do not know their places (`locate` does).
    """
    rows = buffer.items
    if rows is None or any(row.items is None for row in rows):
        raise ProtocolError(RejectReason.APDU_MALFORMED, 0, "a profile buffer is an array of structures")
    cells = [row.items or () for row in rows]
    width = max(map(len, cells), default=0)
    columns = [_Column() for _ in range(width)]
    decoded: list[ProfileRow] = []
    instant: datetime | None = None
    period = timedelta(seconds=capture_period_s)
    for row in cells:
        clock = None
        if clock_column is not None and clock_column < width:
            clock = _clock(row, clock_column)
            instant = _instant(clock, instant, period, zone)
        short = (Data(Tag.NULL, None),) * (width - len(row))
        values = [column.take(cell) for column, cell in zip(columns, (*row, *short), strict=True)]
        if clock_column is not None and clock_column < width:
            del values[clock_column]
        decoded.append(ProfileRow(clock, instant, tuple(values)))
    return decoded


def _clock(row: tuple[Data, ...], at: int) -> DateTime | None:
    if at >= len(row) or row[at].tag in (Tag.NULL, Tag.DONT_CARE):
        return None
    value = row[at].value
    if row[at].tag not in (Tag.OCTET_STRING, Tag.DATE_TIME) or not isinstance(value, bytes):
        raise ProtocolError(RejectReason.DATE_TIME, 0, f"a clock of tag {row[at].tag}")
    return decode_date_time(value)


def _instant(
    clock: DateTime | None, previous: datetime | None, period: timedelta, zone: tzinfo | None
) -> datetime | None:
    if clock is not None:
        return clock.utc if zone is None else clock.instant(zone)
    try:
        return None if previous is None else previous + period
    except OverflowError:  # beyond year 9999
        return None
