"""Options that several verbs share, each described once."""

from pathlib import Path
from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Print one machine-readable summary object.")]
Out = Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder for the results; made where absent.")]
Files = Annotated[list[Path], typer.Argument(metavar="FILE...", help="*.hex: a frame a line; else bytes end to end.")]
KeysFile = Annotated[Path | None, typer.Option("--keys", metavar="F", help="KEYS.csv: system_title,ek,ak in hex.")]
Sender = Annotated[
    str | None,
    typer.Option("--sender", metavar="TITLE", help="System title (hex) of messages that carry none: glo by service."),
]
MetersFile = Annotated[Path | None, typer.Option("--meters", metavar="F", help="METERS.csv: one row an installation.")]
TypesFile = Annotated[Path | None, typer.Option("--types", metavar="F", help="meter_types.toml beside the built-in.")]
CalendarFile = Annotated[Path | None, typer.Option("--calendar", metavar="F", help="Holidays (TOML).")]
EstimationFile = Annotated[
    Path | None, typer.Option("--estimation", metavar="F", help="Time-of-use calendar, class profiles (TOML).")
]
MetricsFile = Annotated[
    Path | None,
    typer.Option("--metrics", metavar="F", help="Prometheus textfile of the ledger's batches, written last."),
]
StoreFolder = Annotated[Path, typer.Option("--store", metavar="DIR", help="Folder of the embedded store.")]
