"""Days of NEM12: values on the grid of a day in NEM time, rounded by running sum, with their quality runs."""

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from schemas.codes import QUALITY_CODES, RULE_BIT, Method, Quality, Rule
from schemas.frames import QUALITY

UNIT_MILLI: Final = 100
"""Last place of a value: 0.0001 kWh."""
NEM_OFFSET_MIN: Final = 600
"""NEM time is UTC+10 all year."""
DAY_MIN: Final = 1440

_COMMUNICATION, _OUTAGE, _FREE_TEXT = 76, 79, 0
_MISSING_BIT: Final = 1 << RULE_BIT[Rule.MISSING_INTERVAL]
_BY_QUALITY: Final = {Quality.ESTIMATED: "S18", Quality.OUTAGE: "S19", Quality.EDITED: "S16", Quality.SUSPECT: "A"}
"""Flag and method of a quality with a method that the table does not pair with it."""

I64 = npt.NDArray[np.int64]


class Days(NamedTuple):
    """Stream-days on their grid; all arrays have a row per stream-day."""

    days: pl.DataFrame
    """`stream`, `day` (Date, NEM time), `member` (of the last interval), `judged_at`: one row per stream-day."""
    units: I64
    """Shape (days, values): values in units of the last place, rounded by running sum."""
    quality: npt.NDArray[np.uint16]
    """Shape (days, values): index into `codes`."""
    codes: tuple[tuple[str, str, str], ...]
    """Flag with method, reason code, reason text."""
    difference_milli: I64
    """Rendered sum of the day less the exact one; at most half a unit of the last place."""


def rounded(values_milli: I64) -> I64:
    """Units of the last place of each value of each day: the rounded sum so far less the rounded sum before it.

    Args:
        values_milli: Shape (days, values), >= 0.
    """
    so_far = (np.cumsum(values_milli, axis=1) + UNIT_MILLI // 2) // UNIT_MILLI
    return np.diff(so_far, axis=1, prepend=0)


def on_grid(rows: pl.DataFrame, interval_min: int) -> Days:
    """Stream-days of one interval length.

    Args:
        rows: `stream` (Int64), `minute` (of the start, since 1970), `value_milli`?, `quality`, `method`, `failed`,
            `is_final_estimate`, `judged_at`, `member`; on the grid, >= 0, one row per stream and minute, sorted by
            stream and minute.
        interval_min: Length.

    A slot of the grid without a row, or without a value, is 0 with quality N.
    """
    nem = rows["minute"].to_numpy() + NEM_OFFSET_MIN
    day = nem // DAY_MIN
    new = np.diff(rows["stream"].to_numpy(), prepend=-1) != 0
    new[1:] |= day[1:] != day[:-1]
    first = np.flatnonzero(new)
    count = np.diff(first, append=rows.height)
    shape = (len(first), DAY_MIN // interval_min)
    cell = (nem - day * DAY_MIN) // interval_min + np.repeat(np.arange(shape[0]) * shape[1], count)
    codes, code = _codes(rows)
    values, quality = np.zeros(shape, np.int64), np.zeros(shape, np.uint16)
    values.ravel()[cell] = rows["value_milli"].fill_null(0).to_numpy()
    quality.ravel()[cell] = code
    units = rounded(values)
    difference = units.sum(axis=1) * UNIT_MILLI - values.sum(axis=1)
    last = first + count - 1
    judged = np.maximum.reduceat(rows["judged_at"].to_physical().to_numpy(), first) if len(first) else first
    dated = rows.select("stream", "member")[last].with_columns(
        day=pl.Series(day[last].astype(np.int32)).cast(pl.Date),
        judged_at=pl.Series(judged, dtype=pl.Int64).cast(rows.schema["judged_at"]),
    )
    return Days(dated.select("stream", "day", "judged_at", "member"), units, quality, codes, difference)


class Runs(NamedTuple):
    """Stretches of one quality within a day; all arrays have a row per stretch."""

    day: I64
    """Row of the stream-day."""
    first: I64
    """First interval, from 1."""
    last: I64
    code: npt.NDArray[np.uint16]


def quality_runs(quality: npt.NDArray[np.uint16]) -> Runs:
    """Stretches that tile every day from 1 to N without gap or overlap."""
    days, values = quality.shape
    flat = quality.ravel()
    new = np.empty(len(flat), dtype=bool)
    np.not_equal(flat[1:], flat[:-1], out=new[1:])
    new[::values] = True
    first = np.flatnonzero(new)
    after = np.append(first[1:], days * values)
    return Runs(first // values, first % values + 1, (after - 1) % values + 1, flat[first])


def _codes(rows: pl.DataFrame) -> tuple[tuple[tuple[str, str, str], ...], npt.NDArray[np.uint16]]:
    # A few dozen kinds of value stand behind millions of rows: each kind gets its code once. Kind 0 is N.
    kinds = ["quality", "method", "is_final_estimate", "failed"]
    absent = rows["value_milli"].is_null()
    plain = rows["quality"].cast(QUALITY).to_physical().to_numpy() == QUALITY.categories.to_list().index(Quality.VALID)
    special = np.flatnonzero(~plain | absent.to_numpy())
    others = rows.select(kinds)[special].with_columns(row=pl.Series(special))
    code = np.ones(rows.height, np.uint16)
    texts: list[tuple[str, str, str]] = [("N", "", ""), ("A", "", "")]
    for key, members in others.group_by(kinds, maintain_order=True):
        text = _text_of(*key)
        if text not in texts:
            texts.append(text)
        code[members["row"].to_numpy()] = texts.index(text)
    code[absent.to_numpy()] = 0
    return tuple(texts), code


def _text_of(quality: object, method: object, final: object, failed: object) -> tuple[str, str, str]:
    kind = Quality(str(quality))
    how = Method(str(method)) if method is not None else None
    known = QUALITY_CODES.get((kind, how))
    flag = known.nem12 if known else _BY_QUALITY.get(kind, "A" if kind is Quality.VALID else "N")
    if final and flag[0] == "S":
        flag = "F" + flag[1:]
    bits = int(str(failed))
    if kind is Quality.SUSPECT:
        return flag, str(_FREE_TEXT), f"{kind.value} {_rule(bits)}".strip()
    if flag[0] not in "SF":
        return flag, "", ""  # a reason belongs to a substitute
    if kind is Quality.OUTAGE:
        return flag, str(_OUTAGE), ""
    if kind is Quality.EDITED:
        return flag, str(_FREE_TEXT), kind.value
    if not bits or bits & _MISSING_BIT:
        return flag, str(_COMMUNICATION), ""
    return flag, str(_FREE_TEXT), _rule(bits)


def _rule(failed: int) -> str:
    lowest = (failed & -failed).bit_length() - 1
    return next((rule.value for rule, bit in RULE_BIT.items() if bit == lowest), "")
