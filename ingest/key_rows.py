"""Rows of keys on their way between files and the keyring: columns, never printed."""

from typing import Final, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

Octets: TypeAlias = npt.NDArray[np.uint8]
Titles: TypeAlias = npt.NDArray[np.uint64]

UNICAST: Final = 0
BROADCAST: Final = 1
KIND_NAMES: Final = ("guek", "gbek")
"""Global unicast and global broadcast encryption key; the authentication key (GAK) lies beside either."""
GROUP_TITLE: Final = 0
"""System title 00 x 8 of a broadcast key: the group's key for every meter that has none of its own."""


class KeyRows(NamedTuple):
    """Columns of keys, one row a key. Not for printing: `Keyring` takes them at once."""

    titles: Titles  # the 8 octets as one big-endian number
    kinds: Octets  # UNICAST, BROADCAST
    versions: npt.NDArray[np.uint16]  # 1, 2 ...; a higher one is newer
    revoked: npt.NDArray[np.bool_]
    has_ak: npt.NDArray[np.bool_]
    sizes: Octets  # 16 octets (suites 0, 1) or 32 (suite 2)
    material: Octets  # EK then AK, each left-aligned in half the row: 32 or 64 columns

    def __repr__(self) -> str:
        return f"KeyRows({len(self.titles)} keys)"
