"""Parameters of a run: what was asked for, by whose rules, with which thresholds."""

from datetime import date, datetime
from typing import Final

import msgspec

from schemas.codes import Channel, NodeKind
from schemas.timegrid import DayType
from validation.rules.sets import RuleSet

MAX_SPAN_DAYS: Final = 3_700
"""Ten years: a longer grid comes from a wrong clock, and would fill memory with missing intervals."""


class BlendConstants(msgspec.Struct, frozen=True):
    """Constants of the blend for one interval length, fitted once on public panels of homes."""

    likeness: float = 0.08
    """Distance (mean absolute logarithm) by which a day may differ around the gap until its weight falls to 1/e."""
    likeness_day: float = 0.12
    likeness_long: float = 0.5
    """The same for gaps beyond `linear_limit_s` and beyond `long_gap_s`, whose edges say less."""
    smoothing: float = 0.1
    """Share that each neighbouring interval has in a like-day mean."""
    quick_hours: float = 1.0
    slow_hours: float = 8.0
    """Times over which quick and slow deviations from like days fade."""
    quick_share: float = 0.6
    own_share: float = 0.27
    """Shares of a deviation that are quick, and an interval's own."""
    line_share: float = 0.2
    """Part of the straight line in a blend within `linear_limit_s`."""
    quantile_share: float = 0.75
    """Part of the profile of one quantile (`validation.quantile_profile`) in a blend, the rest is the mean."""
    quantile_share_short: float = 0.75
    """The same within `linear_limit_s`."""


class Estimation(msgspec.Struct, frozen=True):
    """Limits and constants of the estimators (vee.md section 3)."""

    linear_limit_s: int = 7_200
    """Longest gap that is filled by a line (E2: California)."""
    like_days: int = 10
    """Days of the same type that a like-day mean draws on (E3), and that a blend needs at least."""
    like_reach_days: int = 75
    """Farthest day that a blend looks at: ten Sundays in either direction."""
    like_decay_days: float = 20.0
    """Distance in time at which a day's weight falls to 1/e."""
    other_type_weight: float = 0.3
    """Weight of a day of another type."""
    same_weekday_weight: float = 1.5
    """Weight of a day of the same weekday."""
    long_gap_s: int = 172_800
    """Length above which a gap is long."""
    energy_likeness: float = 0.3
    """Distance (absolute logarithm) in the energy of the gap, where a register tells it, for a weight of 1/e."""
    energy_gap_s: int = 43_200
    """Shortest gap whose energy chooses like days."""
    level_hours: int = 3
    """Measured hours on both sides of a gap whose level is carried into it."""
    hourly: BlendConstants = BlendConstants()
    """Of intervals of an hour and longer."""
    half_hourly: BlendConstants = BlendConstants(
        likeness=0.3, likeness_day=0.3, smoothing=0.2, quick_hours=0.4, quick_share=0.65, own_share=0.28,
        line_share=0.4, quantile_share_short=0.0,
    )  # fmt: skip
    """Of shorter ones."""

    def blend(self, step_s: int) -> BlendConstants:
        """The constants of the blend for an interval length."""
        return self.hourly if step_s >= 3600 else self.half_hourly


class ClassProfile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An average customer of a rate class: thousandths for every interval of a local day, by day type.

    A holiday is a Sunday. The number of values gives the interval length.
    """

    rate_class: str
    channel: Channel
    workday: tuple[int, ...]
    saturday: tuple[int, ...]
    sunday: tuple[int, ...]


class TouPeriod(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A daily period of a time-of-use register. Of several that fit an interval the first counts."""

    register: Channel
    start_s: int = 0
    """Seconds of the wall clock."""
    end_s: int = 86_400
    days: tuple[DayType, ...] = tuple(DayType)
    rate_class: str | None = None
    """None: every rate class."""


class SilenceLimits(msgspec.Struct, frozen=True):
    """When a whole area counts as silent (vee.md section 8: one product's published example)."""

    down_percent: int = 30
    """Fall of the read rate, against the same hour of the seven days before, that makes an area silent."""
    resumed_percent: int = 5
    """How close to normal the read rate is when the area speaks again."""
    devices: int = 100
    """Smallest area that is judged."""
    longest_h: int = 72
    """Estimation waits no longer than this."""


class Silence(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An area that is silent as a whole: its missing intervals are not estimated yet (`validation.silence`)."""

    service: str
    """`electricity` or `volume`."""
    silent_from: datetime
    silent_to: datetime
    """UTC, half open."""
    node_kind: NodeKind | None = None
    node_id: str | None = None
    """None: everything that the head end reads."""


class VeeParams(msgspec.Struct, frozen=True):
    """What a run of VEE is asked for. No clock: `judged_at` comes from the caller."""

    judged_at: datetime
    run_id: str
    grid_from: datetime | None = None
    """UTC, first instant of the grid; None: the first instant of the data."""
    grid_to: datetime | None = None
    """UTC, half open; None: the last instant of the data."""
    estimate_after_s: int | None = None
    """An interval that began less than so long before `judged_at`, and after which nothing of its series has come, is
    still on its way: it gets no final yet. So is what follows the newest value of a series, however old, while less
    time has passed since the series was heard at all: it brings what it kept. And where no date of installation is
    known a series begins with its first value. None: every interval of the grid is judged at once."""
    clock_ahead_s: int | None = None
    """How long before its interval was over a value may have been received (V1: 3 minutes): more, and its clock was
    doubtful; an interval or more, and it was invalid. None: times of reception are no reference, as in files of others
    or of messages that keep none; then V1 is unjudged where the meter does not call its clock invalid."""
    timezone: str = "UTC"
    """Of meters whose master data name none."""
    holidays: tuple[date, ...] = ()
    supply_known: bool = False
    """Outages, and that there are none where none is given, are known: they come from a store that holds some."""
    service_known: bool = False
    """The same of events, which tell who is disconnected."""
    context_days: int = 92
    """Days of data before and after the bounds that serve as history, like days and ends of stretches."""
    rule_sets: tuple[RuleSet, ...] = ()
    """Changes to the catalogue of rules, by rate class, channel and date (`validation.rules.sets`)."""
    gate_months: bool = False
    """V36 judges each local calendar month that the bounds hold whole, once nothing of it is awaited any more; other
    intervals keep what was said of their month before. False: the time between the bounds is the period."""
    tou: tuple[TouPeriod, ...] = ()
    """Calendar of the time-of-use registers: with it, each period is anchored to its own register."""
    silences: tuple[Silence, ...] = ()
    """Areas that are silent: estimation waits for them."""
    final_before: datetime | None = None
    """Estimates of intervals before this instant are final estimates: the market's deadline has passed (E14)."""
    profiles: tuple[ClassProfile, ...] = ()
    """Class profiles, for series without history (E7)."""
    four_eyes_milli: int = 100_000_000
    """Change of energy by one edit, or by the edits of one author to a local day of a series, above which another
    person than the author must approve them: 100 kWh."""
    estimation: Estimation = Estimation()
    odd_cells: tuple[tuple[int, int], ...] = ()
    """Intervals that last another time than the length of their grid, ascending: begin in microseconds since 1970, and
    seconds. Only on the axis of a wall clock (`validation.wall_clock`)."""
    block_cells: int = 400_000
    """Cells of a block: a few matrices of it fit the processor's cache."""
