"""Rules that hold a series against another one: V21, V25, V31, V32, V33."""

from typing import Final

import numpy as np

from schemas.codes import Channel, Rule, Severity
from validation.block import ABSENT, Block, Mask, Runs, Samples, find_runs
from validation.rules.definition import (
    DELIVERED,
    ENERGY,
    EVERY_CHANNEL,
    Definition,
    Findings,
    Need,
    Parameter,
    Settings,
    found,
    nothing,
)

SECONDS_A_HOUR: Final = 3600
VOLTAGE: Final = frozenset({Channel.VOLTAGE_L1, Channel.VOLTAGE_L2, Channel.VOLTAGE_L3})
_REACTIVE: Final = (Channel.REACTIVE_DELIVERED, Channel.REACTIVE_RECEIVED)


def reactive_check(block: Block, settings: Settings) -> Findings:
    """V21: for hours on end active energy without reactive, reactive without active, or a power factor below 0.3."""
    parts = [block.around.siblings[channel] for channel in _REACTIVE if channel in block.around.siblings]
    if not parts:
        return nothing(unjudged=np.ones((1, 1), dtype=np.bool_))
    known = block.present & np.logical_and.reduce([part != ABSENT for part in parts])
    active = np.where(known, block.value, 0)
    reactive = np.sum([np.where(known, np.abs(part), 0) for part in parts], axis=0)
    floor = settings["floor_milli_per_hour"] * block.step_s // SECONDS_A_HOUR
    one_only = (np.maximum(active, reactive) > floor) & ((active == 0) | (reactive == 0))
    poor = (reactive > floor) & (reactive * 100 > active * settings["reactive_percent"])
    runs = find_runs(known & (one_only | poor))
    long = runs.pick(runs.length * block.step_s >= settings["hours"] * SECONDS_A_HOUR)
    return found(long, unjudged=~known.any(axis=1)[:, None])


def sibling_channels(block: Block, settings: Settings) -> Findings:  # noqa: ARG001
    """V25: the interval is absent here and present on another channel of the same meter."""
    others = [value != ABSENT for channel, value in block.around.siblings.items() if channel is not block.channel]
    unjudged = ~block.around.in_master[:, None]
    if not others:
        return nothing(unjudged=unjudged)
    alone = block.expected & ~block.present & np.logical_or.reduce(others) & block.around.in_master[:, None]
    return found(find_runs(alone), unjudged=unjudged)


def net_and_received(block: Block, settings: Settings) -> Findings:
    """V31: energy received by night from a generator, or without a record of one; and net energy, where the meter
    counts it, that is not delivered less received. Unjudged where master data are silent about a generator.
    """
    der = block.master.has_der[:, None]
    hour = (block.days.slot * block.step_s // SECONDS_A_HOUR)[None, :]
    night = (hour >= settings["night_from"]) | (hour < settings["night_to"])
    much = block.present & (block.value > settings["floor_milli_per_hour"] * block.step_s // SECONDS_A_HOUR)
    odd = much & ((der == 0) | ((der == 1) & night))
    off = np.zeros_like(odd)
    delivered = block.around.siblings.get(Channel.ENERGY_DELIVERED)
    if block.around.net.shape == block.shape and delivered is not None:
        known = block.present & (delivered != ABSENT) & (block.around.net != ABSENT)
        parts = (np.where(known, part, 0) for part in (delivered, block.value, block.around.net))
        net = next(parts) - next(parts)
        off = np.abs(next(parts) - net) > settings["net_tolerance_milli"]
    return found(find_runs(odd | off), unjudged=(der < 0) & ~off)


def voltage_range(block: Block, settings: Settings) -> Findings:
    """V32: mean voltages outside of the band around the nominal one, as intervals or as reads within the interval,
    where more than the tolerated share of the last days' means is.
    """
    nominal = block.around.volts_nominal
    if block.channel in VOLTAGE:
        row, slot = np.nonzero(block.present & (nominal != ABSENT)[:, None])
        volts = Samples(row, slot, block.value[row, slot])
        unjudged = (nominal == ABSENT)[:, None]
    else:
        volts = block.around.volts
        unjudged = np.ones((block.shape[0], 1), dtype=np.bool_)
        unjudged[volts.row] = False
    band = nominal[volts.row]
    off = (volts.value * 1000 < band * (1000 - settings["low_permille"])) | (
        volts.value * 1000 > band * (1000 + settings["high_permille"])
    )
    if not off.any():
        return nothing(unjudged=unjudged)
    days = len(block.days.first) - 1
    all_of, off_of = np.zeros((2, block.shape[0], days + 1), dtype=np.int64)
    np.add.at(all_of, (volts.row, block.days.of[volts.slot] + 1), 1)
    np.add.at(off_of, (volts.row[off], block.days.of[volts.slot[off]] + 1), 1)
    since = np.maximum(np.arange(1, days + 1) - settings["share_days"], 0)
    every, outside = (np.cumsum(one, axis=1)[:, 1:] - np.cumsum(one, axis=1)[:, since] for one in (all_of, off_of))
    many = outside * 100 > (100 - settings["share_percent"]) * every
    mask = np.zeros(block.shape, dtype=np.bool_)
    mask[volts.row[off], volts.slot[off]] = many[volts.row[off], block.days.of[volts.slot[off]]]
    runs = find_runs(mask & block.expected)
    told = block.value[runs.row, runs.start] if block.channel in VOLTAGE else ABSENT
    return found(runs, told, unjudged=unjudged)


def main_against_check(block: Block, settings: Settings) -> Findings:
    """V33: over a local day main and check meter differ by more than 1.5 times the accuracy class."""
    checked = block.around.checked[:, None]
    if not checked.any() or block.around.check.size == 1 < block.value.size:
        return nothing(unjudged=~checked)
    first = block.days.first
    both = block.present & (block.around.check != ABSENT)
    whole = np.add.reduceat((block.expected & ~both).astype(np.int64), first[:-1], axis=1) == 0
    main, check = (
        np.add.reduceat(np.where(both, value, 0), first[:-1], axis=1) for value in (block.value, block.around.check)
    )
    judged = whole & checked & np.logical_or.reduceat(block.expected, first[:-1], axis=1)
    limit = np.abs(check) * settings["permille"] * 3 // 2
    row, day = np.nonzero(judged & (np.abs(main - check) * 1000 > limit))
    unjudged: Mask = np.repeat(~judged, np.diff(first), axis=1)
    return found(Runs(row, first[day], first[day + 1]), main[row, day], check[row, day], unjudged)


SIBLING_RULES: Final = (
    Definition(
        Rule.REACTIVE_CHECK,
        Severity.WARNING,
        "V21 reactive check",
        "kWh above a floor and kvarh = 0, the reverse, or a power factor below 0.3, for n hours",
        DELIVERED,
        reactive_check,
        (Need.REACTIVE,),
        (
            Parameter("floor_milli_per_hour", 500_000, "mWh/h", "smallest quantity that counts"),
            Parameter("reactive_percent", 318, "%", "of active energy: tan(arccos 0.3)"),
            Parameter("hours", 24, "h", "shortest run that counts"),
        ),
        beside=True,
    ),
    Definition(
        Rule.SIBLING_CHANNELS,
        Severity.WARNING,
        "V25 sibling channels",
        "all channels of the device are present for the interval, or none is",
        EVERY_CHANNEL,
        sibling_channels,
        (Need.CHANNELS,),
    ),
    Definition(
        Rule.NET_AND_RECEIVED,
        Severity.WARNING,
        "V31 net and received",
        "received energy by night, or without a record of a generator; net energy (x-x:16.8.0, where the meter counts "
        "it) <> delivered - received +- tolerance",
        frozenset({Channel.ENERGY_RECEIVED}),
        net_and_received,
        (Need.DER,),
        (
            Parameter("net_tolerance_milli", 2_000, "mWh", "three values of an interval, each rounded to a Wh"),
            Parameter("floor_milli_per_hour", 100_000, "mWh/h", "received energy that passes"),
            Parameter("night_from", 22, "h", "local hour at which the night begins", (0, 24)),
            Parameter("night_to", 4, "h", "local hour at which it ends", (0, 24)),
        ),
    ),
    Definition(
        Rule.VOLTAGE_RANGE,
        Severity.INFO,
        "V32 voltage range",
        "voltage within -10 % and +10 % of the nominal one for 95 % of the means of a week (EN 50160); ANSI C84.1 by a "
        "rule set: 50 and 50 for range A, 83 and 58 for range B, with a share of 100",
        VOLTAGE | DELIVERED,
        voltage_range,
        (Need.VOLTAGE,),
        (
            Parameter("low_permille", 100, "1/1000", "of the nominal voltage, below it", (0, 1000)),
            Parameter("high_permille", 100, "1/1000", "of the nominal voltage, above it"),
            Parameter("share_percent", 95, "%", "of the means that must lie within; 100: each", (0, 100)),
            Parameter("share_days", 7, "d", "local days, the mean's own the last, whose means are counted"),
        ),
    ),
    Definition(
        Rule.MAIN_AGAINST_CHECK,
        Severity.WARNING,
        "V33 main against check meter",
        "abs(main - check) of a local day <= 1.5 x accuracy class",
        ENERGY,
        main_against_check,
        (Need.CHECK_METER,),
        (Parameter("permille", 10, "1/1000", "accuracy class: 10 is class 1"),),
        beside=True,
    ),
)
