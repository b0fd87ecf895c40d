"""Demand: the highest mean power over a window of the tariff, and the instant at which its window began.

A window counts only if all its intervals are there and none of them is missing, suspect, partial or merged, or, unless
the tariff takes them, estimated. Of equal windows the earliest holds.
"""

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from billing_export.located import I64
from billing_export.segments import QUALITIES, Rows, runs
from billing_export.usage import Civil
from schemas.codes import Quality

_NEVER = (Quality.MISSING, Quality.SUSPECT)
_NOT_USABLE: Final = np.iinfo(np.int64).min
"""Power of a window that counts for nothing."""
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

    def at(self, chosen: "Mask | I64 | slice") -> "Windows":
        """Some of them."""
        return Windows(
            self.segment[chosen], self.minute[chosen], self.code[chosen], self.power[chosen], self.usable[chosen]
        )


class Peaks(NamedTuple):
    """Maxima of each segment; all arrays of shape (segments, 1 + periods): over all windows, then of each period.
    `minute` is -1 where no window was usable."""

    power: I64
    minute: I64
    hidden: I64
    """Windows that could not be judged: the true maximum may be among them."""

    def of(self, column: int) -> "Peaks":
        """One column of each array."""
        return Peaks(self.power[:, column], self.minute[:, column], self.hidden[:, column])


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


def windows_of(rows: Rows, civil: Civil) -> Windows:
    """Demand windows of all segments, in blocks or sliding, as the tariff has them on each day."""
    bad = never_sets_peak(rows, civil)
    if not civil.slides.any():
        return block_windows(rows, bad, civil)
    if civil.slides.all():
        return sliding_windows(rows, bad, civil)
    return _merged(block_windows(rows, bad, civil), sliding_windows(rows, bad, civil))


def block_windows(rows: Rows, bad: Mask, civil: Civil) -> Windows:
    """Windows aligned to local midnight, on the days on which the tariff has such.

    Args:
        rows: Intervals.
        bad: Rows that disqualify their window.
        civil: Civil time of the rows.
    """
    if not len(rows.value):
        return _no_windows()
    first = runs(rows, civil.window[civil.entry])
    at = civil.entry[first]
    length = civil.window_min[at].astype(np.int64) * 60
    usable = _seconds(rows, first) == length
    usable[np.searchsorted(first, np.flatnonzero(bad), side="right") - 1] = False
    power = _mean_power(np.add.reduceat(rows.value, first), length)
    every = Windows(rows.segment[first], rows.minute[first], civil.period[at], power, usable)
    slides = civil.slides[at]
    return every if not slides.any() else every.at(~slides)


def _seconds(rows: Rows, first: I64) -> I64:
    """Seconds that the intervals of each run cover."""
    length = int(rows.seconds[0])
    if (rows.seconds == length).all():
        seconds: I64 = np.diff(first, append=len(rows.seconds)) * length
        return seconds
    return np.add.reduceat(rows.seconds, first, dtype=np.int64)


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
    whole = (rows.minute[last] - rows.minute) * 60 + rows.seconds[last] == length_s
    usable = inside & whole & (spoilt[after] == spoilt[start])
    mean = _mean_power(energy[after] - energy[start], length_s)
    # A window that ends beyond the segment is none; one that is broken inside is a window that could not be judged.
    kept = np.flatnonzero(inside & civil.slides[civil.entry])
    return Windows(rows.segment[kept], rows.minute[kept], code[kept], mean[kept], usable[kept])


def peaks(windows: Windows, segments: int, periods: int) -> Peaks:
    """Maxima of each segment, over all windows and over those that start in each period; of equals the earliest.

    Args:
        windows: Windows, those of a segment adjacent and ascending in time.
        segments: Number of segments.
        periods: Number of periods.
    """
    shape = (segments, 1 + periods)
    spoilt = np.flatnonzero(~windows.usable)
    cell = windows.segment[spoilt].astype(np.int64) * periods + windows.code[spoilt]
    hidden = np.bincount(cell, minlength=segments * periods).reshape(segments, periods).astype(np.int64)
    found = Peaks(np.zeros(shape, np.int64), np.full(shape, -1, np.int64), np.zeros(shape, np.int64))
    found.hidden[:, 0], found.hidden[:, 1:] = hidden.sum(axis=1), hidden
    if not windows.usable.any():
        return found
    # Runs of windows of one period, of which a day has a few; maxima are sought among those of the runs.
    candidates = np.where(windows.usable, windows.power, _NOT_USABLE)
    new = (np.diff(windows.segment, prepend=-1) != 0) | (np.diff(windows.code, prepend=-1) != 0)
    first = np.flatnonzero(new)
    bounds = np.append(first, len(new))
    highest, owner, code = np.maximum.reduceat(candidates, first), windows.segment[first], windows.code[first]
    some = highest != _NOT_USABLE
    for column in range(1 + periods):
        among = np.flatnonzero(some if not column else some & (code == column - 1))
        best = _first_highest(owner[among], highest[among])
        run = among[best]
        at = _first_equal(candidates, bounds, run, highest[run])
        found.power[owner[run], column], found.minute[owner[run], column] = highest[run], windows.minute[at]
    return found


def _first_highest(owner: npt.NDArray[np.int32], value: I64) -> I64:
    """Place of the first of the highest values of each owner; those of an owner are adjacent."""
    if not len(owner):
        return np.zeros(0, np.int64)
    starts = np.flatnonzero(np.diff(owner, prepend=-1))
    top = np.repeat(np.maximum.reduceat(value, starts), np.diff(starts, append=len(owner)))
    reached = np.flatnonzero(value == top)
    first: I64 = reached[np.flatnonzero(np.diff(owner[reached], prepend=-1))]
    return first


def _first_equal(candidates: I64, bounds: I64, run: I64, value: I64) -> I64:
    """Place of the first candidate in each run that is equal to a value, which is among them."""
    lengths = bounds[run + 1] - bounds[run]
    of = np.repeat(np.arange(len(run)), lengths)
    place = np.arange(len(of)) + np.repeat(bounds[run] - (np.cumsum(lengths) - lengths), lengths)
    equal = np.flatnonzero(candidates[place] == value[of])
    first: I64 = place[equal[np.flatnonzero(np.diff(of[equal], prepend=-1))]]
    return first


def _mean_power(energy: I64, length_s: I64) -> I64:
    # 15, 30 and 60 minutes divide the hour: the factor is whole and the mean exact.
    factor: I64 = 3600 // np.maximum(length_s, 1)
    power: I64 = energy * factor
    return power


def _no_windows() -> Windows:
    none = np.zeros(0, np.int64)
    return Windows(none.astype(np.int32), none, none.astype(np.int16), none, none.astype(bool))


def _merged(one: Windows, other: Windows) -> Windows:
    both = Windows(
        np.concatenate([one.segment, other.segment]),
        np.concatenate([one.minute, other.minute]),
        np.concatenate([one.code, other.code]),
        np.concatenate([one.power, other.power]),
        np.concatenate([one.usable, other.usable]),
    )
    return both.at(np.lexsort((both.minute, both.segment)))
