"""Parameters of a run: what was asked for, by whose rules, with which thresholds."""

from datetime import date, datetime
from typing import Final

import msgspec

from schemas.codes import Channel
from schemas.timegrid import DayType
from validation.rules.sets import RuleSet

MAX_SPAN_DAYS: Final = 3_700
"""Ten years: a longer grid comes from a wrong clock, and would fill memory with missing intervals."""


class Estimation(msgspec.Struct, frozen=True):
    """Limits and constants of the estimators (vee.md section 3)."""

    linear_limit_s: int = 7_200
    """Longest gap that is filled by a line (E2: California)."""
    like_days: int = 10
    """Days of the same type that a like-day mean draws on (E3)."""


class TouPeriod(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A daily period of a time-of-use register. Of several that fit an interval the first counts."""

    register: Channel
    start_s: int = 0
    """Seconds of the wall clock."""
    end_s: int = 86_400
    days: tuple[DayType, ...] = tuple(DayType)
    rate_class: str | None = None
    """None: every rate class."""


class VeeParams(msgspec.Struct, frozen=True):
    """What a run of VEE is asked for. No clock: `judged_at` comes from the caller."""

    judged_at: datetime
    run_id: str
    grid_from: datetime | None = None
    """UTC, first instant of the grid; None: the first instant of the data."""
    grid_to: datetime | None = None
    """UTC, half open; None: the last instant of the data."""
    timezone: str = "UTC"
    """Of meters whose master data name none."""
    holidays: tuple[date, ...] = ()
    context_days: int = 92
    """Days of data before and after the bounds that serve as history, like days and ends of stretches."""
    fallback_limit_w: int = 100_000
    """Power that no customer of unknown fuse exceeds, before the multiplier; tells a rollover from a reset."""
    rule_sets: tuple[RuleSet, ...] = ()
    """Changes to the catalogue of rules, by rate class, channel and date (`validation.rules.sets`)."""
    tou: tuple[TouPeriod, ...] = ()
    """Calendar of the time-of-use registers: with it, each period is anchored to its own register."""
    four_eyes_milli: int = 100_000_000
    """Change of energy by one edit above which another person than its author must approve it: 100 kWh."""
    estimation: Estimation = Estimation()
    block_cells: int = 400_000
    """Cells of a block: a few matrices of it fit the processor's cache."""
