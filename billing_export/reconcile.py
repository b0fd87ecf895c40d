"""Reconciliation: intervals against registers, ledger against determinants, files against their manifest.

Every comparison that was made is a row; a difference of 0 is a proof, anything else is an error with its reason.
"""

import json
from collections.abc import Mapping
from typing import Final

import polars as pl

from billing_export.check import check_manifest
from billing_export.formats.espi_import import import_espi
from billing_export.formats.nem12_import import import_nem12
from billing_export.ledger import KEY, balance
from schemas.frames import DETERMINANTS, conform
from schemas.quantity import primary_milli

COMPARISONS: Final = pl.Schema(
    {
        "kind": pl.String(),  # register, ledger, file
        "subject": pl.String(),  # meter / channel, determinant, or file
        "period_start": pl.Datetime("us", "UTC"),
        "expected_milli": pl.Int64(),
        "found_milli": pl.Int64(),
        "difference_milli": pl.Int64(),  # found less expected; null where one side is absent
        "reason": pl.String(),  # null where they agree
    }
)
"""A row per comparison."""

_SPAN: Final = ["service_point_id", "meter_id", "period_start", "period_end"]
_SUM_OF: Final = {"energy_delivered": "energy_delivered", "energy_received": "energy_received"}


def reconcile_registers(lines: pl.DataFrame, meters: pl.DataFrame) -> pl.DataFrame:
    """Σ of the intervals of every stream against the advance of its register.

    A register that went back is taken to have wrapped once where METERS gives its digits. Reasons: `sum_check` (they
    differ by more than the register's resolution), `register_missing` (no read at one end), `interval_missing`
    (registers without interval lines).

    Args:
        lines: DETERMINANTS of one run, `register_start` and `register_end` among them.
        meters: METERS.
    """
    rows = conform(lines, DETERMINANTS).filter(pl.col("sign") > 0)
    name = pl.col("determinant")
    sums = rows.filter(name.is_in(list(_SUM_OF))).select(*_SPAN, "channel", found_milli="value_milli")
    ends = (
        rows.filter(name.is_in(["register_start", "register_end"]))
        .group_by(*_SPAN, "channel")
        .agg(
            first=pl.col("value_milli").filter(name == "register_start").first(),
            last=pl.col("value_milli").filter(name == "register_end").first(),
        )
        .filter(pl.col("channel").cast(pl.String).is_in(list(_SUM_OF)))
    )
    both = sums.join(ends, on=[*_SPAN, "channel"], how="full", coalesce=True, nulls_equal=True)
    advance = pl.col("last") - pl.col("first")
    known = both.join(_registers(meters), on="meter_id", how="left").with_columns(
        expected_milli=pl.when(advance < 0).then(advance + pl.col("wrap_milli")).otherwise(advance)
    )
    difference = pl.col("found_milli") - pl.col("expected_milli")
    reason = (
        pl.when(pl.col("found_milli").is_null())
        .then(pl.lit("interval_missing"))
        .when(pl.col("expected_milli").is_null())
        .then(pl.lit("register_missing"))
        .when(difference.abs() >= pl.col("resolution_milli").fill_null(1))
        .then(pl.lit("sum_check"))
    )
    subject = pl.concat_str("meter_id", pl.col("channel").cast(pl.String), separator=" ")
    return _rows(known, "register", subject, difference, reason)


def reconcile_ledger(ledger: pl.DataFrame, lines: pl.DataFrame) -> pl.DataFrame:
    """Σ sign × value of the ledger against the latest determinants. Reasons: `ledger_differs`, `not_posted` (no line
    of it in the ledger), `not_computed` (the ledger bills what is computed no more)."""
    standing = balance(conform(ledger, DETERMINANTS)).filter(pl.col("lines") > 0)
    quantities = pl.col("uom").cast(pl.String) != "1"
    latest = conform(lines, DETERMINANTS).filter(quantities).select(*KEY, expected_milli="value_milli")
    posted = standing.filter(~pl.col("determinant").is_in(["power_factor", "load_factor"]))
    found = posted.select(*KEY, found_milli="value_milli")
    both = latest.join(found, on=list(KEY), how="full", coalesce=True, nulls_equal=True)
    difference = pl.col("found_milli") - pl.col("expected_milli")
    reason = (
        pl.when(pl.col("found_milli").is_null())
        .then(pl.lit("not_posted"))
        .when(pl.col("expected_milli").is_null())
        .then(pl.lit("not_computed"))
        .when(difference != 0)
        .then(pl.lit("ledger_differs"))
    )
    subject = pl.concat_str("meter_id", pl.col("channel").cast(pl.String).fill_null("-"), "determinant", separator=" ")
    return _rows(both, "ledger", subject, difference, reason)


def reconcile_files(manifest: bytes, files: Mapping[str, bytes]) -> pl.DataFrame:
    """Files against their manifest: bytes and hash of each, and for files that we can read back the sums in them
    against the control totals. Reasons: those of `check_manifest`, `control_total`, `unreadable`."""
    faults = [
        (finding.detail.partition(":")[0], None, None, finding.reason) for finding in check_manifest(manifest, files)
    ]
    rows: list[tuple[str, int | None, int | None, str | None]] = list(faults)
    stated = json.loads(manifest) if not any(fault[3] == "not_json" for fault in faults) else {}
    for section in stated.get("exports", []):
        totals = {row["determinant"]: _milli(row["sum"]) for row in section["control_totals"] if row["sum"] is not None}
        for file in stated["files"]:
            if file["format"] == section["format"] and file["name"] in files:
                rows += _sums(file["name"], section["format"], files[file["name"]], totals)
    table = pl.DataFrame(
        rows,
        schema={"subject": pl.String(), "expected_milli": pl.Int64(), "found_milli": pl.Int64(), "fault": pl.String()},
        orient="row",
    ).with_columns(period_start=pl.lit(None, dtype=COMPARISONS["period_start"]))
    difference = pl.col("found_milli") - pl.col("expected_milli")
    reason = pl.coalesce("fault", pl.when(difference != 0).then(pl.lit("control_total")))
    return _rows(table, "file", pl.col("subject"), difference, reason)


def _sums(
    name: str, form: str, data: bytes, totals: dict[str, int]
) -> list[tuple[str, int | None, int | None, str | None]]:
    readers = {"nem12": import_nem12, "espi": import_espi}
    if form not in readers:
        return []
    imported = readers[form](data, "reconcile")
    if imported.refused and totals:
        return [(name, None, None, "unreadable")]
    by_channel = imported.finals.group_by(pl.col("channel").cast(pl.String)).agg(pl.col("value_milli").sum())
    found = dict(by_channel.rows())
    channels = sorted({*totals, *found})
    return [(f"{name} {channel}", totals.get(channel, 0), found.get(channel, 0), None) for channel in channels]


def _registers(meters: pl.DataFrame) -> pl.DataFrame:
    wrap = 1000 * pl.lit(10, dtype=pl.Int64).pow(pl.col("register_digits").cast(pl.Int64))
    factor = pl.col("multiplier")
    return meters.unique("meter_id", keep="first", maintain_order=True).select(
        "meter_id",
        wrap_milli=primary_milli(wrap.cast(pl.Int64), factor),
        resolution_milli=primary_milli(pl.col("register_resolution_milli"), factor),
    )


def _rows(table: pl.DataFrame, kind: str, subject: pl.Expr, difference: pl.Expr, reason: pl.Expr) -> pl.DataFrame:
    return (
        table.select(
            "period_start",
            "expected_milli",
            "found_milli",
            kind=pl.lit(kind),
            subject=subject,
            difference_milli=difference,
            reason=reason,
        )
        .select(COMPARISONS.names())
        .cast(COMPARISONS)
        .sort("subject", "period_start", nulls_last=False)
    )


def _milli(kilo: str) -> int:
    return int(kilo.replace(".", ""))
