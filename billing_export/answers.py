"""Answers of receivers in their own formats, matched to what was delivered: CONTRL, APERAK and 997."""

import hashlib
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

import msgspec
import polars as pl

from billing_export.batches import AcknowledgedLine, Acknowledgement
from billing_export.findings import Finding
from billing_export.formats.edifact_answers import Answer, Subject, Verdict, read_edifact_answer, subjects_of_mscons
from billing_export.formats.x12_997 import read_997, subjects_of_867
from billing_export.reentry import Books, sent_lines
from schemas.errors import ContractError

SUBJECTS: Final[dict[str, Callable[[bytes], dict[str, Subject]]]] = {
    "mscons": subjects_of_mscons,
    "x12_867": subjects_of_867,
}
"""What the references in a delivered file of ours stand for."""
_ANSWERED_BY: Final = {"CONTRL": "mscons", "APERAK": "mscons", "997": "x12_867"}
_SYNTAX_ONLY: Final = ("CONTRL",)


class _File(msgspec.Struct, frozen=True):
    name: str
    sha256: str
    format: str = ""


class _Manifest(msgspec.Struct, frozen=True):
    batch_id: str
    files: tuple[_File, ...]


class Delivery(NamedTuple):
    """A delivered folder."""

    manifest: bytes
    files: Mapping[str, bytes]


class Matched(NamedTuple):
    """What an answer means for the ledger."""

    said: Acknowledgement | None
    """Null where nothing follows yet: the syntax was accepted, and the content is still to be judged."""
    findings: list[Finding]
    """`file_unknown`, `file_hash`, `reference_unknown`, `no_lines`."""


def read_answer(data: bytes) -> Answer:
    """CONTRL, APERAK or 997, told by its first bytes.

    Raises:
        ContractError: None of them, or unreadable.
    """
    if data.startswith((b"UNA", b"UNB")):
        return read_edifact_answer(data)
    if data.startswith(b"ISA"):
        return read_997(data)
    raise ContractError("answer: neither EDIFACT (UNA, UNB) nor X12 (ISA)")


def match_answer(
    answer: Answer, delivery: Delivery, books: Books, meters: pl.DataFrame, *, syntax_suffices: bool = False
) -> Matched:
    """The answer as an acknowledgement of ledger lines.

    A refused message refuses the lines of its service point and channel; a refused interchange refuses all. An
    accepted CONTRL says that the syntax was right: it acknowledges only where the market sends nothing else.

    Args:
        answer: What the receiver sent.
        delivery: The folder that it answers; its file must have the hash that its manifest states.
        books: The ledger.
        meters: METERS: NMI and service point of locations; may be empty.
        syntax_suffices: No APERAK follows an accepted CONTRL.
    """
    manifest = msgspec.json.decode(delivery.manifest, type=_Manifest)
    form = _ANSWERED_BY[answer.kind]
    stated = next((file for file in manifest.files if file.format == form), None)
    if stated is None or stated.name not in delivery.files:
        return Matched(
            None, [Finding(0, "file_unknown", f"no {form} file was delivered with batch {manifest.batch_id}")]
        )
    content = delivery.files[stated.name]
    if hashlib.sha256(content).hexdigest() != stated.sha256:
        return Matched(None, [Finding(0, "file_hash", f"{stated.name}: not what the manifest states")])
    subjects, lines = SUBJECTS[form](content), sent_lines(books, manifest.batch_id)
    points = with_nmi(lines, meters)
    rows: list[AcknowledgedLine] = []
    found: list[Finding] = []
    for number, verdict in enumerate(answer.verdicts, 1):
        subject = Subject(None, None) if verdict.reference is None else subjects.get(verdict.reference)
        if subject is None:
            found.append(Finding(number, "reference_unknown", f"{answer.kind} names {str(verdict.reference)[:35]!r}"))
            continue
        numbers = lines_of_subject(points, subject)
        if not verdict.accepted and subject.point is not None and not numbers:
            found.append(Finding(number, "no_lines", f"no line of the ledger is of {subject.point!r}"))
        rows += _rows(verdict, subject, stated, numbers)
    waits = answer.kind in _SYNTAX_ONLY and not syntax_suffices and all(row.status == "accepted" for row in rows)
    said = None if waits or not rows or found else Acknowledgement(manifest.batch_id, tuple(dict.fromkeys(rows)))
    return Matched(said, found)


def with_nmi(lines: pl.DataFrame, meters: pl.DataFrame) -> pl.DataFrame:
    """Lines with the NMI of their meter, for `lines_of_subject`."""
    nmis = meters.select("meter_id", "nmi").unique("meter_id", keep="last")
    return lines.join(nmis, on="meter_id", how="left", maintain_order="left")


def lines_of_subject(points: pl.DataFrame, subject: Subject) -> list[int]:
    """Numbers of the lines that a message of this subject stands for."""
    if subject.point is None:  # the whole interchange: no line by number
        return []
    named = [pl.col(name).eq_missing(pl.lit(subject.point)) for name in ("service_point_id", "nmi", "meter_id")]
    own = points.filter(pl.any_horizontal(named))
    if subject.channel is not None:
        own = own.filter(pl.col("channel").cast(pl.String) == subject.channel)
    return own["line_no"].to_list()


def _rows(verdict: Verdict, subject: Subject, stated: _File, numbers: list[int]) -> list[AcknowledgedLine]:
    if verdict.accepted:
        return [AcknowledgedLine(stated.name, stated.sha256, None, "accepted", "")]
    places: list[int | None] = [None] if subject.point is None else list(numbers)
    return [AcknowledgedLine(stated.name, stated.sha256, place, "rejected", verdict.reason) for place in places]
