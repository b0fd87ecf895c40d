"""Spells: stretches of time of a meter (dark, cut off, stuck, under test), and the questions asked of them."""

from typing import Final, NamedTuple

import numpy as np

from simulator.columns import F64, I64

_SHIFT: Final = 33
"""Seconds since 1970 stay below 2^33 until the year 2242; the meter's row goes above them in one sort key."""


class Spells(NamedTuple):
    """Disjoint half-open spells, by meter and time. Seconds since 1970."""

    meter: I64
    start_s: I64
    end_s: I64


def merge_spells(meter: I64, start_s: I64, end_s: I64) -> Spells:
    """The union of the given spells; empty ones vanish, those that touch become one."""
    keep = end_s > start_s
    meter, start_s, end_s = meter[keep], start_s[keep], end_s[keep]
    order = np.lexsort((start_s, meter))
    meter, start_s, end_s = meter[order], start_s[order], end_s[order]
    if not meter.size:
        return Spells(meter, start_s, end_s)
    reach = np.maximum.accumulate(_key(meter, end_s))
    opens = np.ones(meter.size, dtype=bool)
    opens[1:] = _key(meter, start_s)[1:] > reach[:-1]
    first = np.flatnonzero(opens)
    last = np.append(first[1:], meter.size) - 1
    return Spells(meter[first], start_s[first], reach[last] & ((1 << _SHIFT) - 1))


def of_rows(spells: Spells, rows: I64) -> Spells:
    """The spells of those meters, which are then counted by their place in `rows` (ascending)."""
    place = np.minimum(np.searchsorted(rows, spells.meter), max(rows.size - 1, 0))
    keep = rows[place] == spells.meter if rows.size else np.zeros(spells.meter.size, dtype=bool)
    return Spells(place[keep], spells.start_s[keep], spells.end_s[keep])


def end_of_spell(spells: Spells, meter: I64, instant_s: I64) -> I64:
    """End of the spell in which each (meter, instant) lies, -1 where it lies in none."""
    if not spells.meter.size:
        return np.full(meter.shape, -1, dtype=np.int64)
    at = np.searchsorted(_key(spells.meter, spells.start_s), _key(meter, instant_s), side="right") - 1
    found = np.maximum(at, 0)
    inside = (at >= 0) & (spells.meter[found] == meter) & (spells.end_s[found] > instant_s)
    return np.where(inside, spells.end_s[found], -1)


def covered_share(spells: Spells, meters: int, starts_s: I64, interval_s: int) -> F64:
    """Share of each interval that lies in a spell, as an array meters × intervals of 0 to 1.

    Args:
        spells: Of meters 0 to `meters` - 1.
        meters: Rows of the result.
        starts_s: Ascending starts of equal intervals without holes between them.
        interval_s: Their length.
    """
    covered = np.zeros((meters, starts_s.size))
    if not spells.meter.size or not starts_s.size:
        return covered
    first = np.maximum((spells.start_s - starts_s[0]) // interval_s, 0)
    after = np.minimum(-((starts_s[0] - spells.end_s) // interval_s), starts_s.size)
    counts = np.maximum(after - first, 0)
    spell = np.repeat(np.arange(counts.size), counts)
    slot = first[spell] + np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    begins = starts_s[slot]
    seconds = np.minimum(spells.end_s[spell], begins + interval_s) - np.maximum(spells.start_s[spell], begins)
    np.add.at(covered, (spells.meter[spell], slot), seconds / interval_s)
    return covered


def _key(meter: I64, instant_s: I64) -> I64:
    return (meter << _SHIFT) | instant_s
