"""Reconciliation: intervals against registers, ledger against determinants, files against their manifest.

Every comparison that was made is a row; a difference of 0 is a proof, anything else is an error with its reason.
"""

import json
from collections.abc import Callable, Mapping
from typing import Final

import polars as pl

from billing_export.check import check_manifest
from billing_export.formats.asexml_check import contents
from billing_export.formats.espi_import import import_espi
from billing_export.formats.nem12_import import Imported, import_nem12
from billing_export.ledger import KEY, balance
from billing_export.standing import DOUBTFUL, STALE, WILD
from billing_export.stretches import RESOLUTION
from schemas.codes import Uom
from schemas.frames import DETERMINANTS, conform
from schemas.quantity import primary_milli

COMPARISONS: Final = pl.Schema(
    {
        "kind": pl.String(),  # register, stretch (where it differs), read (that does not stand), ledger, file
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
_SUMS: Final = ("energy_delivered", "energy_received", "reactive_energy")
"""Determinants that are the sum of one channel's intervals."""
_ALWAYS: Final = ("energy_delivered", "energy_received")
"""Channels of which a missing register is told; reactive registers are read where there are any."""
EXPLAINED: Final = frozenset({RESOLUTION, WILD, STALE, DOUBTFUL})
"""Reasons that are no fault of the energy billed: the register cannot tell, or one read of it is contradicted by all
that stands around it. Such a read is named in a row of its own."""
_GRAVEST: Final = ("sum_check", "register_wrap", "missing", "suspect", "edited", "estimated", "outage", RESOLUTION)


def reconcile_registers(
    lines: pl.DataFrame, meters: pl.DataFrame, stretches: pl.DataFrame | None = None
) -> pl.DataFrame:
    """Σ of the intervals of every stream against the advance of its register.

    A register that went back is taken to have wrapped once where METERS gives its digits. Reasons of a difference:
    `register_missing` (no read at one end), `interval_missing` (registers without interval lines), `read_off_boundary`
    (a boundary read was not taken at the bound), else the gravest reason of the stretches it is made of, which stand
    below it as rows of the kind `stretch`. A difference that is not the sum of its stretches' is `unexplained`; without
    stretches one below the register's resolution is `register_resolution` and any other `sum_check`.

    Args:
        lines: DETERMINANTS of one run, `register_start` and `register_end` among them.
        meters: METERS.
        stretches: STRETCHES of the same period, from which the reasons come.
    """
    rows = conform(lines, DETERMINANTS).filter(pl.col("sign") > 0)
    name = pl.col("determinant")
    sums = rows.filter(name.is_in(list(_SUMS))).select(*_SPAN, "channel", found_milli="value_milli")
    ends = (
        rows.filter(name.is_in(["register_start", "register_end"]))
        .group_by(*_SPAN, "channel")
        .agg(
            first=pl.col("value_milli").filter(name == "register_start").first(),
            last=pl.col("value_milli").filter(name == "register_end").first(),
            first_at=pl.col("occurred_at").filter(name == "register_start").first(),
            last_at=pl.col("occurred_at").filter(name == "register_end").first(),
        )
    )
    both = sums.join(ends, on=[*_SPAN, "channel"], how="full", coalesce=True, nulls_equal=True)
    always = pl.col("channel").cast(pl.String).is_in(_ALWAYS)
    complete = pl.all_horizontal(pl.col(name).is_not_null() for name in ("found_milli", "first", "last"))
    advance = pl.col("last") - pl.col("first")
    known = (
        both.filter(always | complete)
        .join(_registers(meters), on="meter_id", how="left")
        .with_columns(expected_milli=pl.when(advance < 0).then(advance + pl.col("wrap_milli")).otherwise(advance))
        .with_columns(difference_milli=pl.col("found_milli") - pl.col("expected_milli"))
    )
    subject = pl.concat_str("meter_id", pl.col("channel").cast(pl.String), separator=" ")
    if stretches is None:
        return _rows(known, "register", subject, pl.col("difference_milli"), _plain_reason())
    differing = stretches.filter(pl.col("reason").is_not_null())
    explained = _explained(known, differing)
    parts = [
        _rows(explained, "register", subject, pl.col("difference_milli"), pl.col("reason")),
        _rows(
            differing.with_columns(period_start="stretch_start"), "stretch", subject, pl.col("difference_milli"),
            pl.col("reason"),
        ),
    ]  # fmt: skip
    return pl.concat(parts)


def reconcile_reads(left_out: pl.DataFrame) -> pl.DataFrame:
    """Reads that were left out, by name: `period_start` is the instant, expected what the read before and the intervals
    since say, found what was shown.

    Args:
        left_out: `standing.LEFT_OUT`.
    """
    subject = pl.concat_str("meter_id", "channel", separator=" ")
    difference = pl.col("value_milli") - pl.col("expected_milli")
    named = left_out.with_columns(period_start="read_at", found_milli="value_milli")
    return _rows(named, "read", subject, difference, pl.col("reason"))


def _one_end() -> pl.Expr:
    return (
        pl.when(pl.col("found_milli").is_null())
        .then(pl.lit("interval_missing"))
        .when(pl.col("expected_milli").is_null())
        .then(pl.lit("register_missing"))
        .otherwise(None)
    )


def _plain_reason() -> pl.Expr:
    size = pl.col("difference_milli").abs()
    beyond = size >= pl.col("resolution_milli").fill_null(1)
    differs = pl.when(beyond).then(pl.lit("sum_check")).when(size > 0).then(pl.lit(RESOLUTION))
    return pl.coalesce(_one_end(), differs)


def _explained(known: pl.DataFrame, differing: pl.DataFrame) -> pl.DataFrame:
    """The same rows with `reason`: from the stretches between the two boundary reads of each."""
    numbered = known.with_columns(pl.col("channel").cast(pl.String)).with_row_index("stream")
    own = differing.select("meter_id", "channel", "stretch_start", "stretch_end", of="difference_milli", why="reason")
    within = numbered.join(own, on=["meter_id", "channel"]).filter(
        (pl.col("stretch_start") >= pl.col("first_at")) & (pl.col("stretch_end") <= pl.col("last_at"))
    )
    weight = pl.col("why").replace_strict({why: place for place, why in enumerate(_GRAVEST)}, return_dtype=pl.Int32)
    made = within.group_by("stream").agg(of=pl.col("of").sum(), why=pl.col("why").sort_by(weight).first())
    off = (pl.col("first_at") != pl.col("period_start")) | (pl.col("last_at") != pl.col("period_end"))
    told = (
        pl.when(pl.col("difference_milli") == 0)
        .then(None)
        .when(pl.col("difference_milli") == pl.col("of"))
        .then("why")
        .when(off)
        .then(pl.lit("read_off_boundary"))
        .otherwise(pl.lit("unexplained"))
    )
    joined = numbered.join(made, on="stream", how="left", maintain_order="left")
    return joined.with_columns(reason=pl.coalesce(_one_end(), told))


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
    return _rows(table, "file", pl.col("subject"), difference, reason)


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
