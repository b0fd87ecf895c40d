"""What the outage worker remembers, as records of a journal: pure. A record is cut into parts that a topic takes.

A journal is one partition, so its records have one order. A worker that takes over writes a claim with a higher epoch;
whatever an older epoch writes behind that claim counts for nothing. `Folding` is that rule, the same for everybody who
reads.
"""

import io
from enum import StrEnum
from typing import Final, NamedTuple

import msgspec
import polars as pl

from outage.circumstances import PINGS
from outage.identity import ANCHORS
from outage.notes import NOTES
from schemas.errors import ContractError, TerminalError
from schemas.frames import EVENTS, HEARD, OUTAGES, UTC_US

PART_OCTETS: Final = 800_000
"""Below the topic's largest message, with room for the key and the batch around it."""

ASKED: Final = pl.Schema({"meter_id": pl.String(), "asked_at": UTC_US})
"""Meters that were sent a power-status check."""
STRANGERS: Final = pl.Schema({"meter_id": pl.String()})
"""Meters that spoke, and that METERS did not know when they did."""

_SCHEMAS: Final = {
    "events": EVENTS.schema,
    "reads": HEARD.schema,
    "pings": PINGS,
    "outages": OUTAGES.schema,
    "anchors": ANCHORS,
    "asked": ASKED,
    "notes": NOTES.schema,
    "strangers": STRANGERS,
}


class Kind(StrEnum):
    """What a record is."""

    CLAIM = "claim"
    """A worker takes over; it carries nothing."""
    STEP = "step"
    """What one batch brought, and what was to be said because of it."""
    SNAPSHOT = "snapshot"
    """Everything remembered: reading may begin here."""


class Memory(NamedTuple):
    """The frames of a record: of one batch, or of all batches until then."""

    events: pl.DataFrame
    reads: pl.DataFrame
    """HEARD."""
    pings: pl.DataFrame
    outages: pl.DataFrame
    """OUTAGES: of a step the steps of incidents to be said, of a snapshot the newest version of everything said."""
    anchors: pl.DataFrame | None
    """None: as in the record before."""
    asked: pl.DataFrame
    notes: pl.DataFrame
    """NOTES."""
    strangers: pl.DataFrame
    """STRANGERS: whoever else METERS does not name has been taken out of it since."""

    @staticmethod
    def nothing() -> "Memory":
        """Empty frames."""
        frames = {name: schema.to_frame() for name, schema in _SCHEMAS.items()}
        return Memory(**frames)


Positions = dict[str, dict[int, int]]
"""By topic and partition: the offset that is read next."""


class Record(NamedTuple):
    """One record of the journal."""

    kind: Kind
    epoch: int
    number: int
    """Of the batch: 1, 2, 3 … without a gap over all epochs. A snapshot bears the number of the batch it follows."""
    as_of: int
    positions: Positions
    memory: Memory


class Part(NamedTuple):
    """One message of the journal. `base` is the offset of the newest snapshot before it, 0 where there is none."""

    kind: Kind
    epoch: int
    number: int
    part: int
    parts: int
    base: int
    value: bytes

    def key(self) -> bytes:
        """Everything but the value."""
        return msgspec.json.encode(self[:-1])


class _Body(msgspec.Struct, frozen=True):
    as_of: int
    positions: Positions
    frames: dict[str, bytes]


def cut_record(record: Record, base: int) -> list[Part]:
    """The record as messages, in order."""
    body = b""
    if record.kind is not Kind.CLAIM:
        frames = {name: _packed(rows) for name, rows in record.memory._asdict().items() if _says(name, rows)}
        body = msgspec.msgpack.encode(_Body(record.as_of, record.positions, frames))
    pieces = [body[at : at + PART_OCTETS] for at in range(0, len(body), PART_OCTETS)] or [b""]
    return [
        Part(record.kind, record.epoch, record.number, i, len(pieces), base, piece) for i, piece in enumerate(pieces)
    ]


def read_part(key: bytes | None, value: bytes | None) -> Part:
    """One message of the journal.

    Raises:
        ContractError: It is none of ours.
    """
    try:
        head = msgspec.json.decode(key or b"", type=tuple[Kind, int, int, int, int, int])
    except msgspec.MsgspecError as error:
        raise ContractError(f"the journal of outages holds a foreign message: {error}") from error
    return Part(*head, value or b"")


class Folding:
    """Messages of a journal in their order become records; those of a worker that was overtaken are left out.

    Args:
        base: Reading began at that offset, which is the first message of a snapshot (or of the journal).
    """

    def __init__(self, base: int = 0) -> None:
        self.epoch = 0
        self.claimed_at = base
        """Where the present epoch began. Of two claims of one epoch the first counts."""
        self.base = base
        self._open: list[Part] = []
        self._open_at = base
        self._number: int | None = None

    def take(self, offset: int, part: Part) -> Record | None:
        """The record that this message completes.

        Raises:
            TerminalError: A batch is missing: messages of the journal were lost.
            ContractError: A record cannot be read.
        """
        if part.epoch < self.epoch:
            return None
        if part.epoch > self.epoch:
            self.epoch, self.claimed_at = part.epoch, offset
        if part.part == 0:
            self._open, self._open_at = [], offset
        if part.part != len(self._open):
            # The rest of a record whose beginning lies before the place where reading began.
            return None
        self._open.append(part)
        if len(self._open) < part.parts or part.kind is Kind.CLAIM:
            return None
        record = _joined(self._open)
        if record.kind is Kind.STEP and record.number == self._number:
            # Appended again, because the first answer of the brokers was lost.
            return None
        self._check(record)
        self._number = record.number
        if record.kind is Kind.SNAPSHOT:
            self.base = self._open_at
        self._open = []
        return record

    def _check(self, record: Record) -> None:
        expected = record.number if self._number is None else self._number + (record.kind is Kind.STEP)
        first = self._number is None and record.kind is Kind.STEP and record.number != 1
        if record.number != expected or first:
            raise TerminalError(f"the journal of outages lacks batches before {record.number}: {self._number} is known")


def _joined(parts: list[Part]) -> Record:
    first = parts[0]
    try:
        body = msgspec.msgpack.decode(b"".join(part.value for part in parts), type=_Body)
        frames: dict[str, pl.DataFrame | None] = {
            name: _unpacked(body.frames[name], schema) if name in body.frames else schema.to_frame()
            for name, schema in _SCHEMAS.items()
        }
    except (msgspec.MsgspecError, pl.exceptions.PolarsError) as error:
        raise ContractError(f"the journal of outages: batch {first.number} cannot be read: {error}") from error
    if "anchors" not in body.frames:
        frames["anchors"] = None
    return Record(first.kind, first.epoch, first.number, body.as_of, body.positions, Memory(**frames))  # type: ignore[arg-type]


def _says(name: str, rows: pl.DataFrame | None) -> bool:
    """Empty frames need no room, except that empty anchors differ from unchanged ones."""
    return rows is not None and (name == "anchors" or not rows.is_empty())


def _packed(rows: pl.DataFrame) -> bytes:
    buffer = io.BytesIO()
    rows.write_ipc(buffer, compression="zstd")
    return buffer.getvalue()


def _unpacked(data: bytes, schema: pl.Schema) -> pl.DataFrame:
    rows = pl.read_ipc(io.BytesIO(data))
    return rows.select(pl.col(name).cast(dtype) for name, dtype in schema.items())
