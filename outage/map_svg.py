"""The picture of a night drawn: a curve of the meters that are dark, and a staircase for each incident."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from outage.messages.xml import Element, element, render_xml
from schemas.codes import NodeKind, Scope

WIDTH: Final = 1180
LEFT: Final = 210
RIGHT: Final = 44
CURVE_TOP: Final = 88
CURVE: Final = 64
TOP: Final = CURVE_TOP + CURVE + 34
ROW: Final = 20
GROUP: Final = 28
LABEL: Final = 190
"""Room that a label needs beside its bar."""

_COLOUR: Final = {Scope.ZONAL: "#b3261e", Scope.STREET: "#e07a1f", Scope.INDIVIDUAL: "#3f6fb5"}
_WORD: Final = {
    Scope.ZONAL: "zonal: feeder or more",
    Scope.STREET: "street: transformer, lateral",
    Scope.INDIVIDUAL: "individual: one point",
}


class Bar(NamedTuple):
    """One incident."""

    scope: Scope
    node: str
    kind: NodeKind
    start: datetime
    blocks: tuple[tuple[datetime, int], ...]  # when meters came back, how many
    meters: int
    end: datetime
    open: bool
    nested: bool
    planned: bool
    phases: str  # "" or letters


class Row(NamedTuple):
    """A heading, or a node with its incidents."""

    heading: str
    text: str
    bars: tuple[Bar, ...]


def draw(title: str, summary: str, bars: list[Bar], rows: list[Row]) -> str:
    """SVG text.

    Args:
        title: Heading.
        summary: One line below it, and what a reader of screens is told.
        bars: All incidents, for the curve.
        rows: From above to below.
    """
    first = min((bar.start for bar in bars), default=datetime(1970, 1, 1, tzinfo=None))
    axis = _Axis.over(first, max((bar.end for bar in bars), default=first))
    height = TOP + sum(GROUP if row.heading else ROW for row in rows) + 30
    svg = element(
        "svg",
        element("title", text=title),
        element("desc", text=summary),
        _style(),
        element("rect", width=str(WIDTH), height=str(height), fill="#ffffff"),
        _text(16, 28, title, "title"),
        _text(16, 48, summary, "note"),
        *_legend(),
        *_stripes(rows),
        *_grid(axis, height),
        *_curve(bars, axis),
        *_drawn(rows, axis),
        *_now(bars, axis, height),
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {WIDTH} {height}",
        width=str(WIDTH),
        height=str(height),
        role="img",
    )
    return render_xml(svg).decode()


def many(count: int, word: str) -> str:
    """The count and its word."""
    return f"{count:,} {word}{'' if count == 1 else 's'}"


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


def _curve(bars: list[Bar], axis: _Axis) -> Iterator[Element]:
    """How many meters were dark when, and the most of them."""
    changes = [(bar.start, bar.meters) for bar in bars]
    changes += [(at, -meters) for bar in bars for at, meters in bar.blocks]
    bottom, dark, most, most_at = CURVE_TOP + CURVE, 0, 0, axis.first
    levels = [(axis.first, 0)]
    for at, change in sorted(changes):
        dark = max(0, dark + change)
        levels.append((at, dark))
        most, most_at = (dark, at) if dark > most else (most, most_at)
    end = max((bar.end for bar in bars), default=axis.first)
    points, y = [(axis.x(axis.first), float(bottom))], float(bottom)
    for at, level in [*levels, (end, dark)]:
        points.append((axis.x(at), y))
        y = round(bottom - (CURVE - 14) * level / max(most, 1), 1)
        points.append((axis.x(at), y))
    points.append((points[-1][0], bottom))
    path = " ".join(f"{x},{py}" for x, py in points)
    yield element("polygon", points=path, fill="#5b6570", stroke="none", **{"fill-opacity": "0.45"})
    yield element("line", x1=str(LEFT), x2=str(WIDTH - RIGHT), y1=str(bottom), y2=str(bottom), stroke="#888")
    yield _text(16, bottom - CURVE / 2, "meters dark", "feeder")
    if most:
        edge = axis.x(most_at) + LABEL > WIDTH
        text = f"most: {many(most, 'meter')} at {most_at:%H:%M}"
        yield _text(axis.x(most_at) + (-4 if edge else 4), CURVE_TOP + 10, text, "count before" if edge else "count")


def _drawn(rows: list[Row], axis: _Axis) -> Iterator[Element]:
    y = float(TOP)
    for row in rows:
        if row.heading:
            y += GROUP
            yield element("line", x1="16", x2=str(WIDTH - RIGHT), y1=str(y - 24), y2=str(y - 24), stroke="#b8b8b8")
            yield _text(16, y - 8, f"{row.heading}: {row.text}", "feeder")
            continue
        yield _text(28, y + 14, row.text, "node" if row.bars else "feeder")
        for bar in row.bars:
            yield _drawn_bar(bar, y, axis, labelled=len(row.bars) == 1 or len({b.node for b in row.bars}) == 1)
        y += ROW


def _drawn_bar(bar: Bar, y: float, axis: _Axis, *, labelled: bool) -> Element:
    """A staircase: full height while all are dark, lower after each block."""
    bottom, full = y + ROW - 3, ROW - 6
    points, dark = [(axis.x(bar.start), bottom)], bar.meters
    points.append((axis.x(bar.start), bottom - full))
    for at, meters in sorted(bar.blocks):
        x = axis.x(at)
        points.append((x, points[-1][1]))
        dark = max(0, dark - meters)
        points.append((x, round(bottom - full * dark / max(bar.meters, 1), 1)))
    end = axis.x(bar.end) if bar.open else points[-1][0]
    if bar.open:
        # An arrow: it goes on.
        top = points[-1][1]
        points += [(end, top), (round(end + 7, 1), round((top + bottom) / 2, 1))]
    points.append((end, bottom))
    colour = _COLOUR[bar.scope]
    shape = element(
        "polygon",
        points=" ".join(f"{x},{py}" for x, py in points),
        fill=colour,
        stroke=colour,
        **{
            "stroke-width": "1.5",
            "stroke-dasharray": "3 2" if bar.nested else None,
            "fill-opacity": "0.95" if bar.open else "0.65",
        },
    )
    parts = [element("title", text=_told(bar)), shape]
    return element("g", *parts, *([_label(bar, y, axis, end + (9 if bar.open else 0))] if labelled else []))


def _label(bar: Bar, y: float, axis: _Axis, end: float) -> Element:
    """Behind the bar where there is room, else before it, else on it."""
    lasted = int((bar.end - bar.start).total_seconds() // 60)
    words = [many(bar.meters, "meter"), f"{lasted // 60}:{lasted % 60:02} h"]
    words += [f"phase {bar.phases}"] if bar.scope is not Scope.INDIVIDUAL and bar.phases not in ("", "ABC") else []
    words += ["planned work"] if bar.planned else []
    text, kind = " · ".join(words) + (", still dark" if bar.open else ""), "count open" if bar.open else "count"
    if end + LABEL < WIDTH:
        return _text(end + 4, y + 14, text, kind)
    if axis.x(bar.start) - LABEL > LEFT:
        return _text(axis.x(bar.start) - 5, y + 14, text, f"{kind} before")
    return _text(end - 12, y + 14, text, "count before inside")


def _told(bar: Bar) -> str:
    ended = "still dark" if bar.open else f"restored {bar.end:%Y-%m-%d %H:%M}"
    inner = ", stayed dark when its surroundings returned" if bar.nested else ""
    return (
        f"{bar.kind.value} {bar.node}: {bar.scope.value}, {bar.meters} meters from {bar.start:%Y-%m-%d %H:%M}, "
        f"{ended}{inner}"
    )


def _legend() -> Iterator[Element]:
    box = {"y": "62", "width": "14", "height": "10"}
    for x, (scope, colour) in zip((16, 175, 385), _COLOUR.items(), strict=True):
        yield element("rect", x=str(x), fill=colour, **box, **{"fill-opacity": "0.75"})
        yield _text(x + 19, 71, _WORD[scope], "note")
    yield element("rect", x="550", fill="none", stroke="#555", **box, **{"stroke-dasharray": "3 2"})
    yield _text(569, 71, "dashed: stayed dark when the rest came back", "note")
    yield element("polygon", points="850,62 858,62 858,67 866,67 866,72 850,72", fill="#555")
    yield _text(871, 71, "step: a part came back", "note")
    yield element("polygon", points="1030,62 1040,62 1047,67 1040,72 1030,72", fill="#555")
    yield _text(1052, 71, "still dark", "note")


def _stripes(rows: list[Row]) -> Iterator[Element]:
    """A light ground under every other row leads the eye from a name to its bar."""
    y, odd = float(TOP), False
    for row in rows:
        odd = not odd and not row.heading
        if odd:
            yield element("rect", x="16", y=str(y), width=str(WIDTH - RIGHT - 16), height=str(ROW), fill="#f4f5f7")
        y += GROUP if row.heading else ROW


def _grid(axis: _Axis, height: int) -> Iterator[Element]:
    at = axis.first
    while at <= axis.last:
        x = str(axis.x(at))
        midnight = at.hour == 0
        yield element(
            "line", x1=x, x2=x, y1=str(CURVE_TOP), y2=str(height - 24), stroke="#aaa" if midnight else "#e2e2e2"
        )
        label = f"{at:%d %b %H:%M}" if midnight or at == axis.first else f"{at:%H:%M}"
        yield _text(axis.x(at), CURVE_TOP + CURVE + 14, label, "tick")
        yield _text(axis.x(at), height - 10, f"{at:%H:%M}", "tick")
        at += axis.tick


def _now(bars: list[Bar], axis: _Axis, height: int) -> Iterator[Element]:
    """The moment of which the picture tells, where something is not over."""
    still = [bar.end for bar in bars if bar.open]
    if still:
        x = axis.x(max(still))
        line = {"x1": str(x), "x2": str(x), "y1": str(CURVE_TOP), "y2": str(height - 24)}
        yield element("line", stroke="#b3261e", **line, **{"stroke-dasharray": "2 3"})
        yield _text(x, CURVE_TOP - 3, f"as of {max(still):%H:%M}", "tick open")


def _text(x: float, y: float, text: str, kind: str) -> Element:
    return element("text", text=text, x=str(round(x, 1)), y=str(round(y, 1)), **{"class": kind})


def _style() -> Element:
    return element(
        "style",
        text="text{font-family:Helvetica,Arial,sans-serif;fill:#222}.title{font-size:17px;font-weight:bold}"
        ".note{font-size:11px;fill:#555}.feeder{font-size:12px;font-weight:bold}.node{font-size:11px}"
        ".count{font-size:10px;fill:#444}.tick{font-size:10px;fill:#777;text-anchor:middle}.before{text-anchor:end}"
        ".open{fill:#b3261e;font-weight:bold}.inside{fill:#fff;font-weight:bold}",
    )
