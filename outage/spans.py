"""Stretches without supply, and time lookups by meter."""

from typing import Final, NamedTuple

import numpy as np

from outage.topology import Flags, Ints

NEVER: Final = 2**62
"""An end that has not been seen, in microseconds: later than every instant."""


RECORD: Final = 3
"""Pauses between moments that make a habit."""
SAMPLE: Final = 50_000
"""Pauses that suffice to know the habit of a fleet."""


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
    """Moments of meters, by meter and time, in one array of keys: meter · width + time since `low`, in `unit_us`."""

    keys: Ints
    low: int
    width: int
    unit_us: int

    def oldest(self) -> int:
        """The first of all moments, in microseconds; `NEVER` where there is none."""
        return self.low * self.unit_us if len(self.keys) else NEVER

    def newest(self) -> int:
        """The last of all moments, in microseconds; 0 where there is none."""
        return (self.low + self.width - 2) * self.unit_us if len(self.keys) else 0

    def counts(self, meter: Ints) -> Ints:
        """How many moments each meter has."""
        after = np.searchsorted(self.keys, (meter + 1) * self.width, "left")
        counts: Ints = after - np.searchsorted(self.keys, meter * self.width, "left")
        return counts

    def first_after(self, meter: Ints, after: Ints) -> Ints:
        """For each (meter, instant) the first moment later than it, or `NEVER`."""
        if not len(self.keys):
            return np.full(len(meter), NEVER)
        place = self._places(meter, after)
        since = self.keys[np.minimum(place, len(self.keys) - 1)] - meter * self.width
        there = (place < len(self.keys)) & (since >= 0) & (since < self.width)
        return np.where(there, self._at(since), NEVER)

    def last_until(self, meter: Ints, until: Ints) -> Ints:
        """For each (meter, instant) the last moment not later than it, or -1."""
        if not len(self.keys):
            return np.full(len(meter), -1)
        place = self._places(meter, until) - 1
        since = self.keys[np.maximum(place, 0)] - meter * self.width
        there = (place >= 0) & (since >= 0) & (since < self.width)
        return np.where(there, self._at(since), -1)

    def overdue(self, meter: Ints) -> Ints:
        """For each meter the pause beyond which moments were missed: one and a half times its usual one.

        Where its own record is too short, the usual pause of all stands for it; `NEVER` where that is unknown too.
        """
        usual = self.usual_pauses(meter)
        if (usual < 0).any():
            usual = np.where(usual < 0, self.common_pause(), usual)
        return np.where(usual < 0, NEVER, usual * 3 // 2)

    def usual_pauses(self, meter: Ints) -> Ints:
        """For each meter the median pause between two of its moments, -1 where it has fewer than three pauses."""
        first = np.searchsorted(self.keys, meter * self.width, "left")
        after = np.searchsorted(self.keys, (meter + 1) * self.width, "left")
        count = np.maximum(after - first - 1, 0)
        owner = np.repeat(np.arange(len(meter)), count)
        place = np.arange(int(count.sum())) - np.repeat(np.cumsum(count) - count, count) + np.repeat(first, count)
        pause = self.keys[place + 1] - self.keys[place]
        pause = pause[np.lexsort((pause, owner))]
        middle = np.cumsum(count) - count + count // 2
        enough = count >= RECORD
        usual = np.full(len(meter), -1)
        usual[enough] = pause[middle[enough]] * self.unit_us
        return usual

    def common_pause(self) -> int:
        """The median pause of all meters, out of a sample; -1 where there are fewer than three."""
        step = max(1, len(self.keys) // SAMPLE)
        before, after = self.keys[:-1:step], self.keys[1::step]
        pauses = (after - before)[before // self.width == after // self.width]
        return int(np.median(pauses)) * self.unit_us if len(pauses) >= RECORD else -1

    def _at(self, since: Ints) -> Ints:
        """The instants of keys without their meter, in microseconds."""
        times: Ints = (since + (self.low - 1)) * self.unit_us
        return times

    def _places(self, meter: Ints, instant: Ints) -> Ints:
        """Number of moments at or before each (meter, instant)."""
        units = instant if self.unit_us == 1 else instant // self.unit_us
        wanted = meter * self.width + np.clip(units - self.low, -1, self.width - 2) + 1
        places: Ints = np.searchsorted(self.keys, wanted, "right")
        return places


def timeline(meter: Ints, at: Ints) -> Timeline:
    """The moments `at` (microseconds) of the meters, in any order; repeats are one.

    Kept to the microsecond; a hundred days of a million meters and more are kept to the millisecond.
    """
    if not len(meter):
        return Timeline(np.empty(0, np.int64), 0, 2, 1)
    most = int(meter.max()) + 2
    unit = 1 if (int(at.max()) - int(at.min()) + 3) < 2**62 // most else 1000
    times = at if unit == 1 else at // unit
    low = int(times.min())
    width = int(times.max()) - low + 2
    keys = meter * width + times
    keys += 1 - low
    keys.sort()
    new = keys[1:] != keys[:-1]
    return Timeline(keys if new.all() else keys[np.r_[True, new]], low, width, unit)
