"""The history of finals that several runs left, put together from their results."""

from collections.abc import Mapping
from typing import Final

import polars as pl

from schemas.errors import ContractError
from schemas.frames import FINALS
from validation.versions import IDENTITY

_VERSION: Final = (*IDENTITY, "version")


def history_of(results: Mapping[str, pl.DataFrame], *, whole: bool) -> pl.DataFrame:
    """Every version that the results of successive runs hold, once each: FINALS by meter, channel, time and version.

    A run leaves the current version of each interval, and takes over unchanged what it judges as the run before did.
    So the results of all runs together are the history, and one of them alone is a state.

    Args:
        results: What each is called -> its FINALS, any versions, any order.
        whole: A past state is asked for: no version may be missing between the first and the last of an interval.

    Raises:
        ContractError: Two results hold different judgements as one version of an interval, or a version is missing.
    """
    named = [rows.with_columns(_from=pl.lit(name)) for name, rows in results.items()]
    rows = pl.concat(named or [FINALS.empty().with_columns(_from=pl.lit(""))]).sort(*_VERSION, maintain_order=True)
    rows = rows.unique(FINALS.schema.names(), keep="first", maintain_order=True)
    twice = rows.filter(pl.struct(_VERSION).is_duplicated())
    if twice.height:
        names = " and ".join(dict.fromkeys(twice["_from"][:2]))
        raise ContractError(
            f"{names}: {_place(twice)}: version {twice['version'][0]} is two different judgements; give results of one"
            " history, each judged with --finals of the run before"
        )
    if whole:
        gaps = rows.filter(pl.col("version") != pl.int_range(1, pl.len() + 1).over(IDENTITY))
        if gaps.height:
            raise ContractError(
                f"{gaps['_from'][0]}: {_place(gaps)}: a version before {gaps['version'][0]} is in none of the files;"
                " give the finals of every run"
            )
    return rows.drop("_from")


def _place(rows: pl.DataFrame) -> str:
    at = pl.col("interval_start").dt.to_string("iso:strict")
    meter_id, channel, begun = rows.select("meter_id", "channel", at).row(0)
    return f"{meter_id} {channel} {begun}"
