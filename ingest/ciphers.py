"""AES under meter keys, ready to use: key schedules that were made once and are kept, up to a bound.

Prints no key, and holds none but in the library's own contexts and as the authentication key that goes into a tag.
"""

from collections.abc import Callable, Iterable
from typing import Final

from cryptography.hazmat.primitives.ciphers import Cipher as BlockCipher
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import ECB

KEPT_CIPHERS: Final = 32_768
"""Ciphers that a keyring keeps: about 3.4 kB each, so 110 MB. The fleet of a few partitions."""
_FULL_TAG: Final = 16
_BLOCK_MODE: Final = ECB()  # counter mode is this mode over counter blocks, of many messages at once


class Cipher:
    """AES-GCM under an encryption key, and the authentication key beside it. Prints nothing of either."""

    __slots__ = ("ak", "blocks", "encrypt")

    def __init__(self, pair: memoryview, *, lasting: bool) -> None:
        """Ready to make tags; where it is `lasting` also `blocks`, which writes the key stream of counter blocks."""
        half = len(pair) // 2
        self.encrypt: Callable[[bytes, bytes, bytes | None], bytes] = AESGCM(pair[:half]).encrypt
        self.ak = bytes(pair[half:])
        blocks = BlockCipher(AES(bytes(pair[:half])), _BLOCK_MODE).encryptor().update_into if lasting else None
        self.blocks: Callable[[memoryview, memoryview], int] | None = blocks

    def __repr__(self) -> str:
        return "Cipher()"

    def key_streams(self, ivs: Iterable[bytes], octets: int) -> list[bytes]:
        """So many octets of the key stream of each message, without `blocks`: what AES-GCM makes of zeros."""
        nothing = bytes(octets)
        return [self.encrypt(iv, nothing, None)[:-_FULL_TAG] for iv in ivs]


class Ciphers:
    """Ciphers by row of a keyring. Once it is full what is there stays: a fleet comes by in turn, and the least
    recently used one would always be the next that is needed."""

    __slots__ = ("_kept", "_room")

    def __init__(self, room: int = KEPT_CIPHERS) -> None:
        self._kept: dict[int, Cipher] = {}
        self._room = room

    def __repr__(self) -> str:
        return f"Ciphers({len(self._kept)})"

    def at(self, rows: list[int], pair_of: Callable[[int], memoryview]) -> list[Cipher]:
        """The ciphers of these rows, in their order; `pair_of` gives EK and AK, end to end, of one not kept yet."""
        kept, ciphers = self._kept, []
        for row in rows:
            cipher = kept.get(row)
            if cipher is None:
                lasting = len(kept) < self._room
                cipher = Cipher(pair_of(row), lasting=lasting)
                if lasting:
                    kept[row] = cipher
            ciphers.append(cipher)
        return ciphers
