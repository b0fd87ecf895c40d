"""When the meters of a dark node came back: step by step, and which of them did not."""

from typing import Final, NamedTuple

import numpy as np

from outage.params import DetectParams
from outage.spans import NEVER
from outage.territory import Below
from outage.topology import Flags, Ints

SILENCE_IS_DARK: Final = 0.05
"""A unit without life stays dark when so much silence would be this rare in a unit that had come back."""


class Restoration(NamedTuple):
    """Meters and nodes after restoration is judged; times in microseconds, `NEVER` where there is none."""

    restored: Ints
    """Per meter: when it came back; `NEVER`: still dark."""
    residual: Flags
    """Per meter: it stays dark, or came back later, as an incident of its own."""
    lives: Flags
    """Per meter: its return is evidence, not presumption."""
    back: Ints
    """Per place: when the node counts as restored."""
    living: Ints
    """Per place: meters with life."""


def judge_restoration(meters: Below, places: int, as_of: int, params: DetectParams) -> Restoration:
    """Date the return of every meter of every dark node, and find the units that stayed dark.

    Args:
        meters: The meters below the dark nodes.
        places: Number of nodes; `meters.place` is below it.
        as_of: Newest evidence, microseconds.
        params: `restored_tenths`, `settle_s`.

    A power-up is exact. A read only bounds from above: the neighbours' power-up tells when. A meter without any
    evidence is presumed back with its node. A unit whose meters came back later than the node, or which is silent
    beside living ones, is residual: it stays dark as an incident of its own.
    """
    place, heard = meters.place, meters.heard
    corner, corner_place = _corners(meters)
    life = _life(meters, corner, corner_place)
    lives = life < NEVER
    living = np.bincount(place[lives], minlength=places)
    size = np.bincount(place, minlength=places)
    back = np.minimum(_share_back(life, place, size, params), _heard_back(life, meters, places))
    settled = np.where(back < NEVER, back + params.settle_s * 1_000_000, NEVER)[place]
    since = back[place]
    later = ((meters.up < NEVER) & (meters.up > settled)) | ((meters.off > since) & (~lives | (life > meters.off)))
    units = len(corner_place)
    unit_lives = np.bincount(corner[lives], minlength=units)[corner] > 0
    unit_size = np.bincount(corner, minlength=units)[corner]
    silence = (1 - living / np.maximum(size, 1))[place] ** unit_size
    silent = heard & ~unit_lives & (silence < SILENCE_IS_DARK) & (as_of > settled)
    # A late power-up of a meter that was not heard may be of another outage, unless its neighbours were late too.
    late_unit = np.bincount(corner[later & heard], minlength=units)[corner] > 0
    residual = (later & late_unit) | silent
    with_node = np.where(lives & (life <= settled) & (since < NEVER), life, np.where(since < NEVER, since, life))
    # A residual meter that was not heard came back by itself, unless its unit becomes an incident of its own.
    restored = np.where(residual, np.where(heard, NEVER, life), with_node)
    return Restoration(restored, residual, lives, back, living)


def _corners(meters: Below) -> tuple[Ints, Ints]:
    """Per meter the number of its unit in its place, and per such number the place."""
    if not len(meters.place):
        return meters.place, meters.place
    low = int(meters.unit.min())
    width = int(meters.unit.max()) - low + 1
    keys, corner = np.unique(meters.place * width + meters.unit - low, return_inverse=True)
    return corner, keys // width


def _life(meters: Below, corner: Ints, corner_place: Ints) -> Ints:
    """The best date there is for the return of every meter: a power-up, its own or its unit's, or what a read tells."""
    units = len(corner_place)
    up = _upper_median(meters.up, corner, units)
    read = np.full(units, NEVER)
    np.minimum.at(read, corner, meters.read)
    around = _around(meters, corner_place, read)
    by_read = np.where(up[corner] <= meters.read, up[corner], around[corner])
    return np.where(meters.up < NEVER, meters.up, np.where(meters.read < NEVER, by_read, NEVER))


def _upper_median(times: Ints, corner: Ints, units: int) -> Ints:
    """Per unit the median of the times that there are, the later of two in the middle; `NEVER` where there is none."""
    there = np.flatnonzero(times < NEVER)
    order = there[np.lexsort((times[there], corner[there]))]
    count = np.bincount(corner[there], minlength=units)
    middle = np.cumsum(count) - count + count // 2
    known = count > 0
    median = np.full(units, NEVER)
    median[known] = times[order][middle[known]]
    return median


def _around(meters: Below, place: Ints, read: Ints) -> Ints:
    """Per unit: a unit known by reads alone came back with the last neighbour that told a power-up before its read."""
    around = read.copy()
    told = np.flatnonzero(meters.up < NEVER)
    asked = np.flatnonzero(read < NEVER)
    if not len(told) or not len(asked):
        return around
    low = min(int(meters.up[told].min()), int(read[asked].min()))
    width = max(int(meters.up[told].max()), int(read[asked].max())) - low + 1
    known = np.sort(meters.place[told] * width + meters.up[told] - low)
    found = known[np.searchsorted(known, place[asked] * width + read[asked] - low, "right") - 1]
    there = (found // width == place[asked]) & (found % width + low <= read[asked])
    around[asked[there]] = found[there] % width + low
    return around


def _share_back(life: Ints, place: Ints, size: Ints, params: DetectParams) -> Ints:
    """Per place: when r₂ of the node's meters had life."""
    order = np.lexsort((life, place))
    needed = (size * params.restored_tenths + 9) // 10
    there = np.flatnonzero(size)
    share = np.full(len(size), NEVER)
    # None needed: the last of all, as a list is read from its end.
    at = np.where(needed[there] > 0, needed[there], size[there]) - 1
    share[there] = life[order][(np.cumsum(size) - size)[there] + at]
    return share


def _heard_back(life: Ints, meters: Below, places: int) -> Ints:
    """Per place: when all that had reported the onset had life."""
    last = np.full(places, -1)
    np.maximum.at(last, meters.place[meters.heard], life[meters.heard])
    return np.where(last < 0, NEVER, last)
