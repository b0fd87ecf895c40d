"""Every frame that rooms exchange, a comment per column, and `conform`, which checks one.

Times are `Datetime("us", "UTC")`; intervals are half open, `[interval_start, interval_start + interval_s)`.
Quantities are thousandths of the channel's unit in `Int64` (`value_milli`): sums are exact.
Zero was measured; null cannot be known; an absent row never arrived.
"""

from enum import StrEnum
from typing import Final, NamedTuple

import polars as pl

from schemas import codes
from schemas.errors import ContractError

UTC_US: Final = pl.Datetime("us", "UTC")


def _enum(values: type[StrEnum]) -> pl.Enum:
    return pl.Enum([member.value for member in values])


CHANNEL: Final = _enum(codes.Channel)
QUALITY: Final = _enum(codes.Quality)
METHOD: Final = _enum(codes.Method)
EVENT: Final = _enum(codes.EventKind)
ORIGIN: Final = _enum(codes.Origin)
REASON: Final = _enum(codes.RejectReason)
SEVERITY: Final = _enum(codes.Severity)
RULE: Final = _enum(codes.Rule)
ACTION: Final = _enum(codes.EditAction)
SCOPE: Final = _enum(codes.Scope)
STATE: Final = _enum(codes.IncidentState)
NODE_KIND: Final = _enum(codes.NodeKind)
QUALITY_CLASS: Final = _enum(codes.QualityClass)
UOM: Final = _enum(codes.Uom)


class Frame(NamedTuple):
    """A frame's contract: its name, its columns, and those of them that may hold nulls."""

    name: str
    schema: pl.Schema
    nullable: frozenset[str]
    optional: frozenset[str] = frozenset()
    """Columns that `conform` adds as nulls where they are absent (files written by others)."""

    def empty(self) -> pl.DataFrame:
        """A frame of this contract without rows."""
        schema, made = _EMPTY.get(self.name, (None, None))
        if schema is not self.schema or made is None:
            made = pl.DataFrame(schema=self.schema)
            _EMPTY[self.name] = (self.schema, made)
        return made.clone()


_EMPTY: Final[dict[str, tuple[pl.Schema, pl.DataFrame]]] = {}
"""Made once: a batch asks for several, and making one costs more than decoding a hundred messages."""


_PROVENANCE: Final = {
    "topic": pl.String(),  # Kafka topic, or the file's name in file mode
    "partition": pl.Int32(),
    "offset": pl.Int64(),
    "frame": pl.Int32(),  # ordinal of the link-layer message inside the Kafka message (or the file)
    "received_at": UTC_US,  # the Kafka record's timestamp, never the consumer's clock
}
PROVENANCE: Final = tuple(_PROVENANCE)
RAW_ORDER: Final = ("received_at", "topic", "partition", "offset", "frame")
"""Of two raw values for one interval the last in this order wins."""

RAW_FRAMES: Final = Frame(
    "RAW_FRAMES",
    pl.Schema({**_PROVENANCE, "payload": pl.Binary()}),  # one link-layer message as it came
    frozenset({"received_at"}),  # a file keeps no reception time: decode_frames then takes the message's own
)

INTERVALS: Final = Frame(
    "INTERVALS",
    pl.Schema(
        {
            **_PROVENANCE,
            "meter_id": pl.String(),
            "channel": CHANNEL,
            "obis": pl.String(),  # "A-B:C.D.E.F"; null where the layout names the channel
            "interval_start": UTC_US,
            "interval_s": pl.Int32(),
            "value_milli": pl.Int64(),  # as sent by the meter, before the multiplier; null: sent as unknowable
            "status": pl.UInt32(),  # codes.Status
        }
    ),
    frozenset({"obis", "value_milli"}),
    frozenset({"obis"}),
)

READS: Final = Frame(
    "READS",
    pl.Schema(
        {
            **_PROVENANCE,
            "meter_id": pl.String(),
            "channel": CHANNEL,
            "obis": pl.String(),
            "read_at": UTC_US,
            "value_milli": pl.Int64(),  # as sent; null: sent as unknowable
            "status": pl.UInt32(),
        }
    ),
    frozenset({"obis", "value_milli"}),
    frozenset({"obis"}),
)

EVENTS: Final = Frame(
    "EVENTS",
    pl.Schema(
        {
            **_PROVENANCE,
            "meter_id": pl.String(),
            "event": EVENT,
            "code": pl.Int32(),  # as sent; of a register its 32 bits as they are, so that bit 31 is the sign
            "origin": ORIGIN,
            "occurred_at": UTC_US,  # by the reporter's clock, believed or not by the outage room
            "sequence": pl.Int64(),  # reboot or event counter
            "authenticated": pl.Boolean(),  # a tag was verified
        }
    ),
    frozenset({"sequence", "code"}),
    frozenset({"sequence"}),
)

REJECTS: Final = Frame(
    "REJECTS",
    pl.Schema(
        {
            **_PROVENANCE,
            "payload": pl.Binary(),  # the bytes as they came
            "reason": REASON,
            "detail": pl.String(),  # never a byte of the payload, never a key
            "at": pl.Int32(),  # byte of `payload` where decoding stopped; 0 also for the whole message
            "system_title": pl.String(),  # hex, lower case
            "key_id": pl.String(),  # names a key, never holds one
            "code_version": pl.String(),  # version of the decoder, to know what to replay
        }
    ),
    frozenset({"received_at", "system_title", "key_id"}),
)

FINALS: Final = Frame(
    "FINALS",
    pl.Schema(
        {
            "meter_id": pl.String(),
            "service_point_id": pl.String(),
            "channel": CHANNEL,
            "interval_start": UTC_US,
            "interval_s": pl.Int32(),
            "value_milli": pl.Int64(),  # primary quantity, multiplier applied; null: missing
            "quality": QUALITY,
            "method": METHOD,  # null for measured
            "failed": pl.UInt64(),  # bit n - 1: rule Vn failed
            "unjudged": pl.UInt64(),  # bit n - 1: rule Vn lacked an input
            "is_final_estimate": pl.Boolean(),  # no later estimate may overwrite it
            "version": pl.Int64(),  # 1, 2 ... per (meter, channel, interval)
            "judged_at": UTC_US,  # an argument of the stage
            "author": pl.String(),  # of an edit
            "run_id": pl.String(),
        }
    ),
    frozenset({"service_point_id", "value_milli", "method", "author"}),
    frozenset({"service_point_id", "author"}),
)

EDITS: Final = Frame(
    "EDITS",
    pl.Schema(
        {
            "edit_id": pl.String(),
            "meter_id": pl.String(),
            "channel": CHANNEL,
            "from": UTC_US,
            "to": UTC_US,  # half open
            "action": ACTION,
            "value_milli": pl.Int64(),  # set: the value; scale: factor in thousandths; shift: seconds x 1000
            "reason": pl.String(),
            "author": pl.String(),
            "approved_by": pl.String(),
            "made_at": UTC_US,
        }
    ),
    frozenset({"value_milli", "approved_by"}),
    frozenset({"value_milli", "approved_by"}),
)

EXCEPTIONS: Final = Frame(
    "EXCEPTIONS",
    pl.Schema(
        {
            "meter_id": pl.String(),
            "channel": CHANNEL,
            "rule": RULE,
            "severity": SEVERITY,
            "first_interval": UTC_US,
            "intervals": pl.Int32(),
            "measured_milli": pl.Int64(),
            "limit_milli": pl.Int64(),
            "run_id": pl.String(),
        }
    ),
    frozenset({"first_interval", "measured_milli", "limit_milli", "channel"}),
)

OUTAGES: Final = Frame(
    "OUTAGES",
    pl.Schema(
        {
            "incident_id": pl.String(),  # minted at the first reported step, stable over merges and replays
            "step": pl.Int32(),  # 0, 1, 2 ... within the incident
            "state": STATE,
            "scope": SCOPE,  # largest so far
            "node_kind": NODE_KIND,
            "node_id": pl.String(),
            "started_at": UTC_US,  # earliest believed power-down
            "restored_at": UTC_US,  # of this step's block
            "meters_out": pl.Int32(),
            "customers_out": pl.Int32(),
            "confidence": pl.Float64(),
            "nested_in": pl.String(),
            "merged_into": pl.String(),
            "updated_at": UTC_US,
            "phases": pl.String(),
            "meters_eligible": pl.Int32(),
            "meters_heard": pl.Int32(),
            "meters_alive": pl.Int32(),
            "meters_silent": pl.Int32(),
            "authenticated_share": pl.Float64(),
            "predicted_device": pl.String(),
            "planned": pl.Boolean(),
            "cause": pl.String(),
            "run_id": pl.String(),
        }
    ),
    frozenset({"restored_at", "nested_in", "merged_into", "phases", "predicted_device", "cause"}),
    frozenset(
        {
            "phases", "meters_eligible", "meters_heard", "meters_alive", "meters_silent", "authenticated_share",
            "predicted_device", "planned", "cause", "run_id", "restored_at", "nested_in", "merged_into",
        }
    ),
)  # fmt: skip

HEARD: Final = Frame(
    "HEARD",
    pl.Schema({"meter_id": pl.String(), "read_at": UTC_US}),  # newest read or interval end of the batch: life
    frozenset(),
)

DIRTY_DAYS: Final = Frame(
    "DIRTY_DAYS",
    pl.Schema({"bucket": pl.Int32(), "day": pl.Date()}),  # local day whose raw data changed
    frozenset(),
)

DETERMINANTS: Final = Frame(
    "DETERMINANTS",
    pl.Schema(
        {
            "batch_id": pl.String(),  # UUIDv5 of (consumer, cycle, period, revision set)
            "line_no": pl.Int32(),  # 1 ... n in the batch
            "account_id": pl.String(),
            "service_point_id": pl.String(),
            "meter_id": pl.String(),  # one line per meter installation
            "channel": CHANNEL,  # source channel; null for derived
            "determinant": pl.String(),  # energy_total, energy_tou_<period> ...: open, tariffs name the periods
            "value_milli": pl.Int64(),  # primary quantity; null for ratios
            "ratio": pl.Decimal(18, 6),  # power_factor, load_factor; null for quantities
            "uom": UOM,
            "period_start": UTC_US,
            "period_end": UTC_US,
            "timezone": pl.String(),
            "tou_calendar": pl.String(),
            "tou_version": pl.String(),
            "occurred_at": UTC_US,  # start of the demand window
            "n_intervals": pl.Int32(),
            "n_actual": pl.Int32(),
            "n_estimated": pl.Int32(),
            "n_edited": pl.Int32(),
            "n_suspect": pl.Int32(),
            "n_outage": pl.Int32(),
            "n_missing": pl.Int32(),
            "quality_class": QUALITY_CLASS,
            "source_revision": pl.Int64(),  # highest FINALS.version used
            "determinant_revision": pl.Int32(),
            "supersedes": pl.String(),  # "batch/line" corrected
            "sign": pl.Int8(),  # +1, -1 for a reversal
        }
    ),
    frozenset(
        {
            "account_id", "service_point_id", "channel", "value_milli", "ratio", "tou_calendar", "tou_version",
            "occurred_at", "supersedes", "source_revision",
        }
    ),
)  # fmt: skip

REPLAY_WINDOWS: Final = Frame(
    "REPLAY_WINDOWS",
    pl.Schema(
        {
            "topic": pl.String(),  # the lane: windows of two lanes never meet
            "partition": pl.Int32(),
            "offset": pl.Int64(),  # of the message that carried the counter
            "system_title": pl.String(),  # hex, lower case
            "key_id": pl.String(),
            "counter": pl.Int64(),  # a verified invocation counter; -1 - counter where it was used twice: quarantine
            "digest": pl.UInt64(),  # tells a copy of the message from another one of the same counter
            "saved_at": UTC_US,
        }
    ),
    frozenset(),
)
"""One row per counter seen, appended with the batch that saw it."""

BILLING_BATCHES: Final = Frame(
    "BILLING_BATCHES",
    pl.Schema(
        {
            "batch_id": pl.String(),
            "step": pl.Int32(),  # 0, 1, 2 ... within the batch; the last one is its state
            "state": pl.String(),  # written, delivered, acknowledged, partly_rejected, rejected
            "consumer": pl.String(),
            "format": pl.String(),
            "cycle": pl.String(),
            "period_start": UTC_US,
            "period_end": UTC_US,
            "manifest": pl.String(),  # JSON, as delivered
            "reason": pl.String(),  # the receiver's, where it refused
            "updated_at": UTC_US,
        }
    ),
    frozenset({"cycle", "reason"}),
)

_METERS: Final = pl.Schema(
    {
        "meter_id": pl.String(),
        "meter_type": pl.String(),  # a name of meter_types.toml; null: generic
        "profile": pl.String(),  # "interval" or "cumulative", from the meter type; not a column of METERS.csv
        "system_title": pl.String(),  # 8 octets as lower-case hex
        "security_min": pl.UInt8(),  # lowest accepted security control byte
        "service_point_id": pl.String(),
        "account_id": pl.String(),
        "nmi": pl.String(),
        "transformer_id": pl.String(),
        "lateral_id": pl.String(),
        "feeder_id": pl.String(),
        "substation_id": pl.String(),
        "phase": pl.String(),  # A, B, C, AB ... ABC
        "rate_class": pl.String(),
        "tariff": pl.String(),
        "timezone": pl.String(),  # IANA name
        "interval_s": pl.Int32(),
        "channels": pl.List(CHANNEL),  # in the order of the interval push
        "multiplier": pl.Int64(),  # thousandths: 1000 is a factor of 1 (transformer ratio)
        "register_digits": pl.Int32(),  # the register wraps at 1000 * 10**digits of value_milli, as sent
        "register_resolution_milli": pl.Int64(),  # as sent
        "fuse_a": pl.Int32(),
        "voltage_v": pl.Int32(),
        "has_der": pl.Boolean(),  # a generator behind the meter
        "check_of": pl.String(),  # the meter that this one checks
        "installed_at": UTC_US,  # a line begins: what is received from then on is read by it; null: it always held
        "removed_at": UTC_US,
        "inverter_w": pl.Int32(),  # power of the generator's inverter
    }
)

METERS: Final = Frame("METERS", _METERS, frozenset(_METERS) - {"meter_id"}, frozenset(_METERS) - {"meter_id"})
"""One row per installation (METERS.csv); what is null disables the rules that need it."""

_HEARD_PLACES: Final = pl.Schema(
    {
        "hour": UTC_US,  # its beginning
        "service": pl.String(),  # "electricity" or "volume"
        "feeder_id": pl.String(),  # null: the meter's is not known
        "substation_id": pl.String(),
        "devices": pl.UInt32(),  # meters with at least one value that begins in the hour
    }
)
HEARD_PLACES: Final = Frame("HEARD_PLACES", _HEARD_PLACES, frozenset({"feeder_id", "substation_id"}))
"""How many meters of a place had values in an hour: by it VEE tells an area that is silent from single meters."""

_FINAL_ENDS: Final = pl.Schema(
    {
        "meter_id": pl.String(),
        "channel": CHANNEL,
        "ends_at": UTC_US,  # of the last interval that has a final
        "judged_at": UTC_US,  # of the final that was written last
    }
)
FINAL_ENDS: Final = Frame("FINAL_ENDS", _FINAL_ENDS, frozenset())
"""How far a series is judged, and when it was last."""

_FINAL_PEAKS: Final = pl.Schema(
    {
        "meter_id": pl.String(),
        "channel": CHANNEL,
        "highest_milli": pl.Int64(),  # of the valid finals before an instant
        "days": pl.Int32(),  # days of UTC with such finals
    }
)
FINAL_PEAKS: Final = Frame("FINAL_PEAKS", _FINAL_PEAKS, frozenset())
"""The all-time maximum of a series, as far as it lies before the history that a run is given."""

_BILLED: Final = pl.Schema(
    {
        "meter_id": pl.String(),
        "channel": CHANNEL,  # null: a line that rests on several channels: all of the meter's
        "billed_from": UTC_US,
        "billed_to": UTC_US,  # half open
    }
)
BILLED: Final = Frame("BILLED", _BILLED, frozenset({"channel"}))
"""Which days are billed: the spans of the lines that stand in the billing ledger, each once."""

_DELTAS: Final = pl.Schema(
    {
        "meter_id": pl.String(),
        "service_point_id": pl.String(),
        "channel": CHANNEL,
        "interval_start": UTC_US,
        "interval_s": pl.Int32(),
        "value_milli": pl.Int64(),  # of the new version; null: missing
        "value_milli_past": pl.Int64(),  # as it stood before: what was billed, or the delta before this one
        "delta_milli": pl.Int64(),  # new less old; what is missing counts 0
        "version": pl.Int64(),  # of the new final
        "version_past": pl.Int64(),
        # "edit": a person; "late_read": a measured value in place of a substitute; "rescaled": an estimate beside one
        "reason": pl.String(),
    }
)
DELTAS: Final = Frame("DELTAS", _DELTAS, frozenset({"service_point_id", "value_milli", "value_milli_past"}))
"""New versions of billed intervals: what billing has to post beside the bill that stands."""

FRAMES: Final = (
    RAW_FRAMES, INTERVALS, READS, EVENTS, REJECTS, FINALS, EDITS, EXCEPTIONS, OUTAGES, HEARD, DIRTY_DAYS,
    DETERMINANTS, REPLAY_WINDOWS, BILLING_BATCHES, METERS,
)  # fmt: skip


def conform(rows: pl.DataFrame, frame: Frame) -> pl.DataFrame:
    """Return the same rows with exactly the frame's columns, in its order, in its types.

    Strings become enums and lesser time units microseconds (files come back so); nothing else is converted in a way
    that could change a value. Columns that the frame does not know are left out.

    Raises:
        ContractError: A column is absent, has another type, holds a value outside its enum, or a null where the
            contract allows none. The message names the frame and the column.
    """
    columns = [_column(rows, frame, name, dtype) for name, dtype in frame.schema.items()]
    checked = rows.select(columns) if columns else rows
    for name in frame.schema:
        if name in rows.columns and name not in frame.nullable and checked[name].null_count():
            raise ContractError(f"{frame.name}.{name}: {checked[name].null_count()} null values where none may be")
    return checked


def _column(rows: pl.DataFrame, frame: Frame, name: str, dtype: pl.DataType) -> pl.Series:
    if name not in rows.columns:
        if name in frame.optional:
            return pl.Series(name, [None] * rows.height, dtype=dtype)
        raise ContractError(f"{frame.name}.{name}: column is absent")
    column = rows[name]
    if column.dtype == dtype:
        return column
    if not _convertible(column.dtype, dtype):
        raise ContractError(f"{frame.name}.{name}: {column.dtype} where {dtype} is needed")
    try:
        return column.cast(dtype)
    except (pl.exceptions.InvalidOperationError, pl.exceptions.ComputeError) as error:
        raise ContractError(f"{frame.name}.{name}: a value does not fit {dtype}") from error


def _convertible(have: pl.DataType, want: pl.DataType) -> bool:
    if have == pl.Null():
        return True
    if isinstance(want, pl.Enum):
        return isinstance(have, (pl.String, pl.Enum, pl.Categorical))
    if isinstance(want, pl.Datetime):
        return isinstance(have, pl.Datetime) and have.time_zone is not None
    if isinstance(want, pl.List):
        return isinstance(have, pl.List)
    if isinstance(want, pl.String):
        return isinstance(have, (pl.Categorical, pl.Enum))
    return want.is_integer() and have.is_integer()
