"""Parameters of a run: what was asked for, by whose rules, with which thresholds."""

from datetime import date, datetime
from typing import Final

import msgspec

MAX_SPAN_DAYS: Final = 3_700
"""Ten years: a longer grid comes from a wrong clock, and would fill memory with missing intervals."""


class Estimation(msgspec.Struct, frozen=True):
    """Limits and constants of the estimators (vee.md section 3)."""

    linear_limit_s: int = 7_200
    """Longest gap that is filled by a line (E2: California)."""
    like_days: int = 10
    """Days of the same type that a like-day mean draws on (E3)."""


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
    estimation: Estimation = Estimation()
    block_cells: int = 400_000
    """Cells of a block: a few matrices of it fit the processor's cache."""
