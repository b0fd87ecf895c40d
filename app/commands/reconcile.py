"""`ami reconcile`: intervals against registers, the ledger against determinants, files against their manifests."""

from pathlib import Path
from typing import Annotated, Any, Final

import polars as pl
import typer

from app.calendar import load_calendar
from app.files import parse_day, read_bytes, write_outputs
from app.ledger import load_books, load_inputs
from app.options import CalendarFile, Json, Out
from app.summary import counts, progress, say
from billing_export.comparisons import EXPLAINED, TO_DO
from billing_export.determinants import compute_determinants
from billing_export.export import MANIFEST, formats_of
from billing_export.pieces import ExportInputs, ExportParams
from billing_export.reconcile import reconcile_files, reconcile_ledger
from billing_export.reconcile_registers import reconcile_reads, reconcile_registers
from billing_export.stretches import Stretches, stretches_of
from schemas.errors import ContractError

REPORT: Final = "reconciliation.parquet"
_SHOWN: Final = 20


def register(ami: typer.Typer) -> None:
    """Add the verb."""

    @ami.command()
    def reconcile(
        finals: Annotated[Path, typer.Argument(metavar="FINALS.parquet")],
        meters: Annotated[Path, typer.Option("--meters", metavar="F", help="METERS.csv.")],
        date_from: Annotated[str, typer.Option("--from", metavar="D", help="First local day.")],
        date_to: Annotated[str, typer.Option("--to", metavar="D", help="Local day after the last.")],
        out: Out,
        tariffs: Annotated[Path | None, typer.Option("--tariffs", metavar="F", help="TARIFFS.toml.")] = None,
        reads: Annotated[Path | None, typer.Option("--reads", metavar="F", help="READS: registers.")] = None,
        calendar: CalendarFile = None,
        ledger: Annotated[Path | None, typer.Option("--ledger", metavar="DIR", help="Ledger to compare with.")] = None,
        delivery: Annotated[
            list[Path] | None, typer.Option("--delivery", metavar="DIR", help="Delivered folder; may repeat.")
        ] = None,
        json: Json = False,
    ) -> None:
        """Prove intervals against registers, the ledger against determinants, files against manifests.

        Every comparison is a row of reconciliation.parquet; a difference carries its reason. Exit 1 where one is left
        that neither the resolution of a register explains nor a read that all around it contradicts, and where energy
        was billed that no read proves: `to_do` says which read is owed.
        """
        inputs = load_inputs(finals, meters, tariffs, reads)
        days = frozenset(load_calendar(calendar).holidays)
        asked = ExportParams(
            ("determinants",), parse_day(date_from, "--from"), parse_day(date_to, "--to"), holidays=days
        )
        formats_of(asked)
        with progress(f"reconciling {inputs.finals.height} intervals"):
            lines = compute_determinants(*inputs[:4], asked.determinants()).determinants
            proven = _stretches(inputs, lines)
            parts = [reconcile_registers(lines, inputs.meters, proven.stretches), reconcile_reads(proven.left_out)]
            if ledger is not None:
                parts.append(reconcile_ledger(load_books(ledger).lines, lines))
            parts += [_delivered(folder) for folder in delivery or []]
        compared = pl.concat(parts)
        write_outputs(out, {REPORT: compared})
        wrong = compared.filter(pl.col("reason").is_not_null() & ~pl.col("reason").is_in(list(EXPLAINED)))
        say(_summary(compared, wrong, proven), as_json=json)
        if not wrong.is_empty():
            raise typer.Exit(1)


def _stretches(inputs: ExportInputs, lines: pl.DataFrame) -> Stretches:
    """Of the period that the lines bill: what lies outside is another bill's."""
    start, end = lines["period_start"].min(), lines["period_end"].max()
    within = pl.lit(value=lines.height > 0)
    return stretches_of(
        inputs.finals.filter(within & pl.col("interval_start").is_between(start, end, closed="left")),
        inputs.reads.filter(within & pl.col("read_at").is_between(start, end)),
        inputs.meters,
    )


def _summary(compared: pl.DataFrame, wrong: pl.DataFrame, proven: Stretches) -> dict[str, Any]:
    differing = compared.filter(pl.col("reason").is_not_null())
    by_reason = differing.group_by("kind", "reason").agg(
        rows=pl.len(), sum_kwh=pl.col("difference_milli").sum() / 1e6,
        largest_kwh=pl.col("difference_milli").abs().max() / 1e6,
    )  # fmt: skip
    shown = wrong.filter(pl.col("kind") != "stretch").sort(pl.col("difference_milli").abs(), descending=True)
    return {
        "compared": counts(compared.filter(pl.col("kind") != "stretch"), "kind"),
        "stretches": proven.stretches.height,
        "agree": counts(compared.filter(pl.col("reason").is_null()), "kind"),
        "reads_left_out": counts(proven.left_out, "reason"),
        "reasons": {
            f"{row.pop('kind')} {row.pop('reason')}": row for row in by_reason.sort("kind", "reason").rows(named=True)
        },
        "unexplained_or_faulty": wrong.filter(pl.col("kind") != "stretch").height,
        "to_do": {reason: TO_DO[reason] for reason in sorted({*wrong["reason"]} & {*TO_DO})},
        "differences": {str(row.pop("subject")): row for row in shown.head(_SHOWN).rows(named=True)},
    }


def _delivered(folder: Path) -> pl.DataFrame:
    if not folder.is_dir():
        raise ContractError(f"--delivery {folder}: no folder")
    files = {path.name: read_bytes(path) for path in sorted(folder.iterdir()) if path.name != MANIFEST}
    return reconcile_files(read_bytes(folder / MANIFEST), files)
