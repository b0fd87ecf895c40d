"""COSEM date-times of a whole column at once (Blue Book: 12 octets; dlms.md section 5).

UTC = local + deviation. A deviation of 8000 hex says nothing: then the zone of the meter decides.
"""

from typing import Final, Literal, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import polars as pl

from ingest.spans import Flags, Octets
from schemas.codes import Status

Micros: TypeAlias = npt.NDArray[np.int64]

DEVIATION_UNSPECIFIED: Final = -0x8000
DEVIATION_LIMIT_MIN: Final = 720
STATUS_UNSPECIFIED: Final = 0xFF
_INVALID_BITS: Final = 0x09
"""Clock status: bit 0 invalid value, bit 3 invalid clock status set-up (Blue Book)."""
_DOUBTFUL_BIT: Final = 0x02
_DST_BIT: Final = 0x80
_UNKNOWN: Final = 0xFF
_SIDES: Final[tuple[Literal["earliest", "latest"], ...]] = ("earliest", "latest")
_SECOND_US: Final = 1_000_000
_FIRST_YEAR: Final = 1970
_LAST_YEAR: Final = 9998
"""Years that microseconds since 1970 hold, a deviation of twelve hours included."""
_MONTHS_A_ROW: Final = 16


def _calendar() -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """First day (since 1970) and number of days by 16 x year + month; no days where there is no such month."""
    months = np.arange(np.datetime64("1970-01"), np.datetime64("9999-02"))
    starts = months.astype("datetime64[D]").astype(np.int64)
    place = np.arange(len(starts) - 1) // 12 * _MONTHS_A_ROW + np.arange(len(starts) - 1) % 12 + 1
    first, days = np.zeros((2, (_LAST_YEAR + 2 - _FIRST_YEAR) * _MONTHS_A_ROW), np.int32)
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


class Zones(NamedTuple):
    """The zone of each message's meter: a place in `names`, -1 where the meter has none."""

    code: npt.NDArray[np.int32]
    names: tuple[str, ...]

    def take(self, rows: npt.NDArray[np.int64]) -> "Zones":
        """The zones of these messages."""
        return Zones(self.code[rows], self.names)


def read_clocks(octets: Octets, zones: Zones, *, inverted: bool = False) -> Clocks:
    """Every date-time of the column read.

    Args:
        octets: One date-time a row, 12 columns.
        zones: Of each row; used where the deviation is unspecified.
        inverted: The companion standard gives the deviation from UTC to local time.

    Returns:
        One entry a row. The weekday is never used. Hundredths that are not given count as 0; a clock that gives hours
        and minutes but no seconds names no instant.
    """
    words = np.ascontiguousarray(octets).view(">u4").astype(np.int64)
    local, complete = _wall_clock(words[:, 0], words[:, 1], words[:, 2] >> 24)
    deviation = (words[:, 2] >> 8 & 0xFFFF).astype(np.uint16).view(np.int16).astype(np.int64)
    clock_status = octets[:, 11]
    known = clock_status != STATUS_UNSPECIFIED
    dst = known & (clock_status & _DST_BIT > 0)
    unspecified = deviation == DEVIATION_UNSPECIFIED
    signed = -deviation if inverted else deviation
    at = local + signed * 60 * _SECOND_US
    placed = complete & (np.abs(deviation) <= DEVIATION_LIMIT_MIN)
    if unspecified.any():
        at, placed = _place_in_zone(local, complete & unspecified, dst | ~known, zones, (at, placed & ~unspecified))
    invalid = known & (clock_status & _INVALID_BITS > 0)
    return Clocks(at, placed, local, complete, invalid, _status(clock_status, known, invalid, dst))


def _status(clock_status: Octets, known: Flags, invalid: Flags, dst: Flags) -> npt.NDArray[np.uint32]:
    doubtful = known & (clock_status & _DOUBTFUL_BIT > 0)
    return (
        invalid * np.uint32(Status.CLOCK_INVALID)
        | doubtful * np.uint32(Status.CLOCK_DOUBTFUL)
        | dst * np.uint32(Status.DST_ACTIVE)
    ).astype(np.uint32)


def _wall_clock(date: Micros, time: Micros, hundredths: Micros) -> tuple[Micros, Flags]:
    """The wall clock in microseconds as if it were UTC, and whether it is complete and exists in the calendar.

    Args:
        date: year u16, month u8, day u8.
        time: weekday u8 (never used), hour u8, minute u8, second u8.
        hundredths: FF where not given, which counts as 0.
    """
    year, month, day = date >> 16, date >> 8 & 0xFF, date & 0xFF
    hour, minute, second = time >> 16 & 0xFF, time >> 8 & 0xFF, time & 0xFF
    in_range = (year >= _FIRST_YEAR) & (year <= _LAST_YEAR) & (month <= 12)
    place = np.where(in_range, (year - _FIRST_YEAR) * _MONTHS_A_ROW + month, 0)  # month 0 of 1970 has no days
    complete = (day >= 1) & (day <= _MONTH_DAYS[place]) & (hour <= 23) & (minute <= 59) & (second <= 59)
    complete &= (hundredths <= 99) | (hundredths == _UNKNOWN)
    days = _MONTH_START[place] + day - 1
    seconds = days * 86_400 + hour * 3_600 + minute * 60 + second
    return seconds * _SECOND_US + np.where(hundredths == _UNKNOWN, 0, hundredths) * 10_000, complete


def _place_in_zone(
    local: Micros, asked: Flags, first: Flags, zones: Zones, known: tuple[Micros, Flags]
) -> tuple[Micros, Flags]:
    """Wall clocks without deviation placed by the meter's zone.

    Of an hour that occurs twice a clock with the DST bit, or without any status, means the first; one that denies
    the bit the second. An hour that a zone skips names no instant.
    """
    at, placed = known[0].copy(), known[1].copy()
    for code, name in enumerate(zones.names):
        chosen = np.flatnonzero(asked & (zones.code == code))
        if not len(chosen):
            continue
        wall = pl.Series(local[chosen]).cast(pl.Datetime("us"))
        earliest, latest = (_in_zone(wall, name, which) for which in _SIDES)
        at[chosen] = np.where(first[chosen], earliest.fill_null(0).to_numpy(), latest.fill_null(0).to_numpy())
        placed[chosen] = earliest.is_not_null().to_numpy()
    return at, placed


def _in_zone(wall: pl.Series, zone: str, side: Literal["earliest", "latest"]) -> pl.Series:
    return wall.dt.replace_time_zone(zone, ambiguous=side, non_existent="null").dt.epoch("us")
