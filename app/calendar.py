"""The calendar file: local holidays."""

from datetime import date
from pathlib import Path

import msgspec

from app.files import read_text
from schemas.errors import ContractError


class Calendar(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Holidays as local days, `holidays = [2026-12-25, 2026-12-26]`."""

    holidays: tuple[date, ...] = ()


def load_calendar(file: Path | None) -> Calendar:
    """The calendar of a TOML file; no holidays without one.

    Raises:
        ContractError: Not TOML, an unknown setting, or not a day; names the file and the setting.
    """
    if file is None:
        return Calendar()
    try:
        return msgspec.toml.decode(read_text(file), type=Calendar)
    except msgspec.MsgspecError as error:
        raise ContractError(f"{file}: {error}") from error
