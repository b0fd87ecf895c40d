"""Refused lines go out again: in the ledger as reversal and new line, to the receiver, who never booked them, alone.

What a receiver holds is Σ of the lines that he was sent and did not refuse; after his last acceptance it is the
ledger's sum, whatever he refused in between.
"""

from typing import Final, NamedTuple

import msgspec
import polars as pl

from billing_export.ledger import KEY
from schemas.frames import BILLING_BATCHES, DETERMINANTS, conform

REFUSED: Final = ("partly_rejected", "rejected")
_DELIVERED_FILE: Final = "determinants.parquet"
LINK: Final = pl.concat_str("batch_id", pl.col("line_no").cast(pl.String), separator="/")
"""A line as `supersedes` names it."""


class Books(NamedTuple):
    """The ledger as it stands."""

    lines: pl.DataFrame
    """DETERMINANTS of all batches."""
    batches: pl.DataFrame
    """BILLING_BATCHES, every step."""


class Refusal(msgspec.Struct, frozen=True):
    """What the step of an answered batch keeps in its `reason`: a line, or (null) every line of the batch."""

    line: int | None
    reason: str


class Reentry(NamedTuple):
    """Lines of a batch, not yet sealed."""

    sent: pl.DataFrame
    """DETERMINANTS that the receiver gets."""
    silent: pl.DataFrame
    """DETERMINANTS that only the ledger gets: they take back what the receiver never booked."""
    again: int
    """Refused lines among those sent."""


def sent_lines(books: Books, batch_id: str) -> pl.DataFrame:
    """The lines of a batch that its receiver got: those its manifest counts; lines numbered above are the ledger's."""
    lines = conform(books.lines.filter(pl.col("batch_id") == batch_id), DETERMINANTS)
    manifests = books.batches.filter(pl.col("batch_id") == batch_id).sort("step")["manifest"]
    files = msgspec.json.decode(manifests[-1])["files"] if manifests.len() else []
    counted = [file["records"] for file in files if file["name"] == _DELIVERED_FILE and "records" in file]
    return lines.filter(pl.col("line_no") <= counted[0]) if counted else lines


def refused_lines(lines: pl.DataFrame, steps: pl.DataFrame) -> pl.DataFrame:
    """DETERMINANTS and `reason` of the lines of one batch that its answers refused, each once.

    Args:
        lines: Lines that the receiver got.
        steps: BILLING_BATCHES of the batch.
    """
    reasons = steps.filter(pl.col("state").is_in(list(REFUSED))).sort("step")["reason"].to_list()
    said = [one for reason in reasons for one in msgspec.json.decode(reason or "[]", type=list[Refusal])]
    return refused_among(lines, said)


def refused_among(lines: pl.DataFrame, said: list[Refusal]) -> pl.DataFrame:
    """DETERMINANTS and `reason` of the lines that are refused by number, or with their whole batch."""
    whole = next((one.reason for one in said if one.line is None), None)
    by_line = {one.line: one.reason for one in said if one.line is not None}
    reason = pl.col("line_no").replace_strict(by_line, default=whole, return_dtype=pl.String)
    return lines.with_columns(reason=reason).filter(pl.col("reason").is_not_null())


def open_refusals(books: Books) -> pl.DataFrame:
    """DETERMINANTS and `reason` of the lines that a receiver refused and that nothing has taken the place of since."""
    answered = conform(books.batches, BILLING_BATCHES).filter(pl.col("state").is_in(list(REFUSED)))
    parts = [
        refused_lines(sent_lines(books, batch_id), answered.filter(pl.col("batch_id") == batch_id))
        for batch_id in answered["batch_id"].unique(maintain_order=True)
    ]
    empty = DETERMINANTS.empty().with_columns(reason=pl.lit(None, dtype=pl.String))
    refused = pl.concat([empty, *parts])
    # Whatever names a refused line has settled it: a new line in its place, its reversal alone where nothing takes its
    # place, or the same line again.
    taken = books.lines.filter(pl.col("supersedes").is_not_null()).select(link="supersedes").unique()
    return (
        refused.with_columns(link=LINK)
        .join(taken, on="link", how="anti", maintain_order="left")
        .select(*DETERMINANTS.schema.names(), "reason")
    )


def reenter(lines: pl.DataFrame, refused: pl.DataFrame, ledger: pl.DataFrame) -> Reentry:
    """The lines of a posting and the refused lines again, parted by who gets them.

    Args:
        lines: DETERMINANTS of the posting: reversals and new lines.
        refused: As `open_refusals` gives them.
        ledger: DETERMINANTS of all batches.
    """
    links = refused.select(link=LINK).to_series()
    never_booked = (pl.col("sign") < 0) & pl.col("supersedes").is_in(links.implode()).fill_null(value=False)
    corrected = lines.filter(never_booked)["supersedes"]
    waiting = refused.with_columns(link=LINK).filter(~pl.col("link").is_in(corrected.implode()))
    last = ledger.group_by(KEY).agg(last_revision=pl.col("determinant_revision").max())
    joined = waiting.join(last, on=list(KEY), how="left", nulls_equal=True, maintain_order="left")
    linked = joined.with_columns(supersedes=pl.col("link"))
    counter = linked.with_columns(sign=-pl.col("sign"))
    revision = pl.when(pl.col("sign") > 0).then(pl.col("last_revision") + 1).otherwise("determinant_revision")
    again = linked.with_columns(determinant_revision=revision.cast(pl.Int32))
    return Reentry(
        sent=pl.concat([lines.filter(~never_booked), conform(again, DETERMINANTS)]),
        silent=pl.concat([lines.filter(never_booked), conform(counter, DETERMINANTS)]),
        again=again.height,
    )
