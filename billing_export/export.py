"""Stage `export`: finals to the bytes of market files, and the manifest that proves them whole."""

import hashlib
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Final, NamedTuple

import polars as pl

from billing_export.formats import FORMATS
from billing_export.identity import batch_id_of, resting_on
from billing_export.inputs import checked_inputs
from billing_export.located import locate, metered, newest_judged_at, streams_in
from billing_export.manifest import FileEntry, Section, render_manifest
from billing_export.pieces import ExportInputs, ExportParams, Format, Heading, Piece, Tally, joined
from billing_export.spans import billing_spans
from schemas.errors import ContractError

MANIFEST: Final = "manifest.json"


class RenderedFile(NamedTuple):
    """A finished file."""

    name: str
    content: bytes
    records: int


class Export(NamedTuple):
    """Files of an export in the order in which they are delivered; the manifest comes last."""

    files: tuple[RenderedFile, ...]
    manifest: bytes
    tally: Tally


class Rendered(NamedTuple):
    """One format's files before they have their names."""

    section: Section
    parts: dict[str, tuple[bytes, int]]
    """Content and records of each file."""


def export(inputs: ExportInputs, params: ExportParams) -> Export:
    """Files and manifest of one export; the same inputs give the same bytes.

    Args:
        inputs: FINALS, METERS, READS and tariffs; METERS and READS may be empty.
        params: Formats, days, participants.

    Raises:
        ContractError: An unknown format, no day, or a frame of another shape.
    """
    checked = checked_inputs(inputs)
    asked = params.determinants()
    batch_id = batch_id_of(resting_on(checked, asked), asked)
    rendered = [render_format(checked, form, (batch_id, params)) for form in formats_of(params)]
    return assembled(batch_id, params, rendered, run_ids(checked))


def assembled(batch_id: str, params: ExportParams, rendered: list[Rendered], runs: list[str]) -> Export:
    """Files under their names, and the manifest over all of them."""
    files: list[RenderedFile] = []
    sections: list[Section] = []
    for one in rendered:
        names = one.section.form.file_names(batch_id, params)
        named = [RenderedFile(names[part], content, records) for part, (content, records) in one.parts.items()]
        sections.append(one.section._replace(files=tuple(entry_of(file) for file in named)))
        files.extend(named)
    tally = joined([one.section.tally for one in rendered])
    return Export(tuple(files), render_manifest(batch_id, params, sections, runs), tally)


def formats_of(params: ExportParams) -> list[Format]:
    """The formats asked for.

    Raises:
        ContractError: None, one that does not exist, or no day between the bounds.
    """
    unknown = [name for name in params.formats if name not in FORMATS]
    if unknown or not params.formats:
        raise ContractError(f"format {unknown[0] if unknown else ''!r}: not one of {', '.join(sorted(FORMATS))}")
    if params.date_from >= params.date_to:
        raise ContractError(f"no day between {params.date_from} and {params.date_to}")
    return [FORMATS[name] for name in dict.fromkeys(params.formats)]


def entry_of(file: RenderedFile) -> FileEntry:
    """A file as the manifest states it."""
    return FileEntry(file.name, len(file.content), hashlib.sha256(file.content).hexdigest(), file.records)


def render_format(inputs: ExportInputs, form: Format, of: tuple[str, ExportParams]) -> Rendered:
    """The files of one format, of inputs as `checked_inputs` leaves them, for a batch id and parameters."""
    batch_id, params = of
    created = created_at(inputs, form, params)
    pieces: dict[str, list[Piece]] = {}
    for piece in form.render(iter([inputs]), Heading(created, batch_id, params)):
        pieces.setdefault(piece.part, []).append(piece)
    tally = joined([piece.tally for some in pieces.values() for piece in some if piece.tally])
    parts = {
        part: (b"".join(piece.content for piece in some), sum(piece.records for piece in some))
        for part, some in pieces.items()
    }
    return Rendered(Section(form, created, tally, ()), parts)


def created_at(part: ExportInputs, form: Format, params: ExportParams) -> datetime:
    """Time of creation that a format states: the one asked for, else the newest `judged_at` of the finals inside the
    period."""
    return judged_at(part, {form.timezone}, params)[form.timezone]


def judged_at(part: ExportInputs, timezones: Iterable[str | None], params: ExportParams) -> dict[str | None, datetime]:
    """`created_at` of formats by the zone of their days."""
    zones = list(timezones)
    if params.created is not None:
        return dict.fromkeys(zones, params.created)
    streams = streams_in(part.finals)
    meters = metered(streams)
    spans = {name: billing_spans(meters, part.meters, part.tariffs, params.determinants(name)).spans for name in zones}
    return {name: newest_judged_at(part.finals, locate(streams, spans[name])) for name in zones}


def run_ids(part: ExportInputs) -> list[str]:
    """Runs of validation that the finals come from."""
    runs = part.finals["run_id"]
    one = len(runs) > 0 and bool((runs == runs[0]).all())  # most often; and then nothing is hashed
    return runs.head(1).to_list() if one else sorted(runs.unique().to_list())


def parts_of(inputs: ExportInputs, size: int) -> Iterator[ExportInputs]:
    """The same inputs by about `size` meters at a time: all meters of an NMI or service point are in one part.

    Parts follow one another as formats order their records: by NMI, else service point, else meter.
    """
    whole = checked_inputs(inputs)
    for names in meter_groups(metered(streams_in(whole.finals)), whole.meters, size):
        chosen = pl.col("meter_id").is_in(names.implode())
        yield whole._replace(
            finals=whole.finals.filter(chosen), meters=whole.meters.filter(chosen), reads=whole.reads.filter(chosen)
        )


def meter_groups(known: pl.DataFrame, meters: pl.DataFrame, size: int) -> list[pl.Series]:
    """Names of the meters of each part, as `parts_of` cuts them.

    Args:
        known: `meter_id`, `service_point_id`? of every meter that has finals.
        meters: METERS.
        size: Meters a part, at least; a service point is never cut.
    """
    registry = meters.select("meter_id", "nmi", of_registry="service_point_id").unique("meter_id", keep="last")
    joined = known.join(registry, on="meter_id", how="left").with_columns(
        point=pl.coalesce("nmi", "of_registry", "service_point_id", "meter_id")
    )
    ordered = joined.sort("point", "meter_id").with_row_index("place")
    part = pl.col("place").min().over("point") // max(size, 1)
    grouped = ordered.with_columns(part=part).group_by("part", maintain_order=True).agg("meter_id")
    return list(grouped["meter_id"])
