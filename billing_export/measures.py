"""What is measured of a part of the meters: sums, counts and maxima of each segment, from which lines are written.

The part with the intervals ends here: what follows has a row a segment, and is done once for all parts.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from billing_export.apparent import apparent_windows
from billing_export.demand import Mask, Peaks, peaks, windows_of
from billing_export.lines import BILLED_CHANNELS
from billing_export.located import I64, metered, streams_in
from billing_export.pieces import ExportInputs
from billing_export.registers import Registers, register_lines
from billing_export.segments import cut
from billing_export.spans import DeterminantParams, Spans, billing_spans
from billing_export.tariffs import TariffBook
from billing_export.usage import Usage, civil_rows, usage
from schemas.frames import CHANNEL


class Apparent(NamedTuple):
    """Maxima of apparent power that follow from active and reactive power."""

    peaks: Peaks
    computed: Mask
    """Segments that have such windows."""


class Measured(NamedTuple):
    """Sums, counts and maxima; all arrays have a row per segment."""

    segments: pl.DataFrame
    """As `Segments.segments`."""
    names: tuple[tuple[str, ...], ...]
    """Periods of each segment's tariff."""
    used: Usage
    peaks: Peaks
    apparent: Apparent
    registers: Registers
    spans: Spans
    seen: pl.DataFrame
    """`meter_id`, `service_point_id`? of every meter that has finals."""
    tariffs: TariffBook


def measure(part: ExportInputs, params: DeterminantParams) -> Measured:
    """What is to be known of the intervals and registers of a part.

    Args:
        part: As `checked_inputs` leaves it.
        params: Period and holidays.
    """
    billed = _of_billed_channels(part.finals)
    streams = streams_in(billed)
    seen = metered(streams)
    spans = billing_spans(seen, part.meters, part.tariffs, params)
    found = cut(billed, streams, spans.spans)
    civil = civil_rows(found, part.tariffs, params.holidays)
    used = usage(found.rows, civil)
    windows, count = windows_of(found.rows, civil), found.segments.height
    computed = apparent_windows(found.segments, windows)
    has = np.zeros(count, dtype=bool)
    has[computed.segment] = True
    return Measured(
        segments=found.segments,
        names=civil.names,
        used=used,
        peaks=peaks(windows, count, used.value.shape[1]),
        apparent=Apparent(peaks(computed, count, used.value.shape[1]), has),
        registers=register_lines(part._replace(finals=billed), spans.spans),
        spans=spans,
        seen=seen,
        tariffs=part.tariffs,
    )


def together(parts: list[Measured]) -> Measured:
    """The segments of all parts, which have their tariffs in common and no meter; at least one part."""
    periods = max(part.used.value.shape[1] for part in parts)
    segments = pl.concat([part.segments.drop("segment") for part in parts]).with_row_index("segment")
    used = Usage(
        np.concatenate([_widened(part.used.value, periods) for part in parts]),
        np.concatenate([_widened(part.used.counts, periods) for part in parts]),
        np.concatenate([part.used.straddling for part in parts]),
    )
    return Measured(
        segments=segments,
        names=tuple(names for part in parts for names in part.names),
        used=used,
        peaks=_peaks([part.peaks for part in parts], periods),
        apparent=Apparent(
            _peaks([part.apparent.peaks for part in parts], periods),
            np.concatenate([part.apparent.computed for part in parts]),
        ),
        registers=Registers(*(pl.concat(frames) for frames in zip(*(part.registers for part in parts), strict=True))),
        spans=Spans(*(pl.concat(frames) for frames in zip(*(part.spans for part in parts), strict=True))),
        seen=pl.concat([part.seen for part in parts]),
        tariffs=parts[0].tariffs,
    )


def _widened(values: I64, periods: int) -> I64:
    """The same with as many periods: those that a tariff does not have are empty."""
    wider = [(0, 0), (0, periods - values.shape[1]), *[(0, 0)] * (values.ndim - 2)]
    return np.pad(values, wider)


def _peaks(parts: list[Peaks], periods: int) -> Peaks:
    columns: list[npt.NDArray[np.int64]] = []
    for column in zip(*parts, strict=True):
        columns.append(np.concatenate([_widened(values, 1 + periods) for values in column]))
    return Peaks(*columns)


def _of_billed_channels(finals: pl.DataFrame) -> pl.DataFrame:
    # Most finals hold nothing else: a filter would copy every column of them.
    billed = pl.col("channel").is_in(pl.Series(BILLED_CHANNELS, dtype=CHANNEL).implode())
    return finals if finals.select(billed.all()).item() else finals.filter(billed)
