"""From events, reads and answers to what each meter's supply did: the evidence that inference rests on."""

from typing import NamedTuple

import numpy as np
import polars as pl

from outage.belief import DOWN, UP, believe, fold
from outage.circumstances import Circumstances, PingAnswer
from outage.exchange import end_at_exchange
from outage.neighbours import return_with_neighbours
from outage.params import DetectParams
from outage.returns import dark_by_return
from outage.spans import NEVER, Spans, Timeline, joined, no_spans, timeline
from outage.suppress import Quiet, suppress
from outage.topology import LEVELS, NO_NODE, Flags, Ints, Topology, meters_below, numbers_of
from schemas.codes import EventKind

PHASE_DOWN = (EventKind.PHASE_LOST_L1, EventKind.PHASE_LOST_L2, EventKind.PHASE_LOST_L3)
PHASE_UP = (EventKind.PHASE_RETURNED_L1, EventKind.PHASE_RETURNED_L2, EventKind.PHASE_RETURNED_L3)


class EvidenceCounts(NamedTuple):
    """What became of the events: every power event is in a span, a copy, or left out with a reason."""

    events: int
    power_events: int
    tests: int
    copies: int  # folded into an earlier report of the same change
    outranked: int  # contradicted by a power-up of the same or a later sequence
    disbelieved_time: int  # the reception time stands
    already_over: int  # told late, when the supply was known to be back
    unproven: int  # power-ups in clear text that would have ended what a meter had proven


class Evidence(NamedTuple):
    """What is known of every meter. Times in microseconds."""

    spans: Spans  # sustained so far: closed ones that lasted, and open ones
    brief: Spans  # momentary
    presumed: Ints  # meters that are taken to have come back with their neighbours: no life of their own is known
    suppressed: pl.DataFrame  # `meter`, `start`, `end`, `reason`
    quiet: Quiet
    phase_spans: tuple[Spans, Spans, Spans]  # of meters that lost one phase and go on by the others: A, B, C
    ups: Timeline  # power came back
    own_ups: Timeline  # the same by authenticated word, where any is authenticated
    reads: Timeline  # a read was taken, or a ping answered
    offs: Timeline  # a ping found the meter dark
    unproven: pl.DataFrame  # `meter`, `at`: power-ups in clear text that are not believed
    counts: EvidenceCounts
    as_of: int  # newest evidence, or `until`


def read_evidence(
    events: pl.DataFrame,
    reads: pl.DataFrame,
    topology: Topology,
    known: Circumstances,
    params: DetectParams,
    not_before: int = 0,
) -> Evidence:
    """Believe, order and fold the events; spans end with a power-up or the first read after them.

    Args:
        events: EVENTS with `meter` as `topology` numbers them (see `numbers_of`).
        reads: `meter`, `at` (microseconds): every read of every meter; order and repeats do not matter.
        topology: The tree.
        known: Pings, orders, planned work, confirmations.
        params: Windows and thresholds.
        not_before: Time has come at least this far (microseconds), by evidence that is not among the reads.
    """
    believed = believe(events, params)
    folded = fold(believed, DOWN, UP, params)
    pings = _pings(known, topology, params)
    living = pings.filter(pl.col("answer") == PingAnswer.ON).select("meter", "at")
    life = timeline(*_moments(pl.concat([reads.select("meter", "at"), living]) if living.height else reads))
    ups = timeline(*_moments(folded.ups))
    spans = end_at_exchange(_end_by_reads(folded.spans, life, params), (ups, life), topology)
    spans = dark_by_return(spans, folded.ups, (ups, life), topology)
    off = pings.filter(pl.col("answer") == PingAnswer.OFF)
    spans = _pinged_off(spans, off, (ups, life), topology)
    spans = _confirmed(spans, known.confirmed, topology, params)
    spans, presumed = return_with_neighbours(spans, topology, params)
    as_of = max(_as_of(folded.newest, life, pings, params), 0 if params.until is not None else not_before)
    suppressed = suppress(spans, believed, life, topology, known, (as_of, params))
    lasting = (suppressed.kept.end - suppressed.kept.start) > params.sustained_after_us()
    counts = EvidenceCounts(
        events=events.height,
        power_events=int(believed["event"].is_in([*DOWN, *UP]).sum()),
        tests=int((believed["event"] == EventKind.LAST_GASP_TEST.value).sum()),
        copies=folded.copies,
        outranked=folded.outranked,
        disbelieved_time=folded.disbelieved_time,
        already_over=folded.already_over,
        unproven=folded.unproven.height,
    )
    return Evidence(
        spans=suppressed.kept.at(lasting),
        brief=suppressed.kept.at(~lasting),
        presumed=spans.meter[presumed],
        suppressed=suppressed.rows,
        quiet=suppressed.quiet,
        phase_spans=_phase_spans(believed, params),
        ups=ups,
        own_ups=timeline(*_moments(_proven(folded.ups))),
        reads=life,
        offs=timeline(*_moments(off)),
        unproven=folded.unproven,
        counts=counts,
        as_of=as_of,
    )


def place_reads(reads: pl.DataFrame, topology: Topology, params: DetectParams) -> pl.DataFrame:
    """`meter_id`, `at` as `meter`, `at`, as far as known by `until`; meters that nobody knows are left out."""
    placed = reads.select("at").insert_column(0, numbers_of(reads["meter_id"], topology).alias("meter"))
    known = placed.drop_nulls("meter") if placed["meter"].null_count() else placed
    return known if params.until is None else known.filter(pl.col("at") <= int(params.until.timestamp() * 1_000_000))


def _as_of(newest: int, life: Timeline, pings: pl.DataFrame, params: DetectParams) -> int:
    if params.until is not None:
        return int(params.until.timestamp() * 1_000_000)
    asked = pings["at"].max()
    return max(newest, life.newest(), asked if isinstance(asked, int) else 0)


def _pings(known: Circumstances, topology: Topology, params: DetectParams) -> pl.DataFrame:
    told = known.pings if params.until is None else known.pings.filter(pl.col("answered_at") <= params.until)
    return told.join(topology.meters.select("meter_id", "meter"), on="meter_id").select(
        "meter", "answer", at=pl.col("answered_at").to_physical()
    )


def _end_by_reads(spans: Spans, life: Timeline, params: DetectParams) -> Spans:
    read = life.first_after(spans.meter, spans.start + params.clock_tolerance_s * 1_000_000)
    by_read = read < spans.end
    return spans._replace(end=np.where(by_read, read, spans.end), by_read=by_read)


def _pinged_off(spans: Spans, off: pl.DataFrame, life: tuple[Timeline, Timeline], topology: Topology) -> Spans:
    """Spans with those that only a ping found, dark since the meters around them fell silent."""
    if off.is_empty():
        return spans
    confirmed = timeline(*_moments(off)).first_after(spans.meter, spans.start - 1) < spans.end
    spans = spans._replace(pinged_off=confirmed, trusted=spans.trusted | confirmed)
    own = pl.DataFrame({"meter": spans.meter, "start": spans.start, "end": spans.end}).with_row_index("span")
    covered = off.join(own, on="meter").filter((pl.col("start") <= pl.col("at")) & (pl.col("at") < pl.col("end")))
    found = (
        off.join(covered.select("meter", "at"), on=["meter", "at"], how="anti")
        .group_by("meter")
        .agg(pl.col("at").min())
    )
    if found.is_empty():
        return spans
    found = found.sort("meter")
    meter, at = found["meter"].to_numpy(), found["at"].to_numpy()
    end = np.minimum(life[0].first_after(meter, at), life[1].first_after(meter, at))
    true = np.ones(len(meter), bool)
    by_read = life[1].first_after(meter, at) <= end
    start = _dark_since(meter, at, spans, life, topology)
    return joined(spans, Spans(meter, start, end, by_read & (end < NEVER), true, true, ~true, at))


def _dark_since(meter: Ints, at: Ints, spans: Spans, life: tuple[Timeline, Timeline], topology: Topology) -> Ints:
    """When the smallest node around each meter fell silent since the meter last lived; the ping's own time if none."""
    since = at.copy()
    lived = np.maximum(life[0].last_until(meter, at), life[1].last_until(meter, at))
    decided = np.zeros(len(meter), bool)
    for level in range(len(LEVELS)):
        node_of = topology.node_of[level]
        dark = pl.DataFrame({"node": node_of[spans.meter], "start": spans.start})
        asked = pl.DataFrame({"node": node_of[meter], "at": at, "lived": lived}).with_row_index("row")
        near = (
            asked.filter(~pl.Series(decided) & (pl.col("node") != NO_NODE))
            .join(dark, on="node")
            .filter((pl.col("start") <= pl.col("at")) & (pl.col("start") > pl.col("lived")))
            .group_by("row")
            .agg(pl.col("start").max())
        )
        row = near["row"].to_numpy()
        since[row] = near["start"].to_numpy()
        decided[row] = True
    return since


def _confirmed(spans: Spans, confirmed: pl.DataFrame, topology: Topology, params: DetectParams) -> Spans:
    """A second kind of evidence for a node makes the spans below it trusted (outage.md section 7)."""
    if confirmed.is_empty() or not len(spans.meter):
        return spans
    told = meters_below(confirmed, topology).select("meter", "at")
    near = timeline(*_moments(told.with_columns(pl.col("at").to_physical())))
    # The first word that comes no earlier than the span does, within what is still one onset.
    at = near.first_after(spans.meter, spans.start - params.fresh_s * 1_000_000 - 1)
    return spans._replace(trusted=spans.trusted | (at < spans.end))


def _phase_spans(believed: pl.DataFrame, params: DetectParams) -> tuple[Spans, Spans, Spans]:
    told = believed.filter(pl.col("event").is_in([*PHASE_DOWN, *PHASE_UP]))
    if told.is_empty():
        return no_spans(), no_spans(), no_spans()
    a, b, c = (fold(told, (down,), (up,), params).spans for down, up in zip(PHASE_DOWN, PHASE_UP, strict=True))
    return _lasting(a, params), _lasting(b, params), _lasting(c, params)


def _lasting(spans: Spans, params: DetectParams) -> Spans:
    lasts: Flags = (spans.end - spans.start) > params.sustained_after_us()
    return spans.at(lasts)


def _proven(returns: pl.DataFrame) -> pl.DataFrame:
    """Clear text disproves no life where others vouch for what they say."""
    return returns.filter("authenticated") if returns["authenticated"].any() else returns


def _moments(told: pl.DataFrame) -> tuple[Ints, Ints]:
    return told["meter"].to_numpy(), told["at"].to_numpy()
