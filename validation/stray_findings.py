"""Findings about raw rows (V2, V5, V26) at the severity that the rule set in force on their first day gives them."""

from collections.abc import Sequence
from datetime import date
from typing import Final

import polars as pl

from schemas.codes import Channel, Rule, Severity
from schemas.frames import SEVERITY
from schemas.timegrid import with_local_time
from validation.rules.sets import RuleSet, rules_in_force

_KEY: Final = ("rate_class", "channel", "rule", "local_day")


def by_rule_sets(findings: pl.DataFrame, installs: pl.DataFrame, sets: Sequence[RuleSet]) -> pl.DataFrame:
    """The same findings with `severity`; those of a rule that is off are left out.

    Args:
        findings: `meter_id`, `channel`, `rule`, `first_interval`, `intervals`.
        installs: Installations, with `meter_id`, `rate_class` and `timezone`; the last one of a meter counts. A meter
            that is in none is judged by UTC days and the rules of every rate class.
        sets: Rule sets.
    """
    if not findings.height or not sets:
        return findings
    homes = installs.select("meter_id", "rate_class", "timezone").unique("meter_id", keep="last", maintain_order=True)
    placed = findings.join(homes, on="meter_id", how="left", maintain_order="left").with_columns(
        pl.col("timezone").fill_null("UTC"), interval_start="first_interval"
    )
    rows = with_local_time(placed)
    keys = rows.select(_KEY).unique()
    told = pl.Series("severity", [_severity(sets, *key) for key in keys.rows()], dtype=SEVERITY)
    judged = rows.join(keys.with_columns(told), on=_KEY, nulls_equal=True)
    return judged.filter(pl.col("severity").is_not_null()).select(*findings.columns, "severity")


def only_counted(copies: pl.DataFrame) -> pl.DataFrame:
    """The same findings as `info`: rows that repeat a value are counted, however grave it is where they disagree."""
    return copies.with_columns(severity=pl.lit(Severity.INFO.value).cast(SEVERITY))


def _severity(sets: Sequence[RuleSet], rate_class: str | None, channel: str, rule: str, day: date) -> str | None:
    """Severity of the rule, null where it is off."""
    in_force = rules_in_force(sets, rate_class, Channel(channel), day)
    return next((one.severity.value for one in in_force if one.definition.rule is Rule(rule)), None)
