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
from outage.belief import FILED_EVENTS, conform_events
from outage.circumstances import Storm
from outage.detect import Detected, detect_outages
from outage.map import render_map
from outage.messages import FEEDS, render_feeds
from outage.notices import warnings_of
from outage.params import DetectParams
from schemas.codes import Status
from schemas.errors import ContractError
from schemas.frames import HEARD, READS


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
        sustained_s: Annotated[
            int,
            typer.Option(
                "--sustained-s", metavar="S", min=0, help="Longer is sustained: 300 (IEEE 1366), 180 (GB, Australia)."
            ),
        ] = DetectParams().sustained_s,
        picture: Annotated[bool, typer.Option("--map", help="Draw the incidents as map.svg.")] = False,
        json: Json = False,
    ) -> None:
        """Infer outages from last gasps and evidence of life: incidents by scope, and feeds for an OMS."""
        wanted = tuple(formats or ("cim-json",))
        unknown = [name for name in wanted if name not in FEEDS]
        if unknown:
            raise ContractError(f"--format: {unknown[0]!r} is not one of {', '.join(sorted(FEEDS))}")
        log = conform_events(read_frame(events, FILED_EVENTS))
        fleet = load_meters(meters, load_types(None))
        heard = HEARD.empty() if reads is None else heard_of_reads(read_frame(reads, READS))
        # A whole log is judged at leisure: nothing of it is withheld as it is from a control room in a storm.
        params = DetectParams(until=_until(until), storm=Storm.OFF, sustained_s=sustained_s)
        with progress(f"inferring outages from {log.height} events"):
            detected, seconds = timed(lambda: detect_outages(log, fleet, heard, params))
        files: dict[str, pl.DataFrame | bytes | str] = {
            "outages.parquet": detected.outages,
            "interruptions.parquet": detected.interruptions,
            "notices.parquet": warnings_of(detected.at_risk, detected.alarms),
            **render_feeds(detected.outages, wanted),
        }
        if picture:
            files["map.svg"] = render_map(detected.outages, fleet, f"Outages in {events.name}")
        write_outputs(out, files)
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
        "suppressed": detected.counts.suppressed,
        "at_risk": detected.at_risk.height,
        "alarms": detected.alarms.height,
        "disabled": list(detected.disabled),
        "seconds": seconds,
    }


def _until(text: str | None) -> datetime | None:
    return None if text is None else parse_instant(text, "--until")
