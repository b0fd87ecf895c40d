"""A meter's day before and after VEE, drawn as SVG: what arrived above, what was judged below."""

from datetime import datetime
from typing import Final

import polars as pl

from schemas.codes import Quality

WIDTH: Final = 960
PANEL: Final = 180
LEFT: Final = 60
COLOURS: Final = {
    Quality.VALID: "#4477aa",
    Quality.ESTIMATED: "#ee9933",
    Quality.EDITED: "#aa3377",
    Quality.SUSPECT: "#cc3311",
    Quality.MISSING: "#bbbbbb",
    Quality.OUTAGE: "#222222",
}


def busiest_day(finals: pl.DataFrame) -> tuple[str, str, datetime] | None:
    """The (meter, channel, UTC midnight) whose day needed the most kinds of treatment, then the most intervals.

    Args:
        finals: FINALS, one version per interval.

    Returns:
        None where no interval was treated. Ties go to the first by meter, channel, day.
    """
    days = (
        finals.filter(pl.col("quality").cast(pl.String) != Quality.VALID.value)
        .group_by("meter_id", pl.col("channel").cast(pl.String), day=pl.col("interval_start").dt.truncate("1d"))
        .agg(kinds=pl.col("quality").n_unique(), treated=pl.len())
        .filter(pl.col("treated") < 60)
        .sort(["kinds", "treated", "meter_id", "channel", "day"], descending=[True, True, False, False, False])
    )
    if days.is_empty():
        return None
    meter_id, channel, day = days.row(0)[:3]
    return meter_id, channel, day


def draw_day(received: pl.DataFrame, finals: pl.DataFrame, title: str) -> str:
    """The picture as SVG text.

    Args:
        received: `interval_start`, `value_milli` as they came, one row per interval that arrived, of one meter, channel
            and day, in primary quantities.
        finals: FINALS of the same meter, channel and day, every expected interval.
        title: The headline.
    """
    grid = finals.sort("interval_start")
    starts = grid["interval_start"].to_list()
    came = dict(zip(received["interval_start"].to_list(), received["value_milli"].to_list(), strict=True))
    judged = grid["value_milli"].to_list()
    kinds = [Quality(kind) for kind in grid["quality"].cast(pl.String).to_list()]
    top = max([value for value in judged if value is not None] or [1]) or 1
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {2 * PANEL + 150}" font-family="sans-serif">',
        f'<rect width="{WIDTH}" height="{2 * PANEL + 150}" fill="white"/>',
        f'<text x="{LEFT}" y="24" font-size="16">{_escape(title)}</text>',
        *_panel(40, "as received", top, [(came.get(at), COLOURS[Quality.VALID]) for at in starts]),
        *_panel(70 + PANEL, "after VEE", top, [(v, COLOURS[k]) for v, k in zip(judged, kinds, strict=True)]),
        *_hours(starts, 84 + 2 * PANEL),
        *_legend(kinds, 120 + 2 * PANEL),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _panel(y: int, name: str, top: int, bars: list[tuple[int | None, str]]) -> list[str]:
    step = (WIDTH - LEFT - 20) / max(len(bars), 1)
    parts = [
        f'<text x="{LEFT}" y="{y + 12}" font-size="12" fill="#555">{name}; scale {top / 1e6:.3f} kWh</text>',
        f'<line x1="{LEFT}" x2="{WIDTH - 20}" y1="{y + PANEL}" y2="{y + PANEL}" stroke="#888"/>',
    ]
    for slot, (value, colour) in enumerate(bars):
        x = LEFT + slot * step
        if value is None:
            parts.append(f'<rect x="{x:.1f}" y="{y + 20}" width="{step:.1f}" height="{PANEL - 20}" fill="#f4dddd"/>')
            continue
        height = min(max(value, 0) / top, 1.0) * (PANEL - 24)
        mark = max(height, 1.5)
        parts.append(
            f'<rect x="{x + 0.5:.1f}" y="{y + PANEL - mark:.1f}" width="{max(step - 1, 1):.1f}" height="{mark:.1f}" '
            f'fill="{colour}"/>'
        )
        if value > top:
            parts.append(
                f'<text x="{x:.1f}" y="{y + 20}" font-size="9" fill="#cc3311">&#9650; {value / 1e6:.0f}</text>'
            )
    return parts


def _hours(starts: list[datetime], y: int) -> list[str]:
    step = (WIDTH - LEFT - 20) / max(len(starts), 1)
    return [
        f'<text x="{LEFT + slot * step:.1f}" y="{y}" font-size="10" fill="#555">{at:%H:%M}</text>'
        for slot, at in enumerate(starts)
        if at.minute == 0 and at.hour % 3 == 0
    ]


def _legend(kinds: list[Quality], y: int) -> list[str]:
    parts: list[str] = []
    for place, kind in enumerate(kind for kind in Quality if kind in kinds):
        x = LEFT + place * 130
        parts.append(f'<rect x="{x}" y="{y - 10}" width="12" height="12" fill="{COLOURS[kind]}"/>')
        parts.append(f'<text x="{x + 18}" y="{y}" font-size="12">{kind.value} ({kinds.count(kind)})</text>')
    x = LEFT + 6 * 130
    parts.append(f'<rect x="{x}" y="{y - 10}" width="12" height="12" fill="#f4dddd"/>')
    parts.append(f'<text x="{x + 18}" y="{y}" font-size="12">nothing arrived</text>')
    return parts


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;")
