"""METERS.csv read strictly: one row per installation, every field checked, the first bad one named."""

import io
import re
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Final

import polars as pl

from app.files import parse_instant
from schemas import timegrid
from schemas.codes import Channel
from schemas.errors import ContractError
from schemas.frames import METERS, conform

COLUMNS: Final = tuple(name for name in METERS.schema if name != "profile")
"""The columns of METERS.csv, in the order in which they are written; only `meter_id` is required."""

MOST_MULTIPLIER: Final = 10**6
"""Of transformer ratios."""
MOST_DIGITS: Final = 12
"""Of a register in whole units: 10^12 Wh are the yield of a large power station in a month."""
MOST_COUNT: Final = 2**31 - 1


def parse_meters(text: str, name: str) -> pl.DataFrame:
    """METERS from the text of a METERS.csv.

    Args:
        text: Comma separated, a header line first; columns of the contract in any order, absent ones allowed.
        name: The file's name, for messages.

    Returns:
        METERS, `profile` null. Empty fields are null. `multiplier` becomes thousandths, `security_min` a number.

    Raises:
        ContractError: An unknown or absent column, or a field that does not parse; names file, line and field.
    """
    try:
        rows = pl.read_csv(io.BytesIO(text.encode()), infer_schema=False, null_values="")
    except pl.exceptions.PolarsError as error:
        raise ContractError(f"{name}: not a table: {str(error).splitlines()[0]}") from error
    unknown = [column for column in rows.columns if column not in COLUMNS]
    if unknown:
        raise ContractError(f"{name}: unknown column {unknown[0]!r}")
    if "meter_id" not in rows.columns:
        raise ContractError(f"{name}: column 'meter_id' is absent")
    parsed = rows.with_columns(
        [_parse(rows[column], parser, name) for column, parser in _PARSERS.items() if column in rows.columns]
    )
    try:
        meters = conform(parsed, METERS)
    except ContractError as error:
        raise ContractError(f"{name}: {error}") from error
    refuse_overlaps(meters, name)
    return meters


def refuse_overlaps(meters: pl.DataFrame, name: str) -> None:
    """A meter stands at one place at a time: its installations follow each other."""
    numbered = meters.select("meter_id", "installed_at", "removed_at", line=pl.int_range(2, pl.len() + 2))
    ordered = numbered.sort("meter_id", "installed_at", "line")
    before = pl.col("removed_at").shift().over("meter_id")
    again = pl.col("line").shift().over("meter_id").is_not_null()
    open_ended = before.is_null() | pl.col("installed_at").is_null()
    overlaps = ordered.filter(again & (open_ended | (pl.col("installed_at") < before)))
    if overlaps.height:
        meter, at = overlaps["meter_id"][0], overlaps["line"][0]
        raise ContractError(f"{name}: line {at}, field 'meter_id': {meter!r} is installed twice at once")


def _parse(column: pl.Series, parser: Callable[[str], object], name: str) -> pl.Series:
    known: dict[str, object] = {}
    for text in column.unique().drop_nulls().to_list():
        try:
            known[text] = parser(text)
        except (ValueError, ContractError) as error:
            line = (column == text).arg_max()
            raise ContractError(f"{name}: line {(line or 0) + 2}, field {column.name!r}: {text!r} {error}") from error
    dtype = METERS.schema[column.name]
    values = [None if text is None else known[text] for text in column.to_list()]
    return pl.Series(column.name, values, dtype=dtype)


def _title(text: str) -> str:
    if not re.fullmatch("[0-9A-Fa-f]{16}", text):
        raise ValueError("is not 8 octets in hex")
    return text.lower()


def _control(text: str) -> int:
    if not re.fullmatch("[0-9A-Fa-f]{1,2}", text):
        raise ValueError("is not a security control byte in hex")
    return int(text, 16)


def _channels(text: str) -> list[str]:
    names = [part.strip() for part in text.split(";") if part.strip()]
    unknown = [name for name in names if name not in set(Channel)]
    if unknown:
        raise ValueError(f"names {unknown[0]!r}, which is no channel")
    return names


def _milli(text: str) -> int:
    try:
        value = Decimal(text) * 1000
    except InvalidOperation as error:
        raise ValueError("is not a number") from error
    if value != value.to_integral_value() or value <= 0:
        raise ValueError("is not a positive number with at most 3 decimals")
    if value > MOST_MULTIPLIER * 1000:
        raise ValueError(f"is more than {MOST_MULTIPLIER}")
    return int(value)


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise ValueError("is not a whole number of 0 or more")
    if int(text) > MOST_COUNT:
        raise ValueError(f"is more than {MOST_COUNT}")
    return int(text)


def _digits(text: str) -> int:
    value = _count(text)
    if not 1 <= value <= MOST_DIGITS:
        raise ValueError(f"is no number of digits from 1 to {MOST_DIGITS}")
    return value


def _seconds(text: str) -> int:
    value = _count(text)
    if value not in timegrid.INTERVAL_LENGTHS_S:
        raise ValueError(f"is not a capture period ({', '.join(map(str, timegrid.INTERVAL_LENGTHS_S))} s)")
    return value


def _truth(text: str) -> bool:
    try:
        return {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}[text.lower()]
    except KeyError as error:
        raise ValueError("is neither true nor false") from error


def _zone(text: str) -> str:
    timegrid.zone(text)
    return text


def _instant(text: str) -> datetime:
    return parse_instant(text, "time")


_PARSERS: Final[dict[str, Callable[[str], object]]] = {
    "system_title": _title,
    "security_min": _control,
    "timezone": _zone,
    "interval_s": _seconds,
    "channels": _channels,
    "multiplier": _milli,
    "register_digits": _digits,
    "register_resolution_milli": _count,
    "fuse_a": _count,
    "voltage_v": _count,
    "has_der": _truth,
    "inverter_w": _count,
    "installed_at": _instant,
    "removed_at": _instant,
}
