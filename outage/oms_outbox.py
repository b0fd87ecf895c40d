"""Door to the disk: the letters to one outage system, what it asked, and how far the topics were read.

Detection never waits for it. `Outbox.put` writes letters down; `Delivery.pump` sends what is due and may fail, be late
or be killed at any moment; a letter is struck off only when it was answered, so each arrives at least once, in the
order of its incident, under a key by which a receiver tells copies. Letters and the positions they came from are one
transaction: a worker that was killed goes on where its letters end.
"""

import fcntl
import sqlite3
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from types import TracebackType
from typing import IO, Final, NamedTuple, Self

from outage.letter import Letter, Waiting
from outage.stream_record import Positions
from schemas.errors import TerminalError

KEPT_LETTERS: Final = 10_000
"""A worker that takes over says its last batch again: far fewer than these."""

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS letters (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    key TEXT NOT NULL UNIQUE,
    lane TEXT NOT NULL,
    content_type TEXT NOT NULL,
    action TEXT NOT NULL,
    body BLOB NOT NULL,
    state TEXT NOT NULL DEFAULT 'waiting',
    attempts INTEGER NOT NULL DEFAULT 0,
    not_before REAL NOT NULL DEFAULT 0,
    last_error TEXT NOT NULL DEFAULT ''
);
CREATE INDEX IF NOT EXISTS waiting ON letters (lane, number) WHERE state = 'waiting';
CREATE TABLE IF NOT EXISTS positions (
    topic TEXT NOT NULL, partition INTEGER NOT NULL, next INTEGER NOT NULL, PRIMARY KEY (topic, partition)
);
CREATE TABLE IF NOT EXISTS checks (
    request TEXT NOT NULL, meter TEXT NOT NULL, version TEXT NOT NULL, "transaction" TEXT, request_id TEXT NOT NULL,
    expires_at REAL NOT NULL, answer TEXT, answered_us INTEGER, PRIMARY KEY (request, meter)
);
CREATE INDEX IF NOT EXISTS asked ON checks (request_id);
CREATE TABLE IF NOT EXISTS steps (
    incident TEXT NOT NULL, step INTEGER NOT NULL, message BLOB NOT NULL, kept_at REAL NOT NULL,
    PRIMARY KEY (incident, step)
);
"""


class Check(NamedTuple):
    """A meter whose power status the outage system wants to know."""

    request: str
    """Of all meters asked at once: they are answered together."""
    meter: str
    version: str
    """Namespace of the request; the answer speaks the same."""
    transaction: str | None
    request_id: str
    """Of the check that was sent to the meter."""
    expires_at: float
    """Seconds; then the answer goes out with what is known."""
    answer: str | None = None
    answered_us: int | None = None


class Step(NamedTuple):
    """A step of an incident as it stood on its topic."""

    incident: str
    step: int
    message: bytes


class OutboxCounts(NamedTuple):
    """Letters by state."""

    waiting: int
    sent: int
    refused: int


class Outbox:
    """The stored letters of one counterparty, in one SQLite file. Safe to use from several threads."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        self._store = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._store.execute("PRAGMA journal_mode=WAL")
        self._store.execute("PRAGMA synchronous=FULL")
        self._store.executescript(_SCHEMA)

    def put(self, letters: Iterable[Letter], positions: Positions | None = None, answered: Iterable[str] = ()) -> int:
        """All letters are on disk when this returns, or none; those already known by their key are left alone.

        Args:
            letters: In the order in which those of a lane are to arrive.
            positions: How far the topics are read, with these letters.
            answered: Requests for power-status checks that these letters answer: they are struck off.

        Returns:
            How many are new. Never waits for the network.
        """
        rows = [tuple(letter) for letter in letters]
        places = [(topic, part, at) for topic, parts in (positions or {}).items() for part, at in parts.items()]
        with self._transaction() as store:
            before = store.total_changes
            store.executemany(
                "INSERT OR IGNORE INTO letters (key, lane, content_type, action, body) VALUES (?, ?, ?, ?, ?)", rows
            )
            new = int(store.total_changes - before)
            store.executemany("INSERT OR REPLACE INTO positions VALUES (?, ?, ?)", places)
            store.executemany("DELETE FROM checks WHERE request = ?", [(request,) for request in answered])
        return new

    def positions(self) -> Positions:
        """How far the topics are read; empty for an outbox that is new."""
        with self._lock:
            rows = self._store.execute("SELECT topic, partition, next FROM positions").fetchall()
        known: Positions = {}
        for topic, partition, at in rows:
            known.setdefault(topic, {})[partition] = at
        return known

    def ask(self, checks: Iterable[Check]) -> None:
        """The checks are on disk; one that is known already is left as it is."""
        rows = [tuple(check) for check in checks]
        with self._transaction() as store:
            store.executemany("INSERT OR IGNORE INTO checks VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)

    def answer(self, answers: Iterable[tuple[str, str, int]]) -> None:
        """What became of checks: request id, answer, microseconds. The first answer to a check counts."""
        rows = [(answer, at, request_id) for request_id, answer, at in answers]
        with self._transaction() as store:
            store.executemany(
                "UPDATE checks SET answer = ?, answered_us = ? WHERE request_id = ? AND answer IS NULL", rows
            )

    def answerable(self, now: float) -> list[list[Check]]:
        """Requests of which every meter has answered, or whose time is over; the checks of each, by meter."""
        with self._lock:
            rows = self._store.execute(
                'SELECT request, meter, version, "transaction", request_id, expires_at, answer, answered_us FROM checks'
                " WHERE request IN (SELECT request FROM checks GROUP BY request"
                " HAVING COUNT(*) = COUNT(answer) OR MIN(expires_at) <= ?) ORDER BY request, meter",
                (now,),
            ).fetchall()
        return [list(checks) for _, checks in groupby((Check(*row) for row in rows), key=lambda check: check.request)]

    def keep(self, steps: Iterable[Step], now: float) -> None:
        """Steps of incidents are remembered, the newest version of each: for formats that tell an incident whole."""
        with self._transaction() as store:
            store.executemany("INSERT OR REPLACE INTO steps VALUES (?, ?, ?, ?)", [(*step, now) for step in steps])

    def kept(self, incident: str) -> list[bytes]:
        """Messages of the steps of an incident, in their order."""
        with self._lock:
            rows = self._store.execute(
                "SELECT message FROM steps WHERE incident = ? ORDER BY step", (incident,)
            ).fetchall()
        return [message for (message,) in rows]

    def due(self, now: float, most: int = 100) -> list[Waiting]:
        """The first waiting letter of every lane whose time has come, oldest first."""
        with self._lock:
            rows = self._store.execute(
                "SELECT number, attempts, key, lane, content_type, action, body FROM letters WHERE number IN"
                " (SELECT MIN(number) FROM letters WHERE state = 'waiting' GROUP BY lane)"
                " AND not_before <= ? ORDER BY number LIMIT ?",
                (now, most),
            ).fetchall()
        return [Waiting(row[0], row[1], Letter(*row[2:])) for row in rows]

    def settle(self, number: int) -> None:
        """The letter was accepted."""
        self._update("UPDATE letters SET state = 'sent', attempts = attempts + 1 WHERE number = ?", (number,))

    def refuse(self, number: int, reason: str) -> None:
        """The letter will never be accepted: it is set aside with its reason, and its lane goes on."""
        self._update(
            "UPDATE letters SET state = 'refused', attempts = attempts + 1, last_error = ? WHERE number = ?",
            (reason, number),
        )

    def postpone(self, number: int, not_before: float, reason: str) -> None:
        """The letter is tried again, not before that time; its lane waits for it."""
        self._update(
            "UPDATE letters SET not_before = ?, attempts = attempts + 1, last_error = ? WHERE number = ?",
            (not_before, reason, number),
        )

    def refused(self) -> list[tuple[Letter, str]]:
        """Letters set aside, with the reason of each."""
        with self._lock:
            rows = self._store.execute(
                "SELECT key, lane, content_type, action, body, last_error FROM letters WHERE state = 'refused'"
                " ORDER BY number"
            ).fetchall()
        return [(Letter(*row[:5]), row[5]) for row in rows]

    def counts(self) -> OutboxCounts:
        """How many letters are in which state."""
        with self._lock:
            found = dict(self._store.execute("SELECT state, COUNT(*) FROM letters GROUP BY state").fetchall())
        return OutboxCounts(found.get("waiting", 0), found.get("sent", 0), found.get("refused", 0))

    def forget_sent(self, keep: int = KEPT_LETTERS, older_than: float = 0.0) -> None:
        """Drop delivered letters but the newest, whose keys are then no longer known; and incidents long unchanged.

        Args:
            keep: Letters.
            older_than: Seconds: incidents of which nothing came since then.
        """
        with self._transaction() as store:
            store.execute(
                "DELETE FROM letters WHERE state = 'sent' AND number <= (SELECT MAX(number) FROM letters) - ?", (keep,)
            )
            store.execute(
                "DELETE FROM steps WHERE incident IN (SELECT incident FROM steps GROUP BY incident"
                " HAVING MAX(kept_at) < ?)",
                (older_than,),
            )

    def close(self) -> None:
        """The file is closed; what was put stays."""
        with self._lock:
            self._store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """On disk when left, all of it or nothing."""
        with self._lock:
            self._store.execute("BEGIN IMMEDIATE")
            try:
                yield self._store
            except BaseException:
                self._store.execute("ROLLBACK")
                raise
            self._store.execute("COMMIT")

    def _update(self, statement: str, values: tuple[object, ...]) -> None:
        with self._lock:
            self._store.execute(statement, values)


def hold_folder(folder: Path) -> IO[str]:
    """The folder is ours until the file is closed or the process ends: two workers must not share outboxes.

    Raises:
        TerminalError: Another worker delivers from it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    held = (folder / "lock").open("w")
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        held.close()
        raise TerminalError(f"{folder}: another worker delivers from this folder") from error
    return held
