"""VEE as a worker: dirty days, collected for a while, then judged by the bucket of meters.

    ami.dirty-days ──poll─► days by bucket ─load_context─► run_vee ─► FINALS, EXCEPTIONS ─append─► commit

What is on its way is awaited, an area that is silent as a whole is waited for (`app.silences`); what has become due
without any data the worker says itself (`app.revisits`).
"""

import uuid
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta
from typing import Final

import msgspec
import polars as pl

from app.messages import from_messages
from app.silences import Silences
from app.telemetry import VEE_INTERVALS
from app.workers import Registry
from ingest.derived import bucket_of
from ingest.kafka.source import Position
from schemas.codes import Rule
from schemas.frames import DIRTY_DAYS, EXCEPTIONS
from schemas.timegrid import day_bounds, zone
from storage.store import Context, ReadingStore, Scope
from validation.params import SilenceLimits, VeeParams
from validation.rules.sets import RuleSet
from validation.vee import Vee, VeeInputs, run_vee

METERS_A_QUERY: Final = 500
"""Meters whose context is loaded and judged at once: with 28 days of quarters on both sides some 8 million rows."""
NO_PERIOD: Final = RuleSet("the days of a batch are no billing period", {Rule.BILLING_GATE.value: {"on": False}})
"""Shares of a period (V36) cannot be told of the days that happen to be judged together: `ami vee` over a period does.
In a cluster billing holds a line by its missing, and by its estimated and suspect, intervals; by no other share."""
_FEW: Final = 20
"""Meters whose finals tell since when days are judged."""
_FINDING: Final = [name for name in EXCEPTIONS.schema if name != "run_id"]


class VeeWork:
    """Dirty days, collected for a while, then judged by the bucket of meters."""

    def __init__(
        self, store: ReadingStore, meters: pl.DataFrame, params: VeeParams, now: Callable[[], datetime]
    ) -> None:
        self._store, self._now, self._silences = store, now, Silences()
        self._params = msgspec.structs.replace(params, rule_sets=(NO_PERIOD, *params.rule_sets))
        self._know(meters)

    def adopt(self, positions: tuple[Position, ...]) -> None:
        """Nothing is carried from batch to batch."""

    def enrol(self, registry: Registry) -> None:
        """From the next batch on its meters are judged."""
        self._know(registry.meters)

    def _know(self, meters: pl.DataFrame) -> None:
        names = meters["meter_id"].unique().sort()
        self._buckets = pl.DataFrame({"meter_id": names, "bucket": bucket_of(names)})
        self._zones = meters["timezone"].drop_nulls().unique().to_list() or ["UTC"]

    def due(self, store: ReadingStore) -> pl.DataFrame:
        """DIRTY_DAYS in which something awaited has become due: an interval that never came, or an area's silence.

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
        return self._buckets.select("bucket").unique().sort("bucket").join(days.to_frame(), how="cross")

    def prepare(self, messages: pl.DataFrame) -> list[Scope]:
        """Meters and spans whose raw data changed, each once; meters of one span together, so that few queries ask."""
        dirty = from_messages(messages["value"].to_list(), DIRTY_DAYS).unique().sort("bucket", "day")
        # Days further apart than the history reaches have no context in common: what lies between stays as it is.
        apart = pl.col("day").diff().over("bucket") > timedelta(days=self._params.context_days)
        days = dirty.group_by("bucket", run=apart.fill_null(value=False).cum_sum().over("bucket")).agg(
            first=pl.col("day").min(), after=pl.col("day").max() + timedelta(days=1)
        )
        meters = self._buckets.join(days, on="bucket").sort("first", "after", "meter_id")
        return [
            Scope(
                tuple(part["meter_id"].to_list()),
                min(day_bounds(first, name)[0] for name in self._zones),
                max(day_bounds(after, name)[0] for name in self._zones),
            )
            for (first, after), together in meters.group_by("first", "after", maintain_order=True)
            for part in together.iter_slices(METERS_A_QUERY)
        ]

    def deliver(self, scopes: list[Scope], token: str) -> None:  # noqa: ARG002  judgements have tokens of their own
        """Judged and stored; no estimates where an area is silent. Judging a day again appends only what differs."""
        now, run_id = self._now(), str(uuid.uuid4())
        silences = self._silences.at(now, self._store) if scopes else ()
        params = msgspec.structs.replace(self._params, judged_at=now, run_id=run_id, silences=silences)
        for judged in judge(self._store, scopes, params):
            told = judged.appended.group_by("quality", "method").len()
            for quality, method, finals in told.rows():
                VEE_INTERVALS.labels(quality=quality, method=method or "").inc(finals)


def judge(store: ReadingStore, buckets: Iterable[Scope], params: VeeParams) -> Iterator[Vee]:
    """Judge meters by the bucket: context in, new versions of finals and exceptions out.

    Args:
        store: Where raw data are and finals go.
        buckets: Meters and the span [start, end) whose finals are wanted.
        params: `context_days` of history are loaded beside each bucket, whose bounds are those of its grid. With
            `estimate_after_s` a grid begins earlier where finals of its meters ended before it: what was still awaited
            then has become due.

    Yields:
        The judgement of each bucket, after its rows were acknowledged. Doing a bucket again appends nothing: a finding
        that is stored is not stored again by another run.
    """
    reach = timedelta(days=params.context_days)
    for bucket in buckets:
        context = store.load_context(Scope(bucket.meters, bucket.start - reach, bucket.end + reach))
        if params.estimate_after_s is not None:
            awaited = timedelta(seconds=params.estimate_after_s)
            bucket = bucket._replace(start=_unfinished_from(context, bucket.start, awaited))
        judged = run_vee(
            VeeInputs(*context), msgspec.structs.replace(params, grid_from=bucket.start, grid_to=bucket.end)
        )
        token = f"vee {params.run_id} {bucket.meters[0]} {bucket.start.isoformat()} {bucket.end.isoformat()}"
        store.append("finals", judged.appended, token)
        known = store.load_current("exceptions", bucket)
        news = judged.exceptions.join(known, on=_FINDING, how="anti", nulls_equal=True)
        store.append("exceptions", news, token)
        yield judged


def _unfinished_from(context: Context, start: datetime, awaited: timedelta) -> datetime:
    """Where the earliest series goes on whose finals end before `start`, though its meter is there; else `start`.

    One that ended longer ago than intervals are awaited, and a day, has ended for good: a channel that is sent no more.
    """
    ends = (
        context.finals.group_by("meter_id", "channel")
        .agg(at=(pl.col("interval_start") + pl.duration(seconds=pl.col("interval_s"))).max())
        .filter(pl.col("at") < start, pl.col("at") >= start - awaited - timedelta(days=1))
    )
    there = pl.col("removed_at").is_null() | (pl.col("removed_at") >= start)
    # A meter that was removed here and installed elsewhere has a row of each: one that stands makes it go on.
    gone = context.meters.group_by("meter_id").agg(there.any().alias("there")).filter(~pl.col("there"))
    going_on = ends.join(gone, on="meter_id", how="anti")
    ended: list[datetime] = going_on["at"].to_list()
    return min([start, *ended])
