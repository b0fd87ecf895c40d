"""An end for `replay_windows`: months that no worker reads again give up all that lies below the window.

What is still in a window of an old month is written again, saved now; then the month is dropped as a whole. A run that
is broken off between the two leaves copies, which a window's key tells for what they are; the next run ends it.
"""

from datetime import UTC, date, datetime
from typing import Final, NamedTuple

import polars as pl

from schemas.errors import ContractError, TransientError
from storage.migrations import Target
from storage.queries import WINDOW, Query, Value
from storage.tables import table_of

_TABLE: Final = "replay_windows"
_STREAM: Final = "topic, `partition`, system_title, key_id"
_KEPT_MONTHS: Final = 2
"""This month and the one before: longer than a topic keeps what a worker could go back to."""
_PLACES: Final = pl.Schema({"month": pl.Int64, "topic": pl.String, "partition": pl.Int64, "rows": pl.Int64})

_BLOCKS: Final = pl.Schema({"month": pl.Int64, "block": pl.Int64})


class Trimmed(NamedTuple):
    """Months (yyyymm) that were dropped, their counters, and how many of those were carried on."""

    months: tuple[int, ...]
    counters: int
    carried: int


def trim_windows(target: Target, now: datetime, *, dry_run: bool = False) -> Trimmed:
    """Carry on what is in a window, and drop the months before the last one.

    Of each (topic, partition, system title, key) the newest 64 counters stay, however old they are, and every mark of
    one that was used twice: what a worker that starts at any offset of the kept months is told, it is told as before.
    One query a partition of a topic.

    Args:
        target: The engine.
        now: The time, UTC; written as `saved_at` of what is carried on.
        dry_run: Count only.

    Raises:
        ContractError: `now` has no zone.
        TransientError: The months grew while they were read (a worker that is months behind): nothing was dropped.
    """
    if now.tzinfo is None:
        raise ContractError("trim: an instant without a time zone")
    first_kept = _months_back(now.astimezone(UTC).date(), _KEPT_MONTHS - 1)
    before = _last_blocks(target, first_kept)
    old = _old(target, first_kept)
    if old.is_empty():
        return Trimmed((), 0, 0)
    places = [(str(topic), int(part)) for topic, part in old.select("topic", "partition").unique().sort("*").rows()]
    carried = sum(_carry(target, topic, part, first_kept, None if dry_run else now) for topic, part in places)
    months = tuple(old["month"].unique().sort().to_list())
    if not dry_run:
        if not _last_blocks(target, first_kept).equals(before):
            raise TransientError("trim: rows of old months were added meanwhile; nothing was dropped, run it again")
        for month in months:
            target.execute(f"ALTER TABLE {_TABLE} DROP PARTITION {month}")
    return Trimmed(months, int(old["rows"].sum()), carried)


def _months_back(day: date, months: int) -> int:
    place = day.year * 12 + day.month - 1 - months
    return place // 12 * 100 + place % 12 + 1


def _old(target: Target, first_kept: int) -> pl.DataFrame:
    sql = (
        "SELECT toInt64(toYYYYMM(saved_at)) AS month, topic, toInt64(`partition`) AS `partition`,"
        " toInt64(count()) AS rows"
        f" FROM {_TABLE} WHERE toYYYYMM(saved_at) < {{first:Int64}} GROUP BY month, topic, `partition`"
        " ORDER BY month, topic, `partition`"
    )
    return target.select(Query(sql, {"first": first_kept}, _PLACES))


def _last_blocks(target: Target, first_kept: int) -> pl.DataFrame:
    """The number of the last block written to each old month: an insert raises it, a merge of parts does not."""
    sql = (
        "SELECT toInt64(toUInt32(`partition`)) AS month, toInt64(max(max_block_number)) AS block FROM system.parts"
        " WHERE database = currentDatabase() AND table = {table:String} AND active"
        " AND toUInt32(`partition`) < {first:Int64} GROUP BY month ORDER BY month"
    )
    return target.select(Query(sql, {"table": _TABLE, "first": first_kept}, _BLOCKS))


def _carry(target: Target, topic: str, part: int, first_kept: int, now: datetime | None) -> int:
    """Write what is in the windows of one partition of a topic again; how many that is. Without `now`, count."""
    names = [name.strip("`") for name in table_of(_TABLE).columns()]
    ours = ", ".join(f"`{name}`" for name in names)
    in_window = (
        f"(SELECT {ours} FROM (SELECT {ours} FROM {_TABLE} WHERE topic = {{topic:String}}"
        " AND `partition` = {part:Int64} AND toYYYYMM(saved_at) < {first:Int64}"
        f" ORDER BY {_STREAM}, counter DESC, `offset` LIMIT 1 BY {_STREAM}, counter)"
        f" ORDER BY {_STREAM}, counter DESC LIMIT {WINDOW} BY {_STREAM}, counter < 0)"
    )
    params: dict[str, Value] = {"topic": topic, "part": part, "first": first_kept}
    counted = target.select(
        Query(f"SELECT toInt64(count()) AS rows FROM {in_window}", params, pl.Schema({"rows": pl.Int64}))
    )
    if now is not None:
        saved = ", ".join("{now:DateTime64}" if name == "saved_at" else f"`{name}`" for name in names)
        insert = Query(
            f"INSERT INTO {_TABLE} ({ours}) SELECT {saved} FROM {in_window}", params | {"now": now}, pl.Schema()
        )
        target.execute(insert.text())
    return int(counted["rows"][0])
