"""AES key wrap (RFC 3394) over many keys at once: one ECB call a step instead of a loop a key.

All keys of a file lie under one key-encrypting key (KEK), so the 6 x n steps of the algorithm run side by side over
a whole column, in chunks that stay in the cache.
"""

import sys
from typing import Final

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext, modes
from cryptography.hazmat.primitives.ciphers.algorithms import AES

from ingest.hidden import Kek, hidden
from ingest.key_rows import Octets
from schemas.errors import ContractError

INITIAL_VALUE: Final = np.frombuffer(b"\xa6" * 8, np.uint8)
"""RFC 3394 section 2.2.3.1: what the first half-block must come back as; a wrong KEK or a changed byte does not."""
_ROUNDS: Final = 6
_CHUNK: Final = 8192
"""Keys taken through all steps together: their words fill half a megabyte."""

Words = npt.NDArray[np.uint64]


def wrap_keys(keys: Octets, kek: Kek) -> Octets:
    """Every row wrapped under the KEK.

    Args:
        keys: One key a row, 16 or 32 octets.
        kek: 16, 24 or 32 octets.

    Returns:
        As many rows, 8 octets longer.
    """
    rows, blocks = len(keys), keys.shape[1] // 8
    words = np.empty((rows, blocks + 1), np.uint64)
    words[:, 0] = INITIAL_VALUE.view(np.uint64)[0]
    words[:, 1:] = np.ascontiguousarray(keys).view(np.uint64)
    cipher = Cipher(AES(hidden(kek).reveal()), modes.ECB()).encryptor()  # the mode RFC 3394 is defined on
    for first in range(0, rows, _CHUNK):
        _wrap_steps(words[first : first + _CHUNK], cipher)
    return words.view(np.uint8).reshape(rows, 8 * (blocks + 1))


def unwrap_keys(wrapped: Octets, kek: Kek, lines: npt.NDArray[np.int64] | None = None) -> Octets:
    """Every row unwrapped under the KEK.

    Args:
        wrapped: One wrapped key a row.
        kek: Key-encrypting key.
        lines: Line of the file that each row stands on, for the error; counted from 1 where not given.

    Raises:
        ContractError: The check value of a row is wrong: another KEK, or the row was changed. Names the first line.
    """
    rows, blocks = len(wrapped), wrapped.shape[1] // 8 - 1
    words = np.array(wrapped, order="C").view(np.uint64)
    cipher = Cipher(AES(hidden(kek).reveal()), modes.ECB()).decryptor()
    for first in range(0, rows, _CHUNK):
        _unwrap_steps(words[first : first + _CHUNK], cipher)
    wrong = words[:, 0] != INITIAL_VALUE.view(np.uint64)[0]
    if wrong.any():
        first_wrong = int(wrong.argmax())
        line = first_wrong + 1 if lines is None else int(lines[first_wrong])
        raise ContractError(f"keys: line {line}: a key not wrapped under this KEK, or changed since")
    return np.ascontiguousarray(words[:, 1:]).view(np.uint8).reshape(rows, blocks * 8)


def _wrap_steps(words: Words, cipher: CipherContext) -> None:
    blocks = words.shape[1] - 1
    sent, pairs, out, made = _room(len(words))
    pairs[:, 0] = words[:, 0]
    for step in range(_ROUNDS * blocks):
        at = 1 + step % blocks
        pairs[:, 1] = words[:, at]
        cipher.update_into(sent, out)
        np.bitwise_xor(made[:, 0], _counter(step + 1), out=pairs[:, 0])
        words[:, at] = made[:, 1]
    words[:, 0] = pairs[:, 0]


def _unwrap_steps(words: Words, cipher: CipherContext) -> None:
    blocks = words.shape[1] - 1
    sent, pairs, out, made = _room(len(words))
    made[:, 0] = words[:, 0]
    for step in reversed(range(_ROUNDS * blocks)):
        at = 1 + step % blocks
        np.bitwise_xor(made[:, 0], _counter(step + 1), out=pairs[:, 0])
        pairs[:, 1] = words[:, at]
        cipher.update_into(sent, out)
        words[:, at] = made[:, 1]
    words[:, 0] = made[:, 0]


def _room(rows: int) -> tuple[memoryview, Words, memoryview, Words]:
    """Bytes that go into a step and the same as pairs of words; bytes that come out (the library wants room for a
    block more) and the same as pairs."""
    sent, out = np.empty(16 * rows, np.uint8), np.empty(16 * rows + 16, np.uint8)
    made = out[: 16 * rows].view(np.uint64).reshape(rows, 2)
    return sent.data, sent.view(np.uint64).reshape(rows, 2), out.data, made


def _counter(step: int) -> np.uint64:
    return np.uint64(int.from_bytes(step.to_bytes(8, "big"), sys.byteorder))
