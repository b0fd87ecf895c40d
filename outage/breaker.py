"""When to try a counterparty and when to leave it alone: back-off and circuit breaker, as values."""

from hashlib import sha256
from typing import NamedTuple

import msgspec

from schemas.bounds import Count, Pause


class RetryParams(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How patiently a counterparty is tried. Seconds."""

    first_s: Pause = 1.0
    longest_s: Pause = 300.0
    open_after: Count = 5
    """Failures in a row that open the circuit."""
    cool_s: Pause = 30.0
    """How long an open circuit leaves the counterparty alone before one letter is tried."""


class Breaker(NamedTuple):
    """State of the circuit. Closed while `failures` are few; open until `open_until`; then one trial decides."""

    failures: int = 0
    open_until: float = 0.0

    def allows(self, now: float) -> bool:
        """Whether a letter may be tried now."""
        return now >= self.open_until

    def on_trial(self, params: RetryParams) -> bool:
        """Whether the circuit has been open and the next letter decides."""
        return self.failures >= params.open_after

    def after_success(self) -> "Breaker":
        """Closed."""
        return Breaker()

    def after_failure(self, now: float, params: RetryParams) -> "Breaker":
        """One failure more; open where there are too many in a row."""
        failures = self.failures + 1
        return Breaker(failures, now + params.cool_s if failures >= params.open_after else 0.0)


def next_try(now: float, attempts: int, key: str, params: RetryParams) -> float:
    """When to try again: doubling, capped, spread by the letter's key so that lanes do not come back all at once.

    Args:
        now: Seconds.
        attempts: Failed tries so far, this one included; at least 1.
        key: Of the letter: the spread is the same whenever it is computed.
        params: First and longest pause.
    """
    pause = min(params.longest_s, params.first_s * 2.0 ** min(attempts - 1, 30))
    spread = int.from_bytes(sha256(f"{key}/{attempts}".encode()).digest()[:4]) / 2**32
    return now + pause * (0.5 + spread / 2)
