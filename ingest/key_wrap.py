"""AES key wrap (RFC 3394) over many keys at once: one ECB call a step instead of a loop a key.

All keys of a file lie under one key-encrypting key (KEK), so the 6 x n steps of the algorithm run side by side over
the whole column: ten million 16-byte keys are twelve passes over memory.
"""

from typing import Final

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, modes
from cryptography.hazmat.primitives.ciphers.algorithms import AES

from ingest.key_rows import Octets
from schemas.errors import ContractError

INITIAL_VALUE: Final = np.frombuffer(b"\xa6" * 8, np.uint8)
"""RFC 3394 section 2.2.3.1: what the first half-block must come back as; a wrong KEK or a changed byte does not."""
_ROUNDS: Final = 6


def wrap_keys(keys: Octets, kek: bytes) -> Octets:
    """Every row wrapped under the KEK.

    Args:
        keys: One key a row, 16 or 32 octets.
        kek: 16, 24 or 32 octets.

    Returns:
        As many rows, 8 octets longer.
    """
    rows, blocks = len(keys), keys.shape[1] // 8
    registers = keys.reshape(rows, blocks, 8).copy()
    check = np.tile(INITIAL_VALUE, (rows, 1))
    cipher = Cipher(AES(kek), modes.ECB())  # the mode RFC 3394 is defined on: each call is one step's blocks
    for step in range(_ROUNDS * blocks):
        at = step % blocks
        pairs = np.hstack([check, registers[:, at]])
        pairs = np.frombuffer(cipher.encryptor().update(pairs.tobytes()), np.uint8).reshape(rows, 16)
        check = pairs[:, :8] ^ _counter(step + 1)
        registers[:, at] = pairs[:, 8:]
    return np.hstack([check, registers.reshape(rows, blocks * 8)])


def unwrap_keys(wrapped: Octets, kek: bytes) -> Octets:
    """Every row unwrapped under the KEK.

    Raises:
        ContractError: The check value of a row is wrong: another KEK, or the row was changed. Names the first row.
    """
    rows, blocks = len(wrapped), wrapped.shape[1] // 8 - 1
    check = wrapped[:, :8].copy()
    registers = wrapped[:, 8:].reshape(rows, blocks, 8).copy()
    cipher = Cipher(AES(kek), modes.ECB())
    for step in reversed(range(_ROUNDS * blocks)):
        at = step % blocks
        pairs = np.hstack([check ^ _counter(step + 1), registers[:, at]])
        pairs = np.frombuffer(cipher.decryptor().update(pairs.tobytes()), np.uint8).reshape(rows, 16)
        check = pairs[:, :8].copy()
        registers[:, at] = pairs[:, 8:]
    wrong = (check != INITIAL_VALUE).any(axis=1)
    if wrong.any():
        raise ContractError(f"wrapped key {int(wrong.argmax()) + 1}: not wrapped under this KEK, or changed since")
    return registers.reshape(rows, blocks * 8)


def _counter(step: int) -> Octets:
    return np.frombuffer(step.to_bytes(8, "big"), np.uint8)
