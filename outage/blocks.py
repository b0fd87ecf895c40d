"""Restoration in blocks: what came back together is one step of its incident."""

import numpy as np
import polars as pl

from outage.params import DetectParams
from outage.spans import NEVER
from outage.topology import Ints, Topology


def restored_blocks(members: pl.DataFrame, topology: Topology, params: DetectParams) -> pl.DataFrame:
    """Per incident and block: when it came back, its meters and customers, and whether nothing stays dark after it.

    Args:
        members: `MEMBERS`.
        topology: Customers.
        params: As `number_blocks` takes them.
    """
    numbered = number_blocks(members, params)
    incident = numbered["incident"].to_numpy()
    # Rows of an incident stand by block, those that are still dark last.
    block = numbered["block"].cast(pl.Int64).fill_null(NEVER).to_numpy()
    dark = block == NEVER
    begins = np.flatnonzero(np.r_[True, (incident[1:] != incident[:-1]) | (block[1:] != block[:-1])][: len(block)])
    meters = np.diff(np.r_[begins, len(block)])
    still = np.bincount(incident[dark], minlength=int(incident.max(initial=0)) + 1)
    begins, meters = begins[~dark[begins]], meters[~dark[begins]]
    of, number = incident[begins], block[begins]
    change = of[1:] != of[:-1]
    first = np.flatnonzero(np.r_[True, change][: len(of)])
    back = np.cumsum(meters)
    before = np.repeat((back - meters)[first], np.diff(np.r_[first, len(of)]))
    customer = topology.customer[numbered["meter"].to_numpy()]
    return pl.DataFrame(
        {
            "incident": of,
            "block": number,
            "restored_at": numbered["block_at"].gather(begins),
            "meters_out": meters.astype(np.int32),
            "customers_out": _customers_back((incident, block, customer), of, number).astype(np.int32),
            "living": (back - before).astype(np.int32),
            "last": np.r_[change, True][: len(of)] & (still[of] == 0),
        }
    )


def _customers_back(rows: tuple[Ints, Ints, Ints], of: Ints, number: Ints) -> Ints:
    """Per block of an incident its customers: one with several meters is back with the last of them.

    Args:
        rows: Incident, block (`NEVER`: still dark) and customer of each meter.
        of: Incident of each block asked for.
        number: Its number.
    """
    incident, block, customer = rows
    width = int(customer.max(initial=0)) + 1
    order = np.argsort(incident * width + customer)
    incident, customer = incident[order], customer[order]
    begins = np.flatnonzero(
        np.r_[True, (incident[1:] != incident[:-1]) | (customer[1:] != customer[:-1])][: len(order)]
    )
    last = np.maximum.reduceat(block[order], begins) if len(begins) else block
    back = last < NEVER
    blocks = int(number.max(initial=0)) + 1
    known = np.sort(incident[begins][back] * blocks + last[back])
    asked = of * blocks + number
    return np.searchsorted(known, asked, "right") - np.searchsorted(known, asked, "left")


def number_blocks(meters: pl.DataFrame, params: DetectParams) -> pl.DataFrame:
    """The meters with `block` (0, 1 …, null: still dark) and `block_at`, the time at which their block came back.

    Args:
        meters: `incident`, `restored_at` (microseconds, null: still dark).
        params: Restorations of an incident that lie within `settle_s` of each other are one block; a block is dated
            by its median meter.
    """
    incident = meters["incident"].to_numpy()
    restored = meters["restored_at"].fill_null(NEVER).to_numpy()
    order = np.lexsort((restored, incident))
    incident, restored = incident[order], restored[order]
    back = restored < NEVER
    first = np.r_[True, incident[1:] != incident[:-1]][: len(order)]
    late = np.r_[False, restored[1:] - restored[:-1] > params.settle_s * 1_000_000][: len(order)]
    begins = np.flatnonzero(first | (late & back))
    count = np.diff(np.r_[begins, len(order)])
    # A block ends where the dark ones of its incident begin.
    told = np.add.reduceat(back, begins, dtype=np.int64) if len(begins) else begins
    at = np.repeat(restored[begins + told // 2] if len(begins) else begins, count)
    block = np.cumsum(late & back & ~first)
    block -= np.repeat(block[np.flatnonzero(first)], np.diff(np.r_[np.flatnonzero(first), len(order)]))
    known = pl.Series(back, dtype=pl.Boolean)
    return meters[order].with_columns(
        block=pl.when(known).then(pl.Series(block, dtype=pl.UInt32)),
        block_at=pl.when(known).then(pl.Series(at, dtype=pl.Int64)),
    )
