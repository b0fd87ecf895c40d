"""What a market partner says of an EDIFACT interchange: CONTRL (its syntax) and APERAK (its content)."""

from collections.abc import Iterator
from typing import Final, NamedTuple

from billing_export.formats.edifact import ADVICE, Segment, read_segments
from billing_export.formats.mscons import OBIS
from schemas.errors import ContractError

_REJECTED: Final = "4"
"""Action of CONTRL (data element 0083); 7 is acknowledged, 8 received."""
_ACKNOWLEDGED: Final = "312"
"""Document name of an APERAK that accepts; 313 reports an error."""
_CHANNEL: Final = {code: channel.value for channel, code in OBIS.items()}


class Verdict(NamedTuple):
    """One sentence of an answer."""

    reference: str | None
    """Of the interchange, a message or a document; null: all of the delivery."""
    accepted: bool
    reason: str


class Answer(NamedTuple):
    """A file of a receiver, read."""

    kind: str
    """CONTRL, APERAK or 997."""
    verdicts: tuple[Verdict, ...]


class Subject(NamedTuple):
    """What a reference of a delivered file stands for; nulls are not narrowed down."""

    point: str | None
    """Market or metering location, or service point."""
    channel: str | None


def read_edifact_answer(data: bytes) -> Answer:
    """A CONTRL or APERAK interchange; one without UNA has the usual separators.

    Raises:
        ContractError: Not EDIFACT, neither of the two, or one that says nothing.
    """
    segments, found = read_segments(data if data.startswith(b"UNA") else ADVICE.encode() + data)
    if found or not segments:
        raise ContractError(f"answer: {found[0].reason if found else 'empty'}: {found[0].detail if found else ''}")
    kinds = {one.value(1) for one in segments if one.tag == "UNH"}
    if kinds == {"CONTRL"}:
        verdicts = tuple(_contrl(segments))
    elif kinds == {"APERAK"}:
        verdicts = tuple(verdict for message in _messages(segments) for verdict in _aperak(message))
    else:
        raise ContractError(f"answer: messages of type {', '.join(sorted(kinds)) or 'none'}: CONTRL or APERAK alone")
    if not verdicts:
        raise ContractError(f"answer: a {kinds.pop()} that answers nothing")
    return Answer(kinds.pop(), verdicts)


def subjects_of_mscons(data: bytes) -> dict[str, Subject]:
    """Every reference of a delivered MSCONS interchange: its own, and each message's and document's."""
    segments, _ = read_segments(data)
    subjects: dict[str, Subject] = {}
    names: list[str] = []
    point: str | None = None
    for one in segments:
        match one.tag:
            case "UNB":
                subjects[one.value(4)] = Subject(None, None)
            case "UNH":
                names, point = [one.value(0)], None
            case "BGM":
                names.append(one.value(1))
            case "LOC":
                point = one.value(1)
            case "PIA":
                channel = _CHANNEL.get(one.value(1))
                subjects |= dict.fromkeys(names, Subject(point, channel))
    return subjects


def _messages(segments: list[Segment]) -> Iterator[list[Segment]]:
    message: list[Segment] = []
    for one in segments:
        message = [] if one.tag == "UNH" else [*message, one]
        if one.tag == "UNT":
            yield message


def _contrl(segments: list[Segment]) -> Iterator[Verdict]:
    """The verdict on the interchange, then on each message that is named; errors below it are its reason."""
    pending: Verdict | None = None
    for one in segments:
        if one.tag in ("UCI", "UCM"):
            if pending:
                yield pending
            action = one.value(3) if one.tag == "UCI" else one.value(2)
            error = one.value(4) if one.tag == "UCI" else one.value(3)
            pending = Verdict(one.value(0), action != _REJECTED, f"syntax error {error}" if error else "")
        elif pending and one.tag in ("UCS", "UCD"):
            where = f"segment {one.value(0)} error {one.value(1)}" if one.tag == "UCS" else f"element {one.value(0)}"
            pending = pending._replace(reason=f"{pending.reason} {where}".strip())
    if pending:
        yield pending


def _aperak(message: list[Segment]) -> Iterator[Verdict]:
    accepted = any(one.tag == "BGM" and one.value(0) == _ACKNOWLEDGED for one in message)
    errors = [place for place, one in enumerate(message) if one.tag == "ERC"]
    ahead = [one.value(0, 1) for one in message[: errors[0] if errors else None] if one.tag == "RFF"]
    if not errors:
        yield from (Verdict(reference, accepted, "") for reference in ahead[:1])
        return
    for place, following in zip(errors, [*errors[1:], len(message)], strict=True):
        group = message[place:following]
        texts = [
            " ".join(part for part in one.elements[3] if part)
            for one in group
            if one.tag == "FTX" and len(one.elements) > 3
        ]
        reason = " ".join([group[0].value(0), *texts])
        own = [one.value(0, 1) for one in group if one.tag == "RFF"] or ahead
        # The last reference is the most specific one: document before message before interchange.
        yield Verdict(own[-1] if own else None, accepted, reason)
