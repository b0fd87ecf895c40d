"""What stands around a block's series: sibling channels, check meters, connections, installations, voltages."""

from collections.abc import Mapping
from typing import Final, NamedTuple

import numpy as np
import polars as pl

from schemas.codes import Channel, EventKind
from validation.block import ABSENT, Around, Ints, Mask, Runs, Samples
from validation.exchanges import Exchanges, exchanges_of, exchanges_within
from validation.fleet import Fleet, Group
from validation.net import net_of
from validation.place import CHANNEL_CODE, Layout, installation_of
from validation.supply import FOR_EVER, mask_of, pairs_of

VOLTAGES: Final = [Channel.VOLTAGE_L1.value, Channel.VOLTAGE_L2.value, Channel.VOLTAGE_L3.value]
SQRT3_MILLI: Final = 1732
_DOWN: Final = (EventKind.DISCONNECTED,)
_UP: Final = (EventKind.CONNECTED,)


class Spans(NamedTuple):
    """Spans of installations in microseconds, sorted by installation."""

    install: Ints
    start: Ints
    stop: Ints


class Volts(NamedTuple):
    """Voltage reads, sorted by installation."""

    install: Ints
    at_us: Ints
    """A microsecond before the read: one at the end of an interval speaks of that interval."""
    value: Ints
    """mV."""


class Checks(NamedTuple):
    """What check meters measured, as their own judgement left it (`validation.check_meters`)."""

    base: Ints
    """(series,): position of a checking series' interval 0 in `value`, -1 of the others."""
    value: Ints
    """Primary; ABSENT where the check meter has no valid measured value."""


class Surroundings(NamedTuple):
    """The same for a whole run; vectors have one element an installation."""

    check: Ints
    """Installation that checks this one, -1 for none."""
    inactive: Spans
    service_known: bool
    overlap: Spans
    exchanges: Exchanges
    dated: Mask
    in_master: Mask
    zoned: Mask
    billed: Mask
    nominal: Ints
    """Voltage between a phase and neutral, in mV; ABSENT where unknown."""
    volts: Volts
    checks: Checks | None = None
    """None: no check meter is judged yet."""


def look_around(
    fleet: Fleet, reads: pl.DataFrame, events: pl.DataFrame, *, service_known: bool = False
) -> Surroundings:
    """Everything that the rules of siblings, service and installations ask for.

    Without any event nothing is known of disconnections, unless `service_known` says that there are none.
    """
    installs = fleet.installs.with_row_index("install").with_columns(pl.col("install").cast(pl.Int64))
    nominal = _nominal(installs)
    pairs = pairs_of(events, installs, (_DOWN, _UP), keep_open=True)
    return Surroundings(
        check=_checks(installs),
        inactive=spans_of(pairs),
        service_known=service_known or bool(events.height),
        overlap=spans_of(_overlaps(installs)),
        exchanges=exchanges_of(fleet, reads),
        dated=installs.select(
            pl.col("service_point_id").is_not_null()
            & (pl.col("installed_at").is_not_null() | pl.col("removed_at").is_not_null())
        )
        .to_series()
        .to_numpy(),
        in_master=installs["in_master"].to_numpy(),
        zoned=installs["zoned"].to_numpy(),
        billed=installs["tariff"].is_not_null().to_numpy(),
        nominal=nominal,
        volts=_voltages(fleet, reads, nominal),
    )


def spans_of(rows: pl.DataFrame) -> Spans:
    """Columns `install`, `off_from`, `off_to` as vectors, sorted by installation."""
    rows = rows.sort("install", "off_from", "off_to")
    return Spans(*(rows[name].cast(pl.Int64).to_numpy() for name in ("install", "off_from", "off_to")))


def _checks(installs: pl.DataFrame) -> Ints:
    """Installation of the check meter of each installation."""
    checks = (
        installs.select("check_of", check="install").drop_nulls().unique("check_of", keep="first", maintain_order=True)
    )
    return (
        installs.select("meter_id")
        .join(checks, left_on="meter_id", right_on="check_of", how="left", maintain_order="left")["check"]
        .fill_null(-1)
        .to_numpy()
    )


def _overlaps(installs: pl.DataFrame) -> pl.DataFrame:
    """Spans in which two meters with a channel in common are installed at one service point; check meters apart."""
    active = installs.filter(pl.col("service_point_id").is_not_null(), pl.col("check_of").is_null()).select(
        "install", "service_point_id", "channels",
        since=pl.col("installed_at").to_physical().fill_null(-FOR_EVER),
        until=pl.col("removed_at").to_physical().fill_null(FOR_EVER),
        dated=pl.col("installed_at").is_not_null() | pl.col("removed_at").is_not_null(),
    )  # fmt: skip
    several = active.filter(pl.len().over("service_point_id") > 1)
    return (
        several.join(several, on="service_point_id", suffix="_other")
        .filter(
            pl.col("install") != pl.col("install_other"),
            pl.col("dated") & pl.col("dated_other"),
            pl.col("channels").list.set_intersection("channels_other").list.len() > 0,
        )
        .select(
            "install",
            off_from=pl.max_horizontal("since", "since_other"),
            off_to=pl.min_horizontal("until", "until_other"),
        )
        .filter(pl.col("off_from") < pl.col("off_to"))
        .unique()
    )


def _nominal(installs: pl.DataFrame) -> Ints:
    """Nominal voltage of a phase: of three phases master data give the line voltage, √3 times as much."""
    three = pl.col("phase").str.len_chars() >= 3
    volts = pl.col("voltage_v").cast(pl.Int64) * 1000
    nominal = pl.when(three).then(volts * 1000 // SQRT3_MILLI).otherwise(volts)
    return installs.select(nominal.fill_null(ABSENT)).to_series().to_numpy()


def _voltages(fleet: Fleet, reads: pl.DataFrame, nominal: Ints) -> Volts:
    """The voltage reads of installations whose nominal voltage is known."""
    rows = reads.filter(pl.col("channel").cast(pl.String).is_in(VOLTAGES), pl.col("value_milli").is_not_null())
    install = installation_of(rows, fleet, "read_at")
    known = (install >= 0) & (nominal[install] != ABSENT) if len(nominal) else install >= 0
    order = np.argsort(install[known], kind="stable")
    at = rows["read_at"].to_physical().to_numpy()[known][order] - 1
    return Volts(install[known][order], at, rows["value_milli"].to_numpy()[known][order])


def around_of(
    run: Surroundings, group: Group, what: tuple[Channel, Ints], cells: tuple[Ints, Layout], net: Ints | None
) -> Around:
    """The surroundings of one block: a channel of the installations that are its rows, consecutive."""
    channel, install = what
    shape = (len(install), group.slots)
    unproven, unproven_by = exchanges_within(run.exchanges, channel, install, (group, cells[1]))
    checked, check = _check_values(run, channel, install, group, cells[1])
    return Around(
        siblings=_siblings(group, install, cells),
        check=check,
        checked=checked,
        inactive=_touched(run.inactive, install, group, shape),
        service_known=np.full((1, 1), run.service_known),
        overlap=_overlap_runs(run.overlap, install, group),
        unproven=unproven,
        unproven_by=unproven_by,
        dated=run.dated[install],
        in_master=run.in_master[install],
        zoned=run.zoned[install],
        billed=run.billed[install],
        volts=_volts_within(run.volts, install, group),
        volts_nominal=run.nominal[install],
        net=net_of(net, channel, group, install, cells[1]),
    )


def _siblings(group: Group, install: Ints, cells: tuple[Ints, Layout]) -> Mapping[Channel, Ints]:
    value, layout = cells
    found = {}
    for channel in group.channels:
        first = int(layout.base[layout.of[install[0], CHANNEL_CODE[channel.value]]])
        found[channel] = value[first : first + len(install) * group.slots].reshape(len(install), group.slots)
    return found


def _check_values(
    run: Surroundings, channel: Channel, install: Ints, group: Group, layout: Layout
) -> tuple[Mask, Ints]:
    """Which rows have a check meter with a series of this channel and interval length, and what that measured."""
    check = run.check[install]
    checked = np.zeros(len(install), dtype=np.bool_)
    if run.checks is None or not (check >= 0).any():
        return checked, np.full((1, 1), ABSENT)
    series = np.where(check >= 0, layout.of[check, CHANNEL_CODE[channel.value]], -1)
    # Grids of one interval length and phase begin and end together, whatever their group.
    checked = (series >= 0) & (run.checks.base[series] >= 0) & (layout.step[series] == group.step_s)
    checked &= layout.phase[series] == group.phase_s
    if not checked.any():
        return checked, np.full((1, 1), ABSENT)
    values = np.full((len(install), group.slots), ABSENT)
    values[checked] = run.checks.value[run.checks.base[series[checked], None] + np.arange(group.slots)]
    return checked, values


def _volts_within(volts: Volts, install: Ints, group: Group) -> Samples:
    cut = slice(*np.searchsorted(volts.install, [install[0], install[-1] + 1]))
    slot = group.slot_at(volts.at_us[cut])
    inside = (slot >= 0) & (slot < group.slots)
    return Samples((volts.install[cut] - install[0])[inside], slot[inside], volts.value[cut][inside])


def _cut(spans: Spans, install: Ints) -> Spans:
    cut = slice(*np.searchsorted(spans.install, [install[0], install[-1] + 1]))
    return Spans(spans.install[cut] - install[0], spans.start[cut], spans.stop[cut])


def _touched(spans: Spans, install: Ints, group: Group, shape: tuple[int, int]) -> Mask:
    mine = _cut(spans, install)
    if not len(mine.install):
        return np.zeros((1, 1), dtype=np.bool_)
    step_us = group.step_s * 1_000_000
    start, stop = group.slot_at(mine.start), group.slot_from(np.minimum(mine.stop, FOR_EVER - step_us))
    return mask_of(mine.install, start, stop, shape)


def _overlap_runs(spans: Spans, install: Ints, group: Group) -> Runs:
    mine = _cut(spans, install)
    step_us = group.step_s * 1_000_000
    bound = FOR_EVER - step_us
    start = np.clip(group.slot_at(np.clip(mine.start, -bound, bound)), 0, group.slots)
    stop = np.clip(group.slot_from(np.clip(mine.stop, -bound, bound)), 0, group.slots)
    some = stop > start
    return Runs(mine.install[some], start[some], stop[some])
