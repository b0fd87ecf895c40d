"""Whose messages come from which wrapper port of a connection: the system titles that its messages named. Sans-I/O."""

from typing import Final

from ingest.dlms.framing import WPDU_HEAD_OCTETS
from ingest.dlms.resync import WPDU_VERSION

_SOURCE: Final = slice(2, 4)
MAX_PORTS: Final = 128
"""Remembered of one connection, those heard last: a meter has a few, and who names ports without end gains nothing."""


class LineTitles:
    """The system title of each sender on a line, for messages ciphered by service, which carry none.

    A concentrator puts many meters on one line and tells them apart by the port that they send from: what one meter
    named says nothing of another port. Where several share a port the one that named itself last is taken: a wrong
    title is refused, for it is under the tag.
    """

    __slots__ = ("_titles",)

    def __init__(self) -> None:
        self._titles: dict[bytes, bytes] = {}  # by port, the one heard last at the end

    def note(self, message: bytes, title: bytes) -> None:
        """A message came, and named this title; nothing where it named none."""
        port = _port_of(message)
        if not title or not port:
            return
        self._titles.pop(port, None)
        self._titles[port] = title
        if len(self._titles) > MAX_PORTS:
            del self._titles[next(iter(self._titles))]

    def of(self, message: bytes) -> bytes:
        """The title of who sent this message, as far as the line has told it; else nothing."""
        return self._titles.get(_port_of(message), b"")


def _port_of(message: bytes) -> bytes:
    """The port that a wrapper PDU was sent from; nothing for any other message."""
    is_wrapper = message.startswith(WPDU_VERSION) and len(message) >= WPDU_HEAD_OCTETS
    return message[_SOURCE] if is_wrapper else b""
