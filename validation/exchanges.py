"""Exchanges of meters: whether the one that left gave a final read, and the one that came an initial one (V26)."""

from typing import Final, NamedTuple

import numpy as np
import polars as pl

from schemas.codes import Channel
from schemas.frames import CHANNEL
from validation.block import ABSENT, NO_RUNS, Ints, Mask, Runs
from validation.fleet import Fleet, Group
from validation.place import CHANNEL_CODE, Layout, installation_of
from validation.reads import UNUSABLE
from validation.rules.definition import ACCUMULATED

_ACCUMULATED: Final = sorted(channel.value for channel in ACCUMULATED)


class Exchanges(NamedTuple):
    """Both ends of every installation at which meters were exchanged; instants in microseconds, ABSENT where there is
    none."""

    removed: Ints
    """(installations,): another meter followed at the service point."""
    installed: Ints
    """(installations,): another meter was there before."""
    final: Ints
    """(installations, channels): the last usable read up to the removal."""
    initial: Ints
    """(installations, channels): the first one from the installation on."""


def exchanges_of(fleet: Fleet, reads: pl.DataFrame) -> Exchanges:
    """The exchanges of a run. Check meters stand beside a meter, not in its place."""
    installs = fleet.installs
    removed, installed = (
        installs[name].to_physical().fill_null(ABSENT).to_numpy() for name in ("removed_at", "installed_at")
    )
    follows, precedes = _neighbours(installs)
    table = np.full((2, installs.height, len(CHANNEL.categories)), ABSENT)
    if not (follows | precedes).any():
        return Exchanges(np.where(follows, removed, ABSENT), np.where(precedes, installed, ABSENT), *table)
    rows = reads.filter(
        pl.col("channel").cast(pl.String).is_in(_ACCUMULATED),
        pl.col("value_milli").is_not_null(),
        (pl.col("status") & UNUSABLE) == 0,
    ).sort("read_at")
    install = installation_of(rows, fleet, "read_at")
    at, channel = rows["read_at"].to_physical().to_numpy(), rows["channel"].to_physical().to_numpy()
    before = (install >= 0) & ((removed[install] == ABSENT) | (at <= removed[install]))
    # In the order of time: of several assignments to one cell the last one stays.
    table[0][install[before], channel[before]] = at[before]
    after = np.flatnonzero((install >= 0) & (at >= installed[install]))[::-1]
    table[1][install[after], channel[after]] = at[after]
    return Exchanges(np.where(follows, removed, ABSENT), np.where(precedes, installed, ABSENT), *table)


def _neighbours(installs: pl.DataFrame) -> tuple[Mask, Mask]:
    """Whether another meter was installed at the service point later, and earlier.

    Of a meter that was there before master data began only the removal is known: it came before all others.
    """
    dates = pl.col("installed_at", "removed_at").is_not_null()
    here = (
        installs.with_row_index("install")
        .filter(pl.col("service_point_id").is_not_null(), pl.any_horizontal(dates), pl.col("check_of").is_null())
        .select("install", "meter_id", "service_point_id", since=pl.col("installed_at").to_physical().fill_null(ABSENT))
    )
    several = here.filter(pl.len().over("service_point_id") > 1)
    pairs = several.join(several, on="service_point_id", suffix="_other").filter(
        pl.col("meter_id") != pl.col("meter_id_other")
    )
    follows, precedes = np.zeros((2, installs.height), dtype=np.bool_)
    follows[pairs.filter(pl.col("since_other") > pl.col("since"))["install"].to_numpy()] = True
    precedes[pairs.filter(pl.col("since_other") < pl.col("since"))["install"].to_numpy()] = True
    return follows, precedes


def exchanges_within(run: Exchanges, channel: Channel, install: Ints, where: tuple[Group, Layout]) -> tuple[Runs, Ints]:
    """The intervals beside the exchanges of a block's rows, and how far the nearest read is, in milliseconds."""
    if channel not in ACCUMULATED:
        return NO_RUNS, NO_RUNS.row
    code, (group, layout) = CHANNEL_CODE[channel.value], where
    series = layout.of[install, code]
    parts = []
    for at, read, cut, before in (
        (run.removed, run.final, layout.parts.last.slot[series], 1),
        (run.installed, run.initial, layout.parts.first.slot[series], 0),
    ):
        at, read = at[install], read[install, code]
        row = np.flatnonzero(at != ABSENT)
        # The last interval of a meter that left, the first one of a meter that came: whole, where its part is unknown.
        slot = group.slot_at(at[row]) - 1 if before else group.slot_from(at[row])
        slot = np.where(cut[row] >= 0, cut[row], slot)
        inside = (slot >= 0) & (slot < group.slots)
        row, slot = row[inside], slot[inside]
        far = np.where(read[row] == ABSENT, ABSENT, np.abs(at[row] - read[row]) // 1000)
        parts.append((row, slot, far))
    row, slot, far = (np.concatenate(part) for part in zip(*parts, strict=True))
    return Runs(row, slot, slot + 1), far
