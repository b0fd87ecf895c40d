"""`ami vee`: raw intervals in, judged finals and exceptions out."""

import uuid
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated, Any

import polars as pl
import typer

from app.calendar import load_calendar
from app.estimation import load_estimation
from app.files import parse_instant, read_frame, read_text, write_outputs
from app.inputs import load_meters, load_types
from app.ledger import load_billed
from app.options import CalendarFile, EstimationFile, Json, MetersFile, Out, TypesFile
from app.summary import counts, progress, say, timed
from schemas.errors import ContractError
from schemas.frames import BILLED, EDITS, EVENTS, FINALS, INTERVALS, OUTAGES, READS, Frame
from validation.dry_run import DryRun, dry_run
from validation.explain import explained, local_day
from validation.params import Silence, SilenceLimits, VeeParams
from validation.rules.files import parse_rule_sets
from validation.rules.sets import RuleSet
from validation.silence import detect_silences, heard_by_hour
from validation.vee import Vee, VeeInputs, run_vee


def register(ami: typer.Typer) -> None:
    """Add the verb."""

    @ami.command()
    def vee(
        intervals: Annotated[Path, typer.Argument(metavar="INTERVALS.parquet")],
        out: Out,
        reads: Annotated[Path | None, typer.Option("--reads", metavar="F", help="READS: registers.")] = None,
        events: Annotated[Path | None, typer.Option("--events", metavar="F", help="EVENTS.")] = None,
        outages: Annotated[Path | None, typer.Option("--outages", metavar="F", help="OUTAGES: true zeros.")] = None,
        meters: MetersFile = None,
        types: TypesFile = None,
        edits: Annotated[Path | None, typer.Option("--edits", metavar="F", help="EDITS of persons.")] = None,
        finals: Annotated[Path | None, typer.Option("--finals", metavar="F", help="FINALS judged before.")] = None,
        ledger: Annotated[Path | None, typer.Option("--ledger", metavar="F", help="What is billed: its days.")] = None,
        calendar: CalendarFile = None,
        rules: Annotated[Path | None, typer.Option("--rules", metavar="F", help="Rule sets (TOML).")] = None,
        estimation: EstimationFile = None,
        grid_from: Annotated[str | None, typer.Option("--from", metavar="T", help="UTC; default: first datum.")] = None,
        grid_to: Annotated[str | None, typer.Option("--to", metavar="T", help="UTC, exclusive.")] = None,
        judged_at: Annotated[str | None, typer.Option("--judged-at", metavar="T", help="Default: now.")] = None,
        final_before: Annotated[
            str | None, typer.Option("--final-before", metavar="T", help="Deadline: estimates before it are final.")
        ] = None,
        four_eyes: Annotated[
            float, typer.Option("--four-eyes", min=0, max=1e9, metavar="KWH", help="Edits may change it unapproved.")
        ] = 100.0,
        compare_rules: Annotated[
            Path | None, typer.Option("--compare-rules", metavar="F", help="Dry run: what these rules would change.")
        ] = None,
        explain: Annotated[
            tuple[str, str] | None, typer.Option("--explain", metavar="METER DAY", help="Why values are what they are.")
        ] = None,
        json: Json = False,
    ) -> None:
        """Validate, estimate and edit intervals: one final for every interval expected between the bounds."""
        asked = None if explain is None else (explain[0], parse_day(explain[1]))
        bounds = _bounds(grid_from, grid_to)
        inputs = VeeInputs(
            intervals=_with_lengths(read_frame(intervals, INTERVALS), intervals),
            reads=_optional(reads, READS),
            events=_optional(events, EVENTS),
            outages=_optional(outages, OUTAGES),
            meters=load_meters(meters, load_types(types)),
            edits=_optional(edits, EDITS),
            finals=_optional(finals, FINALS),
            billed=_billed(ledger, finals),
        )
        aids = load_estimation(estimation)
        now = datetime.now(UTC) if judged_at is None else parse_instant(judged_at, "--judged-at")
        params = vee_params(
            judged_at=now,
            grid_from=bounds[0],
            grid_to=bounds[1],
            holidays=load_calendar(calendar).holidays,
            rule_sets=load_rule_sets(rules),
            silences=silences_of(inputs, now),
            final_before=None if final_before is None else parse_instant(final_before, "--final-before"),
            four_eyes_milli=round(four_eyes * 1_000_000),
            tou=aids.tou,
            profiles=aids.profiles,
        )
        if compare_rules is not None:
            changes = dry_run(inputs, params, load_rule_sets(compare_rules))
            write_outputs(out, {"changes.parquet": changes.finals})
            say(changes_summary(changes), as_json=json)
            return
        with progress(f"judging {inputs.intervals.height} intervals"):
            judged, seconds = timed(lambda: run_vee(inputs, params))
        outputs = {"finals.parquet": judged.finals, "exceptions.parquet": judged.exceptions}
        summary = judged_summary(inputs, judged, seconds)
        if ledger is not None:
            outputs["deltas.parquet"] = judged.deltas
            summary["deltas"] = counts(judged.deltas, "reason")
            summary["billed_estimates_kept"] = guesses_summary(judged.guesses)
        write_outputs(out, outputs)
        if asked is not None:
            summary |= explained_summary(inputs, judged, params, asked)
        say(summary, as_json=json)


def silences_of(inputs: VeeInputs, judged_at: datetime) -> tuple[Silence, ...]:
    """Areas of the fleet that are silent when it is judged."""
    heard = heard_by_hour(inputs.intervals, inputs.reads, inputs.meters, judged_at)
    return detect_silences(heard, judged_at, SilenceLimits())


def parse_day(text: str) -> date:
    """A local day written as 2026-03-29."""
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise ContractError(f"--explain: {text!r} is no day such as 2026-03-29") from error


def explained_summary(inputs: VeeInputs, judged: Vee, params: VeeParams, asked: tuple[str, date]) -> dict[str, Any]:
    """One line an interval of a meter's local day, and the findings that the lines refer to."""
    meter_id, day = asked
    told = explained(inputs, judged, params, (meter_id, local_day(inputs.meters, meter_id, day, params.timezone)))
    if not told.lines.height:
        raise ContractError(f"--explain {meter_id} {day}: no interval of that meter and day was judged")
    rows = told.lines.with_columns(pl.col("channel", "quality", "method").cast(pl.String))
    shown = rows.select(
        pl.format(
            "{} {} {} (sent {}): {}",
            "channel",
            pl.col("interval_start").dt.to_string("iso"),
            pl.col("value_milli").cast(pl.String).fill_null("none"),
            pl.col("sent_milli").cast(pl.String).fill_null("nothing"),
            "why",
        )
    ).to_series()
    findings = told.findings.select(
        pl.format(
            "{} ({}) from {}, {} intervals, measured {}, limit {}",
            pl.col("rule").cast(pl.String),
            pl.col("severity").cast(pl.String),
            pl.col("first_interval").dt.to_string("iso").fill_null("-"),
            "intervals",
            pl.col("measured_milli").cast(pl.String).fill_null("-"),
            pl.col("limit_milli").cast(pl.String).fill_null("-"),
        )
    ).to_series()
    return {
        "explain": {"meter_id": meter_id, "day": str(day), "lines": shown.to_list(), "findings": findings.to_list()}
    }


def changes_summary(changes: DryRun) -> dict[str, Any]:
    """How many finals change, how their qualities move, and how many findings each rule has before and after."""
    moves = changes.finals.group_by("quality", "quality_new").len().sort("quality", "quality_new")
    return {
        "changed": changes.finals.height,
        "energy_milli": changes.energy_milli,
        "quality": {f"{old} -> {new}": count for old, new, count in moves.rows()},
        "rules": {rule: f"{before} -> {after}" for rule, before, after in changes.rules.rows()},
    }


def load_rule_sets(file: Path | None) -> tuple[RuleSet, ...]:
    """The rule sets of a TOML file; those built in without one."""
    if file is None:
        return ()
    try:
        return parse_rule_sets(read_text(file))
    except ContractError as error:
        raise ContractError(f"{file}: {error}") from error


def vee_params(**given: Any) -> VeeParams:
    """Parameters with a run id that follows from them: the same run has the same id."""
    told = " ".join(f"{name}={given[name]}" for name in sorted(given))
    return VeeParams(run_id=str(uuid.uuid5(uuid.NAMESPACE_OID, told)), **given)


def judged_summary(inputs: VeeInputs, judged: Vee, seconds: float) -> dict[str, Any]:
    """Counts of finals by quality and method, of exceptions by rule, and the rules that had no input."""
    return {
        "values": judged.finals.height,
        "rows": {
            "in": {"intervals": inputs.intervals.height, "reads": inputs.reads.height},
            "out": {"finals": judged.finals.height, "exceptions": judged.exceptions.height},
        },
        "quality": counts(judged.finals, "quality"),
        "method": counts(judged.finals.filter(pl.col("method").is_not_null()), "method"),
        "exceptions": counts(judged.exceptions, "rule"),
        "unjudged": dict(zip(judged.unjudged["rule"].cast(pl.String), judged.unjudged["needs"], strict=True)),
        "seconds": seconds,
    }


def guesses_summary(guesses: pl.DataFrame) -> dict[str, int]:
    """How many billed estimates another one would replace, what they were billed with, and what they would be."""
    billed, other = (int(guesses[name].sum()) for name in ("value_milli_past", "value_milli"))
    return {"intervals": guesses.height, "billed_milli": billed, "would_be_milli": other}


def _bounds(start: str | None, end: str | None) -> tuple[datetime | None, datetime | None]:
    first = None if start is None else parse_instant(start, "--from")
    after = None if end is None else parse_instant(end, "--to")
    if first is not None and after is not None and first >= after:
        raise ContractError(f"--from {start} is not before --to {end}")
    return first, after


def _billed(ledger: Path | None, finals: Path | None) -> pl.DataFrame:
    if ledger is not None and finals is None:
        raise ContractError("--ledger needs --finals: what was billed is told by the finals judged before")
    return BILLED.empty() if ledger is None else load_billed(ledger)


def _with_lengths(intervals: pl.DataFrame, file: Path) -> pl.DataFrame:
    if intervals.filter(pl.col("interval_s") <= 0).height:
        raise ContractError(f"{file}: INTERVALS.interval_s: a length of 0 or less")
    return intervals


def _optional(file: Path | None, frame: Frame) -> pl.DataFrame:
    return frame.empty() if file is None else read_frame(file, frame)
