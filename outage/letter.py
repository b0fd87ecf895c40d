"""A letter to an outage system, and what its answer means."""

from enum import StrEnum
from typing import Final, NamedTuple

from outage.messages.multispeak import SOAP
from outage.messages.xml import local, parse_xml
from schemas.errors import ProtocolError

_LATER: Final = (408, 423, 425, 429)


class Letter(NamedTuple):
    """One message to deliver."""

    key: str
    """Idempotency key: the same letter, put or sent twice, counts once."""
    lane: str
    """Letters of one lane (an incident) are delivered in the order in which they were put."""
    content_type: str
    action: str
    """SOAP action; empty where the format has none."""
    body: bytes


class Waiting(NamedTuple):
    """A letter whose turn it is."""

    number: int
    attempts: int
    letter: Letter


class Verdict(StrEnum):
    """What became of a letter."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    LATER = "later"


class Answer(NamedTuple):
    """The counterparty's answer, or its absence."""

    verdict: Verdict
    reason: str = ""
    after_s: float | None = None
    """How long it asks us to wait."""


def headers_of(letter: Letter) -> dict[str, str]:
    """HTTP headers of a letter."""
    headers = {"Content-Type": letter.content_type, "Idempotency-Key": letter.key}
    return {**headers, "SOAPAction": f'"{letter.action}"'} if letter.action else headers


def answer_of(status: int, retry_after: str | None, body: bytes) -> Answer:
    """Accepted: any 2xx, and 409 for a key that is known already. Refused: other 4xx, and errors in a SOAP result."""
    if 200 <= status < 300:
        return _soap_answer(body)
    if status == 409:
        return Answer(Verdict.ACCEPTED, "known already")
    if status in _LATER or status >= 500:
        wait = float(retry_after) if retry_after is not None and retry_after.isdigit() else None
        return Answer(Verdict.LATER, f"status {status}", wait)
    return Answer(Verdict.REFUSED, f"status {status}")


def _soap_answer(body: bytes) -> Answer:
    if SOAP.encode() not in body and b"errorObject" not in body:
        return Answer(Verdict.ACCEPTED)
    try:
        root = parse_xml(body)
    except ProtocolError as error:
        return Answer(Verdict.LATER, f"answer is no XML: {error.reason.value}")
    if any(local(node.tag) == "Fault" for node in root.iter()):
        return Answer(Verdict.LATER, "SOAP fault")
    errors = [node.get("errorString", "") for node in root.iter() if local(node.tag) == "errorObject"]
    return Answer(Verdict.REFUSED, "; ".join(errors)[:500]) if errors else Answer(Verdict.ACCEPTED)
