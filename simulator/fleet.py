"""The whole run: a fleet pushes real frames, and the truth stands beside them."""

from collections.abc import Iterator
from typing import Final, NamedTuple

import numpy as np
import polars as pl

from simulator import captures, curves, notices, outages, pushes, spells, topology
from simulator.columns import I64, U8, chance
from simulator.faults import Plan, plan_faults
from simulator.files import render_keys, render_tariffs
from simulator.grid import Span, interval_starts, span_of
from simulator.outages import Dark
from simulator.params import SimulatorParams, checked
from simulator.reception import number_frames, received_frames
from simulator.sending import Outgoing
from simulator.spells import Spells
from simulator.topology import GENERIC, INTERVAL_MILLI, OBIS_PAIRS, OBIS_ROWS, Fleet
from simulator.truth import truth_intervals

_CELLS: Final = 1_500_000
"""Meters × intervals worked on at once: some 150 MB of arrays, whatever the size of the run."""


class Simulated(NamedTuple):
    """A run, or the part of it that some of the meters are."""

    frames: pl.DataFrame  # RAW_FRAMES in order of reception: a WPDU each
    meters: pl.DataFrame  # METERS
    keys_csv: str  # KEYS.csv of the ciphered meters
    tariffs_toml: str  # TARIFFS.toml
    truth_intervals: pl.DataFrame  # truth.TRUTH_INTERVALS
    truth_outages: pl.DataFrame  # outages.TRUTH_OUTAGES, of the whole fleet


class World(NamedTuple):
    """All that is decided before the first load is drawn."""

    params: SimulatorParams
    span: Span
    fleet: Fleet
    dark: list[Dark]
    dark_spells: Spells
    plan: Plan
    curves: curves.Curves | None


def simulate(params: SimulatorParams, shapes: pl.DataFrame | None = None) -> Simulated:
    """The run of these parameters: same parameters and shapes, same bytes.

    Args:
        params: See `SimulatorParams`.
        shapes: Real load curves in place of invented ones, see `curves.read_curves`: their meters and days are then
            those of the run, each value is pushed exactly; only transport, drift and rollover befall them.

    Raises:
        ContractError: A parameter out of range, an ordered outage of an unknown node, shapes that cannot be pushed.
    """
    world = build_world(params, shapes)
    parts = [_simulate_rows(world, *part) for part in enumerate(_parts(world))]
    frames = number_frames(pl.concat([part.frames for part in parts]), _no_offsets(params))
    return _simulated(world, world.fleet, frames, pl.concat([part.truth for part in parts]))


def simulate_in_parts(params: SimulatorParams, shapes: pl.DataFrame | None = None) -> Iterator[Simulated]:
    """The run of `simulate` in parts, some meters after the others, each over all its days, in bounded memory.

    Messages and truth of the parts together are those of `simulate`. Order of reception holds within a part, offsets
    rise from part to part. `truth_outages` of each part is that of the whole run.
    """
    world = build_world(params, shapes)
    offsets = _no_offsets(params)
    for number, rows in enumerate(_parts(world)):
        part = _simulate_rows(world, number, rows)
        yield _simulated(world, topology.of_rows(world.fleet, rows), number_frames(part.frames, offsets), part.truth)


def build_world(params: SimulatorParams, shapes: pl.DataFrame | None = None) -> World:
    """The fleet and its fate. Raises as `simulate` does."""
    params = checked(params)
    if shapes is None:
        span, known = span_of(params), None
        fleet = topology.build_fleet(params, span)
        dark = outages.plan_outages(params, fleet, span)
    else:
        known = curves.read_curves(shapes)
        params, span, dark = curves.only_transport(params), curves.span_of(known, params.timezone), []
        fleet = curves.build_fleet(params, span, known)
    spells_dark = outages.dark_spells(dark, fleet)
    return World(params, span, fleet, dark, spells_dark, plan_faults(params, fleet, span), known)


class _Part(NamedTuple):
    frames: pl.DataFrame
    truth: pl.DataFrame


def _parts(world: World) -> list[I64]:
    slots = (world.span.end_s - world.span.start_s) // int(world.fleet.interval_s.min())
    size = max(_CELLS // max(slots, 1), 1)
    return [np.arange(at, min(at + size, world.fleet.size)) for at in range(0, world.fleet.size, size)]


def _simulate_rows(world: World, number: int, rows: I64) -> _Part:
    """Frames (not yet numbered) and truth of some meters."""
    fleet, seed = topology.of_rows(world.fleet, rows), world.params.seed
    names = fleet.meters["meter_id"].str.len_bytes().to_numpy()
    cohort = np.stack([fleet.layout, fleet.interval_s, fleet.channels, fleet.daily, names])
    _, member = np.unique(cohort, axis=1, return_inverse=True)
    member = member.reshape(-1)
    outgoing: list[Outgoing] = []
    truth: list[pl.DataFrame] = []
    for group in range(int(member.max()) + 1):
        mine = np.flatnonzero(member == group)
        rng = chance(seed, "cohort", number, group)
        sent, true = _simulate_cohort(world, rows[mine], mine, rng)
        outgoing += sent
        truth.append(true)
    for width in np.unique(names).tolist():
        mine = np.flatnonzero(names == width)
        said = notices.notices(
            topology.of_rows(fleet, mine),
            _names(fleet, mine),
            (spells.of_rows(world.dark_spells, rows[mine]), spells.of_rows(world.plan.cut_off, rows[mine])),
            notices.MeterClock(world.plan.drift_s[rows[mine]], world.params.timezone),
            world.params.outages,
            chance(seed, "notices", number, width),
        )
        outgoing += [message._replace(meter=mine[message.meter]) for message in said]
    counters = topology.first_counters(world.fleet)[rows]
    return _Part(received_frames(outgoing, fleet, rows, counters), pl.concat(truth))


def _simulate_cohort(
    world: World, rows: I64, place: I64, rng: np.random.Generator
) -> tuple[list[Outgoing], pl.DataFrame]:
    """Pushes and truth of meters of one layout, interval, number of channels and rhythm."""
    fleet, params, span = topology.of_rows(world.fleet, rows), world.params, world.span
    dark, plan = spells.of_rows(world.dark_spells, rows), _plan_of(world.plan, rows)
    starts = interval_starts(span, int(fleet.interval_s[0]))
    if world.curves is None:
        true = captures.register_energy(fleet, starts, dark, (span, params.seed), rng)
    else:
        true = curves.registered(world.curves, fleet, starts)
    readings = captures.registers(fleet, true.energy, plan.rolls_over, rng)
    layout = int(fleet.layout[0])
    is_interval = layout in (GENERIC, INTERVAL_MILLI)
    spikes = 0.0 if is_interval else params.faults.spikes
    read = captures.capture_registers(fleet, true, readings, (dark, plan, spikes), rng)
    sender = pushes.Sender(
        fleet, place, _names(fleet, np.arange(rows.size)), plan.drift_s, span, params.faults, plan.cut_off, dark
    )
    if layout in (OBIS_ROWS, OBIS_PAIRS):
        by_pairs = layout == OBIS_PAIRS
        sent = [pushes.push_registers(sender, read, by_pairs=by_pairs, volts=True, rng=rng)]
    elif is_interval:
        values = captures.capture_intervals(fleet, true, plan, params.faults.spikes, rng)
        sent = [
            pushes.push_profiles(sender, values, daily=bool(fleet.daily[0]), rng=rng),
            pushes.push_registers(sender, captures.read_daily(fleet, read, span), by_pairs=False, volts=False, rng=rng),
        ]
    else:
        sent = [pushes.push_profiles(sender, read, daily=bool(fleet.daily[0]), rng=rng)]
    return sent, truth_intervals(fleet, true)


def _plan_of(plan: Plan, rows: I64) -> Plan:
    return Plan(
        cut_off=spells.of_rows(plan.cut_off, rows),
        stuck=spells.of_rows(plan.stuck, rows),
        test_mode=spells.of_rows(plan.test_mode, rows),
        drift_s=plan.drift_s[rows],
        rolls_over=plan.rolls_over[rows],
    )


def _names(fleet: Fleet, rows: I64) -> U8:
    octets = "".join(fleet.meters["meter_id"].gather(rows).to_list()).encode("ascii")
    return np.frombuffer(octets, dtype=np.uint8).reshape(rows.size, -1)


def _simulated(world: World, fleet: Fleet, frames: pl.DataFrame, truth: pl.DataFrame) -> Simulated:
    return Simulated(
        frames=frames,
        meters=fleet.meters,
        keys_csv=render_keys(fleet),
        tariffs_toml=render_tariffs(world.params.timezone),
        truth_intervals=truth,
        truth_outages=outages.truth_outages(world.dark, world.fleet),
    )


def _no_offsets(params: SimulatorParams) -> I64:
    return np.zeros((2, params.partitions), dtype=np.int64)
