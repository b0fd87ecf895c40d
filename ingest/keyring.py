"""Meter keys in memory, packed: a row of numbers a key, found by system title, never shown.

No object of this file prints a key, and no function keeps one in a local variable while it may raise: a traceback
that shows locals shows key ids.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple, Self, TypeAlias, cast

import numpy as np
import numpy.typing as npt

from ingest.ciphers import Cipher, Ciphers
from ingest.hidden import Hidden, hidden_text
from ingest.key_files import parse_clear
from ingest.key_kinds import refuse_shared_keys
from ingest.key_names import GROUP_FAMILY, OWN_FAMILY
from ingest.key_rows import BROADCAST, GROUP_TITLE, KIND_NAMES, MASTER, UNICAST, KeyRows, Octets, Titles
from ingest.lookup import Lookup
from ingest.signers import NO_SIGNERS, parse_signers
from schemas.errors import ContractError

Rows: TypeAlias = npt.NDArray[np.int32]
Places: TypeAlias = npt.NDArray[np.int64]
_FAMILIES: Final = (KIND_NAMES[UNICAST], OWN_FAMILY, KIND_NAMES[MASTER], GROUP_FAMILY)
"""What the names of keys begin with, by kind; the last: the group's broadcast keys, whose counters are not those of a
meter's own ones."""
_OF_GROUP: Final = len(_FAMILIES) - 1


class Keys:
    """One key pair as a meter uses it. `repr` and `str` show its name alone."""

    __slots__ = ("ak", "ek", "key_id", "revoked")

    def __init__(self, ek: bytes, ak: bytes | None, key_id: str, *, revoked: bool = False) -> None:
        self.ek = ek
        self.ak = ak
        self.key_id = key_id
        self.revoked = revoked

    def __repr__(self) -> str:
        return f"Keys({self.key_id})"

    def __reduce__(self) -> str:
        raise ContractError("a key is not pickled: it stays in this process")


class Candidates(NamedTuple):
    """Rows of the keys that may have protected each message, newest first: `size` of them from `first` on, then
    `other_size` from `other` on."""

    first: Places
    size: Places
    other: Places
    other_size: Places

    def take(self, messages: Places) -> "Candidates":
        return Candidates._make(column[messages] for column in self)

    def number(self) -> Places:
        """How many each message has."""
        return self.size + self.other_size

    def rows(self, messages: Places, step: int) -> Places:
        """The row of the key of that number (from 0) of these messages, which have so many."""
        near = self.first[messages] + step
        if not self.other_size.any():
            return near
        size = self.size[messages]
        return np.where(step < size, near, self.other[messages] + step - size)


class _Spans(NamedTuple):
    """Where the keys of each title stand: unicast keys first, then broadcast keys, then master keys."""

    by_title: Lookup
    first: npt.NDArray[np.int32]
    split: npt.NDArray[np.int32]  # first broadcast key
    stop: npt.NDArray[np.int32]  # first master key
    end: npt.NDArray[np.int32]

    @classmethod
    def of(cls, titles: Titles, kinds: Octets) -> "_Spans":
        first = np.zeros(0, np.int32)
        if len(titles):
            first = np.flatnonzero(np.r_[True, titles[1:] != titles[:-1]]).astype(np.int32)
        end = np.append(first[1:], np.int32(len(titles))) if len(titles) else first
        stop = end - _counted(kinds == MASTER, first, end)
        split = stop - _counted(kinds == BROADCAST, first, end)
        return cls(Lookup.of(titles[first]), first, split, stop, end)

    def of_kind(self, titles: Titles, broadcast: npt.NDArray[np.bool_]) -> tuple[npt.NDArray[np.int64], ...]:
        """First row and number of rows of each title's keys of that kind."""
        if not len(self.first):
            return np.zeros(len(titles), np.int64), np.zeros(len(titles), np.int64)
        found = self.by_title.find(titles)
        begin = np.where(broadcast, self.split[found], self.first[found]).astype(np.int64)
        after = np.where(broadcast, self.stop[found], self.split[found])
        return begin, np.where(found >= 0, after - begin, 0)


def _counted(flags: npt.NDArray[np.bool_], first: Rows, end: Rows) -> Rows:
    """How many of the flags are set in each [first, end)."""
    if not flags.any():
        return np.zeros(len(first), np.int32)
    before = np.concatenate([[0], np.cumsum(flags, dtype=np.int32)]).astype(np.int32)
    return before[end] - before[first]


class Keyring:
    """Keys by (system title, kind), newest version first.

    A 16-byte pair takes 84 bytes, its index included; loading ten million meters takes 1.2 GB at most, the
    interpreter included (`benchmarks/keys.py`).

    Rows that would let a recorded message pass are refused with a `ContractError`: two keys of one kind and version,
    and one key of both kinds.
    """

    __slots__ = (
        "_ciphers",
        "_has_ak",
        "_kinds",
        "_material",
        "_revoked",
        "_row",
        "_spans",
        "_titles",
        "_versions",
        "_wide",
        "signers",
    )

    def __init__(self, rows: KeyRows, signers: Mapping[bytes, bytes] = NO_SIGNERS) -> None:
        self.signers = signers
        self._ciphers = Ciphers()
        self._titles = rows.titles  # a ring that is refused can tell its size
        half = rows.material.shape[1] // 2
        if half not in (16, 32) or len(rows.material) != len(rows.titles):
            raise ContractError("key rows: material must be 32 or 64 octets a row, one row a key")
        if not _is_sorted(rows):
            order = np.lexsort((np.uint16(0xFFFF) - rows.versions, rows.kinds, rows.titles))
            rows = KeyRows._make(column[order] for column in rows)
        refuse_shared_keys(rows)
        self._titles, self._kinds, self._versions = rows.titles, rows.kinds, rows.versions
        self._revoked, self._has_ak = rows.revoked, rows.has_ak
        wide = rows.sizes == 32
        columns = np.r_[0:16, half : half + 16]
        self._material = rows.material if half == 16 else rows.material[~wide][:, columns]
        self._wide = rows.material[wide] if half == 32 else np.empty((0, 64), np.uint8)
        narrow_row = np.cumsum(~wide, dtype=np.int32) - np.int32(1)
        self._row = np.where(wide, -np.cumsum(wide, dtype=np.int32), narrow_row) if wide.any() else narrow_row
        _refuse_twins(self._titles, self._kinds, self._versions)
        self._spans = _Spans.of(self._titles, self._kinds)

    @classmethod
    def empty(cls) -> Self:
        """A ring without keys: every ciphered message is `key_unknown`."""
        none = np.zeros(0, np.uint8)
        flags = np.zeros(0, np.bool_)
        return cls(
            KeyRows(
                np.zeros(0, np.uint64), none, np.zeros(0, np.uint16), flags, flags, none, np.zeros((0, 32), np.uint8)
            )
        )

    @classmethod
    def from_csv(cls, text: str | Hidden) -> Self:
        """The keys of a `KEYS.csv` in clear: development only, `ingest.key_files` keeps them wrapped.

        Raises:
            ContractError: Not such a file; names the line and the field, never their content.
        """
        text = hidden_text(text)
        return cls(parse_clear(text), parse_signers(text))

    def __len__(self) -> int:
        return len(self._titles)

    def __repr__(self) -> str:
        return f"Keyring({len(self)} keys of {len(np.unique(self._titles))} system titles)"

    def __reduce__(self) -> str:
        raise ContractError("a keyring is not pickled: keys stay in this process")

    @property
    def nbytes(self) -> int:
        """Memory of all columns, in bytes; ciphers that were made of them not counted (`ciphers.KEPT_CIPHERS`)."""
        columns = [getattr(self, name) for name in self.__slots__ if name not in ("_ciphers", "_spans", "signers")]
        spans = [*self._spans.by_title[:3], *self._spans[1:]]
        return sum(column.nbytes for column in (*columns, *spans))

    def knows(self, titles: Titles) -> npt.NDArray[np.bool_]:
        """Whether each system title has a key of any kind."""
        return self._spans.by_title.find(titles) >= 0

    def masters(self, system_title: bytes) -> tuple[bytes, ...]:
        """The meter's master keys that are not revoked, newest first."""
        return tuple(keys.ek for keys in self.master_keys(system_title))

    def master_keys(self, system_title: bytes) -> tuple[Keys, ...]:
        """The same with their names."""
        found = self._spans.by_title.find(_as_number(system_title))
        at = int(found[0])
        rows = range(int(self._spans.stop[at]), int(self._spans.end[at])) if at >= 0 else range(0)
        return tuple(self.keys_at(row) for row in rows if not self._revoked[row])

    def find(self, system_title: bytes, *, broadcast: bool = False) -> Keys | None:
        """The newest key of the meter that is not revoked, else its newest, else None."""
        found = self.candidates(system_title, broadcast=broadcast)
        return next((keys for keys in found if not keys.revoked), found[0] if found else None)

    def candidates(self, system_title: bytes, *, broadcast: bool = False) -> tuple[Keys, ...]:
        """Every key of the meter that may have protected a message, newest first, revoked ones included."""
        found = self.spans(_as_number(system_title), np.array([broadcast]))
        one = np.zeros(1, np.int64)
        return tuple(self.keys_at(int(found.rows(one, step)[0])) for step in range(int(found.number()[0])))

    def spans(self, titles: Titles, broadcast: npt.NDArray[np.bool_]) -> Candidates:
        """Where the candidate keys of each title stand.

        A title without a broadcast key of its own takes the group's (`GROUP_TITLE`); so does one whose own are all
        revoked where the group has a valid one, and its own, after those, still tell what they sealed as revoked.
        """
        first, size = self._spans.of_kind(titles, broadcast)
        none = np.zeros(len(titles), np.int64)
        if not broadcast.any():
            return Candidates(first, size, none, none)
        group, of_group = self._spans.of_kind(np.array([GROUP_TITLE], np.uint64), np.array([True]))
        serves = self._have_valid(group, of_group)[0]
        lacking = broadcast & ((size == 0) | (~self._have_valid(first, size) if serves else False))
        return Candidates(
            np.where(lacking, group[0], first),
            np.where(lacking, of_group[0], size),
            np.where(lacking, first, 0),
            np.where(lacking, size, 0),
        )

    def _have_valid(self, first: Places, size: Places) -> npt.NDArray[np.bool_]:
        """Whether any key of each of these spans is not revoked."""
        valid = np.zeros(len(first), np.bool_)
        for step in range(int(size.max(initial=0))):
            held = np.flatnonzero(step < size)
            valid[held] |= ~self._revoked[first[held] + step]
        return valid

    def keys_at(self, row: int) -> Keys:
        """The key pair at a row that `spans` named."""
        pair = self._pair(row)
        half = len(pair) // 2
        ak = pair[half:].tobytes() if self._has_ak[row] else None
        return Keys(pair[:half].tobytes(), ak, self.key_id(row), revoked=bool(self._revoked[row]))

    def ciphers_at(self, rows: npt.NDArray[np.int64]) -> list[Cipher]:
        """What opens messages under the keys of these rows, in their order; kept for the next batch up to a bound."""
        return self._ciphers.at(rows.tolist(), lambda row: memoryview(self._pair(row).tobytes()))

    def has_authentication_key(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Whether a tag can be verified with the key of each row."""
        return self._has_ak[rows]

    def fits(self, rows: npt.NDArray[np.int64], octets: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Whether the encryption key of each row has so many octets: 16 for suites 0 and 1, 32 for suite 2."""
        return cast(npt.NDArray[np.bool_], np.where(self._row[rows] < 0, 32, 16) == octets)

    def is_revoked(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Whether the key of each row may no longer be used."""
        return self._revoked[rows]

    def key_id(self, row: int) -> str:
        """The key's name for rejects and logs: kind and version, such as `guek/1`, and whose a broadcast key is
        (`ingest.key_names`)."""
        return self.key_ids(np.array([row]))[0][0]

    def key_ids(self, rows: npt.NDArray[np.int64]) -> tuple[list[str], npt.NDArray[np.int64]]:
        """The names of these rows' keys, each once, and which of them each row has."""
        family = self._kinds[rows].astype(np.int64)
        broadcast = np.flatnonzero(family == BROADCAST)
        if len(broadcast):
            family[broadcast[self._titles[rows[broadcast]] == GROUP_TITLE]] = _OF_GROUP
        codes = family << 16 | self._versions[rows]
        if len(codes) and (codes == codes[0]).all():
            used, place = codes[:1], np.zeros(len(codes), np.int64)
        else:
            used, place = np.unique(codes, return_inverse=True)
        return [f"{_FAMILIES[code >> 16]}/{code & 0xFFFF}" for code in used.tolist()], place.reshape(-1)

    def _pair(self, row: int) -> Octets:
        at = int(self._row[row])
        return cast(Octets, self._wide[-at - 1] if at < 0 else self._material[at])


def _as_number(system_title: bytes) -> Titles:
    return np.frombuffer(system_title, ">u8").astype(np.uint64)


def _is_sorted(rows: KeyRows) -> bool:
    """By title and kind, the newest version first: as `render_wrapped` writes them."""
    after, before = slice(1, None), slice(None, -1)
    same = rows.titles[after] == rows.titles[before]
    rising = rows.titles[after] > rows.titles[before]
    newer = (rows.kinds[after] == rows.kinds[before]) & (rows.versions[after] <= rows.versions[before])
    return bool((rising | (same & ((rows.kinds[after] > rows.kinds[before]) | newer))).all())


def _refuse_twins(titles: Titles, kinds: Octets, versions: npt.NDArray[np.uint16]) -> None:
    same = (titles[1:] == titles[:-1]) & (kinds[1:] == kinds[:-1]) & (versions[1:] == versions[:-1])
    if same.any():
        title = int(titles[int(same.argmax())])
        raise ContractError(f"keys: system title {title:016x} has two keys of one kind and version")
