"""Billing windows: which periods of which cycles are due on a day."""

from datetime import date, timedelta
from typing import Final

import msgspec
import polars as pl

from schemas.errors import ContractError

DUE: Final = pl.Schema(
    {
        "cycle": pl.String(),  # name of the cycle and the first day of its period
        "date_from": pl.Date(),
        "date_to": pl.Date(),  # day after the last
        "due_from": pl.Date(),  # first day on which it may be billed
        "due_to": pl.Date(),  # day after the last: later is an alarm
        "state": pl.String(),  # waiting, due, late, done
    }
)


class Cycle(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A monthly billing cycle.

    Args:
        name: What METERS or the operator call it.
        first_day: Day of the month on which a period begins, 1 to 28.
        alignment_days: Days after the end of a period in which late reads are waited for.
        window_days: Days from then in which the bill must be out.
    """

    name: str
    first_day: int = 1
    alignment_days: int = 2
    window_days: int = 5

    def __post_init__(self) -> None:
        if not 1 <= self.first_day <= 28 or self.alignment_days < 0 or self.window_days < 1:
            raise ContractError(f"cycle {self.name!r}: first_day 1 to 28, alignment_days >= 0, window_days >= 1")


def plan(cycles: tuple[Cycle, ...], today: date, billed: frozenset[str], months: int = 2) -> pl.DataFrame:
    """Periods of the cycles that ended in the last months: DUE, by due date and cycle.

    Args:
        cycles: Cycles.
        today: The day that is asked about.
        billed: `cycle` of the periods whose batch is delivered or further.
        months: How many ended periods of each cycle to look back on.
    """
    rows = []
    for cycle in cycles:
        end = date(today.year, today.month, cycle.first_day)
        end = end if end <= today else _before(end)
        for _ in range(months):
            start = _before(end)
            rows.append(_row(cycle, start, end, (today, billed)))
            end = start
    return pl.DataFrame(rows, schema=DUE, orient="row").sort("due_from", "cycle")


def _row(cycle: Cycle, start: date, end: date, of: tuple[date, frozenset[str]]) -> tuple[object, ...]:
    today, billed = of
    name = f"{cycle.name}/{start.isoformat()}"
    due_from = end + timedelta(days=cycle.alignment_days)
    due_to = due_from + timedelta(days=cycle.window_days)
    state = "waiting" if today < due_from else "due" if today < due_to else "late"
    return name, start, end, due_from, due_to, "done" if name in billed else state


def _before(begin: date) -> date:
    return date(begin.year - (begin.month == 1), (begin.month - 2) % 12 + 1, begin.day)
