"""General-ciphering that brings its own key, wrapped under the meter's master key: opened one by one, it is rare.

The content key is new to us, so its counters are a stream of their own: it is named by a digest of the wrapped octets,
which everybody on the line could read. Of these alone: what stands around them (a longer form of their length, the
number of the master key) no tag protects, and with it a recorded message would come as one of another stream.
"""

import hashlib
from collections.abc import Sequence
from typing import Final, NamedTuple, Self

import numpy as np
from cryptography.hazmat.primitives.keywrap import aes_key_unwrap

from ingest.dlms.security import SecurityHeader, unprotect
from ingest.faults import Faults
from ingest.key_names import wrapped_name
from ingest.keyring import Keyring, Keys
from ingest.protection import Opened
from ingest.security_headers import Headers
from ingest.spans import Spans
from ingest.titles import TITLE_OCTETS
from schemas.codes import RejectReason
from schemas.errors import ProtocolError

_NAME_OCTETS: Final = 8


class _Held(NamedTuple):
    """What is held of a meter, looked up once a batch. `pairs`: all that may have protected a message of the meter."""

    masters: tuple[Keys, ...]
    authentication: tuple[bytes | None, ...]
    pairs: tuple[Keys, ...]

    @classmethod
    def of(cls, title: bytes, keyring: Keyring) -> Self:
        unicast = keyring.candidates(title)
        authentication = tuple(pair.ak for pair in unicast if not pair.revoked) or (None,)
        pairs = (*unicast, *keyring.candidates(title, broadcast=True))
        return cls(keyring.master_keys(title), authentication, pairs)

    def __repr__(self) -> str:
        return f"_Held({len(self.pairs)} keys)"


def open_wrapped(apdus: Spans, headers: Headers, keyring: Keyring, opened: Opened, faults: Faults) -> Opened:
    """The batch with those APDUs in the clear as well whose key came with them; what does not open is a fault."""
    rows = [row for row in faults.usable().tolist() if row in headers.wrapped]
    contents: list[bytes] = []
    good: list[int] = []
    names: dict[int, str] = {}
    held: dict[int, _Held] = {}
    authenticated, digest = opened.authenticated.copy(), opened.digest.copy()
    for row in rows:
        apdu, header, title = apdus.message(row), headers.wrapped[row], int(headers.title[row])
        if title not in held:
            held[title] = _Held.of(title.to_bytes(TITLE_OCTETS, "big"), keyring)
        try:
            content, used = _opened(apdu, header, held[title])
            names[row] = _stream_of(used, held[title].pairs)
        except ProtocolError as error:
            faults.record_error(row, error)
            continue
        contents.append(content)
        good.append(row)
        authenticated[row] = header.authenticated
        if header.authenticated:
            digest[row] = int.from_bytes(apdu[header.content_stop : header.content_stop + 8], "big")
    plain = opened.apdus.replaced(np.array(good, np.int64), contents) if good else opened.apdus
    return opened._replace(apdus=plain, authenticated=authenticated, digest=digest, brought=names)


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


def _opened(apdu: bytes, header: SecurityHeader, held: _Held) -> tuple[bytes, Keys]:
    """The plaintext under the first master key that unwraps the key, and the first authentication key that fits; and
    the pair that opened it."""
    failure = ProtocolError(RejectReason.KEY_UNKNOWN, 0, "a wrapped key, and no master key of the meter is held")
    for master in held.masters:
        for ak in held.authentication:
            try:
                content = unprotect(apdu, header, b"", ak, master.ek)
            except ProtocolError as error:
                failure = failure if failure.reason is RejectReason.TAG_MISMATCH else error
            else:
                name = wrapped_name(master.key_id, hashlib.sha256(header.wrapped_key).digest()[:_NAME_OCTETS])
                return content, Keys(aes_key_unwrap(master.ek, header.wrapped_key), ak, name)
    raise failure
