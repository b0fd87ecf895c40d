"""Door: an export of any size into a folder, part by part, in bounded memory.

Files grow under temporary names; only when all of them are whole are they renamed, and the manifest comes last.
"""

import hashlib
import os
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import IO, Final, NamedTuple, Protocol

import msgspec
import polars as pl

from billing_export.delivery.folder import Delivered, settle
from billing_export.determinants import lines_from, seal
from billing_export.export import formats_of, meter_groups
from billing_export.formats.determinants import LINES, line_pieces
from billing_export.identity import batch_id_of
from billing_export.inputs import checked_inputs
from billing_export.located import NOTHING_JUDGED, metered, streams_in
from billing_export.manifest import FileEntry, Section, render_manifest
from billing_export.pieces import ExportInputs, ExportParams, Format, Heading, Piece, Tally, joined
from billing_export.survey import survey
from billing_export.virtual import with_virtual
from schemas.errors import ContractError, TransientError
from schemas.frames import FINALS, READS, Frame, conform

PART_METERS = 160
"""Meters a part: a month of quarter hours is 476,000 rows. Three parts are held at a time (`ahead`), and the whole
export stays below 1 GB."""

_RESTING: Final = (
    "meter_id", "service_point_id", "channel", "interval_start", "interval_s", "value_milli", "quality", "version",
    "judged_at", "run_id", "failed",
)  # fmt: skip
"""Columns of FINALS that determinants, a batch id, a time of creation and run ids come from."""
_UNREAD: Final = {"unjudged": 0, "is_final_estimate": False}
"""What stands in the others, where a contract allows no null, as long as nobody reads them."""


class Parts(Protocol):
    """Gives the inputs part by part, each time anew."""

    def __call__(self, *, resting: bool = False) -> Iterator[ExportInputs]:
        """The parts; where `resting` is asked for, columns of finals other than those it rests on hold no news."""
        ...


class Streamed(NamedTuple):
    """What stands in the folder afterwards, and its control totals."""

    delivered: Delivered
    manifest: bytes
    tally: Tally
    files: list[FileEntry]


class _Sink(NamedTuple):
    """A file that grows."""

    path: Path
    handle: IO[bytes]
    digest: "hashlib._Hash"
    records: list[int]


class Grown(NamedTuple):
    """A format's files before they have their names."""

    section: Section
    sinks: dict[str, _Sink]


def parquet_parts(finals: Path, rest: ExportInputs, size: int = PART_METERS, reads: Path | None = None) -> Parts:
    """Parts of a FINALS file, each read when it is its turn; `rest.finals` is not looked at.

    A file sorted by meter is read once in all: row groups of other meters are skipped by their statistics. A folder
    stands for its Parquet files, one after another. The reads are those of the file `reads`, else `rest.reads`.

    Raises:
        ContractError: Not Parquet, or its columns are not those of FINALS or READS.
    """
    scan = _scanned(finals, FINALS)
    shown = rest.reads.sort("meter_id", maintain_order=True).lazy() if reads is None else _scanned(reads, READS)
    read_places = _places(shown.with_columns(service_point_id=pl.lit(None, pl.String)))
    point = [] if "service_point_id" in scan.collect_schema() else [pl.lit(None, pl.String).alias("service_point_id")]
    scan = scan.with_columns(*point)
    terms = [term.meter for virtual in rest.tariffs.virtual for term in virtual.term]
    summands = scan.filter(pl.col("meter_id").is_in(terms)) if terms else scan.limit(0)
    added = with_virtual(summands.collect(), rest.tariffs.summed_in_order())
    virtual = added.filter(pl.col("meter_id").is_in([one.meter for one in rest.tariffs.virtual]))
    places = _places(scan)
    known = pl.concat([places.select("meter_id", "service_point_id"), metered(streams_in(virtual))])
    plain = rest._replace(tariffs=msgspec.structs.replace(rest.tariffs, virtual=()))

    unread = [
        pl.lit(_UNREAD.get(name), dtype=dtype).alias(name)
        for name, dtype in FINALS.schema.items()
        if name not in _RESTING
    ]
    narrow = scan.select(*_RESTING, *unread)

    def parts(*, resting: bool = False) -> Iterator[ExportInputs]:
        for names in meter_groups(known, rest.meters, size):
            chosen = pl.col("meter_id").is_in(names.implode())
            rows = _rows_of(narrow if resting else scan, names, places)
            finals_of = conform(rows.collect(), FINALS).rechunk()
            summed = conform(virtual.filter(chosen), FINALS)
            yield plain._replace(
                finals=pl.concat([finals_of, summed]) if summed.height else finals_of,
                meters=rest.meters.filter(chosen),
                reads=conform(_rows_of(shown, names, read_places).collect(), READS),
            )

    return parts


def _places(scan: pl.LazyFrame) -> pl.DataFrame:
    """`meter_id`, `service_point_id`, and where its rows stand in the file: `first`, `after`, `rows`."""
    place = pl.col("place")
    return (
        scan.select("meter_id", "service_point_id")
        .with_row_index("place")
        .group_by("meter_id")
        .agg(pl.col("service_point_id").max(), first=place.min(), after=place.max() + 1, rows=pl.len())
        .collect(engine="streaming")
    )


def _rows_of(scan: pl.LazyFrame, names: pl.Series, places: pl.DataFrame) -> pl.LazyFrame:
    """The rows of those meters: a slice of the file where they stand together, else what a filter finds."""
    own = places.filter(pl.col("meter_id").is_in(names.implode()))
    count, first, after = own.select(pl.col("rows").sum(), pl.col("first").min(), pl.col("after").max()).row(0)
    if not own.height:
        return scan.limit(0)
    if after - first == count:
        return scan.slice(first, count)  # no name is compared and no row copied
    return scan.filter(pl.col("meter_id").is_in(names.implode()))


def parquet_rows(finals: Path) -> int:
    """Number of rows of a FINALS file, without reading them.

    Raises:
        ContractError: As `parquet_parts`.
    """
    return int(_scanned(finals, FINALS).select(pl.len()).collect().item())


def _scanned(file: Path, frame: Frame) -> pl.LazyFrame:
    if not file.exists():
        raise ContractError(f"{file}: No such file or directory")
    try:
        scan = pl.scan_parquet(sorted(file.glob("*.parquet")) if file.is_dir() else file)
        conform(scan.head(0).collect(), frame)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise ContractError(f"{file}: not a Parquet file") from error
    except ContractError as error:
        raise ContractError(f"{file}: {error}") from error
    return scan


def export_parts(parts: Parts, params: ExportParams, folder: Path) -> Streamed:
    """Files and manifest of an export stand in the folder; the same bytes that `export` gives for the whole.

    Args:
        parts: Gives the inputs part by part, each time anew: once to learn what the batch rests on, with the
            determinants if they are asked for, and once for each other format.
        params: Formats, days, participants.
        folder: Where to; made where it is absent.

    Raises:
        ContractError: As `export`.
        TransientError: The folder cannot be written; what a manifest there names is whole.
    """
    forms = formats_of(params)
    asked, billed = params.determinants(), LINES in params.formats
    known = survey(parts(resting=True), forms, params, measured=billed)
    lines = lines_from(known.measured, asked)
    batch_id = batch_id_of(lines.resting if billed else known.resting, asked)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        grown = []
        for form in forms:
            heading = Heading(known.created[form.name], batch_id, params)
            if form.name == LINES:  # they are computed
                pieces = line_pieces(seal(lines.determinants, batch_id), lines.findings)
                grown.append(grow_pieces(form, pieces, heading.created, folder))
            else:
                grown.append(grow(form, parts, heading, folder))
        return settled(grown, Heading(NOTHING_JUDGED, batch_id, params), known.runs, folder)
    except OSError as error:
        raise TransientError(f"{folder}: {error.strerror or error}") from error


def grow(form: Format, parts: Parts, heading: Heading, folder: Path) -> Grown:
    """The files of a format, whole under temporary names in the folder.

    Raises:
        OSError: The folder cannot be written.
    """
    pieces = form.render((checked_inputs(part) for part in parts()), heading)
    return grow_pieces(form, pieces, heading.created, folder)


def grow_pieces(form: Format, pieces: Iterable[Piece], created: datetime, folder: Path) -> Grown:
    """The same of pieces at hand.

    Raises:
        OSError: As `grow`.
    """
    sinks: dict[str, _Sink] = {}
    tallies: list[Tally] = []
    try:
        for piece in pieces:
            if piece.part not in sinks:
                path = folder / f".{form.name}.{piece.part}.part"
                sinks[piece.part] = _Sink(path, path.open("wb"), hashlib.sha256(), [])
            _grow(sinks[piece.part], piece)
            tallies += [piece.tally] if piece.tally else []
    finally:
        for sink in sinks.values():
            sink.handle.flush()
            os.fsync(sink.handle.fileno())
            sink.handle.close()
    return Grown(Section(form, created, joined(tallies), ()), sinks)


def settled(grown: list[Grown], heading: Heading, runs: list[str], folder: Path) -> Streamed:
    """Files that grew get their names; the manifest over all of them comes last.

    Raises:
        OSError: As `grow`.
    """
    named, finished = [], []
    for section, files in grown:
        names = section.form.file_names(heading.batch_id, heading.params)
        entries = tuple(_entry(names[part], sink) for part, sink in files.items())
        named.append(section._replace(files=entries))
        finished += [(sink.path, entry) for sink, entry in zip(files.values(), entries, strict=True)]
    manifest = render_manifest(heading.batch_id, heading.params, named, runs)
    tally = joined([one.section.tally for one in grown])
    return Streamed(settle(finished, manifest, folder), manifest, tally, [entry for _, entry in finished])


def _grow(sink: _Sink, piece: Piece) -> None:
    sink.handle.write(piece.content)
    sink.digest.update(piece.content)
    sink.records.append(piece.records)


def _entry(name: str, sink: _Sink) -> FileEntry:
    return FileEntry(name, sink.path.stat().st_size, sink.digest.hexdigest(), sum(sink.records))
