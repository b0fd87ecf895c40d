"""Ciphered APDUs of a batch opened: their plaintext, once the tag has verified.

A tag of 12 bytes is verified with the one-shot AES-GCM of the library, which knows tags of 16 only: encrypting the
plaintext gives the full tag, whose first 12 bytes are compared. The plaintext comes from the key stream, which counter
mode makes of nothing but key, title and counter: one call of the library a key makes it for all its messages, and one
exclusive or takes it off the whole batch. So a message costs one AES-GCM call; a streaming decryption, which sets up
a context a message, costs as much as five. The plaintext of a message is used only after its tag was found right.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from ingest.ciphers import Cipher
from ingest.dlms.cosem import DATE_TIME_OCTETS
from ingest.dlms.data import Tag
from ingest.dlms.security import AUTHENTICATED, ENCRYPTED, SUITE_MASK, TAG_OCTETS
from ingest.dlms.tags import (
    ACCESS_RESPONSE,
    DATA_NOTIFICATION,
    EVENT_NOTIFICATION,
    GET_RESPONSE,
    INFORMATION_REPORT,
)
from ingest.faults import Faults
from ingest.keyring import Candidates, Keyring
from ingest.security_headers import KEY_OCTETS, Headers
from ingest.spans import Flags, Octets, Places, Spans, rows_at
from schemas.codes import RejectReason

_IV_OCTETS: Final = 12
_BLOCK_OCTETS: Final = 16
_BLOCK: Final = np.dtype(f"V{_BLOCK_OCTETS}")
_FIRST_COUNTER: Final = 2
"""Of the key stream: block 1 masks the tag (NIST SP 800-38D, section 7.1)."""
_BLOCKS_BITS: Final = 32
_HALF: Final = np.uint64(32)
_FULL_TAG: Final = 16
_TAG_CUT: Final = _FULL_TAG - TAG_OCTETS
_STAMP_AT: Final = 5
_SMALL: Final = 4
_SLASH: Final = ord("/")
_UPPER: Final = 0xDF
_SENT: Final = (INFORMATION_REPORT, EVENT_NOTIFICATION, GET_RESPONSE, ACCESS_RESPONSE)
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

    @classmethod
    def in_clear(cls, apdus: Spans, headers: Headers) -> "Opened":
        """APDUs of which none was opened."""
        messages = len(apdus.start)
        nobody, no_digest = np.zeros(messages, np.bool_), np.zeros(messages, np.uint64)
        return cls(apdus, headers, np.full(messages, NO_KEY, np.int64), nobody, no_digest)


def open_all(apdus: Spans, headers: Headers, keyring: Keyring, faults: Faults) -> Opened:
    """Every ciphered APDU in the clear whose key is known and whose tag verifies; the others are faults.

    Where a meter has several keys (a rotation under way) the newest is tried first. A tag that verifies under a
    revoked key is a fault of its own. A message without a tag (security control 20) is opened by the newest key under
    which it begins as an APDU does.
    """
    rows = headers.usable(faults)
    if headers.wrapped:
        rows = rows[~np.isin(rows, list(headers.wrapped))]
    if not len(rows):
        return Opened.in_clear(apdus, headers)
    candidates = keyring.spans(headers.title[rows], headers.broadcast[rows])
    unknown = (candidates.number() == 0) | (headers.title[rows] == 0)
    faults.record(rows[unknown], RejectReason.KEY_UNKNOWN, 0, "no key for the system title")
    # Messages of one key stand together: its tables are at hand then.
    order = np.flatnonzero(~unknown)
    order = order[np.argsort(candidates.first[order], kind="stable")]
    rows, candidates = rows[order], candidates.take(order)
    sealed = _Sealed.of(apdus, headers, rows)
    opened, key_row, tag_ok = _try_keys(sealed, candidates, keyring)
    plain = Spans(opened.reshape(-1), sealed.block[:-1] * _BLOCK_OCTETS, sealed.size)
    fitting = key_row >= 0
    faults.record(rows[~fitting], RejectReason.KEY_UNKNOWN, 0, "no key of the length that the suite needs")
    wrong = rows[fitting & ~tag_ok]
    faults.record(wrong, RejectReason.TAG_MISMATCH, headers.tag_places(wrong), "the tag does not verify")
    revoked = fitting & tag_ok & keyring.is_revoked(np.maximum(key_row, 0))
    faults.record(rows[revoked], RejectReason.KEY_REVOKED, 0, "the key is revoked")
    good = np.flatnonzero(fitting & tag_ok & ~revoked)
    return _with_plain(apdus, headers, rows[good], (key_row[good], sealed.tag[good], plain.take(good)))


class _Sealed(NamedTuple):
    """Ciphered messages of one batch, column by column; places count in these columns."""

    octets: Octets  # of the batch
    begin: Places  # of the content in `octets`
    size: Places
    block: Places  # the first block of each message where all stand end to end, in blocks of 16 octets; one more entry
    iv: Octets  # a row of 12 octets a message
    tag: Octets  # 12 columns; zeros where there is none
    control: Places
    other_fields: dict[int, bytes]

    @classmethod
    def of(cls, apdus: Spans, headers: Headers, rows: Places) -> "_Sealed":
        iv = np.empty((len(rows), _IV_OCTETS), np.uint8)
        iv[:, :8] = headers.title[rows].astype(">u8").view(np.uint8).reshape(-1, 8)
        iv[:, 8:] = headers.counter[rows].astype(">u4").view(np.uint8).reshape(-1, 4)
        place_of = {row: place for place, row in enumerate(rows.tolist())} if headers.other_fields else {}
        size = headers.content_length[rows]
        return cls(
            apdus.octets,
            apdus.start[rows] + headers.content_at[rows],
            size,
            np.concatenate([[0], np.cumsum(-(-size // _BLOCK_OCTETS))]),
            iv,
            _tags(apdus, headers, rows),
            headers.control[rows],
            {place_of[row]: fields for row, fields in headers.other_fields.items() if row in place_of},
        )


class _Attempt(NamedTuple):
    """Some of the messages, each with the cipher that is tried on it; those of one cipher stand together."""

    place: Places
    cipher: Places  # place in `ciphers`
    ciphers: list[Cipher]


def _try_keys(sealed: _Sealed, candidates: Candidates, keyring: Keyring) -> tuple[Octets, Places, Flags]:
    """Plaintext by block, the key row that gave it (`NO_KEY` where none fits), whether nothing speaks against it."""
    messages, count = len(candidates.first), candidates.number()
    plain = np.zeros((int(sealed.block[-1]), _BLOCK_OCTETS), np.uint8)
    key_row = np.full(messages, NO_KEY, np.int64)
    tag_ok = np.zeros(messages, np.bool_)
    untagged = sealed.control & AUTHENTICATED == 0

    def attempt(pending: Places, tried: Places) -> Flags:
        """Whether what each of them gives with this key may be right."""
        fits = keyring.fits(tried, np.array(KEY_OCTETS)[sealed.control[pending] & SUITE_MASK])
        fits &= untagged[pending] | keyring.has_authentication_key(tried)
        chosen, keys = pending[fits], tried[fits]
        begins = _begins(keys)
        trial = _Attempt(chosen, np.cumsum(begins) - 1, keyring.ciphers_at(keys[begins]))
        computed = _open_each(sealed, trial, plain)
        key_row[chosen] = keys
        tag_ok[chosen] = (computed == sealed.tag[chosen]).all(axis=1)
        found = tag_ok[pending]
        doubtful = np.flatnonzero(found & untagged[pending] & (count[pending] > 1))
        if len(doubtful):
            places = sealed.block[pending[doubtful]] * _BLOCK_OCTETS
            found[doubtful] = _begins_apdu(rows_at(plain.reshape(-1), places, 8))
        return found

    pending, step = np.arange(messages), 0
    while len(pending):
        found = attempt(pending, candidates.rows(pending, step))
        step += 1
        missed = pending[~found]
        pending = missed[count[missed] > step]
        # Without a tag only its beginning tells the key of a message: one that begins well under none keeps the newest.
        odd = missed[(count[missed] == step) & untagged[missed] & tag_ok[missed]]
        if len(odd):
            attempt(odd, candidates.rows(odd, 0))
    return plain, key_row, tag_ok


def _begins(keys: Places) -> Flags:
    """Where another key than the one before stands. Messages stand by key, so that is seldom."""
    begins = np.ones(len(keys), np.bool_)
    np.not_equal(keys[1:], keys[:-1], out=begins[1:])
    return begins


def _begins_apdu(octets: Octets) -> Flags:
    """Whether rows of 8 octets begin as an APDU does that a meter sends: what another key makes of one does so rarely.

    A data-notification by the length of its date-time (none, or 12 octets with or without the tag of a string), the
    others by their tag and a small number behind it, a P1 telegram by its slash and letters. Chance: 1 in 3,000.
    """
    tag, second, stamp = octets[:, 0], octets[:, 1], octets[:, _STAMP_AT]
    push = (tag == DATA_NOTIFICATION) & ((stamp == 0) | (stamp == DATE_TIME_OCTETS) | (stamp == Tag.OCTET_STRING))
    others = np.isin(tag, _SENT) & (second < _SMALL)
    maker = octets[:, 1:4] & _UPPER
    telegram = (tag == _SLASH) & ((maker >= ord("A")) & (maker <= ord("Z"))).all(axis=1)
    flags: Flags = push | others | telegram
    return flags


def _open_each(sealed: _Sealed, trial: _Attempt, plain: Octets) -> Octets:
    """The computed tag of each message, zeros where it has none; its plaintext is written to `plain`."""
    computed = np.zeros((len(trial.place), TAG_OCTETS), np.uint8)
    blocks = sealed.block[trial.place + 1] - sealed.block[trial.place]
    shape = sealed.control[trial.place] << _BLOCKS_BITS | blocks
    is_one = len(shape) > 0 and bool((shape == shape[0]).all())
    for each in shape[:1].tolist() if is_one else np.unique(shape).tolist():
        alike = shape == each
        part = trial if alike.all() else trial._replace(place=trial.place[alike], cipher=trial.cipher[alike])
        control, width = each >> _BLOCKS_BITS, each & (1 << _BLOCKS_BITS) - 1
        contents = _contents(sealed, part, (control, width), plain)
        if control & AUTHENTICATED:
            computed[alike] = _computed_tags(sealed, part, control, contents)
    return computed


def _computed_tags(sealed: _Sealed, part: _Attempt, control: int, contents: list[bytes]) -> Octets:
    """The tags of messages of one security control: the loop that touches every message, so nothing is done twice."""
    octet = bytes((control,))
    heads = [octet + cipher.ak for cipher in part.ciphers]
    associated = [heads[at] for at in part.cipher.tolist()]
    if sealed.other_fields:  # general-ciphering: its header fields are part of what is authenticated
        fields = (sealed.other_fields.get(place, b"") for place in part.place.tolist())
        associated = [head + field for head, field in zip(associated, fields, strict=True)]
    if not control & ENCRYPTED:
        associated = [head + content for head, content in zip(associated, contents, strict=True)]
        contents = [b""] * len(contents)
    encrypt = [cipher.encrypt for cipher in part.ciphers]
    columns = (part.cipher.tolist(), _texts(sealed.iv[part.place]), contents, associated)
    tags = [encrypt[at](iv, text, head)[-_FULL_TAG:-_TAG_CUT] for at, iv, text, head in zip(*columns, strict=True)]
    return np.frombuffer(b"".join(tags), np.uint8).reshape(-1, TAG_OCTETS)


def _contents(sealed: _Sealed, part: _Attempt, form: tuple[int, int], plain: Octets) -> list[bytes]:
    """The content in the clear of messages of one security control and number of blocks, also written to `plain`."""
    control, width = form
    if not width:
        return [b""] * len(part.place)
    # Behind its content a message has what followed it.
    opened = rows_at(sealed.octets, sealed.begin[part.place], width * _BLOCK_OCTETS).view(np.uint64)
    if control & ENCRYPTED:
        opened ^= _key_stream(sealed, part, width).view(np.uint64).reshape(opened.shape)
    first = sealed.block[part.place]
    if len(part.place) == len(sealed.size):
        plain.reshape(-1)[:] = opened.view(np.uint8).reshape(-1)
    else:
        plain.view(_BLOCK)[first[:, None] + np.arange(width), 0] = opened.view(_BLOCK)
    size = sealed.size[part.place]
    length = int(size[0])
    if (size == length).all():
        texts: list[bytes] = np.ndarray(len(size), f"V{length}", opened, 0, width * _BLOCK_OCTETS).tolist()
        return texts
    octets, step = opened.tobytes(), width * _BLOCK_OCTETS
    return [octets[at * step : at * step + each] for at, each in enumerate(size.tolist())]


def _key_stream(sealed: _Sealed, part: _Attempt, width: int) -> Octets:
    """The key stream of messages of one number of blocks: one call of the library a key, however many they are."""
    iv = sealed.iv[part.place]
    words = iv.view("<u4")
    counter = np.arange(_FIRST_COUNTER, _FIRST_COUNTER + width, dtype=">u4").view("<u4").astype(np.uint64)
    blocks = np.empty((len(iv), width, 2), "<u8")  # title; counter of the message, number of the block
    blocks[:, :, 0] = (words[:, 0] | words[:, 1].astype(np.uint64) << _HALF)[:, None]
    np.add(words[:, 2].astype(np.uint64)[:, None], (counter << _HALF)[None, :], out=blocks[:, :, 1])
    counters = blocks.reshape(-1).view(np.uint8).data
    stream = np.empty(blocks.nbytes + _BLOCK_OCTETS, np.uint8)  # the library asks for a block of room
    room = stream.data
    edge = np.flatnonzero(np.diff(part.cipher, prepend=-1))
    runs = (part.cipher[edge].tolist(), edge.tolist(), [*edge[1:].tolist(), len(iv)])
    step = width * _BLOCK_OCTETS
    for at, begin, stop in zip(*runs, strict=True):
        cipher = part.ciphers[at]
        if cipher.blocks is not None:
            cipher.blocks(counters[begin * step : stop * step], room[begin * step : stop * step + _BLOCK_OCTETS])
        else:
            made = b"".join(cipher.key_streams(_texts(iv[begin:stop]), step))
            stream[begin * step : stop * step] = np.frombuffer(made, np.uint8)
    return stream[:-_BLOCK_OCTETS]


def _texts(octets: Octets) -> list[bytes]:
    """Each row as bytes."""
    texts: list[bytes] = octets.reshape(-1).view(f"V{octets.shape[1]}").tolist()
    return texts


def _with_plain(apdus: Spans, headers: Headers, rows: Places, found: tuple[Places, Octets, Spans]) -> Opened:
    key_row, tag, plain = found
    messages = len(apdus.start)
    keys = np.full(messages, NO_KEY, np.int64)
    keys[rows] = key_row
    proven = headers.control[rows] & AUTHENTICATED > 0
    authenticated = np.zeros(messages, np.bool_)
    authenticated[rows] = proven
    digest = np.zeros(messages, np.uint64)
    digest[rows] = np.where(proven, tag[:, :8].copy().view(">u8").reshape(-1).astype(np.uint64), np.uint64(0))
    if headers.ciphered.all():
        # What could not be opened is a fault, and nobody needs the ciphertext any more.
        octets, start, length = plain.octets, np.zeros(messages, np.int64), np.zeros(messages, np.int64)
        start[rows] = plain.start
    else:
        octets, start, length = np.concatenate([apdus.octets, plain.octets]), apdus.start.copy(), apdus.length.copy()
        start[rows] = plain.start + len(apdus.octets)
    length[rows] = plain.length
    return Opened(Spans(octets, start, length), headers, keys, authenticated, digest)


def _tags(apdus: Spans, headers: Headers, rows: Places) -> Octets:
    tags = np.zeros((len(rows), TAG_OCTETS), np.uint8)
    sent = np.flatnonzero(headers.control[rows] & AUTHENTICATED > 0)
    if len(sent):
        chosen = rows[sent]
        places = apdus.start[chosen] + headers.tag_places(chosen)
        tags[sent] = rows_at(apdus.octets, places, TAG_OCTETS)
    return tags
