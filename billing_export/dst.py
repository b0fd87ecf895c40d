"""Daylight saving rules of a zone as ESPI writes them: bit fields in hexadecimal."""

from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from schemas.errors import ContractError
from schemas.timegrid import zone

NO_RULE: Final = "FFFFFFFF"
"""The zone keeps one time all year (ESPI, DstRuleType)."""
_YEARS: Final = 5
_LAST: Final = 7


class DstRules(NamedTuple):
    """LocalTimeParameters of a zone in a year."""

    start: str
    end: str
    offset_s: int
    """What the clock is put forward."""
    zone_offset_s: int
    """Standard time less UTC."""


def dst_rules(timezone: str, year: int) -> DstRules:
    """Rules of a zone, from its changes in `year` and the four years after it.

    Bits: 31–28 month, 27–25 which (1 on or after the day, 2 to 6 first to fifth, 7 last such weekday), 24–20 day of
    the month, 19–17 weekday (Monday 1), 16–12 hour, 11–0 second of the hour, on the wall clock before the change.

    Raises:
        ContractError: There is no such zone, or its changes follow no rule of this form.
    """
    years = [_changes(timezone, year + step) for step in range(_YEARS)]
    standard = min(_offset(timezone, datetime(year, month, 1, tzinfo=UTC)) for month in (1, 7))
    if not years[0]:
        return DstRules(NO_RULE, NO_RULE, 0, standard)
    forward = [change for some in years for change in some if change.step_s > 0]
    back = [change for some in years for change in some if change.step_s < 0]
    return DstRules(_rule(timezone, forward), _rule(timezone, back), abs(forward[0].step_s), standard)


class _Change(NamedTuple):
    wall: datetime
    step_s: int


def _offset(timezone: str, at: datetime) -> int:
    offset = at.astimezone(zone(timezone)).utcoffset()
    return int(offset.total_seconds()) if offset is not None else 0


def _changes(timezone: str, year: int) -> list[_Change]:
    found = []
    day = datetime(year, 1, 1, tzinfo=UTC)
    while day.year == year:
        before, after = _offset(timezone, day), _offset(timezone, day + timedelta(days=1))
        if before != after:
            low, high = day, day + timedelta(days=1)
            while high - low > timedelta(seconds=1):
                middle = (low + (high - low) / 2).replace(microsecond=0)
                low, high = (middle, high) if _offset(timezone, middle) == before else (low, middle)
            found.append(_Change((high + timedelta(seconds=before)).replace(tzinfo=None), after - before))
        day += timedelta(days=1)
    return found


def _rule(timezone: str, changes: list[_Change]) -> str:
    walls = [change.wall for change in changes]
    if len(walls) < _YEARS or len({(wall.month, wall.isoweekday(), wall.time()) for wall in walls}) != 1:
        raise ContractError(f"timezone {timezone!r}: its clock changes follow no rule that ESPI can write")
    nth = {(wall.day - 1) // 7 for wall in walls}
    last = all((wall + timedelta(days=7)).month != wall.month for wall in walls)
    if not last and len(nth) != 1:
        raise ContractError(f"timezone {timezone!r}: its clock changes follow no rule that ESPI can write")
    which = _LAST if last else nth.pop() + 2
    wall = walls[0]
    second = wall.minute * 60 + wall.second
    return f"{wall.month << 28 | which << 25 | wall.isoweekday() << 17 | wall.hour << 12 | second:08X}"
