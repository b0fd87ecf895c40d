"""What is done to a book of keys: meters imported, keys renewed beside the old ones, old ones revoked, all listed.

A rotation keeps two versions valid: messages under either open until the old one is revoked. Each version has its own
invocation counters, which start again with a new key.
"""

from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from ingest.key_kinds import refuse_shared_keys
from ingest.key_rows import BROADCAST, GROUP_TITLE, KIND_NAMES, NO_KEYS, UNICAST, KeyRows, Titles, join_rows
from ingest.titles import titles_to_hex
from schemas.errors import ContractError

_LAST_VERSION: Final = 9999
_VALID_VERSIONS: Final = 2
"""Valid at once: those on either side of a rotation."""


def import_keys(book: KeyRows, new: KeyRows) -> KeyRows:
    """The book with keys of meters that it did not know, as version 1.

    Raises:
        ContractError: A system title has a key already: that is a rotation; or a key is one that the meter has or had
            as the other kind. Names the first.
    """
    again = _newest(book, new) > 0
    if again.any():
        raise ContractError(f"keys: system title {_first(new, again):016x} has a key already; rotate it")
    new = new._replace(versions=np.ones(len(new.titles), np.uint16))
    _refuse_other_kind(book, new)
    return join_rows([book, new])


def rotate_keys(book: KeyRows, new: KeyRows, *, revoking_old: bool = False) -> KeyRows:
    """The book with a newer version of these keys; the one before stays valid unless it is revoked with it.

    Raises:
        ContractError: A system title has no key yet: that is an import; two versions of it are valid already, of which
            the older would stay a key for good; the encryption key is one that it had before,
            whatever authentication key stood beside it: its counters would start again and let pass all that was
            recorded under it, of the other kind too, and one that is revoked would open again; or no version is left.
            Names the first.
    """
    newest = _newest(book, new)
    if (newest == 0).any():
        raise ContractError(f"keys: system title {_first(new, newest == 0):016x} has no key yet; import it")
    if (newest == _LAST_VERSION).any():
        full = _first(new, newest == _LAST_VERSION)
        raise ContractError(f"keys: system title {full:016x}: no version after {_LAST_VERSION}")
    known = _had(book, new)
    if known.any():
        title = _first(new, known)
        raise ContractError(f"keys: system title {title:016x} has this encryption key already; rotate to a new one")
    two = _valid(book, new) >= _VALID_VERSIONS
    if two.any() and not revoking_old:
        raise ContractError(
            f"keys: system title {_first(new, two):016x} has two valid versions already: revoke the older one first "
            "(ami keys revoke), or both with this rotation (--revoke-old)"
        )
    new = new._replace(versions=(newest + 1).astype(np.uint16))
    _refuse_other_kind(book, new)
    renewed = join_rows([book, new])
    if revoking_old:
        for kind in KIND_NAMES:
            renewed = revoke_keys(renewed, new.titles[new.kinds == _code(kind)], kind)
    return renewed


def revoke_keys(book: KeyRows, titles: Titles, kind: str, *, newest_too: bool = False) -> KeyRows:
    """The book in which the older keys of these meters are revoked: refused from now on.

    Args:
        book: The book.
        titles: System titles, each of which must have a key of that kind.
        kind: `guek` or `gbek`.
        newest_too: Revoke the newest version as well: the key is lost, and nothing of the meter opens any more.

    Raises:
        ContractError: A system title has no key of that kind. Names the first.
    """
    named = NO_KEYS._replace(titles=titles, kinds=np.full(len(titles), _code(kind), np.uint8))
    unknown = _newest(book, named) == 0
    if unknown.any():
        raise ContractError(f"keys: system title {_first(named, unknown):016x} has no key of kind {kind}")
    chosen = (book.kinds == _code(kind)) & np.isin(book.titles, titles)
    if not newest_too:
        chosen[chosen] = book.versions[chosen] < _newest(book, _rows_at(book, chosen))
    return book._replace(revoked=book.revoked | chosen)


def _newest(book: KeyRows, wanted: KeyRows) -> npt.NDArray[np.int64]:
    """The highest version that the book has of each wanted title and kind, 0 where it has none."""
    newest = np.zeros(len(wanted.titles), np.int64)
    for kind in range(len(KIND_NAMES)):
        ours, theirs = np.flatnonzero(book.kinds == kind), np.flatnonzero(wanted.kinds == kind)
        order = ours[np.lexsort((book.versions[ours], book.titles[ours]))]
        titles = book.titles[order]
        last = np.searchsorted(titles, wanted.titles[theirs], "right") - 1
        at = np.maximum(last, 0)
        known = (last >= 0) & (titles[at] == wanted.titles[theirs]) if len(titles) else np.zeros(len(theirs), np.bool_)
        newest[theirs[known]] = book.versions[order[at[known]]]
    return newest


def _valid(book: KeyRows, wanted: KeyRows) -> npt.NDArray[np.int64]:
    """How many versions that are not revoked the book has of each wanted title and kind."""
    valid = np.zeros(len(wanted.titles), np.int64)
    for kind in range(len(KIND_NAMES)):
        ours = np.sort(book.titles[(book.kinds == kind) & ~book.revoked])
        theirs = np.flatnonzero(wanted.kinds == kind)
        ends = (np.searchsorted(ours, wanted.titles[theirs], side) for side in ("right", "left"))
        valid[theirs] = np.subtract(*ends)
    return valid


def _had(book: KeyRows, new: KeyRows) -> npt.NDArray[np.bool_]:
    """Whether the book has each new encryption key under its title and kind, in whatever version."""
    ours = _rows_at(book, np.isin(book.titles, new.titles))
    both = [join_rows([each, NO_KEYS._replace(material=np.zeros((0, 64), np.uint8))]) for each in (ours, new)]
    named = [np.c_[each.titles, each.kinds, each.sizes, each.material[:, :32].copy().view(np.uint64)] for each in both]
    rows = [np.ascontiguousarray(each).view(f"V{8 * each.shape[1]}").reshape(-1) for each in named]
    return np.isin(rows[1], rows[0])


def _refuse_other_kind(book: KeyRows, new: KeyRows) -> None:
    """No new key is, or was, a key of the other kind of the same meter or the group, nor is a meter's broadcast key the
    group's or the group's a meter's: of revoked ones too messages are recorded."""
    near = np.ones(len(book.titles), np.bool_)
    if not (new.titles == GROUP_TITLE).any():
        near = np.isin(book.titles, new.titles) | (book.titles == GROUP_TITLE)
    group, of_group = new.titles == GROUP_TITLE, book.titles == GROUP_TITLE
    broadcast, own = new.kinds == BROADCAST, book.kinds == BROADCAST
    for held, added in (
        (near & (book.kinds == BROADCAST), new.kinds == UNICAST),
        (near & (book.kinds == UNICAST), broadcast),
        (own & of_group, broadcast & ~group),
        (own & ~of_group, broadcast & group),
    ):
        ours, theirs = _rows_at(book, held), _rows_at(new, added)
        if len(ours.titles) and len(theirs.titles):
            both = join_rows([ours._replace(revoked=np.zeros(len(ours.titles), np.bool_)), theirs])
            order = np.lexsort((both.kinds, both.titles))
            refuse_shared_keys(KeyRows._make(column[order] for column in both))


def _rows_at(book: KeyRows, chosen: npt.NDArray[np.bool_]) -> KeyRows:
    return KeyRows._make(column[chosen] for column in book)


def _code(kind: str) -> int:
    return KIND_NAMES.index(kind)


def _first(rows: KeyRows, flags: npt.NDArray[np.bool_]) -> int:
    return int(rows.titles[int(flags.argmax())])


def list_keys(book: KeyRows) -> pl.DataFrame:
    """`system_title`, `kind`, `version`, `status`, `octets`, `authenticates`: everything but the keys."""
    return pl.DataFrame(
        {
            "system_title": titles_to_hex(book.titles),
            "kind": pl.Series(KIND_NAMES, dtype=pl.String).gather(book.kinds),
            "version": pl.Series(book.versions.astype(np.int64)),
            "status": pl.Series(["active", "revoked"], dtype=pl.String).gather(book.revoked.astype(np.uint8)),
            "octets": pl.Series(book.sizes.astype(np.int64)),
            "authenticates": pl.Series(book.has_ak),
        }
    ).sort("system_title", "kind", "version")


def of_kind(rows: KeyRows, kind: str) -> KeyRows:
    """The same keys as unicast (`guek`) or broadcast (`gbek`) keys."""
    return rows._replace(kinds=np.full(len(rows.titles), _code(kind), np.uint8))
