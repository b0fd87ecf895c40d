"""Invented trees and logs for the tests of the outage room."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta

import polars as pl

from schemas.frames import EVENTS, HEARD, METERS, UTC_US, conform

T0 = datetime(2026, 1, 10, 10, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
SECOND = timedelta(seconds=1)


def tree(feeders: int = 2, laterals: int = 3, transformers: int = 3, points: int = 8) -> pl.DataFrame:
    """METERS of one substation; meter `M<feeder><lateral><transformer>-<point>` hangs where its name says."""
    rows = []
    for f in range(feeders):
        for lateral in range(laterals):
            for t in range(transformers):
                for p in range(points):
                    name = f"{f}{lateral}{t}"
                    rows.append(
                        {
                            "meter_id": f"M{name}-{p:03d}",
                            "service_point_id": f"SP{name}-{p:03d}",
                            "transformer_id": f"T{name}",
                            "lateral_id": f"L{f}{lateral}",
                            "feeder_id": f"F{f}",
                            "substation_id": "S0",
                            "phase": "ABC"[p % 3],
                        }
                    )
    return conform(pl.DataFrame(rows), METERS)


def below(meters: pl.DataFrame, node: str) -> list[str]:
    """Names of the meters below a node, in order."""
    column = {"T": "transformer_id", "L": "lateral_id", "F": "feeder_id", "S": "substation_id"}[node[0]]
    return meters.filter(pl.col(column) == node)["meter_id"].to_list()


def told(
    meters: Sequence[str],
    event: str,
    at: datetime,
    *,
    sequence: int | None = None,
    authenticated: bool = True,
    delay: timedelta = 5 * SECOND,
    origin: str = "meter",
    spread_s: int = 7,
) -> pl.DataFrame:
    """One event per meter, some seconds apart, received `delay` later."""
    occurred = [at + timedelta(seconds=i % spread_s) for i in range(len(meters))]
    rows = pl.DataFrame(
        {
            "topic": ["log"] * len(meters),
            "partition": [0] * len(meters),
            "offset": list(range(len(meters))),
            "frame": [0] * len(meters),
            "received_at": [moment + delay for moment in occurred],
            "meter_id": list(meters),
            "event": [event] * len(meters),
            "code": [1] * len(meters),
            "origin": [origin] * len(meters),
            "occurred_at": occurred,
            "sequence": [sequence] * len(meters),
            "authenticated": [authenticated] * len(meters),
        },
        schema_overrides={"received_at": UTC_US, "occurred_at": UTC_US, "sequence": pl.Int64},
    )
    return conform(rows, EVENTS)


def log(*parts: pl.DataFrame) -> pl.DataFrame:
    """The events together."""
    return pl.concat(parts) if parts else EVENTS.empty()


def life(meters: Iterable[str], *moments: datetime) -> pl.DataFrame:
    """A read of every meter at every moment."""
    names = list(meters)
    rows = {"meter_id": names * len(moments), "read_at": [m for m in moments for _ in names]}
    return conform(pl.DataFrame(rows, schema=HEARD.schema), HEARD)


def alive(meters: pl.DataFrame, besides: Iterable[str], *moments: datetime) -> pl.DataFrame:
    """A read of every meter but the dark ones."""
    dark = set(besides)
    return life([name for name in meters["meter_id"] if name not in dark], *moments)


def last_steps(outages: pl.DataFrame) -> pl.DataFrame:
    """The state of every incident: its last step."""
    return outages.sort("step").group_by("incident_id", maintain_order=True).last().sort("started_at", "node_id")
