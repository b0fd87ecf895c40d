"""Cancellations of what was delivered, for receivers that do not correct by replacement: cancel first, then send anew.

MSCONS: a message of function 1 (BGM) that names the document it cancels. X12 867: a transaction set of purpose 01
(BPT) with its original's reference. Which codes a market wants beyond that is general knowledge, not a text we hold.
"""

from collections.abc import Callable, Collection
from datetime import UTC, datetime
from typing import Final

from billing_export.formats.edifact import ADVICE, Segment, read_segments, segment
from schemas.errors import ContractError

_CANCELLATION, _ORIGINAL = "1", "9"
_HEAD: Final = ("UNH", "BGM", "DTM", "RFF", "NAD", "NAD", "UNS", "NAD", "LOC", "DTM", "DTM")


def cancel_mscons(
    delivered: bytes, points: Collection[str] | None, at: datetime, spared: Collection[str] = ()
) -> bytes:
    """An interchange that cancels the messages of a delivered one.

    Args:
        delivered: MSCONS as it was sent.
        points: Locations whose messages are cancelled; null: all.
        at: Time of the cancellation.
        spared: References of messages that are left alone: the receiver never booked them.

    Raises:
        ContractError: Not such an interchange, or it has no message of those locations.
    """
    segments, found = read_segments(delivered)
    if found or not segments or segments[0].tag != "UNB":
        raise ContractError(f"MSCONS: {found[0].reason if found else 'no UNB'}")
    chosen = [
        one
        for one in _messages(segments)
        if _named(one, points) and one[1].value(2) == _ORIGINAL and one[0].value(0) not in spared
    ]
    if not chosen:
        raise ContractError("MSCONS: no original message of these locations")
    header = segments[0]
    reference = f"C{at.astimezone(UTC):%y%m%d%H%M%S}"
    made = (f"{at.astimezone(UTC):%y%m%d}", f"{at.astimezone(UTC):%H%M}")
    elements = [tuple(header.elements[place]) for place in range(3)]
    opening = segment("UNB", *elements, made, reference, "", "TL")
    messages = [_cancelled(number, one, at) for number, one in enumerate(chosen, 1)]
    closing = segment("UNZ", str(len(messages)), reference)
    return (ADVICE + opening + "".join(messages) + closing).encode("latin-1")


def cancel_867(delivered: bytes, points: Collection[str] | None, at: datetime, spared: Collection[str] = ()) -> bytes:
    """An interchange that cancels the transaction sets of a delivered one; arguments and errors as `cancel_mscons`."""
    text = delivered.decode("latin-1")
    segments = [part.strip("\r\n").split("*") for part in text.split("~")][:-1]
    if [fields[0] for fields in segments[:2]] != ["ISA", "GS"] or [fields[0] for fields in segments[-2:]] != [
        "GE",
        "IEA",
    ]:
        raise ContractError("867: ISA and GS, GE and IEA do not enclose it")
    sets: list[list[list[str]]] = []
    for fields in segments[2:-2]:
        if fields[0] == "ST":
            sets.append([])
        sets[-1].append(fields)
    chosen = [one for one in sets if (points is None or one[2][-1] in points) and one[0][2] not in spared]
    if not chosen:
        raise ContractError("867: no transaction set of these service points")
    # Half the numbers away from that of a file made at the same time: interchanges of one sender differ in it.
    number = f"{(int(at.timestamp()) + 5 * 10**8) % 10**9:09d}"
    isa, group = list(segments[0]), list(segments[1])
    isa[9:11], isa[13] = [f"{at:%y%m%d}", f"{at:%H%M}"], number
    group[4:7] = [f"{at:%Y%m%d}", f"{at:%H%M}", str(int(number))]
    body = [line for place, one in enumerate(chosen, 1) for line in _cancelled_set(place, one, at)]
    lines = [isa, group, *body, ["GE", str(len(chosen)), str(int(number))], ["IEA", "1", number]]
    return "".join("*".join(fields) + "~\n" for fields in lines).encode("latin-1")


Cancel = Callable[[bytes, Collection[str] | None, datetime, Collection[str]], bytes]

CANCEL: Final[dict[str, Cancel]] = {
    "mscons": cancel_mscons,
    "x12_867": cancel_867,
}
"""Formats whose receivers want a cancellation; all others correct by sending again."""


def _messages(segments: list[Segment]) -> list[list[Segment]]:
    messages: list[list[Segment]] = []
    for one in segments[1:-1]:
        if one.tag == "UNH":
            messages.append([])
        messages[-1].append(one)
    return messages


def _named(message: list[Segment], points: Collection[str] | None) -> bool:
    return points is None or any(one.tag == "LOC" and one.value(1) in points for one in message)


def _cancelled(number: int, message: list[Segment], at: datetime) -> str:
    head = message[: len(_HEAD)]
    if tuple(one.tag for one in head) != _HEAD:
        raise ContractError(f"MSCONS: message {message[0].value(0)!r} is not as we write it")
    reference, document = f"{number:08d}", f"C{at.astimezone(UTC):%Y%m%d%H%M%S}{number:08d}"
    written = [
        segment("UNH", reference, tuple(head[0].elements[1])),
        segment("BGM", head[1].value(0), document, _CANCELLATION),
        segment("DTM", ("137", f"{at.astimezone(UTC):%Y%m%d%H%M}+00", "303")),
        segment("RFF", tuple(head[3].elements[0])),
        segment("RFF", ("ACW", head[1].value(1))),
        *(segment(one.tag, *(tuple(element) for element in one.elements)) for one in head[4:]),
    ]
    return "".join([*written, segment("UNT", str(len(written) + 1), reference)])


def _cancelled_set(number: int, one: list[list[str]], at: datetime) -> list[list[str]]:
    control = f"{number:04d}"
    begin = ["BPT", "01", f"C{at:%Y%m%d%H%M%S}{number:08d}", f"{at:%Y%m%d}", "DD"]
    original = ["REF", "TN", one[1][2]]
    lines = [["ST", "867", control], begin, one[2], one[3], original]
    return [*lines, ["SE", str(len(lines) + 1), control]]
