"""The stage `run_vee`: raw intervals and reads in, one judged final for every interval expected, and the findings."""

from collections.abc import Iterator
from datetime import datetime
from typing import NamedTuple

import polars as pl

from schemas.codes import Quality
from schemas.frames import BILLED, FINAL_PEAKS
from validation.around import look_around, spans_of
from validation.block import Block, Ints, Mask
from validation.blocks import Inputs, Series, bounds_of, cut_blocks, heard_of
from validation.check_meters import checking, judged_checks
from validation.desk import Desk, lay_desk
from validation.exceptions import as_frame, exceptions_of
from validation.fleet import find_fleet
from validation.four_eyes import repair_edited
from validation.impossible import findings_within
from validation.judge import segments_of
from validation.locks import held_corrections
from validation.master import facts_of
from validation.met_stretches import met_stretches
from validation.net import place_net
from validation.params import VeeParams
from validation.parts import parts_of
from validation.peaks import peaks_of
from validation.periods import carried, take_pending
from validation.place import lay_out, place_intervals
from validation.reads import fill_cumulative, read_registers
from validation.repair import Repaired
from validation.replacement import replacements
from validation.report import unjudged_rules
from validation.sheet import Stamp, enter, finals_of, open_sheet
from validation.silence import waiting_spans
from validation.stored_edits import with_stored
from validation.stray_findings import by_rule_sets, only_counted
from validation.supply import supply_spans
from validation.versions import with_versions
from validation.wall_clock import wall_clocks
from validation.wall_rows import beside, bounded_by_data, meters_of, off_wall, on_wall, only_of, params_on_wall


class VeeInputs(NamedTuple):
    """Frames of `schemas.frames`, conformed; each may be empty."""

    intervals: pl.DataFrame
    reads: pl.DataFrame
    events: pl.DataFrame
    outages: pl.DataFrame
    meters: pl.DataFrame
    edits: pl.DataFrame
    finals: pl.DataFrame
    billed: pl.DataFrame = BILLED.empty()
    """Days that are billed: their finals change only by a person, or where a measured value replaces a substitute; the
    estimates that share a register's advance with such a value move with it."""
    peaks: pl.DataFrame = FINAL_PEAKS.empty()
    """FINAL_PEAKS of the time before the intervals that were given: what V9 knows of more than that."""


class Vee(NamedTuple):
    """What a run of VEE says."""

    finals: pl.DataFrame
    """FINALS: the current judgement, exactly one row for every interval expected between the bounds, sorted by meter,
    channel and time. A row whose judgement equals the version before it is that version, with its time and run."""
    exceptions: pl.DataFrame
    """EXCEPTIONS, one row a run of intervals and rule."""
    appended: pl.DataFrame
    """Those rows of `finals` that are new versions: what a store appends."""
    unjudged: pl.DataFrame
    """Rules that lacked an input: `rule`, `needs` (which input), `intervals` (finals that it left unjudged)."""
    deltas: pl.DataFrame
    """DELTAS: new versions of billed intervals, for billing to post."""
    guesses: pl.DataFrame
    """Billed estimates that stay, though another estimate without a register would take their place now: `meter_id`,
    `channel`, `interval_start`, `interval_s`, `value_milli` (as it would be), `value_milli_past` (as it was billed)."""


class Blocks(NamedTuple):
    """A run before its first block is judged."""

    source: Inputs
    series: Series
    desk: Desk


def run_vee(inputs: VeeInputs, params: VeeParams) -> Vee:
    """Judge raw data by the rules in force, estimate what is missing, and anchor it to the registers.

    `INTERVALS` and `READS` are as sent; the multiplier of the master data is applied here, once, to both. Row order
    of the inputs changes nothing. A meter without master data is judged by what its data show.

    Meters whose intervals keep to the wall clock over a change of it are judged on its axis (`validation.wall_clock`).

    Raises:
        ContractError: A time zone is unknown, or the grid has no bounds within reason.
    """
    clocks = list(wall_clocks(inputs.intervals, inputs.reads, inputs.meters, params))
    if not clocks:
        return _judge(inputs, params, params.judged_at)
    frames, params = inputs._asdict(), bounded_by_data(inputs.intervals, inputs.reads, params)
    apart = pl.concat([mine for _, mine in clocks])
    others = meters_of(frames).filter(~meters_of(frames).is_in(apart.implode()))
    parts = []
    if len(others):
        judged = _judge(VeeInputs(**beside(frames, others)), params, params.judged_at)
        parts.append(Vee(**only_of(judged._asdict(), others)))
    for clock, mine in clocks:
        given = VeeInputs(**on_wall(clock, beside(frames, mine)))
        judged = _judge(given, params_on_wall(clock, params), params.judged_at)
        parts.append(Vee(**off_wall(clock, only_of(judged._asdict(), mine))))
    return _joined(parts)


def _joined(parts: list[Vee]) -> Vee:
    """Judgements of different meters as one."""
    whole = Vee(*(pl.concat(rows) for rows in zip(*parts, strict=True)))
    names = [name for name in whole._fields if name != "unjudged"]
    sorted_rows = {name: getattr(whole, name).sort("meter_id", maintain_order=True) for name in names}
    return Vee(**sorted_rows, unjudged=unjudged_rules(whole.finals["unjudged"].to_numpy()))


def _judge(inputs: VeeInputs, params: VeeParams, judged_at: datetime) -> Vee:
    """The same on the axis on which the times of the inputs are."""
    run = lay_blocks(inputs, params)
    source, series, desk = run
    fleet, placed = source.fleet, source.placed
    billed = bool(inputs.billed.height and inputs.finals.height)
    sheet = open_sheet(fleet, source.layout, series, edited=bool(desk.instructions), billed=billed)
    findings: list[pl.DataFrame] = []
    stretches = 0
    for numbers, block, repaired in judged_blocks(run, params):
        met = met_stretches(block, repaired.workings.anchored, stretches) if billed else None
        stretches += len(block.stretches.advance)
        enter(sheet, numbers, block, repaired.result, met)
        findings += exceptions_of(block, repaired, (series.wanted_from[numbers], series.wanted_to[numbers]))
    pending = take_pending(sheet.failed, sheet.unjudged)
    judged = finals_of(sheet, fleet, source.layout, series, Stamp(judged_at, params.run_id, desk.authors))
    if params.final_before is not None:
        judged = judged.with_columns(is_final_estimate=_final_estimates(params.final_before))
    judged = carried(judged, pending, inputs.finals)
    versions = with_versions(judged, inputs.finals, inputs.billed, pl.Series(sheet.stretch) if billed else None)
    odd = findings_within(source.registers.odd, (params.grid_from, params.grid_to))
    stray, copies = (by_rule_sets(one, fleet.installs, params.rule_sets) for one in (placed.stray, placed.copies))
    rows = [stray, only_counted(copies)]
    rows += [replacements(versions.replaced, fleet.installs, params.rule_sets), held_corrections(versions.held)]
    rows += [desk.lost, placed.impossible, odd]
    exceptions = as_frame(findings, rows, fleet.installs, params.run_id)
    lacking = unjudged_rules(sheet.unjudged)
    return Vee(versions.current, exceptions, versions.appended, lacking, versions.deltas, versions.guesses)


def lay_blocks(inputs: VeeInputs, params: VeeParams) -> Blocks:
    """Everything that a run's blocks are cut from."""
    fleet = find_fleet(inputs.meters, inputs.intervals, inputs.reads, params)
    layout = lay_out(fleet)
    layout = layout._replace(parts=parts_of(fleet, layout, inputs.intervals, inputs.reads))
    facts = facts_of(fleet.installs)
    bounds = params.grid_from, params.grid_to
    placed = place_intervals(inputs.intervals, fleet, layout, params.clock_ahead_s, bounds)
    registers = read_registers(inputs.reads, fleet, layout, facts)
    fill_cumulative(placed.value, registers, (fleet, layout, facts))
    off = supply_spans(inputs.outages, inputs.events, fleet.installs)
    source = Inputs(
        fleet,
        layout,
        facts,
        placed,
        registers,
        look_around(fleet, inputs.reads, inputs.events, service_known=params.service_known),
        place_net(inputs.intervals, fleet, layout),
        peaks_of(inputs.peaks, fleet, layout),
        spans_of(off),
        supply_known=params.supply_known or bool(inputs.outages.height or inputs.events.height),
        clock_known=params.clock_ahead_s is not None,
        history_days=params.context_days,
        waiting=waiting_spans(params.silences, fleet.installs),
    )
    awaits = params.estimate_after_s is not None
    heard = heard_of(inputs.intervals, inputs.reads, fleet, layout) if awaits else None
    series = bounds_of(fleet, layout, placed, params, heard)
    desk = lay_desk(with_stored(inputs.edits, inputs.finals), fleet, layout, bounds)
    return _with_checks(Blocks(source, series, desk), params)


def _with_checks(run: Blocks, params: VeeParams) -> Blocks:
    """The same run with what its check meters measured, judged by itself: others are held against it."""
    only = checking(run.source)
    if not only.any():
        return run
    checks = judged_checks(judged_blocks(run, params, only), len(only))
    surroundings = run.source.surroundings._replace(checks=checks)
    return run._replace(source=run.source._replace(surroundings=surroundings))


def judged_blocks(run: Blocks, params: VeeParams, only: Mask | None = None) -> Iterator[tuple[Ints, Block, Repaired]]:
    """Blocks in the order of the series, judged and repaired, with the series of their rows; of all, or of `only`."""
    for numbers, block in cut_blocks(run.source, run.series, params, only):
        segments = segments_of(block, params.rule_sets)
        yield numbers, block, repair_edited(block, segments, numbers, run.desk, params)


def _final_estimates(deadline: datetime) -> pl.Expr:
    return (pl.col("quality") == Quality.ESTIMATED.value) & (pl.col("interval_start") < deadline)
