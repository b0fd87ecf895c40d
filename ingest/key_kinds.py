"""No key of a meter is both its unicast and its broadcast key, or its own and the group's.

Counters are judged by the name of a key. Under two names one key has two windows, and which of them a message falls
into stands, in general-ciphering, under no tag: recorded as the one kind it would pass as news as the other.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

from ingest.key_rows import BROADCAST, GROUP_TITLE, KIND_NAMES, UNICAST, KeyRows
from schemas.errors import ContractError

_CHUNK: Final = 1 << 18
"""Rows compared at once: millions of keys are not in memory twice."""


def refuse_shared_keys(rows: KeyRows) -> None:
    """Raise where an encryption key that is not revoked stands under both kinds of a meter, or is a meter's own and
    the group's broadcast key. A broadcast key of its own is not the group's even where it is revoked: the group's may
    serve the meter then.

    Args:
        rows: Ascending by title and kind.

    Raises:
        ContractError: Names the first meter, both keys, and what to do.
    """
    broadcast = np.flatnonzero((rows.kinds == BROADCAST) & ~rows.revoked)
    for begin in range(0, len(broadcast), _CHUNK):
        _refuse_own(rows, broadcast[begin : begin + _CHUNK])
    for group in broadcast[rows.titles[broadcast] == GROUP_TITLE].tolist():
        _refuse_group(rows, group)


def _refuse_own(rows: KeyRows, broadcast: npt.NDArray[np.int64]) -> None:
    """Each broadcast key against the unicast keys of its title, which stand right before the broadcast ones."""
    titles = rows.titles[broadcast]
    unicast = np.searchsorted(rows.titles, titles, "left").astype(np.int64)
    while len(broadcast):
        here = (rows.titles[unicast] == rows.titles[broadcast]) & (rows.kinds[unicast] == UNICAST)
        unicast, broadcast = unicast[here], broadcast[here]
        shared = (_ek(rows, unicast) == _ek(rows, broadcast)).all(axis=1) & ~rows.revoked[unicast]
        if shared.any():
            first = int(shared.argmax())
            _refuse(rows, int(unicast[first]), int(broadcast[first]))
        unicast = unicast + 1


def _refuse_group(rows: KeyRows, group: int) -> None:
    """The group's key against every unicast key, and every broadcast key of a meter."""
    for begin in range(0, len(rows.titles), _CHUNK):
        part = np.arange(begin, min(begin + _CHUNK, len(rows.titles)))
        kinds = rows.kinds[part]
        own = (kinds == UNICAST) & ~rows.revoked[part] | (kinds == BROADCAST) & (rows.titles[part] != GROUP_TITLE)
        shared = (_ek(rows, part) == _ek(rows, np.array([group]))).all(axis=1) & own
        if shared.any():
            _refuse(rows, begin + int(shared.argmax()), group)


def _ek(rows: KeyRows, at: npt.NDArray[np.int64]) -> npt.NDArray[np.uint64]:
    return np.ascontiguousarray(rows.material[at, : rows.material.shape[1] // 2]).view(np.uint64)


def _refuse(rows: KeyRows, own: int, broadcast: int) -> None:
    one, other = (f"{KIND_NAMES[int(rows.kinds[at])]}/{int(rows.versions[at])}" for at in (own, broadcast))
    whose = "the group's " if rows.titles[broadcast] != rows.titles[own] else ""
    raise ContractError(
        f"keys: system title {int(rows.titles[own]):016x} has one encryption key as {one} and as {whose}{other}:"
        " a message recorded as the one would pass as the other; import keys of their own, or renew both"
        " (ami keys rotate --revoke-old)"
    )
