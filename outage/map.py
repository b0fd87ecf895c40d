"""One night as a picture: the supply tree from above to below, time from left to right, every incident where it was."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

import polars as pl

from outage.messages.xml import Element, element, render_xml
from outage.topology import LEVELS
from schemas.codes import IncidentState, NodeKind, Scope
from schemas.frames import METERS, OUTAGES, conform

WIDTH: Final = 1180
LEFT: Final = 210
RIGHT: Final = 44
TOP: Final = 96
ROW: Final = 20
GROUP: Final = 26
MOST_ROWS: Final = 160
"""Rows beyond are summed up in a last line: a picture of a thousand rows tells nobody anything."""

_COLOUR: Final = {Scope.ZONAL: "#b3261e", Scope.STREET: "#e07a1f", Scope.INDIVIDUAL: "#3f6fb5"}
_WORD: Final = {
    Scope.ZONAL: "zonal: feeder and above",
    Scope.STREET: "street: transformer or lateral",
    Scope.INDIVIDUAL: "individual: one service point",
}


_KIND: Final = {
    NodeKind.METER: "meter",
    NodeKind.SERVICE_POINT: "point",
    NodeKind.TRANSFORMER: "transformer",
    NodeKind.LATERAL: "lateral",
    NodeKind.FEEDER: "feeder",
    NodeKind.SUBSTATION: "substation",
    NodeKind.GROUP: "group",
}


class _Bar(NamedTuple):
    """One incident on its row."""

    scope: Scope
    node: str
    kind: str
    start: datetime
    blocks: tuple[tuple[datetime, int], ...]  # when meters came back, how many
    meters: int
    end: datetime
    open: bool
    nested: bool


def render_map(outages: pl.DataFrame, meters: pl.DataFrame, title: str = "Outages") -> str:
    """The incidents of OUTAGES as SVG text; the same rows give the same text.

    A bar is an incident, on the row of its node, below its feeder. It is as full as meters are dark: each block that
    came back takes its share of the height away. A bar that runs to the right edge is not over; a dashed edge marks
    what stayed dark when its surroundings had come back. Merged and cancelled incidents are left out.

    Args:
        outages: OUTAGES, all steps.
        meters: METERS: where the nodes hang.
        title: Heading.
    """
    bars = _bars(conform(outages, OUTAGES))
    rows = _rows(bars, _feeders(conform(meters, METERS)))
    first = min((bar.start for bar in bars), default=datetime(1970, 1, 1, tzinfo=None))
    last = max((bar.end for bar in bars), default=first)
    axis = _Axis.over(first, last)
    height = TOP + sum(GROUP if label else ROW for label, _ in rows) + 40
    svg = element(
        "svg",
        element("title", text=title),
        element("desc", text=_summary(bars)),
        _style(),
        element("rect", width=str(WIDTH), height=str(height), fill="#ffffff"),
        _text(LEFT, 30, title, "title"),
        _text(LEFT, 50, _summary(bars), "note"),
        *_legend(),
        *_grid(axis, height),
        *_drawn(rows, axis),
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {WIDTH} {height}",
        width=str(WIDTH),
        height=str(height),
        role="img",
    )
    return render_xml(svg).decode()


class _Axis(NamedTuple):
    first: datetime
    last: datetime
    tick: timedelta

    @staticmethod
    def over(first: datetime, last: datetime) -> "_Axis":
        """Whole hours around the night, and ticks that leave room for their labels."""
        start = first.replace(minute=0, second=0, microsecond=0)
        end = (last + timedelta(minutes=59, seconds=59)).replace(minute=0, second=0, microsecond=0)
        end = max(end, start + timedelta(hours=1))
        hours = (end - start) / timedelta(hours=1)
        every = next((n for n in (1, 2, 3, 6, 12, 24, 48, 168) if hours / n <= 16), 720)
        return _Axis(start, end, timedelta(hours=every))

    def x(self, at: datetime) -> float:
        share = (at - self.first) / (self.last - self.first)
        return round(LEFT + share * (WIDTH - LEFT - RIGHT), 1)


def _bars(outages: pl.DataFrame) -> list[_Bar]:
    gone = [IncidentState.MERGED.value, IncidentState.CANCELLED.value]
    latest = outages["updated_at"].max()
    bars = []
    for _, steps in outages.sort("started_at", "incident_id", "step").group_by("incident_id", maintain_order=True):
        rows = steps.rows(named=True)
        if rows[-1]["state"] not in gone and isinstance(latest, datetime):
            bars.append(_bar(rows, latest))
    return bars


def _bar(rows: list[dict[str, Any]], latest: datetime) -> _Bar:
    first, last = rows[0], rows[-1]
    blocks = tuple(
        (row["restored_at"], row["meters_out"])
        for row in rows
        if row["restored_at"] is not None and row["state"] != IncidentState.CLOSED
    )
    over = last["state"] in (IncidentState.RESTORED, IncidentState.CLOSED)
    end = max((at for at, _ in blocks), default=latest) if over else max(latest, first["started_at"])
    return _Bar(
        Scope(last["scope"]),
        last["node_id"],
        last["node_kind"],
        first["started_at"],
        blocks,
        first["meters_out"],
        end,
        not over,
        last["nested_in"] is not None,
    )


def _feeders(meters: pl.DataFrame) -> dict[tuple[str, str], str]:
    """The feeder above each node, by kind and id; its substation where it has none."""
    above = pl.coalesce("feeder_id", "substation_id", pl.lit(""))
    columns = [
        (NodeKind.METER, "meter_id"),
        (NodeKind.SERVICE_POINT, "service_point_id"),
        *((level, f"{level}_id") for level in LEVELS[:-1]),
    ]
    return {
        (kind.value, node): feeder
        for kind, column in columns
        for node, feeder in meters.select(column, above=above).drop_nulls(column).unique(column).rows()
    }


def _rows(bars: list[_Bar], feeders: dict[tuple[str, str], str]) -> list[tuple[str, list[_Bar]]]:
    """Rows from above to below: a heading per feeder, then its nodes, the largest first; a row holds one node."""
    rank = {NodeKind.SUBSTATION: 0, NodeKind.FEEDER: 1, NodeKind.LATERAL: 2, NodeKind.TRANSFORMER: 3}
    placed: dict[str, dict[tuple[int, str], list[_Bar]]] = {}
    for bar in bars:
        home = feeders.get((bar.kind, bar.node), bar.node)
        placed.setdefault(home, {}).setdefault((rank.get(NodeKind(bar.kind), 4), bar.node), []).append(bar)
    rows: list[tuple[str, list[_Bar]]] = []
    for home in sorted(placed):
        rows.append((_heading(home, _bars_of(placed[home])), []))
        rows += [("", placed[home][key]) for key in sorted(placed[home])]
    if len(rows) > MOST_ROWS:
        left = sum(len(row[1]) for row in rows[MOST_ROWS:])
        rows = [*rows[:MOST_ROWS], (f"and {left} more incidents", [])]
    return rows


def _bars_of(nodes: dict[tuple[int, str], list[_Bar]]) -> list[_Bar]:
    return [bar for bars in nodes.values() for bar in bars]


def _heading(home: str, bars: list[_Bar]) -> str:
    """The feeder, and how much below it was hit."""
    meters = sum(bar.meters for bar in bars)
    return (
        f"{f'below {home}' if home else 'without a feeder'}: {_many(len(bars), 'incident')}, {_many(meters, 'meter')}"
    )


def _many(count: int, word: str) -> str:
    return f"{count:,} {word}{'' if count == 1 else 's'}"


def _drawn(rows: list[tuple[str, list[_Bar]]], axis: _Axis) -> Iterator[Element]:
    y = float(TOP)
    for label, bars in rows:
        if label:
            y += GROUP
            yield element("line", x1="16", x2=str(WIDTH - RIGHT), y1=str(y - 22), y2=str(y - 22), stroke="#d0d0d0")
            yield _text(16, y - 8, label, "feeder")
            continue
        yield _text(28, y + 14, f"{_KIND[NodeKind(bars[0].kind)]} {bars[0].node}", "node")
        for bar in bars:
            yield _drawn_bar(bar, y, axis)
        y += ROW


def _drawn_bar(bar: _Bar, y: float, axis: _Axis) -> Element:
    """A staircase: full height while all are dark, lower after each block."""
    bottom, full = y + ROW - 3, ROW - 6
    points, dark = [(axis.x(bar.start), bottom)], bar.meters
    points.append((axis.x(bar.start), bottom - full))
    for at, meters in sorted(bar.blocks):
        x = axis.x(at)
        points.append((x, points[-1][1]))
        dark = max(0, dark - meters)
        points.append((x, round(bottom - full * dark / max(bar.meters, 1), 1)))
    if bar.open:
        points.append((axis.x(bar.end), points[-1][1]))
    end = points[-1][0]
    points.append((end, bottom))
    colour = _COLOUR[bar.scope]
    shape = element(
        "polygon",
        points=" ".join(f"{x},{py}" for x, py in points),
        fill=colour,
        stroke=colour,
        **{"stroke-width": "1.5", "stroke-dasharray": "3 2" if bar.nested else None, "fill-opacity": "0.75"},
    )
    lasted = int((bar.end - bar.start).total_seconds() // 60)
    text = f"{_many(bar.meters, 'meter')} · {lasted // 60}:{lasted % 60:02} h" + (", still dark" if bar.open else "")
    # A bar that ends near the edge has its label before its end, on the bar as far as it is long enough.
    room = end + 150 < WIDTH
    label = _text(end + 4 if room else end - 6, y + 14, text, "count" if room else "count inside")
    return element("g", element("title", text=_told(bar)), shape, label)


def _told(bar: _Bar) -> str:
    ended = "still dark" if bar.open else f"restored {bar.end:%Y-%m-%d %H:%M}"
    inner = ", stayed dark when its surroundings returned" if bar.nested else ""
    return (
        f"{bar.kind} {bar.node}: {bar.scope.value}, {bar.meters} meters from {bar.start:%Y-%m-%d %H:%M}, {ended}{inner}"
    )


def _summary(bars: list[_Bar]) -> str:
    counts = ", ".join(f"{sum(bar.scope is scope for bar in bars)} {scope.value}" for scope in _COLOUR)
    still = sum(bar.open for bar in bars)
    height = "the lower a bar becomes, the fewer meters are still dark"
    return f"{_many(len(bars), 'incident')} ({counts}), {still} not over; times in UTC; {height}"


def _legend() -> Iterator[Element]:
    x = LEFT
    for scope, colour in _COLOUR.items():
        yield element("rect", x=str(x), y="62", width="14", height="10", fill=colour, **{"fill-opacity": "0.75"})
        yield _text(x + 19, 71, _WORD[scope], "note")
        x += 215
    yield element(
        "rect", x=str(x), y="62", width="14", height="10", fill="none", stroke="#555", **{"stroke-dasharray": "3 2"}
    )
    yield _text(x + 19, 71, "dashed: stayed dark when its surroundings returned", "note")


def _grid(axis: _Axis, height: int) -> Iterator[Element]:
    at = axis.first
    while at <= axis.last:
        x = str(axis.x(at))
        midnight = at.hour == 0
        yield element("line", x1=x, x2=x, y1=str(TOP), y2=str(height - 24), stroke="#bbb" if midnight else "#e6e6e6")
        yield _text(axis.x(at), TOP - 6, f"{at:%d %b %H:%M}" if midnight or at == axis.first else f"{at:%H:%M}", "tick")
        yield _text(axis.x(at), height - 10, f"{at:%H:%M}", "tick")
        at += axis.tick


def _text(x: float, y: float, text: str, kind: str) -> Element:
    return element("text", text=text, x=str(round(x, 1)), y=str(round(y, 1)), **{"class": kind})


def _style() -> Element:
    return element(
        "style",
        text="text{font-family:Helvetica,Arial,sans-serif;fill:#222}.title{font-size:17px;font-weight:bold}"
        ".note{font-size:11px;fill:#555}.feeder{font-size:12px;font-weight:bold}.node{font-size:11px}"
        ".count{font-size:10px;fill:#444}.inside{text-anchor:end;fill:#111;font-weight:bold}.tick{font-size:10px;fill:#777;text-anchor:middle}",
    )
