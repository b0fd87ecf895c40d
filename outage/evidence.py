"""From events and reads to what each meter's supply did: the evidence that inference rests on."""

from datetime import timedelta
from typing import Final, NamedTuple

import numpy as np
import polars as pl

from outage.params import DetectParams
from outage.topology import Flags, Ints, Topology
from schemas.codes import EventKind
from schemas.frames import EVENTS, UTC_US, conform

NEVER: Final = 2**62
"""An end that has not been seen, in microseconds: later than every instant."""

DOWN: Final = (EventKind.POWER_DOWN, EventKind.LAST_GASP)
UP: Final = (EventKind.POWER_UP, EventKind.FIRST_BREATH)


class Spans(NamedTuple):
    """Stretches without supply as single meters told them; arrays of equal length, times in microseconds."""

    meter: Ints
    start: Ints  # earliest believed power-down
    end: Ints  # first evidence of life after it, `NEVER` if none
    by_read: Flags  # the end is a read: supply returned at some time before it
    authenticated: Flags
    received: Ints  # when the first message about it arrived

    def at(self, chosen: Flags | Ints) -> "Spans":
        """The chosen spans."""
        return Spans(
            self.meter[chosen],
            self.start[chosen],
            self.end[chosen],
            self.by_read[chosen],
            self.authenticated[chosen],
            self.received[chosen],
        )


class EvidenceCounts(NamedTuple):
    """What became of the events: every power event is in a span, a copy, or left out with a reason."""

    events: int
    power_events: int
    tests: int
    copies: int  # folded into an earlier report of the same change
    outranked: int  # contradicted by a power-up of the same or a later sequence
    disbelieved_time: int  # the reception time stands
    already_over: int  # told late, when the supply was known to be back


class Evidence(NamedTuple):
    """What is known of every meter."""

    spans: Spans
    ups: pl.DataFrame  # `meter`, `at`: power came back, ascending
    reads: pl.DataFrame  # `meter`, `at`: a read taken, ascending
    overdue: Ints  # per meter: a longer pause between two reads means that reads were missed; `NEVER`: not known
    counts: EvidenceCounts
    as_of: int  # newest evidence, or `until`


def read_evidence(events: pl.DataFrame, heard: pl.DataFrame, topology: Topology, params: DetectParams) -> Evidence:
    """Believe, order and fold the events; spans end with a power-up or the first read after them.

    Args:
        events: EVENTS with `meter` as `topology` numbers them (see `place_events`).
        heard: HEARD: every read of every meter that the caller holds; order and repeats do not matter.
    """
    reads = _reads(heard, topology, params)
    power = _believe(events, params)
    late = _already_over(power, params)
    power = power.join(late, on="row", how="anti").sort("meter", "at", "sequence", "up", nulls_last=False)
    spans, ups, copies, outranked = _fold(power, params)
    newest = [frame[name].max() for frame, name in ((power, "at"), (power, "received"), (reads, "at"))]
    as_of = max((int(value) for value in newest if isinstance(value, int)), default=0)
    if params.until is not None:
        as_of = int(params.until.timestamp() * 1_000_000)
    counts = EvidenceCounts(
        events=events.height,
        power_events=power.height + late.height,
        tests=int((events["event"] == EventKind.LAST_GASP_TEST.value).sum()),
        copies=copies,
        outranked=outranked,
        disbelieved_time=int(power["disbelieved"].sum()),
        already_over=late.height,
    )
    return Evidence(_end_by_reads(spans, reads, params), ups, reads, _overdue(reads, topology), counts, as_of)


def conform_events(events: pl.DataFrame) -> pl.DataFrame:
    """EVENTS with the event's own time where the reception time is absent: a file may keep none."""
    occurred = pl.col("occurred_at").cast(UTC_US)
    received = pl.col("received_at").cast(UTC_US) if "received_at" in events.columns else pl.lit(None, UTC_US)
    return conform(events.with_columns(received_at=pl.coalesce(received, occurred)), EVENTS)


def place_events(events: pl.DataFrame, topology: Topology, params: DetectParams) -> pl.DataFrame:
    """The events that are known by `until`, with the number of their meter in `meter`."""
    placed = events.join(topology.meters.select("meter_id", "meter"), on="meter_id", how="left")
    return placed if params.until is None else placed.filter(pl.col("received_at") <= params.until)


def _reads(heard: pl.DataFrame, topology: Topology, params: DetectParams) -> pl.DataFrame:
    known = heard.join(topology.meters.select("meter_id", "meter"), on="meter_id", how="inner")
    if params.until is not None:
        known = known.filter(pl.col("read_at") <= params.until)
    return known.select("meter", at=pl.col("read_at").to_physical()).sort("meter", "at")


def _overdue(reads: pl.DataFrame, topology: Topology) -> Ints:
    """One and a half times the usual pause of each meter; of all meters where its own record is too short."""
    pauses = reads.select("meter", pause=pl.col("at") - pl.col("at").shift(1).over("meter")).drop_nulls()
    own = pauses.group_by("meter").agg(pause=pl.col("pause").median(), count=pl.len()).filter(pl.col("count") >= 3)
    overdue = np.full(len(topology.customer), NEVER)
    if pauses.height >= 3:
        overdue[:] = int(pauses["pause"].median() * 3 // 2)
    overdue[own["meter"].to_numpy()] = (own["pause"].to_numpy() * 3 // 2).astype(np.int64)
    return overdue


def _believe(events: pl.DataFrame, params: DetectParams) -> pl.DataFrame:
    occurred, received = pl.col("occurred_at"), pl.col("received_at")
    earliest, latest = received - timedelta(seconds=params.late_s), received + timedelta(seconds=params.early_s)
    return (
        events.filter(pl.col("event").is_in([*DOWN, *UP]))
        .with_row_index("row")
        .select(
            "row",
            "meter",
            "sequence",
            "authenticated",
            up=pl.col("event").is_in(list(UP)),
            origin=pl.col("origin").to_physical(),
            occurred=occurred.to_physical(),
            received=received.to_physical(),
            disbelieved=~occurred.is_between(earliest, latest),
            at=pl.when(occurred.is_between(earliest, latest)).then(occurred).otherwise(received).to_physical(),
        )
    )


def _already_over(power: pl.DataFrame, params: DetectParams) -> pl.DataFrame:
    """Late power-downs of a meter whose supply was seen to return between their own time and their reception.

    A meter's log brings the same outage again hours later (outage.md section 1): a second record, not a second outage.
    """
    late = power.filter(pl.col("disbelieved") & ~pl.col("up") & (pl.col("occurred") < pl.col("received")))
    if late.is_empty():
        return late.select("row")
    returned = power.filter("up").select("meter", returned="at").sort("returned")
    told = late.select("row", "meter", "occurred", told=pl.col("received") + params.early_s * 1_000_000).sort("told")
    pairs = told.join_asof(
        returned, left_on="told", right_on="returned", by="meter", strategy="backward", check_sortedness=False
    )
    return pairs.filter(pl.col("returned") > pl.col("occurred")).select("row")


def _fold(power: pl.DataFrame, params: DetectParams) -> tuple[Spans, pl.DataFrame, int, int]:
    power, outranked = _without_outranked(power, params)
    meter, up = power["meter"].to_numpy(), power["up"].to_numpy()
    at, received = power["at"].to_numpy(), power["received"].to_numpy()
    if not len(meter):
        none = np.empty(0, np.int64)
        return (
            Spans(none, none, none, none > 0, none > 0, none),
            pl.DataFrame({"meter": none, "at": none}),
            0,
            outranked,
        )
    begins = np.flatnonzero(np.r_[True, (meter[1:] != meter[:-1]) | (up[1:] != up[:-1])])
    run_meter, run_up, run_at = meter[begins], up[begins], at[begins]
    run_received = np.minimum.reduceat(received, begins)
    run_authenticated = np.logical_or.reduceat(power["authenticated"].to_numpy(), begins)
    ended = np.r_[(run_meter[1:] == run_meter[:-1]) & run_up[1:], False]
    end = np.where(ended, np.r_[run_at[1:], NEVER], NEVER)
    down = ~run_up
    spans = Spans(
        run_meter[down],
        run_at[down],
        end[down],
        np.zeros(int(down.sum()), bool),
        run_authenticated[down],
        run_received[down],
    )
    ups = pl.DataFrame({"meter": run_meter[run_up], "at": run_at[run_up]})
    return spans, ups, len(meter) - len(begins), outranked


def _without_outranked(power: pl.DataFrame, params: DetectParams) -> tuple[pl.DataFrame, int]:
    """Leave out what a sequence disproves, within the hour in which clocks and paths may mix the order up.

    Power-downs up to the sequence of a power-up before them; power-ups below the sequence of a power-down before them.
    """
    up = power["up"].to_numpy()
    sequence = power["sequence"].fill_null(-1).to_numpy()
    if not len(up) or sequence.max() < 0:
        return power, 0
    place = np.arange(len(up))
    meter, origin, at = power["meter"].to_numpy(), power["origin"].to_numpy(), power["at"].to_numpy()
    before = np.where(
        up, np.maximum.accumulate(np.where(up, -1, place)), np.maximum.accumulate(np.where(up, place, -1))
    )
    same = (before >= 0) & (meter == meter[before]) & (origin == origin[before])
    near = (at - at[before] <= params.late_s * 1_000_000) & (sequence >= 0) & (sequence[before] >= 0)
    disproved = same & near & np.where(up, sequence < sequence[before], sequence <= sequence[before])
    return power.filter(~disproved), int(disproved.sum())


def _end_by_reads(spans: Spans, reads: pl.DataFrame, params: DetectParams) -> Spans:
    if reads.is_empty() or not len(spans.meter):
        return spans
    read = first_after(reads, spans.meter, spans.start + params.clock_tolerance_s * 1_000_000)
    by_read = read < spans.end
    return spans._replace(end=np.where(by_read, read, spans.end), by_read=by_read)


def first_after(told: pl.DataFrame, meter: Ints, after: Ints) -> Ints:
    """For each (meter, instant) the first time in `told` (`meter`, `at`, ascending) later than it, or `NEVER`."""
    place = _places(told, meter, after)
    ahead = np.minimum(place, max(told.height - 1, 0))
    if not told.height:
        return np.full(len(meter), NEVER)
    there = (place < told.height) & (told["meter"].to_numpy()[ahead] == meter)
    return np.where(there, told["at"].to_numpy()[ahead], NEVER)


def last_until(told: pl.DataFrame, meter: Ints, until: Ints) -> Ints:
    """For each (meter, instant) the last time in `told` not later than it, or -1."""
    if not told.height:
        return np.full(len(meter), -1)
    place = _places(told, meter, until) - 1
    behind = np.maximum(place, 0)
    there = (place >= 0) & (told["meter"].to_numpy()[behind] == meter)
    return np.where(there, told["at"].to_numpy()[behind], -1)


def _places(told: pl.DataFrame, meter: Ints, instant: Ints) -> Ints:
    """Number of entries of `told` at or before each (meter, instant), by one key of both in milliseconds."""
    meters, times = told["meter"].to_numpy(), told["at"].to_numpy() // 1000
    low = int(times.min()) if len(times) else 0
    width = (int(times.max()) - low if len(times) else 0) + 2
    wanted = meter * width + np.clip(instant // 1000 - low, -1, width - 2) + 1
    places: Ints = np.searchsorted(meters * width + (times - low) + 1, wanted, "right")
    return places
