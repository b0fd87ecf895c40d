"""What a receiver holds that does not correct by replacement, and its cancellation, which goes before the new file."""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from typing import Final, NamedTuple

import msgspec
import polars as pl

from billing_export.answers import SUBJECTS, lines_of_subject, with_nmi
from billing_export.formats.cancel import CANCEL
from billing_export.pieces import ExportInputs, ExportParams, Format, Heading, Piece, joined
from billing_export.reentry import Books, refused_lines, sent_lines
from schemas.errors import ContractError
from schemas.timegrid import day_bounds

SUFFIX: Final = "_cancel"
"""Of the name of a format's cancellations in the manifest."""
_REACHES: Final = ("written", "delivered", "acknowledged", "partly_rejected")
"""States whose files the receiver has, or gets before the next batch: batches leave in their order."""


class Held(NamedTuple):
    """A delivered file whose content the receiver holds."""

    form: str
    batch_id: str
    name: str
    sha256: str


class _File(msgspec.Struct, frozen=True):
    name: str
    sha256: str
    format: str = ""


class _Manifest(msgspec.Struct, frozen=True):
    files: tuple[_File, ...]


Read = Callable[[Held], bytes]
"""Gives the bytes of a delivered file."""


def held_files(books: Books, params: ExportParams) -> list[Held]:
    """The last file of each format asked for that wants cancellations, of this consumer, cycle and period, unless its
    batch was rejected as a whole: then the receiver holds the one before."""
    start, end = (day_bounds(day, "UTC")[0] for day in (params.date_from, params.date_to))
    own = books.batches.filter(
        (pl.col("consumer") == params.receiver) & (pl.col("cycle") == params.cycle)
        & (pl.col("period_start") == start) & (pl.col("period_end") == end)
    ).sort("step", maintain_order=True)  # fmt: skip
    last = own.group_by("batch_id", maintain_order=True).last().filter(pl.col("state").is_in(list(_REACHES)))
    newest: dict[str, Held] = {}
    for batch_id, manifest in last.select("batch_id", "manifest").rows():
        for file in msgspec.json.decode(manifest, type=_Manifest).files:
            if file.format in CANCEL and file.format in params.formats:
                newest[file.format] = Held(file.format, batch_id, file.name, file.sha256)
    return [newest[form] for form in dict.fromkeys(params.formats) if form in newest]


def cancellation(held: Held, form: Format, books: Books, meters: pl.DataFrame, read: Read) -> Format | None:
    """A format of one piece: the cancellation of what a receiver holds; null where he refused all of it.

    A message all of whose lines were refused was never booked, and is not cancelled.

    Args:
        held: The file.
        form: Its format.
        books: The ledger.
        meters: `meter_id`, `nmi`?: locations may be told by NMI.
        read: Gives its bytes, which must have the hash that the ledger's manifest states.

    Raises:
        ContractError: The file is another one.
    """
    content = read(held)
    if hashlib.sha256(content).hexdigest() != held.sha256:
        raise ContractError(f"batch {held.batch_id}: {held.name} is not the file that was delivered: nothing to cancel")
    lines = sent_lines(books, held.batch_id)
    refused = set(refused_lines(lines, books.batches.filter(pl.col("batch_id") == held.batch_id))["line_no"])
    points, spared, every = with_nmi(lines, meters), set[str](), SUBJECTS[held.form](content)
    for reference, subject in every.items():
        numbers = lines_of_subject(points, subject)
        if numbers and refused.issuperset(numbers):
            spared.add(reference)
    messages = {reference for reference, subject in every.items() if subject.point is not None}
    if messages <= spared:
        return None

    def render(_parts: Iterable[ExportInputs], heading: Heading) -> Iterator[Piece]:
        cancelled = CANCEL[held.form](content, None, heading.created, spared)
        yield Piece(f"{held.form}{SUFFIX}", cancelled, len(messages - spared), joined([]))

    def file_names(batch_id: str, params: ExportParams) -> dict[str, str]:
        (name,) = form.file_names(batch_id, params).values()
        stem, _, ending = name.rpartition(".")
        return {f"{held.form}{SUFFIX}": f"{stem}{SUFFIX}.{ending}"}

    return Format(f"{held.form}{SUFFIX}", form.version, form.timezone, render, file_names)


def preceded(forms: list[Format], books: Books, params: ExportParams, meters: pl.DataFrame, read: Read) -> list[Format]:
    """The formats in their order, each after the cancellation of what its receiver holds."""
    held = {one.form: one for one in held_files(books, params)}
    ordered: list[Format] = []
    for form in forms:
        before = cancellation(held[form.name], form, books, meters, read) if form.name in held else None
        ordered += [before, form] if before else [form]
    return ordered
