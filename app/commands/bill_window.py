"""`ami bill window`: the scheduled job: what was written is delivered, what is due is billed from the store."""

from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, Final

import msgspec
import polars as pl
import typer

from app.billing import Outlet, bill_into, deliver_written, load_target
from app.billing_metrics import telling
from app.billing_period import store_parts
from app.calendar import load_calendar
from app.commands.bill_cycles import billed_cycles, load_cycles
from app.config import parse_config
from app.files import parse_day, read_text
from app.inputs import load_tariffs
from app.ledger import COPY, alone, instant_or_now, load_books
from app.options import CalendarFile, Json, MetricsFile, Out
from app.stores import open_store
from app.summary import progress, say
from billing_export.export import formats_of
from billing_export.pieces import ExportParams
from billing_export.plan import plan
from billing_export.tariffs import TariffBook
from storage.store import ReadingStore

_DUE: Final = ("due", "late")


def register(bill: typer.Typer) -> None:
    """Add the verb."""

    @bill.command("window")
    def window(
        config: Annotated[Path, typer.Option("--config", metavar="F", help="Settings: which store.")],
        cycles: Annotated[Path, typer.Option("--cycles", metavar="F", help="CYCLES.toml.")],
        ledger: Annotated[Path, typer.Option("--ledger", metavar="DIR", help="Folder of ledger and batches.")],
        out: Out,
        formats: Annotated[list[str] | None, typer.Option("--format", metavar="F", help="Beside determinants.")] = None,
        tariffs: Annotated[Path | None, typer.Option("--tariffs", metavar="F", help="TARIFFS.toml.")] = None,
        calendar: CalendarFile = None,
        target: Annotated[Path | None, typer.Option("--target", metavar="F", help="TARGET.toml.")] = None,
        sender: Annotated[str, typer.Option("--sender", metavar="S", help="Participant.")] = "AMIHEADEND",
        receiver: Annotated[str, typer.Option("--receiver", metavar="S", help="Participant.")] = "RECEIVER",
        today: Annotated[str | None, typer.Option("--today", metavar="D", help="Default: today in UTC.")] = None,
        at: Annotated[str | None, typer.Option("--at", metavar="T", help="Time of the steps; default: now.")] = None,
        metrics: MetricsFile = None,
        json: Json = False,
    ) -> None:
        """Deliver what waits, then bill every period that is due. Safe to run as often as one likes.

        Exit 1 where the target is away: the next run takes it up. Periods not yet aligned wait.
        """
        day = datetime.now(UTC).date() if today is None else parse_day(today, "--today")
        book = load_tariffs(tariffs)
        outlet, moment, listed = Outlet(ledger, out, load_target(target)), instant_or_now(at), load_cycles(cycles)
        holidays = frozenset(load_calendar(calendar).holidays)
        asked = ExportParams(
            tuple(formats or ("determinants",)), day, day + timedelta(days=1), sender=sender, receiver=receiver,
            holidays=holidays,
        )  # fmt: skip
        formats_of(asked)
        settings = parse_config(read_text(config), str(config))
        with telling(metrics, ledger), alone(ledger):
            carried = deliver_written(outlet, moment)
            due = plan(listed, day, billed_cycles(load_books(ledger).batches))
            periods = due.filter(pl.col("state").is_in(_DUE)).sort("date_from", "cycle")
            with closing(open_store(settings)) as store:
                billed = {
                    cycle: _billed(
                        store, outlet, book,
                        msgspec.structs.replace(
                            asked, date_from=first, date_to=after, cycle=cycle, calendars=book.labels(first, after)
                        ),
                        moment,
                    )
                    for cycle, first, after in periods.select("cycle", "date_from", "date_to").rows()
                }  # fmt: skip
                _mirror(store, ledger)
        say({"today": day.isoformat(), "delivered": list(carried), "billed": billed}, as_json=json)


def _billed(
    store: ReadingStore, outlet: Outlet, book: TariffBook, params: ExportParams, at: datetime
) -> dict[str, Any]:
    # A copy of the period on disk: the store may gain versions while the formats walk over it one after another.
    with progress(f"billing {params.cycle}"), TemporaryDirectory(dir=outlet.ledger, prefix=COPY) as copy:
        return bill_into(outlet, store_parts(store, book, params, Path(copy)), params, at)


def _mirror(store: ReadingStore, ledger: Path) -> None:
    """The store has every batch of the ledger, for `ami trace` and its own questions: a run that was killed or
    found its target away may have left some behind."""
    books, step = load_books(ledger), ["batch_id", "step"]
    known = store.load_current("billing_batches").select(step)
    steps = books.batches.join(known, on=step, how="anti", maintain_order="left")
    for batch_id in steps["batch_id"].unique(maintain_order=True).to_list():
        # The steps last: they say that the lines are there. Rows that stand there already collapse.
        for table, rows in (("billing_ledger", books.lines), ("billing_batches", steps)):
            own = rows.filter(pl.col("batch_id") == batch_id)
            store.append(table, own, f"{table} {batch_id} {own.height}")
