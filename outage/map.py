"""One night as a picture: the supply tree from above to below, time from left to right, every incident where it was."""

from datetime import UTC, datetime
from typing import Any, Final

import polars as pl

from outage.map_svg import Bar, Row, draw, many
from outage.topology import LEVELS
from schemas.codes import IncidentState, NodeKind, Scope
from schemas.frames import METERS, OUTAGES, conform

MOST_ROWS: Final = 160
"""A picture of a thousand rows tells nobody anything: beyond, the single points of a feeder share a row, and then the
feeders that were hit least are summed up in a last line."""

_RANK: Final = {NodeKind.SUBSTATION: 0, NodeKind.FEEDER: 1, NodeKind.LATERAL: 2, NodeKind.TRANSFORMER: 3}


def render_map(outages: pl.DataFrame, meters: pl.DataFrame, title: str = "Outages") -> str:
    """The incidents of OUTAGES as SVG text; the same rows give the same text.

    Above, how many meters were dark when. Below, a bar for each incident on the row of its node; feeders stand in the
    order of the meters that were hit, each with its nodes from the largest to the smallest. A bar is as full as meters
    are dark: each block that came back takes its share of the height away. A bar with an arrow is not over; a dashed
    edge marks what stayed dark when its surroundings had come back. Merged and cancelled incidents are left out.

    Args:
        outages: OUTAGES, all steps.
        meters: METERS: where the nodes hang.
        title: Heading.
    """
    told = conform(outages, OUTAGES)
    bars = _bars(told)
    return draw(title, _summary(bars), bars, _rows(bars, _homes(conform(meters, METERS))))


def _bars(outages: pl.DataFrame) -> list[Bar]:
    gone = [IncidentState.MERGED.value, IncidentState.CANCELLED.value]
    latest = outages["updated_at"].max()
    bars = []
    for _, steps in outages.sort("started_at", "incident_id", "step").group_by("incident_id", maintain_order=True):
        rows = steps.rows(named=True)
        if rows[-1]["state"] not in gone and isinstance(latest, datetime):
            bars.append(_bar(rows, latest))
    return bars


def _bar(rows: list[dict[str, Any]], latest: datetime) -> Bar:
    first, last = rows[0], rows[-1]
    blocks = tuple(
        (row["restored_at"], row["meters_out"])
        for row in rows
        if row["restored_at"] is not None and row["state"] != IncidentState.CLOSED
    )
    over = last["state"] in (IncidentState.RESTORED, IncidentState.CLOSED)
    end = max((at for at, _ in blocks), default=latest) if over else max(latest, first["started_at"])
    return Bar(
        scope=Scope(last["scope"]),
        node=last["node_id"],
        kind=NodeKind(last["node_kind"]),
        start=first["started_at"],
        blocks=blocks,
        meters=first["meters_out"],
        end=end,
        open=not over,
        nested=last["nested_in"] is not None,
        planned=bool(last["planned"]),
        phases=last["phases"] or "",
    )


def _homes(meters: pl.DataFrame) -> dict[tuple[str, str], str]:
    """What stands above each node, by kind and id: its feeder and that one's substation, as far as they are known."""
    feeder = pl.format("feeder {}", "feeder_id")
    substation = pl.format("substation {}", "substation_id")
    both = pl.when(pl.col("substation_id").is_null()).then(feeder).otherwise(pl.format("{}, {}", feeder, substation))
    above = pl.when(pl.col("feeder_id").is_not_null()).then(both).otherwise(substation).fill_null("")
    columns = [
        (NodeKind.METER, "meter_id"),
        (NodeKind.SERVICE_POINT, "service_point_id"),
        *((level, f"{level}_id") for level in LEVELS[:-1]),
    ]
    homes = {
        (kind.value, node): home
        for kind, column in columns
        for node, home in meters.select(column, above=above).drop_nulls(column).unique(column).rows()
    }
    names = meters["substation_id"].drop_nulls().unique().to_list()
    return homes | {(NodeKind.SUBSTATION.value, name): f"substation {name}" for name in names}


def _rows(bars: list[Bar], homes: dict[tuple[str, str], str]) -> list[Row]:
    """A heading per feeder, then its nodes, the largest first; one to a row, or all its single points on one."""
    placed: dict[str, list[Bar]] = {}
    for bar in bars:
        placed.setdefault(homes.get((bar.kind.value, bar.node), ""), []).append(bar)
    order = sorted(placed, key=lambda home: (-sum(bar.meters for bar in placed[home]), home))
    groups = [_group(home, placed[home], together=False) for home in order]
    if sum(map(len, groups)) > MOST_ROWS:
        groups = [_group(home, placed[home], together=True) for home in order]
    rows = [row for group in groups for row in group]
    if len(rows) <= MOST_ROWS:
        return rows
    # A heading is not the last row: nothing would stand below it.
    shown = rows[: MOST_ROWS if rows[MOST_ROWS - 1].bars else MOST_ROWS - 1]
    left = [bar for row in rows[len(shown) :] for bar in row.bars]
    hit = many(sum(bar.meters for bar in left), "meter")
    return [*shown, Row("", f"and {many(len(left), 'more incident')}, {hit}", ())]


def _group(home: str, bars: list[Bar], *, together: bool) -> list[Row]:
    """The rows of one feeder. `together`: its single points on one."""
    heading = f"{home[:1].upper()}{home[1:]}" if home else "Without a feeder"
    hit = many(sum(bar.meters for bar in bars), "meter")
    nodes: dict[tuple[int, str, str], list[Bar]] = {}
    for bar in bars:
        rank = _RANK.get(bar.kind, len(_RANK))
        shared = together and rank == len(_RANK)
        nodes.setdefault((rank, "" if shared else bar.node, "" if shared else bar.kind.value), []).append(bar)
    rows = [Row(heading, f"{many(len(bars), 'incident')}, {hit}", ())]
    for (_, node, kind), told in sorted(nodes.items()):
        name = f"{kind.replace('service_', '')} {node}" if node else many(len(told), "single point")
        rows.append(Row("", name, tuple(told)))
    return rows


def _summary(bars: list[Bar]) -> str:
    counts = ", ".join(f"{sum(bar.scope is scope for bar in bars)} {scope.value}" for scope in reversed(Scope))
    still = [bar for bar in bars if bar.open]
    dark = f"{many(len(still), 'incident')} not over" if still else "all over"
    as_of = f" at {max(bar.end for bar in still).astimezone(UTC):%H:%M}" if still else ""
    return f"{many(len(bars), 'incident')} ({counts}), {dark}{as_of}; times in UTC"
