"""What a changed rule set would do: the same data judged twice, and the difference."""

from collections.abc import Sequence
from typing import NamedTuple

import msgspec
import polars as pl

from validation.params import VeeParams
from validation.rules.sets import RuleSet
from validation.vee import VeeInputs, run_vee
from validation.versions import IDENTITY


class DryRun(NamedTuple):
    """How the outcome of a run changes with other rules. Nothing is written."""

    finals: pl.DataFrame
    """Intervals whose judgement changes: the identity; `value_milli`, `quality`, `method`, `failed` and the same with
    `_new`."""
    rules: pl.DataFrame
    """`rule`, `before`, `after`: findings of each rule whose number changes."""
    energy_milli: int
    """Sum of the finals with the changed rules less the sum without."""


def dry_run(inputs: VeeInputs, params: VeeParams, changed: Sequence[RuleSet]) -> DryRun:
    """Judge history by the rules of `params` and by `changed`, and compare."""
    plain = inputs._replace(finals=inputs.finals.clear())
    now, then = run_vee(plain, params), run_vee(plain, msgspec.structs.replace(params, rule_sets=tuple(changed)))
    columns = ("value_milli", "quality", "method", "failed")
    both = now.finals.join(then.finals.select(*IDENTITY, *columns), on=list(IDENTITY), suffix="_new")
    differs = pl.any_horizontal(pl.col(name).ne_missing(pl.col(f"{name}_new")) for name in columns)
    names = [each for name in columns for each in (name, f"{name}_new")]
    counts = (
        now.exceptions.group_by("rule")
        .agg(before=pl.len())
        .join(then.exceptions.group_by("rule").agg(after=pl.len()), on="rule", how="full", coalesce=True)
    )
    counts = counts.with_columns(pl.col("before", "after").fill_null(0).cast(pl.Int64))
    return DryRun(
        both.filter(differs).select(*IDENTITY, *names),
        counts.filter(pl.col("before") != pl.col("after")).sort("rule"),
        int(then.finals["value_milli"].sum()) - int(now.finals["value_milli"].sum()),
    )
