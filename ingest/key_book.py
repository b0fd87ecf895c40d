"""What is done to a book of keys: meters imported, keys renewed beside the old ones, old ones revoked, all listed.

A rotation keeps two versions valid: messages under either open until the old one is revoked. Each version has its own
invocation counters, which start again with a new key.
"""

from typing import Final, TypeAlias

import numpy as np
import polars as pl

from ingest.key_rows import KIND_NAMES, KeyRows, join_rows
from ingest.titles import titles_to_hex
from schemas.errors import ContractError

_LAST_VERSION: Final = 9999
_Holder: TypeAlias = tuple[int, int]
"""System title and kind."""


def import_keys(book: KeyRows, new: KeyRows) -> KeyRows:
    """The book with keys of meters that it did not know, as version 1.

    Raises:
        ContractError: A system title has a key already: that is a rotation. Names the first.
    """
    known = set(_holders(book))
    again = [holder for holder in _holders(new) if holder in known]
    if again:
        raise ContractError(f"keys: system title {again[0][0]:016x} has a key already; rotate it")
    return join_rows([book, new._replace(versions=np.ones(len(new.titles), np.uint16))])


def rotate_keys(book: KeyRows, new: KeyRows, *, revoking_old: bool = False) -> KeyRows:
    """The book with a newer version of these keys; the older ones stay valid unless they are revoked with it.

    Raises:
        ContractError: A system title has no key yet: that is an import; or no version is left. Names the first.
    """
    newest = newest_versions(book)
    versions = np.zeros(len(new.titles), np.uint16)
    for row, holder in enumerate(_holders(new)):
        if holder not in newest:
            raise ContractError(f"keys: system title {holder[0]:016x} has no key yet; import it")
        if newest[holder] == _LAST_VERSION:
            raise ContractError(f"keys: system title {holder[0]:016x}: no version after {_LAST_VERSION}")
        versions[row] = newest[holder] + 1
    old = revoke_keys(book, set(_holders(new))) if revoking_old else book
    return join_rows([old, new._replace(versions=versions)])


def revoke_keys(book: KeyRows, holders: set[_Holder], versions_below: int = _LAST_VERSION + 1) -> KeyRows:
    """The book in which all keys of these holders below a version are revoked: refused from now on."""
    named = np.array([holder in holders for holder in _holders(book)], np.bool_)
    return book._replace(revoked=book.revoked | (named & (book.versions < versions_below)))


def newest_versions(book: KeyRows) -> dict[_Holder, int]:
    """The highest version of each holder."""
    newest: dict[_Holder, int] = {}
    for holder, version in zip(_holders(book), book.versions.tolist(), strict=True):
        newest[holder] = max(version, newest.get(holder, 0))
    return newest


def list_keys(book: KeyRows) -> pl.DataFrame:
    """`system_title`, `kind`, `version`, `status`, `octets`, `authenticates`: everything but the keys."""
    return pl.DataFrame(
        {
            "system_title": titles_to_hex(book.titles),
            "kind": pl.Series([KIND_NAMES[kind] for kind in book.kinds.tolist()], dtype=pl.String),
            "version": pl.Series(book.versions.astype(np.int64)),
            "status": pl.Series(np.where(book.revoked, "revoked", "active").tolist(), dtype=pl.String),
            "octets": pl.Series(book.sizes.astype(np.int64)),
            "authenticates": pl.Series(book.has_ak),
        }
    ).sort("system_title", "kind", "version")


def of_kind(rows: KeyRows, kind: str) -> KeyRows:
    """The same keys as unicast (`guek`) or broadcast (`gbek`) keys."""
    return rows._replace(kinds=np.full(len(rows.titles), KIND_NAMES.index(kind), np.uint8))


def _holders(rows: KeyRows) -> list[_Holder]:
    return list(zip(rows.titles.tolist(), rows.kinds.tolist(), strict=True))
