"""Why a value is what it is, in words and numbers."""

from datetime import UTC, date, datetime
from typing import NamedTuple

import polars as pl

from schemas.codes import RULE_BIT, Method, Quality, Rule
from schemas.frames import UTC_US
from schemas.quantity import UNITY_MILLI, primary_milli
from schemas.timegrid import day_bounds
from validation.edits_told import edits_told
from validation.params import VeeParams
from validation.rules.catalogue import RULES
from validation.vee import Vee, VeeInputs, run_vee
from validation.workings import bounded, workings

_METHOD = {
    Method.LINEAR: "on the straight line between its measured neighbours",
    Method.BLEND: "a blend of like days and its measured neighbours",
    Method.LIKE_DAY: "from one like day",
    Method.MEAN_LIKE_DAY: "a mean of like days",
    Method.PROFILE: "the class profile times the meter's own usage factor",
    Method.FLAT: "the meter's own average, or its register spread evenly",
    Method.ZERO: "zero, because the supply was off",
    Method.CHECK_METER: "what the check meter measured",
    Method.FORWARD: "a forward estimate: nothing has been measured since",
    Method.MANUAL: "decided by a person",
}
_QUALITY = {
    Quality.VALID: "measured and used as it came",
    Quality.SUSPECT: "measured, kept, and doubted",
    Quality.ESTIMATED: "estimated",
    Quality.EDITED: "set by a person",
    Quality.OUTAGE: "a true zero under an outage",
    Quality.MISSING: "missing: nothing is known that would give an estimate, or estimation waits for a silent head end",
}


_HELD = "as it was billed: what has become known since waits for a person"
_FINAL = "a final estimate: what was measured since waits for a person"
_OTHER_ROW = "measured; what was sent last was not used"
_STRAY = "; what was sent is of another length, grid or channel than master data say (V2), and is not used"
_UNUSED = "; what was sent could not be used"
_DISPUTED = 1 << RULE_BIT[Rule.DUPLICATE]
_MADE = (Quality.ESTIMATED.value, Quality.MISSING.value)


class Explained(NamedTuple):
    """One line an interval, and the findings that the lines refer to."""

    lines: pl.DataFrame
    """`channel`, `interval_start`, `sent_milli` (newest raw value, as sent), `value_milli`, `quality`, `method`,
    `version`, `why` (a sentence), `unjudged` (names of rules)."""
    findings: pl.DataFrame
    """EXCEPTIONS of the meter and day."""


def explain(inputs: VeeInputs, params: VeeParams, meter_id: str, day: date) -> Explained:
    """Judge one meter with all that is known of it, and say of every interval of a local day why it is what it is.

    The frames may hold other meters; their check meters and outages count. The day is local to the meter's zone.
    """
    span = local_day(inputs.meters, meter_id, day, params.timezone)
    return explained(inputs, run_vee(_of_meter(inputs, meter_id), params), params, (meter_id, span))


def local_day(meters: pl.DataFrame, meter_id: str, day: date, default: str) -> tuple[datetime, datetime]:
    """First instant of a day in the meter's zone and of the next one, in UTC."""
    zones = meters.filter(pl.col("meter_id") == meter_id)["timezone"].drop_nulls()
    return day_bounds(day, str(zones[0]) if len(zones) else default)


def explained(
    inputs: VeeInputs, judged: Vee, params: VeeParams, what: tuple[str, tuple[datetime, datetime]]
) -> Explained:
    """The same of a judgement that is at hand: of a meter, between two instants."""
    meter_id, (start, end) = what
    inside = (pl.col("interval_start") >= start) & (pl.col("interval_start") < end)
    mine = judged.finals.filter(pl.col("meter_id") == meter_id, inside)
    last = pl.col("first_interval") + pl.duration(seconds=pl.col("intervals") * _step(mine))
    first = pl.col("first_interval")
    findings = judged.exceptions.filter(
        pl.col("meter_id") == meter_id,
        first.is_null() | ((first < end) & ((last > start) | (first >= start))),
    )
    sent = (
        inputs.intervals.filter(pl.col("meter_id") == meter_id, inside)
        .sort("received_at", "topic", "partition", "offset", "frame")
        .group_by("channel", "interval_start", maintain_order=True)
        .agg(sent_milli=pl.col("value_milli").last(), rows_say=_rows_say())
    )
    behind = workings(_of_meter(inputs, meter_id), bounded(params, judged.finals), meter_id, (start, end))
    both = ["channel", "interval_start"]
    lines = _with_sent(mine, sent)
    lines = lines.join(behind, on=both, how="left", maintain_order="left")
    lines = lines.with_columns(
        edits_told(lines, inputs.edits.filter(pl.col("meter_id") == meter_id)),
        held=_held(lines, findings),
        multiplier=_multiplier(lines, inputs.meters.filter(pl.col("meter_id") == meter_id)),
        stray=pl.lit(bool(findings.filter(pl.col("rule") == Rule.IDENTITY.value).height)),
    ).with_columns(why=_why(), unjudged=_names("unjudged", ", "))
    names = (
        "channel",
        "interval_start",
        "sent_milli",
        "value_milli",
        "quality",
        "method",
        "version",
        "why",
        "unjudged",
    )
    return Explained(lines.select(names), findings)


def _with_sent(finals: pl.DataFrame, sent: pl.DataFrame) -> pl.DataFrame:
    """The finals with `sent_milli`; one of the part of an interval after an installation begins later than its row."""
    both = ["channel", "interval_start"]
    whole = pl.col("interval_s").max().over("channel")
    begins = pl.col("interval_start") - pl.duration(seconds=whole - pl.col("interval_s"))
    late = finals.select("channel", pl.col("interval_start").alias("at"), begins, whole=whole > pl.col("interval_s"))
    late = late.filter("whole").drop("whole")
    moved = late.join(sent, on=both).select(
        "channel", interval_start="at", late_milli="sent_milli", late_say="rows_say"
    )  # fmt: skip
    lines = finals.join(sent, on=both, how="left", maintain_order="left")
    lines = lines.join(moved, on=both, how="left", maintain_order="left")
    return lines.with_columns(
        sent_milli=pl.coalesce("sent_milli", "late_milli"), rows_say=pl.coalesce("rows_say", "late_say")
    ).drop("late_milli", "late_say")


def _rows_say() -> pl.Expr:
    """The different values of an interval's rows, as sent, in raw order; the last time of each counts."""
    values = pl.col("value_milli").reverse().unique(maintain_order=True).reverse()
    return values.cast(pl.String).fill_null("nothing").str.join(" and ")


def _held(lines: pl.DataFrame, findings: pl.DataFrame) -> pl.Series:
    """Whether a correction of the interval's billed value waits for a person."""
    held = findings.filter(pl.col("rule") == Rule.HELD_CORRECTION.value)
    held = held.select("channel", "first_interval", "intervals")
    start, length = pl.col("interval_start"), pl.duration(seconds=pl.col("interval_s") * pl.col("intervals"))
    inside = lines.with_row_index("row").join(held, on="channel")
    inside = inside.filter(start >= pl.col("first_interval"), start < pl.col("first_interval") + length)
    return pl.int_range(lines.height, dtype=pl.UInt32, eager=True).is_in(inside["row"].implode())


def _multiplier(lines: pl.DataFrame, meters: pl.DataFrame) -> pl.Series:
    """Thousandths, of the installation that each interval lies in; 1000 where none is known."""
    known = meters.select("installed_at", "multiplier").sort("installed_at", nulls_last=False)
    first = pl.lit(datetime(1, 1, 1, tzinfo=UTC)).cast(UTC_US)
    known = known.with_columns(pl.col("installed_at").fill_null(first)).sort("installed_at")
    told = lines.select("interval_start").with_row_index("row").sort("interval_start")
    told = told.join_asof(known, left_on="interval_start", right_on="installed_at").sort("row")
    return told["multiplier"].fill_null(UNITY_MILLI)


def _step(finals: pl.DataFrame) -> int:
    # Not the first: an exchange may have left a part of an interval.
    return finals.select(pl.col("interval_s").max()).item() or 0


def _of_meter(inputs: VeeInputs, meter_id: str) -> VeeInputs:
    """The frames with only this meter and those that check it."""
    checks = inputs.meters.filter(pl.col("check_of") == meter_id)["meter_id"].to_list()
    mine = pl.col("meter_id").is_in([meter_id, *checks])
    kept = {
        name: getattr(inputs, name).filter(mine)
        for name in ("intervals", "reads", "events", "meters", "edits", "finals")
    }
    return inputs._replace(**kept)


def _why() -> pl.Expr:
    """A sentence: what the value is, by which method, and what the rules found."""
    quality = pl.col("quality").cast(pl.String).replace_strict({one.value: text for one, text in _QUALITY.items()})
    primary = primary_milli(pl.col("sent_milli"), pl.col("multiplier"))
    valid = pl.col("quality") == Quality.VALID.value
    times = pl.format("measured, and used as it came times the multiplier {}", pl.col("multiplier") / UNITY_MILLI)
    quality = (
        pl.when("is_final_estimate", "held")
        .then(pl.lit(_FINAL))
        .when("held", valid)
        .then(pl.lit("measured, and " + _HELD))
        .when("held")
        .then(quality + ", and " + pl.lit(_HELD))
        .when(valid & primary.ne_missing(pl.col("value_milli")) & pl.col("sent_milli").is_not_null())
        .then(pl.lit(_OTHER_ROW))
        .when(valid & (pl.col("multiplier") != UNITY_MILLI))
        .then(times)
        .otherwise(quality)
    )
    method = (
        pl.col("method")
        .cast(pl.String)
        .replace_strict({one.value: text for one, text in _METHOD.items()}, default=None)
    )
    failed = _names("failed", "; ")
    author = pl.lit(", by ") + pl.col("author")
    return pl.concat_str(
        quality,
        pl.when(pl.col("quality") != Quality.OUTAGE.value).then(pl.lit(": ") + method).fill_null(""),
        pl.when(pl.col("quality").is_in(_MADE)).then(pl.lit("; ") + pl.col("behind")).fill_null(""),
        pl.when(pl.col("quality").is_in(_MADE) & (pl.col("estimate_milli") != pl.col("value_milli")))
        .then(pl.lit("; the stored version stands, which differs"))
        .fill_null(""),
        pl.when(~_lost()).then(pl.lit("")).when("stray").then(pl.lit(_STRAY)).otherwise(pl.lit(_UNUSED)),
        author.fill_null(""),
        (pl.lit(": ") + pl.col("edits")).fill_null(""),
        pl.when((pl.col("failed") & _DISPUTED) != 0).then(pl.lit("; rows say ") + pl.col("rows_say")).fill_null(""),
        pl.when(failed != "").then(pl.lit("; failed ") + failed).otherwise(pl.lit("")),
    )


def _lost() -> pl.Expr:
    """Something was sent for the interval, and nothing of it arrived in its place."""
    missing = (pl.col("failed") & (1 << RULE_BIT[Rule.MISSING_INTERVAL])) != 0
    return missing & pl.col("sent_milli").is_not_null() & ~pl.col("held")


def _names(column: str, between: str) -> pl.Expr:
    """The clauses of the bits that are set."""
    return pl.concat_str(
        [
            pl.when((pl.col(column) & int(rule.bit)) != 0).then(pl.lit(rule.clause + between)).otherwise(pl.lit(""))
            for rule in RULES
        ]
    ).str.strip_suffix(between)
