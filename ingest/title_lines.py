"""Whose a system title is, and when: a communication module may pass from one meter to another."""

from typing import Final, NamedTuple, Self

import numpy as np
import numpy.typing as npt
import polars as pl

from ingest.clocks import Micros
from ingest.in_force import Later, MeterLines, begins_of, ends_of, succession_of
from ingest.lookup import NOT_FOUND, Lookup
from ingest.spans import Places
from ingest.titles import titles_from_hex
from schemas.errors import ContractError

_NONE: Final = np.zeros(0, np.int64)


class TitleLines(NamedTuple):
    """Lines of METERS by system title."""

    title: npt.NDArray[np.uint64]  # by line; 0 where it has none
    by_title: Lookup  # each title once
    first: Places  # by title in the order of `by_title`: the first of the lines that have it
    later: Later  # of titles that several lines have

    @classmethod
    def of(cls, lines: pl.DataFrame, of_meters: MeterLines) -> Self:
        """Titles of these lines of METERS, which stand in the order of `MeterLines`.

        Raises:
            ContractError: Two meters have one title at the same time.
        """
        title = titles_from_hex(lines["system_title"].fill_null("0" * 16))
        titled = np.flatnonzero(title)
        index = Lookup.of(title[titled])
        if index.is_distinct():
            return cls(title, index, titled, Later.of(len(titled), _NONE, _NONE, _NONE))
        again = np.zeros(len(titled), np.bool_)
        same = np.flatnonzero(index.spread[1:] == index.spread[:-1])
        again[index.place[same]] = again[index.place[same + 1]] = True
        lone, shared = titled[~again], titled[again]
        owner = np.unique(title[shared], return_inverse=True)[1]
        begins = begins_of(lines)
        _refuse_twins(shared[np.lexsort((begins[shared], owner))], title, lines, of_meters)
        order = succession_of(owner, begins[shared])
        first, following = np.concatenate((lone, shared[order.first])), shared[order.following]
        later = Later.of(len(first), len(lone) + owner[order.following], begins[following], following)
        return cls(title, Lookup.of(title[first]), first, later)

    def find(self, titles: npt.NDArray[np.uint64], when: Micros, of_meters: MeterLines) -> Places:
        """The line of each title's meter, `NOT_FOUND` where at that time no meter had it."""
        found = self.by_title.find(titles)
        if not len(self.first):
            return found
        line = self.later.at(found, np.where(found >= 0, self.first[found], NOT_FOUND), when)
        if not len(of_meters.following):
            return line
        in_force = of_meters.at(of_meters.meter_of(line), when)
        return np.where((line >= 0) & (self.title[in_force] == titles), in_force, NOT_FOUND)


def _refuse_twins(ordered: Places, title: npt.NDArray[np.uint64], lines: pl.DataFrame, of_meters: MeterLines) -> None:
    """Lines by title and by when they begin: one of another meter begins no sooner than the one before has ended."""
    before, after = ordered[:-1], ordered[1:]
    meter = of_meters.meter_of(ordered)
    other = (title[before] == title[after]) & (meter[:-1] != meter[1:])
    twins = np.flatnonzero(other & (ends_of(lines, of_meters)[before] > begins_of(lines)[after]))
    if len(twins):
        at = int(twins[0])
        one, another = sorted(lines["meter_id"][int(ordered[at + step])] for step in (0, 1))
        raise ContractError(
            f"METERS.system_title: {int(title[ordered[at]]):016x} belongs to {one} and {another} at one time:"
            " `removed_at` of the one and `installed_at` of the other must part them"
        )
