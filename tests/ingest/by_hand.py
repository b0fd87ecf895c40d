"""Messages written from the standard's tables alone, sharing no line with the product's encoders."""

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tests.ingest.fleet import AK, EK, NAME, TITLE

CLOCK = bytes.fromhex("07EA0302FF0100000000000000")[:12]
"""2026-03-02 01:00:00.00, deviation 0, status 0."""
VALUE = 123_456
BODY = (
    bytes.fromhex("0102 0202 0906 00002A0000FF 0910") + NAME.encode()
    + bytes.fromhex("0203 0906 0100010800FF 06") + VALUE.to_bytes(4, "big") + bytes.fromhex("0202 0F00 161E")
)  # fmt: skip
"""Array of two rows: the logical device name; 1-0:1.8.0.255, u32, scaler 0, Wh."""
PUSH = b"\x0f\x00\x00\x00\x01\x0c" + CLOCK + BODY
"""A data-notification of it."""


def crc(octets: bytes) -> bytes:
    """CRC-16/X.25 bit by bit, low byte first."""
    register = 0xFFFF
    for octet in octets:
        register ^= octet
        for _ in range(8):
            register = register >> 1 ^ (0x8408 if register & 1 else 0)
    return (register ^ 0xFFFF).to_bytes(2, "little")


def wrapper(apdu: bytes, source: int = 1, destination: int = 0x67) -> bytes:
    return b"\x00\x01" + b"".join(number.to_bytes(2, "big") for number in (source, destination, len(apdu))) + apdu


def hdlc_address(number: int, octets: int) -> bytes:
    """The number in so many octets of seven bits, the lowest bit set in the last one only."""
    groups = [number >> 7 * at & 0x7F for at in reversed(range(octets))]
    return bytes(group << 1 for group in groups[:-1]) + bytes((groups[-1] << 1 | 1,))


def hdlc(information: bytes, client: bytes = b"\x41", server: bytes = b"\x03", control: int = 0x13, *, more=False):
    """One frame."""
    head = client + server + bytes((control,))
    form = (0xA800 if more else 0xA000) | 2 + len(head) + 2 + len(information) + 2
    checked = form.to_bytes(2, "big") + head
    body = checked + crc(checked) + information
    return b"\x7e" + body + crc(body) + b"\x7e"


def hdlc_segments(apdu: bytes, room: int, **options: bytes) -> list[bytes]:
    information = b"\xe6\xe7\x00" + apdu
    pieces = [information[at : at + room] for at in range(0, len(information), room)]
    return [hdlc(piece, more=piece is not pieces[-1], **options) for piece in pieces]


def mbus(apdu: bytes, room: int = 250) -> list[bytes]:
    """Telegrams of at most so many data bytes; 252 of them wrap the length."""
    telegrams = []
    for segment, at in enumerate(range(0, len(apdu), room)):
        last = 0x10 if at + room >= len(apdu) else 0
        counted = bytes((0x53, 0xFF, last | segment, 0x01, 0x67)) + apdu[at : at + room]
        length = len(counted) & 0xFF
        telegrams.append(bytes((0x68, length, length, 0x68)) + counted + bytes((sum(counted) & 0xFF, 0x16)))
    return telegrams


def blocks(apdu: bytes, room: int) -> list[bytes]:
    """general-block-transfer APDUs, streaming, window 0."""
    pieces = [apdu[at : at + room] for at in range(0, len(apdu), room)]
    return [
        bytes((0xE0, 0xC0 if number == len(pieces) else 0x40)) + number.to_bytes(2, "big") + b"\x00\x00"
        + bytes((len(piece),)) + piece
        for number, piece in enumerate(pieces, 1)
    ]  # fmt: skip


def content(plain: bytes, control: int, counter: int, ek: bytes = EK, ak: bytes = AK, fields: bytes = b"") -> bytes:
    """Security control, counter, content, tag: with a general AES-GCM, its tag cut to twelve bytes."""
    head = bytes((control,)) + counter.to_bytes(4, "big")
    iv = TITLE + head[1:]
    known = bytes((control,)) + ak + fields
    if control & 0x30 == 0x30:
        return head + AESGCM(ek).encrypt(iv, plain, known)[:-4]
    if control & 0x10:
        return head + plain + AESGCM(ek).encrypt(iv, b"", known + plain)[:12]
    return head + (AESGCM(ek).encrypt(iv, plain, None)[:-16] if control & 0x20 else plain)


def sized(octets: bytes) -> bytes:
    """An octet string: the length, in one octet or behind 82, and the octets."""
    return (bytes((len(octets),)) if len(octets) < 128 else b"\x82" + len(octets).to_bytes(2, "big")) + octets


def by_service(tag: int, plain: bytes, control: int = 0x30, counter: int = 1) -> bytes:
    return bytes((tag,)) + sized(content(plain, control, counter))


def general(plain: bytes, control: int = 0x30, counter: int = 1, *, tag: int = 0xDB, ek=EK, ak=AK) -> bytes:
    return bytes((tag,)) + sized(TITLE) + sized(content(plain, control, counter, ek, ak))


def general_ciphering(plain: bytes, key_info: bytes, control: int = 0x31, counter: int = 1, ek=EK, ak=AK) -> bytes:
    """Transaction 01, to recipient 00…01, no date-time, no other information."""
    fields = b"\x01\x01" + sized(TITLE) + sized(bytes(7) + b"\x01") + b"\x00\x00"
    return b"\xdd" + fields + key_info + sized(content(plain, control, counter, ek, ak, fields))
