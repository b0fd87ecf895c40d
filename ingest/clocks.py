"""COSEM date-times of a whole column at once (Blue Book: 12 octets; dlms.md section 5).

UTC = local + deviation. A deviation of 8000 hex says nothing: then the zone of the meter decides.
"""

from typing import Any, Final, Literal, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import polars as pl

from ingest.dlms.cosem import DEVIATION_UNSPECIFIED, MAX_DEVIATION_MIN
from ingest.spans import Flags
from schemas.codes import Status

Micros: TypeAlias = npt.NDArray[np.int64]

STATUS_UNSPECIFIED: Final = 0xFF
_INVALID_BITS: Final = 0x09
"""Clock status: bit 0 invalid value, bit 3 invalid clock status set-up (Blue Book)."""
_DOUBTFUL_BIT: Final = 0x02
_DST_BIT: Final = 0x80
_UNKNOWN: Final = 0xFF
_SIDES: Final[tuple[Literal["earliest", "latest"], ...]] = ("earliest", "latest")
_SECOND_US: Final = 1_000_000
_MINUTE_US: Final = 60 * _SECOND_US
_HALF_HOUR_US: Final = 30 * _MINUTE_US
"""How far a meter's clock may be ahead, and its message late, where an hour occurs twice: each has half of it."""
_DAY_US: Final = 86_400 * _SECOND_US
_MANY: Final = 1 << 12
"""Numbers of which it is cheaper to ask whether all are one than to compute with each."""
_TO_HIGH_BIT: Final = np.uint32((0x7F - 23) << 16 | (0x7F - 59) << 8 | (0x7F - 59))
_HIGH_BITS: Final = np.uint32(0x808080)
_FIRST_YEAR: Final = 1970
_LAST_YEAR: Final = 9998
"""Years that microseconds since 1970 hold, a deviation of fourteen hours included."""


def _calendar() -> tuple[npt.NDArray[np.int32], npt.NDArray[np.uint8]]:
    """First day (since 1970) and number of days by year x 16 + month; no days where there is no such month."""
    months = np.arange(f"{_FIRST_YEAR}-01", f"{_LAST_YEAR + 1}-02", dtype="datetime64[M]")
    starts = months.astype("datetime64[D]").astype(np.int64)
    years, month = np.divmod(np.arange(len(starts) - 1), 12)
    place = (years + _FIRST_YEAR) << 4 | month + 1
    first, days = np.zeros(1 << 20, np.int32), np.zeros(1 << 20, np.uint8)
    first[place], days[place] = starts[:-1], np.diff(starts)
    return first, days


_MONTH_START, _MONTH_DAYS = _calendar()


class Clocks(NamedTuple):
    """What a column of date-times says."""

    at: Micros  # microseconds since 1970 UTC; meaningless where not `placed`
    placed: Flags  # the octets name an instant: no wildcard, and the deviation is given or the zone known
    local: Micros  # the wall clock as if it were UTC
    complete: Flags  # the wall clock is complete and exists in the calendar
    invalid: Flags  # the clock says of itself that it is not to be believed
    status: npt.NDArray[np.uint32]  # schemas.codes.Status
    other: Micros  # the other instant of a wall clock that a zone has twice; elsewhere `at`


def _status_table() -> tuple[Flags, npt.NDArray[np.uint32]]:
    """By clock status octet: whether the clock calls itself invalid, and our status bits. FF says nothing."""
    octet = np.arange(256)
    known = octet != STATUS_UNSPECIFIED
    invalid = known & (octet & _INVALID_BITS > 0)
    bits = invalid * int(Status.CLOCK_INVALID)
    bits = bits | (known & (octet & _DOUBTFUL_BIT > 0)) * int(Status.CLOCK_DOUBTFUL)
    bits = bits | (known & (octet & _DST_BIT > 0)) * int(Status.DST_ACTIVE)
    return invalid, bits.astype(np.uint32)


_IS_INVALID, _STATUS_OF = _status_table()


class Zones(NamedTuple):
    """The zone of each message's meter: a place in `names`, -1 where the meter has none."""

    code: npt.NDArray[np.int32]
    names: tuple[str, ...]

    def take(self, rows: npt.NDArray[np.int64]) -> "Zones":
        """The zones of these messages."""
        return Zones(self.code[rows], self.names)


def read_clocks(words: npt.NDArray[np.uint32], zones: Zones, *, inverted: bool = False) -> Clocks:
    """Every date-time of the column read.

    Args:
        words: One date-time a row, its 12 octets as three big-endian numbers.
        zones: Of each row; used where the deviation is unspecified.
        inverted: The companion standard gives the deviation from UTC to local time.

    Returns:
        One entry a row. The weekday is never used. Hundredths that are not given count as 0; a clock that gives hours
        and minutes but no seconds names no instant.
    """
    last = _one_if_same(words[:, 2])  # the deviation and the status of a fleet are the same far and wide
    local, complete = _wall_clock(words[:, 0], words[:, 1], last >> np.uint32(24))
    deviation = (last >> np.uint32(8)).astype(np.uint16).view(np.int16).astype(np.int64)
    status = last.astype(np.uint8)
    at = local + deviation * (-_MINUTE_US if inverted else _MINUTE_US)
    placed = complete & (np.abs(deviation) <= MAX_DEVIATION_MIN)
    unspecified = deviation == DEVIATION_UNSPECIFIED
    other = at
    if unspecified.any():
        first = _for_all((status == STATUS_UNSPECIFIED) | (status & _DST_BIT > 0), len(words))
        at, placed, other = _place_in_zone(local, complete & unspecified, first, zones, (at, placed & ~unspecified))
    invalid, bits = _for_all(_IS_INVALID[status], len(words)), _for_all(_STATUS_OF[status], len(words))
    return Clocks(at, placed, local, complete, invalid, bits, other)


def _one_if_same(numbers: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint32]:
    """The first alone where all of many are the same: what is computed of it holds for all."""
    return numbers[:1] if len(numbers) >= _MANY and (numbers == numbers[:1]).all() else numbers


def _for_all(column: npt.NDArray[Any], rows: int) -> npt.NDArray[Any]:
    return column if len(column) == rows else np.full(rows, column[0])


def by_reception(clocks: Clocks, received: Micros) -> Clocks:
    """Date-times of an hour that occurs twice, in the one around which the message was heard.

    A clock that says that DST is active means the first hour whenever it was heard. Reception half an hour before the
    first instant or after the second one, or not known, settles nothing: then the status alone tells.

    Args:
        clocks: By message, or by message and row.
        received: Of each message.
    """
    if np.may_share_memory(clocks.at, clocks.other):  # no wall clock was placed by a zone
        return clocks
    early, late = np.minimum(clocks.at, clocks.other), np.maximum(clocks.at, clocks.other)
    heard = received.reshape(-1, *(1 for _ in clocks.at.shape[1:]))
    near = (heard >= early - _HALF_HOUR_US) & (heard < late + _HALF_HOUR_US)
    near &= clocks.status & int(Status.DST_ACTIVE) == 0
    at = np.where(near, np.where(heard >= late - _HALF_HOUR_US, late, early), clocks.at)
    return clocks._replace(at=at, other=early + late - at)


def rise(at: Micros) -> bool:
    """Every row rises from column to column. Looked at end to end, or once where all are one: short rows are slow."""
    alike = at.strides[0] == 0
    end_to_end = (at[:1] if alike else at).reshape(-1)
    rises = end_to_end[1:] > end_to_end[:-1]
    rises[at.shape[1] - 1 :: at.shape[1]] = True
    return bool(rises.all())


def in_order(clocks: Clocks) -> Clocks:
    """Date-times by message and row, those of an hour that occurs twice each in the one that keeps the rows in order.

    A log is written in its order, or the other way round. Where a meter does not say which hour it means, or says the
    same of both, its rows would stand in one of them twice and in the other never.
    """
    if rise(clocks.at):
        return clocks
    at, other = clocks.at.copy(), clocks.other
    rows = np.flatnonzero((at[:, 1:] <= at[:, :-1]).any(axis=1) & (other != at).any(axis=1))
    rising = at[rows, 0] <= at[rows, -1]
    for step, chosen in ((1, rows[rising]), (-1, rows[~rising])):
        at[chosen] = _risen(at[chosen, ::step], other[chosen, ::step])[:, ::step]
    return clocks._replace(at=at)


def _risen(at: Micros, other: Micros) -> Micros:
    """Of each row its instant, or the other one where only that lies behind the row before or before the next."""
    for row in range(1, at.shape[1]):
        later = (at[:, row] <= at[:, row - 1]) & (other[:, row] > at[:, row - 1])
        at[later, row] = other[later, row]
    for row in range(at.shape[1] - 2, -1, -1):
        earlier = (at[:, row] >= at[:, row + 1]) & (other[:, row] < at[:, row + 1])
        at[earlier, row] = other[earlier, row]
    return at


def _wall_clock(
    date: npt.NDArray[np.uint32], time: npt.NDArray[np.uint32], hundredths: npt.NDArray[np.uint32]
) -> tuple[Micros, Flags]:
    """The wall clock in microseconds as if it were UTC, and whether it is complete and exists in the calendar.

    Args:
        date: year u16, month u8, day u8.
        time: weekday u8 (never used), hour u8, minute u8, second u8.
        hundredths: FF where not given, which counts as 0.
    """
    date = _one_if_same(date)
    place = (date >> np.uint32(12) & np.uint32(0xFFFF0)) | (date >> np.uint32(8) & np.uint32(0xF))
    day = date.astype(np.uint8) - np.uint8(1)  # day 0 wraps to 255, which no month has
    of_day = time & np.uint32(0xFFFFFF)
    # Three comparisons in one: a field above its limit carries into its byte's highest bit.
    beyond = ((of_day + _TO_HIGH_BIT) | of_day) & _HIGH_BITS
    complete = (day < _MONTH_DAYS[place]) & (beyond | date & np.uint32(0xF000) == 0)
    complete &= (hundredths <= 99) | (hundredths == _UNKNOWN)
    seconds = (of_day >> np.uint32(16)) * np.uint32(3600) + (of_day >> np.uint32(8) & np.uint32(0xFF)) * np.uint32(60)
    seconds += of_day & np.uint32(0xFF)
    micros = (_MONTH_START[place] + day).astype(np.int64) * _DAY_US + seconds.astype(np.int64) * _SECOND_US
    sent = np.where(hundredths == _UNKNOWN, np.uint32(0), hundredths)
    return micros + sent.astype(np.int64) * 10_000 if sent.any() else micros, complete


def _place_in_zone(
    local: Micros, asked: Flags, first: Flags, zones: Zones, known: tuple[Micros, Flags]
) -> tuple[Micros, Flags, Micros]:
    """Wall clocks without deviation placed by the meter's zone.

    Of an hour that occurs twice a clock with the DST bit, or without any status, means the first; one that denies
    the bit the second. An hour that a zone skips names no instant. The third is the instant that was not meant.
    """
    at, placed, other = known[0].copy(), known[1].copy(), known[0].copy()
    for code, name in enumerate(zones.names):
        chosen = np.flatnonzero(asked & (zones.code == code))
        if not len(chosen):
            continue
        wall = pl.Series(local[chosen]).cast(pl.Datetime("us"))
        earliest, latest = (_in_zone(wall, name, which) for which in _SIDES)
        sides = (earliest.fill_null(0).to_numpy(), latest.fill_null(0).to_numpy())
        at[chosen], other[chosen] = np.where(first[chosen], sides, sides[::-1])
        placed[chosen] = earliest.is_not_null().to_numpy()
    return at, placed, other


def _in_zone(wall: pl.Series, zone: str, side: Literal["earliest", "latest"]) -> pl.Series:
    return wall.dt.replace_time_zone(zone, ambiguous=side, non_existent="null").dt.epoch("us")
