"""`ami export`: finals in, billing files and their manifest out."""

from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
import typer

from app.calendar import load_calendar
from app.files import digest_of, parse_day, parse_instant, read_frame
from app.inputs import load_meters, load_tariffs, load_types
from app.options import CalendarFile, Json, Out
from app.summary import progress, say, timed
from billing_export.delivery.folder import deliver
from billing_export.export import export as run_export
from billing_export.export import formats_of
from billing_export.pieces import ExportInputs, ExportParams
from billing_export.stream import export_parts, parquet_parts, parquet_rows
from schemas.frames import FINALS, READS

STREAM_ABOVE: Final = 2_000_000
"""Finals above which an export goes out part by part; the bytes are the same, memory stays bounded."""


def register(ami: typer.Typer) -> None:
    """Add the verb."""

    @ami.command()
    def export(
        finals: Annotated[Path, typer.Argument(metavar="FINALS.parquet")],
        formats: Annotated[list[str], typer.Option("--format", metavar="F", help="determinants, nem12 …; may repeat.")],
        meters: Annotated[Path, typer.Option("--meters", metavar="F", help="METERS.csv.")],
        date_from: Annotated[str, typer.Option("--from", metavar="D", help="First local day.")],
        date_to: Annotated[str, typer.Option("--to", metavar="D", help="Local day after the last.")],
        out: Out,
        tariffs: Annotated[Path | None, typer.Option("--tariffs", metavar="F", help="TARIFFS.toml.")] = None,
        reads: Annotated[Path | None, typer.Option("--reads", metavar="F", help="READS: boundary registers.")] = None,
        rules: Annotated[Path | None, typer.Option("--rules", metavar="F", help="RULES.toml of the finals.")] = None,
        calendar: CalendarFile = None,
        created: Annotated[
            str | None, typer.Option("--created", metavar="T", help="Default: newest judgement.")
        ] = None,
        sender: Annotated[str, typer.Option("--sender", metavar="S", help="Participant.")] = "AMIHEADEND",
        receiver: Annotated[str, typer.Option("--receiver", metavar="S", help="Participant.")] = "RECEIVER",
        json: Json = False,
    ) -> None:
        """Write billing determinants and market files with a manifest; the same inputs give the same bytes."""
        book = load_tariffs(tariffs)
        first, after = parse_day(date_from, "--from"), parse_day(date_to, "--to")
        params = ExportParams(
            formats=tuple(formats),
            date_from=first,
            date_to=after,
            created=None if created is None else parse_instant(created, "--created"),
            sender=sender,
            receiver=receiver,
            holidays=frozenset(load_calendar(calendar).holidays),
            rule_set=digest_of(rules),
            calendars=book.labels(first, after),
        )
        formats_of(params)
        rest = ExportInputs(
            FINALS.empty(),
            load_meters(meters, load_types(None)),
            READS.empty() if reads is None else read_frame(reads, READS),
            book,
        )
        rows = parquet_rows(finals)
        with progress(f"billing {rows} intervals"):
            if rows > STREAM_ABOVE:
                streamed, seconds = timed(lambda: export_parts(parquet_parts(finals, rest), params, out))
                say(manifest_summary(rows, streamed.manifest, seconds), as_json=json)
                return
            inputs = rest._replace(finals=read_frame(finals, FINALS))
            exported, seconds = timed(lambda: run_export(inputs, params))
        deliver(exported, out)
        say(manifest_summary(rows, exported.manifest, seconds), as_json=json)


def manifest_summary(rows: int, manifest: bytes, seconds: float) -> dict[str, Any]:
    """Files with their records, as the manifest states them."""
    files = msgspec.json.decode(manifest)["files"]
    return {
        "rows": {"in": rows, "out": sum(file["records"] for file in files)},
        "values": rows,
        "files": {file["name"]: {"records": file["records"], "bytes": file["bytes"]} for file in files},
        "seconds": seconds,
    }
