"""Which table holds which frame, what makes a row itself, and which of several rows is the newest."""

from typing import Final, NamedTuple

import polars as pl

from schemas import frames
from schemas.errors import ContractError
from schemas.frames import UTC_US, Frame


class Table(NamedTuple):
    """One table: the frame it holds and how its rows are told apart.

    `identity` ends the sort key: two rows equal in it are one row that came twice. `current_by` names the thing that a
    row speaks about; of the rows that agree in it the last by `newest` is current. Both are SQL expressions.
    """

    name: str
    frame: Frame
    current_by: tuple[str, ...]
    newest: tuple[str, ...]
    extras: pl.Schema
    """Columns beside the frame's, nullable, kept when the appended rows bring them."""
    meter: str | None
    """Column that holds the meter, where a row belongs to one."""
    starts: str | None
    """Instant at which the row's thing begins; rows without one belong to any time."""

    def columns(self) -> tuple[str, ...]:
        """Names of all columns, the frame's first."""
        return (*self.frame.schema, *self.extras)


_RAW_ORDER: Final = tuple(f"`{name}`" for name in frames.RAW_ORDER)
_PLACE: Final = ("topic", "`partition`", "`offset`", "frame")
_NO_EXTRAS: Final = pl.Schema({})

_RESOLVED: Final = "ifNull(resolved_at, toDateTime64(0, 6, 'UTC'))"
# Of a channel only `other` says several things: which one, its OBIS code tells.
_WHAT: Final = "if(channel = 'other', ifNull(obis, ''), '')"

_ALL: Final = (
    Table("meters", frames.METERS, ("meter_id", "installed_at"), ("recorded_at",),
          pl.Schema({"recorded_at": UTC_US}), "meter_id", None),
    Table("frames", frames.RAW_FRAMES, _PLACE, ("received_at",),
          pl.Schema({"system_title": pl.String(), "counter": pl.Int64()}), None, "received_at"),
    Table("intervals", frames.INTERVALS, ("meter_id", "channel", "interval_start", "interval_s", _WHAT), _RAW_ORDER,
          _NO_EXTRAS, "meter_id", "interval_start"),
    Table("reads", frames.READS, ("meter_id", "channel", "read_at", _WHAT), _RAW_ORDER,
          _NO_EXTRAS, "meter_id", "read_at"),
    Table("events", frames.EVENTS, ("meter_id", "event", "occurred_at", *_PLACE, "origin", "ifNull(code, -1)",
          "ifNull(sequence, -1)"), ("received_at",), _NO_EXTRAS, "meter_id", "occurred_at"),
    # A reject is never taken away: a row of the same identity says how it was resolved, and when.
    Table("rejects", frames.REJECTS, (*_PLACE, "at", "reason"), (_RESOLVED,),
          pl.Schema({"resolution": pl.String(), "resolved_at": UTC_US}), None, "received_at"),
    Table("finals", frames.FINALS, ("meter_id", "channel", "interval_start"), ("version", "judged_at"),
          _NO_EXTRAS, "meter_id", "interval_start"),
    Table("edits", frames.EDITS, ("edit_id",), ("made_at", "ifNull(approved_by, '')"), _NO_EXTRAS, "meter_id", "from"),
    # Nor is a finding: withdrawn, it has a row of the same identity that says when.
    Table("exceptions", frames.EXCEPTIONS, ("meter_id", "ifNull(channel, '')", "rule", "first_interval", "run_id"),
          (_RESOLVED, "intervals"), pl.Schema({"resolved_at": UTC_US}), "meter_id", "first_interval"),
    Table("outages", frames.OUTAGES, ("incident_id", "step"), ("updated_at",), _NO_EXTRAS, None, "started_at"),
    Table("replay_windows", frames.REPLAY_WINDOWS,
          ("topic", "`partition`", "system_title", "key_id", "counter", "`offset`"), ("saved_at",),
          _NO_EXTRAS, None, None),
    Table("billing_ledger", frames.DETERMINANTS, ("batch_id", "line_no"), ("determinant_revision",),
          _NO_EXTRAS, "meter_id", "period_start"),
    Table("billing_batches", frames.BILLING_BATCHES, ("batch_id",), ("step",), _NO_EXTRAS, None, "period_start"),
)  # fmt: skip

TABLES: Final[dict[str, Table]] = {table.name: table for table in _ALL}


def table_of(name: str) -> Table:
    """The table of that name.

    Raises:
        ContractError: The store has no such table.
    """
    try:
        return TABLES[name]
    except KeyError:
        raise ContractError(f"table {name!r}: the store has {', '.join(TABLES)}") from None
