"""Reliability indices of IEEE 1366 by feeder and day, from who was interrupted and for how long."""

from datetime import date, datetime
from typing import Final, NamedTuple

import msgspec
import polars as pl

from outage.interruptions import INTERRUPTIONS
from outage.topology import LEVELS
from schemas.codes import IncidentState, NodeKind
from schemas.errors import ContractError
from schemas.frames import METERS, OUTAGES, UTC_US, conform
from schemas.timegrid import day_bounds, with_local_time, zone

INDICES: Final = pl.Schema(
    {
        "feeder_id": pl.String(),  # null: all feeders together
        "day": pl.Date(),  # local day on which the interruptions began; null: the whole period
        "customers": pl.Int64(),  # N_T
        "interruptions": pl.Int64(),  # sum of N_i, sustained
        "customer_minutes": pl.Float64(),  # sum of r_i N_i
        "customers_interrupted": pl.Int64(),  # at least once
        "saifi": pl.Float64(),
        "saidi_min": pl.Float64(),
        "caidi_min": pl.Float64(),  # null: nobody was interrupted
        "caifi": pl.Float64(),  # null: nobody was interrupted
        "maifi": pl.Float64(),
        "maifi_e": pl.Float64(),
        "asai": pl.Float64(),
    }
)


class IndexParams(msgspec.Struct, frozen=True, kw_only=True):
    """The period, half open in UTC, and the zone whose days count."""

    period_from: datetime
    period_to: datetime
    timezone: str = "UTC"
    excluded_days: tuple[date, ...] = ()
    """Local days that do not count: major event days. What began on them is named in `excluded`, and their minutes are
    taken off the period."""
    event_s: int = 300
    """Momentary interruptions of a customer this close together are one momentary event (IEEE 1366: 5 min)."""


class Indices(NamedTuple):
    """The indices, and what was left out of them."""

    rows: pl.DataFrame
    """`INDICES`: per feeder and day, per feeder, per day, and for all."""
    excluded: pl.DataFrame
    """`reason`, `interruptions`: rows that count for no index."""


def compute_indices(interruptions: pl.DataFrame, meters: pl.DataFrame, params: IndexParams) -> Indices:
    """SAIFI, SAIDI, CAIDI, CAIFI, MAIFI, MAIFI_E and ASAI; CAIDI times SAIFI is SAIDI.

    A customer is a service point (or a meter without one); its meters' interruptions are united, so that nobody is
    counted twice in the same minute. An interruption belongs to the day on which it began, with all its minutes; one
    still open counts until the end of the period. Momentaries that end in a sustained interruption do not count.

    Args:
        interruptions: `INTERRUPTIONS`, as `detect_outages` or `interruptions_of` gives them.
        meters: METERS: who is served.
        params: Period and zone.

    Raises:
        ContractError: A column is absent, or the period is empty.
    """
    if params.period_to <= params.period_from:
        raise ContractError("period_to: must be later than period_from")
    served = _customers(meters, params)
    inside, excluded = _inside(interruptions, served, params)
    sustained = _unite(inside.filter(~pl.col("momentary")), 0)
    brief = _without_lockouts(_unite(inside.filter("momentary"), 0), sustained, params)
    events = _unite(brief, params.event_s)
    rows = [
        _indices(served, (_dated(sustained, params), _dated(brief, params), _dated(events, params)), keys, params)
        for keys in (["feeder_id", "day"], ["feeder_id"], ["day"], [])
    ]
    return Indices(pl.concat(rows), excluded)


def interruptions_of(outages: pl.DataFrame, meters: pl.DataFrame) -> pl.DataFrame:
    """`INTERRUPTIONS` of incidents known by their steps alone: how many came back when, not which.

    The meters below the node are given to the blocks of restoration in the order of their names; the rest stay dark.
    Merged and cancelled incidents give none.
    """
    steps, known = conform(outages, OUTAGES), conform(meters, METERS)
    gone = steps.filter(pl.col("state").is_in([IncidentState.MERGED, IncidentState.CANCELLED]))
    steps = steps.join(gone.select("incident_id").unique(), on="incident_id", how="anti")
    first = steps.sort("step").group_by("incident_id", maintain_order=True).first()
    below = pl.concat([_below(first, known, kind) for kind in _COLUMN_OF_KIND]).sort("incident_id", "meter_id")
    blocks = (
        steps.filter(pl.col("restored_at").is_not_null() & (pl.col("state") != IncidentState.CLOSED))
        .sort("incident_id", "step")
        .with_columns(upto=pl.col("meters_out").cum_sum().over("incident_id").cast(pl.Int64))
        .select("incident_id", "upto", back_at="restored_at")
        .sort("upto")
    )
    return (
        below.with_columns(nth=pl.int_range(1, pl.len() + 1).over("incident_id"))
        .filter(pl.col("nth") <= pl.col("meters_out"))
        .sort("nth")
        .join_asof(blocks, left_on="nth", right_on="upto", by="incident_id", strategy="forward", check_sortedness=False)
        .with_columns(restored_at=pl.col("back_at"), heard=pl.lit(value=False), momentary=pl.lit(value=False))
        .select(*INTERRUPTIONS)
        .sort("started_at", "meter_id")
    )


_COLUMN_OF_KIND: Final = {
    NodeKind.METER: "meter_id",
    NodeKind.SERVICE_POINT: "service_point_id",
    **{level: f"{level}_id" for level in LEVELS},
}


def _below(first: pl.DataFrame, meters: pl.DataFrame, kind: NodeKind) -> pl.DataFrame:
    chosen = first.filter(pl.col("node_kind") == kind).select("incident_id", "node_id", "started_at", "meters_out")
    columns = ["meter_id", "service_point_id", "feeder_id"]
    return chosen.join(
        meters.select(*columns, node_id=_COLUMN_OF_KIND[kind]).drop_nulls("node_id"), on="node_id", how="inner"
    ).select("incident_id", "started_at", "meters_out", *columns)


def _customers(meters: pl.DataFrame, params: IndexParams) -> pl.DataFrame:
    known = conform(meters, METERS).filter(
        (pl.col("installed_at").is_null() | (pl.col("installed_at") < params.period_to))
        & (pl.col("removed_at").is_null() | (pl.col("removed_at") > params.period_from))
    )
    return known.select("feeder_id", customer=pl.coalesce("service_point_id", "meter_id")).unique(
        "customer", keep="first", maintain_order=True
    )


def _inside(
    interruptions: pl.DataFrame, served: pl.DataFrame, params: IndexParams
) -> tuple[pl.DataFrame, pl.DataFrame]:
    named = (
        interruptions.select(
            "momentary",
            customer=pl.coalesce("service_point_id", "meter_id"),
            start=pl.col("started_at").cast(UTC_US),
            end=pl.col("restored_at").cast(UTC_US).fill_null(params.period_to).clip(upper_bound=params.period_to),
        )
        .join(served.with_columns(known=pl.lit(value=True)), on="customer", how="left")
        .with_columns(
            reason=pl.when(pl.col("known").is_null())
            .then(pl.lit("not a customer of METERS"))
            .when((pl.col("start") < params.period_from) | (pl.col("start") >= params.period_to))
            .then(pl.lit("began outside the period"))
        )
    )
    began = with_local_time(named.with_columns(timezone=pl.lit(params.timezone)), "start")["local_day"]
    named = named.with_columns(
        reason=pl.when(pl.col("reason").is_null() & began.is_in(list(params.excluded_days)))
        .then(pl.lit("began on an excluded day"))
        .otherwise("reason")
    )
    excluded = named.filter(pl.col("reason").is_not_null()).group_by("reason").agg(interruptions=pl.len())
    return named.filter(pl.col("reason").is_null()).drop("known", "reason"), excluded.sort("reason")


def _unite(rows: pl.DataFrame, gap_s: int) -> pl.DataFrame:
    """Interruptions of one customer that touch, or lie within `gap_s`, as one."""
    return (
        rows.sort("customer", "start", "end")
        .with_columns(reach=pl.col("end").cum_max().shift(1).over("customer") + pl.duration(seconds=gap_s))
        .with_columns(run=((pl.col("start") > pl.col("reach")).fill_null(value=True)).cum_sum())
        .group_by("run", maintain_order=True)
        .agg(
            pl.col("customer", "feeder_id").first(),
            start=pl.col("start").min(),
            end=pl.col("end").max(),
        )
        .drop("run")
    )


def _without_lockouts(brief: pl.DataFrame, sustained: pl.DataFrame, params: IndexParams) -> pl.DataFrame:
    after = sustained.select("customer", locked_out="start").sort("locked_out")
    paired = brief.sort("end").join_asof(
        after, left_on="end", right_on="locked_out", by="customer", strategy="forward", check_sortedness=False
    )
    ends_so = pl.col("locked_out") - pl.col("end") <= pl.duration(seconds=params.event_s)
    return paired.filter(~ends_so.fill_null(value=False)).drop("locked_out")


def _dated(rows: pl.DataFrame, params: IndexParams) -> pl.DataFrame:
    zoned = with_local_time(rows.with_columns(timezone=pl.lit(params.timezone)), "start")
    return zoned.select(
        "customer",
        "feeder_id",
        pl.col("local_day").alias("day"),
        minutes=(pl.col("end") - pl.col("start")).dt.total_microseconds() / 60e6,
    )


def _indices(
    served: pl.DataFrame,
    counted: tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame],
    keys: list[str],
    params: IndexParams,
) -> pl.DataFrame:
    days = _days(params)
    base = served.select("feeder_id").unique() if "feeder_id" in keys else pl.DataFrame({"feeder_id": [None]})
    base = (
        base.join(days, how="cross")
        if "day" in keys
        else base.with_columns(day=pl.lit(None, pl.Date), period_min=pl.lit(days["period_min"].sum()))
    )
    population = served.group_by("feeder_id").agg(customers=pl.len()) if "feeder_id" in keys else None
    base = (
        base.join(population, on="feeder_id", how="left", nulls_equal=True)
        if population is not None
        else base.with_columns(customers=pl.lit(served.height))
    )
    for frame, names in zip(counted, ("sustained", "momentary", "events"), strict=True):
        base = _join_counts(base, frame, keys, names)
    return (
        _ratios(base)
        .select(pl.col(name).cast(dtype) for name, dtype in INDICES.items())
        .sort("feeder_id", "day", nulls_last=True)
    )


def _join_counts(base: pl.DataFrame, frame: pl.DataFrame, keys: list[str], name: str) -> pl.DataFrame:
    counts = [
        pl.len().alias(name),
        pl.col("customer").n_unique().alias(f"{name}_customers"),
        pl.col("minutes").sum().alias(f"{name}_minutes"),
    ]
    if not keys:
        return base.join(frame.select(counts), how="cross")
    return base.join(frame.group_by(keys).agg(counts), on=keys, how="left", nulls_equal=True).with_columns(
        pl.col(f"{name}", f"{name}_customers", f"{name}_minutes").fill_null(0)
    )


def _ratios(rows: pl.DataFrame) -> pl.DataFrame:
    served = pl.col("customers")
    some = pl.col("sustained") > 0
    return rows.with_columns(
        interruptions=pl.col("sustained"),
        customer_minutes=pl.col("sustained_minutes"),
        customers_interrupted=pl.col("sustained_customers"),
        saifi=pl.col("sustained") / served,
        saidi_min=pl.col("sustained_minutes") / served,
        caidi_min=pl.when(some).then(pl.col("sustained_minutes") / pl.col("sustained")),
        caifi=pl.when(some).then(pl.col("sustained") / pl.col("sustained_customers")),
        maifi=pl.col("momentary") / served,
        maifi_e=pl.col("events") / served,
        asai=1 - pl.col("sustained_minutes") / served / pl.col("period_min"),
    )


def _days(params: IndexParams) -> pl.DataFrame:
    """Local days that the period touches, and how many minutes of each it covers."""
    here = zone(params.timezone)
    first, last = params.period_from.astimezone(here).date(), params.period_to.astimezone(here).date()
    days = pl.date_range(first, last, eager=True).to_list()
    covered = [
        (
            min(day_bounds(day, params.timezone)[1], params.period_to)
            - max(day_bounds(day, params.timezone)[0], params.period_from)
        ).total_seconds()
        / 60
        for day in days
    ]
    counted = pl.DataFrame({"day": days, "period_min": covered})
    return counted.filter((pl.col("period_min") > 0) & ~pl.col("day").is_in(list(params.excluded_days)))
