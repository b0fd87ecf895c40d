"""HDLC frame format type 3 (Green Book 8.4): cut by its length field, check sequences verified, no byte stuffing."""

import binascii
from typing import Final, NamedTuple

from schemas.codes import RejectReason
from schemas.errors import ContractError, ProtocolError

FLAG: Final = 0x7E
LLC_FROM_SERVER: Final = b"\xe6\xe7\x00"
LLC_FROM_CLIENT: Final = b"\xe6\xe6\x00"
QUIRK_CONTROL_10: Final = "hdlc_control_10"
QUIRK_NUMBERED: Final = "hdlc_numbered"

FORMAT_TYPE_3: Final = 0xA
_SEGMENTED: Final = 0x0800
_LENGTH_MASK: Final = 0x07FF
_MAX_INFORMATION: Final = 2000
_ADDRESS_OCTETS: Final = frozenset((1, 2, 4))
_UI: Final = frozenset((0x03, 0x13))  # unnumbered information, without and with the final bit
CONTROL_KAIFA: Final = 0x10

_REFLECTED: Final = bytes(int(f"{octet:08b}"[::-1], 2) for octet in range(256))


class HdlcFrame(NamedTuple):
    """Places in the bytes that the frame was read from. Addresses as they were sent, extension bits included."""

    client: bytes
    server: bytes
    control: int
    segmented: bool
    info_at: int
    info_stop: int

    @property
    def quirks(self) -> tuple[str, ...]:
        """What its control byte needs: none for UI; a numbered frame (I) is read where a meter type says so."""
        if self.control in _UI:
            return ()
        return (QUIRK_CONTROL_10,) if self.control == CONTROL_KAIFA else (QUIRK_NUMBERED,)


def frame_stop(data: bytes, at: int) -> int:
    """The byte after the closing flag of the frame whose opening flag is at `at`, by its length field alone.

    Raises:
        ProtocolError: Not format type 3 or no flag where the length puts it (`link_length`), or the data end first.
    """
    if at + 3 > len(data):
        raise ProtocolError(RejectReason.LINK_INCOMPLETE, at, "HDLC frame cut short")
    form = data[at + 1] << 8 | data[at + 2]
    if form >> 12 != FORMAT_TYPE_3:
        raise ProtocolError(RejectReason.LINK_LENGTH, at + 1, "not HDLC frame format type 3")
    closing = at + 1 + (form & _LENGTH_MASK)
    if closing >= len(data):
        raise ProtocolError(RejectReason.LINK_INCOMPLETE, at + 1, "HDLC frame longer than the data")
    if data[closing] != FLAG or closing - at < 8:
        raise ProtocolError(RejectReason.LINK_LENGTH, at + 1, "no closing flag where the length puts it")
    return closing + 1


def read_frame(data: bytes, at: int, stop: int) -> HdlcFrame:
    """The frame from its opening flag at `at` to behind its closing flag at `stop`, both checksums verified.

    Raises:
        ProtocolError: A checksum is wrong, an address has no end or three bytes, or it is neither a UI nor an I frame.
    """
    fcs_at = stop - 3
    if fcs(data[at + 1 : fcs_at]) != data[fcs_at : stop - 1]:
        raise ProtocolError(RejectReason.LINK_CHECKSUM, fcs_at, "HDLC frame check sequence")
    return _read_head(data, at, fcs_at)


def control_at(frame: bytes) -> int:
    """The place of the control byte of a frame that `read_frame` has read."""
    fcs_at = len(frame) - 3
    return _address_stop(frame, _address_stop(frame, 3, fcs_at), fcs_at)


def is_frame(data: bytes, at: int) -> bool:
    """A whole frame with good checksums has its opening flag at `at`. The short check comes before the long one."""
    try:
        stop = frame_stop(data, at)
        _read_head(data, at, stop - 3)
        read_frame(data, at, stop)
    except ProtocolError:
        return False
    return True


def sound_head(frame: bytes) -> HdlcFrame | None:
    """The head of a frame whose header check sequence verifies: length and addresses are right, whatever else is
    damaged. None where it does not."""
    try:
        return _read_head(frame, 0, len(frame) - 3)
    except ProtocolError:
        return None


def fcs(octets: bytes) -> bytes:
    """CRC-16/X.25 of the octets, low byte first; of the text 123456789 it is 906E, sent as 6E 90.

    `binascii` counts the same polynomial with the highest bit first: octets go in and the sum comes out mirrored.
    """
    crc = binascii.crc_hqx(octets.translate(_REFLECTED), 0xFFFF) ^ 0xFFFF
    return bytes((_REFLECTED[crc >> 8], _REFLECTED[crc & 0xFF]))


def wrap_hdlc(
    apdu: bytes,
    *,
    client: bytes = b"\x41",
    server: bytes = b"\x08\x83",
    control: int = 0x13,
    max_information: int = _MAX_INFORMATION,
) -> bytes:
    """The APDU behind LLC bytes in as many frames as it needs, end to end.

    Args:
        apdu: The APDU.
        client: Address of the client as sent: 1, 2 or 4 octets, the last one odd, the others even.
        server: Address of the server, likewise.
        control: Control byte of every frame.
        max_information: Octets of information in a frame; more go into segments.

    Raises:
        ContractError: An address of another form, or no room for information.
    """
    for address in (client, server):
        if len(address) not in _ADDRESS_OCTETS or not address[-1] & 1 or any(octet & 1 for octet in address[:-1]):
            raise ContractError("an HDLC address has 1, 2 or 4 octets and the lowest bit set in the last one only")
    if not 1 <= max_information <= _MAX_INFORMATION:
        raise ContractError(f"an HDLC frame carries 1 to {_MAX_INFORMATION} octets of information")
    information = LLC_FROM_SERVER + apdu
    frames = []
    for first in range(0, len(information), max_information):
        piece = information[first : first + max_information]
        more = first + max_information < len(information)
        head = client + server + bytes((control,))
        form = FORMAT_TYPE_3 << 12 | (_SEGMENTED if more else 0) | len(head) + len(piece) + 6
        head = form.to_bytes(2, "big") + head
        body = head + fcs(head) + piece
        frames.append(b"".join((b"\x7e", body, fcs(body), b"\x7e")))
    return b"".join(frames)


def _read_head(data: bytes, at: int, fcs_at: int) -> HdlcFrame:
    server_at = _address_stop(data, at + 3, fcs_at)
    control_at = _address_stop(data, server_at, fcs_at)
    if control_at >= fcs_at:
        raise ProtocolError(RejectReason.LINK_LENGTH, control_at, "HDLC frame without a control byte")
    control = data[control_at]
    if control not in _UI and control & 1:  # an I frame has its lowest bit clear (ISO/IEC 13239)
        raise ProtocolError(RejectReason.NOT_DLMS, control_at, f"HDLC control {control:02X} carries no notification")
    info_at = control_at + 3
    if info_at >= fcs_at:
        raise ProtocolError(RejectReason.LINK_LENGTH, control_at, "HDLC frame without information")
    if fcs(data[at + 1 : control_at + 1]) != data[control_at + 1 : info_at]:
        raise ProtocolError(RejectReason.LINK_CHECKSUM, control_at + 1, "HDLC header check sequence")
    segmented = bool(data[at + 1] & _SEGMENTED >> 8)
    return HdlcFrame(data[at + 3 : server_at], data[server_at:control_at], control, segmented, info_at, fcs_at)


def _address_stop(data: bytes, at: int, stop: int) -> int:
    # The last octet of an address has its lowest bit set (ISO/IEC 13239).
    after = at
    while after < stop and after - at < 4:
        after += 1
        if data[after - 1] & 1:
            break
    if after == at or not data[after - 1] & 1 or after - at not in _ADDRESS_OCTETS:
        raise ProtocolError(RejectReason.LINK_LENGTH, at, "an HDLC address of no known form")
    return after
