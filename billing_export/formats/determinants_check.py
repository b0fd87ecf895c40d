"""Strict check of a determinants file: what a bill is made of must add up."""

import io
from collections.abc import Callable
from typing import Final

import polars as pl

from billing_export.findings import Finding
from billing_export.render import kilo_decimal
from schemas.errors import ContractError
from schemas.frames import DETERMINANTS, UTC_US, conform

_COUNTS: Final = ("n_actual", "n_estimated", "n_edited", "n_suspect", "n_outage", "n_missing")
_STREAM: Final = ["meter_id", "service_point_id", "period_start", "sign", "determinant_revision"]


def check_parquet(data: bytes) -> list[Finding]:
    """As `check`, of a Parquet file."""
    return _checked(lambda: pl.read_parquet(io.BytesIO(data)))


def check_csv(data: bytes) -> list[Finding]:
    """As `check`, of a CSV file; its text cells may have an apostrophe before what a spreadsheet would run."""
    if b"\n" in data.replace(b"\r\n", b""):
        return [Finding(0, "line_end", "lines do not all end in CRLF"), *_checked(lambda: _from_csv(data))]
    return _checked(lambda: _from_csv(data))


def check(lines: pl.DataFrame) -> list[Finding]:
    """Every line that breaks a rule, by `line_no`.

    Findings: `contract`, `batch` (several ids), `line_numbers` (not 1 … n), `counts` (the six do not add up),
    `value` (rendered otherwise than exact, or neither quantity nor ratio), `tou_sum` (periods do not sum to the
    total), `net`, `class` (a class that the counts deny), `unbillable`, `period`.
    """
    try:
        rows = conform(lines, DETERMINANTS)
    except ContractError as error:
        return [Finding(0, "contract", str(error))]
    found = []
    if rows["batch_id"].n_unique() > 1:
        found.append(Finding(0, "batch", f"{rows['batch_id'].n_unique()} batch ids"))
    if rows["line_no"].to_list() != list(range(1, rows.height + 1)):
        found.append(Finding(0, "line_numbers", "line numbers are not 1 to n"))
    found += _by_line(rows, lines)
    found += _sums(rows)
    return sorted(set(found))


def _checked(read: Callable[[], pl.DataFrame]) -> list[Finding]:
    try:
        return check(read())
    except (pl.exceptions.PolarsError, OSError) as error:
        return [Finding(0, "unreadable", str(error).splitlines()[0][:80])]


def _from_csv(data: bytes) -> pl.DataFrame:
    raw = pl.read_csv(io.BytesIO(data), infer_schema=False)
    columns = [
        pl.col(name).str.to_datetime("%Y-%m-%dT%H:%M:%SZ", time_unit="us", time_zone="UTC")
        if dtype == UTC_US
        else pl.col(name).str.strip_prefix("'")
        if isinstance(dtype, pl.String)
        else pl.col(name).cast(dtype)
        for name, dtype in DETERMINANTS.schema.items()
        if name in raw.columns
    ]
    value = [pl.col("value").cast(pl.Decimal(18, 6))] if "value" in raw.columns else []
    return raw.select(*columns, *value)


def _by_line(rows: pl.DataFrame, lines: pl.DataFrame) -> list[Finding]:
    measured = pl.col("n_actual") + pl.col("n_outage")
    shown = lines["value"] if "value" in lines.columns else pl.Series("value", [None] * lines.height)
    exact = pl.coalesce(kilo_decimal(pl.col("value_milli")), "ratio")
    rules = {
        "counts": pl.sum_horizontal(_COUNTS) == pl.col("n_intervals"),
        "value": pl.col("value_milli").is_null() != pl.col("ratio").is_null(),
        "rendered": pl.lit(shown).is_null() | (pl.lit(shown) == exact),
        "class": (pl.col("quality_class").cast(pl.String) != "actual") | (measured == pl.col("n_intervals")),
        "unbillable": pl.col("quality_class").cast(pl.String) != "unbillable",
        "period": pl.col("period_start") < pl.col("period_end"),
        "sign": pl.col("sign").is_in([1, -1]),
    }
    found = []
    for reason, holds in rules.items():
        broken = rows.filter(~holds.fill_null(value=False))["line_no"].to_list()
        found += [Finding(line, reason, f"the line breaks the rule {reason!r}") for line in broken]
    return found


def _sums(rows: pl.DataFrame) -> list[Finding]:
    name = pl.col("determinant")
    of = {
        "total": name == "energy_total",
        "tou": name.str.starts_with("energy_tou_"),
        "delivered": name == "energy_delivered",
        "received": name == "energy_received",
        "net": name == "energy_net",
    }
    sums = rows.group_by(_STREAM).agg(
        pl.col("line_no").min(),
        *(pl.col("value_milli").filter(chosen).sum().alias(key) for key, chosen in of.items()),
        *(chosen.any().alias(f"has_{key}") for key, chosen in of.items()),
    )
    broken = {
        "tou_sum": pl.col("has_tou") & pl.col("has_total") & (pl.col("tou") != pl.col("total")),
        "total": pl.col("has_total") & pl.col("has_delivered") & (pl.col("total") != pl.col("delivered")),
        "net": pl.col("has_net") & (pl.col("net") != pl.col("delivered") - pl.col("received")),
    }
    return [
        Finding(line, reason, f"the lines of the meter break the rule {reason!r}")
        for reason, breaks in broken.items()
        for line in sums.filter(breaks)["line_no"].to_list()
    ]
