"""Invented meters for the tests of validation: a few values become conformed frames."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl

from schemas import frames
from schemas.frames import UTC_US, Frame, conform
from validation.params import VeeParams
from validation.vee import Vee, VeeInputs, run_vee

MONDAY = datetime(2025, 3, 3, tzinfo=UTC)
JUDGED_AT = datetime(2025, 6, 1, tzinfo=UTC)
DELIVERED = "energy_delivered"


def provenance(count: int, received_at: datetime) -> dict[str, Any]:
    return {
        "topic": ["pushes.bin"] * count,
        "partition": [0] * count,
        "offset": [0] * count,
        "frame": list(range(count)),
        "received_at": [received_at] * count,
    }


def intervals(
    values: Sequence[int | None],
    *,
    meter: str = "MTR1",
    start: datetime = MONDAY,
    step_s: int = 3600,
    channel: str = DELIVERED,
    status: Sequence[int] | int = 0,
    skip: Sequence[int] = (),
    received_at: datetime = JUDGED_AT,
) -> pl.DataFrame:
    """INTERVALS of consecutive values from `start`; None was sent as unknowable, `skip` names what never came."""
    count = len(values)
    rows = pl.DataFrame(
        {
            **provenance(count, received_at),
            "meter_id": [meter] * count,
            "channel": [channel] * count,
            "interval_start": [start + timedelta(seconds=step_s * at) for at in range(count)],
            "interval_s": [step_s] * count,
            "value_milli": list(values),
            "status": [status] * count if isinstance(status, int) else list(status),
        },
        schema_overrides={
            "interval_start": UTC_US, "received_at": UTC_US, "interval_s": pl.Int32, "partition": pl.Int32,
            "frame": pl.Int32, "value_milli": pl.Int64, "status": pl.UInt32,
        },
    )  # fmt: skip
    return conform(rows.filter(~pl.int_range(pl.len()).is_in(list(skip))), frames.INTERVALS)


def reads(
    values: dict[datetime, int | None],
    *,
    meter: str = "MTR1",
    channel: str = DELIVERED,
    status: int = 0,
    received_at: datetime = JUDGED_AT,
) -> pl.DataFrame:
    """READS at the instants given."""
    count = len(values)
    rows = pl.DataFrame(
        {
            **provenance(count, received_at),
            "meter_id": [meter] * count,
            "channel": [channel] * count,
            "read_at": list(values),
            "value_milli": list(values.values()),
            "status": [status] * count,
        },
        schema_overrides={
            "read_at": UTC_US, "received_at": UTC_US, "partition": pl.Int32, "frame": pl.Int32,
            "value_milli": pl.Int64, "status": pl.UInt32,
        },
    )  # fmt: skip
    return conform(rows, frames.READS)


def meters(*rows: dict[str, Any]) -> pl.DataFrame:
    """METERS with the columns given and nulls elsewhere; hourly delivered energy unless said otherwise."""
    given = [{"meter_id": "MTR1", "interval_s": 3600, "channels": [DELIVERED], **row} for row in rows]
    columns = sorted({name for row in given for name in row})
    schema = {name: frames.METERS.schema[name] for name in columns if name != "channels"}
    frame = pl.DataFrame([{name: row.get(name) for name in columns} for row in given], schema_overrides=schema)
    return conform(frame, frames.METERS)


def of(frame: Frame, *rows: dict[str, Any]) -> pl.DataFrame:
    """Rows of any frame, with defaults for provenance."""
    base = {name: column[0] for name, column in provenance(1, JUDGED_AT).items() if name in frame.schema}
    given = [{**base, **row} for row in rows]
    schema = {
        name: dtype for name, dtype in frame.schema.items() if name in given[0] and not isinstance(dtype, pl.Enum)
    }
    return conform(pl.DataFrame(given, schema_overrides=schema), frame)


def params(**given: Any) -> VeeParams:
    return VeeParams(**{"judged_at": JUDGED_AT, "run_id": "run-1", **given})


def vee(settings: VeeParams | None = None, /, **given: pl.DataFrame) -> Vee:
    """Run VEE on the frames given, the others empty."""
    empty = VeeInputs(
        frames.INTERVALS.empty(), frames.READS.empty(), frames.EVENTS.empty(), frames.OUTAGES.empty(),
        frames.METERS.empty(), frames.EDITS.empty(), frames.FINALS.empty(),
    )  # fmt: skip
    result = run_vee(empty._replace(**given), settings or params())
    conform(result.finals, frames.FINALS)
    conform(result.exceptions, frames.EXCEPTIONS)
    return result


def bit(rule: str) -> int:
    from schemas.codes import RULE_BIT, Rule

    return 1 << RULE_BIT[Rule(rule)]


def failed(result: Vee, rule: str) -> list[int]:
    """Positions in the finals of those that failed a rule."""
    marks = (result.finals["failed"] & bit(rule)) != 0
    return [at for at, mark in enumerate(marks) if mark]


def unjudged(result: Vee, rule: str) -> list[int]:
    marks = (result.finals["unjudged"] & bit(rule)) != 0
    return [at for at, mark in enumerate(marks) if mark]


def found(result: Vee, rule: str) -> pl.DataFrame:
    return result.exceptions.filter(pl.col("rule") == rule)
