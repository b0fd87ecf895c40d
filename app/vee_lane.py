"""VEE as a worker: dirty days, collected for a while, then judged by the bucket of meters.

    ami.dirty-days ──poll─► days by bucket ─► judged and stored (`app.vee_judge`) ─► commit

What is on its way is awaited, an area that is silent as a whole is waited for (`app.silences`); what has become due
without any data the worker says itself (`app.revisits`).
"""

import logging
import uuid
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final, NamedTuple

import msgspec
import polars as pl

from app.far_days import near, stored_days, within_tables
from app.final_days import final_days
from app.messages import from_messages
from app.refused import store_rejects
from app.silences import Silences
from app.telemetry import BATCH_ROWS, VEE_DELTAS, VEE_GUESSES, VEE_INTERVALS, VEE_UNJUDGED
from app.unreadable import read, rejects_of_messages
from app.vee_judge import companions, judge
from app.vee_months import LONGEST_MONTH
from app.vee_peaks import KnownPeaks
from app.workers import Registry
from ingest.derived import bucket_of
from ingest.kafka.source import Position
from schemas.codes import Rule
from schemas.frames import DIRTY_DAYS
from schemas.timegrid import day_bounds, zone
from storage.store import ReadingStore, Scope
from validation.params import SilenceLimits, VeeParams
from validation.rules.sets import RuleSet

LOG = logging.getLogger("ami.vee")

METERS_A_QUERY: Final = 500
"""Meters whose context is loaded and judged at once, at most."""
METER_DAYS_A_QUERY: Final = 4_000
"""Days of all of them together, history included: some 600,000 quarters of an hour of two channels. A worker holds one
such context at a time, so its memory does not follow the length of the history."""
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
    far: pl.DataFrame = DIRTY_DAYS.empty()
    """DIRTY_DAYS that are due only where something is stored of them: `app.far_days`."""


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

        `store` is the caller's own: batches are delivered by another thread over the connection of this work, and
        meters are enrolled by a third.
        """
        buckets, zones = self._buckets, self._zones
        awaited = timedelta(seconds=self._params.estimate_after_s or 0)
        now = self._now()
        few = buckets["meter_id"].gather_every(max(1, buckets.height // _FEW))
        judged = store.load_current(
            "finals", Scope(tuple(few), now - timedelta(days=self._params.context_days), now - awaited)
        )
        begun: datetime | None = next(iter(judged["interval_start"].sort().head(1)), None)
        if begun is None:
            return DIRTY_DAYS.empty()  # before the first day that was judged nothing is awaited
        reach = max(awaited, timedelta(hours=SilenceLimits().longest_h)) + timedelta(days=1)
        first, last = (
            [instant.astimezone(zone(name)).date() for name in zones]
            for instant in (max(begun, now - reach), now - awaited)
        )
        days = pl.date_range(min(first), max(last), eager=True).alias("day")
        if self._final_after is not None:
            final = final_days(store, tuple(few), now - self._final_after, zones)
            days = pl.concat([pl.Series("day", final, dtype=pl.Date), days]).unique(maintain_order=True)
        return buckets.select("bucket").unique().sort("bucket").join(days.to_frame(), how="cross")

    def prepare(self, messages: pl.DataFrame) -> Due:
        """Meters and spans whose raw data changed, each once; meters of one span together, so that few queries ask."""
        days, unreadable = read(messages, lambda part: from_messages(part["value"].to_list(), DIRTY_DAYS))
        days, is_near = within_tables(days.unique()), near(self._now())
        rejects = rejects_of_messages(unreadable, pl.col("at"))
        BATCH_ROWS.labels(table="dirty_days").observe(days.height)
        return Due(self._scopes(days.filter(is_near)), rejects, days.filter(~is_near))

    def _scopes(self, dirty: pl.DataFrame) -> list[Scope]:
        dirty = dirty.sort("bucket", "day")
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
        now, run_id = self._now(), str(uuid.uuid4())
        scopes = [*due.scopes, *self._scopes(stored_days(self._store, due.far, self._judged_with, now))]
        silences = self._silences.at(now, self._store) if scopes else ()
        deadline = None if self._final_after is None else now - self._final_after
        params = msgspec.structs.replace(
            self._params, judged_at=now, run_id=run_id, silences=silences, final_before=deadline
        )
        written = 0
        for judged in judge(self._store, scopes, params, self._beside, self._zones, self._peaks):
            written += judged.appended.height
            told = judged.appended.group_by("quality", "method").len()
            for quality, method, finals in told.rows():
                VEE_INTERVALS.labels(quality=quality, method=method or "").inc(finals)
            for rule, lacking in judged.unjudged.select(pl.col("rule").cast(pl.String), "intervals").rows():
                VEE_UNJUDGED.labels(rule=rule).inc(lacking)
            for reason, moved in judged.deltas.group_by("reason").len().rows():
                VEE_DELTAS.labels(reason=reason).inc(moved)
            VEE_GUESSES.inc(judged.guesses.height)
        BATCH_ROWS.labels(table="finals").observe(written)


def _meters_at_once(days: int) -> int:
    return max(1, min(METERS_A_QUERY, METER_DAYS_A_QUERY // days))
