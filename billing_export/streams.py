"""Lines of each stream: totals, time of use, net energy, demand."""

from typing import NamedTuple

import numpy as np
import polars as pl

from billing_export.demand import Mask, Peaks
from billing_export.lines import findings, lines_of
from billing_export.located import I64
from billing_export.measures import Measured
from billing_export.segments import QUALITIES
from billing_export.spans import FINDINGS
from schemas.codes import Channel, Uom
from schemas.frames import CHANNEL, UOM, UTC_US

_SPAN = ["meter_id", "service_point_id", "span_from"]


class DemandLines(NamedTuple):
    """Lines of the maxima, and findings where one may be hidden or there is none."""

    lines: pl.DataFrame
    findings: pl.DataFrame


def energy_lines(found: Measured) -> pl.DataFrame:
    """`energy_total`, `energy_delivered`, `energy_received`, `reactive_energy`, `energy_tou_<p>`."""
    used = found.used
    value, counts = used.value.sum(axis=1), used.counts.sum(axis=1)
    channel = found.segments["channel"].cast(pl.String)
    kinds = [
        ("energy_total", channel == Channel.ENERGY_DELIVERED),
        ("energy_delivered", channel == Channel.ENERGY_DELIVERED),
        ("energy_received", channel == Channel.ENERGY_RECEIVED),
        ("reactive_energy", channel.str.starts_with("reactive_")),
    ]
    lines = []
    for name, chosen in kinds:
        at = chosen.arg_true().to_numpy()
        lines.append(lines_of(found.segments[at], name, value[at], counts[at]))
    delivered = (channel == Channel.ENERGY_DELIVERED).to_list()
    for period in range(used.value.shape[1]):
        at = np.array([n for n, names in enumerate(found.names) if delivered[n] and len(names) > period], np.int64)
        # An interval across a boundary belongs to no period: such a stream has no time-of-use lines.
        at = at[used.straddling[at] == 0]
        names = [f"energy_tou_{found.names[n][period]}" for n in at]
        lines.append(lines_of(found.segments[at], names, used.value[at, period], used.counts[at, period]))
    return pl.concat(lines)


def net_lines(found: Measured) -> pl.DataFrame:
    """`energy_net` = delivered − received where a span has both; its counts are those of both together."""
    used = found.used
    value, counts = used.value.sum(axis=1), used.counts.sum(axis=1)
    channel = pl.col("channel").cast(pl.String)
    streams = found.segments.select(*_SPAN, "channel", "source_revision", row=pl.int_range(pl.len()))
    pairs = streams.filter(channel == Channel.ENERGY_DELIVERED).join(
        streams.filter(channel == Channel.ENERGY_RECEIVED), on=_SPAN, suffix="_received", nulls_equal=True
    )
    delivered, received = pairs["row"].to_numpy(), pairs["row_received"].to_numpy()
    of = found.segments[delivered].with_columns(
        channel=pl.lit(None, dtype=CHANNEL),
        source_revision=pairs.select(pl.max_horizontal("source_revision", "source_revision_received")).to_series(),
    )
    return lines_of(of, "energy_net", value[delivered] - value[received], counts[delivered] + counts[received])


def demand_lines(found: Measured) -> DemandLines:
    """`demand_max`, `demand_max_tou_<p>` (thousandths of a watt) and `apparent_demand_max` (of a volt-ampere).

    Apparent demand is the channel `apparent_delivered` where the meter has it, else √(P² + Q²) per window.
    Findings: `no_complete_window` (held: there is no maximum), `peak_may_be_hidden` (windows that could not be
    judged; the line is written).
    """
    used, count = found.used, found.segments.height
    channel = found.segments["channel"].cast(pl.String)
    delivered = (channel == Channel.ENERGY_DELIVERED).to_numpy()
    totals = used.counts.sum(axis=1)
    parts = [_maxima(found, totals, found.peaks.of(0), ["demand_max"] * count, delivered)]
    for period in range(used.value.shape[1]):
        has = np.array([len(names) > period for names in found.names], dtype=bool) & delivered
        named = [f"demand_max_tou_{names[period]}" if len(names) > period else "" for names in found.names]
        highest = found.peaks.of(1 + period)
        parts.append(_maxima(found, used.counts[:, period], highest, named, has & (used.straddling == 0)))
    parts.append(_apparent_maxima(found, totals))
    return DemandLines(pl.concat([part.lines for part in parts]), pl.concat([part.findings for part in parts]))


def _apparent_maxima(found: Measured, counts: I64) -> DemandLines:
    count = found.segments.height
    channel = found.segments["channel"].cast(pl.String)
    metered = (channel == Channel.APPARENT_DELIVERED).to_numpy()
    named = ["apparent_demand_max"] * count
    reactive = channel.str.starts_with("reactive_").any()
    if not metered.any() and not reactive:
        return DemandLines(_no_lines(found), pl.DataFrame(schema=FINDINGS))
    direct = _maxima(found, counts, found.peaks.of(0), named, metered)
    metered_spans = found.segments.filter(pl.Series(metered)).select(_SPAN)
    rows = found.segments.select(*_SPAN, segment=pl.int_range(pl.len()))
    both = rows.join(metered_spans, on=_SPAN, how="semi", nulls_equal=True)["segment"].to_numpy()
    wanted = found.apparent.computed.copy()
    wanted[both] = False
    derived = _maxima(found, counts, found.apparent.peaks.of(0), named, wanted)
    unit = pl.lit(Uom.KVA.value, dtype=UOM)
    lines = pl.concat([direct.lines, derived.lines.with_columns(channel=pl.lit(None, dtype=CHANNEL))])
    return DemandLines(lines.with_columns(uom=unit), pl.concat([direct.findings, derived.findings]))


def _no_lines(found: Measured) -> pl.DataFrame:
    none = np.zeros(0, np.int64)
    return lines_of(found.segments.clear(), "", none, np.zeros((0, len(QUALITIES)), np.int64))


def straddling(found: Measured) -> pl.DataFrame:
    """Findings `straddles_period`: intervals longer than the tariff's grid, so that time of use cannot be told."""
    delivered = pl.col("channel").cast(pl.String) == Channel.ENERGY_DELIVERED
    rows = found.segments.with_columns(across=pl.Series(found.used.straddling)).filter(
        (pl.col("across") > 0) & delivered
    )
    untold = pl.concat([rows.with_columns(determinant=pl.lit(name)) for name in ("energy_tou", "demand_max_tou")])
    return findings(untold, "straddles_period", pl.col("across"), held=True)


def _maxima(found: Measured, counts: I64, found_peaks: Peaks, named: list[str], wanted: Mask) -> DemandLines:
    at = np.flatnonzero(wanted)
    lines = lines_of(found.segments[at], [named[n] for n in at], found_peaks.power[at], counts[at])
    minute = pl.Series(found_peaks.minute[at])
    lines = lines.with_columns(
        uom=pl.lit(Uom.KW.value, dtype=UOM),
        occurred_at=(minute * 60_000_000).cast(UTC_US),
        hidden=pl.Series(found_peaks.hidden[at]),
        seen=minute >= 0,
        metered=pl.Series(counts[at].sum(axis=1) > 0),  # a period without a minute in the span has nothing to find
    )
    none = findings(
        lines.filter(~pl.col("seen") & pl.col("metered")), "no_complete_window", pl.col("hidden"), held=True
    )
    some = lines.filter("seen")
    unsure = findings(some.filter(pl.col("hidden") > 0), "peak_may_be_hidden", pl.col("hidden"), held=False)
    kept = some.drop("hidden", "seen", "metered")
    return DemandLines(kept, pl.concat([none, unsure]).cast(FINDINGS))
