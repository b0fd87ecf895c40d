"""`ami decode`: frames in, intervals, reads, events and rejects out."""

from typing import Any

import polars as pl
import typer

from app.files import write_outputs
from app.inputs import load_frames, load_keyring, load_meters, load_types, parse_sender
from app.options import Files, Json, KeysFile, MetersFile, Out, Sender, TypesFile
from app.summary import counts, progress, say, timed
from ingest.decode import Decoded, decode_frames
from ingest.replay import Windows


def register(ami: typer.Typer) -> None:
    """Add the verb."""

    @ami.command()
    def decode(
        files: Files,
        out: Out,
        keys: KeysFile = None,
        meters: MetersFile = None,
        types: TypesFile = None,
        sender: Sender = None,
        json: Json = False,
    ) -> None:
        """Decode and authenticate pushes: intervals, reads, events and rejects as Parquet."""
        with progress("reading"):
            known = load_types(types)
            fleet = load_meters(meters, known)
            keyring = load_keyring(keys)
            title = parse_sender(sender)
            frames = load_frames(files)
            if title is not None:
                frames = frames.with_columns(sender=pl.lit(title.hex()))
        with progress(f"decoding {frames.height} messages"):
            decoded, seconds = timed(lambda: decode_frames(frames, keyring, Windows.empty(), fleet, known))
        write_outputs(out, decoded_files(decoded))
        say(decoded_summary(decoded, seconds), as_json=json)


def decoded_files(decoded: Decoded) -> dict[str, Any]:
    """File name -> frame, for the four results of decoding."""
    return {
        "intervals.parquet": decoded.intervals,
        "reads.parquet": decoded.reads,
        "events.parquet": decoded.events,
        "rejects.parquet": decoded.rejects,
    }


def decoded_summary(decoded: Decoded, seconds: float) -> dict[str, Any]:
    """Counts of messages, rows and rejects; `values` are the numeric values that became rows."""
    rows = {"intervals": decoded.intervals.height, "reads": decoded.reads.height, "events": decoded.events.height}
    return {
        "frames": decoded.counts.frames,
        "decoded": decoded.counts.decoded,
        "rejected": decoded.counts.rejected,
        "duplicates": decoded.counts.duplicates,
        "values": rows["intervals"] + rows["reads"],
        "rows": {"in": decoded.counts.frames, "out": {**rows, "rejects": decoded.rejects.height}},
        "rejects": counts(decoded.rejects, "reason"),
        "seconds": seconds,
    }
