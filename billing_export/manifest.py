"""The manifest: counts, sums and hashes by which a receiver proves that an export is whole and right."""

from datetime import datetime
from typing import Final, NamedTuple

import msgspec
import polars as pl

from billing_export.pieces import ExportParams, Format, Tally
from billing_export.render import kilo_text
from schemas.codes import Uom

_RATIO: Final = Uom.ONE.value
"""Ratios have no sum."""


class FileEntry(NamedTuple):
    """A file as the manifest states it."""

    name: str
    size: int
    sha256: str
    records: int


class Section(NamedTuple):
    """What one format contributes."""

    form: Format
    created: datetime
    tally: Tally
    files: tuple[FileEntry, ...]


def render_manifest(batch_id: str, params: ExportParams, sections: list[Section], runs: list[str]) -> bytes:
    """The manifest as JSON with sorted keys; nothing in it is read from a clock.

    Sums are decimal text in the unit they stand under. `roundings` has a row for every stream and day whose rendered
    sum differs from the exact one.
    """
    manifest = {
        "batch_id": batch_id,
        "consumer": params.receiver,
        "sender": params.sender,
        "cycle": params.cycle,
        "created": max(section.created for section in sections).isoformat(),
        "period": {"from": params.date_from.isoformat(), "to": params.date_to.isoformat()},
        "files": [{"format": section.form.name, **_file(file)} for section in sections for file in section.files],
        "records": sum(file.records for section in sections for file in section.files),
        "exports": [_section(section) for section in sections],
        "run_ids": runs,
        "rule_set": params.rule_set,
        "calendar_versions": dict(params.calendars),
    }
    return msgspec.json.format(msgspec.json.encode(manifest, order="sorted"), indent=1) + b"\n"


def _file(file: FileEntry) -> dict[str, object]:
    return {"name": file.name, "bytes": file.size, "sha256": file.sha256, "records": file.records}


def _section(section: Section) -> dict[str, object]:
    tally = section.tally
    return {
        "format": section.form.name,
        "version": section.form.version,
        "timezone": section.form.timezone,
        "created": section.created.isoformat(),
        "control_totals": _control_totals(tally.totals),
        "lines": _lines(tally),
        "parties": _parties(tally.parties),
        "held": _findings(tally.findings.filter("held")),
        "notes": _findings(tally.findings.filter(~pl.col("held"))),
        "roundings": _roundings(tally.roundings),
        "source_revision": tally.revisions["source_revision"].max(),
    }


def _control_totals(totals: pl.DataFrame) -> list[dict[str, object]]:
    summed = totals.group_by("uom", "determinant").agg(pl.col("lines").sum(), pl.col("value_milli").sum())
    return [
        {"uom": uom, "determinant": determinant, "count": lines, "sum": None if uom == _RATIO else kilo_text(value)}
        for uom, determinant, lines, value in summed.sort("uom", "determinant").rows()
    ]


def _lines(tally: Tally) -> dict[str, object]:
    by_class = tally.totals.group_by("quality_class").agg(pl.col("lines").sum()).sort("quality_class")
    counts: dict[str, object] = dict.fromkeys(("actual", "estimated", "mixed", "unbillable"), 0)
    counts.update({str(name): lines for name, lines in by_class.rows()})
    counts["held"] = tally.findings.filter("held").height
    return counts


def _parties(parties: pl.DataFrame) -> dict[str, object]:
    first, last = parties["first_interval"].min(), parties["last_interval"].max()
    counted = {
        name: parties[column].drop_nulls().n_unique()
        for name, column in (("accounts", "account_id"), ("service_points", "service_point_id"), ("meters", "meter_id"))
    }
    bounds = {"first_interval": first, "last_interval": last}
    return {**counted, **{name: getattr(at, "isoformat", lambda: None)() for name, at in bounds.items()}}


def _findings(findings: pl.DataFrame) -> list[dict[str, object]]:
    keys = ["account_id", "service_point_id", "meter_id", "reason"]
    grouped = findings.group_by(keys).agg(lines=pl.len(), n=pl.col("n").max()).sort(keys)
    return [dict(zip(grouped.columns, row, strict=True)) for row in grouped.rows()]


def _roundings(roundings: pl.DataFrame) -> list[dict[str, object]]:
    rows = roundings.filter(pl.col("difference_milli") != 0).sort("stream", "day").rows()
    return [{"stream": stream, "day": day.isoformat(), "difference": kilo_text(value)} for stream, day, value in rows]
