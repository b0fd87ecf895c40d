"""What meters send on one line, of which parts are lost or come twice while others interleave, and what may be made of
it."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from hypothesis import strategies as st

from ingest.dlms.framing import unwrap
from schemas.errors import ProtocolError
from tests.ingest import by_hand as hand

Form = Callable[[bytes, int], list[bytes]]


def wpdu_blocks(apdu: bytes, sender: int) -> list[bytes]:
    return [hand.wrapper(block, source=sender) for block in hand.blocks(apdu, 7)]


def hdlc_blocks(apdu: bytes, sender: int) -> list[bytes]:
    llc = (b"\xe6\xe7\x00", *[b""] * len(apdu))
    parts = zip(llc, hand.blocks(apdu, 7), strict=False)
    return [hand.hdlc(before + block, server=hand.hdlc_address(sender, 2)) for before, block in parts]


def segments(apdu: bytes, sender: int) -> list[bytes]:
    return hand.hdlc_segments(apdu, 9, server=hand.hdlc_address(sender, 2))


def datablocks(apdu: bytes, sender: int) -> list[bytes]:
    pieces = [apdu[at : at + 7] for at in range(0, len(apdu), 7)]
    heads = [
        b"\xc4\x02\x01" + bytes((number == len(pieces),)) + number.to_bytes(4, "big") + b"\x00"
        for number in range(1, len(pieces) + 1)
    ]
    return [hand.wrapper(head + hand.sized(piece), source=sender) for head, piece in zip(heads, pieces, strict=True)]


def telegrams(apdu: bytes, sender: int) -> list[bytes]:
    """The access point is the sender; the checksum rises with it."""
    found = []
    for telegram in hand.mbus(apdu, 9):
        own = bytearray(telegram)
        own[7] += sender
        own[-2] = own[-2] + sender & 0xFF
        found.append(bytes(own))
    return found


CHECKED: list[Form] = [hdlc_blocks, segments, telegrams]
"""Those of which a damaged part is known by its checksum."""
FORMS: list[Form] = [wpdu_blocks, hdlc_blocks, segments, datablocks, telegrams]


def sent(sender: int, number: int, octets: int = 30, *, alike: bool = False) -> bytes:
    """An APDU no part of which is a part of another; `alike`: but the first, as pushes of one meter begin."""
    head = b"\x0f" + bytes((sender, 0xEE)) * 3 if alike else b""
    return head + b"\x0f" + bytes((sender, number)) * octets


def _damaged(part: bytes) -> bytes:
    return part[:-4] + bytes((part[-4] ^ 1,)) + part[-3:]


class Transfer(NamedTuple):
    apdu: bytes
    parts: list[bytes]
    whole: bool


@st.composite
def transfers(draw: st.DrawFn, form: Form, sender: int, *, singles: bool) -> list[Transfer]:
    """Of one sender in their order; one of which parts are lost is followed by a whole one, or nothing."""
    alike = draw(st.booleans())
    found: list[Transfer] = []
    for number in range(draw(st.integers(1, 3))):
        apdu = sent(sender, number, draw(st.sampled_from((1, 14, 30))), alike=alike)
        single = singles and form in (wpdu_blocks, datablocks) and draw(st.booleans())
        parts = [hand.wrapper(apdu, source=sender)] if single else form(apdu, sender)
        lost: set[int] = set()
        if len(parts) > 1 and (not found or found[-1].whole):
            lost = draw(st.sets(st.integers(0, len(parts) - 1), max_size=len(parts) - 1))
            if form is segments:  # not numbered: one within is missed by nothing but what they hold
                lost = {place for place in lost if all(each in lost for each in range(place))}
        damaged = form in CHECKED and draw(st.booleans())
        left = [
            _damaged(part) if place in lost else part
            for place, part in enumerate(parts)
            if damaged or place not in lost
        ]
        found.append(Transfer(apdu, left, not lost))
    return found


@st.composite
def lines(
    draw: st.DrawFn, forms: Sequence[Form] = FORMS, *, singles: bool = True
) -> tuple[list[Transfer], list[bytes]]:
    """All that was sent, and what of it is on the line in which order; `singles`: whole APDUs are among it."""
    form = draw(st.sampled_from(forms))
    queues = [draw(transfers(form, sender, singles=singles)) for sender in range(1, draw(st.integers(2, 4)) + 1)]
    waiting = [[part for each in queue for part in each.parts] for queue in queues]
    line: list[bytes] = []
    while any(waiting):
        line.append(draw(st.sampled_from([queue for queue in waiting if queue])).pop(0))
    return [each for queue in queues for each in queue], line


def joined(payload: bytes) -> bytes | None:
    """The APDU of a message, None where it is torn; of a get-response the data."""
    try:
        apdu = unwrap(payload).apdu
    except ProtocolError:
        return None
    return apdu[apdu.find(b"\x0f", 8) :] if apdu[:1] == b"\xc4" else apdu


@st.composite
def copied_lines(
    draw: st.DrawFn, forms: Sequence[Form] = (wpdu_blocks, hdlc_blocks, datablocks)
) -> tuple[list[Transfer], list[bytes]]:
    """Transfers in blocks of which all arrives, with one block of all that comes again, anywhere behind itself."""
    form = draw(st.sampled_from(forms))
    queues = [
        [Transfer(apdu, form(apdu, sender), True) for apdu in apdus]
        for sender in range(1, draw(st.integers(1, 3)) + 1)
        for alike in (draw(st.booleans()),)
        for sizes in (draw(st.lists(st.sampled_from((4, 9, 14, 30)), min_size=1, max_size=4)),)
        for apdus in ([sent(sender, number, octets, alike=alike) for number, octets in enumerate(sizes)],)
    ]
    waiting = [[part for each in queue for part in each.parts] for queue in queues]
    line: list[bytes] = []
    while any(waiting):
        line.append(draw(st.sampled_from([queue for queue in waiting if queue])).pop(0))
    again = draw(st.integers(0, len(line) - 1))
    at = draw(st.integers(again + 1, len(line)))
    return [each for queue in queues for each in queue], [*line[:at], line[again], *line[at:]]


def check_copied(messages: list[bytes], all_sent: list[Transfer]) -> None:
    """Each is whole, and nothing else is told."""
    assert sorted(map(joined, messages), key=str) == sorted((each.apdu for each in all_sent), key=str)


def check(messages: list[bytes], all_sent: list[Transfer], line: list[bytes]) -> None:
    apdus = [joined(message) for message in messages]
    whole = [apdu for apdu in apdus if apdu is not None]
    assert sorted(whole) == sorted(each.apdu for each in all_sent if each.whole)
    torn = [message for message, apdu in zip(messages, apdus, strict=True) if apdu is None]
    of_whole = {part for each in all_sent if each.whole for part in each.parts}  # a first block may be a copy of one
    for each in all_sent:
        if not each.whole:
            assert all(part in of_whole or any(part in message for message in torn) for part in each.parts)
    assert all(any(part in message for message in messages) for part in line)
