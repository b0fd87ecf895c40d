"""Event codes, alarm bits and status words by companion standard, read from the TOML tables in `ingest/events`.

The same number means different things: 48 is `keys_changed` in one list and `module cover opened` in another.
"""

from importlib.resources import files
from typing import Final

import msgspec

from schemas.codes import EventKind
from schemas.errors import ContractError


class EventTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One companion standard.

    `codes`: event code -> event. `alarms`: alarm register (1, 2 ...) -> bit -> event. `status_word`: bit of the event
    status word -> event.
    """

    name: str
    codes: dict[int, EventKind] = {}
    alarms: dict[int, dict[int, EventKind]] = {}
    status_word: dict[int, EventKind] = {}


def _load() -> dict[str, EventTable]:
    tables = {}
    for entry in sorted(files("ingest.events").iterdir(), key=lambda entry: entry.name):
        if entry.name.endswith(".toml"):
            tables[entry.name.removesuffix(".toml")] = _parse(entry.read_text("utf-8"), entry.name)
    return tables


def _parse(text: str, where: str) -> EventTable:
    try:
        return msgspec.toml.decode(text, type=EventTable, strict=False)  # keys of TOML tables are always text
    except msgspec.MsgspecError as error:
        raise ContractError(f"events/{where}: {error}") from error


STANDARDS: Final[dict[str, EventTable]] = _load()
"""Companion standards by name: dsmr, generic, idis, is15959."""
