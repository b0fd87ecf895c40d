"""Rows of keys on their way between files and the keyring: columns, never printed."""

from collections.abc import Iterable
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from schemas.errors import ContractError

Octets: TypeAlias = npt.NDArray[np.uint8]
Titles: TypeAlias = npt.NDArray[np.uint64]

UNICAST: Final = 0
BROADCAST: Final = 1
MASTER: Final = 2
KIND_NAMES: Final = ("guek", "gbek", "kek")
"""Global unicast and global broadcast encryption key, beside either the authentication key (GAK); and the meter's
master key, under which keys come wrapped in messages of general-ciphering."""
GROUP_TITLE: Final = 0
"""System title 00 x 8 of a broadcast key: the group's key for every meter that has none of its own."""


class KeyRows(NamedTuple):
    """Columns of keys, one row a key. Not for printing: `Keyring` takes them at once."""

    titles: Titles  # the 8 octets as one big-endian number
    kinds: Octets  # UNICAST, BROADCAST, MASTER
    versions: npt.NDArray[np.uint16]  # 1, 2 ...; a higher one is newer
    revoked: npt.NDArray[np.bool_]
    has_ak: npt.NDArray[np.bool_]
    sizes: Octets  # 16 octets (suites 0, 1) or 32 (suite 2)
    material: Octets  # EK then AK, each left-aligned in half the row: 32 or 64 columns

    def __repr__(self) -> str:
        return f"KeyRows({len(self.titles)} keys)"

    def __reduce__(self) -> str:
        raise ContractError("rows of keys are not pickled: they stay in this process")


NO_KEYS: Final = KeyRows(
    np.zeros(0, np.uint64),
    np.zeros(0, np.uint8),
    np.zeros(0, np.uint16),
    np.zeros(0, np.bool_),
    np.zeros(0, np.bool_),
    np.zeros(0, np.uint8),
    np.zeros((0, 32), np.uint8),
)
"""An empty book."""


def join_rows(parts: Iterable[KeyRows]) -> KeyRows:
    """The rows of all parts, in order; narrow keys are laid out like wide ones where there are both.

    A part is let go of as its columns are joined: millions of keys are in memory once, and one column of them twice.
    """
    columns: list[list[npt.NDArray[Any]]] = [[] for _ in KeyRows._fields]
    for part in parts:
        arrays: tuple[npt.NDArray[Any], ...] = part
        for column, values in zip(columns, arrays, strict=True):
            column.append(values)
        del part, arrays, values
    if not columns[0]:
        return NO_KEYS
    width = max(material.shape[1] for material in columns[-1])
    columns[-1] = [_widened(columns[-1].pop(0), width) for _ in range(len(columns[-1]))]
    joined = []
    for column in columns:
        joined.append(np.concatenate(column))
        column.clear()
    return KeyRows._make(joined)


def _widened(material: Octets, width: int) -> Octets:
    """Both keys of a row left-aligned in halves of that width."""
    have = material.shape[1]
    if have == width:
        return material
    wider = np.zeros((len(material), width), np.uint8)
    wider[:, : have // 2] = material[:, : have // 2]
    wider[:, width // 2 : width // 2 + have // 2] = material[:, have // 2 :]
    return wider
