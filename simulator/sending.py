"""When pushes leave and arrive, and which arrive never, late, twice or out of order."""

from typing import NamedTuple

import numpy as np

from simulator.columns import I64, U8, US, Flags
from simulator.params import Faults
from simulator.spells import Spells, end_of_spell

_QUIET_AFTER_RETURN_S = 90
"""After its return a meter reports that first; pushes wait."""
_LATENCY_US = (400_000, 4_000_000)


class Outgoing(NamedTuple):
    """Messages of one kind. Rows are those of the meters at hand."""

    meter: I64
    sent_us: I64
    received_us: I64
    again_us: I64  # a second reception; -1: none
    lost: Flags
    urgent: bool  # the lane of last gasps
    bodies: list[tuple[I64, U8]]  # which messages, and their APDUs in clear (n × octets)


class Schedule(NamedTuple):
    """Pushes without their bytes."""

    meter: I64
    sent_us: I64
    received_us: I64
    again_us: I64
    lost: Flags


def schedule(
    meter: I64, due_s: I64, offset_s: I64, period_s: int, troubles: tuple[Faults, Spells, Spells], *,
    rng: np.random.Generator,
) -> Schedule:  # fmt: skip
    """Sending and reception of each push.

    Args:
        meter: Rows.
        due_s: When its last value was captured.
        offset_s: How long after that it is sent.
        period_s: Time to the next push of the meter, by which a reordered one is overtaken.
        troubles: Faults of transport, spells cut off, spells dark.
        rng: Of the chances.

    A push that is due while its meter is dark leaves after the return. Lost is what was due while cut off.
    """
    faults, cut_off, dark = troubles
    size = meter.size
    sent_s = due_s + offset_s
    quiet = Spells(dark.meter, dark.start_s, dark.end_s + _QUIET_AFTER_RETURN_S)
    for _ in range(3):
        ends = end_of_spell(quiet, meter, sent_s)
        sent_s = np.where(ends >= 0, ends + rng.integers(1, 180, size), sent_s)
    sent = sent_s * US + rng.integers(0, US, size)
    received = sent + rng.integers(*_LATENCY_US, size)
    late = rng.random(size) < faults.late
    received += np.where(late, (rng.uniform(0.1, 1.0, size) * faults.late_max_h * 3600 * US).astype(np.int64), 0)
    overtaken = rng.random(size) < faults.reordered
    received += np.where(overtaken, (period_s + rng.integers(5, 60, size)) * US, 0)
    twice = rng.random(size) < faults.duplicated
    again = np.where(twice, received + rng.integers(US, 7200 * US, size), -1)
    return Schedule(meter, sent, received, again, end_of_spell(cut_off, meter, due_s) >= 0)


def invocation_counters(outgoing: list[Outgoing], first: I64) -> list[I64]:
    """The counter of every message, lost ones too: `first` of its meter, then one more for each sent after it."""
    if not outgoing:
        return []
    meter = np.concatenate([o.meter for o in outgoing])
    order = np.lexsort((np.concatenate([o.sent_us for o in outgoing]), meter))
    ordered = meter[order]
    opens = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1])[: ordered.size])
    rank = np.arange(ordered.size) - np.repeat(opens, np.diff(np.append(opens, ordered.size)))
    counter = np.empty(ordered.size, dtype=np.int64)
    counter[order] = first[ordered] + rank
    return np.split(counter, np.cumsum([o.meter.size for o in outgoing])[:-1])
