"""General-ciphering that brings its own key, wrapped under the meter's master key: opened one by one, it is rare.

The content key is new to us, so its counters are a stream of their own: it is named by a digest of the wrapped octets,
which everybody on the line could read. Of these alone: what stands around them (a longer form of their length, the
number of the master key) no tag protects, and with it a recorded message would come as one of another stream.
"""

import hashlib
from collections.abc import Sequence
from typing import Final

import numpy as np
from cryptography.hazmat.primitives.keywrap import aes_key_unwrap

from ingest.dlms.security import SecurityHeader, unprotect
from ingest.faults import Faults
from ingest.keyring import Keyring, Keys
from ingest.protection import Opened
from ingest.security_headers import Headers
from ingest.spans import Spans
from ingest.titles import TITLE_OCTETS
from schemas.codes import RejectReason
from schemas.errors import ProtocolError

_NAME_DIGITS: Final = 16


def open_wrapped(apdus: Spans, headers: Headers, keyring: Keyring, opened: Opened, faults: Faults) -> Opened:
    """The batch with those APDUs in the clear as well whose key came with them; what does not open is a fault."""
    rows = [row for row in faults.usable().tolist() if row in headers.wrapped]
    contents: list[bytes] = []
    good: list[int] = []
    names: dict[int, str] = {}
    authenticated, digest = opened.authenticated.copy(), opened.digest.copy()
    for row in rows:
        apdu, header = apdus.message(row), headers.wrapped[row]
        try:
            title = int(headers.title[row]).to_bytes(TITLE_OCTETS, "big")
            content, used = _opened(apdu, header, title, keyring)
            names[row] = _stream_of(used, _pairs_of(title, keyring))
            contents.append(content)
        except ProtocolError as error:
            faults.record_error(row, error)
            continue
        good.append(row)
        authenticated[row] = header.authenticated
        if header.authenticated:
            digest[row] = int.from_bytes(apdu[header.content_stop : header.content_stop + 8], "big")
    plain = opened.apdus.replaced(np.array(good, np.int64), contents) if good else opened.apdus
    return opened._replace(apdus=plain, authenticated=authenticated, digest=digest, brought=names)


def _pairs_of(title: bytes, keyring: Keyring) -> list[Keys]:
    """Every pair that may have protected a message of the meter, of both kinds."""
    return [*keyring.candidates(title), *keyring.candidates(title, broadcast=True)]


def _stream_of(used: Keys, pairs: Sequence[Keys]) -> str:
    """The name of the key: one that the meter has anyway keeps its own, and with it its counters.

    Of several that share the encryption key it is the one whose authentication key made the tag.

    Raises:
        ProtocolError: The meter has it, and it is revoked.
    """
    known = [pair for pair in pairs if pair.ek == used.ek]
    if not known:
        return used.key_id
    same = next((pair for pair in known if pair.ak == used.ak), known[0])
    if same.revoked:
        raise ProtocolError(RejectReason.KEY_REVOKED, 0, "the key is revoked")
    return same.key_id


def _opened(apdu: bytes, header: SecurityHeader, title: bytes, keyring: Keyring) -> tuple[bytes, Keys]:
    """The plaintext under the first master key that unwraps the key, and the first authentication key that fits; and
    the pair that opened it."""
    failure = ProtocolError(RejectReason.KEY_UNKNOWN, 0, "a wrapped key, and no master key of the meter is held")
    pairs = [pair for pair in keyring.candidates(title) if not pair.revoked]
    for master in keyring.masters(title):
        for ak in [pair.ak for pair in pairs] or [None]:
            try:
                content = unprotect(apdu, header, b"", ak, master)
            except ProtocolError as error:
                failure = failure if failure.reason is RejectReason.TAG_MISMATCH else error
            else:
                name = f"wrapped/{hashlib.sha256(header.wrapped_key).hexdigest()[:_NAME_DIGITS]}"
                return content, Keys(aes_key_unwrap(master, header.wrapped_key), ak, name)
    raise failure
