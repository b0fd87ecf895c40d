"""Reconciliation: ledger against determinants, files against their manifest (registers: `reconcile_registers`).

Every comparison that was made is a row; a difference of 0 is a proof, anything else is an error with its reason.
"""

import json
from collections.abc import Callable, Mapping
from typing import Final

import polars as pl

from billing_export.check import check_manifest
from billing_export.comparisons import COMPARISONS, comparisons
from billing_export.formats.asexml_check import contents
from billing_export.formats.espi_import import import_espi
from billing_export.formats.nem12_import import Imported, import_nem12
from billing_export.ledger import KEY, balance
from schemas.codes import Uom
from schemas.frames import DETERMINANTS, conform


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
    return comparisons(both, "ledger", subject, difference, reason)


def reconcile_files(manifest: bytes, files: Mapping[str, bytes]) -> pl.DataFrame:
    """Files against their manifest: bytes and hash of each, and for files that we can read back the sums in them
    against the control totals. Reasons: those of `check_manifest`, `control_total`, `unreadable`."""
    faults = [
        (finding.detail.partition(":")[0], None, None, finding.reason) for finding in check_manifest(manifest, files)
    ]
    rows: list[tuple[str, int | None, int | None, str | None]] = list(faults)
    stated = json.loads(manifest) if not any(fault[3] == "not_json" for fault in faults) else {}
    for section in stated.get("exports", []):
        totals: dict[str, int] = {}
        for row in section["control_totals"]:
            if row["sum"] is not None:  # registers stand under several units; a ratio has no sum
                totals[row["determinant"]] = totals.get(row["determinant"], 0) + _milli(row["sum"])
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
    return comparisons(table, "file", pl.col("subject"), difference, reason)


def _sums(
    name: str, form: str, data: bytes, totals: dict[str, int]
) -> list[tuple[str, int | None, int | None, str | None]]:
    if form not in _READERS:
        return []
    found = _READERS[form](name, data)
    if found is None:
        return [(name, None, None, "unreadable")] if totals else []
    channels = sorted({*totals, *found})
    return [(f"{name} {channel}", totals.get(channel, 0), found.get(channel, 0), None) for channel in channels]


def _imported(importer: Callable[[bytes, str], Imported]) -> Callable[[str, bytes], dict[str, int] | None]:
    def sums(_name: str, data: bytes) -> dict[str, int] | None:
        imported = importer(data, "reconcile")
        if imported.refused:
            return None
        by_channel = imported.finals.group_by(pl.col("channel").cast(pl.String)).agg(pl.col("value_milli").sum())
        return dict(by_channel.rows())

    return sums


def _determinants(name: str, data: bytes) -> dict[str, int] | None:
    try:
        lines = pl.read_parquet(data) if name.endswith(".parquet") else pl.read_csv(data, infer_schema_length=None)
        quantities = lines.filter(pl.col("uom").cast(pl.String) != Uom.ONE.value)
        value = (pl.col("value_milli") * pl.col("sign")).sum().cast(pl.Int64)
        return dict(quantities.group_by(pl.col("determinant").cast(pl.String)).agg(value).rows())
    except (pl.exceptions.PolarsError, OSError):
        return None  # told as `unreadable`


def _enclosed(name: str, data: bytes) -> dict[str, int] | None:
    """The NEM12 files of an aseXML message together."""
    sums: dict[str, int] = {}
    for form, csv in contents(data):
        found = _READERS[form](name, csv)
        if found is None:
            return None
        sums = {channel: sums.get(channel, 0) + found.get(channel, 0) for channel in {*sums, *found}}
    return sums


_READERS: Final[dict[str, Callable[[str, bytes], dict[str, int] | None]]] = {
    "nem12": _imported(import_nem12),
    "nem12_asexml": _enclosed,
    "espi": _imported(import_espi),
    "determinants": _determinants,
}
"""Sums in a file, by what its control totals name; null where it cannot be read."""


def _milli(kilo: str) -> int:
    return int(kilo.replace(".", ""))
