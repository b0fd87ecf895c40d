"""Silence that means nothing: planned work, orders, exchanges, reboots, tampering (outage.md section 3)."""

from enum import StrEnum
from typing import Final, NamedTuple

import numpy as np
import polars as pl

from outage.circumstances import Circumstances, OrderKind
from outage.params import DetectParams
from outage.spans import NEVER, Spans, Timeline, joined, timeline
from outage.topology import Flags, Ints, Topology, meters_below
from schemas.codes import EventKind
from schemas.frames import UTC_US

SECOND: Final = 1_000_000
SLACK_S: Final = 120
"""Work begins and ends by other clocks than the meters': the early side of belief (outage.md section 3)."""
TAMPER_S: Final = 60
"""A last gasp with tilt or cover this close goes to revenue protection."""
REBOOT_S: Final = 900
"""A radio is back from new firmware within a quarter of an hour."""
EXCHANGE_S: Final = 3600
"""A meter is taken off the wall up to an hour before its removal is booked."""

TAMPERING: Final = (EventKind.TILT, EventKind.COVER_OPENED, EventKind.TAMPER, EventKind.MAGNETIC_FIELD_ON)


class SuppressedBy(StrEnum):
    """Why a span is no sign of a fault, in order of precedence. `contradicted`: a gasp in clear text of a meter that
    went on reading in its usual rhythm."""

    PLANNED = "planned"
    DISCONNECTED = "disconnected"
    EXCHANGE = "exchange"
    FIRMWARE = "firmware"
    TAMPER = "tamper"
    CONTRADICTED = "contradicted"


class Quiet(NamedTuple):
    """Stretches in which a meter's silence is expected: it is not eligible then."""

    meter: Ints
    start: Ints
    end: Ints


class Suppressed(NamedTuple):
    """Spans after suppression."""

    kept: Spans
    rows: pl.DataFrame
    """`meter`, `start`, `end`, `reason`: spans, or parts of spans, that are kept out of inference."""
    quiet: Quiet


def suppress(
    spans: Spans,
    believed: pl.DataFrame,
    reads: Timeline,
    topology: Topology,
    known: Circumstances,
    at: tuple[int, DetectParams],
) -> Suppressed:
    """Take out the spans that something other than a fault explains.

    Args:
        spans: All spans.
        believed: Rows of `believe`: disconnector, firmware and tamper events speak for themselves.
        reads: Evidence of life, for what contradicts a gasp in clear text.
        topology: METERS by number, for planned nodes and exchanges.
        known: Planned work and orders.
        at: Newest evidence in microseconds; and the parameters: `settle_s` is how long after the end of planned work
            its outage may last before it is a fault.
    """
    as_of, params = at
    windows = _planned_windows(known.planned, topology)
    planned_until = _window_end(windows, spans.meter, spans.start)
    # A window that lasts has not been overrun yet, whoever is still dark.
    overrun = (planned_until > 0) & (np.minimum(spans.end, as_of) > planned_until + params.settle_s * SECOND)
    reasons: list[tuple[SuppressedBy, Flags]] = [
        (SuppressedBy.PLANNED, planned_until > 0),
        (
            SuppressedBy.DISCONNECTED,
            _disconnected(spans, believed) | _ordered(spans, known, topology, OrderKind.DISCONNECT),
        ),
        (
            SuppressedBy.EXCHANGE,
            _exchanged(spans, topology)
            | _ordered(spans, known, topology, OrderKind.EXCHANGE)
            | _ordered(spans, known, topology, OrderKind.REMOVAL),
        ),
        (
            SuppressedBy.FIRMWARE,
            _near(spans, believed, (EventKind.FIRMWARE_ACTIVATED,), REBOOT_S)
            | _ordered(spans, known, topology, OrderKind.FIRMWARE),
        ),
        (SuppressedBy.TAMPER, _near(spans, believed, TAMPERING, TAMPER_S)),
        (SuppressedBy.CONTRADICTED, _contradicted(spans, reads, params)),
    ]
    reason = np.full(len(spans.meter), -1)
    for number, (_, hit) in reversed(list(enumerate(reasons))):
        reason[hit] = number
    gone = reason >= 0
    rows = pl.DataFrame(
        {
            "meter": spans.meter[gone],
            "start": spans.start[gone],
            "end": np.where(overrun, planned_until, spans.end)[gone],
            "reason": pl.Series([reasons[n][0].value for n in reason[gone]], dtype=pl.String),
        }
    )
    late = spans.at(overrun)
    late = late._replace(start=planned_until[overrun], planned=np.ones(len(late.meter), bool))
    return Suppressed(joined(spans.at(~gone), late), rows, _quiet(rows, windows, spans, topology))


def _quiet(rows: pl.DataFrame, windows: pl.DataFrame, spans: Spans, topology: Topology) -> Quiet:
    """Suppressed spans, the whole of every planned window, and the time before a meter came and after it went."""
    first, last = int(spans.start.min(initial=NEVER)), int(spans.start.max(initial=-1))
    absent, gone = np.flatnonzero(topology.installed > first), np.flatnonzero(topology.removed <= last)
    both = pl.concat([rows.select("meter", "start", "end"), windows.select("meter", start="from", end="to")])
    return Quiet(
        np.concatenate([both["meter"].to_numpy(), absent, gone]),
        np.concatenate([both["start"].to_numpy(), np.zeros(len(absent), np.int64), topology.removed[gone]]),
        np.concatenate([both["end"].to_numpy(), topology.installed[absent], np.full(len(gone), NEVER)]),
    )


def _planned_windows(planned: pl.DataFrame, topology: Topology) -> pl.DataFrame:
    """`meter`, `from`, `to` of every meter below a planned node, by meter and beginning."""
    below = meters_below(planned, topology) if planned.height else planned.with_columns(meter=pl.lit(0, pl.Int64))
    return below.select("meter", pl.col("from", "to").cast(UTC_US).to_physical()).sort("meter", "from")


def _window_end(windows: pl.DataFrame, meter: Ints, start: Ints) -> Ints:
    """End of the planned window in which each span starts, -1 where there is none."""
    if windows.is_empty():
        return np.full(len(meter), -1)
    asked = pl.DataFrame({"meter": meter, "start": start + SLACK_S * SECOND}).with_row_index("row").sort("start")
    found = asked.join_asof(
        windows.sort("from"), left_on="start", right_on="from", by="meter", strategy="backward", check_sortedness=False
    ).sort("row")
    end = found["to"].fill_null(-1).to_numpy()
    return np.where(start < end, end, -1)


def _disconnected(spans: Spans, believed: pl.DataFrame) -> Flags:
    """The meter's own word: its disconnector opened last before the span."""
    after = spans.start + TAMPER_S * SECOND
    opened = _told(believed, (EventKind.DISCONNECTED,)).last_until(spans.meter, after)
    closed = _told(believed, (EventKind.CONNECTED,)).last_until(spans.meter, after)
    flags: Flags = opened > closed
    return flags


def _near(spans: Spans, believed: pl.DataFrame, kinds: tuple[EventKind, ...], within_s: int) -> Flags:
    soonest = _told(believed, kinds).first_after(spans.meter, spans.start - within_s * SECOND - 1)
    flags: Flags = soonest <= spans.start + within_s * SECOND
    return flags


def _contradicted(spans: Spans, reads: Timeline, params: DetectParams) -> Flags:
    """Nobody vouches for the gasp, and the meter's next read came when it was due: it never was dark.

    A read so close to the gasp that the clocks do not tell which was first is one of the meter's usual reads.
    """
    flags: Flags = spans.by_read & ~spans.trusted
    asked = spans.at(np.flatnonzero(flags))
    before = reads.last_until(asked.meter, asked.start + params.clock_tolerance_s * SECOND)
    flags[flags] = (before >= 0) & (asked.end - before <= reads.overdue(asked.meter))
    return flags


def _told(believed: pl.DataFrame, kinds: tuple[EventKind, ...]) -> Timeline:
    told = believed.filter(pl.col("event").is_in(list(kinds)))
    return timeline(told["meter"].to_numpy(), told["at"].to_numpy())


def _ordered(spans: Spans, known: Circumstances, topology: Topology, kind: OrderKind) -> Flags:
    if known.orders.is_empty():
        return np.zeros(len(spans.meter), bool)
    orders = (
        known.orders.filter(pl.col("kind") == kind)
        .join(topology.meters.select("meter", "meter_id"), on="meter_id")
        .select("meter", pl.col("from").to_physical(), pl.col("to").to_physical().fill_null(NEVER))
    )
    flags: Flags = _window_end(orders, spans.meter, spans.start) > 0
    return flags


def _exchanged(spans: Spans, topology: Topology) -> Flags:
    removed, installed = topology.removed[spans.meter], topology.installed[spans.meter]
    flags: Flags = (spans.start >= removed - EXCHANGE_S * SECOND) | (spans.start < installed)
    return flags
