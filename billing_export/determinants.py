"""Stage `compute_determinants`: what a bill is made of, from judged intervals and a tariff, exact to 1 mWh."""

from collections.abc import Iterable
from datetime import date, datetime, timedelta
from typing import Final, NamedTuple

import polars as pl

from billing_export.ahead import ahead
from billing_export.derived import load_factor_lines, power_factor_lines
from billing_export.identity import RESTING, batch_id_of, rested
from billing_export.inputs import checked_inputs
from billing_export.lines import judge
from billing_export.measures import Measured, measure, together
from billing_export.pieces import ExportInputs
from billing_export.spans import BILLED_SPANS, FINDINGS, DeterminantParams, billed_spans
from billing_export.streams import demand_lines, energy_lines, net_lines, straddling
from billing_export.tariffs import TariffBook
from schemas.frames import DETERMINANTS, UTC_US, conform
from schemas.timegrid import zone

_MOMENT: Final = timedelta(microseconds=1)
_ORDER: Final = ["account_id", "service_point_id", "meter_id", "period_start", "determinant", "channel"]


class Determinants(NamedTuple):
    """Lines to bill, and what must be said beside them."""

    determinants: pl.DataFrame
    """DETERMINANTS, sorted by account, service point, meter, time and determinant."""
    findings: pl.DataFrame
    """FINDINGS: held lines with their reason, and lines whose maximum may be hidden."""
    spans: pl.DataFrame
    """BILLED_SPANS."""


class Lines(NamedTuple):
    """Lines of a part of the meters."""

    determinants: pl.DataFrame
    """DETERMINANTS without batch and numbers."""
    findings: pl.DataFrame
    """FINDINGS."""
    resting: pl.DataFrame
    """RESTING: what the lines rest on, held ones too."""
    spans: pl.DataFrame
    """BILLED_SPANS."""


def compute_determinants(
    finals: pl.DataFrame, meters: pl.DataFrame, reads: pl.DataFrame, tariffs: TariffBook, params: DeterminantParams
) -> Determinants:
    """Every determinant of every installation over the local days `[date_from, date_to)`.

    Args:
        finals: FINALS, any versions, any order; the newest version of an interval counts. Primary quantities.
        meters: METERS; may be empty: then all is in UTC without time of use.
        reads: READS as sent, for `register_start` and `register_end`; may be empty.
        tariffs: Tariffs by name.
        params: Period, limits, names of the batch.

    Returns:
        Lines: `energy_total` and `energy_delivered` (Σ delivered), `energy_tou_<p>` for each period of the tariff
        (they sum to the total, exactly), `energy_received`, `energy_net` (channel null; beside the two, never
        instead), `reactive_energy` (a line per reactive channel), `demand_max` and `demand_max_tou_<p>` (thousandths
        of a watt; `occurred_at` is the start of the window), `apparent_demand_max`, `power_factor` and `load_factor`
        (in `ratio`; left out where the divisor is zero), `register_start` and `register_end` (`occurred_at` is the
        instant of the read, no intervals; a read that does not stand is not printed and has a finding). The six counts
        of a line add up to `n_intervals`; intervals without a final are missing.
    """
    part = checked_inputs(ExportInputs(finals, meters, reads, tariffs))
    lines = compute_lines([part], params)
    return Determinants(seal(lines.determinants, batch_id_of(lines.resting, params)), lines.findings, lines.spans)


def compute_lines(parts: Iterable[ExportInputs], params: DeterminantParams) -> Lines:
    """The lines of all parts, which must be as `checked_inputs` leaves them."""
    return lines_from(list(ahead(lambda part: measure(part, params), parts)), params)


def lines_from(parts: list[Measured], params: DeterminantParams) -> Lines:
    """The lines of what was measured part by part: DETERMINANTS whose `batch_id` and `line_no` wait for `seal`."""
    if not parts:
        return Lines(
            *(pl.DataFrame(schema=schema) for schema in (DETERMINANTS.schema, FINDINGS, RESTING, BILLED_SPANS))
        )
    found = together(parts)
    demand = demand_lines(found)
    energy = pl.concat([energy_lines(found), net_lines(found)])
    ratios = [power_factor_lines(found), load_factor_lines(energy, demand.lines)]
    judged = judge(pl.concat([energy, demand.lines, *ratios]), params)
    lines = pl.concat([_as_contract(rows, found.tariffs) for rows in (judged.lines, found.registers.lines)])
    said = [found.spans.findings, judged.findings, demand.findings, straddling(found), found.registers.findings]
    findings = pl.concat([rows.cast(FINDINGS) for rows in said])
    summed = found.segments.with_columns(value_milli=pl.Series(found.used.value.sum(axis=1), dtype=pl.Int64))
    resting = rested(summed, found.registers.lines)
    return Lines(lines, findings, resting, billed_spans(found.seen, found.spans.spans))


def seal(lines: pl.DataFrame, batch_id: str) -> pl.DataFrame:
    """The same lines sorted and numbered from 1, under the id of their batch."""
    ordered = lines.sort(_ORDER, nulls_last=False, maintain_order=True)
    return ordered.with_columns(batch_id=pl.lit(batch_id), line_no=pl.int_range(1, pl.len() + 1, dtype=pl.Int32))


def _versions(plans: pl.DataFrame, book: TariffBook) -> pl.DataFrame:
    """The plans with `tou_version`: the versions in force on the local days of the span, the oldest first."""
    labels = [
        book.label(tariff, _day(at, timezone), _day(until - _MOMENT, timezone) + timedelta(days=1))
        for tariff, timezone, at, until in plans.rows()
    ]
    return plans.with_columns(tou_version=pl.Series(labels, dtype=pl.String))


def _day(at: datetime, timezone: str) -> date:
    return at.astimezone(zone(timezone)).date()


def _as_contract(lines: pl.DataFrame, tariffs: TariffBook) -> pl.DataFrame:
    known = pl.col("tariff").is_in([entry.name for entry in tariffs.tariff])
    text = pl.String()
    plan = ["tariff", "timezone", "span_from", "span_to"]
    versions = _versions(lines.select(plan).unique(), tariffs)
    filled = lines.join(versions, on=plan, how="left", maintain_order="left").with_columns(
        batch_id=pl.lit("", dtype=text),
        line_no=pl.lit(0, dtype=pl.Int32),
        period_start=pl.col("span_from").cast(UTC_US),
        period_end=pl.col("span_to").cast(UTC_US),
        tou_calendar=pl.when(known).then("tariff").otherwise(pl.lit(None, dtype=text)),
        determinant_revision=pl.lit(1, dtype=pl.Int32),
        supersedes=pl.lit(None, dtype=text),
        sign=pl.lit(1, dtype=pl.Int8),
    )
    return conform(filled, DETERMINANTS)
