"""V24: a measured value took the place of another measured one that was stored, by the rule in force on its day."""

from collections.abc import Sequence
from datetime import date
from typing import Final

import polars as pl

from schemas.codes import Channel, Rule
from schemas.frames import EXCEPTIONS
from schemas.timegrid import with_local_time
from validation.rules.sets import RuleSet, rules_in_force

_KEY: Final = ("rate_class", "channel", "local_day")


def replacements(replaced: pl.DataFrame, installs: pl.DataFrame, sets: Sequence[RuleSet]) -> pl.DataFrame:
    """Findings, as EXCEPTIONS without `run_id`: values that differ from the stored ones by more than the threshold.

    Args:
        replaced: `meter_id`, `channel`, `interval_start`, `value_milli`, `value_milli_past`.
        installs: Installations, with `meter_id`, `rate_class` and `timezone`; the last one of a meter counts.
        sets: Rule sets.
    """
    if not replaced.height:
        return EXCEPTIONS.empty().drop("run_id")
    homes = installs.select("meter_id", "rate_class", "timezone").unique("meter_id", keep="last")
    rows = with_local_time(replaced.join(homes, on="meter_id", how="left"))
    keys = rows.select(_KEY).unique()
    settings = [_in_force(sets, *key) for key in keys.rows()]
    rules = keys.with_columns(
        severity=pl.Series([severity for severity, _ in settings], dtype=EXCEPTIONS.schema["severity"]),
        threshold=pl.Series([threshold for _, threshold in settings], dtype=pl.Int64),
    )
    return (
        rows.join(rules, on=_KEY, nulls_equal=True)
        .filter((pl.col("value_milli") - pl.col("value_milli_past")).abs() > pl.col("threshold"))
        .select(
            "meter_id",
            "channel",
            "severity",
            rule=pl.lit(Rule.REPLACEMENT.value).cast(EXCEPTIONS.schema["rule"]),
            first_interval="interval_start",
            intervals=pl.lit(1, pl.Int32),
            measured_milli="value_milli",
            limit_milli="value_milli_past",
        )
    )


def _in_force(
    sets: Sequence[RuleSet], rate_class: str | None, channel: str, day: date
) -> tuple[str | None, int | None]:
    """Severity and threshold of V24; nulls where it is off."""
    for rule in rules_in_force(sets, rate_class, Channel(channel), day):
        if rule.definition.rule is Rule.REPLACEMENT:
            return rule.severity.value, rule.settings["threshold_milli"]
    return None, None
