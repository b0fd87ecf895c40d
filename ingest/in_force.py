"""Which of several lines of METERS counts when a message is received: the newest that had begun by then.

A meter that changes gets a further line (METERS are effective-dated). A message is read as its meter was when it was
received, whenever it is decoded: a line for tomorrow changes nothing today, and a frame that is replayed next year
yields the rows of this one. Before its first line begins a meter is read by that line, and after it was removed by
its last: it was heard, and where its grid begins and ends is for VEE to say.
"""

from typing import Final, NamedTuple, Self

import numpy as np
import polars as pl

from ingest.blocks import NO_TIME
from ingest.clocks import Micros
from ingest.spans import Flags, Places

FOREVER: Final = int(np.iinfo(np.int64).max)
_NOBODY: Final = np.zeros(0, np.int64)


class Later(NamedTuple):
    """Lines beside the first one, of owners (meters, or system titles) that have several."""

    several: Flags  # by owner: it has more lines than its first; empty where nobody has
    key: Places  # by line, ascending: owner x (instants + 1) + how many of the instants had come when it began
    line: Places
    instants: Micros  # at which lines begin, ascending, each once

    @classmethod
    def of(cls, owners: int, owner: Places, begins: Micros, line: Places) -> Self:
        """These lines of so many owners, sorted by owner and then by when they begin."""
        several = np.zeros(owners if len(line) else 0, np.bool_)
        several[owner] = True
        instants = np.unique(begins)
        key = owner * (len(instants) + 1) + np.searchsorted(instants, begins, side="right")
        return cls(several, key, line, instants)

    def at(self, owner: Places, first: Places, when: Micros) -> Places:
        """The line of each owner that is in force: `first` where none of the later ones has begun, or `owner` is -1."""
        if not len(self.several):
            return first
        asked = np.flatnonzero(self.several[owner] & (owner >= 0))
        if not len(asked):
            return first
        times, whose = len(self.instants) + 1, owner[asked]
        reached = whose * times + np.searchsorted(self.instants, when[asked], side="right")
        newest = np.searchsorted(self.key, reached, side="right") - 1
        begun = (newest >= 0) & (self.key[newest] // times == whose)
        found = first.copy()
        found[asked[begun]] = self.line[newest[begun]]
        return found


class Succession(NamedTuple):
    """Lines by their place: by owner the first one, and those that follow, sorted by owner and by when they begin."""

    first: Places
    following: Places


def succession_of(owner: Places, begins: Micros) -> Succession:
    """The lines of each owner one after the other; of two that begin at the same time the later one alone.

    Args:
        owner: By line; numbers from 0 on, none left out.
        begins: By line, microseconds; `NO_TIME` for one that always held.
    """
    lines = np.bincount(owner)
    alone = lines[owner] == 1
    first = np.empty(len(lines), np.int64)
    first[owner[alone]] = np.flatnonzero(alone)
    several = np.flatnonzero(~alone)
    order = several[np.lexsort((begins[several], owner[several]))]
    same = owner[order[1:]] == owner[order[:-1]]
    order = order[~np.append(same & (begins[order[1:]] == begins[order[:-1]]), False)] if len(order) else order
    leads = np.ones(len(order), np.bool_)
    leads[1:] = owner[order[1:]] != owner[order[:-1]]
    first[owner[order[leads]]] = order[leads]
    return Succession(first, order[~leads])


class MeterLines(NamedTuple):
    """Lines as `Enrolment` has them: the first one of each meter, by meter; behind them those that follow."""

    meters: int
    following: Places  # meter of each line behind the first ones, ascending
    later: Later

    @classmethod
    def of(cls, meters: int, following: Places, begins: Micros) -> Self:
        """So many meters, and the lines that follow their first ones.

        Args:
            meters: How many.
            following: Meter of each further line, ascending.
            begins: When each of these begins, ascending for one meter.
        """
        lines = np.arange(meters, meters + len(following))
        return cls(meters, following, Later.of(meters, following, begins, lines))

    def at(self, meter: Places, when: Micros) -> Places:
        """The line of each meter that is in force; -1 where there is no meter."""
        return self.later.at(meter, meter, when)

    def meter_of(self, line: Places) -> Places:
        """The meter of each line; -1 where there is no line."""
        if not len(self.following):
            return line
        return np.where(line < self.meters, line, self.following[np.maximum(line - self.meters, 0)])


def one_line_each(meters: int) -> MeterLines:
    """Meters of which each has one line, which is in force at any time."""
    return MeterLines.of(meters, _NOBODY, _NOBODY)


def begins_of(lines: pl.DataFrame) -> Micros:
    """When each line of METERS begins: `installed_at`; `NO_TIME` where that is null: it always held."""
    begins: Micros = lines["installed_at"].to_physical().fill_null(NO_TIME).to_numpy()
    return begins


def ends_of(lines: pl.DataFrame, of_meters: MeterLines) -> Micros:
    """When each line ends: `removed_at`, or before that where the next line of its meter begins; else `FOREVER`."""
    ends: Micros = lines["removed_at"].to_physical().fill_null(FOREVER).to_numpy().copy()
    begins, meters, meter = begins_of(lines), of_meters.meters, of_meters.following
    before = np.arange(meters - 1, meters - 1 + len(meter))
    leads = np.ones(len(meter), np.bool_)
    leads[1:] = meter[1:] != meter[:-1]
    before[leads] = meter[leads]
    ends[before] = np.minimum(ends[before], begins[meters:])
    return ends
