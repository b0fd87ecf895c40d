"""The exception tree. Four kinds of failure, one root, one thing to do for each.

AmiError
├── ContractError     a frame, argument or file has the wrong shape: fix the caller or the input file
├── ProtocolError     one payload cannot be understood: it becomes a row of REJECTS
├── TransientError    a service did not answer: retry the same batch
└── TerminalError     going on would lose or falsify data: stop and call someone
"""

from schemas.codes import RejectReason


class AmiError(Exception):
    """Root of every error that this project raises on purpose."""


class ContractError(AmiError):
    """A shape is wrong: a column, a type, an option, a configuration key. The message names it."""


class ProtocolError(AmiError):
    """One payload cannot be used.

    Args:
        reason: Why, as a code; becomes `REJECTS.reason`.
        at: Byte of the payload where decoding stopped, counted from 0.
        detail: A few words for a person, without a byte of the payload.
    """

    def __init__(self, reason: RejectReason, at: int, detail: str = "") -> None:
        super().__init__(f"{reason.value} at byte {at}" + (f": {detail}" if detail else ""))
        self.reason = reason
        self.at = at
        self.detail = detail


class TransientError(AmiError):
    """A service is away or busy. The same batch may be tried again."""


class TerminalError(AmiError):
    """The worker must stop: a reject that cannot be stored, a lost position, a blown fuse."""
