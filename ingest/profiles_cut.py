"""The buffers of one message cut one after the other; what two of them say of one instant is the first one's."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ingest.blocks import Quantities, Refused
from ingest.clocks import Micros
from ingest.faults import REASON_CODE
from ingest.profile_cut import ProfileCut, cut_profile
from ingest.profile_plans import Profile
from ingest.slots import Group
from ingest.spans import Flags
from schemas.codes import RejectReason


class ProfilesCut(NamedTuple):
    """Rows of all buffers, what of them is refused, and the newest clock of each message: None without buffers."""

    intervals: tuple[Quantities, ...]
    reads: tuple[Quantities, ...]
    refused: tuple[Refused, ...]
    newest: Micros | None


def cut_profiles(profiles: Sequence[Profile], group: Group, *, inverted: bool) -> ProfilesCut:
    """Intervals and reads of every row of every buffer.

    A channel at an instant is one row of the store: said by two buffers of a message, the later one's is refused.
    """
    by_kind: dict[bool, list[Quantities]] = {True: [], False: []}
    refused: list[Refused] = []
    newest: Micros | None = None
    for profile in profiles:
        cut = cut_profile(profile, group, inverted=inverted)
        kin = by_kind[profile.is_intervals]
        quantities, twice = _without(cut, kin, profile) if kin else (cut.quantities, ())
        kin.append(quantities)
        refused += (*cut.refused, *twice)
        newest = cut.newest if newest is None else np.maximum(newest, cut.newest)
    return ProfilesCut(tuple(by_kind[True]), tuple(by_kind[False]), tuple(refused), newest)


def _without(cut: ProfileCut, before: Sequence[Quantities], profile: Profile) -> tuple[Quantities, tuple[Refused, ...]]:
    quantities = cut.quantities
    kept = np.ones(quantities.milli.shape, np.bool_) if quantities.kept is None else quantities.kept
    twice = np.zeros(kept.shape, np.bool_)
    for other in before:
        twice |= _said_by(other, quantities)
    twice &= kept
    values = twice.sum(axis=(1, 2))
    rows = np.flatnonzero(values)
    if not len(rows):
        return quantities, ()
    at = next(node.at for node in profile.clocks if node is not None)
    detail = "another buffer says the same instant"
    refused = Refused(quantities.message[rows], REASON_CODE[RejectReason.DATE_TIME], at, values[rows], detail)
    return quantities._replace(kept=kept & ~twice), (refused,)


def _said_by(other: Quantities, quantities: Quantities) -> Flags:
    """By message, row and column: the other buffer has a row of this channel and instant."""
    said = np.zeros(quantities.at.shape, np.bool_)
    for row in range(other.at.shape[1]):
        same = np.equal(quantities.at, other.at[:, row : row + 1])
        if other.kept is not None:
            same &= other.kept[:, row, :].any(axis=1, keepdims=True)
        said |= same
    flags: Flags = said[:, :, None] & np.isin(quantities.channel, other.channel)
    return flags
