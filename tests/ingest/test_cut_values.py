"""Any Kafka values are cut as a plain walk from PDU to PDU cuts them, and no octet is lost."""

from itertools import chain, groupby, pairwise

from hypothesis import example, given, settings
from hypothesis import strategies as st

from ingest.dlms.blocks import split_blocks
from ingest.dlms.framing import split_messages, wrap_wpdu
from ingest.dlms.resync import may_begin_frame, wpdu_chain
from ingest.dlms.tags import APDU_NAMES
from ingest.kafka.records import Records, frames_of_records

TAGS = sorted(set(APDU_NAMES) - {0xC4, 0xE0})  # without those that may be blocks
BLOCKS = [wrap_wpdu(block) for block in split_blocks(bytes((0x0F, *range(40))), 16)]
DATABLOCK = wrap_wpdu(bytes.fromhex("C4 02 C1 01 00000001 00 03 0F4142"))
RESULT = wrap_wpdu(bytes.fromhex("C4 02 C1 01 00000001 01 03"))
PUSH = wrap_wpdu(b"\x0f" + bytes(20))


@st.composite
def pdus(draw: st.DrawFn) -> list[bytes]:
    """Of one length, as the pushes of a fleet are, or of any; the longest need both octets of their length."""
    longest = draw(st.sampled_from([1, 2, 20, 300]))
    lengths = st.just(longest) if draw(st.booleans()) else st.integers(1, longest)
    many = draw(st.integers(0, 40 if longest < 300 else 4))
    tags = st.sampled_from(TAGS)
    return [wrap_wpdu(bytes((draw(tags), *([draw(st.integers(0, 255))] * (draw(lengths) - 1))))) for _ in range(many)]


GARBAGE = st.one_of(
    st.binary(min_size=1, max_size=12).map(lambda octets: bytes(0x80 | octet & 0x1F for octet in octets)),
    st.sampled_from(
        [
            b"\x00",
            b"\x00\x01",
            PUSH[:8],
            PUSH[:9],
            wrap_wpdu(b""),
            wrap_wpdu(b"") + b"\x0f",
            wrap_wpdu(b"\x99"),
            b"\x00\x02" + PUSH[2:],
        ]
    ),
)


@st.composite
def values(draw: st.DrawFn, *, blocks: bool = False) -> bytes | None:
    """PDUs end to end, with garbage, cut short or damaged; nothing; or no bytes at all."""
    if draw(st.integers(0, 9)) == 0:
        return draw(st.sampled_from([None, b""]))
    parts = draw(pdus())
    strange = draw(st.lists(GARBAGE, max_size=2)) if draw(st.booleans()) else []
    strange += draw(st.lists(st.sampled_from([*BLOCKS, DATABLOCK, RESULT]), max_size=4)) if blocks else []
    for each in strange:
        parts.insert(draw(st.integers(0, len(parts))), each)
    value = b"".join(parts)
    if value and draw(st.integers(0, 3)) == 0:
        value = value[: draw(st.integers(0, len(value)))]
    if value and not blocks and draw(st.integers(0, 3)) == 0:
        at = draw(st.integers(0, len(value) - 1))
        value = value[:at] + bytes((draw(st.integers(0, 0x5F)),)) + value[at + 1 :]
    return value


def walked(value: bytes) -> tuple[list[int], int]:
    """What `wpdu_chain` promises, octet by octet."""
    starts = [0]
    while True:
        head = value[starts[-1] : starts[-1] + 9]
        length = int.from_bytes(head[6:8], "big")
        after = starts[-1] + 8 + length
        if len(head) < 9 or head[:2] != b"\x00\x01" or head[8] not in APDU_NAMES or not length or after > len(value):
            break
        starts.append(after)
    left = len(value) - starts[-1]
    sound = left == 0 or (left > 8 and may_begin_frame(value, starts[-1]))
    if not sound and len(starts) > 1:
        starts.pop()
    return starts[:-1], starts[-1]


def plainly(value: bytes) -> list[bytes]:
    return [message.payload for message in split_messages(value)] or [value]


STRIDE = [PUSH] * 8
TWO_AS_ONE = PUSH[:6] + (2 * len(PUSH) - 8).to_bytes(2, "big") + PUSH[8:]


@settings(max_examples=300, deadline=None)
@given(st.one_of(values(), values(blocks=True)))
@example(b"".join([*STRIDE[:3], TWO_AS_ONE, *STRIDE[4:]]))  # at every stride a head, and one is swallowed
@example(b"".join([*STRIDE[:7], TWO_AS_ONE]))
@example(b"".join([*STRIDE[:3], PUSH[:8] + b"\x99" + PUSH[9:], *STRIDE[4:]]))
@example(b"".join([*STRIDE, wrap_wpdu(b""), *STRIDE]))
@example(b"".join([*STRIDE, wrap_wpdu(b"") + b"\x0f"]))
@example(b"".join(STRIDE) + PUSH[:9])
@example(b"".join(STRIDE) + PUSH[:8])
@example(wrap_wpdu(b"\x0f" * 0xFFFF) * 3)
@example(b"\x00")
def test_the_chain_is_that_of_a_plain_walk(value: bytes | None) -> None:
    starts, stop = wpdu_chain(value or b"")
    assert ([int(at) for at in starts], int(stop)) == walked(value or b"")


@settings(max_examples=300, deadline=None)
@given(st.lists(st.lists(values(), max_size=6), max_size=3))
@example([[b"".join(STRIDE)] * 3, [None, b""], [b"".join(STRIDE[:2])]])
@example([[PUSH * 2, PUSH * 2 + b"\x99", PUSH * 2]])
@example([[PUSH * 3, None, PUSH * 3]])
def test_the_frames_end_to_end_are_the_values_and_each_value_s_are_counted_from_0(
    parts: list[list[bytes | None]],
) -> None:
    sent = list(chain.from_iterable(parts))
    rows = cut(parts)
    assert [offset for offset, _ in groupby(row[0] for row in rows)] == list(range(len(sent)))
    for offset, value in enumerate(sent):
        mine = [(frame, payload) for at, frame, payload in rows if at == offset]
        assert [frame for frame, _ in mine] == list(range(len(mine)))
        assert b"".join(payload for _, payload in mine) == (value or b"")
        starts, stop = walked(value or b"")
        by_walk = [(value or b"")[at:after] for at, after in pairwise([*starts, stop])]
        assert [payload for _, payload in mine][: len(by_walk)] == by_walk
        assert [payload for _, payload in mine] == plainly(value or b"")


@settings(max_examples=150, deadline=None)
@given(st.lists(values(blocks=True), max_size=5))
@example([PUSH * 2, BLOCKS[0] + PUSH + BLOCKS[1] + BLOCKS[2]])
@example([DATABLOCK + PUSH, RESULT + PUSH])
def test_blocks_of_a_transfer_are_one_frame_and_no_octet_is_lost(sent: list[bytes | None]) -> None:
    rows = cut([sent])
    for offset, value in enumerate(sent):
        payloads = [payload for at, _, payload in rows if at == offset]
        assert payloads == plainly(value or b"")
        assert sorted(b"".join(payloads)) == sorted(value or b"")  # frames of others may stand between two blocks


def cut(parts: list[list[bytes | None]]) -> list[tuple[int, int, bytes]]:
    """Offset, frame and bytes of every row; offsets count over all parts."""
    records, first = [], 0
    for values in parts:
        records.append(Records("t", 0, range(first, first + len(values)), [0] * len(values), values))
        first += len(values)
    rows: list[tuple[int, int, bytes]] = frames_of_records(*records).select("offset", "frame", "payload").rows()
    return rows
