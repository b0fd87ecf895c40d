"""Files of frames as RAW_FRAMES: bytes end to end, or a frame a line in hexadecimal."""

import binascii
import re
from typing import Final

import numpy as np
import polars as pl

from ingest.chains import any_blocks, pieces
from ingest.dlms.framing import RawMessage, split_lines, split_messages
from ingest.dlms.resync import wpdu_chain
from schemas.frames import RAW_FRAMES, UTC_US

_NOT_HEX: Final = re.compile(rb"[\s,:-]|0x|^\xef\xbb\xbf")
"""What may stand between digits; and the byte order mark before the first line."""
_DIGITS: Final = frozenset(b"0123456789abcdefABCDEF")


def cut_bin(data: bytes, topic: str) -> pl.DataFrame:
    """The messages of frames that stand end to end in a file.

    Args:
        data: The file. Nothing is lost: what cannot be cut is a message too, and becomes a reject in decoding.
        topic: The file's name.

    Returns:
        RAW_FRAMES in file order: partition 0, offset 0, `frame` from 0, `received_at` null.
    """
    starts, stop = wpdu_chain(data)
    if starts and any_blocks(data, starts):
        starts, stop = [], 0  # blocks of one APDU may stand in several WPDUs: those are joined the long way
    whole = pieces(data, np.array([*starts, stop], np.int64))
    rest = _payloads(split_messages(data[stop:])) if stop < len(data) else []
    return _frames(whole.append(pl.Series(rest, dtype=pl.Binary)), topic)


def cut_hex(text: bytes, topic: str) -> pl.DataFrame:
    """The messages of a text that holds one link-layer frame a line, in hexadecimal.

    Blank lines and white space between digits do not count. A line that is not hexadecimal is a message of its own,
    as it stands in the file, be it text or not: decoding rejects it.
    """
    payloads: list[bytes] = []
    run: list[bytes] = []
    for line in text.splitlines():
        octets = octets_of_line(line)
        if octets is None:
            payloads += _payloads(split_lines(run))
            payloads.append(line)
            run = []
        elif octets:
            run.append(octets)
    payloads += _payloads(split_lines(run))
    return _frames(pl.Series(payloads, dtype=pl.Binary), topic)


def octets_of_line(line: bytes) -> bytes | None:
    """The octets that a line says in hexadecimal, none for a blank one; None where it is not hexadecimal."""
    digits = _NOT_HEX.sub(b"", line)
    return None if len(digits) % 2 or not _DIGITS.issuperset(digits) else binascii.unhexlify(digits)


def _payloads(messages: list[RawMessage]) -> list[bytes]:
    return [message.payload for message in messages]


def _frames(payloads: pl.Series, topic: str) -> pl.DataFrame:
    count = len(payloads)
    return pl.DataFrame(
        {
            "topic": pl.repeat(topic, count, dtype=pl.String, eager=True),
            "partition": pl.zeros(count, dtype=pl.Int32, eager=True),
            "offset": pl.zeros(count, dtype=pl.Int64, eager=True),
            "frame": pl.int_range(count, dtype=pl.Int32, eager=True),
            "received_at": pl.Series([None] * count, dtype=UTC_US),
            "payload": payloads,
        },
        schema=RAW_FRAMES.schema,
    )
