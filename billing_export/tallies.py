"""Control totals of files whose lines are determinants."""

import polars as pl

from billing_export.pieces import PARTIES, REVISIONS, ROUNDINGS, TOTALS, Tally


def lines_tally(lines: pl.DataFrame, findings: pl.DataFrame) -> Tally:
    """Totals, parties and revisions of DETERMINANTS."""
    totals = lines.group_by("uom", "determinant", "quality_class").agg(
        lines=pl.len().cast(pl.Int64), value_milli=(pl.col("value_milli") * pl.col("sign")).sum()
    )
    parties = (
        lines.filter(pl.col("n_intervals") > 0)
        .group_by("account_id", "service_point_id", "meter_id")
        .agg(first_interval=pl.col("period_start").min(), last_interval=pl.col("period_end").max())
    )
    revisions = lines.select(
        "meter_id",
        stream=pl.concat_str("determinant", pl.col("channel").cast(pl.String).fill_null("")),
        source_revision="source_revision",
        value_milli="value_milli",
    )
    return Tally(
        totals.select(TOTALS.names()).cast(TOTALS),
        parties.select(PARTIES.names()).cast(PARTIES),
        pl.DataFrame(schema=ROUNDINGS),
        revisions.cast(REVISIONS),
        findings,
    )
