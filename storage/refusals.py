"""Refusals that pass, that are the rows' fault, or that a person mends: every engine tells them by the same codes."""

import re
from collections.abc import Mapping
from typing import Final

TRANSIENT: Final = frozenset({
    3, 32, 74, 75, 76, 159, 160, 173, 198, 201, 202, 203, 209, 210, 225, 236, 241, 242, 243, 252, 254, 274, 279, 285,
    286, 287, 290, 319, 335, 394, 415, 416, 425, 439, 473, 499, 517, 519, 571, 695, 696, 700, 722, 733, 735, 745, 749,
    999,
})  # fmt: skip
"""Codes of a server that is away, busy, full, starting or read-only: UNEXPECTED_END_OF_FILE, TIMEOUT_EXCEEDED,
TOO_SLOW, TOO_MANY_SIMULTANEOUS_QUERIES, NETWORK_ERROR, MEMORY_LIMIT_EXCEEDED, TABLE_IS_READ_ONLY, NOT_ENOUGH_SPACE,
TOO_MANY_PARTS, UNKNOWN_STATUS_OF_INSERT, QUERY_WAS_CANCELLED, KEEPER_EXCEPTION and their kin; of newer servers
ASYNC_LOAD_FAILED and _WAIT_FAILED (tables that are not loaded yet), TABLE_IS_BEING_RESTARTED, SERVER_OVERLOADED,
TCP_CONNECTION_LIMIT_REACHED."""

OF_A_LIBRARY: Final = frozenset({1000, 1001, 1002})
"""POCO_EXCEPTION, STD_EXCEPTION, UNKNOWN_EXCEPTION: the text alone says what it was."""

OF_THE_MACHINE: Final = re.compile(
    r"no space left on device|disk quota exceeded|cannot allocate memory|bad_alloc|too many open files"
    r"|resource temporarily unavailable|input/output error|read-only file system",
    re.IGNORECASE,
)
"""What a server's machine lacks, in the words of its system: it passes, or the machine is mended."""

OF_ROWS: Final = frozenset({
    6, 26, 27, 38, 41, 53, 69, 70, 72, 117, 131, 349, 407, 469, 691,
})  # fmt: skip
"""Codes that rows give, not the engine: they cannot be parsed, converted or break a constraint."""

MENDED_BY: Final[Mapping[int, str]] = {
    60: "a table is missing: run `ami migrate`: ",
    81: "there is no database of the name in clickhouse.database: create it first: ",
}
"""What to do, before what the engine says: UNKNOWN_TABLE, UNKNOWN_DATABASE."""
