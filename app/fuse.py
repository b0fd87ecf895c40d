"""The fuse on rejects: past a share of a window the worker stops, for then the fault is ours and grows by the batch.

Only rejects that an outsider cannot cause are put through it: after a verified tag, or from enrolled meters, and never
for their counter, since what has verified once can be recorded and sent again.
"""

from collections import Counter, deque
from collections.abc import Mapping
from typing import Final

from schemas.codes import RejectReason
from schemas.errors import TerminalError

WINDOW_S: Final = 60.0
_LOOK_AT: Final[Mapping[str, str]] = {
    RejectReason.KEY_UNKNOWN: "are the keys of keys.file those of these meters, and is it the current file?",
    RejectReason.LAYOUT_UNKNOWN: "does meters.types_file have the layout that these meters push?",
    RejectReason.IDENTITY: "does METERS give each system title to the meter that has it?",
    RejectReason.POISON: "the database refuses their rows: the log says why; are its tables those of `ami migrate`?",
}
"""Where the commonest causes lie that are ours."""


class Fuse:
    """Blows when more than `share` of the messages of a window are rejected, and at least `least` of them.

    The window is the last `messages` messages, or the last minute where that holds more. Until it has been filled by
    the one or the other nothing blows: three bad messages at the start prove nothing. Nor does one of three in a quiet
    minute: a worker that starts anew with every meter that was installed wrongly would serve nobody.
    """

    def __init__(self, *, share: float, messages: int, least: int = 1) -> None:
        self._share = share
        self._messages = messages
        self._least = least
        self._window: deque[tuple[float, int, Mapping[str, int]]] = deque()
        self._total = 0
        self._rejected: Counter[str] = Counter()

    def pass_through(self, at: float, messages: int, rejected: Mapping[str, int]) -> None:
        """Count a batch.

        Args:
            at: Seconds of a monotonic clock.
            messages: Messages of the batch.
            rejected: By reason those of them that were rejected and count.

        Raises:
            TerminalError: The window is full, and of it more than the share was rejected and no fewer than the least:
                how many for which reason, where they are, and what to do.
        """
        self._window.append((at, messages, rejected))
        self._total += messages
        self._rejected.update(rejected)
        while self._may_drop(at):
            _, old_messages, old_rejected = self._window.popleft()
            self._total -= old_messages
            self._rejected.subtract(old_rejected)
        full, bad = self._total >= self._messages or at - self._window[0][0] >= WINDOW_S, self._rejected.total()
        if full and bad >= self._least and bad > self._share * self._total:
            raise TerminalError(self._told(bad))

    def _told(self, bad: int) -> str:
        reasons = [(str(reason), number) for reason, number in self._rejected.most_common() if number]
        listed = ", ".join(f"{reason} {number}" for reason, number in reasons)
        look = "".join(f" {_LOOK_AT[reason]}" for reason, _ in reasons if reason in _LOOK_AT)
        return (
            f"{bad} of the last {self._total} messages were rejected, more than {self._share:.1%}: {listed}; they are "
            "in the table rejects and on ami.rejects.v1, the newest are these."
            f"{look} Mend the cause, start the worker again, then run `ami replay rejects`"
        )

    def _may_drop(self, at: float) -> bool:
        first_at, messages, _ = self._window[0]
        return len(self._window) > 1 and at - first_at > WINDOW_S and self._total - messages >= self._messages
