"""Ciphered APDUs of a batch opened: their plaintext, once the tag has verified.

A tag of 12 bytes is verified with the one-shot AES-GCM of the library, which knows tags of 16 only: counter mode is its
own inverse, so encrypting the ciphertext gives the plaintext, and encrypting that plaintext gives the ciphertext again
with the full tag, whose first 12 bytes are compared. Two one-shot calls cost a third of one streaming decryption, which
sets up a context a message. The plaintext of a message is used only after its tag was found right.
"""

import struct
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from ingest.dlms.security import AUTHENTICATED, ENCRYPTED, SUITE_MASK, TAG_OCTETS
from ingest.faults import Faults
from ingest.keyring import Cipher, Keyring
from ingest.security_headers import KEY_OCTETS, Headers
from ingest.spans import Flags, Octets, Places, Spans
from schemas.codes import RejectReason

_IV_OCTETS: Final = 12
_IV: Final = struct.Struct(f"{_IV_OCTETS}s")
_FULL_TAG: Final = 16
_TAG_CUT: Final = _FULL_TAG - TAG_OCTETS
_BOTH: Final = AUTHENTICATED | ENCRYPTED
_NO_TAG: Final = bytes(TAG_OCTETS)
NO_KEY: Final = -1
NO_BROUGHT: Final[Mapping[int, str]] = MappingProxyType({})


class Opened(NamedTuple):
    """APDUs in the clear, and what is known of how they came."""

    apdus: Spans
    headers: Headers
    key_row: Places  # row of the keyring that opened it, `NO_KEY` for plain ones
    authenticated: Flags  # its tag has verified
    digest: npt.NDArray[np.uint64]  # first 8 bytes of the tag: tells a copy from a reused counter
    brought: Mapping[int, str] = NO_BROUGHT  # names of keys that came wrapped in their message


def open_all(apdus: Spans, headers: Headers, keyring: Keyring, faults: Faults) -> Opened:
    """Every ciphered APDU in the clear whose key is known and whose tag verifies; the others are faults.

    Where a meter has several keys (a rotation under way) the newest is tried first. A tag that verifies under a
    revoked key is a fault of its own.
    """
    rows = faults.usable()
    rows = rows[headers.ciphered[rows]]
    if headers.wrapped:
        rows = rows[~np.isin(rows, list(headers.wrapped))]
    first, count = keyring.spans(headers.title[rows], headers.broadcast[rows])
    unknown = (count == 0) | (headers.title[rows] == 0)
    faults.record(rows[unknown], RejectReason.KEY_UNKNOWN, 0, "no key for the system title")
    # Messages of one key stand together: its tables are at hand then.
    order = np.flatnonzero(~unknown)
    order = order[np.argsort(first[order], kind="stable")]
    rows, first, count = rows[order], first[order], count[order]
    plain, key_row, tag_ok = _try_keys(_Sealed.of(apdus, headers, rows), first, count, keyring)
    fitting = key_row >= 0
    faults.record(rows[~fitting], RejectReason.KEY_UNKNOWN, 0, "no key of the length that the suite needs")
    wrong = rows[fitting & ~tag_ok]
    faults.record(wrong, RejectReason.TAG_MISMATCH, headers.tag_places(wrong), "the tag does not verify")
    revoked = fitting & tag_ok & keyring.is_revoked(np.maximum(key_row, 0))
    faults.record(rows[revoked], RejectReason.KEY_REVOKED, 0, "the key is revoked")
    good = np.flatnonzero(fitting & tag_ok & ~revoked)
    return _with_plain(apdus, headers, rows, (good, key_row, plain))


class _Sealed(NamedTuple):
    """Ciphered messages of one batch, column by column; places count in these columns."""

    octets: bytes
    begin: Places  # of the content in `octets`
    size: Places
    iv: bytes  # 12 octets a message
    tag: Octets  # 12 columns; zeros where there is none
    control: Places
    other_fields: dict[int, bytes]

    @classmethod
    def of(cls, apdus: Spans, headers: Headers, rows: Places) -> "_Sealed":
        iv = np.empty((len(rows), _IV_OCTETS), np.uint8)
        iv[:, :8] = headers.title[rows].astype(">u8").view(np.uint8).reshape(-1, 8)
        iv[:, 8:] = headers.counter[rows].astype(">u4").view(np.uint8).reshape(-1, 4)
        place_of = {row: place for place, row in enumerate(rows.tolist())} if headers.other_fields else {}
        return cls(
            apdus.octets.tobytes(),
            apdus.start[rows] + headers.content_at[rows],
            headers.content_length[rows],
            iv.tobytes(),
            _tags(apdus, headers, rows),
            headers.control[rows],
            {place_of[row]: fields for row, fields in headers.other_fields.items() if row in place_of},
        )


def _try_keys(sealed: _Sealed, first: Places, count: Places, keyring: Keyring) -> tuple[list[bytes], Places, Flags]:
    """Plaintext, the key row that gave it (`NO_KEY` where none fits), and whether nothing speaks against it."""
    messages = len(first)
    plain = [b""] * messages
    key_row = np.full(messages, NO_KEY, np.int64)
    tag_ok = np.zeros(messages, np.bool_)
    pending = np.arange(messages)
    attempt = 0
    while len(pending):
        tried = first[pending] + attempt
        fits = keyring.fits(tried, np.array(KEY_OCTETS)[sealed.control[pending] & SUITE_MASK])
        fits &= (sealed.control[pending] & AUTHENTICATED == 0) | keyring.has_authentication_key(tried)
        chosen, keys = pending[fits], tried[fits]
        parts, computed = _open_each(sealed, chosen, keys, keyring)
        if len(chosen) == messages:
            plain = parts
        else:
            for place, part in zip(chosen.tolist(), parts, strict=True):
                plain[place] = part
        key_row[chosen] = keys
        tag_ok[chosen] = (computed == sealed.tag[chosen]).all(axis=1)
        attempt += 1
        pending = pending[~tag_ok[pending] & (count[pending] > attempt)]
    return plain, key_row, tag_ok


def _open_each(sealed: _Sealed, places: Places, key_rows: Places, keyring: Keyring) -> tuple[list[bytes], Octets]:
    """Plaintext and computed tag of each message under its key."""
    distinct, key = np.unique(key_rows, return_inverse=True)
    ciphers, key = keyring.ciphers_at(distinct), key.reshape(-1)
    controls = np.unique(sealed.control[places]).tolist()
    if len(controls) == 1 and not sealed.other_fields:
        plain, tags = _open_alike(sealed, controls[0], (places, key), ciphers)
        return plain, np.frombuffer(tags, np.uint8).reshape(-1, TAG_OCTETS)
    plain = [b""] * len(places)
    computed = np.zeros((len(places), TAG_OCTETS), np.uint8)
    other = np.isin(places, list(sealed.other_fields))
    for control in controls:
        chosen = np.flatnonzero((sealed.control[places] == control) & ~other)
        parts, tags = _open_alike(sealed, control, (places[chosen], key[chosen]), ciphers)
        computed[chosen] = np.frombuffer(tags, np.uint8).reshape(-1, TAG_OCTETS)
        for place, part in zip(chosen.tolist(), parts, strict=True):
            plain[place] = part
    for place in np.flatnonzero(other).tolist():
        row = int(places[place])
        one, tag = _open_general(sealed, row, ciphers[int(key[place])])
        plain[place], computed[place] = one, np.frombuffer(tag, np.uint8)
    return plain, computed


def _open_alike(
    sealed: _Sealed, control: int, which: tuple[Places, Places], ciphers: list[Cipher]
) -> tuple[list[bytes], bytes]:
    """Messages of one security control: the loop that touches every message, so nothing is done twice in it."""
    places, key = which
    ivs = sealed.iv if len(places) * _IV_OCTETS == len(sealed.iv) else _rows_of(sealed.iv, places)
    begin = sealed.begin[places]
    columns = (begin.tolist(), (begin + sealed.size[places]).tolist(), key.tolist())
    openers = [(cipher.encrypt, bytes((control,)) + cipher.ak) for cipher in ciphers]
    octets = sealed.octets
    plain: list[bytes] = []
    tags: list[bytes] = []
    keep, keep_tag = plain.append, tags.append
    if control & _BOTH == _BOTH:
        for (iv,), start, stop, at in zip(_IV.iter_unpack(ivs), *columns, strict=True):
            encrypt, associated = openers[at]
            opened = encrypt(iv, octets[start:stop], None)[:-_FULL_TAG]
            keep(opened)
            keep_tag(encrypt(iv, opened, associated)[-_FULL_TAG:-_TAG_CUT])
        return plain, b"".join(tags)
    for (iv,), start, stop, at in zip(_IV.iter_unpack(ivs), *columns, strict=True):
        encrypt, associated = openers[at]
        content = octets[start:stop]
        keep(encrypt(iv, content, None)[:-_FULL_TAG] if control & ENCRYPTED else content)
        keep_tag(encrypt(iv, b"", associated + content)[:TAG_OCTETS] if control & AUTHENTICATED else _NO_TAG)
    return plain, b"".join(tags)


def _open_general(sealed: _Sealed, place: int, cipher: Cipher) -> tuple[bytes, bytes]:
    """One message of general-ciphering, whose header fields are part of what is authenticated."""
    control, begin = int(sealed.control[place]), int(sealed.begin[place])
    content = sealed.octets[begin : begin + int(sealed.size[place])]
    iv = sealed.iv[_IV_OCTETS * place : _IV_OCTETS * (place + 1)]
    associated = bytes((control,)) + cipher.ak + sealed.other_fields[place]
    plain = cipher.encrypt(iv, content, None)[:-_FULL_TAG] if control & ENCRYPTED else content
    if not control & AUTHENTICATED:
        return plain, _NO_TAG
    if control & ENCRYPTED:
        return plain, cipher.encrypt(iv, plain, associated)[-_FULL_TAG:-_TAG_CUT]
    return plain, cipher.encrypt(iv, b"", associated + content)[:TAG_OCTETS]


def _rows_of(ivs: bytes, places: Places) -> bytes:
    return np.frombuffer(ivs, np.uint8).reshape(-1, _IV_OCTETS)[places].tobytes()


def _with_plain(apdus: Spans, headers: Headers, rows: Places, found: tuple[Places, Places, list[bytes]]) -> Opened:
    good, key_row, plain = found
    messages = len(apdus.start)
    keys = np.full(messages, NO_KEY, np.int64)
    keys[rows[good]] = key_row[good]
    authenticated = np.zeros(messages, np.bool_)
    authenticated[rows[good]] = headers.control[rows[good]] & AUTHENTICATED > 0
    digest = np.zeros(messages, np.uint64)
    proven = np.flatnonzero(authenticated)
    digest[proven] = _tags(apdus, headers, proven)[:, :8].copy().view(">u8").reshape(-1).astype(np.uint64)
    opened = plain if len(good) == len(rows) else [plain[place] for place in good.tolist()]
    if not headers.ciphered.all():
        cleared = apdus.replaced(rows[good], opened) if len(good) else apdus
        return Opened(cleared, headers, keys, authenticated, digest)
    # Everything was ciphered: what could not be opened is a fault, and nobody needs the ciphertext any more.
    parts = Spans.of_bytes(opened)
    start, length = np.zeros(messages, np.int64), np.zeros(messages, np.int64)
    start[rows[good]], length[rows[good]] = parts.start, parts.length
    return Opened(Spans(parts.octets, start, length), headers, keys, authenticated, digest)


def _tags(apdus: Spans, headers: Headers, rows: Places) -> Octets:
    tags = np.zeros((len(rows), TAG_OCTETS), np.uint8)
    sent = np.flatnonzero(headers.control[rows] & AUTHENTICATED > 0)
    if len(sent):
        chosen = rows[sent]
        places = apdus.start[chosen] + headers.tag_places(chosen)
        tags[sent] = apdus.octets[places[:, None] + np.arange(TAG_OCTETS)]
    return tags
