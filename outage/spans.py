"""Stretches without supply, and time lookups by meter."""

from typing import Final, NamedTuple

import numpy as np
import polars as pl

from outage.topology import Flags, Ints

NEVER: Final = 2**62
"""An end that has not been seen, in microseconds: later than every instant."""


class Spans(NamedTuple):
    """Stretches without supply as single meters told them; arrays of equal length, times in microseconds."""

    meter: Ints
    start: Ints  # earliest believed power-down
    end: Ints  # first evidence of life after it, `NEVER` if none
    by_read: Flags  # the end is a read or an answer: supply returned at some time before it
    trusted: Flags  # authenticated, or confirmed by a ping
    pinged_off: Flags  # a ping found the meter dark
    planned: Flags  # what is left of planned work that took longer than announced
    received: Ints  # when the first message about it arrived

    def at(self, chosen: Flags | Ints) -> "Spans":
        """The chosen spans."""
        return Spans(
            self.meter[chosen],
            self.start[chosen],
            self.end[chosen],
            self.by_read[chosen],
            self.trusted[chosen],
            self.pinged_off[chosen],
            self.planned[chosen],
            self.received[chosen],
        )


def no_spans() -> Spans:
    """None at all."""
    none = np.empty(0, np.int64)
    return Spans(none, none, none, none > 0, none > 0, none > 0, none > 0, none)


def joined(first: Spans, second: Spans) -> Spans:
    """Both, the second after the first."""
    return Spans(
        np.concatenate([first.meter, second.meter]),
        np.concatenate([first.start, second.start]),
        np.concatenate([first.end, second.end]),
        np.concatenate([first.by_read, second.by_read]),
        np.concatenate([first.trusted, second.trusted]),
        np.concatenate([first.pinged_off, second.pinged_off]),
        np.concatenate([first.planned, second.planned]),
        np.concatenate([first.received, second.received]),
    )


class Timeline(NamedTuple):
    """Moments of meters, by meter and time, with the keys to look them up by."""

    meter: Ints
    at: Ints
    keys: Ints  # meter and millisecond in one number
    low: int  # earliest millisecond
    width: int  # milliseconds kept for one meter

    def first_after(self, meter: Ints, after: Ints) -> Ints:
        """For each (meter, instant) the first moment later than it, or `NEVER`."""
        if not len(self.keys):
            return np.full(len(meter), NEVER)
        place = self._places(meter, after)
        ahead = np.minimum(place, len(self.keys) - 1)
        there = (place < len(self.keys)) & (self.meter[ahead] == meter)
        return np.where(there, self.at[ahead], NEVER)

    def last_until(self, meter: Ints, until: Ints) -> Ints:
        """For each (meter, instant) the last moment not later than it, or -1."""
        if not len(self.keys):
            return np.full(len(meter), -1)
        place = self._places(meter, until) - 1
        behind = np.maximum(place, 0)
        there = (place >= 0) & (self.meter[behind] == meter)
        return np.where(there, self.at[behind], -1)

    def _places(self, meter: Ints, instant: Ints) -> Ints:
        """Number of moments at or before each (meter, instant)."""
        wanted = meter * self.width + np.clip(instant // 1000 - self.low, -1, self.width - 2) + 1
        places: Ints = np.searchsorted(self.keys, wanted, "right")
        return places


def timeline(moments: pl.DataFrame) -> Timeline:
    """The moments `meter`, `at` (microseconds) of a frame, in any order; repeats are one."""
    ordered = moments.select("meter", "at").sort("meter", "at")
    meter, at = ordered["meter"].to_numpy(), ordered["at"].to_numpy()
    new = np.r_[True, (meter[1:] != meter[:-1]) | (at[1:] != at[:-1])][: len(at)]
    meter, at = meter[new], at[new]
    low = int(at.min(initial=NEVER)) // 1000
    width = max(int(at.max(initial=0)) // 1000 - low, 0) + 2
    return Timeline(meter, at, meter * width + (at // 1000 - low) + 1, low, width)
