"""A process that kills itself at a step of its life, and writes down each step that it came to.

A step is a call that is doomed by name. What is acknowledged beside every step is written down too, as "beside: …": it
would be a call at which nobody dies.
"""

import os
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, Final

from clickhouse_driver import Client
from kafka import KafkaConsumer, KafkaProducer

from outage.oms_outbox import Outbox

REACHED: Final = "AMI_REACHED"
"""Names the file in which steps are written down, one a line, in the order in which they were reached first."""
_LIBRARIES: Final[tuple[tuple[type, str, Callable[..., str]], ...]] = (
    (KafkaProducer, "send", lambda _, topic, *__, **___: f"send {topic}"),
    (KafkaProducer, "flush", lambda *_, **__: "flush"),
    (KafkaConsumer, "commit", lambda *_, **__: "commit"),
    (Client, "execute", lambda _, sql, *__, **___: sql.split(" (")[0] if sql.startswith("INSERT") else ""),
    (Outbox, "_transaction", lambda *_: "transaction"),
    (Outbox, "_update", lambda *_: "update"),
    (HTTPConnection, "request", lambda _, method, *__, **___: method),
)
"""Everything by which a worker leaves something behind: broker, database, disk, counterparty. Empty: no such call."""


class Fate:
    """Counts the visits of one step and ends the process at the last of them."""

    def __init__(self, step: str, visits: int) -> None:
        self._step, self._visits = step, visits
        self._within = threading.local()
        self._reached: set[str] = set()

    def reach(self, step: str) -> None:
        """The process is there."""
        if step == self._step:
            self._visits -= 1
            if self._visits == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    def note(self, call: str) -> None:
        """It is in the file, once."""
        if REACHED in os.environ and call not in self._reached:
            self._reached.add(call)
            with Path(os.environ[REACHED]).open("a") as told:
                told.write(f"{call}\n")

    def doom(self, owner: type, method: str, name: Callable[..., str]) -> None:
        """Every call of the method reaches the step before it and the step after it; one without a name is none."""
        original = getattr(owner, method)

        def called(*args: Any, **named: Any) -> Any:
            step = name(*args, **named)
            if not step:
                return original(*args, **named)
            self.note(step)
            self.reach(f"{step}:before")
            with self._entered():
                answer = original(*args, **named)
            self.reach(f"{step}:after")
            return answer

        setattr(owner, method, called)

    def watch(self) -> None:
        """What the libraries are asked to write beside every step is written down. To be called before any `doom`."""
        for owner, method, name in _LIBRARIES:
            self._watch(owner, method, name)

    def _watch(self, owner: type, method: str, name: Callable[..., str]) -> None:
        original = getattr(owner, method)

        def called(*args: Any, **named: Any) -> Any:
            what = name(*args, **named)
            ours = not sys._getframe(1).f_globals["__name__"].startswith("kafka.")  # a producer that is closed flushes
            if what and ours and not getattr(self._within, "depth", 0):
                self.note(f"beside: {what}")
            return original(*args, **named)

        setattr(owner, method, called)

    def _entered(self) -> AbstractContextManager[None]:
        return _Entered(self._within)


class _Entered(AbstractContextManager[None]):
    """Within a step, in this thread."""

    def __init__(self, within: threading.local) -> None:
        self._within = within

    def __enter__(self) -> None:
        self._within.depth = getattr(self._within, "depth", 0) + 1

    def __exit__(self, *_: object) -> None:
        self._within.depth -= 1
