"""Virtual meters: sums of other meters' channels, interval by interval, with the quality of their worst term."""

from typing import Final

import polars as pl

from billing_export.located import newest
from billing_export.tariffs import Virtual
from schemas.codes import Quality
from schemas.frames import FINALS, METHOD, QUALITY, conform

_WORST_FIRST: Final = (
    Quality.MISSING, Quality.SUSPECT, Quality.ESTIMATED, Quality.EDITED, Quality.OUTAGE, Quality.VALID,
)  # fmt: skip
_INTERVAL: Final = ["interval_start", "interval_s"]


def with_virtual(finals: pl.DataFrame, virtuals: tuple[Virtual, ...]) -> pl.DataFrame:
    """The finals and, after them, those of the virtual meters, which stand after the virtual ones that they rest on
    (`TariffBook.summed_in_order`).

    An interval of a virtual meter exists where a term has one. Its value is Σ factor × value, rounded half away from
    zero once, after the sum; it is missing (null) where a term is missing or has no final of that start and length.
    Quality is the worst of the terms (missing, suspect, estimated, edited, outage, valid), with that term's method;
    `failed` and `unjudged` hold what any term failed; version, `judged_at` and `run_id` are the highest.
    """
    if not virtuals:
        return finals
    current = newest(conform(finals, FINALS))
    sums: list[pl.DataFrame] = []
    for virtual in virtuals:
        sums.append(_sum(pl.concat([current, *sums]), virtual))
    return pl.concat([conform(finals, FINALS), *sums])


def _sum(finals: pl.DataFrame, virtual: Virtual) -> pl.DataFrame:
    parts = [
        finals.filter((pl.col("meter_id") == term.meter) & (pl.col("channel") == term.channel.value)).with_columns(
            weighted=pl.col("value_milli").cast(pl.Int128) * term.factor_milli
        )
        for term in virtual.term
    ]
    ranks = {quality.value: rank for rank, quality in enumerate(_WORST_FIRST)}
    rows = pl.concat(parts).with_columns(rank=pl.col("quality").cast(pl.String).replace_strict(ranks))
    whole = (pl.len() == len(virtual.term)) & (pl.col("weighted").null_count() == 0)
    rounded = (pl.col("weighted").sum().abs() + 500) // 1000 * pl.col("weighted").sum().sign()
    summed = (
        rows.sort("rank", maintain_order=True)
        .group_by(_INTERVAL)
        .agg(
            value_milli=pl.when(whole).then(rounded).cast(pl.Int64),
            quality=pl.when(whole).then(pl.col("quality").first().cast(pl.String)),
            method=pl.when(whole).then(pl.col("method").first().cast(pl.String)),
            failed=pl.col("failed").bitwise_or(),
            unjudged=pl.col("unjudged").bitwise_or(),
            is_final_estimate=pl.col("is_final_estimate").any(),
            version=pl.col("version").max(),
            judged_at=pl.col("judged_at").max(),
            run_id=pl.col("run_id").max(),
        )
    )
    floor = pl.col("value_milli").clip(lower_bound=0) if virtual.negative == "zero" else pl.col("value_milli")
    named = summed.with_columns(
        meter_id=pl.lit(virtual.meter),
        service_point_id=pl.lit(virtual.service_point, dtype=pl.String),
        channel=pl.lit(virtual.channel.value),
        value_milli=floor,
        quality=pl.col("quality").fill_null(Quality.MISSING.value).cast(QUALITY),
        method=pl.col("method").cast(METHOD),
        author=pl.lit(None, dtype=pl.String),
    )
    return conform(named, FINALS).sort("interval_start")
