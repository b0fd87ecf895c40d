"""What the outage room says to others: one renderer a format, all pure; `render_feeds` renders files by format name."""

from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

import polars as pl

from outage.messages.cim_json import render_cim_json_lines
from schemas.errors import ContractError


class Feed(NamedTuple):
    """A file of all steps of all incidents."""

    file: str
    render: Callable[[pl.DataFrame], bytes]


_CIM_JSON: Final = Feed("outages.jsonl", render_cim_json_lines)

FEEDS: Final[dict[str, Feed]] = {
    "cim-json": _CIM_JSON,
    "json": _CIM_JSON,
    "cim": _CIM_JSON,
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
        files[FEEDS[name].file] = FEEDS[name].render(outages)
    return files
