"""`ami indices`: reliability indices of IEEE 1366 by feeder and day, and major event days."""

from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Final

import polars as pl
import typer

from app.files import parse_day, read_bytes, read_frame, write_outputs
from app.inputs import load_meters, load_types
from app.options import Json, Out
from app.summary import progress, say, timed
from outage.indices import IndexParams, Indices, compute_indices, interruptions_of
from outage.interruptions import INTERRUPTIONS
from outage.major_events import MajorEvents, find_major_event_days
from schemas.errors import ContractError
from schemas.frames import OUTAGES, Frame
from schemas.timegrid import day_bounds, zone

INTERRUPTIONS_FILE: Final = Frame("INTERRUPTIONS", INTERRUPTIONS, frozenset(INTERRUPTIONS) - {"meter_id", "started_at"})
_RECORD: Final = pl.Schema({"day": pl.Date(), "saidi_min": pl.Float64()})


def register(ami: typer.Typer) -> None:
    """Add the verb."""

    @ami.command()
    def indices(
        outages: Annotated[Path, typer.Argument(metavar="OUTAGES.parquet")],
        meters: Annotated[Path, typer.Option("--meters", metavar="F", help="METERS.csv: who is served, by feeder.")],
        date_from: Annotated[str, typer.Option("--from", metavar="D", help="First local day.")],
        date_to: Annotated[str, typer.Option("--to", metavar="D", help="Local day after the last.")],
        out: Out,
        interruptions: Annotated[
            Path | None,
            typer.Option(
                "--interruptions", metavar="F", help="Who was out when, with momentaries, from `ami outages`."
            ),
        ] = None,
        timezone: Annotated[str | None, typer.Option("--timezone", metavar="Z", help="Whose days count.")] = None,
        record: Annotated[
            Path | None,
            typer.Option("--record", metavar="F", help="Daily SAIDI of the five years before (day, saidi_min)."),
        ] = None,
        json: Json = False,
    ) -> None:
        """SAIDI, SAIFI, CAIDI, CAIFI, MAIFI, MAIFI_E and ASAI by feeder and day, with and without major event days."""
        steps, fleet = read_frame(outages, OUTAGES), load_meters(meters, load_types(None))
        told = None if interruptions is None else read_frame(interruptions, INTERRUPTIONS_FILE)
        params = _params(date_from, date_to, timezone or _timezone(fleet))
        before = _RECORD.to_frame() if record is None else _read_record(record)
        with progress("computing indices"):
            (whole, major, rest), seconds = timed(lambda: _compute(steps, fleet, told, before, params))
        files: dict[str, pl.DataFrame | bytes | str] = {
            "indices.parquet": whole.rows,
            "indices.csv": whole.rows.write_csv(),
            "indices_without_major_events.parquet": rest.rows,
            "major_event_days.csv": major.days.write_csv(),
        }
        write_outputs(out, files)
        say(_summary(whole, major, rest, seconds, with_momentaries=told is not None), as_json=json)


def _compute(
    steps: pl.DataFrame, fleet: pl.DataFrame, told: pl.DataFrame | None, record: pl.DataFrame, params: IndexParams
) -> tuple[Indices, MajorEvents, Indices]:
    rows = interruptions_of(steps, fleet) if told is None else told
    whole = compute_indices(rows, fleet, params)
    daily = whole.rows.filter(pl.col("feeder_id").is_null() & pl.col("day").is_not_null()).select("day", "saidi_min")
    major = find_major_event_days(record, daily)
    days: tuple[date, ...] = tuple(major.days.filter("major")["day"].to_list())
    return whole, major, compute_indices(rows, fleet, _without(params, days))


def _without(params: IndexParams, days: tuple[date, ...]) -> IndexParams:
    return IndexParams(
        period_from=params.period_from, period_to=params.period_to, timezone=params.timezone, excluded_days=days
    )


def _params(date_from: str, date_to: str, timezone: str) -> IndexParams:
    zone(timezone)
    first, last = parse_day(date_from, "--from"), parse_day(date_to, "--to")
    if last <= first:
        raise ContractError("--to: must be later than --from")
    start: datetime = day_bounds(first, timezone)[0]
    return IndexParams(
        period_from=start, period_to=day_bounds(last - timedelta(days=1), timezone)[1], timezone=timezone
    )


def _timezone(fleet: pl.DataFrame) -> str:
    zones = fleet["timezone"].drop_nulls().unique().to_list()
    if len(zones) > 1:
        raise ContractError("--timezone: the meters have several; say whose days count")
    return str(zones[0]) if zones else "UTC"


def _read_record(path: Path) -> pl.DataFrame:
    data = read_bytes(path)
    try:
        rows = pl.read_csv(data, try_parse_dates=True) if path.suffix == ".csv" else pl.read_parquet(data)
        return rows.select(pl.col(name).cast(dtype) for name, dtype in _RECORD.items())
    except pl.exceptions.PolarsError as error:
        raise ContractError(f"{path}: needs columns day (a date) and saidi_min (a number)") from error


def _summary(
    whole: Indices, major: MajorEvents, rest: Indices, seconds: float, *, with_momentaries: bool
) -> dict[str, Any]:
    return {
        "rows": {"out": whole.rows.height},
        "indices": _total(whole, with_momentaries=with_momentaries),
        "without_major_event_days": _total(rest, with_momentaries=with_momentaries),
        "threshold_min": major.threshold_min,
        "major_event_days": [str(day) for day in major.days.filter("major")["day"]],
        "short_record": major.short_record,
        "excluded": dict(whole.excluded.rows()),
        "disabled": [] if with_momentaries else ["maifi: no interruptions were given"],
        "seconds": seconds,
    }


def _total(indices: Indices, *, with_momentaries: bool) -> dict[str, Any]:
    total = indices.rows.filter(pl.col("feeder_id").is_null() & pl.col("day").is_null()).drop("feeder_id", "day")
    left_out = () if with_momentaries else ("maifi", "maifi_e")
    return {name: value for name, value in total.row(0, named=True).items() if name not in left_out}
