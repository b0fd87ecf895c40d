"""`ami outages`: events in, incidents and feeds out."""

from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import polars as pl
import typer

from app.files import parse_instant, read_frame, write_outputs
from app.inputs import load_meters, load_types
from app.options import Json, Out
from app.summary import counts, progress, say, timed
from outage.detect import Detected, detect_outages
from outage.messages import FEEDS, render_feeds
from outage.params import DetectParams
from schemas.codes import Status
from schemas.errors import ContractError
from schemas.frames import EVENTS, HEARD, READS


def register(ami: typer.Typer) -> None:
    """Add the verb."""

    @ami.command()
    def outages(
        events: Annotated[Path, typer.Argument(metavar="EVENTS.parquet")],
        meters: Annotated[Path, typer.Option("--meters", metavar="F", help="METERS.csv with the supply tree.")],
        out: Out,
        reads: Annotated[Path | None, typer.Option("--reads", metavar="F", help="READS: evidence of life.")] = None,
        until: Annotated[str | None, typer.Option("--until", metavar="T", help="State as of this instant.")] = None,
        formats: Annotated[list[str] | None, typer.Option("--format", metavar="F", help="Feed; may repeat.")] = None,
        json: Json = False,
    ) -> None:
        """Infer outages from last gasps and evidence of life: incidents by scope, and feeds for an OMS."""
        wanted = tuple(formats or ("cim-json",))
        unknown = [name for name in wanted if name not in FEEDS]
        if unknown:
            raise ContractError(f"--format: {unknown[0]!r} is not one of {', '.join(sorted(FEEDS))}")
        log = read_frame(events, EVENTS)
        fleet = load_meters(meters, load_types(None))
        heard = HEARD.empty() if reads is None else heard_of_reads(read_frame(reads, READS))
        params = DetectParams(until=_until(until))
        with progress(f"inferring outages from {log.height} events"):
            detected, seconds = timed(lambda: detect_outages(log, fleet, heard, params))
        write_outputs(out, {"outages.parquet": detected.outages, **render_feeds(detected.outages, wanted)})
        say(detected_summary(log.height, detected, seconds), as_json=json)


def heard_of_reads(reads: pl.DataFrame) -> pl.DataFrame:
    """HEARD: when each meter is known to have been alive. A read whose clock cannot be believed proves nothing."""
    doubtful = Status.CLOCK_INVALID.value | Status.CLOCK_DOUBTFUL.value
    believed = (pl.col("status") & doubtful) == 0
    return reads.filter(believed).select("meter_id", "read_at").unique()


def detected_summary(events: int, detected: Detected, seconds: float) -> dict[str, Any]:
    """Incidents by scope and state, momentary interruptions, and the rules that could not be judged."""
    last = detected.outages.sort("incident_id", "step").group_by("incident_id", maintain_order=True).last()
    return {
        "rows": {"in": events, "out": detected.outages.height},
        "incidents": last.height,
        "scope": counts(last, "scope"),
        "state": counts(last, "state"),
        "momentary": detected.counts.momentary,
        "disabled": list(detected.disabled),
        "seconds": seconds,
    }


def _until(text: str | None) -> datetime | None:
    return None if text is None else parse_instant(text, "--until")
