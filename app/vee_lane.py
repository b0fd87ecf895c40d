"""VEE as a worker: dirty days, collected for a while, then judged by the bucket of meters.

    ami.dirty-days ──poll─► days by bucket ─load_context─► run_vee ─► EXCEPTIONS, FINALS ─append─► commit

What is on its way is awaited, an area that is silent as a whole is waited for (`app.silences`); what has become due
without any data the worker says itself (`app.revisits`). Beside the days that are dirty a meter is judged as far as new
data reach into what was judged before (`app.vee_grids`): so that a batch costs what its meters brought.
"""

import logging
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import date, datetime, timedelta
from typing import Final, NamedTuple

import msgspec
import polars as pl

from app.final_days import final_days
from app.messages import from_messages
from app.refused import store_all, store_rejects
from app.silences import Silences
from app.telemetry import VEE_DELTAS, VEE_INTERVALS, VEE_UNJUDGED
from app.unreadable import read, rejects_of_messages
from app.vee_apart import Apart
from app.vee_grids import begun, grids_of
from app.vee_months import LONGEST_MONTH, months_to_judge
from app.vee_peaks import KnownPeaks
from app.workers import Registry
from ingest.derived import bucket_of
from ingest.kafka.source import Position
from schemas.codes import Rule
from schemas.frames import DIRTY_DAYS, FINAL_ENDS, FINAL_PEAKS
from schemas.timegrid import day_bounds, zone
from storage.store import Context, ReadingStore, Scope
from validation.params import SilenceLimits, VeeParams
from validation.rules.sets import RuleSet
from validation.vee import Vee, VeeInputs, run_vee
from validation.withdrawal import compare

LOG = logging.getLogger("ami.vee")

METERS_A_QUERY: Final = 500
"""Meters whose context is loaded and judged at once, at most."""
METER_DAYS_A_QUERY: Final = 4_000
"""Days of all of them together, history included: some 600,000 quarters of an hour of two channels. A worker holds one
such context at a time, so its memory does not follow the length of the history."""
FIRST_DAY: Final = date(1905, 1, 1)
LAST_DAY: Final = date(2294, 12, 31)
"""DateTime64 reaches from 1900 to 2299, and a day is judged beside others. A meter's clock names any up to 9999."""
LONGEST_RUN_DAYS: Final = 366
"""A stretch of dirty days that is judged at once, at most: days that each lie within the history of the one before may
go on for decades, and judging has an end at ten years, for every meter of the bucket."""
NO_PERIOD: Final = RuleSet("the days of a batch are no billing period", {Rule.BILLING_GATE.value: {"on": False}})
"""Without `gate_months`: shares of a period (V36) cannot be told of the days that happen to be judged together."""
_FEW: Final = 20
"""Meters whose finals tell since when days are judged."""


class Due(NamedTuple):
    """What a batch makes due."""

    scopes: list[Scope]
    rejects: pl.DataFrame
    """REJECTS of messages that are no dirty days."""


class VeeWork:
    """Dirty days, collected for a while, then judged by the bucket of meters."""

    def __init__(
        self,
        store: ReadingStore,
        meters: pl.DataFrame,
        params: VeeParams,
        now: Callable[[], datetime],
        final_after: timedelta | None = None,
    ) -> None:
        """`final_after`: how long after their interval estimates become final ones (E14); None: never."""
        self._final_after = final_after
        self._store, self._now, self._silences = store, now, Silences()
        self._peaks = KnownPeaks()
        sets = params.rule_sets if params.gate_months else (NO_PERIOD, *params.rule_sets)
        self._params = msgspec.structs.replace(params, rule_sets=sets)
        self._know(meters)

    def adopt(self, positions: tuple[Position, ...]) -> None:
        """Nothing is carried from batch to batch."""

    def enrol(self, registry: Registry) -> None:
        """From the next batch on its meters are judged."""
        self._know(registry.meters)

    def _know(self, meters: pl.DataFrame) -> None:
        names = meters["meter_id"].unique().sort()
        self._buckets = pl.DataFrame({"meter_id": names, "bucket": bucket_of(names)})
        self._beside = companions(meters)
        checked = meters.select("meter_id", "check_of").drop_nulls().unique()
        # A main meter is judged by its check meter's data too, which stand in a bucket of their own.
        self._judged_with = pl.concat(
            [self._buckets, checked.select(pl.col("check_of").alias("meter_id"), bucket=bucket_of(checked["meter_id"]))]
        ).unique(maintain_order=True)
        self._zones = meters["timezone"].drop_nulls().unique().to_list() or ["UTC"]

    def due(self, store: ReadingStore) -> pl.DataFrame:
        """DIRTY_DAYS in which something awaited has become due: an interval that never came, an area's silence, or the
        deadline after which estimates are final.

        `store` is the caller's own: batches are delivered by another thread over the connection of this work.
        """
        awaited = timedelta(seconds=self._params.estimate_after_s or 0)
        now = self._now()
        few = self._buckets["meter_id"].gather_every(max(1, self._buckets.height // _FEW))
        judged = store.load_current(
            "finals", Scope(tuple(few), now - timedelta(days=self._params.context_days), now - awaited)
        )
        begun: datetime | None = next(iter(judged["interval_start"].sort().head(1)), None)
        if begun is None:
            return DIRTY_DAYS.empty()  # before the first day that was judged nothing is awaited
        reach = max(awaited, timedelta(hours=SilenceLimits().longest_h)) + timedelta(days=1)
        first, last = (
            [instant.astimezone(zone(name)).date() for name in self._zones]
            for instant in (max(begun, now - reach), now - awaited)
        )
        days = pl.date_range(min(first), max(last), eager=True).alias("day")
        if self._final_after is not None:
            final = final_days(store, tuple(few), now - self._final_after, self._zones)
            days = pl.concat([pl.Series("day", final, dtype=pl.Date), days]).unique(maintain_order=True)
        return self._buckets.select("bucket").unique().sort("bucket").join(days.to_frame(), how="cross")

    def prepare(self, messages: pl.DataFrame) -> Due:
        """Meters and spans whose raw data changed, each once; meters of one span together, so that few queries ask."""
        days, unreadable = read(messages, lambda part: from_messages(part["value"].to_list(), DIRTY_DAYS))
        return Due(self._scopes(_within_tables(days)), rejects_of_messages(unreadable, pl.col("at")))

    def _scopes(self, dirty: pl.DataFrame) -> list[Scope]:
        dirty = dirty.unique().sort("bucket", "day")
        # Days further apart than the history reaches have no context in common: what lies between stays as it is.
        apart = pl.col("day").diff().over("bucket") > timedelta(days=self._params.context_days)
        runs = dirty.with_columns(run=apart.fill_null(value=False).cum_sum().over("bucket"))
        into_run = pl.col("day") - pl.col("day").min().over("bucket", "run")
        days = runs.group_by("bucket", "run", part=into_run.dt.total_days() // LONGEST_RUN_DAYS).agg(
            first=pl.col("day").min(), after=pl.col("day").max() + timedelta(days=1)
        )
        meters = self._judged_with.join(days, on="bucket").select("meter_id", "first", "after").unique()
        meters = meters.sort("first", "after", "meter_id")
        history = 2 * self._params.context_days + (LONGEST_MONTH.days if self._params.gate_months else 0)
        return [
            Scope(
                tuple(part["meter_id"].to_list()),
                min(day_bounds(first, name)[0] for name in self._zones),
                max(day_bounds(after, name)[0] for name in self._zones),
            )
            for (first, after), together in meters.group_by("first", "after", maintain_order=True)
            for part in together.iter_slices(_meters_at_once((after - first).days + history))
        ]

    def deliver(self, due: Due, token: str) -> None:
        """Judged and stored; no estimates where an area is silent. Judging a day again appends only what differs."""
        store_rejects(self._store, due.rejects, token)
        scopes = due.scopes
        now, run_id = self._now(), str(uuid.uuid4())
        silences = self._silences.at(now, self._store) if scopes else ()
        deadline = None if self._final_after is None else now - self._final_after
        params = msgspec.structs.replace(
            self._params, judged_at=now, run_id=run_id, silences=silences, final_before=deadline
        )
        for judged in judge(self._store, scopes, params, self._beside, self._zones, self._peaks):
            told = judged.appended.group_by("quality", "method").len()
            for quality, method, finals in told.rows():
                VEE_INTERVALS.labels(quality=quality, method=method or "").inc(finals)
            for rule, lacking in judged.unjudged.select(pl.col("rule").cast(pl.String), "intervals").rows():
                VEE_UNJUDGED.labels(rule=rule).inc(lacking)
            for reason, moved in judged.deltas.group_by("reason").len().rows():
                VEE_DELTAS.labels(reason=reason).inc(moved)


def companions(meters: pl.DataFrame) -> pl.DataFrame:
    """Which other meters a meter is judged beside: its check meter, those at its service point. `meter_id`, `other`.

    They stand in buckets of their own, and are loaded with it: E1 and V33 need the one, V26 the others.
    """
    checks = meters.select(pl.col("check_of").alias("meter_id"), pl.col("meter_id").alias("other")).drop_nulls()
    at_point = meters.select("meter_id", "service_point_id").drop_nulls().unique()
    at_point = at_point.filter(pl.len().over("service_point_id") > 1)
    mates = at_point.join(at_point.rename({"meter_id": "other"}), on="service_point_id").select("meter_id", "other")
    return pl.concat([checks, mates]).filter(pl.col("meter_id") != pl.col("other")).unique().sort("meter_id", "other")


def _within_tables(dirty: pl.DataFrame) -> pl.DataFrame:
    """The days that a table's instants reach, with their context. Others are told: a clock named them, nobody lives."""
    within = dirty.filter(pl.col("day").is_between(FIRST_DAY, LAST_DAY))
    if within.height < dirty.height:
        left_out = {"days": dirty.height - within.height}
        LOG.warning("days are not judged that no table reaches", extra={"fields": left_out})
    return within


def _meters_at_once(days: int) -> int:
    return max(1, min(METERS_A_QUERY, METER_DAYS_A_QUERY // days))


def judge(
    store: ReadingStore,
    buckets: Iterable[Scope],
    params: VeeParams,
    beside: pl.DataFrame | None = None,
    zones: Sequence[str] = ("UTC",),
    peaks: KnownPeaks | None = None,
) -> Iterator[Vee]:
    """Judge meters by the bucket: context in, new versions of finals and exceptions out.

    Args:
        store: Where raw data are and finals go.
        buckets: Meters and the span [start, end) whose finals are wanted.
        params: `context_days` of history are loaded beside each bucket, whose bounds are those of its grid. With
            `estimate_after_s` single meters are judged further, as `app.vee_grids` says; with `gate_months` those that
            have news in months that are over for all of these (`app.vee_months`).
        beside: `companions` of the meters, where not all of those stand in the same bucket.
        peaks: What is known of the time before the history; None: nothing.
        zones: Of the meters.

    Yields:
        Each judgement of meters of one grid, after its rows were acknowledged; one that the store refuses for good is
        told and left out, and so is a meter at which judging fails (`app.vee_apart`). Doing a bucket again appends
        nothing: a finding that is stored is not stored again by another run; one that no longer holds is withdrawn.

    Raises:
        TerminalError: After all others, where too many meters cannot be judged, or their finals not stored.
    """
    reach, apart = timedelta(days=params.context_days), Apart()
    service = store.has_rows("events")
    params = msgspec.structs.replace(params, service_known=service, supply_known=service or store.has_rows("outages"))
    for asked in buckets:
        ends = FINAL_ENDS.empty()
        if params.gate_months or params.estimate_after_s is not None:
            further = max(reach, LONGEST_MONTH)
            ends = store.load_ends(Scope(asked.meters, asked.start - reach, asked.end + further))
        source = _Source(store, reach, beside, peaks, apart)
        context, past = _load_around(source, asked)
        for part in begun(context, ends, asked, zones):
            grids: Sequence[Scope] = (part,)
            if params.estimate_after_s is not None:
                grids = grids_of(context, ends, part)
            for grid in grids:
                mine = context if grid.meters == asked.meters else _beside(context, source, grid.meters)
                for some, judged in _judged(source, grid, (mine, past), params):
                    months = None
                    if params.gate_months:
                        months = months_to_judge(judged.appended, ends, mine.meters, some, params.timezone)
                    yield from _stored(source, (some, judged), months, params)
    apart.check()


class _Source(NamedTuple):
    store: ReadingStore
    reach: timedelta
    beside: pl.DataFrame | None
    peaks: KnownPeaks | None
    apart: Apart


def _load_around(source: _Source, bucket: Scope) -> tuple[Context, pl.DataFrame]:
    """What a bucket is judged by: its context, and FINAL_PEAKS of the time before that."""
    others = () if source.beside is None else _others(source.beside, bucket.meters)
    around = Scope((*bucket.meters, *others), bucket.start - source.reach, bucket.end + source.reach)
    context = source.store.load_context(around, finals=False)
    if source.peaks is None:
        return context, FINAL_PEAKS.empty()
    return context, source.peaks.before(source.store, context.meters, around.start)


def _judged(
    source: _Source, grid: Scope, by: tuple[Context, pl.DataFrame], params: VeeParams
) -> Iterator[tuple[Scope, Vee]]:
    """The judgements of a grid: one, or more without a meter at which judging fails; of those meters alone."""
    context, past = by
    bounded = msgspec.structs.replace(params, grid_from=grid.start, grid_to=grid.end)
    context = context._replace(finals=source.store.load_current("finals", grid))

    def run(part: Scope) -> Vee:
        mine = context if part.meters == grid.meters else _beside(context, source, part.meters)
        return run_vee(VeeInputs(*mine, peaks=past), bounded)

    for part, judged in source.apart.judge(grid, run):
        yield part, _only_of(judged, part.meters)


def _stored(source: _Source, judgement: tuple[Scope, Vee], months: Scope | None, params: VeeParams) -> Iterator[Vee]:
    """A judgement, and in place of it whole months of the meters that have news in them, after all was stored.

    Not both: a crash between the two would leave finals without the gate of their month (V36), and nothing new in it.
    """
    grid, judged = judgement
    if months is None:
        yield _store(source, grid, judged, params)
        return
    rest = grid._replace(meters=tuple(name for name in grid.meters if name not in set(months.meters)))
    if rest.meters:
        yield _store(source, rest, _only_of(judged, rest.meters), params)
    for part, whole in _judged(source, months, _load_around(source, months), params):
        yield _store(source, part, whole, params)


def _store(source: _Source, grid: Scope, judged: Vee, params: VeeParams) -> Vee:
    """What is new of a judgement is stored."""
    token = f"vee {params.run_id} {grid.meters[0]} {grid.start.isoformat()} {grid.end.isoformat()}"
    store, reach = source.store, max(source.reach, LONGEST_MONTH)
    known = store.load_open_exceptions(grid._replace(start=grid.start - reach))
    told = compare(known, judged.exceptions, judged.finals, (grid.start, grid.end))
    withdrawn = told.withdrawn.with_columns(resolved_at=pl.lit(params.judged_at))
    # The finals last: a judgement that is cut short between the two is made again, and finds what it found.
    store_all(store, "exceptions", pl.concat([told.news, withdrawn], how="diagonal"), token)
    refused = store_all(store, "finals", judged.appended, token)
    source.apart.refuse(refused["meter_id"])
    return judged


def _beside(context: Context, source: _Source, meters: tuple[str, ...]) -> Context:
    """The rows of those meters, and of those that they are judged beside."""
    mates = () if source.beside is None else _others(source.beside, meters)
    return _of(context, (*meters, *mates))


def _others(beside: pl.DataFrame, meters: tuple[str, ...]) -> tuple[str, ...]:
    """Companions of the meters that are not among them."""
    mine = pl.DataFrame({"meter_id": meters}, schema={"meter_id": pl.String})
    others = beside.join(mine, on="meter_id", how="semi").select(meter_id="other").join(mine, on="meter_id", how="anti")
    return tuple(others["meter_id"].unique().sort().to_list())


def _of(context: Context, meters: tuple[str, ...]) -> Context:
    """The rows of those meters; outages are of places."""
    return Context(*(rows if name == "outages" else _only(rows, meters) for name, rows in context._asdict().items()))


def _only_of(judged: Vee, meters: tuple[str, ...]) -> Vee:
    return Vee(*(frame if "meter_id" not in frame.columns else _only(frame, meters) for frame in judged))


def _only(rows: pl.DataFrame, meters: tuple[str, ...]) -> pl.DataFrame:
    return rows.filter(pl.col("meter_id").is_in(meters))
