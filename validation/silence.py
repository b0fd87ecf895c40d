"""Whether a whole head end, substation or feeder is silent: then estimation waits (vee.md section 8).

A storm or a lost link silences every meter of an area at once. Estimates made meter by meter would be replaced as soon
as the link is back; until then the intervals stay `missing`, and only so long.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple

import numpy as np
import polars as pl

from schemas.codes import Channel, NodeKind
from validation.block import Ints
from validation.params import Silence, SilenceLimits
from validation.rules.definition import ACCUMULATED
from validation.supply import NODE_COLUMN

HOURS_A_DAY: Final = 24
BASE_DAYS: Final = 7
"""A read rate is held against that of the same hour on the seven days before."""
LOOK_BACK: Final = timedelta(days=2 * BASE_DAYS)
"""Hours that are judged: the last seven days, longer than any wait; and the seven days before them."""
HEARD: Final = {
    "hour": pl.Datetime("us", "UTC"), "node_kind": pl.String, "node_id": pl.String, "service": pl.String,
    "devices": pl.UInt32,
}  # fmt: skip
_AREAS: Final = (NodeKind.SUBSTATION, NodeKind.FEEDER)
REGISTERS: Final = tuple(sorted(channel.value for channel in ACCUMULATED))
"""Channels whose reads say that a device was heard; of intervals any channel does."""


class _Rates(NamedTuple):
    groups: pl.DataFrame
    """`node_kind`, `node_id`, `service`, one row a group."""
    devices: Ints
    """(groups, hours): devices heard of."""
    first: datetime
    """Hour 0."""


def heard_by_hour(
    intervals: pl.DataFrame, reads: pl.DataFrame, meters: pl.DataFrame, judged_at: datetime
) -> pl.DataFrame:
    """How many devices each area has values of, hour by hour: `hour`, `node_kind`, `node_id`, `service`, `devices`.

    An area is everything (null and null), a substation or a feeder. Only hours that can matter at `judged_at` count.
    The frames of several buckets of meters add up: `pl.concat(...)`, then the sum of `devices`.
    """
    told = [
        _told(intervals, "interval_start", judged_at),
        _told(reads.filter(pl.col("channel").cast(pl.String).is_in(REGISTERS)), "read_at", judged_at),
    ]
    places = meters.unique("meter_id", keep="last").select("meter_id", *(NODE_COLUMN[kind] for kind in _AREAS))
    rows = pl.concat(told).unique().join(places, on="meter_id", how="left")
    by_place = rows.group_by("hour", "service", *(NODE_COLUMN[kind] for kind in _AREAS)).agg(devices=pl.len())
    return heard_by_area(by_place)


def heard_by_area(places: pl.DataFrame) -> pl.DataFrame:
    """The same, of devices counted by place (`HEARD_PLACES`): every device has one place, so that places add up."""
    areas = [(pl.lit(None, pl.String), pl.lit(None, pl.String))]
    areas += [(pl.lit(kind.value), pl.col(NODE_COLUMN[kind])) for kind in _AREAS]
    counted = [
        places.select("hour", "service", "devices", node_kind=kind, node_id=node)
        .filter(pl.col("node_kind").is_null() | pl.col("node_id").is_not_null())
        .group_by("hour", "node_kind", "node_id", "service")
        .agg(pl.col("devices").sum())
        for kind, node in areas
    ]
    return pl.concat(counted).select(list(HEARD)).sort("node_kind", "node_id", "service", "hour")


def _told(rows: pl.DataFrame, instant: str, judged_at: datetime) -> pl.DataFrame:
    """Meter, service and hour of every value within reach."""
    inside = (pl.col(instant) >= judged_at - LOOK_BACK - timedelta(hours=1)) & (pl.col(instant) < judged_at)
    return rows.filter(inside, pl.col("value_milli").is_not_null()).select(
        "meter_id", hour=pl.col(instant).dt.truncate("1h"), service=service_of(pl.col("channel").cast(pl.String))
    )


def service_of(channel: pl.Expr) -> pl.Expr:
    """`volume` (gas, water, heat) or `electricity`."""
    return pl.when(channel == Channel.VOLUME.value).then(pl.lit("volume")).otherwise(pl.lit("electricity"))


def detect_silences(heard: pl.DataFrame, judged_at: datetime, limits: SilenceLimits) -> tuple[Silence, ...]:
    """The areas that are silent at `judged_at`, and since when.

    An area of enough devices falls silent with the first hour whose read rate lies `down_percent` or more below the
    mean of the same hour on the seven days before, silent hours left out; without seven days it is not judged. It
    speaks again with an hour within `resumed_percent` of normal; after `longest_h` waiting ends whatever comes.

    Args:
        heard: Rows of `heard_by_hour`, of the whole fleet.
        judged_at: Hours from here on have not happened yet.
        limits: See there.
    """
    rates = _rates(heard, judged_at)
    if rates is None:
        return ()
    since = _walk(rates.devices, limits)
    silent = np.flatnonzero(since >= 0)
    groups = rates.groups[silent].with_columns(since=pl.Series(since[silent], dtype=pl.Int64))
    return tuple(
        Silence(
            service=service,
            silent_from=rates.first + timedelta(hours=hour),
            silent_to=judged_at,
            node_kind=None if kind is None else NodeKind(kind),
            node_id=node,
        )
        for kind, node, service, hour in groups.rows()
    )


def _rates(heard: pl.DataFrame, judged_at: datetime) -> _Rates | None:
    if not heard.height:
        return None
    last = judged_at.replace(minute=0, second=0, microsecond=0)
    first = last - LOOK_BACK
    names = ["node_kind", "node_id", "service"]
    groups = heard.select(names).unique().sort(names)
    hours = LOOK_BACK // timedelta(hours=1)
    rows = (
        heard.with_columns(at=(pl.col("hour") - first).dt.total_hours())
        .filter(pl.col("at") >= 0, pl.col("at") < hours)
        .join(groups.with_row_index("group"), on=names, nulls_equal=True)
    )
    devices = np.zeros((groups.height, hours), dtype=np.int64)
    np.add.at(devices, (rows["group"].to_numpy(), rows["at"].to_numpy()), rows["devices"].to_numpy())
    return _Rates(groups, devices, first)


def _walk(devices: Ints, limits: SilenceLimits) -> Ints:
    """Hour since which each group has been silent at the end, -1 for a group that is not, or no longer waited for."""
    groups, hours = devices.shape
    since = np.full(groups, -1, dtype=np.int64)
    given_up = np.zeros(groups, dtype=np.bool_)
    normal = np.ones((groups, hours), dtype=np.bool_)
    begun = np.where(devices.any(axis=1), (devices > 0).argmax(axis=1), hours)
    for hour in range(BASE_DAYS * HOURS_A_DAY, hours):
        before = np.arange(hour - BASE_DAYS * HOURS_A_DAY, hour, HOURS_A_DAY)
        counted = normal[:, before]
        number = counted.sum(axis=1)
        total = np.where(counted, devices[:, before], 0).sum(axis=1)
        known = (total >= limits.devices * number) & (number > 0) & (begun <= before[0])
        now = devices[:, hour] * number * 100
        down = known & (now <= total * (100 - limits.down_percent))
        back = known & (now >= total * (100 - limits.resumed_percent))
        given_up &= ~back
        since = np.where(back, -1, np.where((since < 0) & down & ~given_up, hour, since))
        late = (since >= 0) & (hour + 1 - since >= limits.longest_h)
        given_up |= late
        since = np.where(late, -1, since)
        normal[:, hour] = (since < 0) & ~given_up
    return since


def waiting_spans(silences: Sequence[Silence], installs: pl.DataFrame) -> dict[str, tuple[Ints, Ints, Ints]]:
    """Spans of installations that estimation waits for, by service: installation, from, to (microseconds), sorted."""
    spans: dict[str, list[pl.DataFrame]] = {}
    table = installs.with_row_index("install").with_columns(pl.col("install").cast(pl.Int64))
    for one in silences:
        mine = table if one.node_kind is None else table.filter(pl.col(NODE_COLUMN[one.node_kind]) == one.node_id)
        bounds = pl.lit(one.silent_from).alias("since"), pl.lit(one.silent_to).alias("until")
        spans.setdefault(one.service, []).append(mine.select("install", *bounds))
    found = {}
    for service, frames in spans.items():
        rows = pl.concat(frames).unique().sort("install", "since", "until")
        start, stop = (
            rows[name].cast(pl.Datetime("us", "UTC")).to_physical().to_numpy() for name in ("since", "until")
        )
        found[service] = rows["install"].to_numpy(), start, stop
    return found
