"""Captures become pushes: which rows go together, and their bytes by layout."""

from typing import NamedTuple

import numpy as np

from simulator.captures import Capture, is_doubtful
from simulator.columns import F64, I64, U8, US, Flags
from simulator.grid import Span, clock_octets, windows
from simulator.layouts import (
    ProfileShape,
    RowsShape,
    encode_obis_pairs,
    encode_obis_rows,
    encode_profile,
)  # fmt: skip
from simulator.params import Faults
from simulator.sending import Outgoing, Schedule, schedule
from simulator.spells import Spells
from simulator.topology import CHANNELS, INTERVAL_MILLI, LAYOUTS, PROFILE_CUMULATIVE, UNIT_MILLI, Fleet

_DOUBTFUL = 0x02
"""Clock status bit 1 (Blue Book)."""
_SCALER = {1000: 0, 10_000: 1, 1: -3}
_VOLT_TENTHS = 2300
_U32_REGISTER, _U64_REGISTER = 4, 8


class Sender(NamedTuple):
    """The meters at hand and what surrounds their sending."""

    fleet: Fleet
    row: I64  # of each meter among those of the chunk
    names: U8  # meters × octets
    drift_s: F64
    span: Span
    faults: Faults
    cut_off: Spells
    dark: Spells


class _Groups(NamedTuple):
    meter: I64  # of each push
    due_s: I64
    first: I64  # of its captures among all
    captures: I64  # how many
    instant: I64  # of each capture


def push_profiles(sender: Sender, capture: Capture, *, daily: bool, rng: np.random.Generator) -> Outgoing:
    """Profile pushes, of an hour or of a day."""
    groups = _group(sender, capture, windows(capture.instants_s, sender.span, daily=daily))
    latest = 9000 if daily else 240
    offset = rng.integers(60, latest, sender.fleet.size)[groups.meter]
    plan = _scheduled(sender, groups, offset, 86_400 if daily else 3600, rng)
    clocks = _clock_tables(sender, capture)
    header = _headers(sender, plan)
    bodies: list[tuple[I64, U8]] = []
    arrives = np.flatnonzero(~plan.lost)
    for count in np.unique(groups.captures[arrives]).tolist():
        chosen = arrives[groups.captures[arrives] == count]
        for push, compressed in _by_compression(sender, capture, groups, chosen):
            meter, instant = groups.meter[push], _instants(groups, push, count)
            shape = ProfileShape(
                LAYOUTS[int(sender.fleet.layout[0])], count, sender.names.shape[1], capture.values.shape[2], compressed
            )
            body = encode_profile(
                shape,
                [header[push], sender.names[meter]],
                clocks[is_doubtful(sender.drift_s)[meter].astype(np.int64)[:, None], instant],
                capture.status[meter[:, None], instant],
                capture.values[meter[:, None], instant],
            )
            bodies.append((push, body))
    return _outgoing(sender, plan, bodies)


def push_registers(
    sender: Sender, capture: Capture, *, by_pairs: bool, volts: bool, rng: np.random.Generator
) -> Outgoing:
    """A push for every capture: flat pairs, or self-describing rows, with voltages if asked."""
    groups = _group(sender, capture, np.arange(capture.instants_s.size))
    offset = rng.integers(3, 50, sender.fleet.size)[groups.meter]
    plan = _scheduled(sender, groups, offset, 3600, rng)
    clocks = _clock_tables(sender, capture)[
        is_doubtful(sender.drift_s)[groups.meter].astype(np.int64), groups.instant[groups.first]
    ]
    values = capture.values[groups.meter, groups.instant[groups.first]]
    channels = CHANNELS[: values.shape[1]]
    arrives = ~plan.lost
    if by_pairs:
        push = np.flatnonzero(arrives)
        header = _headers(sender, plan)[push]
        body = encode_obis_pairs(channels, header, sender.names[groups.meter[push]], clocks[push], values[push])
        return _outgoing(sender, plan, [(push, body)])
    unit = int(UNIT_MILLI[sender.fleet.layout[0]])
    three = (sender.fleet.meters["phase"] == "ABC").fill_null(value=False).to_numpy()[groups.meter]
    tenths = np.round(rng.normal(_VOLT_TENTHS, 22, (groups.meter.size, 3))).astype(np.int64)
    bodies = []
    for phases, mine in ((1, ~three), (3, three)):
        push = np.flatnonzero(arrives & mine)
        shape = RowsShape(
            sender.names.shape[1],
            channels,
            phases if volts else 0,
            _U64_REGISTER if sender.fleet.layout[0] == INTERVAL_MILLI else _U32_REGISTER,
            _SCALER[unit],
        )
        names = sender.names[groups.meter[push]]
        bodies.append((push, encode_obis_rows(shape, names, clocks[push], values[push], tenths[push, :phases])))
    return _outgoing(sender, plan, bodies)


def _group(sender: Sender, capture: Capture, window: I64) -> _Groups:
    meter, instant = np.nonzero(capture.there)
    key = meter * (int(window.max(initial=0)) + 1) + window[instant]
    opens = np.append(True, key[1:] != key[:-1])[: key.size]
    first = np.flatnonzero(opens)
    count = np.diff(np.append(first, key.size))
    closes = np.zeros(int(window.max(initial=0)) + 1, dtype=np.int64)
    np.maximum.at(closes, window, capture.instants_s)
    due = np.minimum(closes[window[instant[first]]], sender.fleet.to_s[meter[first]])
    return _Groups(meter[first], due, first, count, instant)


def _scheduled(sender: Sender, groups: _Groups, offset_s: I64, period_s: int, rng: np.random.Generator) -> Schedule:
    # A meter that is taken down speaks at once, while it still can.
    leaving = (groups.due_s == sender.fleet.to_s[groups.meter]) & (groups.due_s < sender.span.end_s)
    offset_s = np.where(leaving, 2, offset_s)
    troubles = (sender.faults, sender.cut_off, sender.dark)
    return schedule(groups.meter, groups.due_s, offset_s, period_s, troubles, rng=rng)


def _outgoing(sender: Sender, plan: Schedule, bodies: list[tuple[I64, U8]]) -> Outgoing:
    return Outgoing(sender.row[plan.meter], *plan[1:], urgent=False, bodies=bodies)


def _headers(sender: Sender, plan: Schedule) -> U8:
    drift = (sender.drift_s[plan.meter] * US).astype(np.int64)
    return clock_octets(plan.sent_us + drift, sender.span.timezone)


def _clock_tables(sender: Sender, capture: Capture) -> U8:
    """Clocks of the instants, from a clock that trusts itself and from one that does not."""
    instants = capture.instants_s * US
    return np.stack([clock_octets(instants, sender.span.timezone, status) for status in (0, _DOUBTFUL)])


def _instants(groups: _Groups, push: I64, count: int) -> I64:
    return np.asarray(groups.instant[groups.first[push][:, None] + np.arange(count)])


def _by_compression(sender: Sender, capture: Capture, groups: _Groups, push: I64) -> list[tuple[I64, tuple[bool, ...]]]:
    """The pushes of one length by what they leave out: clocks that follow from the first, values that stay."""
    count = int(groups.captures[push[0]])
    meter = groups.meter[push]
    if sender.fleet.layout[0] != PROFILE_CUMULATIVE or count == 1:
        return [(push, ())]
    instant = _instants(groups, push, count)
    may = (instant[:, -1] - instant[:, 0] == count - 1) & (sender.row[meter] % 2 == 0)
    values = capture.values[meter[:, None], instant]
    still = (values == values[:, :1]).all(axis=1) & may[:, None]
    code = np.where(may, 1 + (still << np.arange(1, still.shape[1] + 1)).sum(axis=1), 0)
    found: list[tuple[I64, tuple[bool, ...]]] = []
    for kind in np.unique(code).tolist():
        mine = code == kind
        compressed: Flags = still[mine][0]
        found.append((push[mine], tuple(bool(flag) for flag in compressed) if kind else ()))
    return found
