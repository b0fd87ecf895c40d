"""What meters register and capture: energies in counts of the register, and the faults of measurement on top."""

from typing import NamedTuple

import numpy as np

from schemas.codes import Status
from simulator.columns import F64, I64, U8, Flags
from simulator.faults import Plan
from simulator.grid import Span
from simulator.shapes import draw_power, setting_of
from simulator.spells import Spells, covered_share, end_of_spell
from simulator.topology import HOUSEHOLD_PV, REGISTER_DIGITS, UNIT_MILLI, Fleet

_SPIKE = (3.0, 9.0)
"""A spike against what the service could carry in an interval."""
_DOUBTFUL_FROM_S = 60
"""A clock that is further off knows that its last synchronisation is long ago."""


class Registered(NamedTuple):
    """What each meter truly registers: the truth."""

    starts_s: I64
    installed: Flags  # meters × intervals: wholly within the installation, and known
    lit: F64  # share of each interval with supply
    energy: I64  # meters × intervals × channels, counts of the register


class Capture(NamedTuple):
    """Values at the instants of capture, as sent."""

    instants_s: I64
    there: Flags  # meters × instants: captured
    values: I64  # meters × instants × channels
    status: U8  # meters × instants, low eight bits of `codes.Status`


def register_energy(
    fleet: Fleet, starts_s: I64, dark: Spells, place: tuple[Span, int], rng: np.random.Generator
) -> Registered:
    """The energies of invented loads.

    A register counts whole units: each interval holds the counts that fell into it, so that no energy is lost or
    made by rounding. Without supply nothing is counted.

    Args:
        fleet: Meters of one interval length and number of channels.
        starts_s: Their intervals.
        dark: Spells without supply, rows of `fleet`.
        place: Days and seed, which the weather comes from.
        rng: Of the loads.
    """
    interval_s = int(fleet.interval_s[0])
    installed = (starts_s >= fleet.from_s[:, None]) & (starts_s + interval_s <= fleet.to_s[:, None])
    lit = 1 - covered_share(dark, fleet.size, starts_s, interval_s)
    load, roof = draw_power(fleet.kind, fleet.limit_w, setting_of(starts_s, interval_s, *place), rng)
    net = load - roof
    power = [np.maximum(net, 0), np.maximum(-net, 0)]
    if fleet.channels[0] > len(power):
        lag = rng.uniform(0.2, 0.55, (fleet.size, 1))
        power += [power[0] * lag, power[0] * 0.015]
    counts_per_w = interval_s / 3.6 / UNIT_MILLI[fleet.layout] / fleet.multiplier
    energy = np.empty((*lit.shape, len(power)), dtype=np.int64)
    for channel, drawn in enumerate(power):
        total = np.cumsum(drawn * lit * installed * counts_per_w[:, None], axis=1)
        energy[:, :, channel] = np.diff(np.floor(total + rng.random((fleet.size, 1))), axis=1, prepend=0)
    return Registered(starts_s, installed, lit, energy)


def wrap_counts(fleet: Fleet) -> I64:
    """Where each register wraps, in its counts."""
    return 1000 * 10**REGISTER_DIGITS // UNIT_MILLI[fleet.layout]


def registers(fleet: Fleet, energy: I64, rolls_over: Flags, rng: np.random.Generator) -> I64:
    """Readings at the beginning and after each interval, meters × (intervals + 1) × channels, wrapped."""
    wrap = wrap_counts(fleet)
    running = np.zeros((energy.shape[0], energy.shape[1] + 1, energy.shape[2]), dtype=np.int64)
    np.cumsum(energy, axis=1, out=running[:, 1:])
    first = np.repeat((fleet.first_count * 1000 // UNIT_MILLI[fleet.layout])[:, None], energy.shape[2], axis=1)
    first[:, 1:2] = np.where(fleet.kind == HOUSEHOLD_PV, first[:, 0] // 7, 0)[:, None]
    soon = wrap - np.ceil(running[:, -1, 0] * rng.uniform(0.2, 0.8, fleet.size)).astype(np.int64)
    first[:, 0] = np.where(rolls_over & (running[:, -1, 0] > 0), soon, first[:, 0])
    return np.asarray((first[:, None, :] + running) % wrap[:, None, None])


def capture_intervals(fleet: Fleet, true: Registered, plan: Plan, spikes: float, rng: np.random.Generator) -> Capture:
    """Interval values at the end of each interval that had supply for some of its time."""
    interval_s = int(fleet.interval_s[0])
    values = true.energy.copy()
    limit = fleet.limit_w * interval_s / 3.6 / UNIT_MILLI[fleet.layout] / fleet.multiplier
    hit = rng.random(true.lit.shape) < spikes
    size = rng.uniform(*_SPIKE, int(hit.sum()))
    values[hit, 0] = (size * limit[np.nonzero(hit)[0]]).astype(np.int64)
    there = true.installed & (true.lit > 0)
    status = _row_status(true.lit, plan.drift_s)
    ends = true.starts_s + interval_s
    for meter, slots in _slots(plan.test_mode, true.starts_s, interval_s):
        values[meter, slots, 0] += int(limit[meter] * 0.05) + 1
        status[meter, slots] |= np.uint8(Status.TEST_MODE)
    for meter, slots in _slots(plan.stuck, true.starts_s, interval_s):
        values[meter, slots, 0] = max(int(values[meter, slots.start, 0]), 1)
    return Capture(ends, there, values, status)


def capture_registers(
    fleet: Fleet, true: Registered, readings: I64, trouble: tuple[Spells, Plan, float], rng: np.random.Generator
) -> Capture:
    """Readings on the grid, beginning with the first instant, of the meters that have supply then.

    Args:
        fleet: Meters of one interval length.
        true: What they registered.
        readings: Of `registers`.
        trouble: Dark spells, planned faults, share of readings that spike.
        rng: Of the spikes.
    """
    dark, plan, spikes = trouble
    interval_s = int(fleet.interval_s[0])
    instants = np.append(true.starts_s, true.starts_s[-1] + interval_s)
    there = (instants >= fleet.from_s[:, None]) & (instants <= fleet.to_s[:, None])
    rows = np.repeat(np.arange(fleet.size), instants.size)
    there &= (end_of_spell(dark, rows, np.tile(instants, fleet.size)) < 0).reshape(there.shape)
    values = readings.copy()
    limit = fleet.limit_w * interval_s / 3.6 / UNIT_MILLI[fleet.layout] / fleet.multiplier
    hit = rng.random(there.shape) < spikes
    jump = (rng.uniform(*_SPIKE, int(hit.sum())) * limit[np.nonzero(hit)[0]]).astype(np.int64)
    values[hit, 0] = (values[hit, 0] + jump) % wrap_counts(fleet)[np.nonzero(hit)[0]]
    status = np.zeros(there.shape, dtype=np.uint8)
    status[:, 1:] = _row_status(true.lit, plan.drift_s)
    for meter, slots in _slots(plan.stuck, instants, interval_s):
        values[meter, slots] = values[meter, slots.start]
    return Capture(instants, there, values, status)


def read_daily(fleet: Fleet, read: Capture, span: Span) -> Capture:
    """The readings at local midnights, and at installation and removal."""
    bound = np.isin(read.instants_s, span.day_bounds_s)
    ends = (read.instants_s == fleet.from_s[:, None]) | (read.instants_s == fleet.to_s[:, None])
    kept = np.flatnonzero(bound | ends.any(axis=0))
    there = read.there[:, kept] & (bound[kept] | ends[:, kept])
    return Capture(read.instants_s[kept], there, read.values[:, kept], read.status[:, kept])


def _row_status(lit: F64, drift_s: F64) -> U8:
    status = np.where((lit > 0) & (lit < 1), np.uint8(Status.PARTIAL | Status.POWER_FAIL), np.uint8(0))
    status[is_doubtful(drift_s)] |= np.uint8(Status.CLOCK_DOUBTFUL)
    return np.asarray(status, dtype=np.uint8)


def is_doubtful(drift_s: F64) -> Flags:
    """Meters whose clock says of itself that it may be wrong."""
    return np.asarray(np.abs(drift_s) >= _DOUBTFUL_FROM_S)


def _slots(spells: Spells, starts_s: I64, interval_s: int) -> list[tuple[int, slice]]:
    first = np.maximum(-((starts_s[0] - spells.start_s) // interval_s), 0)
    after = np.minimum((spells.end_s - starts_s[0]) // interval_s, starts_s.size)
    spans = zip(spells.meter.tolist(), first.tolist(), after.tolist(), strict=True)
    return [(meter, slice(a, b)) for meter, a, b in spans if b > a]
