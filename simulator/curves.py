"""Real load curves in place of invented ones: every value is pushed exactly, in mWh."""

from datetime import UTC, date, datetime, timedelta
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

import msgspec
import numpy as np
import polars as pl

from schemas.errors import ContractError
from schemas.frames import INTERVALS, METERS, UTC_US, Frame, conform
from schemas.timegrid import INTERVAL_LENGTHS_S, day_bounds
from simulator import topology
from simulator.captures import Registered
from simulator.columns import I64, US
from simulator.grid import Span
from simulator.params import NO_OUTAGES, Customers, Layouts, SimulatorParams
from simulator.topology import CHANNELS, Fleet

COLUMNS: Final = ("meter_id", "channel", "interval_start", "interval_s", "value_milli")
_NAME: Final = r"^[\x21-\x7e]{1,16}$"
"""A logical device name has at most 16 octets."""


class Curves(NamedTuple):
    """Load curves, by meter, channel and time."""

    values: pl.DataFrame  # row (of `meters`), channel (ordinal), slot_s, value_milli
    meters: pl.DataFrame  # meter_id as given, interval_s, channels (how many), from_s, to_s


def read_curves(shapes: pl.DataFrame) -> Curves:
    """The load curves of a frame of interval values.

    Args:
        shapes: `meter_id`, `channel`, `interval_start` (UTC), `interval_s`, `value_milli`; other columns are left
            out. Of each meter one interval length, and `energy_delivered`, perhaps with `energy_received` at the same
            instants. Nulls were never registered.

    Raises:
        ContractError: A column is absent or of another type, a value is negative, given twice, off the UTC grid or of
            another channel, or one channel lacks an instant of the other; the message names the column.
    """
    rows = _checked(shapes)
    spans = rows.group_by("meter_id", maintain_order=True).agg(
        pl.col("interval_s").first(),
        pl.col("interval_s").n_unique().alias("lengths"),
        pl.col("channel").n_unique().cast(pl.Int64).alias("channels"),
        pl.len().alias("values"),
        pl.col("slot_s").n_unique().alias("slots"),
        pl.col("slot_s").min().alias("from_s"),
        (pl.col("slot_s").max() + pl.col("interval_s").first()).alias("to_s"),
    )
    if (spans["lengths"] > 1).any():
        raise ContractError("shapes.interval_s: a meter has intervals of more than one length")
    if (spans["values"] != spans["slots"] * spans["channels"]).any():
        raise ContractError("shapes.channel: an instant of one channel of a meter is absent from the other, or twice")
    meters = spans.sort("meter_id").with_row_index("row")
    values = rows.join(meters.select("meter_id", "row"), on="meter_id", how="left")
    return Curves(values.select("row", "channel", "slot_s", "value_milli"), meters)


def only_transport(params: SimulatorParams) -> SimulatorParams:
    """The parameters without what would change a value: spikes, stuck values, test mode, exchange, outages."""
    faults = msgspec.structs.replace(params.faults, spikes=0, stuck_meters=0, test_mode_meters=0, exchange_meters=0)
    return msgspec.structs.replace(params, faults=faults, outages=NO_OUTAGES)


def span_of(curves: Curves, timezone: str) -> Span:
    """The local days that the curves touch."""
    ends = [curves.meters["from_s"].to_numpy().min(), curves.meters["to_s"].to_numpy().max() - 1]
    first, last = (datetime.fromtimestamp(int(s), UTC).astimezone(ZoneInfo(timezone)).date() for s in ends)
    days = [first + timedelta(days=n) for n in range((last - first).days + 2)]
    return Span(timezone, np.array([_midnight_s(day, timezone) for day in days], dtype=np.int64))


def build_fleet(params: SimulatorParams, span: Span, curves: Curves) -> Fleet:
    """Meters of layout `interval_milli` that bear the names of the curves.

    A name that is no ASCII text of 1 to 16 octets cannot be a logical device name: such a meter is called otherwise,
    and its service point keeps the given name.
    """
    told = curves.meters
    size = told.height
    calm = msgspec.structs.replace(
        params,
        meters=size,
        layouts=Layouts(generic=0, profile_cumulative=0, obis_rows=0, obis_pairs=0, interval_milli=1),
        customers=Customers(household=1, household_pv=0, shop=0, factory=0),
        faults=msgspec.structs.replace(params.faults, exchange_meters=0),
    )
    fleet = topology.build_fleet(calm, span)
    from_s, to_s = told["from_s"].to_numpy(), told["to_s"].to_numpy()
    channels = told["channels"].to_numpy()
    fits = pl.col("given").str.contains(_NAME)
    removed = pl.when(pl.Series(to_s) < int(to_s.max())).then((pl.Series(to_s) * US).cast(UTC_US))
    meters = fleet.meters.with_columns(given=told["meter_id"]).with_columns(
        meter_id=pl.when(fits).then("given").otherwise("meter_id"),
        service_point_id=pl.when(fits).then("service_point_id").otherwise("given"),
        interval_s=told["interval_s"],
        channels=topology.channel_lists(channels),
        installed_at=(pl.Series(from_s) * US).cast(UTC_US),
        removed_at=removed,
        has_der=pl.Series(channels > 1),
        fuse_a=pl.lit(None, dtype=pl.Int32),  # nobody knows it: a limit made up would doubt a true value
    )
    if meters["meter_id"].n_unique() < size:
        raise ContractError("shapes.meter_id: a name is one that the simulator gives to another meter")
    return fleet._replace(
        meters=conform(meters, METERS),
        interval_s=told["interval_s"].to_numpy().astype(np.int64),
        channels=channels,
        from_s=from_s,
        to_s=to_s,
    )


def registered(curves: Curves, fleet: Fleet, starts_s: I64) -> Registered:
    """The curves of some meters of the fleet, as what they registered: counts are mWh."""
    interval_s, channels = int(fleet.interval_s[0]), int(fleet.channels[0])
    energy = np.zeros((fleet.size, starts_s.size, channels), dtype=np.int64)
    known = np.zeros(energy.shape[:2], dtype=bool)
    row, slot_s = curves.values["row"].to_numpy(), curves.values["slot_s"].to_numpy()
    channel, value = curves.values["channel"].to_numpy(), curves.values["value_milli"].to_numpy()
    # Without exchanges a meter's service point has the ordinal of its row.
    for place, mine in enumerate(fleet.service_point.tolist()):
        a, b = np.searchsorted(row, [mine, mine + 1])
        slot = (slot_s[a:b] - starts_s[0]) // interval_s
        energy[place, slot, channel[a:b]] = value[a:b]
        known[place, slot] = True
    return Registered(starts_s, known, np.ones(known.shape), energy)


def _checked(shapes: pl.DataFrame) -> pl.DataFrame:
    absent = [name for name in COLUMNS if name not in shapes.columns]
    if absent:
        raise ContractError(f"shapes.{absent[0]}: column is absent")
    wanted = Frame("shapes", pl.Schema({name: INTERVALS.schema[name] for name in COLUMNS}), frozenset({"value_milli"}))
    rows = conform(shapes, wanted).drop_nulls("value_milli")
    known = [channel.value for channel in CHANNELS[:2]]
    checks = {
        "channel: only energy_delivered and energy_received can be pushed": ~pl.col("channel").is_in(known),
        "value_milli: a value is negative": pl.col("value_milli") < 0,
        "interval_s: a length is no capture period": ~pl.col("interval_s").is_in(INTERVAL_LENGTHS_S),
        "interval_start: an interval does not begin on a multiple of its length in UTC": pl.col(
            "interval_start"
        ).dt.epoch("us")
        % (pl.col("interval_s").cast(pl.Int64) * US)
        != 0,
    }
    for finding, check in checks.items():
        if rows.select(check.any()).item():
            raise ContractError(f"shapes.{finding}")
    if not rows.height:
        raise ContractError("shapes.value_milli: there is no value")
    rows = rows.select(
        "meter_id",
        "interval_s",
        "value_milli",
        channel=(pl.col("channel").cast(pl.String) == known[1]).cast(pl.Int64),
        slot_s=pl.col("interval_start").dt.epoch("s"),
    ).sort("meter_id", "channel", "slot_s")
    lonely = rows.group_by("meter_id").agg((pl.col("channel") == 1).all().alias("only"))
    if lonely["only"].any():
        raise ContractError("shapes.channel: a meter has energy_received without energy_delivered")
    return rows


def _midnight_s(day: date, timezone: str) -> int:
    return int(day_bounds(day, timezone)[0].timestamp())
