"""Event codes by counterparty, read from `code_tables.toml` or a table of the operator's own."""

import tomllib
from functools import cache
from importlib import resources
from typing import Final

import msgspec

from schemas.codes import EventKind
from schemas.errors import ContractError


class CodeTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Codes of one counterparty."""

    title: str
    out: dict[str, str]
    """Notice kind, with `_radio` where the radio spoke, to code. Kinds that it lacks are not sent."""
    incoming: dict[str, EventKind] = msgspec.field(name="in")

    def code(self, kind: str, *, radio: bool) -> str | None:
        """The code to send for a notice, None where the counterparty has none."""
        return self.out.get(f"{kind}_radio" if radio else kind)

    def event(self, code: str) -> EventKind:
        """What a code that came in says; `other` where the table does not know it."""
        return self.incoming.get(code.strip(), EventKind.OTHER)


DEFAULT_TABLE: Final = "cim"


def parse_tables(text: str) -> dict[str, CodeTable]:
    """Tables by counterparty.

    Raises:
        ContractError: Not TOML, an unknown key, or an event that does not exist; the text names the place.
    """
    try:
        return msgspec.convert(tomllib.loads(text), dict[str, CodeTable])
    except tomllib.TOMLDecodeError as error:
        raise ContractError(f"code tables: {error}") from error
    except msgspec.ValidationError as error:
        raise ContractError(f"code tables: {error}") from error


@cache
def built_in_tables() -> dict[str, CodeTable]:
    """The tables that come with the package."""
    return parse_tables(resources.files("outage.messages").joinpath("code_tables.toml").read_text("utf-8"))


def code_table(name: str = DEFAULT_TABLE) -> CodeTable:
    """The built-in table of that name.

    Raises:
        ContractError: There is none.
    """
    tables = built_in_tables()
    if name not in tables:
        raise ContractError(f"code table {name!r}: not one of {', '.join(tables)}")
    return tables[name]
