"""Net energy, delivered less received, as a meter counts it itself: rows of channel `other` under OBIS x-x:16.8.0.

It makes no series of its own in the contract's channels; it is held against the two that do (V31).
"""

from typing import Final

import numpy as np
import polars as pl

from schemas.codes import Channel
from schemas.frames import CHANNEL
from validation.block import ABSENT, Ints
from validation.fleet import Fleet, Group
from validation.place import CHANNEL_CODE, Layout, cells_of_rows, primary_of

NET_OBIS: Final = r"^\d+-\d+:16\.(8|29)\.0"
"""IEC 62056-6-1, electricity: C = 16 is |+A| - |-A|; D = 8 a register, D = 29 an interval of a load profile."""
_RECEIVED: Final = CHANNEL_CODE[Channel.ENERGY_RECEIVED.value]


def place_net(intervals: pl.DataFrame, fleet: Fleet, layout: Layout) -> Ints | None:
    """Net energy in the cells of received energy, the last of several rows in raw order; None where none came."""
    rows = intervals.filter(pl.col("channel") == Channel.OTHER.value)
    rows = rows.filter(pl.col("obis").str.contains(NET_OBIS)) if rows.height else rows
    if not rows.height or not len(layout.base):
        return None
    rows = rows.with_columns(channel=pl.lit(Channel.ENERGY_RECEIVED.value).cast(CHANNEL))
    rows = rows.sort("received_at", "topic", "partition", "offset", "frame")
    cell, install = cells_of_rows(rows, fleet, layout)
    kept = cell >= 0
    net = np.full(layout.cells, ABSENT, dtype=np.int64)
    net[cell[kept]] = primary_of(rows["value_milli"], install, fleet)[kept]
    return net


def net_of(net: Ints | None, channel: Channel, group: Group, install: Ints, layout: Layout) -> Ints:
    """The net energy beside a block of received energy; (1, 1) ABSENT beside any other."""
    if net is None or channel is not Channel.ENERGY_RECEIVED:
        return np.full((1, 1), ABSENT)
    first = int(layout.base[layout.of[install[0], _RECEIVED]])
    return net[first : first + len(install) * group.slots].reshape(len(install), group.slots)
