"""X12 997 (functional acknowledgement): what a receiver says of an 867 interchange, set by set."""

from typing import Final

from billing_export.formats.edifact_answers import Answer, Subject, Verdict
from schemas.errors import ContractError

_ACCEPTED: Final = ("A", "E")
"""Accepted, and accepted although errors were noted."""
_ISA_LENGTH: Final = 106


def read_997(data: bytes) -> Answer:
    """A 997 interchange, whatever its separators.

    Raises:
        ContractError: No ISA, or nothing in it answers a group.
    """
    text = data.decode("latin-1")
    if not text.startswith("ISA") or len(text) < _ISA_LENGTH:
        raise ContractError("answer: no ISA segment")
    element, ending = text[3], text[_ISA_LENGTH - 1]
    segments = [part.strip("\r\n").split(element) for part in text.split(ending)]
    verdicts: list[Verdict] = []
    control, notes = "", list[str]()
    for fields in segments:
        match fields:
            case ["AK2", _, number, *_]:
                control, notes = number, []
            case ["AK3" | "AK4" as tag, *rest]:
                notes.append(" ".join([tag, *(field for field in rest if field)]))
            case ["AK5", status, *codes]:
                reason = " ".join([f"AK5 {status}", *(code for code in codes if code), *notes])
                verdicts.append(Verdict(control, status in _ACCEPTED, "" if status == "A" else reason))
            case ["AK9", status, *_]:
                whole = Verdict(None, status in (*_ACCEPTED, "P"), "" if status == "A" else f"AK9 {status}")
                verdicts = [whole] if status == "R" else [whole, *verdicts]
    if not verdicts:
        raise ContractError("answer: a 997 that answers nothing")
    return Answer("997", tuple(verdicts))


def subjects_of_867(data: bytes) -> dict[str, Subject]:
    """Service point of every transaction set of a delivered 867, by its control number."""
    subjects: dict[str, Subject] = {}
    control = ""
    for segment in data.decode("latin-1").split("~"):
        match segment.strip("\r\n").split("*"):
            case ["ST", "867", number]:
                control = number
            case ["REF", "Q5", *rest]:
                subjects[control] = Subject(rest[-1], None)
    return subjects
