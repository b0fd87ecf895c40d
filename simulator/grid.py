"""The instants at which a fleet captures and pushes."""

from datetime import timedelta
from typing import Final, NamedTuple

import numpy as np
import polars as pl

from schemas.timegrid import day_bounds
from simulator.columns import I64, U8, US
from simulator.params import SimulatorParams

HOUR_S: Final = 3600
DST_ACTIVE: Final = 0x80
"""Clock status bit 7 (Blue Book)."""


class Span(NamedTuple):
    """The days of a run. `day_bounds_s`: the local midnights, one more than days; seconds since 1970."""

    timezone: str
    day_bounds_s: I64

    @property
    def start_s(self) -> int:
        """First instant."""
        return int(self.day_bounds_s[0])

    @property
    def end_s(self) -> int:
        """First instant after the run."""
        return int(self.day_bounds_s[-1])


def span_of(params: SimulatorParams) -> Span:
    """The local days of a run."""
    midnights = [
        int(day_bounds(params.start + timedelta(days=day), params.timezone)[0].timestamp())
        for day in range(params.days + 1)
    ]
    return Span(params.timezone, np.array(midnights, dtype=np.int64))


def interval_starts(span: Span, interval_s: int) -> I64:
    """Starts of the intervals that lie wholly within the span, on multiples of `interval_s` in UTC."""
    first = -(-span.start_s // interval_s) * interval_s
    return np.arange(first, span.end_s - interval_s + 1, interval_s, dtype=np.int64)


def windows(instants_s: I64, span: Span, *, daily: bool) -> I64:
    """Number of the push that an instant of capture belongs to, rising with time, 0 or more.

    A push closes with the last capture of its UTC hour or of its local day: the capture on the boundary belongs to
    the push before it.
    """
    before = instants_s - 1
    if daily:
        return np.searchsorted(span.day_bounds_s, before, side="right")
    return before // HOUR_S - (span.start_s - 1) // HOUR_S


def local_clock(instants_s: I64, timezone: str) -> pl.DataFrame:
    """Wall clock of the instants.

    Returns:
        A row per instant: `second` of the local day, `weekday` (1 = Monday), `yearday`, as integers.
    """
    local = pl.Series("at", instants_s * US).cast(pl.Datetime("us", "UTC")).dt.convert_time_zone(timezone)
    return pl.select(
        second=local.dt.hour().cast(pl.Int32) * 3600 + local.dt.minute().cast(pl.Int32) * 60 + local.dt.second(),
        weekday=local.dt.weekday(),
        yearday=local.dt.ordinal_day(),
    )


def clock_octets(instants_us: I64, timezone: str, status: int = 0) -> U8:
    """The 12 octets of each instant on the wall clock of the zone, deviation and DST bit included (Blue Book).

    Args:
        instants_us: Microseconds since 1970.
        timezone: IANA name.
        status: Further bits of the clock status.

    Returns:
        An array of n × 12 octets; hundredths are cut off, not rounded.
    """
    local = pl.Series("at", instants_us).cast(pl.Datetime("us", "UTC")).dt.convert_time_zone(timezone)
    year = local.dt.year().to_numpy()
    dst_min = local.dt.dst_offset().dt.total_minutes().to_numpy()
    deviation = -(local.dt.base_utc_offset().dt.total_minutes().to_numpy() + dst_min)
    octets = np.empty((instants_us.size, 12), dtype=np.uint8)
    octets[:, 0], octets[:, 1] = year >> 8, year & 0xFF
    octets[:, 2] = local.dt.month().to_numpy()
    octets[:, 3] = local.dt.day().to_numpy()
    octets[:, 4] = local.dt.weekday().to_numpy()
    octets[:, 5] = local.dt.hour().to_numpy()
    octets[:, 6] = local.dt.minute().to_numpy()
    octets[:, 7] = local.dt.second().to_numpy()
    octets[:, 8] = instants_us % US // 10_000
    octets[:, 9:11] = deviation.astype(">i2").view(np.uint8).reshape(-1, 2)
    octets[:, 11] = np.where(dst_min != 0, DST_ACTIVE, 0) | status
    return octets
