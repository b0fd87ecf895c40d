"""What an export is made of: inputs and parameters, the pieces that a format yields, and their control totals."""

from collections.abc import Callable, Iterable, Iterator
from datetime import date, datetime
from typing import Final, NamedTuple

import msgspec
import polars as pl

from billing_export.spans import FINDINGS, DeterminantParams
from billing_export.tariffs import TariffBook
from schemas.frames import UTC_US

TOTALS: Final = pl.Schema(
    {
        "uom": pl.String(),
        "determinant": pl.String(),  # of a determinants file; elsewhere the channel
        "quality_class": pl.String(),
        "lines": pl.Int64(),  # lines, or values where a line holds many
        "value_milli": pl.Int64(),  # as rendered
    }
)
PARTIES: Final = pl.Schema(
    {
        "account_id": pl.String(),
        "service_point_id": pl.String(),
        "meter_id": pl.String(),
        "first_interval": UTC_US,
        "last_interval": UTC_US,  # start of the last
    }
)
ROUNDINGS: Final = pl.Schema(
    {
        "stream": pl.String(),  # service point and channel, as the format names them
        "day": pl.Date(),
        "difference_milli": pl.Int64(),  # rendered less exact
    }
)
REVISIONS: Final = pl.Schema(
    {"meter_id": pl.String(), "stream": pl.String(), "source_revision": pl.Int64(), "value_milli": pl.Int64()}
)


class ExportInputs(NamedTuple):
    """Frames of an export, or of a part of its meters; all finals of a service point are in one part."""

    finals: pl.DataFrame
    meters: pl.DataFrame
    reads: pl.DataFrame
    tariffs: TariffBook = TariffBook()
    orders: pl.DataFrame = pl.DataFrame()
    """Reading orders of the consumer, where his format answers orders (`sap_isu.ORDERS`)."""


class ExportParams(msgspec.Struct, frozen=True):
    """What is asked for.

    Args:
        formats: Names in `formats.FORMATS`; their files stand in one folder under one manifest.
        date_from: First local day (NEM time for `nem12`).
        date_to: Local day after the last.
        created: Time of creation that the files state; null: the newest `judged_at` used.
        sender: Participant, as the format names it.
        receiver: Participant.
        holidays: Local days that are holidays.
        missing_limit: As in `DeterminantParams`.
        estimated_limit_permille: As in `DeterminantParams`.
        cycle: Billing cycle; part of the batch id.
        resent: A period that was sent before goes out again: formats that tell so (CMEP) say it.
        rule_set: Version of the rules of validation, for the manifest (finals name their runs, not their rules).
        calendars: Tariff and version of every calendar in force, for the manifest.
    """

    formats: tuple[str, ...]
    date_from: date
    date_to: date
    created: datetime | None = None
    sender: str = "AMIHEADEND"
    receiver: str = "RECEIVER"
    holidays: frozenset[date] = frozenset()
    missing_limit: int = 0
    estimated_limit_permille: int = 1000
    cycle: str = ""
    resent: bool = False
    rule_set: str | None = None
    calendars: tuple[tuple[str, str], ...] = ()

    def determinants(self, timezone: str | None = None) -> DeterminantParams:
        """The same, as the determinants take it."""
        return DeterminantParams(
            date_from=self.date_from,
            date_to=self.date_to,
            holidays=self.holidays,
            missing_limit=self.missing_limit,
            estimated_limit_permille=self.estimated_limit_permille,
            consumer=self.receiver,
            cycle=self.cycle,
            timezone=timezone,
        )


class Tally(NamedTuple):
    """Control totals of a piece."""

    totals: pl.DataFrame
    """TOTALS."""
    parties: pl.DataFrame
    """PARTIES."""
    roundings: pl.DataFrame
    """ROUNDINGS, where the format rounds."""
    revisions: pl.DataFrame
    """REVISIONS: what the piece rests on; part of the batch id."""
    findings: pl.DataFrame
    """FINDINGS."""


class Piece(NamedTuple):
    """A stretch of one file; the pieces of a file, laid end to end, are the file."""

    part: str
    content: bytes
    records: int
    """Records in it: header and trailer records of a market format included, a row of column names not."""
    tally: Tally | None = None


class Heading(NamedTuple):
    """What only the whole export knows and every file may state."""

    created: datetime
    batch_id: str
    params: ExportParams


Render = Callable[[Iterable[ExportInputs], Heading], Iterator[Piece]]


class Format(NamedTuple):
    """One way to write an export."""

    name: str
    version: str
    timezone: str | None
    """Zone of the days where the format fixes it."""
    render: Render
    file_names: Callable[[str, ExportParams], dict[str, str]]
    """Part → file name, given the batch id."""


def empty_tally() -> Tally:
    """No lines, nobody, nothing found."""
    frames = (TOTALS, PARTIES, ROUNDINGS, REVISIONS, FINDINGS)
    return Tally(*(pl.DataFrame(schema=schema) for schema in frames))


def joined(tallies: list[Tally]) -> Tally:
    """Control totals of several pieces together."""
    every = [empty_tally(), *tallies]
    return Tally(
        totals=pl.concat([one.totals for one in every])
        .group_by("uom", "determinant", "quality_class")
        .agg(pl.col("lines").sum(), pl.col("value_milli").sum())
        .sort("uom", "determinant", "quality_class"),
        parties=pl.concat([one.parties for one in every]),
        roundings=pl.concat([one.roundings for one in every]),
        revisions=pl.concat([one.revisions for one in every]),
        findings=pl.concat([one.findings for one in every]),
    )
