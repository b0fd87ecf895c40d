"""Demand: the highest mean power over a window of the tariff, and the instant at which its window began.

A window counts only if all its intervals are there and none of them is missing, suspect, partial or merged, or, unless
the tariff takes them, estimated. Of equal windows the earliest holds.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from billing_export.located import I64
from billing_export.segments import QUALITIES, Rows
from billing_export.usage import Civil
from schemas.codes import Quality

_NEVER = (Quality.MISSING, Quality.SUSPECT)
Mask = npt.NDArray[np.bool_]


class Windows(NamedTuple):
    """Demand windows of all segments, in the order of their rows."""

    segment: npt.NDArray[np.int32]
    minute: I64
    """Start."""
    code: npt.NDArray[np.int16]
    """Period of use of the start."""
    power: I64
    """Mean power, thousandths of a watt (or var, VA); meaningless where not `usable`."""
    usable: Mask


class Peaks(NamedTuple):
    """The maximum of each segment; `minute` is -1 where no window was usable."""

    power: I64
    minute: I64
    hidden: I64
    """Windows that could not be judged: the true maximum may be among them."""


def never_sets_peak(rows: Rows, civil: Civil) -> Mask:
    """Rows that disqualify their window, by the version of the tariff in force at each."""
    disqualifies = np.zeros(len(QUALITIES), dtype=bool)
    for name in (*_NEVER, Quality.ESTIMATED):
        disqualifies[QUALITIES.index(name.value)] = True
    never: Mask = disqualifies[rows.quality] | rows.partial
    if civil.takes.any():
        estimated = rows.quality == QUALITIES.index(Quality.ESTIMATED.value)
        never &= ~(estimated & civil.takes[civil.entry] & ~rows.partial)
    return never


def block_windows(rows: Rows, bad: Mask, civil: Civil) -> Windows:
    """Windows aligned to local midnight, on the days on which the tariff has such.

    Args:
        rows: Intervals.
        bad: Rows that disqualify their window.
        civil: Civil time of the rows.
    """
    entry = civil.window[civil.entry]
    new = np.diff(entry, prepend=-1) != 0
    new[rows.starts] = True
    first = np.flatnonzero(new)
    if not len(first):
        return _no_windows()
    at = civil.entry[first]
    length = civil.window_min[at].astype(np.int64) * 60
    energy = np.add.reduceat(rows.value, first)
    seconds = np.add.reduceat(rows.seconds, first)
    spoilt = np.logical_or.reduceat(bad, first) if bad.any() else np.zeros(len(first), dtype=bool)
    usable = ~spoilt & (seconds == length)
    power = _mean_power(energy, length)
    kept = ~civil.slides[at]
    start = first[kept]
    return Windows(rows.segment[start], rows.minute[start], civil.period[at[kept]], power[kept], usable[kept])


def sliding_windows(rows: Rows, bad: Mask, civil: Civil) -> Windows:
    """A window at the start of every interval, on the days on which the tariff has such; the last ones of a segment do
    not fit."""
    length_s, code = civil.window_min[civil.entry].astype(np.int64) * 60, civil.period[civil.entry]
    step = np.maximum(length_s // np.maximum(rows.seconds, 1), 1)
    after = np.arange(len(step), dtype=np.int64) + step
    last = np.minimum(after - 1, max(len(step) - 1, 0))
    inside = (after <= len(step)) & (rows.segment[last] == rows.segment)
    # Prefix sums may wrap in 64 bits; their differences are exact all the same.
    energy = np.concatenate([[0], np.cumsum(rows.value)])
    spoilt = np.concatenate([[0], np.cumsum(bad)])
    after = last + 1
    start = np.arange(len(step), dtype=np.int64)
    whole = rows.minute[last] * 60 + rows.seconds[last] - rows.minute * 60 == length_s
    usable = inside & whole & (spoilt[after] == spoilt[start])
    mean = _mean_power(energy[after] - energy[start], length_s)
    # A window that ends beyond the segment is none; one that is broken inside is a window that could not be judged.
    kept = np.flatnonzero(inside & civil.slides[civil.entry])
    return Windows(rows.segment[kept], rows.minute[kept], code[kept], mean[kept], usable[kept])


def peaks(windows: Windows, segments: int, within: Mask | None = None) -> Peaks:
    """Maximum of each segment, over the windows of the mask.

    Args:
        windows: Windows, those of a segment adjacent and ascending in time.
        segments: Number of segments.
        within: Windows to look at; all where absent.
    """
    looked = np.ones(len(windows.usable), bool) if within is None else within
    usable = windows.usable & looked
    hidden = np.bincount(windows.segment[looked & ~windows.usable], minlength=segments)
    power = np.zeros(segments, np.int64)
    minute = np.full(segments, -1, np.int64)
    segment, candidates, at = windows.segment[usable], windows.power[usable], windows.minute[usable]
    if len(segment):
        first = np.flatnonzero(np.diff(segment, prepend=-1))
        highest = np.maximum.reduceat(candidates, first)
        power[segment[first]] = highest
        reached = np.flatnonzero(candidates == power[segment])
        earliest = reached[np.flatnonzero(np.diff(segment[reached], prepend=-1))]
        minute[segment[earliest]] = at[earliest]
    return Peaks(power, minute, hidden.astype(np.int64))


def _mean_power(energy: I64, length_s: I64) -> I64:
    # 15, 30 and 60 minutes divide the hour: the factor is whole and the mean exact.
    factor: I64 = 3600 // np.maximum(length_s, 1)
    power: I64 = energy * factor
    return power


def _no_windows() -> Windows:
    none = np.zeros(0, np.int64)
    return Windows(none.astype(np.int32), none, none.astype(np.int16), none, none.astype(bool))
