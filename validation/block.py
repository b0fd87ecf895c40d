"""A block: the series of one channel on one grid, as dense matrices, and runs of cells in it.

Series lie in rows and intervals in columns, so a check is arithmetic on whole matrices. Blocks are small enough for
the processor's cache and hold constants of their channel, interval length and time zone only once.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from schemas.codes import Channel
from validation.days import Days

Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
Bits = npt.NDArray[np.uint64]
Flags = npt.NDArray[np.uint32]

ABSENT: Final = int(np.iinfo(np.int64).min)
"""Stands for null in a matrix of quantities: no energy reaches it, and it survives no arithmetic unnoticed."""


class Runs(NamedTuple):
    """Half-open runs of cells, `[start, stop)` in a row, ascending; three vectors of one length."""

    row: Ints
    start: Ints
    stop: Ints

    def pick(self, chosen: Mask | Ints) -> "Runs":
        """The chosen runs, in their order."""
        return Runs(self.row[chosen], self.start[chosen], self.stop[chosen])

    @property
    def length(self) -> Ints:
        """Cells of each run."""
        return self.stop - self.start


NO_RUNS: Final = Runs(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.int64))


class Samples(NamedTuple):
    """Values at instants, each with the row and the interval that it lies in; any number an interval."""

    row: Ints
    slot: Ints
    value: Ints


class Cut(NamedTuple):
    """Intervals for a part of which the meter was installed (`validation.parts`)."""

    row: Ints
    slot: Ints
    seconds: Ints
    """How long it was there."""
    since: Ints
    """Seconds from the beginning of the interval to that of the part."""


class Stretches(NamedTuple):
    """Pairs of consecutive usable reads: the register moved by `advance` over the intervals of `span`."""

    span: Runs
    advance: Ints
    tou: Ints
    """(stretches, 4): advance of each time-of-use register between the same reads, ABSENT where unknown."""
    value: Ints
    """What the register said at the end of each, primary."""


class TouLinks(NamedTuple):
    """Pairs of consecutive usable reads of a time-of-use register between which its total was read as well."""

    span: Runs
    register: Ints
    """0 to 3."""
    advance: Ints


class Master(NamedTuple):
    """Master data of a block's series, one element a series."""

    install: Ints
    """Row of the installations table."""
    multiplier: Ints
    """Thousandths."""
    resolution: Ints
    """Resolution of the register, primary, in thousandths."""
    slack: Ints
    """How far from the advance estimates may stay: the resolution of a register coarser than 1 as sent, else 0."""
    wrap: Ints
    """Register value at which it starts again at 0, primary; ABSENT where the digits are unknown."""
    limit: Ints
    """Energy that supply and fuse let through in an interval (V9), in thousandths; ABSENT where unknown."""
    has_der: npt.NDArray[np.int8]
    """1 has a generator, 0 has none, -1 unknown."""
    export: Ints
    """Energy that the generator's inverter can give in an interval (V14), in thousandths; ABSENT where unknown."""


class Supply(NamedTuple):
    """Where the supply was off; each mask may be (1, 1) False where no outage touches the block."""

    known: Mask
    """(series, 1): outages or supply events were at hand, so absence of an outage means something."""
    out: Mask
    """The whole interval lies in an outage."""
    touched: Mask
    """Part of the interval lies in an outage, or outside of the meter's installation."""
    restored: Mask
    """First whole interval after restoration."""


class Around(NamedTuple):
    """What other series, events and master data say about a block's series."""

    siblings: Mapping[Channel, Ints]
    """Values of every channel of the same meters, the block's own among them."""
    check: Ints
    """Values of the check meter; (1, 1) ABSENT where no series of the block has one."""
    checked: Mask
    """(series,): a check meter is at hand."""
    inactive: Mask
    """The meter is disconnected; (1, 1) False where none is."""
    service_known: Mask
    """(1, 1): events were at hand, so the absence of a disconnection means something."""
    overlap: Runs
    """Two meters are installed at one service point."""
    unproven: Runs
    """The last interval before a removal without a final read, the first one after an installation without an
    initial one, where a meter took another one's place."""
    unproven_by: Ints
    """One a run: milliseconds from there to the nearest read of the meter, ABSENT where it has none."""
    dated: Mask
    """(series,): service point and dates of installation are known."""
    in_master: Mask
    """(series,)"""
    zoned: Mask
    """(series,): the time zone comes from master data."""
    billed: Mask
    """(series,): a tariff is known."""
    volts: Samples
    """Voltage reads of series whose nominal voltage is known, mV."""
    volts_nominal: Ints
    """(series,): nominal voltage in mV, ABSENT where unknown."""
    net: Ints
    """Delivered less received, as the meter itself counts it; (1, 1) ABSENT where no meter of the block does."""


class Block(NamedTuple):
    """Series of one channel, interval length, zone and rate class, as matrices (series, intervals)."""

    channel: Channel
    rate_class: str | None
    step_s: int
    first_slot: int
    """Interval 0 starts at `first_slot * step_s + phase_s` seconds after 1970-01-01T00:00Z."""
    phase_s: int
    days: Days
    master: Master
    value: Ints
    """Primary quantity in thousandths; ABSENT where nothing usable was received."""
    status: Flags
    """Status bits; (1, 1) zero where no value of the block carries any."""
    disputed: Samples
    """Intervals about which raw rows disagree (V5), and what the best of those said that were not taken; ABSENT where
    it was sent as unknowable. Ascending."""
    expected: Mask
    """The series was installed, and the interval lies between its data or the bounds asked for."""
    wanted: Mask
    """The interval lies between the bounds asked for: it gets a final."""
    parts: Cut
    """Expected intervals that an installation or a removal cuts."""
    past: tuple[Ints, Ints]
    """(series,): the highest value of the time before the block, ABSENT where unknown, and of how many days."""
    history_days: int
    """Days that a run holds before each wanted interval, as far as there are data."""
    awaited: Mask
    """(series,): what was asked for goes on after the wanted intervals, and is on its way yet."""
    supply: Supply
    waiting: Mask
    """The head end is silent here: what is missing is not estimated yet; (1, 1) False where it is not."""
    stretches: Stretches
    tou_links: TouLinks
    broken: Runs
    """Between two reads whose difference is no advance (V22)."""
    jumps: Runs
    """Between two reads whose difference is beyond belief (V13)."""
    clock_known: bool
    """Times of reception are those of a reference clock."""
    has_reads: Mask
    """(series,): reads of this channel are at hand."""
    has_tou: Mask
    """(series, 4): usable reads of the time-of-use register are at hand."""
    around: Around

    @property
    def shape(self) -> tuple[int, int]:
        """Series, intervals."""
        return self.value.shape[0], self.value.shape[1]

    @property
    def present(self) -> Mask:
        """A value was received."""
        there: Mask = self.value != ABSENT
        return there

    def start_us(self, slot: Ints) -> Ints:
        """Microseconds since the epoch at which intervals start."""
        return ((self.first_slot + slot) * self.step_s + self.phase_s) * 1_000_000

    def begins_us(self, row: Ints, slot: Ints) -> Ints:
        """The same of what the meter of a row was there for: a part of an interval begins later."""
        begins = self.start_us(slot)
        for one, at, since in zip(self.parts.row, self.parts.slot, self.parts.since, strict=True):
            begins = np.where((row == one) & (slot == at), begins + since * 1_000_000, begins)
        return begins


def find_runs(mask: Mask) -> Runs:
    """Longest runs of True in each row of a matrix, rows ascending, runs ascending in a row."""
    rows, width = mask.shape
    if not mask.any():
        return NO_RUNS
    padded = np.zeros((rows, width + 1), dtype=np.bool_)
    padded[:, :width] = mask
    flat = padded.ravel()
    edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    if flat[0]:
        edges = np.concatenate([np.zeros(1, edges.dtype), edges])
    start, stop = edges[0::2], edges[1::2]
    row = start // (width + 1)
    return Runs(row, start - row * (width + 1), stop - row * (width + 1))


def cells_of(runs: Runs, width: int) -> Ints:
    """Flat positions, in a matrix of `width` columns, of every cell of every run, run by run."""
    length = runs.length
    before = np.cumsum(length) - length
    return np.repeat(runs.row * width + runs.start - before, length) + np.arange(int(length.sum()), dtype=np.int64)


def fill_runs(runs: Runs, shape: tuple[int, int]) -> Mask:
    """A matrix that is True in the cells of the runs."""
    mask = np.zeros(shape, dtype=np.bool_)
    mask.ravel()[cells_of(runs, shape[1])] = True
    return mask


def sums_of(matrix: Ints, runs: Runs) -> Ints:
    """Sum of a matrix over each run."""
    total = np.zeros((matrix.shape[0], matrix.shape[1] + 1), dtype=np.int64)
    np.cumsum(matrix, axis=1, out=total[:, 1:])
    return total[runs.row, runs.stop] - total[runs.row, runs.start]
