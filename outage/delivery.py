"""Bringing stored letters to a counterparty, in the order of their lanes, without ever standing in anybody's way."""

import threading
from collections.abc import Callable
from typing import NamedTuple, Protocol

from outage.breaker import Breaker, RetryParams, next_try
from outage.letter import Answer, Letter, Verdict, Waiting


class Letters(Protocol):
    """Stored letters; `outage.oms_outbox.Outbox` is one."""

    def due(self, now: float, most: int = 100) -> list[Waiting]:
        """The first waiting letter of every lane whose time has come."""

    def settle(self, number: int) -> None:
        """Accepted."""

    def refuse(self, number: int, reason: str) -> None:
        """Never to be accepted."""

    def postpone(self, number: int, not_before: float, reason: str) -> None:
        """To be tried again."""


class Pumped(NamedTuple):
    """What one `pump` did."""

    accepted: int
    refused: int
    postponed: int
    circuit_open: bool


class Delivery:
    """Brings the letters of an outbox to a counterparty, as long as the circuit is closed."""

    def __init__(self, outbox: Letters, send: Callable[[Letter], Answer], params: RetryParams) -> None:
        self._outbox, self._send, self._params = outbox, send, params
        self.breaker = Breaker()

    def pump(self, now: Callable[[], float], stop: threading.Event | None = None) -> Pumped:
        """Send what is due, until nothing is or the circuit opens.

        Args:
            now: The clock, in seconds.
            stop: Set it to end between two letters.
        """
        accepted = refused = postponed = 0
        while self.breaker.allows(now()) and not (stop is not None and stop.is_set()):
            most = 1 if self.breaker.on_trial(self._params) else 100
            due = self._outbox.due(now(), most)
            if not due:
                break
            for number, attempts, letter in due:
                if not self.breaker.allows(now()) or (stop is not None and stop.is_set()):
                    break
                verdict = self._deliver(number, attempts, letter, now)
                accepted += verdict is Verdict.ACCEPTED
                refused += verdict is Verdict.REFUSED
                postponed += verdict is Verdict.LATER
        return Pumped(accepted, refused, postponed, not self.breaker.allows(now()))

    def run(self, stop: threading.Event, now: Callable[[], float], pause_s: float = 1.0) -> None:
        """Pump until `stop` is set: the body of a thread beside detection."""
        while not stop.is_set():
            self.pump(now, stop)
            stop.wait(pause_s)

    def _deliver(self, number: int, attempts: int, letter: Letter, now: Callable[[], float]) -> Verdict:
        answer = self._send(letter)
        if answer.verdict is Verdict.LATER:
            self.breaker = self.breaker.after_failure(now(), self._params)
            again = next_try(now(), attempts + 1, letter.key, self._params)
            self._outbox.postpone(number, max(again, now() + (answer.after_s or 0.0)), answer.reason)
            return answer.verdict
        self.breaker = self.breaker.after_success()
        if answer.verdict is Verdict.ACCEPTED:
            self._outbox.settle(number)
        else:
            self._outbox.refuse(number, answer.reason)
        return answer.verdict
