"""The fuse on rejects: past a share of a window the worker stops, for then the fault is ours and grows by the batch.

Only rejects that an outsider cannot cause are put through it: after a verified tag, or from enrolled meters, and never
for their counter, since what has verified once can be recorded and sent again.
"""

from collections import deque
from typing import Final

from schemas.errors import TerminalError

WINDOW_S: Final = 60.0


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
        self._window: deque[tuple[float, int, int]] = deque()
        self._total = 0
        self._rejected = 0

    def pass_through(self, at: float, messages: int, rejected: int) -> None:
        """Count a batch.

        Args:
            at: Seconds of a monotonic clock.
            messages: Messages of the batch.
            rejected: Those of them that were rejected and count.

        Raises:
            TerminalError: The window is full, and of it more than the share was rejected and no fewer than the least.
        """
        self._window.append((at, messages, rejected))
        self._total += messages
        self._rejected += rejected
        while self._may_drop(at):
            _, old_messages, old_rejected = self._window.popleft()
            self._total -= old_messages
            self._rejected -= old_rejected
        full = self._total >= self._messages or at - self._window[0][0] >= WINDOW_S
        if full and self._rejected >= self._least and self._rejected > self._share * self._total:
            raise TerminalError(
                f"{self._rejected} of the last {self._total} messages were rejected, more than "
                f"{self._share:.1%}: look at the newest rejects, mend the cause, then replay them"
            )

    def _may_drop(self, at: float) -> bool:
        first_at, messages, _ = self._window[0]
        return len(self._window) > 1 and at - first_at > WINDOW_S and self._total - messages >= self._messages
