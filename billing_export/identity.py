"""Batch ids: UUIDv5 of consumer, cycle, period and what the batch rests on; the same inputs give the same id."""

import hashlib
import uuid
from typing import Final

import numpy as np
import polars as pl

from billing_export.lines import BILLED_CHANNELS
from billing_export.located import locate, metered, streams_in, take
from billing_export.pieces import ExportInputs
from billing_export.registers import register_lines
from billing_export.spans import DeterminantParams, billing_spans
from schemas.frames import CHANNEL

NAMESPACE: Final = uuid.UUID("5f6c0a0e-3d0a-5b8e-9c55-0d7c7b1f4a10")
"""Namespace of batch ids; any fixed value would do, but it must never change."""

RESTING: Final = pl.Schema(
    {
        "meter_id": pl.String(),
        "stream": pl.String(),  # channel, or register and boundary
        "span_from": pl.Datetime("us", "UTC"),
        "source_revision": pl.Int64(),
        "value_milli": pl.Int64(),
    }
)
"""What a batch rests on: a row per installation and channel, and per boundary read."""


def resting_on(part: ExportInputs, params: DeterminantParams) -> pl.DataFrame:
    """RESTING of inputs as `checked_inputs` leaves them: highest version and sum of every stream, boundary reads."""
    channels = pl.Series(BILLED_CHANNELS, dtype=CHANNEL)
    finals = part.finals.filter(pl.col("channel").is_in(channels.implode()))
    streams = streams_in(finals)
    spans = billing_spans(metered(streams), part.meters, part.tariffs, params).spans
    located = locate(streams, spans)
    _, picked = take(finals, located)
    lengths = (located["hi"] - located["lo"]).to_numpy()
    starts = (np.cumsum(lengths) - lengths).astype(np.int64)
    version, value = picked["version"].to_numpy(), picked["value_milli"].fill_null(0).to_numpy()
    if located.height:
        located = located.with_columns(
            source_revision=pl.Series(np.maximum.reduceat(version, starts)),
            value_milli=pl.Series(np.add.reduceat(value, starts)),
        )
    else:
        located = located.with_columns(source_revision=pl.lit(0), value_milli=pl.lit(0))
    return rested(located, register_lines(part, spans).lines)


def rested(segments: pl.DataFrame, registers: pl.DataFrame) -> pl.DataFrame:
    """RESTING of segments with their sums, and of register lines."""
    stream = pl.col("channel").cast(pl.String)
    intervals = segments.with_columns(stream=stream)
    reads = registers.with_columns(stream=pl.concat_str("determinant", stream, separator=" "))
    return pl.concat([one.select(RESTING.names()).cast(RESTING) for one in (intervals, reads)])


def batch_id_of(resting: pl.DataFrame, params: DeterminantParams) -> str:
    """The id of the batch that bills `resting`, in whatever formats."""
    return _identity(resting.sort(RESTING.names(), nulls_last=False), params)


def lines_id_of(lines: pl.DataFrame, params: DeterminantParams) -> str:
    """The id of a batch of lines that are no run's own: corrections, refused lines that go out again."""
    told = lines.select(
        "meter_id", "service_point_id", "period_start", "channel", "determinant", "source_revision", "value_milli",
        "ratio", "sign", "determinant_revision", "supersedes",
    )  # fmt: skip
    return _identity(told, params)


def _identity(resting: pl.DataFrame, params: DeterminantParams) -> str:
    digest = hashlib.sha256(resting.write_csv().encode()).hexdigest()
    name = "|".join([params.consumer, params.cycle, str(params.date_from), str(params.date_to), digest])
    return str(uuid.uuid5(NAMESPACE, name))
