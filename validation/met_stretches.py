"""Which intervals lie in a stretch whose estimates met their register: what one of them is, the others depend on."""

from typing import Final

import numpy as np
import numpy.typing as npt

from validation.anchor import Anchored
from validation.block import Block, cells_of

Stretch = npt.NDArray[np.int32]
NONE: Final = -1


def met_stretches(block: Block, anchored: Anchored, begin: int) -> Stretch:
    """The number of the stretch of each cell (series, intervals), -1 outside of those that were anchored.

    Args:
        block: The block.
        anchored: Its estimates, after they met the registers.
        begin: Number of the block's first stretch, so that numbers are one to a run.
    """
    number = np.full(block.shape, NONE, dtype=np.int32)
    which = np.unique(anchored.stretch[anchored.moved & (anchored.stretch >= 0)])
    span = block.stretches.span.pick(which)
    number.ravel()[cells_of(span, block.shape[1])] = np.repeat(which + begin, span.length)
    return number
