"""Meters judged by the bucket, from a store and back into it.

    load_context ─► run_vee ─► EXCEPTIONS, FINALS ─append─►

Beside the days that are asked for a meter is judged as far as new data reach into what was judged before
(`app.vee_grids`): so that a batch costs what its meters brought.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta
from typing import NamedTuple

import msgspec
import polars as pl

from app.refused import store_all
from app.vee_apart import Apart
from app.vee_grids import begun, grids_of
from app.vee_months import LONGEST_MONTH, months_to_judge
from app.vee_peaks import KnownPeaks
from schemas.frames import FINAL_ENDS, FINAL_PEAKS
from storage.store import Context, ReadingStore, Scope
from validation.params import VeeParams
from validation.vee import Vee, VeeInputs, run_vee
from validation.withdrawal import compare


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


def companions(meters: pl.DataFrame) -> pl.DataFrame:
    """Which other meters a meter is judged beside: its check meter, those at its service point. `meter_id`, `other`.

    They stand in buckets of their own, and are loaded with it: E1 and V33 need the one, V26 the others.
    """
    checks = meters.select(pl.col("check_of").alias("meter_id"), pl.col("meter_id").alias("other")).drop_nulls()
    at_point = meters.select("meter_id", "service_point_id").drop_nulls().unique()
    at_point = at_point.filter(pl.len().over("service_point_id") > 1)
    mates = at_point.join(at_point.rename({"meter_id": "other"}), on="service_point_id").select("meter_id", "other")
    return pl.concat([checks, mates]).filter(pl.col("meter_id") != pl.col("other")).unique().sort("meter_id", "other")


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
