"""Rows of an interval or register push cut into columns: clocks, status and values of all messages at once."""

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from ingest.blocks import NO_TIME, Quantities, Refused
from ingest.capture_periods import Periods, no_period, periods_of
from ingest.clocks import Clocks, Micros, in_order, rise
from ingest.dlms.data import PACKED
from ingest.dlms.nodes import DELTAS, SIGNED, Node
from ingest.faults import REASON_CODE
from ingest.lone_columns import CUT_ALONE, cut_lone_column
from ingest.profile_plans import Profile
from ingest.scaling import ANY_NUMBER, to_milli
from ingest.slots import (
    Group,
    cut_clock,
    cut_clock_grid,
    cut_grid,
    cut_numbers,
    cut_octets,
    shared,
)
from ingest.spans import Flags
from ingest.status_columns import rows_of_statuses, with_deltas
from schemas.codes import RejectReason

_SECOND_US: Final = 1_000_000
_BITS: Final = 64
_INEXACT: Final = "not a whole number of thousandths in 63 bits"
_BASELESS: Final = "a delta where no whole number stands above"


class ProfileCut(NamedTuple):
    """The rows, what of them could not be placed or scaled, and the newest clock of each message."""

    quantities: Quantities
    refused: tuple[Refused, ...]
    newest: Micros


class _Stamps(NamedTuple):
    """Of each message and row; of one message only where all say the same."""

    at: npt.NDArray[np.int64]
    usable: Flags  # the clock names an instant and does not call itself invalid
    status: npt.NDArray[np.uint32]
    periods: Periods


class _Values(NamedTuple):
    """Of each message, row and channel."""

    numbers: npt.NDArray[np.int64]
    unknown: Flags | None  # None: all known
    beyond: Flags | None  # exceed 63 bits; None: none


def cut_profile(profile: Profile, group: Group, *, inverted: bool) -> ProfileCut:
    """Intervals or reads of every row of every message.

    A row whose clock is not usable, or whose capture period cannot be known, is refused: a clock that is invalid never
    places a row. A value that thousandths cannot hold is refused alone.
    """
    messages = len(group.message)
    stamps = _stamps(profile, group, inverted=inverted)
    values = _values(profile, group)
    milli, inexact = _milli(profile, group, values)
    at, capture_s = stamps.at, stamps.periods.capture_s
    if profile.is_intervals and profile.stamp_is_end:
        at = at - capture_s[:, None] * _SECOND_US
    twice = _said_again(stamps)
    timed = stamps.usable if not profile.is_intervals else stamps.usable & (capture_s > 0)[:, None]
    for wrong in (stamps.periods.at_odds, stamps.periods.denied):
        timed = timed if wrong is None else timed & ~wrong[:, None]
    timed = timed if twice is None else timed & ~twice
    kept: Flags | None = None
    refused: tuple[Refused, ...] = ()
    if inexact is not None or not timed.all():
        fit = np.ones(milli.shape, np.bool_) if inexact is None else ~inexact
        kept = timed[:, :, None] & (fit if values.unknown is None else fit | values.unknown)
        refused = _refused(profile, group, stamps, (kept, twice))
    refused += no_period(profile, group)
    quantities = Quantities(
        group.message,
        shared(at, messages),
        shared(stamps.status, messages),
        shared(capture_s.astype(np.int32) if profile.is_intervals else np.zeros(1, np.int32), messages),
        milli,
        profile.channel,
        profile.obis,
        values.unknown,
        kept,
    )
    clocked = stamps.at if kept is None else np.where(stamps.usable, stamps.at, NO_TIME)
    newest = np.ascontiguousarray(clocked.T).max(axis=0)  # down columns: short rows are slow to reduce
    return ProfileCut(quantities, refused, shared(newest, messages))


def _milli(profile: Profile, group: Group, values: _Values) -> tuple[npt.NDArray[np.int64], Flags | None]:
    """Thousandths of all values, and where they are not exact: None where they are everywhere."""
    most = ANY_NUMBER if profile.value_grid is None else profile.value_grid.most
    milli, inexact = _thousandths(values.numbers, profile.powers, most)
    if values.beyond is not None:
        inexact = values.beyond if inexact is None else inexact | values.beyond
    if not profile.lone:
        return milli, inexact
    inexact = np.zeros(milli.shape, np.bool_) if inexact is None else inexact
    for lone in profile.lone:
        here = (slice(None), lone.rows, lone.column)
        milli[here], inexact[here] = cut_lone_column(group.octets, lone, profile.powers[lone.column])
        if values.unknown is not None:
            values.unknown[here] = False
    return milli, inexact if inexact.any() else None


def _thousandths(
    numbers: npt.NDArray[np.int64], powers: tuple[int, ...], most: int
) -> tuple[npt.NDArray[np.int64], Flags | None]:
    """See `to_milli`; each channel by its own power where they differ."""
    if len(set(powers)) == 1:
        return to_milli(numbers, powers[0], most)
    milli, wrong = np.empty_like(numbers), np.zeros(numbers.shape, np.bool_)
    for column, power in enumerate(powers):
        milli[:, :, column], inexact = to_milli(numbers[:, :, column].copy(), power, most)
        if inexact is not None:
            wrong[:, :, column] = inexact
    return milli, wrong if wrong.any() else None


def _said_again(stamps: _Stamps) -> Flags | None:
    """Rows of an instant that a later row of the message names again, which wins as the later message would.

    None: nowhere. Both would be one row in the store, and either might be gone.
    """
    at = stamps.at
    if rise(at):
        return None
    twice = np.zeros(at.shape, np.bool_)
    order = np.argsort(at, axis=1, kind="stable")
    ordered, usable = np.take_along_axis(at, order, 1), np.take_along_axis(stamps.usable, order, 1)
    again = (ordered[:, 1:] == ordered[:, :-1]) & usable[:, 1:] & usable[:, :-1]
    np.put_along_axis(twice, order[:, :-1], again, 1)
    return twice if twice.any() else None


def _refused(profile: Profile, group: Group, stamps: _Stamps, found: tuple[Flags, Flags | None]) -> tuple[Refused, ...]:
    kept, twice = found
    first = next(node.at for node in profile.clocks if node is not None)
    placed = np.broadcast_to(stamps.usable[:, :, None], kept.shape)
    timed = np.broadcast_to((stamps.periods.capture_s > 0)[:, None, None], kept.shape) | (not profile.is_intervals)
    again = np.broadcast_to((np.zeros(stamps.at.shape, np.bool_) if twice is None else twice)[:, :, None], kept.shape)
    denied = _by_cell(stamps.periods.denied, kept) & ~again
    odd = _by_cell(stamps.periods.at_odds, kept) & ~again & ~denied
    timed = timed & ~again & ~odd & ~denied
    known = "the one that is sent" if profile.interval_s is None else f"the known {profile.interval_s} s"
    cases = (
        (placed & again, RejectReason.DATE_TIME, "a later row names the same instant"),
        (~placed, RejectReason.DATE_TIME, "a clock that names no instant or calls itself invalid"),
        (placed & ~timed & ~again & ~odd & ~denied, RejectReason.LAYOUT_UNKNOWN, "the capture period is not known"),
        (placed & denied, RejectReason.LAYOUT_UNKNOWN, f"the capture period that is sent is not {known}"),
        (placed & odd, RejectReason.LAYOUT_UNKNOWN, f"no step between clocks is of {known}"),
    )
    refused = []
    for wrong, reason, detail in cases:
        values = wrong.sum(axis=(1, 2))
        rows = np.flatnonzero(values)
        if len(rows):
            refused.append(Refused(group.message[rows], REASON_CODE[reason], first, values[rows], detail))
    return (*refused, *_inexact(profile, group, placed & timed & ~kept))


def _inexact(profile: Profile, group: Group, wrong: Flags) -> list[Refused]:
    """What no thousandths hold, and what a delta cannot be added to."""
    baseless = np.zeros(wrong.shape[1:], np.bool_)
    for lone in profile.lone:
        baseless[lone.rows, lone.column] = lone.baseless
    cases = ((~baseless, _INEXACT), (baseless, _BASELESS))
    return [each for case in cases for each in _by_columns(profile, group, wrong, case)]


def _by_columns(profile: Profile, group: Group, wrong: Flags, said: tuple[Flags, str]) -> list[Refused]:
    """Of each message one refusal that names the columns of the wrong values among these cells."""
    among, detail = said
    wrong = wrong & among
    messages = np.flatnonzero(wrong.any(axis=(1, 2)))
    if not len(messages):
        return []
    patterns, which = np.unique(wrong[messages].any(axis=1), axis=0, return_inverse=True)
    refused = []
    for place, columns in enumerate(patterns):
        rows = messages[which == place]
        names = ", ".join(profile.channels[column] for column in np.flatnonzero(columns))
        first = int(np.argmax(columns))
        cells = zip(profile.values, among[:, first].tolist(), strict=True)
        at = next(node.at for row, is_one in cells if is_one and (node := row[first]) is not None)
        values, told = wrong[rows].sum(axis=(1, 2)), f"{names}: {detail}"
        refused.append(Refused(group.message[rows], REASON_CODE[RejectReason.SCALING], at, values, told))
    return refused


def _by_cell(flags: Flags | None, cells: Flags) -> Flags:
    """Flags of each message for each of its rows and channels."""
    by_message = np.zeros(len(cells), np.bool_) if flags is None else flags
    return np.broadcast_to(by_message[:, None, None], cells.shape)


def _stamps(profile: Profile, group: Group, *, inverted: bool) -> _Stamps:
    clocks = _clocks(profile, group, inverted=inverted)
    sent = profile.clocked
    usable_sent = clocks.placed & ~clocks.invalid
    periods = periods_of(profile, group, clocks.at, usable_sent)
    capture_s = periods.capture_s
    status = _row_status(profile, group)
    if len(sent) == len(profile.clocks):
        return _Stamps(clocks.at, usable_sent, clocks.status | status, periods)
    rows = np.arange(len(profile.clocks))
    above = np.searchsorted(np.array(sent), rows, "right") - 1  # the last clock sent at or above the row; -1: none
    source = np.maximum(above, 0)
    steps = rows - np.array(sent)[source]
    at = clocks.at[:, source] + steps * capture_s[:, None] * _SECOND_US
    usable = usable_sent[:, source] & ((steps == 0) | (capture_s[:, None] > 0)) & (above >= 0)
    return _Stamps(at, usable, clocks.status[:, source] | status, periods)


def _clocks(profile: Profile, group: Group, *, inverted: bool) -> Clocks:
    if profile.clock_grid is not None:
        return in_order(cut_clock_grid(group, profile.clock_grid, inverted=inverted))
    cut = [cut_clock(group, node, inverted=inverted) for node in profile.clocks if node is not None]
    return in_order(Clocks._make(np.stack(columns, axis=1) for columns in zip(*cut, strict=True)))


def _row_status(profile: Profile, group: Group) -> npt.NDArray[np.uint32]:
    """Our status bits of each row, of one message only where all say the same.

    A null repeats the row above, and the first row's says nothing.
    """
    tables, grid = profile.status_tables, profile.status_grid
    if grid is not None and len(tables) == 1:
        first = slice(0, 1) if not cut_octets(group.varies[None], grid).any() else slice(None)
        octets: npt.NDArray[np.uint32] = tables[0][cut_octets(group.octets[first], grid)]
        return octets
    if grid is not None:
        return _by_octets(tables, cut_grid(group.octets, grid)[0][:, :, 0])
    numbers = with_deltas(profile.statuses, cut_numbers(group.octets, profile.status_slots)[0])
    bits = _by_octets(tables, numbers)
    nothing = np.zeros((len(bits), 1), np.uint32)
    place = rows_of_statuses(profile.statuses)
    return np.concatenate([bits, nothing], axis=1)[:, place]  # -1 is the column of nothing


def _by_octets(tables: tuple[npt.NDArray[np.uint32], ...], numbers: npt.NDArray[np.int64]) -> npt.NDArray[np.uint32]:
    status = np.zeros(numbers.shape, np.uint32)
    for at, table in enumerate(tables):
        status |= table[numbers >> 8 * at & 0xFF]
    return status


def _values(profile: Profile, group: Group) -> _Values:
    """Numbers by message, row and channel; nulls and deltas resolved down each column."""
    if profile.value_grid is not None:
        numbers, beyond = cut_grid(group.octets, profile.value_grid)
        return _Values(numbers, None, beyond)
    shape = (len(group.message), len(profile.values), len(profile.channels))
    cut, over = cut_numbers(group.octets, profile.value_slots)
    values = np.zeros(shape, np.int64)
    known, beyond = np.zeros(shape, np.bool_), np.zeros(shape, np.bool_)
    bases: list[Node | None] = [None] * len(profile.channels)
    at = 0
    for row, nodes in enumerate(profile.values):
        for column, node in enumerate(nodes):
            here = (slice(None), row, column)
            if node is None:
                if row:
                    above = (slice(None), row - 1, column)
                    values[here], known[here], beyond[here] = values[above], known[above], beyond[above]
                continue
            if node.tag in CUT_ALONE:
                known[here], bases[column] = True, None
                continue
            values[here], known[here] = cut[:, at], True
            beyond[here] = False if over is None else over[:, at]
            if node.tag in DELTAS:
                _add_delta(bases[column], (row, column), (values, known, beyond))
            else:
                bases[column] = node
            at += 1
    return _Values(values, None if known.all() else ~known, beyond if beyond.any() else None)


def _add_delta(base: Node | None, place: tuple[int, int], cells: tuple[npt.NDArray[np.int64], Flags, Flags]) -> None:
    """A delta without a value above cannot be known; else it wraps in the type of `base`, the last one sent whole."""
    values, known, beyond = cells
    row, column = place
    if base is None:
        known[:, row, column] = False
        return
    total = values[:, row - 1, column] + values[:, row, column]
    bits = 8 * PACKED[base.tag].size
    if bits < _BITS:
        total %= 1 << bits
        if base.tag in SIGNED:
            total -= (total >> (bits - 1)) << bits
    values[:, row, column] = total
    known[:, row, column] = known[:, row - 1, column]
    # 64 bits wrap by themselves; what is negative then is an unsigned number above 63 bits.
    beyond[:, row, column] = total < 0 if bits == _BITS and base.tag not in SIGNED else beyond[:, row - 1, column]
