"""Rows of a frame as Kafka values and back: one JSON object a line, the rows of one key and batch in few messages.

Instants are ISO 8601 in UTC with microseconds, bytes are hex, nulls are written; `schemas/kafka/` describes a line.
"""

import io
from collections.abc import Iterable
from itertools import pairwise
from typing import Final

import numpy as np
import polars as pl

from schemas.errors import ContractError
from schemas.frames import Frame, conform

MESSAGE_OCTETS: Final = 524_288
"""Where the rows of a key are cut: a topic takes 1 MiB, and the last row may reach beyond."""
_LINE_END: Final = ord("\n")
_INSTANT = "%Y-%m-%dT%H:%M:%S%.6fZ"


def to_messages(rows: pl.DataFrame, keys: pl.Series) -> pl.DataFrame:
    """`key` (String) and `value` (Binary), messages of a key together and its rows in their order.

    The rows of a key are one message while they take less than `MESSAGE_OCTETS`, else as many as it takes: a storm, or
    rubbish that someone pours in, must not make a message that no broker takes.

    Args:
        rows: Any frame; enums become their text.
        keys: The key of each row; a null key is the empty one.
    """
    if rows.is_empty():
        return pl.DataFrame(schema={"key": pl.String(), "value": pl.Binary()})
    plain = rows.select(_as_text(name, dtype) for name, dtype in rows.schema.items())
    keyed = pl.DataFrame({"key": keys.cast(pl.String).fill_null("")})
    counted = keyed.group_by("key", maintain_order=True).agg(lines=pl.len())
    place = keyed.join(counted.with_row_index("place").select("key", "place"), on="key", maintain_order="left")["place"]
    # All lines are written at once and cut afterwards: a text has its line ends escaped, so one line is one row.
    text = plain[place.arg_sort()].write_ndjson().encode()
    ends = np.flatnonzero(np.frombuffer(text, np.uint8) == _LINE_END) + 1
    last = counted["lines"].cum_sum().to_numpy() - 1
    key = np.repeat(np.arange(counted.height), counted["lines"])
    begun = np.concatenate([[0], ends[last[:-1]]])[key]
    piece = (ends - begun) // MESSAGE_OCTETS
    cuts = np.flatnonzero(np.append((np.diff(key) != 0) | (np.diff(piece) != 0), True))
    values = [text[start:stop] for start, stop in pairwise([0, *ends[cuts].tolist()])]
    return pl.DataFrame({"key": counted["key"].gather(key[cuts]), "value": pl.Series(values, dtype=pl.Binary)})


def from_messages(values: Iterable[bytes], frame: Frame) -> pl.DataFrame:
    """The rows that those values carry, in their order.

    Raises:
        ContractError: A value is not lines of JSON objects with the frame's columns.
    """
    text = b"".join(value if value.endswith(b"\n") else value + b"\n" for value in values)
    if not text.strip():
        return frame.empty()
    schema = {name: _on_the_wire(dtype) for name, dtype in frame.schema.items()}
    try:
        rows = pl.read_ndjson(io.BytesIO(text), schema=schema)
        return conform(rows.select(_from_text(name, dtype) for name, dtype in frame.schema.items()), frame)
    except pl.exceptions.PolarsError as error:
        raise ContractError(f"{frame.name}: a message is not rows of it: {str(error).splitlines()[0]}") from error


def _as_text(name: str, dtype: pl.DataType) -> pl.Expr:
    column = pl.col(name)
    if isinstance(dtype, pl.Datetime):
        return column.dt.strftime(_INSTANT)
    if isinstance(dtype, pl.Binary):
        return column.bin.encode("hex")
    if isinstance(dtype, pl.Enum | pl.Date | pl.Decimal):
        return column.cast(pl.String)
    if isinstance(dtype, pl.List):
        return column.cast(pl.List(pl.String))
    return column


def _on_the_wire(dtype: pl.DataType) -> pl.DataType:
    if isinstance(dtype, pl.Datetime | pl.Binary | pl.Enum | pl.Date | pl.Decimal):
        return pl.String()
    if isinstance(dtype, pl.Int8 | pl.UInt8):  # the reader knows no numbers that small
        return pl.Int64()
    return pl.List(pl.String()) if isinstance(dtype, pl.List) else dtype


def _from_text(name: str, dtype: pl.DataType) -> pl.Expr:
    column = pl.col(name)
    if isinstance(dtype, pl.Datetime):
        return column.str.to_datetime("%Y-%m-%dT%H:%M:%S%.fZ", time_unit="us").dt.replace_time_zone("UTC")
    if isinstance(dtype, pl.Date):
        return column.str.to_date("%Y-%m-%d")
    if isinstance(dtype, pl.Decimal):
        return column.str.to_decimal(scale=dtype.scale).cast(dtype)
    if isinstance(dtype, pl.Binary):
        return column.str.decode("hex")
    return column.cast(dtype)
