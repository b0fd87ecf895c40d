"""How far apart the rows of a profile are: as METERS or the type say, as the push says, or as the clocks tell."""

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from ingest.blocks import Refused
from ingest.clocks import Micros
from ingest.dlms.nodes import Node
from ingest.faults import REASON_CODE
from ingest.profile_plans import Profile
from ingest.slots import Group, cut_numbers, slots_of
from ingest.spans import Flags
from schemas import timegrid
from schemas.codes import RejectReason

_SECOND_US: Final = 1_000_000
_JITTER_US: Final = 20 * _SECOND_US
"""How far from its instant a meter may capture a row; the shortest period has a minute."""


class Periods(NamedTuple):
    """Capture periods by message; of one message only where all say the same.

    `capture_s` is 0 where it cannot be known. None for nowhere: `at_odds`, the clocks go by another period; `denied`,
    the push says another than the known one.
    """

    capture_s: npt.NDArray[np.int64]
    at_odds: Flags | None
    denied: Flags | None


def periods_of(profile: Profile, group: Group, at: Micros, usable: Flags) -> Periods:
    """The capture period of each message, and what speaks against it.

    Args:
        profile: The rows. METERS and the type speak of intervals: of reads the push knows better.
        group: The messages.
        at: The clocks that are sent, by message and row.
        usable: Those that name an instant and do not call themselves invalid.
    """
    capture_s, denied = _step_s(profile, at, usable), None
    if profile.period is not None:
        said_s = _sent_s(profile.period, group)
        if profile.is_intervals and profile.interval_s is not None:
            other: Flags = (said_s > 0) & (said_s != profile.interval_s)
            denied = other if other.any() else None
        else:
            usual = np.isin(said_s, timegrid.INTERVAL_LENGTHS_S)
            capture_s = np.where(said_s > 0, np.where(usual, said_s, 0), capture_s)
    return Periods(capture_s, _at_odds(profile, at, usable, capture_s), denied)


def no_period(profile: Profile, group: Group) -> tuple[Refused, ...]:
    """Sent periods that are none, such as the 0 of rows that no clock captures: no row says them."""
    if profile.period is None:
        return ()
    message = group.message[_sent_s(profile.period, group) <= 0]
    values, reason = np.ones(len(message), np.int64), REASON_CODE[RejectReason.LAYOUT_UNKNOWN]
    return (Refused(message, reason, profile.period.at, values, "a capture period of no time"),) if len(message) else ()


def _sent_s(period: Node, group: Group) -> npt.NDArray[np.int64]:
    return cut_numbers(group.octets, slots_of([period]))[0][:, 0]


def _step_s(profile: Profile, at: Micros, usable: Flags) -> npt.NDArray[np.int64]:
    """The known capture period; else the smallest step, of which a hole is a multiple, where every row has a clock."""
    messages = len(at)
    if profile.interval_s is not None:
        return np.full(messages, profile.interval_s, np.int64)
    if at.shape[1] < max(2, len(profile.clocks)):
        return np.zeros(messages, np.int64)
    steps = np.abs(np.diff(at, axis=1))
    counted = usable[:, 1:] & usable[:, :-1] & (steps > 0)
    step_us = np.where(counted, steps, np.iinfo(np.int64).max).min(axis=1)
    whole = ((steps % step_us[:, None] == 0) | ~counted).all(axis=1)
    step_s, rest = step_us // _SECOND_US, step_us % _SECOND_US
    return np.where(whole & (rest == 0) & np.isin(step_s, timegrid.INTERVAL_LENGTHS_S), step_s, 0)


def _at_odds(profile: Profile, at: Micros, usable: Flags, capture_s: npt.NDArray[np.int64]) -> Flags | None:
    """Messages of which no step between two usable clocks is a multiple of the period that is said.

    Their intervals would overlap. One odd step says nothing: a power failure or a clock that was set makes such.
    """
    is_said = profile.interval_s is not None or profile.period is not None
    if not is_said or not profile.is_intervals or at.shape[1] < 2:
        return None
    period_us = np.maximum(capture_s, 1)[:, None] * _SECOND_US
    steps = np.abs(np.diff(at, axis=1))
    if (steps == period_us).all():
        return None
    counted = usable[:, 1:] & usable[:, :-1] & (steps > 0)
    rest = (steps + _JITTER_US) % period_us
    fits = counted & (rest <= 2 * _JITTER_US) & (steps + _JITTER_US >= period_us)
    odd: Flags = np.logical_and(counted.any(axis=1), ~fits.any(axis=1))
    return odd if odd.any() else None
