"""What meters say about outages: last gasps, power-up messages, and their own log afterwards."""

import numpy as np

from simulator.columns import F64, I64, U8, US, Flags
from simulator.grid import clock_octets
from simulator.layouts import encode_event_code, encode_event_push, encode_radio_gasp
from simulator.params import Outages
from simulator.sending import Outgoing
from simulator.spells import Spells, end_of_spell
from simulator.topology import Fleet

POWER_DOWN, POWER_UP = 1, 2
"""Codes of the generic companion standard."""
_LATENCY_US = (300_000, 2_500_000)
_SPREAD_S = 15
"""Random offset of a first gasp, so that a dark street does not speak all at once."""
_REPEAT_S = (120, 200)
_RETURN_S = (5, 45)
_LOG_AFTER_S = 8


class _Said:
    """Messages of one kind about outages: who, when sent, which instant they speak of."""

    __slots__ = ("about_s", "meter", "sent_s")

    def __init__(self, meter: I64, sent_s: F64, about_s: I64) -> None:
        self.meter, self.sent_s, self.about_s = meter, sent_s, about_s

    def those(self, chosen: Flags) -> "_Said":
        return _Said(self.meter[chosen], self.sent_s[chosen], self.about_s[chosen])


def notices(
    fleet: Fleet, names: U8, spells: tuple[Spells, Spells], clock: "MeterClock", told: Outages, rng: np.random.Generator
) -> list[Outgoing]:
    """Everything that meters send because of an outage.

    Args:
        fleet: Meters.
        names: Device names, meters × octets.
        spells: Dark, and cut off.
        clock: What the meters' clocks show.
        told: Probabilities, and how long a meter waits before it speaks.
        rng: Of the chances.

    Returns:
        Last gasps, of those with p = `heard`; power-up messages; both on the lane of last gasps. Log entries (going
        and return), on the lane of pushes.
    """
    dark, cut_off = spells
    dark = Spells(*(column[dark.end_s < fleet.to_s[dark.meter]] for column in dark))
    lasts = (dark.end_s - dark.start_s).astype(np.float64)
    declared = lasts > told.declaration_s
    capable = rng.random(fleet.size) >= told.plc_meters
    by_radio = (rng.random(fleet.size) < told.radio_meters) | ~fleet.ciphered
    heard = declared & capable[dark.meter] & (rng.random(lasts.size) < told.heard)
    repeats = rng.integers(1, told.repeats + 1, lasts.size)
    first_s = told.declaration_s + rng.random(lasts.size) * np.minimum(_SPREAD_S, lasts - told.declaration_s)
    gap_s = rng.uniform(*_REPEAT_S, lasts.size)
    returns_s = dark.end_s + rng.uniform(*_RETURN_S, lasts.size)
    heard_up = declared & (rng.random(lasts.size) < told.power_up_heard)
    logged = (rng.random(lasts.size) < told.log_sent) & (end_of_spell(cut_off, dark.meter, dark.end_s) < 0)
    going, coming = _Said(dark.meter, returns_s, dark.start_s), _Said(dark.meter, returns_s, dark.end_s)
    said: list[Outgoing] = []
    for repeat in range(told.repeats):
        after_s = first_s + repeat * gap_s
        gasp = _Said(dark.meter, dark.start_s + after_s, dark.start_s)
        speaks = heard & (repeat < repeats) & (after_s < lasts)
        said.append(_radio(gasp.those(speaks & by_radio[dark.meter]), names, clock, rng))
        said.append(_coded(gasp.those(speaks & ~by_radio[dark.meter]), POWER_DOWN, clock, rng))
    ciphered = fleet.ciphered[dark.meter]
    said.append(_coded(coming.those(heard_up & ciphered), POWER_UP, clock, rng))
    # In clear nothing but the body tells who speaks.
    said.append(_pushed(coming.those(heard_up & ~ciphered), names, clock, (POWER_UP, 0, True), rng))
    for place, (line, code) in enumerate(((going, POWER_DOWN), (coming, POWER_UP)), 1):
        said.append(_pushed(line.those(logged), names, clock, (code, place * _LOG_AFTER_S, False), rng))
    return said


class MeterClock:
    """What the clock of each meter shows: local time of the zone, so many seconds ahead."""

    __slots__ = ("drift_s", "timezone")

    def __init__(self, drift_s: F64, timezone: str) -> None:
        self.drift_s, self.timezone = drift_s, timezone

    def shows(self, meter: I64, instant_s: F64 | I64) -> U8:
        """The 12 octets that each meter shows at an instant."""
        at = np.floor((instant_s + self.drift_s[meter]) * US).astype(np.int64)
        return clock_octets(at, self.timezone)


def _radio(said: _Said, names: U8, clock: MeterClock, rng: np.random.Generator) -> Outgoing:
    return _sent(said, encode_radio_gasp(clock.shows(said.meter, said.about_s), names[said.meter]), rng, urgent=True)


def _coded(said: _Said, code: int, clock: MeterClock, rng: np.random.Generator) -> Outgoing:
    return _sent(said, encode_event_code(clock.shows(said.meter, said.about_s), code), rng, urgent=True)


def _pushed(
    said: _Said, names: U8, clock: MeterClock, kind: tuple[int, float, bool], rng: np.random.Generator
) -> Outgoing:
    code, delay_s, urgent = kind
    later = _Said(said.meter, said.sent_s + delay_s, said.about_s)
    header = clock.shows(later.meter, later.sent_s)
    body = encode_event_push(header, names[later.meter], clock.shows(later.meter, later.about_s), code)
    return _sent(later, body, rng, urgent=urgent)


def _sent(said: _Said, body: U8, rng: np.random.Generator, *, urgent: bool) -> Outgoing:
    sent = np.floor(said.sent_s * US).astype(np.int64)
    never = np.full(sent.size, -1, dtype=np.int64)
    received = sent + rng.integers(*_LATENCY_US, sent.size)
    kept = np.arange(sent.size)
    return Outgoing(said.meter, sent, received, never, np.zeros(sent.size, dtype=bool), urgent, [(kept, body)])
