"""What befalls meters and their messages, planned for the whole fleet before a byte is made."""

from typing import Final, NamedTuple

import numpy as np

from simulator.columns import F64, I64, Flags, chance
from simulator.grid import Span
from simulator.params import Faults, SimulatorParams
from simulator.spells import Spells, merge_spells
from simulator.topology import Fleet

_GAP_HOURS: Final = ((2, 2), (4, 6), (8, 24), (26, 72), (74, 168), (170, 400))
"""Bounds of the classes of real gaps, in whole communication blocks of 2 h (vee.md section 6)."""
_GAP_SHARE: Final = np.array([62, 26, 18, 8, 1, 4]) / 119
_BLOCK_S: Final = 7200
_HOUR_S: Final = 3600


class Plan(NamedTuple):
    """Faults by meter row, and the spells during which they hold."""

    cut_off: Spells  # nothing that is sent arrives, nor is it sent again
    stuck: Spells  # the first value of the spell is repeated
    test_mode: Spells
    drift_s: F64  # the clock is so much ahead
    rolls_over: Flags


def plan_faults(params: SimulatorParams, fleet: Fleet, span: Span) -> Plan:
    """The faults of a run."""
    rng = chance(params.seed, "faults")
    faults = params.faults
    drifting = rng.random(fleet.size) < faults.drift_meters
    drift = rng.uniform(-faults.drift_max_s, faults.drift_max_s, fleet.size)
    return Plan(
        cut_off=_losses(chance(params.seed, "losses"), faults, fleet, span),
        stuck=_spells(rng, faults.stuck_meters, fleet, span, (26 * 3600, 40 * 3600)),
        test_mode=_spells(rng, faults.test_mode_meters, fleet, span, (3600, 4 * 3600)),
        drift_s=np.where(drifting, np.round(drift), 0.0),
        rolls_over=rng.random(fleet.size) < faults.rollover_meters,
    )


def _losses(rng: np.random.Generator, faults: Faults, fleet: Fleet, span: Span) -> Spells:
    # Loss belongs to a meter: some never lose anything, a few lose most. Lengths as found in the field, cut to half
    # the run so that the share asked for can be met in a short one.
    length = span.end_s - span.start_s
    longest = max(length // 2 // _BLOCK_S, 1)
    budget = faults.loss * length * fleet.size
    weight = np.where(rng.random(fleet.size) < faults.lossless_meters, 0.0, rng.lognormal(0, 1.3, fleet.size))
    if not budget or not weight.any():
        none = np.zeros(0, dtype=np.int64)
        return Spells(none, none, none)
    draws = int(budget / _BLOCK_S) + 8
    kind = rng.choice(len(_GAP_HOURS), draws, p=_GAP_SHARE)
    low, high = (np.array(_GAP_HOURS)[kind, side] // 2 for side in (0, 1))
    blocks = np.minimum(rng.integers(low, high + 1), longest)
    meter = rng.choice(fleet.size, draws, p=weight / weight.sum())
    # Never the first hour: without the reading at the beginning nothing of a run could be anchored.
    room = np.maximum(length - blocks * _BLOCK_S - _HOUR_S, 0)
    start = span.start_s + _HOUR_S + (rng.random(draws) * room / _HOUR_S).astype(np.int64) * _HOUR_S
    spent = np.cumsum(blocks * _BLOCK_S)
    kept = np.flatnonzero(spent <= budget)
    kept = np.arange(min(kept.size + 1, draws)) if rng.random() < _overshoot(spent, budget) else kept
    return merge_spells(meter[kept], start[kept], (start + blocks * _BLOCK_S)[kept])


def _overshoot(spent: I64, budget: float) -> float:
    """Chance with which the gap that crosses the budget is taken, so that the budget is met on average."""
    crossing = int(np.searchsorted(spent, budget, side="right"))
    before = float(spent[crossing - 1]) if crossing else 0.0
    return (budget - before) / (float(spent[min(crossing, spent.size - 1)]) - before or 1.0)


def _spells(rng: np.random.Generator, share: float, fleet: Fleet, span: Span, lengths_s: tuple[int, int]) -> Spells:
    meter = np.flatnonzero(rng.random(fleet.size) < share)
    length = np.minimum(rng.integers(*lengths_s, meter.size), (span.end_s - span.start_s) // 2)
    start = span.start_s + (rng.random(meter.size) * (span.end_s - span.start_s - length)).astype(np.int64)
    return merge_spells(meter, start, start + length)
