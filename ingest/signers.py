"""Public keys of meters that sign: the optional column `public_key` of a key file. They are no secret."""

import io
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import polars as pl

from ingest.dlms.signing import check_public_key
from ingest.hidden import Hidden, hidden_text, sheltered
from schemas.errors import ContractError

PUBLIC_KEY: Final = "public_key"
NO_SIGNERS: Final[Mapping[bytes, bytes]] = MappingProxyType({})


def parse_signers(text: str | Hidden) -> Mapping[bytes, bytes]:
    """Public key by system title: the rows of a key file whose `public_key` is filled; nothing where it lacks one.

    Args:
        text: A key file. `public_key` is x and y of the point in hexadecimal: 64 octets on P-256, 96 on P-384, with or
            without a leading 04.

    Raises:
        ContractError: Not a table, or a field that is no system title or no public key; names its line.
    """
    text = hidden_text(text)
    return sheltered(_signers, text)


def _signers(hidden: Hidden) -> Mapping[bytes, bytes]:
    text = hidden.reveal().decode()
    header = text.partition("\n")[0]
    if PUBLIC_KEY not in (name.strip() for name in header.split(",")):
        return NO_SIGNERS
    try:
        rows = pl.read_csv(io.BytesIO(text.encode()), infer_schema=False, null_values="")
        named = rows.select("system_title", PUBLIC_KEY).rows()
    except pl.exceptions.PolarsError as error:
        raise ContractError(f"keys: not a table with the columns system_title and {PUBLIC_KEY}") from error
    found: dict[bytes, bytes] = {}
    for line, (title, key) in enumerate(named, 2):
        if key is None:
            continue
        try:
            octets = bytes.fromhex(key)
            sender = bytes.fromhex(title or "")
            check_public_key(octets)
        except (ValueError, ContractError) as error:
            raise ContractError(f"keys: line {line}, field {PUBLIC_KEY!r}: no public key of a system title") from error
        if len(sender) != 8 or found.setdefault(sender, octets) != octets:
            raise ContractError(f"keys: line {line}, field {PUBLIC_KEY!r}: not one key of one system title of 8 octets")
    return MappingProxyType(found)
