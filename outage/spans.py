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


def first_after(told: pl.DataFrame, meter: Ints, after: Ints) -> Ints:
    """For each (meter, instant) the first time in `told` (`meter`, `at`, ascending) later than it, or `NEVER`."""
    if not told.height:
        return np.full(len(meter), NEVER)
    place = _places(told, meter, after)
    ahead = np.minimum(place, told.height - 1)
    there = (place < told.height) & (told["meter"].to_numpy()[ahead] == meter)
    return np.where(there, told["at"].to_numpy()[ahead], NEVER)


def last_until(told: pl.DataFrame, meter: Ints, until: Ints) -> Ints:
    """For each (meter, instant) the last time in `told` not later than it, or -1."""
    if not told.height:
        return np.full(len(meter), -1)
    place = _places(told, meter, until) - 1
    behind = np.maximum(place, 0)
    there = (place >= 0) & (told["meter"].to_numpy()[behind] == meter)
    return np.where(there, told["at"].to_numpy()[behind], -1)


def _places(told: pl.DataFrame, meter: Ints, instant: Ints) -> Ints:
    """Number of entries of `told` at or before each (meter, instant), by one key of both in milliseconds."""
    meters, times = told["meter"].to_numpy(), told["at"].to_numpy() // 1000
    low = int(times.min())
    width = int(times.max()) - low + 2
    wanted = meter * width + np.clip(instant // 1000 - low, -1, width - 2) + 1
    places: Ints = np.searchsorted(meters * width + (times - low) + 1, wanted, "right")
    return places
