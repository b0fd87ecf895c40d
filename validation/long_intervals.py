"""Long intervals: a backlog that a meter sent as one value is spread over the hole that it fills."""

from typing import NamedTuple

import numpy as np

from schemas.codes import Method, Status
from validation.anchor import running_shares
from validation.block import ABSENT, Block, Ints, Mask, Runs, fill_runs, find_runs
from validation.estimate import METHOD_CODE, NO_METHOD, Estimates


class Long(NamedTuple):
    """Values that hold the energy of the hole before them as well."""

    span: Runs
    """The hole and the long interval itself."""
    energy: Ints
    cells: Mask
    """The cells of the spans; (1, 1) False where there are none."""


def find_long(block: Block, measured: Mask, gaps: Mask) -> Long:
    """Measured values flagged as long that directly follow a gap."""
    none = Long(*_nothing())
    flagged = measured & ((block.status & np.uint32(Status.LONG)) != 0)
    if not flagged.any():
        return none
    holes = find_runs(gaps)
    inside = holes.stop < block.shape[1]
    holes = holes.pick(inside)
    holes = holes.pick(flagged[holes.row, holes.stop])
    span = Runs(holes.row, holes.start, holes.stop + 1)
    return Long(span, block.value[span.row, holes.stop], fill_runs(span, block.shape))


def _nothing() -> tuple[Runs, Ints, Mask]:
    empty = np.empty(0, dtype=np.int64)
    return Runs(empty, empty, empty), empty, np.zeros((1, 1), dtype=np.bool_)


def spread(block: Block, long: Long, estimates: Estimates) -> tuple[Estimates, Mask]:
    """The estimates with each long value spread over its span by their shape, and which of them are so fixed."""
    fixed = np.zeros(len(estimates.value), dtype=np.bool_)
    if not len(long.energy):
        return estimates, fixed
    width = block.shape[1]
    cell = estimates.row * width + estimates.slot
    begins = long.span.row * width + long.span.start
    at = np.searchsorted(begins, cell, side="right") - 1
    fixed = (at >= 0) & (cell < begins[np.maximum(at, 0)] + long.span.length[np.maximum(at, 0)])
    which = np.flatnonzero(fixed)
    value, method = estimates.value.copy(), estimates.method.copy()
    weight = np.where(value[which] == ABSENT, 0, np.maximum(value[which], 0))
    value[which] = running_shares(weight, at[which], long.energy)
    unknown = which[method[which] == NO_METHOD]
    method[unknown] = METHOD_CODE[Method.FLAT]
    return estimates._replace(value=value, method=method), fixed
