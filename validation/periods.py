"""Billing periods of a run (V36): what was asked for as a whole, or the local calendar months in it."""

from datetime import UTC, datetime, timedelta
from typing import Final

import numpy as np
import polars as pl

from schemas.codes import Rule
from validation.block import Bits, Block
from validation.params import VeeParams
from validation.rules.catalogue import DEFINITION
from validation.versions import IDENTITY, newest

GATE: Final = DEFINITION[Rule.BILLING_GATE].bit
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def periods_of(block: Block, params: VeeParams) -> list[tuple[int, int]]:
    """Runs of intervals, half open, that are judged as one period each."""
    width = block.shape[1]
    if not params.gate_months:
        return [(0, width)]
    step = timedelta(seconds=block.step_s)
    origin = _EPOCH + timedelta(seconds=block.phase_s)
    low = 0 if params.grid_from is None else -((origin - params.grid_from) // step) - block.first_slot
    high = width if params.grid_to is None else (params.grid_to - origin) // step - block.first_slot
    months = block.days.date.astype("datetime64[D]").astype("datetime64[M]")
    days = np.append(np.flatnonzero(np.append(True, months[1:] != months[:-1])), len(months))
    bounds = block.days.first[days].tolist()
    # The first and the last day of a block may be cut.
    begins = block.days.date[days[:-1]].astype("datetime64[D]") == months[days[:-1]].astype("datetime64[D]")
    whole = [bool(one) for one in begins]
    whole[0] = whole[0] and int(block.days.slot[0]) == 0
    closed = [*(True for _ in whole[1:]), _ends_a_month(block)]
    return [
        (first, after)
        for first, after, begun, ended in zip(bounds, bounds[1:], whole, closed, strict=False)
        if begun and ended and low <= first and after <= high
    ]


def _ends_a_month(block: Block) -> bool:
    """The last interval of a block is the last one of a local month."""
    following = block.days.date[-1:].astype("datetime64[D]") + 1
    last = (int(block.days.slot[-1]) + 1) * block.step_s >= 86_400
    return last and bool(following.astype("datetime64[M]").astype("datetime64[D]") == following)


def take_pending(failed: Bits, unjudged: Bits) -> Bits:
    """Which finals lie in no judged month, as a vector; their marks are taken away, in place.

    A mark is both bits of V36 at once, which no judgement gives.
    """
    pending = failed & unjudged & GATE
    if pending.any():
        failed &= ~pending
        unjudged &= ~pending
    return pending


def carried(judged: pl.DataFrame, pending: Bits, previous: pl.DataFrame) -> pl.DataFrame:
    """The finals; those whose month was not judged are held where their stored version is."""
    held = previous.filter((pl.col("failed") & int(GATE)) != 0)
    if not held.height or not pending.any():
        return judged
    past = newest(previous).select(*IDENTITY, _past=pl.col("failed") & int(GATE))
    both = judged.with_columns(_pending=pl.Series(pending)).join(
        past, on=list(IDENTITY), how="left", maintain_order="left"
    )
    return both.with_columns(failed=pl.col("failed") | (pl.col("_past").fill_null(0) & pl.col("_pending"))).select(
        judged.columns
    )
