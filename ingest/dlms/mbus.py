"""Wired M-Bus long frames (EN 13757-2) with the transport bytes of Austrian customer ports."""

from typing import Final, NamedTuple

from schemas.codes import RejectReason
from schemas.errors import ContractError, ProtocolError

START: Final = 0x68
STOP: Final = 0x16
QUIRK_LENGTH_257: Final = "mbus_length_257"

_HEAD_OCTETS: Final = 4  # 68 L L 68
_TRANSPORT_OCTETS: Final = 5  # C, A, CI, STSAP, DTSAP
_MAX_COUNTED: Final = 255
WRAPPED_LENGTH: Final = 257  # L = 01 where the counter of a Sagemcom T210-D has wrapped
_SEGMENT_MASK: Final = 0x0F
_LAST_SEGMENT: Final = 0x10


class Telegram(NamedTuple):
    """Places in the bytes that the telegram was read from."""

    segment: int
    last: bool
    source: int
    destination: int
    data_at: int
    data_stop: int
    wrapped: bool


def telegram_stop(data: bytes, at: int) -> int:
    """The byte after the stop byte of the telegram at `at`, by its length field.

    `68 01 01 68` stands for 257 counted bytes where checksum and stop byte fit there.

    Raises:
        ProtocolError: The two lengths differ, the stop byte is not where they put it, or the data end first.
    """
    if at + _HEAD_OCTETS > len(data):
        raise ProtocolError(RejectReason.LINK_INCOMPLETE, at, "M-Bus telegram cut short")
    counted = data[at + 1]
    if data[at + 2] != counted or data[at + 3] != START:
        raise ProtocolError(RejectReason.LINK_LENGTH, at + 1, "M-Bus lengths differ")
    if _is_wrapped(data, at):
        return at + _HEAD_OCTETS + WRAPPED_LENGTH + 2
    if counted < _TRANSPORT_OCTETS:
        raise ProtocolError(RejectReason.LINK_LENGTH, at + 1, "M-Bus telegram without transport bytes")
    stop = at + _HEAD_OCTETS + counted + 2
    if stop > len(data):
        raise ProtocolError(RejectReason.LINK_INCOMPLETE, at + 1, "M-Bus telegram longer than the data")
    if data[stop - 1] != STOP:
        raise ProtocolError(RejectReason.LINK_LENGTH, at + 1, "no stop byte where the length puts it")
    return stop


def may_wrap(data: bytes, at: int) -> bool:
    """`68 01 01 68` at `at`, and the data end before it can be told whether it stands for 257 counted bytes."""
    wrapped = bytes((START, WRAPPED_LENGTH & 0xFF, WRAPPED_LENGTH & 0xFF, START))
    return data[at : at + _HEAD_OCTETS] == wrapped and at + _HEAD_OCTETS + WRAPPED_LENGTH + 2 > len(data)


def read_telegram(data: bytes, at: int, stop: int) -> Telegram:
    """The telegram from `at` to behind its stop byte at `stop`, its checksum verified.

    Raises:
        ProtocolError: The checksum is wrong.
    """
    counted = data[at + _HEAD_OCTETS : stop - 2]
    if sum(counted) & 0xFF != data[stop - 2]:
        raise ProtocolError(RejectReason.LINK_CHECKSUM, stop - 2, "M-Bus checksum")
    control_information = counted[2]
    return Telegram(
        segment=control_information & _SEGMENT_MASK,
        last=bool(control_information & _LAST_SEGMENT),
        source=counted[3],
        destination=counted[4],
        data_at=at + _HEAD_OCTETS + _TRANSPORT_OCTETS,
        data_stop=stop - 2,
        wrapped=stop - at - _HEAD_OCTETS - 2 == WRAPPED_LENGTH,
    )


def addresses(telegram: bytes) -> tuple[int, int]:
    """Source and destination that a telegram names, whether its checksum is right or not."""
    return telegram[_HEAD_OCTETS + 3], telegram[_HEAD_OCTETS + 4]


def wrap_mbus(apdu: bytes, *, source: int = 1, destination: int = 0x67, max_counted: int = _MAX_COUNTED) -> bytes:
    """The APDU in as many telegrams as it needs, at most 16, end to end."""
    room = max_counted - _TRANSPORT_OCTETS
    if not 1 <= room <= _MAX_COUNTED - _TRANSPORT_OCTETS or len(apdu) > room * (_SEGMENT_MASK + 1):
        raise ContractError("an M-Bus telegram counts 6 to 255 bytes, a message has at most 16 telegrams")
    telegrams = []
    for segment, first in enumerate(range(0, max(len(apdu), 1), room)):
        last = _LAST_SEGMENT if first + room >= len(apdu) else 0
        counted = bytes((0x53, 0xFF, segment | last, source, destination)) + apdu[first : first + room]
        head = bytes((START, len(counted), len(counted), START))
        telegrams.append(head + counted + bytes((sum(counted) & 0xFF, STOP)))
    return b"".join(telegrams)


def _is_wrapped(data: bytes, at: int) -> bool:
    stop = at + _HEAD_OCTETS + WRAPPED_LENGTH + 2
    if data[at + 1] != WRAPPED_LENGTH & 0xFF or stop > len(data) or data[stop - 1] != STOP:
        return False
    return sum(data[at + _HEAD_OCTETS : stop - 2]) & 0xFF == data[stop - 2]
