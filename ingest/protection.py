"""Ciphered APDUs of a batch: who sent them, what they prove, and their plaintext once the tag has verified.

A tag of 12 bytes is verified with the one-shot AES-GCM of the library, which knows tags of 16 only: counter mode is its
own inverse, so encrypting the ciphertext gives the plaintext, and encrypting that plaintext gives the ciphertext again
with the full tag, whose first 12 bytes are compared. Two one-shot calls cost a third of one streaming decryption.
"""

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ingest.dlms.security import (
    AUTHENTICATED,
    BROADCAST,
    CIPHERED,
    COMPRESSED,
    ENCRYPTED,
    SUITE_MASK,
    SYSTEM_TITLE_OCTETS,
    TAG_OCTETS,
    read_header,
)
from ingest.dlms.tags import GENERAL_GLO
from ingest.enrolment import Enrolment, is_downgrade
from ingest.faults import Faults
from ingest.keyring import Keyring
from ingest.spans import Flags, Octets, Places, Spans
from schemas.codes import RejectReason
from schemas.errors import ProtocolError

_HEAD_OCTETS: Final = 5
_FULL_TAG: Final = 16
_KEY_OCTETS: Final = (16, 16, 32)
"""By suite."""
_WRAPPED_KEY: Final = b"\x01"
_AGREED_KEY: Final = b"\x02"
NO_KEY: Final = -1


class Headers(NamedTuple):
    """Security headers by message; zeros where a message has none."""

    ciphered: Flags
    title: npt.NDArray[np.uint64]  # 0 where not known
    control: Places
    counter: Places
    content_at: Places  # in the APDU, behind the counter
    content_length: Places  # without the tag
    other_fields: dict[int, bytes]  # of general-ciphering: part of the associated data


class Opened(NamedTuple):
    """APDUs in the clear, and what is known of how they came."""

    apdus: Spans
    headers: Headers
    key_row: Places  # row of the keyring that opened it, `NO_KEY` for plain ones
    authenticated: Flags  # its tag has verified
    digest: npt.NDArray[np.uint64]  # first 8 bytes of the tag: tells a copy from a reused counter


def read_headers(apdus: Spans, faults: Faults) -> Headers:
    """The security headers of all APDUs: general-glo-ciphering by columns, the other forms one by one."""
    rows = np.arange(len(apdus.start))
    tag = apdus.at(rows, 0)
    ciphered = np.isin(tag, np.array(sorted(CIPHERED), np.uint8)) & (apdus.length > 0)
    short = apdus.at(rows, 1) == SYSTEM_TITLE_OCTETS
    form = apdus.at(rows, 10).astype(np.int64)
    octets = np.where(form < 0x80, 0, form - 0x80)
    length = np.where(octets == 0, form, np.where(octets == 1, apdus.number(rows, 11, 1), apdus.number(rows, 11, 2)))
    length = length.astype(np.int64)
    content = 11 + octets
    control = apdus.at(rows, content).astype(np.int64)
    overhead = _HEAD_OCTETS + np.where(control & AUTHENTICATED, TAG_OCTETS, 0)
    fast = (tag == GENERAL_GLO) & short & (octets <= 2) & (length >= overhead) & (content + length == apdus.length)
    fast &= form != 0x80
    headers = Headers(
        ciphered,
        np.where(fast, apdus.number(rows, 2, 8), np.uint64(0)),
        np.where(fast, control, 0),
        np.where(fast, apdus.number(rows, content + 1, 4).astype(np.int64), 0),
        np.where(fast, content + _HEAD_OCTETS, 0),
        np.where(fast, length - overhead, 0),
        {},
    )
    for row in np.flatnonzero(ciphered & ~fast).tolist():
        _read_each(apdus, row, headers, faults)
    return headers


def check_policy(headers: Headers, meter_row: Places, enrolment: Enrolment, keyring: Keyring, faults: Faults) -> None:
    """Ciphered messages whose suite cannot be undone or whose protection is below what their sender owes are faults."""
    rows = faults.usable()
    rows = rows[headers.ciphered[rows]]
    control = headers.control
    at = headers.content_at - _HEAD_OCTETS
    packed = rows[control[rows] & COMPRESSED > 0]
    faults.record(packed, RejectReason.COMPRESSION_UNSUPPORTED, at[packed], "V.44 compression")
    unknown = rows[control[rows] & SUITE_MASK >= len(_KEY_OCTETS)]
    faults.record(unknown, RejectReason.SECURITY_UNSUPPORTED, at[unknown], "security suite")
    lowest = enrolment.lowest_security(meter_row[rows], headers.title[rows], keyring)
    low = rows[is_downgrade(control[rows], lowest)]
    faults.record(low, RejectReason.DOWNGRADE, at[low], "less protection than the meter owes")


def open_all(apdus: Spans, headers: Headers, keyring: Keyring, faults: Faults) -> Opened:
    """Every ciphered APDU in the clear whose key is known and whose tag verifies; the others are faults.

    Where a meter has several keys (a rotation under way) the newest is tried first. A tag that verifies under a
    revoked key is a fault of its own.
    """
    rows = faults.usable()
    rows = rows[headers.ciphered[rows]]
    first, count = keyring.spans(headers.title[rows], headers.control[rows] & BROADCAST > 0)
    unknown = (count == 0) | (headers.title[rows] == 0)
    faults.record(rows[unknown], RejectReason.KEY_UNKNOWN, 0, "no key for the system title")
    rows, first, count = rows[~unknown], first[~unknown], count[~unknown]
    plain, key_row, tag_ok = _try_keys(_Sealed.of(apdus, headers, rows), first, count, keyring)
    fitting = key_row >= 0
    faults.record(rows[~fitting], RejectReason.KEY_UNKNOWN, 0, "no key of the length that the suite needs")
    wrong = fitting & ~tag_ok
    faults.record(rows[wrong], RejectReason.TAG_MISMATCH, _tag_places(headers, rows[wrong]), "the tag does not verify")
    revoked = fitting & tag_ok & keyring.is_revoked(np.maximum(key_row, 0))
    faults.record(rows[revoked], RejectReason.KEY_REVOKED, 0, "the key is revoked")
    good = np.flatnonzero(fitting & tag_ok & ~revoked)
    return _with_plain(apdus, headers, rows, (good, key_row, plain))


class _Sealed(NamedTuple):
    """Ciphered messages of one batch, column by column; places count in these columns."""

    octets: bytes
    begin: list[int]  # of the content in `octets`
    size: list[int]
    iv: bytes  # 12 octets a message
    tag: Octets  # 12 columns; zeros where there is none
    control: list[int]
    other_fields: dict[int, bytes]

    @classmethod
    def of(cls, apdus: Spans, headers: Headers, rows: Places) -> "_Sealed":
        iv = np.empty((len(rows), 12), np.uint8)
        iv[:, :8] = headers.title[rows].astype(">u8").view(np.uint8).reshape(-1, 8)
        iv[:, 8:] = headers.counter[rows].astype(">u4").view(np.uint8).reshape(-1, 4)
        begin = apdus.start[rows] + headers.content_at[rows]
        size = headers.content_length[rows]
        place_of = {row: place for place, row in enumerate(rows.tolist())} if headers.other_fields else {}
        return cls(
            apdus.octets.tobytes(),
            begin.tolist(),
            size.tolist(),
            iv.tobytes(),
            _tags(apdus, headers, rows),
            headers.control[rows].tolist(),
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
        found = _open_each(sealed, pending, tried, keyring)
        fits = np.array([part is not None for part, _ in found], np.bool_)
        for place, (part, _) in zip(pending.tolist(), found, strict=True):
            plain[place] = part or b""
        key_row[pending[fits]] = tried[fits]
        computed = np.frombuffer(b"".join(tag for _, tag in found), np.uint8).reshape(-1, TAG_OCTETS)
        tag_ok[pending] = fits & (computed == sealed.tag[pending]).all(axis=1)
        attempt += 1
        pending = pending[~tag_ok[pending] & (count[pending] > attempt)]
    return plain, key_row, tag_ok


def _open_each(sealed: _Sealed, places: Places, key_rows: Places, keyring: Keyring) -> list[tuple[bytes | None, bytes]]:
    """Plaintext and computed tag of each message under one key; None where the key does not fit the suite."""
    ciphers: dict[tuple[int, int], _Cipher | None] = {}
    opened: list[tuple[bytes | None, bytes]] = []
    octets, begins, sizes, ivs, controls = sealed.octets, sealed.begin, sealed.size, sealed.iv, sealed.control
    for place, row in zip(places.tolist(), key_rows.tolist(), strict=True):
        control = controls[place]
        cipher = ciphers.get((row, control), _UNTRIED)
        if cipher is _UNTRIED:
            cipher = ciphers[row, control] = _cipher(keyring, row, control)
        if cipher is None:
            opened.append((None, _NO_TAG))
            continue
        begin = begins[place]
        content = octets[begin : begin + sizes[place]]
        associated = cipher.associated
        if place in sealed.other_fields:
            associated += sealed.other_fields[place]
        opened.append(_open_one(cipher.gcm, ivs[12 * place : 12 * place + 12], content, (control, associated)))
    return opened


class _Cipher(NamedTuple):
    gcm: AESGCM
    associated: bytes

    def __repr__(self) -> str:
        return "_Cipher()"


_UNTRIED: Final = _Cipher(AESGCM(bytes(16)), b"")
_NO_TAG: Final = bytes(TAG_OCTETS)


def _cipher(keyring: Keyring, row: int, control: int) -> _Cipher | None:
    if keyring.key_size(row) != _KEY_OCTETS[control & SUITE_MASK]:
        return None
    if not control & AUTHENTICATED:
        return _Cipher(keyring.cipher_at(row), b"")
    if not keyring.has_authentication_key(row):
        return None
    return _Cipher(keyring.cipher_at(row), bytes((control,)) + keyring.associated_at(row))


def _open_one(gcm: AESGCM, iv: bytes, content: bytes, asked: tuple[int, bytes]) -> tuple[bytes, bytes]:
    control, associated = asked
    if not control & AUTHENTICATED:
        return (gcm.encrypt(iv, content, None)[:-_FULL_TAG] if control & ENCRYPTED else content), _NO_TAG
    if not control & ENCRYPTED:
        return content, gcm.encrypt(iv, b"", associated + content)[:TAG_OCTETS]
    plain = gcm.encrypt(iv, content, None)[:-_FULL_TAG]
    return plain, gcm.encrypt(iv, plain, associated)[-_FULL_TAG : TAG_OCTETS - _FULL_TAG]


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
    cleared = apdus.replaced(rows[good], [plain[place] for place in good.tolist()])
    return Opened(cleared, headers, keys, authenticated, digest)


def _tags(apdus: Spans, headers: Headers, rows: Places) -> Octets:
    tags = np.zeros((len(rows), TAG_OCTETS), np.uint8)
    sent = np.flatnonzero(headers.control[rows] & AUTHENTICATED > 0)
    if len(sent):
        chosen = rows[sent]
        places = apdus.start[chosen] + _tag_places(headers, chosen)
        tags[sent] = apdus.octets[places[:, None] + np.arange(TAG_OCTETS)]
    return tags


def _tag_places(headers: Headers, rows: Places) -> Places:
    return headers.content_at[rows] + headers.content_length[rows]


def _read_each(apdus: Spans, row: int, headers: Headers, faults: Faults) -> None:
    apdu = apdus.message(row)
    try:
        header = read_header(apdu)
        if header.key_info[:1] == _AGREED_KEY:
            raise ProtocolError(RejectReason.AGREED_KEY_UNSUPPORTED, 0, "a key by agreement")
        if header.key_info[:1] == _WRAPPED_KEY:
            raise ProtocolError(RejectReason.KEY_UNKNOWN, 0, "a wrapped key, its key-encrypting key is not held")
    except ProtocolError as error:
        faults.record_error(row, error)
        return
    headers.title[row] = int.from_bytes(header.system_title or b"", "big")
    headers.control[row] = header.control
    headers.counter[row] = header.counter
    headers.content_at[row] = header.content_at
    headers.content_length[row] = header.content_stop - header.content_at
    if header.other_fields:
        headers.other_fields[row] = header.other_fields
