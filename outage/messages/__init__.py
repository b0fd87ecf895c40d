"""What the outage room says to others: one renderer a format, all pure. `feeds` renders files by format name."""

from collections.abc import Callable, Iterable
from typing import Final

import polars as pl

from outage.messages.cim_json import render_cim_json_lines
from schemas.errors import ContractError

DEFAULT_FORMATS: Final = ("cim-json",)

_FEEDS: Final[dict[str, tuple[str, Callable[[pl.DataFrame], bytes]]]] = {
    "cim-json": ("outages.jsonl", render_cim_json_lines),
}

FORMATS: Final = tuple(_FEEDS)
"""Names that `feeds` knows."""


def feeds(outages: pl.DataFrame, formats: Iterable[str] = DEFAULT_FORMATS) -> dict[str, str]:
    """File name -> text of the incidents in every format asked for; the same rows give the same text.

    Args:
        outages: OUTAGES.
        formats: Names out of `FORMATS`.

    Raises:
        ContractError: A format is not known, or `outages` is not OUTAGES.
    """
    files: dict[str, str] = {}
    for name in formats:
        if name not in _FEEDS:
            raise ContractError(f"format {name!r}: not one of {', '.join(FORMATS)}")
        file, render = _FEEDS[name]
        files[file] = render(outages).decode()
    return files
