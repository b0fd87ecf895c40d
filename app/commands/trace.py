"""`ami trace`: a value, from the bill back to the bytes of the frame that it came from."""

import sys
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from app.files import parse_instant
from app.options import Json, StoreFolder
from app.summary import say
from schemas.errors import ContractError
from storage.embedded import open_embedded
from storage.store import ReadingStore, Scope
from storage.trace import explain

_DEFAULT_STORE = Path("demo-out") / "store"


def register(ami: typer.Typer) -> None:
    """Add the verb."""

    @ami.command()
    def trace(
        meter: Annotated[str, typer.Argument(metavar="METER")],
        interval_start: Annotated[str, typer.Argument(metavar="INTERVAL_START", help="ISO 8601; UTC by default.")],
        store: StoreFolder = _DEFAULT_STORE,
        json: Json = False,
    ) -> None:
        """Explain a value: file line, ledger, finals, raw values, and the message's bytes."""
        start = parse_instant(interval_start, "INTERVAL_START")
        opened = open_embedded(_store_folder(store))
        try:
            scope = Scope((meter,), start, start + timedelta(microseconds=1))
            evidence = opened.load_evidence(meter, start, _interval_s(opened, scope))
            answer = explain(evidence, meter, start)
        finally:
            opened.close()
        if json:
            say(answer, as_json=True)
        else:
            sys.stdout.write("\n".join(answer["story"]) + "\n")


def _store_folder(given: Path) -> Path:
    """The engine's folder: the one given, or `store` in the folder of a demo."""
    for folder in (given, given / "store"):
        if (folder / "metadata").is_dir():
            return folder
    raise ContractError(f"--store {given}: no store is there; ami demo makes one")


def _interval_s(store: ReadingStore, scope: Scope) -> int:
    for table in ("finals", "intervals"):
        known = store.load_current(table, scope)
        if known.height:
            return int(known["interval_s"][0])
    raise ContractError(f"nothing is stored of meter {scope.meters[0]!r} at {scope.start.isoformat()}")
