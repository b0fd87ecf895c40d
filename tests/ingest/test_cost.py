"""No input costs more than linear time: hostile shapes at one size and at four times that, in processor time."""

import gc
import random
import time
from collections.abc import Callable

import pytest

from ingest.decode import Decoded, decode_frames
from ingest.dlms.cursor import MAX_ELEMENTS
from ingest.enrolment import Enrolment
from ingest.kafka.records import Records, frames_of_records
from ingest.keyring import Keyring
from ingest.meter_types import BUILT_IN
from ingest.replay import Windows
from tests.ingest import by_hand as hand
from tests.ingest.fleet import (
    KEYS,
    NAME,
    OTHER_NAME,
    RECEIVED,
    enrolled,
    interval_rows,
    meters,
    notification,
    sealed,
    usual_rows,
)

RING = Keyring.from_csv(KEYS)
REGISTRY = Enrolment.of(meters(enrolled(), enrolled(meter_id=OTHER_NAME, system_title=None)), BUILT_IN)
SMALL = 300
AT_MS = int(RECEIVED.timestamp() * 1000)


def plain(body: bytes) -> bytes:
    return hand.wrapper(b"\x0f\x00\x00\x00\x01\x00" + body)


def counted(count: int) -> bytes:
    return b"\x82" + count.to_bytes(2, "big")


def block(number: int) -> bytes:
    return hand.wrapper(bytes.fromhex("E040") + number.to_bytes(2, "big") + bytes.fromhex("00000101"))


READING = notification(interval_rows(usual_rows(1)))
OBJECT = bytes.fromhex("0204 120003 09060100010800FF 0F02 120000")
SHAPES: dict[str, Callable[[int], list[bytes]]] = {
    "tiny WPDUs": lambda n: [hand.wrapper(b"\x0f") * n],
    "junk": lambda n: [random.Random(n).randbytes(20 * n)],
    "flags that begin nothing": lambda n: [b"\x7e\xa0" * 10 * n],
    "heads of long frames": lambda n: [b"\x7e\xa7\xff\x03\x03\x13" * 3 * n],
    "heads of telegrams": lambda n: [b"\x68\xfa\xfa\x68" * 5 * n],
    "zeros": lambda n: [bytes(20 * n)],
    "layouts of one length": lambda n: [
        plain(b"\x02\x10" + b"".join(b"\x12\x00\x01" if k >> bit & 1 else b"\x10\x00\x01" for bit in range(16)))
        for k in range(n)
    ],
    "names that are structure": lambda n: [
        plain(bytes.fromhex("02020906") + k.to_bytes(4, "big") + bytes.fromhex("01FF0600000001")) for k in range(n)
    ],
    "lengths": lambda n: [plain(b"\x09" + counted(k) + bytes(k)) for k in range(n // 4)],
    "nests": lambda n: [plain(b"\x02\x01" * 10 * n)],
    "a compact array of nulls": lambda n: [plain(bytes.fromhex("1302021100") + counted(n) + bytes(n))],
    "structures": lambda n: [plain(b"\x01" + counted(n) + b"\x02\x01\x00" * n)],
    "strings of an event": lambda n: [
        hand.wrapper(bytes.fromhex("C2000001808080808000FF02") + counted(n) + (b"\x09\x0c" + hand.CLOCK) * n)
    ],
    "a push object list": lambda n: [
        plain(b"\x02" + counted(n + 1) + b"\x01" + counted(n) + OBJECT * n + b"\x06\x00\x00\x00\x01" * n)
    ],
    "rows of nulls": lambda n: [
        plain(b"\x02\x03\x09\x10" + NAME.encode() + bytes.fromhex("09060100630100FF01") + counted(n)
              + b"\x02\x03\x09\x0c" + hand.CLOCK + b"\x11\x00\x06\x00\x00\x00\x01" + b"\x02\x03\x00\x00\x00" * (n - 1))
    ],
    "rows of deltas": lambda n: [
        plain(b"\x02\x03\x09\x10" + NAME.encode() + bytes.fromhex("09060100630100FF01") + counted(n)
              + bytes.fromhex("0203090c") + hand.CLOCK + bytes.fromhex("11000600000001")
              + bytes.fromhex("020300001f01") * (n - 1))
    ],
    "event codes": lambda n: [
        plain(b"\x01" + counted(n + 1) + bytes.fromhex("0202090600002A0000FF0910") + NAME.encode()
              + bytes.fromhex("0202 0906 0000600B00FF 1105") * n)
    ],
    "status words": lambda n: [
        plain(b"\x01" + counted(n + 1) + bytes.fromhex("0202090600002A0000FF0910") + NAME.encode()
              + (bytes.fromhex("0202 0906 00005E5B12FF 04 8180") + b"\xff" * 16) * n)
    ],
    "blocks that never end": lambda n: [b"".join(block(1 + k) for k in range(n))],
    "first blocks": lambda n: [block(1) * n],
    "blocks in messages of their own": lambda n: [block(1)] * n,
    "segments that never end": lambda n: [
        hand.hdlc(b"\xe6\xe7\x00\x0f", more=True) + hand.hdlc(b"\x00\x00", more=True) * n
    ],
    "first telegrams": lambda n: [hand.mbus(b"\x0f" * 20, 10)[0] * n],
    "one stream's counters, in any order": lambda n: [sealed(READING, 1 + k * 7919 % 97) for k in range(n)],
    "alarms that are none": lambda n: [b"A" * 17 + b",abcd"] * n,
}  # fmt: skip


def decoded_of(values: list[bytes]) -> Decoded:
    records = Records("ami.frames.v1", 0, range(len(values)), [AT_MS] * len(values), values)
    return decode_frames(frames_of_records(records), RING, Windows.empty(), REGISTRY)


def cost(values: list[bytes]) -> float:
    """Processor seconds, the lesser of two; collecting garbage is paused, it comes when it comes."""
    seconds = []
    gc.disable()
    try:
        for _ in range(2):
            start = time.process_time()
            counts = decoded_of(values).counts
            seconds.append(time.process_time() - start)
            assert counts.frames == counts.decoded + counts.rejected + counts.duplicates
    finally:
        gc.enable()
    return min(seconds)


@pytest.mark.parametrize("name", SHAPES)
def test_four_times_the_input_costs_about_four_times_as_much(name: str) -> None:
    small, large = SHAPES[name](SMALL), SHAPES[name](4 * SMALL)
    grown = sum(map(len, large)) / sum(map(len, small))
    assert cost(large) < 2 * grown * (cost(small) + 0.02)


def test_a_megabyte_of_values_in_blocks_is_refused_before_it_takes_a_gigabyte() -> None:
    body = b"\x0f\x00\x00\x00\x01\x00\x01\x83" + (900_000).to_bytes(3, "big") + bytes(900_000)
    pieces = [body[at : at + 60_000] for at in range(0, len(body), 60_000)]
    value = b"".join(
        hand.wrapper(
            bytes((0xE0, 0xC0 if piece is pieces[-1] else 0x40)) + number.to_bytes(2, "big") + b"\x00\x00"
            + hand.sized(piece)
        )
        for number, piece in enumerate(pieces, 1)
    )  # fmt: skip
    assert decoded_of([value]).rejects["reason"].to_list() == ["work"]
    assert decoded_of([plain(b"\x01" + counted(60_000) + bytes(60_000))]).rejects["reason"].to_list() == ["identity"]
    assert MAX_ELEMENTS > 20 * 96 * 60  # far above a day of sixty registers
