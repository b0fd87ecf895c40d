"""Which events are believed, when they happened, and how copies and contradictions fold into spans."""

from datetime import timedelta
from typing import Final, NamedTuple

import numpy as np
import polars as pl

from outage.params import DetectParams
from outage.spans import NEVER, Spans, no_spans
from outage.topology import Flags, Ints
from schemas.codes import EventKind
from schemas.frames import EVENTS, PROVENANCE, conform

DOWN: Final = (EventKind.POWER_DOWN, EventKind.LAST_GASP)
UP: Final = (EventKind.POWER_UP, EventKind.FIRST_BREATH)


FILED_EVENTS: Final = EVENTS._replace(
    nullable=EVENTS.nullable | frozenset(PROVENANCE), optional=EVENTS.optional | {"code", *PROVENANCE}
)
"""EVENTS as a file may hold them: where and when a message was received need not be known."""


RETURNS: Final = pl.Schema(
    {
        "meter": pl.Int64(),
        "at": pl.Int64(),
        "received": pl.Int64(),
        "authenticated": pl.Boolean(),
        "lone": pl.Boolean(),  # no power-down of the meter is known before it
    }
)
"""One row is one return of a meter's supply by its own word. Times in microseconds."""


class Folded(NamedTuple):
    """Power events of all meters, folded."""

    spans: Spans
    ups: pl.DataFrame  # `RETURNS`: power came back, ascending
    unproven: pl.DataFrame  # `meter`, `at`: power-ups in clear text that would have ended what a meter had proven
    copies: int
    outranked: int
    disbelieved_time: int
    already_over: int
    newest: int  # latest reception or believed time, -1 if there is none


def conform_events(events: pl.DataFrame) -> pl.DataFrame:
    """EVENTS out of what a file may hold: without provenance, and with the event's own time for its reception.

    Raises:
        ContractError: A column besides those of the provenance is absent, or one has another type.
    """
    rows = conform(events, FILED_EVENTS)
    return conform(
        rows.with_columns(
            pl.col("topic").fill_null(""),
            pl.col("partition", "offset", "frame").fill_null(0),
            received_at=pl.coalesce("received_at", "occurred_at"),
        ),
        EVENTS,
    )


def known_events(events: pl.DataFrame, params: DetectParams) -> pl.DataFrame:
    """The events that are known by `until`."""
    return events if params.until is None else events.filter(pl.col("received_at") <= params.until)


def believe(events: pl.DataFrame, params: DetectParams) -> pl.DataFrame:
    """`meter`, `event`, `at` (believed, microseconds) and what ranks events, in the order of the rows.

    An event's own time is believed within [received - `late_s`, received + `early_s`]; else its reception stands and
    `disbelieved` is true (outage.md section 3).
    """
    occurred, received = pl.col("occurred_at"), pl.col("received_at")
    plausible = occurred.is_between(
        received - timedelta(seconds=params.late_s), received + timedelta(seconds=params.early_s)
    )
    return events.select(
        "meter",
        "event",
        "sequence",
        "authenticated",
        origin=pl.col("origin").to_physical(),
        occurred=occurred.to_physical(),
        received=received.to_physical(),
        disbelieved=~plausible,
        at=pl.when(plausible).then(occurred).otherwise(received).to_physical(),
    )


def fold(
    believed: pl.DataFrame, down: tuple[EventKind, ...], up: tuple[EventKind, ...], params: DetectParams
) -> Folded:
    """The spans between power-downs and power-ups of each meter; repeats of either fold into the first.

    Args:
        believed: Rows of `believe`; their order does not matter.
        down: Kinds that begin a span.
        up: Kinds that end one.
        params: Windows of belief.
    """
    power = (
        believed.filter(pl.col("event").is_in([*down, *up]))
        .with_columns(up=pl.col("event").is_in(list(up)))
        .with_row_index("row")
    )
    late = _already_over(power, params)
    power = power.join(late, on="row", how="anti") if late.height else power
    power = power.drop("event", "occurred", "row")[_order(power)]
    newest = max(_newest(power["at"]), _newest(power["received"]))
    ranked, outranked = _without_outranked(power, params)
    unproven = _unproven(ranked)
    spans, ups, copies = _runs(ranked.filter(~unproven), params)
    return Folded(
        spans, ups, ranked.filter(unproven).select("meter", "at"), copies, outranked,
        int(power["disbelieved"].sum()), late.height, newest,
    )  # fmt: skip


def _order(power: pl.DataFrame) -> Ints:
    """The rows by meter, time, sequence (unknown ones first), and downs before ups."""
    meter, at = power["meter"].to_numpy(), power["at"].to_numpy()
    up, sequence = power["up"].to_numpy(), power["sequence"].fill_null(-1).to_numpy()
    low = int(at.min()) if len(at) else 0
    width = int(at.max()) - low + 1 if len(at) else 1
    if width > 2**62 // (int(meter.max(initial=0)) + 1):
        return np.lexsort((up, sequence, at, meter))
    key = meter * width + at - low
    order = np.argsort(key)
    alike = key[order][1:] == key[order][:-1]
    # Copies of a message bear one time: only they need more than one key.
    places = np.flatnonzero(np.r_[alike, False] | np.r_[False, alike]) if len(order) else order
    tied = order[places]
    order[places] = tied[np.lexsort((tied, up[tied], sequence[tied], key[tied]))]
    return order


def _newest(times: pl.Series) -> int:
    newest = times.max()
    return newest if isinstance(newest, int) else -1


def _already_over(power: pl.DataFrame, params: DetectParams) -> pl.DataFrame:
    """Late power-downs of a meter whose supply was seen to return between their own time and their reception.

    A meter's log brings the same outage again hours later (outage.md section 1): a second record, not a second outage.
    A return in clear text says nothing against what the meter has proven.
    """
    late = power.filter(pl.col("disbelieved") & ~pl.col("up") & (pl.col("occurred") < pl.col("received")))
    if late.is_empty():
        return late.select("row")
    told = late.select(
        "row", "meter", "occurred", "authenticated", told=pl.col("received") + params.early_s * 1_000_000
    ).sort("told")
    over = []
    for proven in (True, False):
        returned = power.filter(pl.col("up"), pl.col("authenticated") | (not proven)).select("meter", returned="at")
        pairs = told.filter(pl.col("authenticated") == proven).join_asof(
            returned.sort("returned"), left_on="told", right_on="returned", by="meter", strategy="backward",
            check_sortedness=False,
        )  # fmt: skip
        over.append(pairs.filter(pl.col("returned") > pl.col("occurred")).select("row"))
    return pl.concat(over)


def _without_outranked(power: pl.DataFrame, params: DetectParams) -> tuple[pl.DataFrame, int]:
    """Leave out what a sequence disproves, within the hour in which clocks and paths may mix the order up.

    Power-downs up to the sequence of a power-up before them; power-ups below the sequence of a power-down before them.
    Clear text disproves nothing that is authenticated.
    """
    sequence = power["sequence"].fill_null(-1).to_numpy()
    if not len(sequence) or sequence.max() < 0:
        return power, 0
    proven = power["authenticated"].to_numpy()
    disproved = _disproved(power, sequence, proven, params)
    if not proven.all():
        disproved |= ~proven & _disproved(power, sequence, ~proven, params)
    return power.filter(~disproved), int(disproved.sum())


def _disproved(power: pl.DataFrame, sequence: Ints, by: Flags, params: DetectParams) -> Flags:
    """Rows that the newest event of the other kind before them, of those that `by` names, disproves."""
    up = power["up"].to_numpy()
    place = np.arange(len(up))
    meter, origin, at = power["meter"].to_numpy(), power["origin"].to_numpy(), power["at"].to_numpy()
    last_up = np.maximum.accumulate(np.where(up & by, place, -1))
    last_down = np.maximum.accumulate(np.where(~up & by, place, -1))
    before = np.where(up, last_down, last_up)
    same = (before >= 0) & (meter == meter[before]) & (origin == origin[before])
    near = (at - at[before] <= params.late_s * 1_000_000) & (sequence >= 0) & (sequence[before] >= 0)
    flags: Flags = same & near & np.where(up, sequence < sequence[before], sequence <= sequence[before])
    return flags


def _unproven(power: pl.DataFrame) -> pl.Series:
    """Power-ups in clear text after an authenticated power-down of the meter that nothing authenticated has ended.

    A forged return would hide a real fault (outage.md section 7): a read, a ping or the meter's own word ends it.
    """
    up, proven = power["up"].to_numpy(), power["authenticated"].to_numpy()
    if proven.all() or not proven.any():
        return pl.repeat(value=False, n=power.height, dtype=pl.Boolean, eager=True)
    meter, place = power["meter"].to_numpy(), np.arange(power.height)
    last = np.maximum.accumulate(np.where(proven, place, -1))
    return pl.Series(up & ~proven & (last >= 0) & (meter == meter[last]) & ~up[last])


def _runs(power: pl.DataFrame, params: DetectParams) -> tuple[Spans, pl.DataFrame, int]:
    meter, up = power["meter"].to_numpy(), power["up"].to_numpy()
    if not len(meter):
        return no_spans(), RETURNS.to_frame(), 0
    at, told = power["at"].to_numpy(), power["authenticated"].to_numpy()
    # Copies of a return carry its time; one that is an hour younger ends an outage of which nothing was heard.
    again = up[1:] & ~power["disbelieved"].to_numpy()[1:] & (at[1:] - at[:-1] > params.late_s * 1_000_000)
    begins = np.flatnonzero(np.r_[True, (meter[1:] != meter[:-1]) | (up[1:] != up[:-1]) | again])
    run_meter, run_up, run_at = meter[begins], up[begins], at[begins]
    received = np.minimum.reduceat(power["received"].to_numpy(), begins)
    authenticated = np.logical_or.reduceat(told, begins)
    # A forged gasp ahead of the meter's own word does not date its outage.
    own_at = np.minimum.reduceat(np.where(told, at, NEVER), begins)
    run_at = np.where(authenticated, own_at, run_at)
    follows = np.r_[False, run_meter[1:] == run_meter[:-1]]
    ended = np.r_[follows[1:] & run_up[1:], False]
    end = np.where(ended, np.r_[run_at[1:], NEVER], NEVER)
    down = ~run_up
    none = np.zeros(int(down.sum()), bool)
    spans = Spans(run_meter[down], run_at[down], end[down], none, authenticated[down], none, none, received[down])
    lone = ~(follows & np.r_[False, down[:-1]])
    ups = (run_meter[run_up], run_at[run_up], received[run_up], authenticated[run_up], lone[run_up])
    return spans, pl.DataFrame(dict(zip(RETURNS, ups, strict=True)), schema=RETURNS), len(meter) - len(begins)
