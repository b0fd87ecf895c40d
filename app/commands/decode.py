"""`ami decode`: frames in, intervals, reads, events and rejects out."""

import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final

import polars as pl
import typer

from app.files import write_in_parts
from app.inputs import load_frames, load_keyring, load_meters, load_types, parse_sender
from app.options import Files, Json, KeysFile, MetersFile, Out, Sender, TypesFile
from app.summary import counts, progress, say
from ingest.decode import Decoded, decode_frames
from ingest.enrolment import Enrolment
from ingest.keyring import Keyring
from ingest.learned import Learned
from ingest.meter_types import MeterTypes
from ingest.replay import Windows

BATCH_MESSAGES: Final = 50_000
"""Messages that are decoded at once: what follows from them is in memory, beside the bytes of the files."""


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
        """Decode and authenticate pushes: intervals, reads, events and rejects as Parquet.

        Files in the order in which they were received: they are judged together, so a copy in another file is a copy,
        and what is 64 counters or more behind an earlier file of the same meter is a replay.

        METERS count as of when a message was received, as the sidecar has it (`frames.received.parquet` of
        `frames.bin`: topic, received_at); without one as of now.
        """
        with progress("reading"):
            known = load_types(types)
            fleet = load_meters(meters, known)
            keyring = load_keyring(keys)
            title = parse_sender(sender)
            frames = load_frames(files)
            if title is not None:
                frames = frames.with_columns(sender=pl.lit(title.hex()))
        decoding = Decoding(frames, keyring, Enrolment.of(fleet, known, datetime.now(UTC)), known)
        with progress(f"decoding {frames.height} messages"):
            write_in_parts(out, map(decoded_files, decoding.batches()))
        say(decoding.summary(), as_json=json)


class Decoding:
    """Messages of files, decoded batch by batch as a worker does it, and what became of them."""

    def __init__(self, frames: pl.DataFrame, keyring: Keyring, enrolment: Enrolment, types: MeterTypes) -> None:
        self._frames, self._keyring, self._enrolment, self._types = frames, keyring, enrolment, types
        self._sums: Counter[str] = Counter()
        self._reasons: Counter[str] = Counter()
        self._seconds = 0.0

    def batches(self) -> Iterator[Decoded]:
        """At least one; windows and layouts learned go on from each to the next."""
        windows, learned = Windows.empty(), Learned.nothing()
        for first in range(0, max(self._frames.height, 1), BATCH_MESSAGES):
            frames = self._frames.slice(first, BATCH_MESSAGES)
            start = time.perf_counter()
            decoded = decode_frames(frames, self._keyring, windows, self._enrolment, self._types, learned)
            self._seconds += time.perf_counter() - start
            windows, learned = decoded.windows, decoded.learned
            self._count(decoded)
            yield decoded

    def summary(self) -> dict[str, Any]:
        """Counts of messages, rows and rejects.

        `values` are the values of pushes that became rows, as the contract counts them: those that meters sent as null
        as well, of which `null_values` tells how many there are.
        """
        sums = self._sums
        return {
            **{name: sums[name] for name in ("frames", "decoded", "rejected", "duplicates")},
            "values": sums["intervals"] + sums["reads"],
            "null_values": sums["null_values"],
            "rows": {
                "in": sums["frames"],
                "out": {name: sums[name] for name in ("intervals", "reads", "events", "rejects")},
            },
            "rejects": dict(sorted(self._reasons.items(), key=lambda each: (-each[1], each[0]))),
            "seconds": self._seconds,
        }

    def _count(self, decoded: Decoded) -> None:
        messages = ("frames", "decoded", "rejected", "duplicates")
        self._sums.update({name: getattr(decoded.counts, name) for name in messages})
        self._sums.update({name: getattr(decoded, name).height for name in ("intervals", "reads", "events", "rejects")})
        self._sums["null_values"] += sum(
            each["value_milli"].null_count() for each in (decoded.intervals, decoded.reads)
        )
        self._reasons.update(counts(decoded.rejects, "reason"))


def decoded_files(decoded: Decoded) -> dict[str, Any]:
    """File name -> frame, for the four results of decoding."""
    return {
        "intervals.parquet": decoded.intervals,
        "reads.parquet": decoded.reads,
        "events.parquet": decoded.events,
        "rejects.parquet": decoded.rejects,
    }
