"""What the outage room says to others: one renderer a format, all pure; `render_feeds` renders files by format name."""

from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

import polars as pl

from outage.messages.cim_json import render_cim_json_lines
from outage.messages.iec61968 import render_end_device_events
from outage.messages.multispeak import Version, render_od_event_notification
from outage.messages.notices import notices_of_outages
from outage.messages.odin import render_odin
from schemas.errors import ContractError


class Feed(NamedTuple):
    """Files of all steps of all incidents, from OUTAGES: `file` with `{}` for a number where there may be several."""

    file: str
    render: Callable[[pl.DataFrame], list[bytes]]


def _cim_json(outages: pl.DataFrame) -> list[bytes]:
    return [render_cim_json_lines(outages)]


def _iec61968(outages: pl.DataFrame) -> list[bytes]:
    return list(render_end_device_events(notices_of_outages(outages)))


def _multispeak3(outages: pl.DataFrame) -> list[bytes]:
    return [render_od_event_notification(notices_of_outages(outages), Version.V3)]


def _multispeak41(outages: pl.DataFrame) -> list[bytes]:
    return [render_od_event_notification(notices_of_outages(outages), Version.V4)]


def _odin(outages: pl.DataFrame) -> list[bytes]:
    return [render_odin(outages)]


_CIM_JSON: Final = Feed("outages.jsonl", _cim_json)

FEEDS: Final[dict[str, Feed]] = {
    "cim-json": _CIM_JSON,
    "json": _CIM_JSON,
    "cim": _CIM_JSON,
    "iec61968": Feed("outages.iec61968.{}.xml", _iec61968),
    "multispeak3": Feed("outages.multispeak3.xml", _multispeak3),
    "multispeak41": Feed("outages.multispeak41.xml", _multispeak41),
    "odin": Feed("outages.odin.xml", _odin),
}
"""Formats by name; the first name of a feed is its own, others are aliases."""


def render_feeds(outages: pl.DataFrame, names: Iterable[str]) -> dict[str, bytes]:
    """File name -> content of the incidents in every format asked for; the same rows give the same bytes.

    Args:
        outages: OUTAGES.
        names: Names out of `FEEDS`.

    Raises:
        ContractError: A format is not known, or `outages` is not OUTAGES.
    """
    files: dict[str, bytes] = {}
    for name in names:
        if name not in FEEDS:
            raise ContractError(f"format {name!r}: not one of {', '.join(FEEDS)}")
        feed = FEEDS[name]
        for number, content in enumerate(feed.render(outages), 1):
            files[feed.file.format(number)] = content
    return files
