"""Invented weather: a temperature and a cloud cover for every hour, seeded, with season, day and persistence."""

from typing import NamedTuple

import numpy as np

from simulator.columns import F64, I64, chance
from simulator.grid import Span, local_clock

_MEAN_C, _SEASON_C, _DAY_C = 9.8, 9.5, 4.0
_COLDEST_DAY = 20
_PERSISTENCE = 0.75
"""Share of yesterday's deviation that is left today."""


class Weather(NamedTuple):
    """One place's weather at given instants."""

    temperature_c: F64
    cloud: F64  # 0 clear to 1 overcast


def weather_at(instants_s: I64, span: Span, seed: int) -> Weather:
    """The weather of the run at each instant. The same instant has the same weather whatever else is asked."""
    rng = chance(seed, "weather")
    days = span.day_bounds_s.size + 1
    warmth, cover = rng.standard_normal(days), rng.standard_normal(days)
    for day in range(1, days):
        warmth[day] = _PERSISTENCE * warmth[day - 1] + 0.66 * warmth[day]
        cover[day] = 0.5 * cover[day - 1] + 0.87 * cover[day]
    at = np.interp(instants_s, span.day_bounds_s, np.arange(span.day_bounds_s.size))
    clock = local_clock(instants_s, span.timezone)
    yearday, hour = clock["yearday"].to_numpy(), clock["second"].to_numpy() / 3600
    season = -np.cos(2 * np.pi * (yearday - _COLDEST_DAY) / 365)
    temperature = (
        _MEAN_C
        + _SEASON_C * season
        + _DAY_C * np.sin(2 * np.pi * (hour - 9) / 24)
        + 3.0 * np.interp(at, np.arange(days), warmth)
    )
    return Weather(temperature, 1 / (1 + np.exp(-1.5 * np.interp(at, np.arange(days), cover))))
