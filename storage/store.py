"""What the store promises. `ReadingStore` is the interface; `SqlStore` keeps it over any ClickHouse engine."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple, Protocol

import polars as pl

from schemas import frames
from schemas.frames import UTC_US, conform
from storage import queries
from storage.insertion import as_inserted
from storage.queries import Place, Query
from storage.tables import TABLES, Table, table_of

MEASUREMENT_TABLES = ("intervals", "reads", "events", "finals")
PARTITIONS_A_QUERY: Final = 16
"""Whose windows are loaded at once: a query costs some milliseconds, and its rows lie in the engine's memory."""
HOURS_A_QUERY: Final = 64
"""Hours in which meters are counted at once: the bits of a mask."""
_HOUR: Final = timedelta(hours=1)


class Scope(NamedTuple):
    """Meters and the half-open time [start, end) that a question is about."""

    meters: tuple[str, ...]
    start: datetime
    end: datetime


class Context(NamedTuple):
    """What VEE needs to judge a scope: the newest rows, each frame in its contract, any of them empty."""

    intervals: pl.DataFrame
    reads: pl.DataFrame
    events: pl.DataFrame
    outages: pl.DataFrame
    meters: pl.DataFrame
    edits: pl.DataFrame
    finals: pl.DataFrame
    billed: pl.DataFrame = frames.BILLED.empty()


class Evidence(NamedTuple):
    """Everything stored about one meter in one span, history included, and the messages it came from."""

    ledger: pl.DataFrame
    finals: pl.DataFrame
    intervals: pl.DataFrame
    reads: pl.DataFrame
    edits: pl.DataFrame
    messages: pl.DataFrame


class ReadingStore(Protocol):
    """Append-only tables of frames, with the newest of each thing on request.

    Nothing is ever changed or removed by it. Every frame that comes back conforms to its contract.
    All methods raise `TransientError` when the store is away or busy, `ContractError` when a shape is wrong and
    `TerminalError` when it refuses in a way that trying again cannot mend.
    """

    def append(self, table: str, rows: pl.DataFrame, token: str) -> int:
        """The rows are stored, durably, when this returns; the number of rows is returned.

        The same rows twice are once in the current views, whatever the token. `token` names the batch (topic,
        partition, first and last offset, table), so that the engine may skip a repeated insert as a whole.
        """
        ...

    def load_context(self, scope: Scope, *, finals: bool = True) -> Context:
        """Newest rows of the scope, one query a table. Reads and finals are bounded by the scope as all others are:
        who needs a read before the first interval asks for a wider scope. Without `finals` that frame is empty."""
        ...

    def load_billed(self, scope: Scope) -> pl.DataFrame:
        """Which time of the scope's meters is billed, by the lines of the ledger that stand now: BILLED. A line that
        was taken back without another in its place bills nothing."""
        ...

    def has_rows(self, table: str) -> bool:
        """Whether anything was ever stored in a table."""
        ...

    def load_ends(self, scope: Scope) -> pl.DataFrame:
        """Where the finals of each series of the scope end, and when it was judged last: FINAL_ENDS, in any order."""
        ...

    def load_days(self, scope: Scope) -> pl.DataFrame:
        """Days of UTC of which an interval, a read or a final of the scope is stored: `meter_id`, `day` (Date), each
        once, in any order. Few, where the scope is far from now: one with years of data has all their days."""
        ...

    def load_peaks(self, scope: Scope) -> pl.DataFrame:
        """The highest of the valid finals of each series of the scope, and on how many days: FINAL_PEAKS, any order."""
        ...

    def load_current(self, table: str, scope: Scope | None = None) -> pl.DataFrame:
        """Newest rows of a table, all of them or those of a scope, ordered by what they speak about."""
        ...

    def load_finals(
        self, scope: Scope, judged_before: datetime | None = None, version: int | None = None
    ) -> pl.DataFrame:
        """The newest final of each interval of the scope, or what was the newest before an instant; with `version`
        that one, or the last before it."""
        ...

    def load_judged(self, start: datetime, end: datetime) -> list[str]:
        """Meters that have finals of intervals that begin in [start, end), by name."""
        ...

    def load_messages(self, places: pl.DataFrame) -> pl.DataFrame:
        """Raw messages (`RAW_FRAMES`) at the places `topic`, `partition`, `offset`, `frame`; absent ones give none."""
        ...

    def load_evidence(self, meter_id: str, interval_start: datetime, interval_s: int) -> Evidence:
        """What is known about [interval_start, interval_start + interval_s) of a meter, for `storage.trace`."""
        ...

    def load_open_rejects(
        self, reasons: tuple[str, ...], limit: int, after: Place | None = None, before: Place | None = None
    ) -> pl.DataFrame:
        """The first rejects (`REJECTS`) of those reasons that have no `resolution` yet, by place.

        One is resolved by appending it again with the columns `resolution` and `resolved_at`.

        Args:
            reasons: Texts of `RejectReason`.
            limit: At most so many.
            after: Only those behind this place.
            before: Only those before this one.
        """
        ...

    def load_open_exceptions(self, scope: Scope) -> pl.DataFrame:
        """Findings (`EXCEPTIONS`) that begin in the scope and have not been withdrawn.

        One is withdrawn by appending it again, its run too, with the column `resolved_at`.
        """
        ...

    def load_windows(self, positions: Sequence[tuple[str, int, int]]) -> pl.DataFrame:
        """Counters (`REPLAY_WINDOWS`) that still lie in their window as of a position in each of these partitions.

        The highest of each (system title, key) and those less than 64 below it, of messages before the offset only;
        and the marks of those that were used twice.

        Args:
            positions: Topic, partition, and the offset of the next message to be read; each partition once.
        """
        ...

    def load_heard(self, start: datetime, end: datetime, registers: tuple[str, ...]) -> pl.DataFrame:
        """How many meters had a value, by hour, service and place (`HEARD_PLACES`), in the hours of [start, end).

        Both are whole hours. Of the reads only those of the channels `registers` count. An hour without any is absent.
        """
        ...

    def close(self) -> None:
        """The connection or session is given back. A closed store answers nothing more."""
        ...


class Engine(Protocol):
    """A ClickHouse that answers: the part of the store that differs between a server and chDB."""

    def execute(self, sql: str) -> None:
        """The statement has been carried out."""
        ...

    def select(self, query: Query) -> pl.DataFrame:
        """The query's rows, with the columns and types of `query.schema`, enums as strings."""
        ...

    def insert(self, table: str, rows: pl.DataFrame, token: str) -> None:
        """The rows are acknowledged. Columns by name; enums go as their text: their numbers mean nothing elsewhere."""
        ...

    def version(self) -> tuple[int, int]:
        """Major and minor version of the engine."""
        ...

    def close(self) -> None:
        """The engine is given back."""
        ...


class SqlStore:
    """`ReadingStore` over an engine whose migrations have been applied."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def append(self, table: str, rows: pl.DataFrame, token: str) -> int:
        """See `ReadingStore.append`."""
        taken = as_inserted(rows, table_of(table))
        if taken.height:
            self.engine.insert(table, taken, token)
        return taken.height

    def load_context(self, scope: Scope, *, finals: bool = True) -> Context:
        """See `ReadingStore.load_context`."""
        span = {name: self.load_current(name, scope) for name in MEASUREMENT_TABLES if finals or name != "finals"}
        return Context(
            intervals=span["intervals"],
            reads=span["reads"],
            events=span["events"],
            outages=self._load(table_of("outages"), queries.select_outages(scope.start, scope.end)),
            meters=self.load_current("meters", scope),
            edits=self._load(table_of("edits"), queries.select_edits(*scope)),
            finals=span["finals"] if finals else frames.FINALS.empty(),
            billed=self.load_billed(scope),
        )

    def load_billed(self, scope: Scope) -> pl.DataFrame:
        """See `ReadingStore.load_billed`."""
        return conform(self.engine.select(queries.select_billed(*scope)), frames.BILLED)

    def has_rows(self, table: str) -> bool:
        """See `ReadingStore.has_rows`."""
        return bool(self.engine.select(queries.select_whether(table_of(table)))["rows"].item())

    def load_ends(self, scope: Scope) -> pl.DataFrame:
        """See `ReadingStore.load_ends`."""
        told = self.engine.select(queries.select_ends(*scope))
        return conform(told.with_columns(pl.col("ends_at", "judged_at").cast(UTC_US)), frames.FINAL_ENDS)

    def load_days(self, scope: Scope) -> pl.DataFrame:
        """See `ReadingStore.load_days`."""
        return self.engine.select(queries.select_days(*scope)).with_columns(pl.col("day").cast(pl.Date))

    def load_peaks(self, scope: Scope) -> pl.DataFrame:
        """See `ReadingStore.load_peaks`."""
        return conform(self.engine.select(queries.select_peaks(*scope)), frames.FINAL_PEAKS)

    def load_current(self, table: str, scope: Scope | None = None) -> pl.DataFrame:
        """See `ReadingStore.load_current`."""
        source = table_of(table)
        if scope is None:
            return self._load(source, queries.select_current(source))
        return self._load(source, queries.select_span(source, *scope))

    def load_finals(
        self, scope: Scope, judged_before: datetime | None = None, version: int | None = None
    ) -> pl.DataFrame:
        """See `ReadingStore.load_finals`."""
        return self._load(table_of("finals"), queries.select_finals(*scope, judged_before, version))

    def load_judged(self, start: datetime, end: datetime) -> list[str]:
        """See `ReadingStore.load_judged`."""
        return self.engine.select(queries.select_judged(start, end))["meter_id"].to_list()

    def load_messages(self, places: pl.DataFrame) -> pl.DataFrame:
        """See `ReadingStore.load_messages`."""
        frames_table = table_of("frames")
        found = [
            self._load(frames_table, queries.select_frames(str(topic), int(partition), part["offset"].unique().sort()))
            for (topic, partition), part in places.group_by(["topic", "partition"], maintain_order=True)
        ]
        messages = pl.concat(found) if found else frames.RAW_FRAMES.empty()
        place = ["topic", "partition", "offset", "frame"]
        return messages.join(places.select(place).unique(), on=place, how="semi").sort(place)

    def load_evidence(self, meter_id: str, interval_start: datetime, interval_s: int) -> Evidence:
        """See `ReadingStore.load_evidence`."""
        start, end = queries.span_around(interval_start, interval_s)
        intervals = self._history("intervals", meter_id, start, end)
        reads = self._history("reads", meter_id, start, end)
        place = ["topic", "partition", "offset", "frame"]
        return Evidence(
            ledger=self._load(table_of("billing_ledger"), queries.select_ledger(meter_id, interval_start)),
            finals=self._history("finals", meter_id, start, end),
            intervals=intervals,
            reads=reads,
            edits=self._load(table_of("edits"), queries.select_edits((meter_id,), start, end)),
            messages=self.load_messages(pl.concat([intervals.select(place), reads.select(place)])),
        )

    def load_open_rejects(
        self, reasons: tuple[str, ...], limit: int, after: Place | None = None, before: Place | None = None
    ) -> pl.DataFrame:
        """See `ReadingStore.load_open_rejects`."""
        return self._load(table_of("rejects"), queries.select_open_rejects(reasons, limit, after, before))

    def load_open_exceptions(self, scope: Scope) -> pl.DataFrame:
        """See `ReadingStore.load_open_exceptions`."""
        return self._load(table_of("exceptions"), queries.select_open_exceptions(*scope))

    def load_windows(self, positions: Sequence[tuple[str, int, int]]) -> pl.DataFrame:
        """See `ReadingStore.load_windows`."""
        table = table_of("replay_windows")
        parts = [
            self._load(table, queries.select_windows(positions[first : first + PARTITIONS_A_QUERY]))
            for first in range(0, len(positions), PARTITIONS_A_QUERY)
        ]
        highest = pl.col("counter").max().over("topic", "partition", "system_title", "key_id")
        in_window = (pl.col("counter") > highest - queries.WINDOW) | (pl.col("counter") < 0)
        return pl.concat([table.frame.empty(), *(part.filter(in_window) for part in parts)])

    def load_heard(self, start: datetime, end: datetime, registers: tuple[str, ...]) -> pl.DataFrame:
        """See `ReadingStore.load_heard`."""
        parts = [
            self.engine.select(
                queries.select_heard(since, min(HOURS_A_QUERY, (end - since) // _HOUR), registers)
            ).with_columns(hour=pl.lit(since) + pl.duration(hours="hour"))
            for since in (start + hours * _HOUR for hours in range(0, (end - start) // _HOUR, HOURS_A_QUERY))
        ]
        return conform(pl.concat([frames.HEARD_PLACES.empty(), *parts]), frames.HEARD_PLACES)

    def close(self) -> None:
        """See `ReadingStore.close`."""
        self.engine.close()

    def _history(self, name: str, meter_id: str, start: datetime, end: datetime) -> pl.DataFrame:
        return self._load(table_of(name), queries.select_history(name, meter_id, start, end))

    def _load(self, table: Table, query: Query) -> pl.DataFrame:
        return conform(self.engine.select(query), table.frame)


def tables() -> tuple[str, ...]:
    """Names of the tables that rows can be appended to."""
    return tuple(TABLES)
