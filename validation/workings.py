"""What stands behind an estimate: its neighbours or like days, and the register that it met, in words and numbers."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Final, NamedTuple

import msgspec
import numpy as np
import polars as pl

from schemas.codes import Channel, Method
from schemas.frames import CHANNEL, UTC_US
from validation.anchor import WHOLE
from validation.blend import Like, Pieces, like_of
from validation.block import ABSENT, Runs, find_runs
from validation.estimate import METHODS, NO_METHOD, pieces_of
from validation.like_days import like_slots
from validation.like_weights import day_factors, running_sums
from validation.params import Estimation, VeeParams
from validation.reads import TOU_OF
from validation.repair import Workings
from validation.vee import VeeInputs, judged_blocks, lay_blocks
from validation.wall_clock import WallClock, wall_clocks
from validation.wall_rows import on_wall, params_on_wall

_NAMED_DAYS: Final = 3
"""Like days that a sentence names; of the others it says how many there are."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_SCHEMA: Final = pl.Schema(
    {"channel": CHANNEL, "interval_start": UTC_US, "estimate_milli": pl.Int64(), "behind": pl.String()}
)


def workings(inputs: VeeInputs, params: VeeParams, meter_id: str, span: tuple[datetime, datetime]) -> pl.DataFrame:
    """What each estimate of a meter between two instants came from.

    Args:
        inputs: The meter's own rows, and those of its check meter.
        params: Of the run, with its bounds.
        meter_id: The meter.
        span: UTC, half open.

    Returns:
        `channel`, `interval_start`, `estimate_milli` (null where there is none), `behind`: a sentence in which
        quantities are primary, in thousandths, and instants UTC.
    """
    for clock, mine in wall_clocks(inputs.intervals, inputs.reads, inputs.meters, params):
        if meter_id in mine:
            ends = clock.wall(pl.Series(span, dtype=UTC_US))
            given = VeeInputs(**on_wall(clock, inputs._asdict()))
            on_axis = _Axis(given, params_on_wall(clock, params), (ends[0], ends[1]), clock)
            return _workings(on_axis, meter_id)
    return _workings(_Axis(inputs, params, span, None), meter_id)


class _Axis(NamedTuple):
    """What is asked, on the axis of UTC or of a wall clock."""

    inputs: VeeInputs
    params: VeeParams
    span: tuple[datetime, datetime]
    clock: WallClock | None


def _workings(asked: _Axis, meter_id: str) -> pl.DataFrame:
    inputs, params, span, clock = asked
    run = lay_blocks(inputs, params)
    meters = run.source.fleet.installs["meter_id"]
    found: list[tuple[Channel, datetime, int | None, str]] = []
    for _, block, repaired in judged_blocks(run, params):
        mine = np.flatnonzero((meters.gather(block.master.install) == meter_id).to_numpy())
        low, high = (
            -((_EPOCH - at + timedelta(seconds=block.phase_s)) // timedelta(seconds=block.step_s)) - block.first_slot
            for at in span
        )
        row, slot = repaired.workings.draft.row, repaired.workings.draft.slot
        which = np.flatnonzero(np.isin(row, mine) & (slot >= low) & (slot < high))
        if len(which):
            told = _Told(repaired.workings, params.estimation, clock)
            value = repaired.workings.anchored.estimates.value.tolist()
            found += [
                (
                    block.channel,
                    told.begins(int(row[one]), int(slot[one])),
                    None if value[one] == ABSENT else value[one],
                    told.behind(int(one)),
                )
                for one in which.tolist()
            ]
    return pl.DataFrame(found, schema=_SCHEMA, orient="row")


class _Told:
    """Sentences about the estimates of one block."""

    def __init__(self, behind: Workings, settings: Estimation, clock: WallClock | None) -> None:
        self._behind, self._block, self._settings, self._clock = behind, behind.block, settings, clock
        self._pieces = pieces_of(behind.block, behind.gaps, behind.known)
        self._gaps = find_runs(behind.gaps)
        self._blends: dict[int, Like] = {}

    def instant(self, slot: int) -> datetime:
        """When an interval begins, by UTC."""
        return self._by_utc(self._begin(slot))

    def begins(self, row: int, slot: int) -> datetime:
        """When the final of an interval begins, by UTC: a part of one later than the interval."""
        begins = self._block.begins_us(np.array([row]), np.array([slot]))
        return self._by_utc(_EPOCH + timedelta(microseconds=int(begins[0])))

    def behind(self, one: int) -> str:
        """Inputs of an estimate, and what became of it."""
        parts = [*self._inputs(one), self._odd(int(self._behind.draft.slot[one])), *self._register(one)]
        return "; ".join(part for part in parts if part)

    def _begin(self, slot: int) -> datetime:
        return _EPOCH + timedelta(seconds=(self._block.first_slot + slot) * self._block.step_s + self._block.phase_s)

    def _by_utc(self, at: datetime) -> datetime:
        if self._clock is None:
            return at
        instant: datetime = self._clock.utc(pl.Series([at], dtype=UTC_US))[0]
        return instant

    def _odd(self, slot: int) -> str:
        if self._clock is None:
            return ""
        seconds = int(self._clock.length_s(pl.Series([self._begin(slot)], dtype=UTC_US))[0])
        return "" if seconds == self._block.step_s else f"for the {seconds} s that the interval lasts"

    def _inputs(self, one: int) -> Iterator[str]:
        draft = self._behind.draft
        row, slot, code = int(draft.row[one]), int(draft.slot[one]), int(draft.method[one])
        gap = _run_around(self._gaps, row, slot)
        yield f"gap of {gap[1] - gap[0]} from {_stamp(self.instant(gap[0]))} to {_stamp(self.instant(gap[1]))}"
        if code == NO_METHOD:
            yield "no estimator had an input"
            return
        method = METHODS[code]
        value = draft.value[one]
        if self._behind.fixed[one]:
            yield f"a share of {value} of the long interval that ends the gap, which the meter sent as one value"
        elif method is Method.LINEAR:
            yield f"{self._ends(row, gap)}, which gives {value}"
        elif method is Method.CHECK_METER:
            yield f"the check meter measured {value}"
        elif method in (Method.BLEND, Method.MEAN_LIKE_DAY, Method.LIKE_DAY):
            yield f"{self._like_days(row, slot, gap)}, which gives {value}"
        elif method is Method.FLAT:
            serving = self._behind.serving[row]
            yield f"the mean of {int(serving.sum())} measured values, which gives {value}"
        else:
            yield f"which gives {value}"

    def _ends(self, row: int, gap: tuple[int, int]) -> str:
        ends = ((gap[0] - 1, "before"), (gap[1], "behind"))
        inside = [(at, where) for at, where in ends if 0 <= at < self._block.shape[1]]
        told = [
            f"{self._block.value[row, at]} at {_stamp(self.instant(at))} {where}"
            for at, where in inside
            if self._behind.serving[row, at]
        ]
        return "between " + (" and ".join(told) or "ends that may not serve")

    def _like_days(self, row: int, slot: int, gap: tuple[int, int]) -> str:
        """Of a blend the days that weigh most; else the days whose mean was taken, the nearest first."""
        like, cell = self._blend_around(row, slot)
        if not np.isnan(like.mean).any():
            share, value, days = like.share[0, cell], like.value[0, cell], like.day[0, cell]
            order = np.argsort(-share, kind="stable")[:_NAMED_DAYS]
            parts = np.rint(100 * share / share.sum()).astype(np.int64)
            named = [f"{self._date(int(days[at]))} ({parts[at]} %, {int(value[at])})" for at in order if share[at] > 0]
            text = f"{int((share > 0).sum())} like days by weight, most of all {', '.join(named)}"
            short = (gap[1] - gap[0]) * self._block.step_s <= self._settings.linear_limit_s
            return f"{text}, and the line {self._ends(row, gap)}" if short else text
        cells = np.array([row]), np.array([slot])
        for same_kind in (True, False):
            picked, count = like_slots(
                self._block, cells, self._behind.serving, self._settings.like_days, same_kind=same_kind
            )
            if count[0]:
                break
        slots = picked[0, : int(count[0])]
        named = [
            f"{self._date(int(self._block.days.of[at]))} ({self._block.value[row, at]})" for at in slots[:_NAMED_DAYS]
        ]
        kind = "of the same type" if same_kind else "of any type"
        return f"the mean of {len(slots)} days {kind}, the nearest {', '.join(named)}"

    def _blend_around(self, row: int, slot: int) -> tuple[Like, int]:
        """What like days say of the piece around a cell, and the place of the cell in it."""
        runs, energy = self._pieces
        at = int(np.flatnonzero((runs.row == row) & (runs.start <= slot) & (slot < runs.stop))[0])
        if at not in self._blends:
            source = self._behind.serving, running_sums(self._block, self._behind.serving)
            piece = Pieces(runs.pick(np.array([at])), energy[at : at + 1])
            factors = day_factors(self._block, self._settings)
            few = len(self._block.days.kind) <= self._settings.like_days
            self._blends[at] = _no_like() if few else like_of(self._block, piece, source, factors, self._settings)
        return self._blends[at], slot - int(runs.start[at])

    def _register(self, one: int) -> Iterator[str]:
        """The reads at both ends, the advance, and what it left for the estimates."""
        anchored = self._behind.anchored
        stretch = int(anchored.stretch[one])
        if stretch < 0:
            if not self._behind.fixed[one]:
                yield "not anchored: no two usable register reads enclose it"
            return
        span, advances, tou, values = self._block.stretches
        advance, end = int(advances[stretch]), int(values[stretch])
        begin, wrap = end - advance, int(self._block.master.wrap[span.row[stretch]])
        if begin < 0 and wrap != ABSENT:
            begin += wrap
        first, last = (_stamp(self.instant(int(at[stretch]))) for at in (span.start, span.stop))
        yield f"register {begin} at {first} and {end} at {last}, advance {advance}, known {anchored.known[stretch]}"
        part = int(anchored.part[one])
        if part != WHOLE:
            register = TOU_OF[self._block.channel][part]
            yield f"time-of-use register {register.value}, advance {tou[stretch, part]}"
        due = int(anchored.due[one])
        if due == ABSENT:
            yield f"{advance - anchored.known[stretch]} left, less than nothing: not moved"
        else:
            mates = int(((anchored.stretch == stretch) & (anchored.part == part)).sum())
            yield f"{due} for {mates} estimates, moved to {anchored.estimates.value[one]}"

    def _date(self, day: int) -> date:
        return date.fromordinal(int(self._block.days.date[day]) + date(1970, 1, 1).toordinal())


def _no_like() -> Like:
    nothing = np.full((1, 1), np.nan)
    return Like(nothing, nothing, nothing, np.full((1, 1), -1))


def _run_around(runs: Runs, row: int, slot: int) -> tuple[int, int]:
    at = int(np.flatnonzero((runs.row == row) & (runs.start <= slot) & (slot < runs.stop))[0])
    return int(runs.start[at]), int(runs.stop[at])


def _stamp(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%MZ")


def bounded(params: VeeParams, finals: pl.DataFrame) -> VeeParams:
    """The parameters of a run with the bounds that it had: those of its finals, where none were given."""
    ends = pl.col("interval_start") + pl.duration(seconds="interval_s")
    ((first, last),) = finals.select(pl.col("interval_start").min().alias("first"), ends.max().alias("last")).rows()
    return msgspec.structs.replace(params, grid_from=params.grid_from or first, grid_to=params.grid_to or last)
