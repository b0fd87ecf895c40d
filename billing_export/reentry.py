"""Refused lines go out again: in the ledger as reversal and new line, to the receiver, who never booked them, alone.

What a receiver holds is Σ of the lines that he was sent and did not refuse; after his last acceptance it is the
ledger's sum, whatever he refused in between.
"""

from typing import Final, NamedTuple

import msgspec
import polars as pl

from billing_export.ledger import KEY, standing
from schemas.frames import DETERMINANTS, conform

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
    count = _counted(manifests[-1]) if manifests.len() else None
    return lines if count is None else lines.filter(pl.col("line_no") <= count)


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
    """DETERMINANTS of the lines that must go out again, as they were first posted; `sign` is what the receiver wants:
    +1 for a line that he does not have, -1 for one that he still has although it was taken back."""
    return _wanting(books, DETERMINANTS.empty()).with_columns(pl.col("wanting").cast(pl.Int8).alias("sign")).select(
        DETERMINANTS.schema.names()
    )  # fmt: skip


def reenter(lines: pl.DataFrame, books: Books) -> Reentry:
    """The lines of a posting and the refused lines again, parted by who gets them.

    An answer may come at any time: before the line that it refuses was corrected, after the correction was sent, or
    after the correction was refused itself. So what goes out is not told by single refusals but by the difference
    between what the receiver has of each line (sent and not refused, his silence taken for consent) and what stands.

    Args:
        lines: DETERMINANTS of the posting: reversals and new lines.
        books: The ledger before it.
    """
    never_booked = lines.filter(_is_never_booked(lines, _held(books)))
    wanting = _wanting(books, lines)
    last = books.lines.group_by(KEY).agg(last_revision=pl.col("determinant_revision").max())
    joined = wanting.join(last, on=list(KEY), how="left", nulls_equal=True, maintain_order="left")
    sign = pl.col("wanting").cast(pl.Int8)
    # What stands is posted anew, a revision further. What does not stand moves between the receiver and us alone: at
    # its own revision, so that nobody takes it for the latest.
    anew = pl.col("stands") & (sign > 0)
    revision = pl.when(anew).then(pl.col("last_revision") + 1).otherwise("determinant_revision")
    again = joined.with_columns(sign=sign, supersedes=pl.col("link"), determinant_revision=revision.cast(pl.Int32))
    counter = joined.with_columns(sign=-sign, supersedes=pl.col("link"))
    return Reentry(
        sent=pl.concat([lines.join(never_booked, on="line_no", how="anti"), conform(again, DETERMINANTS)]),
        silent=pl.concat([never_booked, conform(counter, DETERMINANTS)]),
        again=again.height,
    )


def _is_never_booked(lines: pl.DataFrame, held: pl.DataFrame) -> pl.Series:
    """Of each line, whether it is the reversal of one that the receiver does not have."""
    known = lines.select("sign", identity="supersedes").join(held, on="identity", how="left", maintain_order="left")
    return known.select((pl.col("sign") < 0) & (pl.col("held").fill_null(0) <= 0)).to_series()


def _wanting(books: Books, lines: pl.DataFrame) -> pl.DataFrame:
    """DETERMINANTS of every line of the ledger of which the receiver has another number than stands once `lines` are
    posted, with `link`, `stands` (afterwards) and `wanting` (+1 or -1: what he must be sent)."""
    held = _held(books)
    never_booked = _is_never_booked(lines, held)
    reversed_ = lines.select("sign", identity="supersedes", sent=~never_booked).filter(pl.col("sign") < 0)
    own = _identified(books.lines).filter(pl.col("link") == pl.col("identity"))
    current = standing(books.lines).select(identity=LINK, current=pl.lit(value=True))
    joined = (
        own.join(held, on="identity", how="left", maintain_order="left")
        .join(current, on="identity", how="left", maintain_order="left")
        .join(reversed_.drop("sign"), on="identity", how="left", maintain_order="left")
    )
    stands = pl.col("current").fill_null(value=False) & pl.col("sent").is_null()
    has = pl.col("held").fill_null(0) - pl.col("sent").fill_null(value=False).cast(pl.Int64)
    return (
        joined.with_columns(stands=stands, wanting=(stands.cast(pl.Int64) - has).clip(-1, 1))
        .filter(pl.col("wanting") != 0)
        .select(*DETERMINANTS.schema.names(), "link", "stands", "wanting")
    )


def _held(books: Books) -> pl.DataFrame:
    """`identity` of every line and `held`: how often the receiver has it, of what he was sent and did not refuse."""
    manifests = books.batches.sort("step").group_by("batch_id").agg(pl.col("manifest").last())
    counts = [_counted(manifest) for manifest in manifests["manifest"].to_list()]
    answers = books.batches.filter(pl.col("state").is_in(list(REFUSED))).select("batch_id", "reason").rows()
    said = [
        (batch, one.line)
        for batch, reason in answers
        for one in msgspec.json.decode(reason or "[]", type=list[Refusal])
    ]
    refusals = pl.DataFrame(said, schema={"batch_id": pl.String(), "line_no": pl.Int32()}, orient="row").unique()
    by_line, whole = refusals.drop_nulls("line_no"), refusals.filter(pl.col("line_no").is_null())
    sent = manifests.select("batch_id", count=pl.Series(counts, dtype=pl.Int64))
    return (
        _identified(books.lines)
        .join(sent, on="batch_id", how="left")
        .filter(pl.col("count").is_null() | (pl.col("line_no") <= pl.col("count")))
        .join(by_line, on=["batch_id", "line_no"], how="anti")
        .join(whole, on="batch_id", how="anti")
        .group_by("identity")
        .agg(held=pl.col("sign").cast(pl.Int64).sum())
    )


def _identified(lines: pl.DataFrame) -> pl.DataFrame:
    """The lines with `link` and `identity`: the line that each one is, takes back or repeats.

    A new line takes the place of the one that it names and is a revision further; one that repeats another has its
    revision.
    """
    linked = conform(lines, DETERMINANTS).with_columns(link=LINK)
    named = linked.select(supersedes="link", of_revision="determinant_revision")
    joined = linked.join(named, on="supersedes", how="left", maintain_order="left")
    repeats = (pl.col("determinant_revision") == pl.col("of_revision")).fill_null(value=False)
    own = (pl.col("sign") > 0) & ~repeats
    return joined.with_columns(identity=pl.when(own).then("link").otherwise("supersedes")).drop("of_revision")


def _counted(manifest: str) -> int | None:
    files = msgspec.json.decode(manifest)["files"]
    return next((file["records"] for file in files if file["name"] == _DELIVERED_FILE and "records" in file), None)
