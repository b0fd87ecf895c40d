"""Load shapes: what households, shops, factories and solar roofs draw and give, as arrays meters × intervals."""

from typing import Final, NamedTuple

import numpy as np

from simulator.columns import F64, I64
from simulator.grid import Span, local_clock
from simulator.topology import FACTORY, HOUSEHOLD_PV, SHOP
from simulator.weather import weather_at

_LATITUDE: Final = np.radians(51.0)
_SATURDAY, _SUNDAY = 6, 7
_HEADROOM: Final = 0.85
"""No honest load comes nearer to what the service carries."""
_HOUSEHOLD_SCALE: Final = np.array([0.55, 0.55, 0.9, 1.2])


class Setting(NamedTuple):
    """What all loads of a place share, per interval."""

    hour: F64  # of the wall clock, at the middle of the interval
    weekday: I64  # 1 = Monday
    heating: F64  # degrees below 15 °C
    cooling: F64  # degrees above 23 °C
    sun: F64  # share of its peak that a solar roof gives
    interval_s: int
    day: I64  # ordinal of the day, for noise that lasts


def setting_of(starts_s: I64, interval_s: int, span: Span, seed: int) -> Setting:
    """The surroundings of each interval."""
    middle = starts_s + interval_s // 2
    clock = local_clock(middle, span.timezone)
    hour = clock["second"].to_numpy() / 3600
    weather = weather_at(middle, span, seed)
    declination = np.radians(23.4) * np.sin(2 * np.pi * (clock["yearday"].to_numpy() - 81) / 365)
    turn = np.pi * (hour - 12.5) / 12
    height = np.sin(_LATITUDE) * np.sin(declination) + np.cos(_LATITUDE) * np.cos(declination) * np.cos(turn)
    return Setting(
        hour=hour,
        weekday=clock["weekday"].to_numpy().astype(np.int64),
        heating=np.maximum(15 - weather.temperature_c, 0),
        cooling=np.maximum(weather.temperature_c - 23, 0),
        sun=np.maximum(height, 0) ** 1.15 * (1 - 0.78 * weather.cloud),
        interval_s=interval_s,
        day=np.searchsorted(span.day_bounds_s, middle, side="right") - 1,
    )


def draw_power(kind: I64, limit_w: F64, setting: Setting, rng: np.random.Generator) -> tuple[F64, F64]:
    """Mean power of each meter in each interval: drawn by the load, and given by the roof (zero without one), in W."""
    load = np.empty((kind.size, setting.hour.size))
    home = kind < SHOP
    load[home] = _households(int(home.sum()), setting, rng)
    load[kind == SHOP] = _shops(limit_w[kind == SHOP], setting, rng)
    load[kind == FACTORY] = _factories(limit_w[kind == FACTORY], setting, rng)
    load *= _noise(kind.size, setting, rng)
    np.minimum(load, _HEADROOM * limit_w[:, None], out=load)
    roof = np.zeros_like(load)
    solar = np.flatnonzero(kind == HOUSEHOLD_PV)
    peak_w = np.minimum(rng.uniform(3000, 9500, solar.size), 0.6 * limit_w[solar])
    passing = np.clip(rng.normal(1.0, 0.12, (solar.size, setting.hour.size)), 0.4, 1.2)
    roof[solar] = peak_w[:, None] * setting.sun * passing
    return load, roof


def _bump(hour: F64, centre: float, width: float) -> F64:
    away = np.abs(hour - centre)
    return np.asarray(np.exp(-0.5 * (np.minimum(away, 24 - away) / width) ** 2))


def _households(count: int, at: Setting, rng: np.random.Generator) -> F64:
    resting = at.weekday >= _SATURDAY
    shapes = np.stack(
        [
            np.where(resting, 0.9 * _bump(at.hour, 9.7, 1.7), 1.1 * _bump(at.hour, 7.1, 0.9)),
            np.where(resting, 1.3, 0.6) * _bump(at.hour, 12.8, 1.7),
            2.0 * _bump(at.hour, 19.3, 1.9),
            0.9 * _bump(at.hour, 22.3, 1.6),
        ]
    )
    weights = rng.gamma(3.0, 1 / 3, (count, 4)) * _HOUSEHOLD_SCALE
    base_w = rng.uniform(60, 190, count)
    size_w = rng.lognormal(np.log(230), 0.45, count)
    heat_w = np.where(rng.random(count) < 0.15, rng.uniform(40, 120, count), 3.0)
    cool_w = np.where(rng.random(count) < 0.15, rng.uniform(50, 120, count), 2.0)
    load = base_w[:, None] + size_w[:, None] * (weights @ shapes)
    return np.asarray(load + heat_w[:, None] * at.heating + cool_w[:, None] * at.cooling)


def _shops(limit_w: F64, at: Setting, rng: np.random.Generator) -> F64:
    opens = rng.uniform(6.5, 9.5, limit_w.size)[:, None]
    closes = rng.uniform(17.5, 21.0, limit_w.size)[:, None]
    serving = 1 / (1 + np.exp(-3 * (at.hour - opens))) - 1 / (1 + np.exp(-3 * (at.hour - closes)))
    trade = np.where(at.weekday == _SUNDAY, 0.08, np.where(at.weekday == _SATURDAY, 0.8, 1.0))
    size_w = (limit_w * rng.uniform(0.06, 0.25, limit_w.size))[:, None]
    cold = 1 + 0.01 * at.heating + 0.03 * at.cooling
    return np.asarray(size_w * (0.22 + 0.78 * serving * trade) * cold)


def _factories(limit_w: F64, at: Setting, rng: np.random.Generator) -> F64:
    shifts = rng.integers(1, 4, limit_w.size)[:, None]
    from_h, to_h = 6.0, 6.0 + 8.0 * shifts
    running = 1 / (1 + np.exp(-4 * (at.hour - from_h))) - 1 / (1 + np.exp(-4 * (at.hour - to_h)))
    running = np.where(shifts == 3, 1.0, running)
    week = np.where(at.weekday < _SATURDAY, 1.0, 0.15)
    size_w = (limit_w * rng.uniform(0.2, 0.55, limit_w.size))[:, None]
    return np.asarray(size_w * (0.25 + 0.75 * running * week))


def _noise(count: int, at: Setting, rng: np.random.Generator) -> F64:
    # Three lengths of memory: a day, an hour or two, an interval. Lognormal, so no load is negative.
    days = int(at.day.max(initial=0)) + 1
    daily = rng.normal(0, 0.12, (count, days))[:, np.maximum(at.day, 0)]
    per_knot = max(5400 // at.interval_s, 1)
    knots = rng.normal(0, 0.22, (count, at.hour.size // per_knot + 2))
    place = np.arange(at.hour.size) / per_knot
    left = place.astype(np.int64)
    share = place - left
    lasting = knots[:, left] * (1 - share) + knots[:, left + 1] * share
    return np.exp(daily + lasting + rng.normal(0, 0.12, (count, at.hour.size)))
