"""What must be known of all parts before the first byte is written: what the batch rests on, and who judged it when."""

from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

import polars as pl

from billing_export.ahead import ahead
from billing_export.export import judged_at, run_ids
from billing_export.identity import RESTING, resting_on
from billing_export.inputs import checked_inputs
from billing_export.located import NOTHING_JUDGED
from billing_export.measures import Measured, measure
from billing_export.pieces import ExportInputs, ExportParams, Format
from schemas.frames import METERS


class Survey(NamedTuple):
    """What one walk over the parts gives."""

    created: dict[str, datetime]
    """By format."""
    runs: list[str]
    meters: pl.DataFrame
    """`meter_id`, `nmi`."""
    resting: pl.DataFrame
    """RESTING; empty where the parts were measured: then their lines tell it."""
    measured: list[Measured]
    """Of every part, where asked for."""


class _Part(NamedTuple):
    created: dict[str | None, datetime]
    """By zone of the days."""
    runs: list[str]
    meters: pl.DataFrame
    resting: pl.DataFrame
    measured: list[Measured]


def survey(parts: Iterable[ExportInputs], forms: list[Format], params: ExportParams, *, measured: bool) -> Survey:
    """Walk over the parts once, two at a time.

    Args:
        parts: Finals need the columns of a walk that asks for `resting` only.
        forms: Formats whose time of creation is wanted.
        params: Period and parties.
        measured: Determinants are wanted too.
    """
    asked, zones = params.determinants(), list(dict.fromkeys(form.timezone for form in forms))
    nothing = pl.DataFrame(schema=RESTING)

    def one(part: ExportInputs) -> _Part:
        checked = checked_inputs(part)
        return _Part(
            created=judged_at(checked, zones, params),
            runs=run_ids(checked),
            meters=checked.meters.select("meter_id", "nmi"),
            resting=nothing if measured else resting_on(checked, asked),
            measured=[measure(checked, asked)] if measured else [],
        )

    every = list(ahead(one, parts))
    newest = {name: max((part.created[name] for part in every), default=NOTHING_JUDGED) for name in zones}
    return Survey(
        created={form.name: newest[form.timezone] for form in forms},
        runs=sorted({run for part in every for run in part.runs}),
        meters=pl.concat([METERS.empty().select("meter_id", "nmi"), *(part.meters for part in every)]),
        resting=pl.concat([nothing, *(part.resting for part in every)]),
        measured=[found for part in every for found in part.measured],
    )
