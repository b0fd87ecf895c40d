"""The last line of a book of keys: how many keys stand above it, and a MAC of all that does.

Keys are wrapped one by one, so each proves itself and nothing proves the book: lines could be lost, repeated, given
another title or brought back to life. `end,COUNT,MAC` holds them together; the MAC is HMAC-SHA256 in hexadecimal of
every byte above, under a key that is derived from the key-encrypting key and wraps nothing. An older book, sealed when
it was new, is a sealed book: who puts it back is not noticed here.
"""

import hmac
from hashlib import sha256
from typing import Final, NamedTuple

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from ingest.hidden import Kek, hidden
from schemas.errors import ContractError

_FIRST_FIELD: Final = b"end,"
_PURPOSE: Final = b"ami book of keys: seal"
_UNSEALED: Final = (
    "keys: the book has no seal, so lines may be missing: check how many keys it should hold, then `ami keys seal`"
)
_ALTERED: Final = "keys: the book is not as it was sealed: lines were lost or altered, or under another KEK"


class Parted(NamedTuple):
    """The lines of a part of a book, and its seal where it ends with one."""

    lines: bytes
    seal: bytes


def without_seal(part: bytes) -> Parted:
    """A part of whole lines, taken apart."""
    at = part.rfind(b"\n", 0, max(len(part) - 1, 0)) + 1
    return Parted(part[:at], part[at:]) if part.startswith(_FIRST_FIELD, at) else Parted(part, b"")


def count_of(seal: bytes) -> int:
    """How many keys a seal speaks of; -1 where it is none."""
    fields = seal.rstrip(b"\n").split(b",")
    return int(fields[1]) if len(fields) == 3 and fields[1].isdigit() and len(fields[1]) < 12 else -1


class BookSeal:
    """The seal of the lines that were added. Shows no key."""

    __slots__ = ("_lines", "_mac")

    def __init__(self, kek: Kek) -> None:
        derivation = HKDF(SHA256(), length=32, salt=None, info=_PURPOSE)
        self._mac = hmac.new(derivation.derive(hidden(kek).reveal()), digestmod=sha256)
        self._lines = 0

    def __repr__(self) -> str:
        return f"BookSeal({self._lines} lines)"

    def add(self, lines: bytes) -> None:
        """What the book holds, in its order, the header first, in parts of any size."""
        self._mac.update(lines)
        self._lines += lines.count(b"\n")

    def line(self) -> bytes:
        """The last line of the book."""
        return b"%s%d,%s\n" % (_FIRST_FIELD, self._lines - 1, self._mac.hexdigest().encode())

    def check(self, seal: bytes) -> None:
        """Raise where a seal is not that of the lines.

        Raises:
            ContractError: There is none, or lines were lost or altered; says how many.
        """
        if not seal:
            raise ContractError(_UNSEALED)
        if not hmac.compare_digest(seal, self.line()):
            told, found = count_of(seal), self._lines - 1
            counted = f" (sealed with {told} keys, holds {found})" if 0 <= told != found else ""
            raise ContractError(_ALTERED + counted)
