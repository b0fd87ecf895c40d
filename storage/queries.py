"""SQL as values: a text with named, typed holes and what goes into them.

The holes are written `{name:Type}` as ClickHouse writes them and are filled by `Query.text`, the same for every engine:
the parameter channels of the native protocol and of chDB escape differently and carry no long lists.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple

import polars as pl

from schemas.errors import ContractError
from schemas.frames import BILLED, CHANNEL, HEARD_PLACES
from storage.tables import Table, table_of

Value = str | int | datetime | tuple[str, ...] | tuple[int, ...]
Place = tuple[str, int, int, int]
"""Topic, partition, offset and frame of a message."""

_HOLE: Final = re.compile(r"\{(\w+):([A-Za-z0-9()]+)\}")
_ESCAPED: Final = str.maketrans({"\\": "\\\\", "'": "\\'", "\n": "\\n", "\t": "\\t", "\r": "\\r", "\0": "\\0"})
WINDOW: Final = 64
"""Counters of a replay window, the highest among them (dlms.md section 9)."""
_HOUR_US: Final = 3_600_000_000
_EPOCH: Final = datetime.fromisoformat("1970-01-01T00:00:00+00:00")


class Query(NamedTuple):
    """A statement and its parameters. `schema` names the columns that it yields, with their types."""

    sql: str
    params: Mapping[str, Value]
    schema: pl.Schema

    def text(self) -> str:
        """The statement with every hole filled by an escaped literal.

        Raises:
            ContractError: A hole has no value, or a value another type than the hole says.
        """
        return _HOLE.sub(lambda hole: self._fill(hole.group(1), hole.group(2)), self.sql)

    def _fill(self, name: str, kind: str) -> str:
        if name not in self.params:
            raise ContractError(f"query: no value for {name}")
        return literal(self.params[name], kind)


def literal(value: Value, kind: str) -> str:
    """The value as a ClickHouse literal of that type: String, Int64, DateTime64, or an Array of the first two.

    Raises:
        ContractError: The value is not of that type.
    """
    match kind, value:
        case "String", str():
            return f"'{value.translate(_ESCAPED)}'"
        case "Int64", int() if not isinstance(value, bool):
            return str(value)
        case "DateTime64", datetime():
            return f"fromUnixTimestamp64Micro({_micros(value)}, 'UTC')"
        case "Array(String)", tuple():
            return "[" + ",".join(literal(item, "String") for item in value) + "]"
        case "Array(Int64)", tuple():
            return "[" + ",".join(literal(item, "Int64") for item in value) + "]"
        case _:
            raise ContractError(f"query: {type(value).__name__} where {kind} is needed")


def select_current(table: Table, where: str = "", params: Mapping[str, Value] | None = None) -> Query:
    """Rows that are the newest of their kind among those that `where` keeps.

    The same choice as the view `<table>_current`, but with the filter inside, where it can use the sort key: no engine
    pushes a filter through LIMIT BY.
    """
    names = ", ".join(f"`{name}`" for name in table.columns())
    kept = f" WHERE {where}" if where else ""
    order = ", ".join((*table.current_by, *(f"{part} DESC" for part in table.newest)))
    by = ", ".join(table.current_by)
    sql = f"SELECT {names} FROM {table.name} FINAL{kept} ORDER BY {order} LIMIT 1 BY {by}"
    return Query(sql, params or {}, pl.Schema({**table.frame.schema, **table.extras}))


def select_all(table: Table, where: str, params: Mapping[str, Value]) -> Query:
    """Every distinct row that `where` keeps, history included, in the table's own order."""
    names = ", ".join(f"`{name}`" for name in table.columns())
    order = ", ".join((*table.current_by, *table.newest))
    sql = f"SELECT {names} FROM {table.name} FINAL WHERE {where} ORDER BY {order}"
    return Query(sql, params, pl.Schema({**table.frame.schema, **table.extras}))


def select_span(table: Table, meters: tuple[str, ...] | None, start: datetime, end: datetime) -> Query:
    """Current rows of a table that begin in [start, end), of the named meters or of all."""
    where, params = [], dict[str, Value](start=start, end=end)
    if meters is not None and table.meter is not None:
        where.append(f"{table.meter} IN {{meters:Array(String)}}")
        params["meters"] = meters
    if table.starts is not None:
        where.append(f"`{table.starts}` >= {{start:DateTime64}} AND `{table.starts}` < {{end:DateTime64}}")
    return select_current(table, " AND ".join(where), params)


def select_edits(meters: tuple[str, ...], start: datetime, end: datetime) -> Query:
    """Current edits of the meters whose half-open span touches [start, end)."""
    where = "meter_id IN {meters:Array(String)} AND `from` < {end:DateTime64} AND `to` > {start:DateTime64}"
    return select_current(table_of("edits"), where, {"meters": meters, "start": start, "end": end})


def select_outages(start: datetime, end: datetime) -> Query:
    """Steps of every incident that began before `end` and whose last step has no end, or one after `start`."""
    touching = (
        "incident_id IN (SELECT incident_id FROM (SELECT incident_id, restored_at FROM outages FINAL"
        " WHERE started_at < {end:DateTime64} ORDER BY incident_id, step DESC, updated_at DESC LIMIT 1 BY incident_id)"
        " WHERE restored_at IS NULL OR restored_at > {start:DateTime64})"
    )
    return select_current(table_of("outages"), touching, {"start": start, "end": end})


def select_finals(
    meters: tuple[str, ...], start: datetime, end: datetime, judged_before: datetime | None, version: int | None = None
) -> Query:
    """The newest final of each interval of [start, end) among those judged before an instant (null: among all).

    With `version` among those of that version or an older one.
    """
    where = (
        "meter_id IN {meters:Array(String)}"
        " AND interval_start >= {start:DateTime64} AND interval_start < {end:DateTime64}"
    )
    params = dict[str, Value](meters=meters, start=start, end=end)
    if judged_before is not None:
        where += " AND judged_at < {judged_before:DateTime64}"
        params["judged_before"] = judged_before
    if version is not None:
        where += " AND version <= {version:Int64}"
        params["version"] = version
    return select_current(table_of("finals"), where, params)


def select_judged(start: datetime, end: datetime) -> Query:
    """Meters that have a final of an interval that begins in [start, end), by name."""
    sql = (
        "SELECT DISTINCT meter_id FROM finals WHERE interval_start >= {start:DateTime64}"
        " AND interval_start < {end:DateTime64} ORDER BY meter_id"
    )
    return Query(sql, {"start": start, "end": end}, pl.Schema({"meter_id": pl.String()}))


def select_whether(table: Table) -> Query:
    """Whether a table has rows: `rows` is 1, else 0."""
    sql = f"SELECT toInt64(count()) AS rows FROM (SELECT 1 FROM {table.name} LIMIT 1)"
    return Query(sql, {}, pl.Schema({"rows": pl.Int64()}))


def select_ends(meters: tuple[str, ...], start: datetime, end: datetime) -> Query:
    """By meter and channel the end of the last final that begins in [start, end), and when one was judged last.

    Of any version: an interval that has a final keeps one. Both are microseconds since 1970.
    """
    sql = (
        "SELECT meter_id, channel, max(starts + toInt64(interval_s) * 1000000) AS ends_at, max(judged) AS judged_at"
        " FROM (SELECT meter_id, channel, interval_s, toUnixTimestamp64Micro(`interval_start`) AS starts,"
        " toUnixTimestamp64Micro(`judged_at`) AS judged FROM finals WHERE meter_id IN {meters:Array(String)}"
        " AND interval_start >= {start:DateTime64} AND interval_start < {end:DateTime64}) GROUP BY meter_id, channel"
    )
    told = {"meter_id": pl.String(), "channel": CHANNEL, "ends_at": pl.Int64(), "judged_at": pl.Int64()}
    return Query(sql, {"meters": meters, "start": start, "end": end}, pl.Schema(told))


def select_days(meters: tuple[str, ...], start: datetime, end: datetime) -> Query:
    """By meter the days of UTC, counted from 1970, in which an interval, a read or a final in [start, end) begins."""
    begins = " UNION ALL ".join(
        f"SELECT meter_id, toInt32(floor(toUnixTimestamp64Micro(`{at}`) / 86400000000)) AS nth FROM {table}"
        f" WHERE meter_id IN {{meters:Array(String)}} AND {at} >= {{start:DateTime64}} AND {at} < {{end:DateTime64}}"
        for table, at in (("intervals", "interval_start"), ("reads", "read_at"), ("finals", "interval_start"))
    )
    sql = f"SELECT meter_id, nth AS day FROM ({begins}) GROUP BY meter_id, nth"
    told = {"meter_id": pl.String(), "day": pl.Int32()}
    return Query(sql, {"meters": meters, "start": start, "end": end}, pl.Schema(told))


def select_peaks(meters: tuple[str, ...], start: datetime, end: datetime) -> Query:
    """By meter and channel the highest value of the valid finals that begin in [start, end), and their days of UTC.

    The newest version of an interval counts: a spike that was corrected is no maximum.
    """
    day = "intDiv(toUnixTimestamp64Micro(`interval_start`), 86400000000)"
    sql = (
        "SELECT meter_id, channel, max(assumeNotNull(worth)) AS highest_milli, toInt32(uniqExact(day)) AS days"
        f" FROM (SELECT meter_id, channel, value_milli AS worth, quality, {day} AS day FROM finals"
        " WHERE meter_id IN {meters:Array(String)}"
        " AND interval_start >= {start:DateTime64} AND interval_start < {end:DateTime64}"
        " ORDER BY meter_id, channel, interval_start, version DESC, judged_at DESC"
        " LIMIT 1 BY meter_id, channel, interval_start)"
        " WHERE quality = 'valid' AND worth IS NOT NULL GROUP BY meter_id, channel"
    )
    told = {"meter_id": pl.String(), "channel": CHANNEL, "highest_milli": pl.Int64(), "days": pl.Int32()}
    return Query(sql, {"meters": meters, "start": start, "end": end}, pl.Schema(told))


def select_billed(meters: tuple[str, ...], start: datetime, end: datetime) -> Query:
    """Spans that touch [start, end) of the lines that stand in the ledger: not taken back, or replaced by another."""
    line = "meter_id, channel, period_start, period_end"
    sql = (
        "SELECT meter_id, channel, period_start AS billed_from, period_end AS billed_to FROM"
        f" (SELECT {line} FROM billing_ledger FINAL WHERE meter_id IN {{meters:Array(String)}}"
        " AND period_start < {end:DateTime64} AND period_end > {start:DateTime64}"
        f" GROUP BY service_point_id, determinant, {line} HAVING sum(sign) > 0)"
        f" GROUP BY {line} ORDER BY {line}"
    )
    return Query(sql, {"meters": meters, "start": start, "end": end}, BILLED.schema)


def select_heard(start: datetime, hours: int, registers: tuple[str, ...]) -> Query:
    """How many meters of each feeder and substation have values of each of at most 64 hours, by service.

    `hour` is the number of the hour, the first is 0. Every channel of the intervals counts, of the reads those in
    `registers`; a superseded value was heard all the same. A meter is one mask of hours until the last step, so that
    memory is linear in meters, whatever the hours.
    """
    heard = " UNION ALL ".join(
        "SELECT meter_id, channel = 'volume' AS fluid,"
        f" intDiv(toUnixTimestamp64Micro(`{at}`) - {{start_us:Int64}}, {_HOUR_US}) AS h FROM {table}"
        f" WHERE {at} >= {{start:DateTime64}} AND {at} < {{end:DateTime64}} AND value_milli IS NOT NULL{also}"
        for table, at, also in (
            ("intervals", "interval_start", ""),
            ("reads", "read_at", " AND channel IN {registers:Array(String)}"),
        )
    )
    places = (
        "SELECT meter_id, feeder_id, substation_id FROM meters FINAL"
        " ORDER BY meter_id, installed_at DESC NULLS LAST, recorded_at DESC LIMIT 1 BY meter_id"
    )
    # Written out hour by hour: no lambda, which old engines do not know inside of an aggregate.
    counts = ", ".join(f"sum(bitTest(mask, {hour}))" for hour in range(hours))
    masks = (
        "SELECT meter_id, fluid, groupBitOr(toUInt64(bitShiftLeft(toUInt64(1), toUInt8(h)))) AS mask"
        f" FROM ({heard}) GROUP BY meter_id, fluid"
    )
    counted = (
        f"SELECT fluid, feeder_id, substation_id, [{counts}] AS counts FROM ({masks}) AS told"
        f" LEFT JOIN ({places}) AS placed USING (meter_id) GROUP BY fluid, feeder_id, substation_id"
    )
    sql = (
        "SELECT toInt64(nth - 1) AS hour, if(fluid, 'volume', 'electricity') AS service,"
        f" feeder_id, substation_id, toUInt32(heard) AS devices FROM ({counted})"
        " ARRAY JOIN counts AS heard, arrayEnumerate(counts) AS nth WHERE heard > 0"
        " ORDER BY service, feeder_id, substation_id, hour"
    )
    end = start + timedelta(hours=hours)
    params = dict[str, Value](start=start, end=end, start_us=_micros(start), registers=registers)
    return Query(sql, params, pl.Schema({**HEARD_PLACES.schema, "hour": pl.Int64()}))


def select_history(name: str, meter_id: str, start: datetime, end: datetime) -> Query:
    """Every row, superseded ones too, of one meter that begins in [start, end)."""
    table = table_of(name)
    where = (
        f"{table.meter} = {{meter:String}}"
        f" AND `{table.starts}` >= {{start:DateTime64}} AND `{table.starts}` < {{end:DateTime64}}"
    )
    return select_all(table, where, {"meter": meter_id, "start": start, "end": end})


def select_ledger(meter_id: str, instant: datetime) -> Query:
    """Ledger lines of a meter whose period holds the instant."""
    where = "meter_id = {meter:String} AND period_start <= {instant:DateTime64} AND period_end > {instant:DateTime64}"
    return select_current(table_of("billing_ledger"), where, {"meter": meter_id, "instant": instant})


def select_frames(topic: str, partition: int, offsets: Iterable[int]) -> Query:
    """The stored messages at the offsets of one topic partition."""
    where = "topic = {topic:String} AND `partition` = {partition:Int64} AND `offset` IN {offsets:Array(Int64)}"
    params = dict[str, Value](topic=topic, partition=partition, offsets=tuple(offsets))
    return select_current(table_of("frames"), where, params)


def select_open_rejects(
    reasons: tuple[str, ...], limit: int, after: Place | None = None, before: Place | None = None
) -> Query:
    """Rejects of those reasons that nobody has resolved, by place; behind one place and before another."""
    table = table_of("rejects")
    order = "topic, `partition`, `offset`, frame"
    where, params = "reason IN {reasons:Array(String)}", dict[str, Value](reasons=reasons, limit=limit)
    for name, sign, place in (("after", ">", after), ("before", "<", before)):
        if place is not None:
            topic, *numbers = place
            parts = (f"{{{name}_topic:String}}", *(f"{{{name}{i}:Int64}}" for i in range(len(numbers))))
            where += f" AND ({order}) {sign} ({', '.join(parts)})"
            params |= {f"{name}_topic": topic, **{f"{name}{i}": number for i, number in enumerate(numbers)}}
    current = select_current(table, where, params)
    sql = f"SELECT * FROM ({current.sql}) WHERE resolution IS NULL ORDER BY {order} LIMIT {{limit:Int64}}"
    return current._replace(sql=sql)


def select_open_exceptions(meters: tuple[str, ...], start: datetime, end: datetime) -> Query:
    """Findings of the meters that begin in [start, end) and have not been withdrawn."""
    current = select_span(table_of("exceptions"), meters, start, end)
    return current._replace(sql=f"SELECT * FROM ({current.sql}) WHERE resolved_at IS NULL")


def select_windows(positions: Sequence[tuple[str, int, int]]) -> Query:
    """The newest 64 counters of each (system title, key) and partition, in messages before the next one to be read.

    And what says that one was used twice (negative, see REPLAY_WINDOWS), however long ago.

    Args:
        positions: Topic, partition and offset of that next message.
    """
    table = table_of("replay_windows")
    names = ", ".join(f"`{name}`" for name in table.columns())
    stream = "topic, `partition`, system_title, key_id"
    asked = " OR ".join(
        f"(topic = {{topic{i}:String}} AND `partition` = {{part{i}:Int64}} AND `offset` < {{offset{i}:Int64}})"
        for i in range(len(positions))
    )
    sql = (
        f"SELECT {names} FROM (SELECT {names} FROM replay_windows FINAL WHERE {asked}"
        f" ORDER BY {stream}, counter DESC, `offset` LIMIT 1 BY {stream}, counter)"
        f" ORDER BY {stream}, counter DESC LIMIT {WINDOW} BY {stream}, counter < 0"
    )
    params: dict[str, Value] = {}
    for i, (topic, partition, offset) in enumerate(positions):
        params |= {f"topic{i}": topic, f"part{i}": partition, f"offset{i}": offset}
    return Query(sql, params, table.frame.schema)


def span_around(interval_start: datetime, interval_s: int) -> tuple[datetime, datetime]:
    """Bounds of a question about one interval: the interval itself and both its ends, where registers are read."""
    return interval_start, interval_start + timedelta(seconds=interval_s, microseconds=1)


def _micros(instant: datetime) -> int:
    if instant.tzinfo is None:
        raise ContractError("query: an instant without a time zone")
    return (instant - _EPOCH) // timedelta(microseconds=1)
