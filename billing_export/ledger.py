"""The billing ledger: append only. A correction is a reversal of the old line and a new line, linked.

Σ sign × value over a determinant's lines is its latest value, whatever the order in which late reads came.
"""

from typing import Final, NamedTuple

import polars as pl

from billing_export.determinants import Determinants, seal
from billing_export.identity import lines_id_of
from billing_export.spans import DeterminantParams
from schemas.frames import CHANNEL, DETERMINANTS, conform

KEY: Final = ("service_point_id", "meter_id", "channel", "determinant", "period_start", "period_end")
"""What a determinant is: its lines, over all batches, are its history."""
_BILLED: Final = (
    "account_id", "value_milli", "ratio", "uom", "occurred_at", "quality_class", "timezone", "tou_calendar",
    "tou_version",
)  # fmt: skip
"""What a consumer was told; a line is corrected where any of it changes. Counts alone are no news to him."""


class Posting(NamedTuple):
    """What a run adds to the ledger."""

    lines: pl.DataFrame
    """DETERMINANTS of one new batch: reversals (sign −1) before new lines; empty where nothing changed."""
    unchanged: int
    stale: int
    """Determinants computed from older revisions than the ledger's: late, and left alone."""


def post(
    ledger: pl.DataFrame, latest: pl.DataFrame, params: DeterminantParams, gone: pl.DataFrame | None = None
) -> Posting:
    """The lines that make the ledger say what `latest` says.

    Args:
        ledger: DETERMINANTS of all batches so far, any order.
        latest: DETERMINANTS as `compute_determinants` gives them; a determinant of the ledger that is not in it is
            left as it is (a held line takes nothing back).
        params: Consumer and cycle of the new batch. A closed period posts into the open cycle: its lines keep the
            period that they are for.
        gone: Keys (columns `KEY`) as `vanished` gives them: their standing lines are reversed, and nothing takes their
            place.

    Returns:
        The delta batch. `determinant_revision` of a new line is one above the last of its determinant; `supersedes`
        names the corrected line as "batch/line", on the reversal and on the new line.
    """
    posted = conform(ledger, DETERMINANTS)
    now = standing(posted)
    old = now.select(*KEY, *(pl.col(name).alias(f"old_{name}") for name in _compared()))
    used = posted.group_by(KEY).agg(last_revision=pl.col("determinant_revision").max())
    joined = conform(latest, DETERMINANTS)
    for before in (old, used):
        joined = joined.join(before, on=list(KEY), how="left", nulls_equal=True, maintain_order="left")
    known = pl.col("old_line_no").is_not_null()
    same = pl.all_horizontal([pl.col(name).eq_missing(pl.col(f"old_{name}")) for name in _BILLED])
    stale = (pl.col("source_revision") < pl.col("old_source_revision")).fill_null(value=False)
    changed = joined.filter(~known | (~same & ~stale))
    corrected = changed.filter(known)
    added = changed.with_columns(
        determinant_revision=(pl.col("last_revision").fill_null(0) + 1).cast(pl.Int32),
        supersedes=pl.when(known).then(_link("old_batch_id", "old_line_no")),
    )
    reversed_ = _of_keys(now, corrected)
    taken = now.clear() if gone is None else _of_keys(now, gone)
    lines = pl.concat([_reversal(reversed_), _reversal(taken), conform(added, DETERMINANTS)])
    return Posting(
        lines=sealed(lines, params),
        unchanged=joined.filter(known & same).height,
        stale=joined.filter(known & ~same & stale).height,
    )


def vanished(ledger: pl.DataFrame, batches: pl.Series, computed: Determinants) -> pl.DataFrame:
    """Keys (columns `KEY`) that stand in the ledger for a period and that its bill has no more.

    An exchange, a change of tariff or another service point that became known after the bill moves the bounds or the
    names of its lines: the old ones would stay beside the new ones and bill the same energy twice. A line that is held
    (`computed.findings`) is not gone, nor is anything of a meter that the run did not see or holds as a whole.

    Args:
        ledger: DETERMINANTS of all batches.
        batches: Ids of the batches that billed this consumer and period.
        computed: What the run computed.
    """
    now = standing(conform(ledger, DETERMINANTS)).filter(pl.col("batch_id").is_in(batches.implode()))
    held = computed.findings.filter("held")
    whole = held.filter(pl.col("determinant").is_null()).select("meter_id")
    seen = now.join(computed.spans, on="meter_id", how="semi").join(whole, on="meter_id", how="anti")
    absent = seen.join(computed.determinants, on=list(KEY), how="anti", nulls_equal=True)
    span = ["meter_id", "service_point_id"]
    spans = computed.spans.rename({"span_from": "period_start", "span_to": "period_end"})
    elsewhere = absent.join(spans, on=[*span, "period_start", "period_end"], how="anti", nulls_equal=True)
    here = absent.join(spans, on=[*span, "period_start", "period_end"], how="semi", nulls_equal=True)
    names = held.select("meter_id", "channel", of="determinant").unique()
    kept = (
        here.with_columns(pl.col("channel").cast(pl.String))
        .join(names, on=["meter_id", "channel"], how="inner", nulls_equal=True)
        .filter(_is_held(pl.col("determinant"), pl.col("of")))
    )
    unheld = here.with_columns(pl.col("channel").cast(pl.String)).join(kept, on=list(KEY), how="anti", nulls_equal=True)
    return pl.concat([elsewhere.select(KEY), unheld.select(KEY).cast({"channel": CHANNEL})])


def _is_held(determinant: pl.Expr, of: pl.Expr) -> pl.Expr:
    # A finding of all periods of use has no period's name; the load factor has no maximum to rest on.
    load = (determinant == "load_factor") & (of == "demand_max")
    return (determinant == of) | determinant.str.starts_with(of + "_") & of.str.ends_with("_tou") | load


def _of_keys(lines: pl.DataFrame, keys: pl.DataFrame) -> pl.DataFrame:
    return lines.join(keys.select(KEY), on=list(KEY), how="semi", nulls_equal=True, maintain_order="left")


def balance(ledger: pl.DataFrame) -> pl.DataFrame:
    """Σ sign × value and Σ sign × ratio of every determinant that is not zero lines: `KEY`, `value_milli`, `ratio`,
    `lines` (those that stand: 1, or 0 after a withdrawal)."""
    sign = pl.col("sign").cast(pl.Int64)
    return (
        ledger.group_by(KEY)
        .agg(
            value_milli=(pl.col("value_milli") * sign).sum(),
            ratio=pl.when(pl.col("sign") > 0).then(pl.col("ratio")).otherwise(-pl.col("ratio")).sum(),
            lines=sign.sum(),
        )
        .sort(KEY, nulls_last=False)
    )


def sealed(lines: pl.DataFrame, params: DeterminantParams) -> pl.DataFrame:
    """The same lines in order, numbered, under the id of a batch of their own."""
    # Reversals first within a determinant: whoever stops half way has taken back before he charges again.
    ordered = lines.sort("sign", "meter_id", "determinant", "period_start", maintain_order=True)
    return seal(ordered, lines_id_of(ordered, params))


def _compared() -> tuple[str, ...]:
    return (*_BILLED, "batch_id", "line_no", "source_revision")


def standing(ledger: pl.DataFrame) -> pl.DataFrame:
    """The line of every determinant that stands: not taken back, and nothing in its place."""
    # The newest line of a determinant, unless it is a reversal without a successor. A reversal carries the revision
    # of the line that it reverses, so that the pair is told from the line which takes its place.
    newest = pl.col("determinant_revision") == pl.col("determinant_revision").max().over(KEY)
    last = ledger.filter(newest)
    return last.filter(pl.col("sign").min().over(KEY) > 0)


def _reversal(lines: pl.DataFrame) -> pl.DataFrame:
    return lines.with_columns(sign=pl.lit(-1, dtype=pl.Int8), supersedes=_link("batch_id", "line_no"))


def _link(batch: str, line: str) -> pl.Expr:
    return pl.concat_str(batch, pl.col(line).cast(pl.String), separator="/")
