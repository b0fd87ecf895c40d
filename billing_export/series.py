"""Interval series for formats that carry values one by one: rows of the period, day by local day, with their owners."""

from typing import Final, NamedTuple

import numpy as np
import polars as pl

from billing_export.lines import findings
from billing_export.located import locate, metered, newest, parts_in, streams_in, take
from billing_export.pieces import PARTIES, REVISIONS, ROUNDINGS, TOTALS, ExportInputs, Tally
from billing_export.spans import FINDINGS, DeterminantParams, billing_spans
from schemas.codes import QUALITY_CODES, Channel, Method, Quality, QualityClass
from schemas.frames import CHANNEL
from schemas.timegrid import with_local_time

CARRIED: Final = (
    Channel.ENERGY_DELIVERED, Channel.ENERGY_RECEIVED, Channel.REACTIVE_DELIVERED, Channel.REACTIVE_RECEIVED,
)  # fmt: skip
"""Channels that such formats carry."""
_MEASURED: Final = (Quality.VALID.value, Quality.OUTAGE.value)


class Series(NamedTuple):
    """Intervals of a part of the meters, with the owner of each."""

    rows: pl.DataFrame
    """FINALS columns, `member` and `local_day`; sorted by member and time."""
    members: pl.DataFrame
    """`member` (row number), columns of the span, `channel`: one row per installation and channel."""
    spans: pl.DataFrame
    findings: pl.DataFrame


def series_of(part: ExportInputs, params: DeterminantParams) -> Series:
    """The newest finals of the carried channels inside the period, by service point, meter, channel and time.

    Findings: those of the spans, and `interval_length_changes` (held): such formats state one length for a stream. The
    part of an interval that an exchange left to a meter is none: it goes out as long as it is.
    """
    carried = pl.Series([channel.value for channel in CARRIED], dtype=CHANNEL)
    finals = newest(part.finals.filter(pl.col("channel").is_in(carried.implode())))
    streams = streams_in(finals)
    spans = billing_spans(metered(streams), part.meters, part.tariffs, params)
    point = pl.coalesce("nmi", "service_point_id", "meter_id")
    located = locate(streams, spans.spans).sort(point, "meter_id", "channel", "span_from")
    owner, picked = take(finals, located)
    other = picked["interval_s"].to_numpy() != located["length_s"].to_numpy()[owner]
    mixed = np.unique(owner[other & ~parts_in(picked, located)])
    held = _of_two_lengths(located[mixed])
    if len(mixed):
        located = located.filter(~pl.int_range(pl.len()).is_in(mixed.tolist()))
        owner, picked = take(finals, located)
    members = located.with_row_index("member")
    rows = picked.with_columns(member=pl.Series(owner)).with_columns(
        timezone=members["timezone"].gather(pl.Series(owner))
    )
    local = with_local_time(rows).drop("timezone", "local_second")
    return Series(local, members, spans.spans, pl.concat([spans.findings.cast(FINDINGS), held]))


def _of_two_lengths(members: pl.DataFrame) -> pl.DataFrame:
    named = members.with_columns(determinant=pl.lit(None, dtype=pl.String))
    return findings(named, "interval_length_changes", pl.lit(1), held=True).cast(FINDINGS)


def coded(rows: pl.DataFrame, system: str) -> pl.DataFrame:
    """The rows with `code` (String?): their quality in another system's code.

    Args:
        rows: `quality`, `method`, and `value_milli`, whose null means missing.
        system: A field of `QualityCodes`: `cim`, `espi` or `cmep`.
    """
    table = pl.DataFrame(
        [
            (quality.value, method.value if method else None, _code(quality, method, system))
            for quality in Quality
            for method in (None, *Method)
        ],
        schema={"quality": rows.schema["quality"], "method": rows.schema["method"], "code": pl.String()},
        orient="row",
    )
    missing = _code(Quality.MISSING, None, system)
    joined = rows.join(table, on=["quality", "method"], how="left", nulls_equal=True, maintain_order="left")
    return joined.with_columns(code=pl.when(pl.col("value_milli").is_null()).then(pl.lit(missing)).otherwise("code"))


def series_tally(series: Series) -> Tally:
    """Control totals of a format that shows every value exactly."""
    owned = series.rows.group_by("member").agg(
        first_interval=pl.col("interval_start").min(),
        last_interval=pl.col("interval_start").max(),
        source_revision=pl.col("version").max(),
        value_milli=pl.col("value_milli").sum(),
        lines=pl.len().cast(pl.Int64),
        measured=pl.col("quality").cast(pl.String).is_in(_MEASURED).sum(),
    )
    members = series.members.join(owned, on="member", how="inner", maintain_order="left")
    reactive = pl.col("channel").cast(pl.String).str.starts_with("reactive_")
    totals = members.group_by(
        uom=pl.when(reactive).then(pl.lit("kvarh")).otherwise(pl.lit("kWh")),
        determinant=pl.col("channel").cast(pl.String),
        quality_class=pl.when(pl.col("measured") == pl.col("lines"))
        .then(pl.lit(QualityClass.ACTUAL.value))
        .when(pl.col("measured") == 0)
        .then(pl.lit(QualityClass.ESTIMATED.value))
        .otherwise(pl.lit(QualityClass.MIXED.value)),
    ).agg(pl.col("lines").sum(), pl.col("value_milli").sum())
    named = members.with_columns(stream=pl.col("channel").cast(pl.String))
    return Tally(
        totals.select(TOTALS.names()).cast(TOTALS),
        members.select(PARTIES.names()).cast(PARTIES),
        pl.DataFrame(schema=ROUNDINGS),
        named.select(REVISIONS.names()).cast(REVISIONS),
        series.findings,
    )


def _code(quality: Quality, method: Method | None, system: str) -> str | None:
    known = QUALITY_CODES.get((quality, method)) or QUALITY_CODES.get((quality, None))
    if known is None:
        fallback = {
            Quality.ESTIMATED: (Quality.ESTIMATED, Method.FLAT),
            Quality.OUTAGE: (Quality.OUTAGE, Method.ZERO),
            Quality.EDITED: (Quality.EDITED, Method.MANUAL),
        }
        known = QUALITY_CODES[fallback[quality]]
    code = getattr(known, system)
    return None if code is None else str(code)
