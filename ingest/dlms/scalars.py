"""The A-XDR types that are more than a packed number: bit string, text, BCD. Without their tags, both ways."""

from ingest.dlms.cursor import Cursor, encode_length
from schemas.codes import RejectReason
from schemas.errors import ContractError, ProtocolError


def read_bit_string(cursor: Cursor) -> str:
    """Digits of a bit string, the first sent first; the padding of the last byte is dropped."""
    bits = cursor.length()
    octets = cursor.take((bits + 7) // 8)
    if not bits:
        return ""
    return f"{int.from_bytes(octets, 'big'):0{8 * len(octets)}b}"[:bits]


def encode_bit_string(digits: str) -> bytes:
    """Bit count and the bits, padded with zeros to whole bytes."""
    if digits.strip("01"):
        raise ContractError("a bit string holds the digits 0 and 1 only")
    octets = (len(digits) + 7) // 8
    packed = int(digits.ljust(8 * octets, "0"), 2).to_bytes(octets, "big") if octets else b""
    return encode_length(len(digits)) + packed


def read_text(cursor: Cursor, encoding: str) -> str:
    """A string by its length. Visible strings are read as Latin-1: meters do send letters beyond ASCII."""
    at = cursor.at
    octets = cursor.octets()
    try:
        return octets.decode(encoding)
    except UnicodeDecodeError as error:
        raise ProtocolError(RejectReason.APDU_MALFORMED, at, "a UTF-8 string that is none") from error


def encode_text(text: str, encoding: str) -> bytes:
    """Length and bytes of a string."""
    try:
        octets = text.encode(encoding)
    except UnicodeEncodeError as error:
        raise ContractError(f"a string that {encoding} cannot hold") from error
    return encode_length(len(octets)) + octets


def read_bcd(cursor: Cursor) -> int:
    """Two decimal digits in a byte, 0 to 99."""
    at = cursor.at
    octet = cursor.u8()
    tens, ones = divmod(octet, 16)
    if tens > 9 or ones > 9:
        raise ProtocolError(RejectReason.APDU_MALFORMED, at, "a digit above 9 in BCD")
    return 10 * tens + ones


def encode_bcd(value: int) -> bytes:
    """Two decimal digits in a byte."""
    if not 0 <= value <= 99:
        raise ContractError("BCD holds 0 to 99")
    return bytes((16 * (value // 10) + value % 10,))
