"""Logs of events as rows of a clock and a code, in which meters leave out what has not changed, as in any buffer.

A null or missing code is that of the row above, a delta adds to it in its own width (dlms.md section 7). A clock is
never carried down: a log has no capture period, so nothing says when such a row was.
"""

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from ingest.dlms.data import Tag
from ingest.dlms.nodes import DELTAS, LONE, SIGNED, UNSIGNED, Node
from schemas.codes import RejectReason

_NUMBERS: Final = UNSIGNED | SIGNED | DELTAS | LONE | {Tag.BOOLEAN}
_REPEATED: Final = frozenset((Tag.NULL, Tag.DONT_CARE))
_NO_CLOCK: Final = (RejectReason.DATE_TIME, "a row of an event log without a clock")


class LoggedCode(NamedTuple):
    """The code of a row: a number, and how many deltas of its log had been sent at it and at this row."""

    node: Node
    clock: Node
    since: int
    until: int


class Unlogged(NamedTuple):
    """Why rows are no events. Its fields are those of `plans.Refusal`."""

    reason: RejectReason
    at: int
    values: int
    detail: str


class Log(NamedTuple):
    """Codes of a log's rows, the deltas among them in order, and what is no event. `numbers`: all that stand there."""

    codes: tuple[LoggedCode, ...]
    deltas: tuple[Node, ...]
    refused: tuple[Unlogged, ...]
    numbers: tuple[Node, ...]


def read_log(log: Node) -> Log:
    """The events of a log: an array of rows, or one row. A column beside clock and code is not looked at."""
    rows = _rows(log)
    clock_column, code_column = _columns(rows)
    column = _CodeColumn()
    codes: list[LoggedCode] = []
    refused: list[Unlogged] = []
    for row in rows if code_column is not None else ():
        code = column.at(_cell(row, code_column))
        clock = _cell(row, clock_column)
        if code is None:
            refused.append(Unlogged(RejectReason.LAYOUT_UNKNOWN, row.at, 1, _no_code(_cell(row, code_column))))
        elif clock is None or not clock.is_clock:
            refused.append(Unlogged(_NO_CLOCK[0], row.at, 1, _NO_CLOCK[1]))
        else:
            codes.append(LoggedCode(code, clock, column.since, len(column.deltas)))
    return Log(tuple(codes), tuple(column.deltas), tuple(refused), tuple(column.numbers))


class _CodeColumn:
    """What the column of codes says, row by row; `since` as in `LoggedCode`."""

    __slots__ = ("code", "deltas", "numbers", "since")

    def __init__(self) -> None:
        self.code: Node | None = None
        self.deltas: list[Node] = []
        self.numbers: list[Node] = []
        self.since = 0

    def at(self, cell: Node | None) -> Node | None:
        """The number that is the row's code, of which deltas may have been added; None where nothing says it."""
        if cell is None or cell.tag in _REPEATED:
            return self.code
        if cell.tag in _NUMBERS:
            self.numbers.append(cell)
        if cell.tag not in DELTAS:
            self.code, self.since = (cell if cell.tag in UNSIGNED else None), len(self.deltas)
        elif self.code is None or self.code.tag == Tag.UINT64:  # of so many bits no event has a code
            self.code = None
        else:
            self.deltas.append(cell)
        return self.code


def _no_code(cell: Node | None) -> str:
    if cell is not None and cell.tag in _NUMBERS - DELTAS:
        return "a row of an event log whose code is no unsigned number"
    return "a row of an event log of which nothing says the code"


def _rows(log: Node) -> list[Node]:
    """The structures at the depth of the first clock; without one, of the first value."""
    found = list(_structures(log, 0))
    clocked = (depth for depth, node in found if any(item.is_clock for item in node.items or ()))
    valued = (depth for depth, node in found if any(item.items is None for item in node.items or ()))
    depth = next(clocked, next(valued, None))
    return [node for at, node in found if at == depth]


def _structures(node: Node, depth: int) -> Iterator[tuple[int, Node]]:
    if node.items is not None:
        yield depth, node
        for item in node.items:
            yield from _structures(item, depth + 1)


def _columns(rows: Sequence[Node]) -> tuple[int | None, int | None]:
    """The columns of clock and code: of the first clock, and the first other in which numbers or only nulls stand.

    There is no code where other things stand, such as text. Rows of one column leave out the other in all of them.
    """
    width = max((len(row.items or ()) for row in rows), default=0)
    clocks = (at for row in rows for at, cell in enumerate(row.items or ()) if cell.is_clock)
    clock_column = next(clocks, None)
    empty: int | None = 1 if width == 1 and clock_column == 0 else None
    for column in range(width):
        sent = [cell for row in rows if (cell := _cell(row, column)) is not None and cell.tag not in _REPEATED]
        if column != clock_column and any(cell.tag in _NUMBERS for cell in sent):
            # A column of nulls before it is the code's that nobody knows; without a clock it may be the clock's.
            return clock_column, column if empty is None or clock_column is None else empty
        if column != clock_column and not sent and empty is None:
            empty = column
    return clock_column, empty


def _cell(row: Node, column: int | None) -> Node | None:
    items = row.items or ()
    return items[column] if column is not None and column < len(items) else None
