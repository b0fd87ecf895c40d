"""Who is billed for which time: one span for every meter installation inside the period."""

from datetime import date, datetime
from typing import Final, NamedTuple

import msgspec
import polars as pl

from billing_export.tariffs import Tariff, TariffBook
from schemas.frames import UTC_US
from schemas.timegrid import day_bounds

FINDINGS: Final = pl.Schema(
    {
        "account_id": pl.String(),
        "service_point_id": pl.String(),
        "meter_id": pl.String(),
        "channel": pl.String(),  # null: all channels of the installation
        "determinant": pl.String(),  # null: all determinants of the channel
        "reason": pl.String(),
        "n": pl.Int32(),  # intervals, windows or days concerned
        "held": pl.Boolean(),  # true: no line was written; false: a line was, and this is said beside it
    }
)
"""What a billing clerk must know beside the lines: what is held back, and what may hide something."""

BILLED_SPANS: Final = pl.Schema(
    {"meter_id": pl.String(), "service_point_id": pl.String(), "span_from": UTC_US, "span_to": UTC_US}
)
"""What a run looked at: a row per span, and for a meter that has finals and no span one with null bounds. A line of the
ledger that stands for none of the spans of such a meter is to be billed no more."""

DEFAULT_TARIFF: Final = "default"


class DeterminantParams(msgspec.Struct, frozen=True):
    """What an export asks of the determinants.

    Args:
        date_from: First local day, in the zone of each tariff.
        date_to: Local day after the last.
        holidays: Local days that are holidays.
        missing_limit: Missing intervals that a line may have; above it the line is held.
        estimated_limit_permille: Share of substituted intervals that a line may have, in thousandths; above it the
            line is held for a person.
        consumer: Who gets the batch; part of its id.
        cycle: Billing cycle; part of its id.
        timezone: Zone of the days where the format fixes it (NEM time); else that of each tariff.
    """

    date_from: date
    date_to: date
    holidays: frozenset[date] = frozenset()
    missing_limit: int = 0
    estimated_limit_permille: int = 1000
    consumer: str = ""
    cycle: str = ""
    timezone: str | None = None


class Spans(NamedTuple):
    """Installations to bill, and those that cannot be."""

    spans: pl.DataFrame
    """`meter_id`, `service_point_id`?, `account_id`?, `nmi`?, `tariff`, `timezone`, `multiplier`?, `span_from`,
    `span_to` (UTC, half open, never empty); one row per installation, sorted by meter and time."""
    findings: pl.DataFrame


def billing_spans(metered: pl.DataFrame, meters: pl.DataFrame, book: TariffBook, params: DeterminantParams) -> Spans:
    """One span per installation: the local days of its tariff's zone, cut to the time it was installed.

    Args:
        metered: `meter_id`, `service_point_id`? of every meter that has finals.
        meters: METERS; a meter with finals that is not in it has a span in UTC with the default tariff.
        book: Tariffs. A meter without a tariff takes the only tariff of the book where there is just one, else the
            default: no periods, the meter's own time zone, else UTC. In an empty book every tariff is the default.
        params: Days.

    Findings: `tariff_unknown` (held), `check_meter` (held: a meter that checks another is not billed),
    `installations_overlap` (held: two installations of one meter claim the same time, which would be billed twice).
    """
    registry = meters.select(
        "meter_id", "service_point_id", "account_id", "nmi", "tariff", "timezone", "multiplier", "check_of",
        "installed_at", "removed_at",
    )  # fmt: skip
    known = metered.rename({"service_point_id": "of_finals"}).join(registry, on="meter_id", how="left")
    only = book.tariff[0].name if len({entry.name for entry in book.tariff}) == 1 else DEFAULT_TARIFF
    known = known.with_columns(
        service_point_id=pl.coalesce("service_point_id", "of_finals"),
        tariff=pl.col("tariff").fill_null(only),
    )
    names = [entry.name for entry in book.tariff] + [DEFAULT_TARIFF]
    reason = (
        pl.when(pl.col("check_of").is_not_null())
        .then(pl.lit("check_meter"))
        .when(pl.lit(bool(book.tariff)) & ~pl.col("tariff").is_in(names))
        .then(pl.lit("tariff_unknown"))
    )
    judged = known.with_columns(reason=reason)
    held = judged.filter(pl.col("reason").is_not_null())
    bounded = _with_bounds(judged.filter(pl.col("reason").is_null()), book, params)
    twice = (pl.col("span_from") < pl.col("span_to").shift(1)).over("meter_id").fill_null(value=False)
    claimed = bounded.with_columns(twice=twice.any().over("meter_id"))
    held = pl.concat([_held(held), _held(claimed.filter("twice").with_columns(reason=pl.lit("installations_overlap")))])
    spans = claimed.filter(~pl.col("twice"))
    return Spans(spans.drop("of_finals", "check_of", "reason", "installed_at", "removed_at", "twice"), held)


def billed_spans(metered: pl.DataFrame, spans: pl.DataFrame) -> pl.DataFrame:
    """BILLED_SPANS of the meters that have finals and of the spans that they have."""
    rows = spans.select(BILLED_SPANS.names()).cast(BILLED_SPANS)
    bare = metered.join(rows, on="meter_id", how="anti").select("meter_id", "service_point_id")
    return pl.concat([rows, bare], how="diagonal")


def versions_of(book: TariffBook, tariff: str, timezone: str) -> tuple[Tariff, ...]:
    """Versions of a tariff; of the default one where the book has none of that name."""
    return book.versions(tariff) or (Tariff(name=DEFAULT_TARIFF, timezone=timezone),)


def _with_bounds(spans: pl.DataFrame, book: TariffBook, params: DeterminantParams) -> pl.DataFrame:
    zones = {entry.name: entry.timezone for entry in book.tariff}
    # A tariff's zone is the tariff's, also where the meter stands in another.
    timezone = pl.col("tariff").replace_strict(zones, default=None, return_dtype=pl.String)
    spans = spans.with_columns(
        timezone=pl.coalesce(pl.lit(params.timezone, dtype=pl.String), timezone, "timezone", pl.lit("UTC"))
    )
    days = _day_bounds(spans["timezone"].unique().to_list(), params)
    bounded = spans.join(days, on="timezone", how="left").with_columns(
        span_from=pl.max_horizontal("period_from", "installed_at"),
        span_to=pl.min_horizontal("period_to", "removed_at"),
    )
    inside = bounded.filter(pl.col("span_from") < pl.col("span_to"))
    return inside.drop("period_from", "period_to").sort("meter_id", "span_from", "service_point_id")


def _day_bounds(zones: list[str], params: DeterminantParams) -> pl.DataFrame:
    bounds: list[tuple[str, datetime, datetime]] = [
        (name, day_bounds(params.date_from, name)[0], day_bounds(params.date_to, name)[0]) for name in sorted(zones)
    ]
    schema = {"timezone": pl.String(), "period_from": UTC_US, "period_to": UTC_US}
    return pl.DataFrame(bounds, schema=schema, orient="row")


def _held(spans: pl.DataFrame) -> pl.DataFrame:
    return spans.select(
        "account_id",
        "service_point_id",
        "meter_id",
        channel=pl.lit(None, dtype=pl.String),
        determinant=pl.lit(None, dtype=pl.String),
        reason=pl.col("reason"),
        n=pl.lit(1, dtype=pl.Int32),
        held=pl.lit(value=True),
    )
