"""Versions of finals: an equal judgement is not written again, another one becomes a higher version."""

from datetime import datetime
from typing import Final, NamedTuple

import polars as pl

from schemas.codes import Quality
from schemas.frames import DELTAS, FINALS
from validation.locks import deltas_of, locked

IDENTITY: Final = ("meter_id", "channel", "interval_start")
JUDGEMENT: Final = (
    "service_point_id", "interval_s", "value_milli", "quality", "method", "failed", "unjudged", "is_final_estimate",
    "author",
)  # fmt: skip


def newest(finals: pl.DataFrame) -> pl.DataFrame:
    """The current version of every interval; of two judgements of one version the later."""
    return finals.sort("version", "judged_at").unique(IDENTITY, keep="last", maintain_order=True)


def as_of(finals: pl.DataFrame, *, judged_at: datetime | None = None, version: int | None = None) -> pl.DataFrame:
    """The state of every interval as it was known at an instant, or at its version `version` or the last before it."""
    if judged_at is not None:
        finals = finals.filter(pl.col("judged_at") <= judged_at)
    if version is not None:
        finals = finals.filter(pl.col("version") <= version)
    return newest(finals)


class Versions(NamedTuple):
    """Finals after a run."""

    current: pl.DataFrame
    """The current row of every interval judged, in its order."""
    appended: pl.DataFrame
    """Those that are new."""
    replaced: pl.DataFrame
    """Measured values that replace another measured one (V24): the identity, `value_milli`, `value_milli_past`."""
    deltas: pl.DataFrame
    """DELTAS: new versions of billed intervals."""
    held: pl.DataFrame
    """Values that were billed, or are final estimates, and stay, though they would be others now: the identity,
    `interval_s`, `value_milli` (as it would be), `value_milli_past`."""
    guesses: pl.DataFrame
    """Billed estimates that stay, though another one that meets no register would take their place; same columns."""


_NO_REPLACED: Final = FINALS.empty().select(*IDENTITY, "value_milli", value_milli_past="value_milli")
_NO_HELD: Final = FINALS.empty().select(*IDENTITY, "interval_s", "value_milli", value_milli_past="value_milli")
_MEASURED: Final = (Quality.VALID.value, Quality.SUSPECT.value)
_SUBSTITUTE: Final = (Quality.ESTIMATED.value, Quality.MISSING.value)
_OUT: Final = pl.col("quality_past") == Quality.OUTAGE.value
_MOVED: Final = pl.col("value_milli").ne_missing(pl.col("value_milli_past"))


def with_versions(
    judged: pl.DataFrame, previous: pl.DataFrame, billed: pl.DataFrame, stretch: pl.Series | None = None
) -> Versions:
    """The current finals after this run, and those of them that are new.

    A judgement equal to the stored one is not written. A stored edit of a person, and a final estimate, yield only to
    a person. On a billed day only a person, or a measured value in place of a substitute, makes a new version, and with
    it the estimates whose register it shares, which are scaled anew; each is a delta for billing. The rest stays as
    billed, and waits for a person where it would be another now. That one estimate without a register would be another
    one is not such a case, for neither knows better: those are counted. A judgement that was begun before the stored
    one was made yields to it, for that one knew more: its batch was overtaken.

    Args:
        judged: One FINALS row an interval, as this run sees it; their versions are set here.
        previous: Finals of earlier runs, any versions, any intervals.
        billed: BILLED.
        stretch: Of each row of `judged` the anchored stretch that it lies in, -1 for none; None: none is known.
    """
    if not previous.height:
        return Versions(judged, judged, _NO_REPLACED, DELTAS.empty(), _NO_HELD, _NO_HELD)
    past = newest(previous)
    both = judged.join(past, on=list(IDENTITY), how="left", suffix="_past", maintain_order="left")
    met = pl.lit(-1, pl.Int32) if stretch is None else stretch
    both = both.with_columns(_locked=locked(both, billed), _stretch=met)
    equal = pl.all_horizontal(pl.col(name).eq_missing(pl.col(f"{name}_past")) for name in JUDGEMENT)
    person = (pl.col("quality") == Quality.EDITED.value) | pl.col("author").is_not_null()
    held = (pl.col("quality_past") == Quality.EDITED.value) | pl.col("is_final_estimate_past")
    better = pl.col("quality").is_in(_MEASURED) & (pl.col("quality_past").is_in(_SUBSTITUTE) | (_OUT & _MOVED))
    overtaken = pl.col("judged_at_past") > pl.col("judged_at")
    kept = pl.col("version_past").is_not_null() & (
        equal | ((held | overtaken | (pl.col("_locked") & ~better)) & ~person)
    )
    both = both.with_columns(_kept=kept.fill_null(value=False))
    anew = _scaled_anew() & ~equal & ~held & ~overtaken
    both = both.with_columns(_kept=pl.col("_kept") & ~anew.fill_null(value=False))
    names = [name for name in judged.columns if name not in (*IDENTITY, "version")]
    current = both.with_columns(
        *(pl.when("_kept").then(f"{name}_past").otherwise(name).alias(name) for name in names),
        version=pl.when("_kept").then("version_past").otherwise(pl.col("version_past").fill_null(0) + 1),
    ).select(judged.columns)
    changed = both.filter(~pl.col("_kept"), pl.col("version_past").is_not_null())
    replaced = changed.filter(
        pl.col("quality").is_in(_MEASURED),
        pl.col("quality_past").is_in(_MEASURED),
        pl.col("value_milli") != pl.col("value_milli_past"),
    )
    stay = both.filter(pl.col("_kept"), _MOVED).with_columns(_told=_told())
    return Versions(
        current,
        current.filter(~both["_kept"]),
        replaced.select(_NO_REPLACED.columns),
        deltas_of(changed.filter("_locked").with_columns(version=pl.col("version_past") + 1)),
        stay.filter("_told").select(_NO_HELD.columns),
        stay.filter(~pl.col("_told"), _guess(), pl.col("_locked")).select(_NO_HELD.columns),
    )


def _scaled_anew() -> pl.Expr:
    """Billed substitutes that are estimates anchored beside a billed value that moves."""
    moves = ~pl.col("_kept") & pl.col("_locked") & _MOVED & pl.col("version_past").is_not_null()
    beside = (pl.col("_stretch") >= 0) & moves.any().over("_stretch")
    estimate = (pl.col("quality") == Quality.ESTIMATED.value) & pl.col("quality_past").is_in(_SUBSTITUTE)
    return pl.col("_kept") & pl.col("_locked") & beside & estimate


def _guess() -> pl.Expr:
    """One estimate stands where another would."""
    return (pl.col("quality") == Quality.ESTIMATED.value) & (pl.col("quality_past") == Quality.ESTIMATED.value)


def _told() -> pl.Expr:
    """Of values that stay those whose change a person has to know of."""
    better_known = ~_guess() | (pl.col("_stretch") >= 0)
    billed = pl.col("_locked") & (pl.col("quality_past") != Quality.EDITED.value) & better_known
    final = pl.col("is_final_estimate_past") & pl.col("quality").is_in(_MEASURED)
    return billed | final
