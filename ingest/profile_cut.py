"""Rows of an interval or register push cut into columns: clocks, status and values of all messages at once."""

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from ingest.blocks import CHANNEL_CODE, NO_TIME, Instants, Quantities, Refused
from ingest.clocks import Micros
from ingest.dlms.layout import DELTAS, Node
from ingest.faults import REASON_CODE
from ingest.profile_plans import Profile
from ingest.scaling import to_milli
from ingest.slots import Group, cut_clocks, cut_numbers
from ingest.spans import Flags
from schemas import timegrid
from schemas.codes import RejectReason

_SECOND_US: Final = 1_000_000
_WRAP: Final = {1: 2**8, 2: 2**16, 4: 2**32, 8: 2**64}


class ProfileCut(NamedTuple):
    """The rows, what of them could not be placed or scaled, and the newest clock of each message."""

    quantities: Quantities
    instants: Instants
    refused: tuple[Refused, ...]
    newest: Micros


class _Stamps(NamedTuple):
    """Of each message and row."""

    at: npt.NDArray[np.int64]
    usable: Flags  # the clock names an instant and does not call itself invalid
    status: npt.NDArray[np.uint32]
    capture_s: npt.NDArray[np.int64]  # of each message; 0 where it cannot be known


def cut_profile(profile: Profile, group: Group, *, inverted: bool) -> ProfileCut:
    """Intervals or reads of every row of every message.

    A row whose clock is not usable, or whose capture period cannot be known, is refused: a clock that is invalid never
    places a row. A value that thousandths cannot hold is refused alone.
    """
    stamps = _stamps(profile, group, inverted=inverted)
    values, known, beyond = _values(profile, group)
    milli, exact = to_milli(values, profile.power)
    exact &= ~beyond
    timed = stamps.usable if not profile.is_intervals else stamps.usable & (stamps.capture_s > 0)[:, None]
    at = stamps.at
    if profile.is_intervals and profile.stamp_is_end:
        at = at - stamps.capture_s[:, None] * _SECOND_US
    messages, rows, columns = values.shape
    cells = rows * columns
    whole = Quantities(
        np.repeat(group.message, cells),
        np.tile(np.array([CHANNEL_CODE[each] for each in profile.channels], np.int16), messages * rows),
        np.full(messages * cells, -1, np.int32),
        np.repeat(at.reshape(-1), columns),
        milli.reshape(-1),
        known.reshape(-1),
        np.repeat(stamps.status.reshape(-1), columns),
        np.repeat(stamps.capture_s.astype(np.int32), cells),
    )
    instants = Instants(np.repeat(group.message, rows), at.reshape(-1), np.repeat(stamps.capture_s, rows))
    if timed.all() and exact.all():
        return ProfileCut(whole, instants, (), _newest(stamps))
    good = timed[:, :, None] & (exact | ~known)
    placed = timed.reshape(-1)
    return ProfileCut(
        whole.take(good.reshape(-1)),
        Instants._make(column[placed] for column in instants),
        _refused(profile, group, stamps, good),
        _newest(stamps),
    )


def _refused(profile: Profile, group: Group, stamps: _Stamps, good: Flags) -> tuple[Refused, ...]:
    first = next(node.at for node in profile.clocks if node is not None)
    placed = np.broadcast_to(stamps.usable[:, :, None], good.shape)
    timed = np.broadcast_to((stamps.capture_s > 0)[:, None, None], good.shape) | (not profile.is_intervals)
    cases = (
        (~placed, RejectReason.DATE_TIME, "a clock that names no instant or calls itself invalid"),
        (placed & ~timed, RejectReason.LAYOUT_UNKNOWN, "the capture period is not known"),
        (placed & timed & ~good, RejectReason.SCALING, "not a whole number of thousandths in 63 bits"),
    )
    refused = []
    for wrong, reason, detail in cases:
        values = wrong.sum(axis=(1, 2))
        rows = np.flatnonzero(values)
        if len(rows):
            refused.append(Refused(group.message[rows], REASON_CODE[reason], first, values[rows], detail))
    return tuple(refused)


def _newest(stamps: _Stamps) -> Micros:
    newest: Micros = np.where(stamps.usable, stamps.at, NO_TIME).max(axis=1)
    return newest


def _stamps(profile: Profile, group: Group, *, inverted: bool) -> _Stamps:
    sent = profile.clocked
    clocks = cut_clocks(group, [node for node in profile.clocks if node is not None], inverted=inverted)
    at_sent = np.stack([each.at for each in clocks], axis=1)
    usable_sent = np.stack([each.placed & ~each.invalid for each in clocks], axis=1)
    status_sent = np.stack([each.status for each in clocks], axis=1)
    capture_s = _capture_s(profile, at_sent, usable_sent, sent)
    rows = np.arange(len(profile.clocks))
    source = np.searchsorted(np.array(sent), rows, "right") - 1  # the last clock sent at or above the row
    steps = rows - np.array(sent)[source]
    at = at_sent[:, source] + steps * capture_s[:, None] * _SECOND_US
    usable = usable_sent[:, source] & ((steps == 0) | (capture_s[:, None] > 0))
    status = status_sent[:, source] | _octet_status(profile, group)
    return _Stamps(at, usable, status, capture_s)


def _capture_s(profile: Profile, at: Micros, usable: Flags, sent: tuple[int, ...]) -> npt.NDArray[np.int64]:
    messages = len(at)
    if profile.interval_s is not None:
        return np.full(messages, profile.interval_s, np.int64)
    if len(sent) < 2:
        return np.zeros(messages, np.int64)
    step_us = (at[:, 1] - at[:, 0]) // (sent[1] - sent[0])
    step_s, rest = step_us // _SECOND_US, step_us % _SECOND_US
    in_use = np.isin(step_s, timegrid.INTERVAL_LENGTHS_S) & (rest == 0) & usable[:, 0] & usable[:, 1]
    return np.where(in_use, step_s, 0)


def _octet_status(profile: Profile, group: Group) -> npt.NDArray[np.uint32]:
    """Our status bits of each row; a null repeats the row above, and the first row's says nothing."""
    table = np.array(profile.status_of_octet, np.uint32)
    sent = [node for node in profile.statuses if node is not None]
    octets = cut_numbers(group.octets, sent)[0] & 0xFF
    place = np.cumsum([node is not None for node in profile.statuses]) - 1
    bits = table[octets]
    nothing = np.zeros((len(octets), 1), np.uint32)
    return np.concatenate([bits, nothing], axis=1)[:, place]  # place -1 is the column of nothing


def _values(profile: Profile, group: Group) -> tuple[npt.NDArray[np.int64], Flags, Flags]:
    """Numbers, known and beyond 63 bits, by message, row and channel; nulls and deltas resolved down each column."""
    rows, columns = len(profile.values), len(profile.channels)
    messages = len(group.message)
    sent = [node for row in profile.values for node in row if node is not None]
    numbers, beyond = cut_numbers(group.octets, sent)
    if len(sent) == rows * columns and not any(node.tag in DELTAS for node in sent):
        shape = (messages, rows, columns)
        return numbers.reshape(shape), np.ones(shape, np.bool_), beyond.reshape(shape)
    shape = (messages, rows, columns)
    values, known, over = np.zeros(shape, np.int64), np.zeros(shape, np.bool_), np.zeros(shape, np.bool_)
    at = 0
    for row, nodes in enumerate(profile.values):
        for column, node in enumerate(nodes):
            above = (values[:, row - 1, column], known[:, row - 1, column], over[:, row - 1, column])
            if node is None:
                if row:
                    values[:, row, column], known[:, row, column], over[:, row, column] = above
                continue
            values[:, row, column], known[:, row, column] = numbers[:, at], True
            over[:, row, column] = beyond[:, at]
            if node.tag in DELTAS:
                _add_delta(profile, (row, column), (values, known, over))
            at += 1
    return values, known, over


def _add_delta(profile: Profile, place: tuple[int, int], cells: tuple[npt.NDArray[np.int64], Flags, Flags]) -> None:
    """A delta in the first row, or below a null, cannot be known; else it wraps in the width of its column."""
    values, known, over = cells
    row, column = place
    base = _base_node(profile, row, column)
    if not row or base is None:
        known[:, row, column] = False
        return
    total = values[:, row - 1, column] + values[:, row, column]
    width = base.stop - base.at
    if width < 8:
        total %= _WRAP[width]
    values[:, row, column] = total
    known[:, row, column] = known[:, row - 1, column]
    over[:, row, column] = over[:, row - 1, column]


def _base_node(profile: Profile, row: int, column: int) -> Node | None:
    above = (profile.values[at][column] for at in range(row - 1, -1, -1))
    return next((node for node in above if node is not None and node.tag not in DELTAS), None)
