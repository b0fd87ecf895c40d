"""A place in a byte string that knows its byte: every read is bounded, every failure names where it stood."""

from typing import Final

from schemas.codes import RejectReason
from schemas.errors import ProtocolError

MAX_LENGTH_OCTETS: Final = 4
"""`84 xxxxxxxx` is the longest length that is read; longer forms have no use below 4 GiB (X.690 8.1.3)."""

MAX_ELEMENTS: Final = 1 << 17
"""Values that one message may hold. The longest profiles in the field have some thousand (dlms.md section 11); a value
takes about a kilobyte on its way to a row, so a message never takes more than this many of them, whoever sent it."""


class Cursor:
    """A reader of `data` from `at` up to, and never beyond, `stop`, and of no more than `MAX_ELEMENTS` values."""

    __slots__ = ("at", "data", "elements", "stop")

    def __init__(self, data: bytes, at: int = 0, stop: int | None = None) -> None:
        self.data = data
        self.at = at
        self.stop = len(data) if stop is None else stop
        self.elements = MAX_ELEMENTS

    def spend(self, elements: int, at: int) -> None:
        """So many values more are about to be read.

        Raises:
            ProtocolError: More than a message may hold; `at` says where.
        """
        self.elements -= elements
        if self.elements < 0:
            raise ProtocolError(RejectReason.WORK, at, f"more than {MAX_ELEMENTS} values")

    def u8(self) -> int:
        """The next byte."""
        at = self.at
        if at >= self.stop:
            raise ProtocolError(RejectReason.AXDR_TRUNCATED, at, "a byte is missing")
        self.at = at + 1
        return self.data[at]

    def unsigned(self, octets: int) -> int:
        """The next `octets` bytes as an unsigned big-endian number."""
        return int.from_bytes(self.take(octets), "big")

    def take(self, octets: int) -> bytes:
        """The next `octets` bytes, which must be there: checked before anything is copied."""
        at = self.at
        after = at + octets
        if after > self.stop:
            raise ProtocolError(RejectReason.AXDR_TRUNCATED, at, f"{octets} bytes announced, {self.stop - at} there")
        self.at = after
        return self.data[at:after]

    def length(self) -> int:
        """A length or count: one byte below 80, else `81` to `84` and that many bytes less 80.

        A longer form than needed is legal to accept (Kamstrup sends `82 00 E7`).

        Raises:
            ProtocolError: `80` (indefinite) or a form of five bytes and more.
        """
        at = self.at
        first = self.u8()
        if first < 0x80:
            return first
        octets = first - 0x80
        if not 1 <= octets <= MAX_LENGTH_OCTETS:
            raise ProtocolError(RejectReason.AXDR_LENGTH, at, f"length form {first:02X}")
        return self.unsigned(octets)

    def octets(self) -> bytes:
        """An octet string without tag: its length, then its bytes."""
        return self.take(self.length())

    def finish(self) -> None:
        """Nothing is left.

        Raises:
            ProtocolError: Bytes are left over.
        """
        if self.at != self.stop:
            raise ProtocolError(RejectReason.TRAILING_BYTES, self.at, f"{self.stop - self.at} bytes left over")


def encode_length(length: int) -> bytes:
    """The shortest form of a length or count."""
    if length < 0x80:
        return bytes((length,))
    octets = (length.bit_length() + 7) // 8
    return bytes((0x80 + octets,)) + length.to_bytes(octets, "big")
