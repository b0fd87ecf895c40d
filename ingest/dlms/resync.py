"""Where cutting can go on behind bytes that fit nothing: bad input never takes the good input beside it along.

Frames are cut by their lengths. Only where that fails, by junk between frames or a damaged length, is the next start
looked for, and never believed by its first bytes: a wrapper PDU must hold a known APDU tag and fill its length, or end
where the data end or another frame begins; an HDLC frame or M-Bus telegram must have its checksums right.
"""

import re
from typing import Final

import numpy as np

from ingest.dlms import hdlc, mbus
from ingest.dlms.tags import APDU_NAMES
from schemas.errors import ProtocolError

WPDU_HEAD_OCTETS: Final = 8
WPDU_VERSION: Final = b"\x00\x01"

_CANDIDATE: Final = re.compile(rb"\x00\x01|\x7e[\xa0-\xaf]|\x68(.)\1\x68", re.DOTALL)
_CANDIDATE_OCTETS: Final = 4
_TAGS: Final = frozenset(APDU_NAMES)
_GENERAL_PROTECTION: Final = frozenset({0xDB, 0xDC})
_TITLE_OCTETS: Final = 8
_TITLE_LENGTH: Final = bytes((_TITLE_OCTETS,))
_DATA_NOTIFICATION: Final = 0x0F
_DATE_TIME_OCTETS: Final = 12
_STAMP_AFTER: Final = 5
"""Octets before the date-time: the tag and the long-invoke-id."""
_LISTS: Final = (b"\x01", b"\x02")
"""Array and structure: what the body of a push is."""
_VERSION_AND_LENGTH: Final = np.uint64(0xFFFF_0000_0000_FFFF)
"""Of the head of a wrapper PDU, read as one number; between them stand the two wPorts."""
_IS_TAG: Final = np.isin(np.arange(256), list(APDU_NAMES))
_ALIKE: Final = 16
"""So many PDUs of one length behind each other, and the next are looked at all at once."""
_MOST_AT_ONCE: Final = 1024
"""What that costs where the length changes is then little beside those before it."""


def next_start(data: bytes, at: int, stop: int, *, checked: bool = False) -> int | None:
    """The first place from `at` on, before `stop`, where a frame surely begins; None where there is none.

    `checked`: only frames with a checksum are looked for.

    Linear in the bytes looked at: a candidate costs no more than the longest HDLC frame or telegram.
    """
    while (found := _CANDIDATE.search(data, at, stop + _CANDIDATE_OCTETS - 1)) is not None and found.start() < stop:
        if _begins_frame(data, found.start()) and not (checked and data[found.start()] == WPDU_VERSION[0]):
            return found.start()
        at = found.start() + 1
    return None


def may_begin_frame(data: bytes, at: int) -> bool:
    """Nothing at `at` speaks against a frame there: the end of the data, or a start, be it cut short."""
    if at >= len(data):
        return True
    if data[at] == hdlc.FLAG:
        return data[at + 1 : at + 2] in (b"", b"\x7e") or data[at + 1] >> 4 == hdlc.FORMAT_TYPE_3
    if data[at] == mbus.START:
        return at + 4 > len(data) or (data[at + 1] == data[at + 2] and data[at + 3] == mbus.START)
    tag_at = at + WPDU_HEAD_OCTETS
    return WPDU_VERSION.startswith(data[at : at + 2]) and (tag_at >= len(data) or data[tag_at] in _TAGS)


def is_sound_end(data: bytes, at: int) -> bool:
    """A frame may end at `at`: there the data end, or another begins by more bytes than chance writes."""
    left = len(data) - at
    return left == 0 or (left > WPDU_HEAD_OCTETS and may_begin_frame(data, at))


def is_sure_end(data: bytes, at: int) -> bool:
    """At `at` the data end, or a frame with good checksums begins: there, or with the flag before it."""
    if at >= len(data):
        return True
    starts = [place for place in (at - 1, at) if _CANDIDATE.match(data, place) and data[place] != WPDU_VERSION[0]]
    return any(_begins_frame(data, place) for place in starts)


def wpdu_chain(data: bytes) -> tuple[list[int], int]:
    """First bytes of the wrapper PDUs at the start of the data that are sound, and the byte after the last one.

    The cheap way through a file or a Kafka value: no objects. A PDU is sound if it holds a known APDU tag and what
    follows it may be a frame too. From the byte after the last one on, `framing.split_messages` cuts with more care.
    A length damaged so that it ends just where another PDU begins is not seen: what it swallowed is one message.
    """
    starts: list[int] = []
    at, stop = 0, len(data)
    size = alike = 0
    while data[at : at + 2] == WPDU_VERSION and at + WPDU_HEAD_OCTETS < stop and data[at + WPDU_HEAD_OCTETS] in _TAGS:
        length = data[at + 6] << 8 | data[at + 7]
        after = at + WPDU_HEAD_OCTETS + length
        if after > stop or not length:
            break
        starts.append(at)
        alike = alike + 1 if after - at == size else 1
        size, at = after - at, after
        if alike == _ALIKE:
            after = at + _alike_from(data, at, size) * size
            starts.extend(range(at, after, size))
            at, alike = after, 0
    if starts and not is_sound_end(data, at):
        at = starts.pop()
    return starts, at


def _alike_from(data: bytes, at: int, size: int) -> int:
    """How many wrapper PDUs that hold a known APDU tag and are `size` octets long stand end to end from `at` on."""
    most = min((len(data) - at) // size, _MOST_AT_ONCE)
    if not most:
        return 0
    heads = np.ndarray(most, ">u8", data, at, size)
    tags = np.ndarray(most, np.uint8, data, at + WPDU_HEAD_OCTETS, size)
    told = np.uint64(int.from_bytes(WPDU_VERSION) << 48 | size - WPDU_HEAD_OCTETS)
    sound = (heads & _VERSION_AND_LENGTH == told) & _IS_TAG[tags]
    return most if sound.all() else int(sound.argmin())


def _begins_frame(data: bytes, at: int) -> bool:
    if data[at] == hdlc.FLAG:
        return hdlc.is_frame(data, at)
    if data[at] == mbus.START:
        return _is_telegram(data, at)
    tag_at = at + WPDU_HEAD_OCTETS
    if tag_at >= len(data) or data[tag_at] not in _TAGS:
        return False
    length = data[at + 6] << 8 | data[at + 7]
    fits = length > 0 and tag_at + length <= len(data)
    return fits and (_fills(data, tag_at, length) or may_begin_frame(data, tag_at + length))


def _fills(data: bytes, tag_at: int, length: int) -> bool:
    """The APDU says by itself that it is `length` octets long, or begins as no chance does: looked at, not decoded.

    general-glo and general-ded state the length of their title and of their content; notifications have a date-time of
    12 octets or none, then a tag of A-XDR. So a frame is known even with junk right behind it.
    """
    tag = data[tag_at]
    if tag in _GENERAL_PROTECTION and data[tag_at + 1 : tag_at + 2] == _TITLE_LENGTH:
        octets, after = _length_at(data, tag_at + 2 + _TITLE_OCTETS)
        return after + octets == tag_at + length
    stamp = data[tag_at + _STAMP_AFTER : tag_at + _STAMP_AFTER + 14]
    if tag != _DATA_NOTIFICATION or not stamp:
        return False
    return stamp[13:14] in _LISTS if stamp[0] == _DATE_TIME_OCTETS else stamp[0] == 0 and stamp[1:2] in _LISTS


def _length_at(data: bytes, at: int) -> tuple[int, int]:
    first = data[at] if at < len(data) else 0
    more = first & 0x7F if first > 0x80 else 0
    octets = int.from_bytes(data[at + 1 : at + 1 + more]) if more else first
    return octets, at + 1 + more


def _is_telegram(data: bytes, at: int) -> bool:
    stop = at + 6 + (data[at + 1] if data[at + 1] > 1 else mbus.WRAPPED_LENGTH)
    if data[stop - 1 : stop] != bytes((mbus.STOP,)):  # cheap, before the errors that cost
        return False
    try:
        mbus.read_telegram(data, at, mbus.telegram_stop(data, at))
    except ProtocolError:
        return False
    return True
