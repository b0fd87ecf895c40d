"""A meter that was taken off the wall cannot say that the supply is back: whoever hangs there now does."""

import numpy as np
import polars as pl

from outage.spans import NEVER, Spans, Timeline
from outage.topology import Ints, Topology


def end_at_exchange(spans: Spans, life: tuple[Timeline, Timeline], topology: Topology) -> Spans:
    """The spans; one that outlasts its meter ends with the first life of the meter that followed at its service point.

    Where none followed it ends when the meter was removed: nobody is without supply there any more.

    Args:
        spans: As the meters told them.
        life: Power-ups, and reads.
        topology: METERS by number.
    """
    removed = topology.removed[spans.meter]
    gone = np.flatnonzero((removed < NEVER) & (spans.end > removed) & (removed > spans.start))
    if not len(gone):
        return spans
    asked = pl.DataFrame({"customer": topology.customer[spans.meter[gone]], "start": spans.start[gone]})
    there = pl.DataFrame({"customer": topology.customer, "installed": topology.installed}).with_row_index("follower")
    pairs = (
        asked.with_row_index("row")
        .join(there.with_columns(pl.col("follower").cast(pl.Int64)), on="customer")
        .filter(pl.col("installed") > pl.col("start"))
    )
    follower, installed = pairs["follower"].to_numpy(), pairs["installed"].to_numpy()
    lives = np.minimum(*(line.first_after(follower, installed - 1) for line in life))
    end = np.where(np.isin(np.arange(len(gone)), pairs["row"].to_numpy()), NEVER, removed[gone])
    np.minimum.at(end, pairs["row"].to_numpy(), lives)
    return _ended(spans, gone, np.minimum(end, spans.end[gone]))


def _ended(spans: Spans, which: Ints, end: Ints) -> Spans:
    """The spans, those ended as by a read: the supply was back at some time before."""
    ends, by_read = spans.end.copy(), spans.by_read.copy()
    by_read[which] |= end < ends[which]
    ends[which] = end
    return spans._replace(end=ends, by_read=by_read)
