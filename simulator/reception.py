"""What arrives: protected, wrapped, numbered by topic and partition in order of reception."""

from typing import Final

import numpy as np
import polars as pl
import pyarrow as pa

from schemas.frames import RAW_FRAMES, UTC_US, conform
from simulator.columns import I64, U8
from simulator.protection import Ciphers, plain_wpdus, protected_wpdus
from simulator.sending import Outgoing, invocation_counters
from simulator.topology import Fleet

FRAMES_TOPIC: Final = "ami.frames.v1"
GASPS_TOPIC: Final = "ami.lastgasp.v1"


def received_frames(outgoing: list[Outgoing], fleet: Fleet, rows: I64, first_counter: I64) -> pl.DataFrame:
    """Every message that arrives, as bytes, not yet numbered.

    Args:
        outgoing: Messages of some meters.
        fleet: Those meters.
        rows: Their rows in the whole fleet.
        first_counter: Invocation counter of each one's first message.
    """
    ciphers = Ciphers(fleet.ek, fleet.ak)
    parts = []
    for messages, counter in zip(outgoing, invocation_counters(outgoing, first_counter), strict=True):
        for which, apdus in messages.bodies:
            is_ciphered = fleet.ciphered[messages.meter[which]]
            for chosen, protects in ((np.flatnonzero(is_ciphered), True), (np.flatnonzero(~is_ciphered), False)):
                message, bodies = which[chosen], apdus[chosen]
                meter = messages.meter[message]
                if protects:
                    wpdus = protected_wpdus(bodies, meter, fleet.title, counter[message], ciphers)
                else:
                    wpdus = plain_wpdus(bodies)
                parts.append(_received(messages, message, wpdus, rows[meter], fleet.feeder[meter]))
    return pl.concat([part for part in parts if part.height] or parts[:1])


def number_frames(frames: pl.DataFrame, offsets: I64) -> pl.DataFrame:
    """RAW_FRAMES in order of reception, offsets counted on from `offsets` (lanes × partitions), which move along."""
    frames = frames.sort("received_us", "meter", "sent_us", "urgent")
    lane = frames["urgent"].cast(pl.Int64).to_numpy()
    partition = frames["key"].to_numpy() % offsets.shape[1]
    offset = np.empty(frames.height, dtype=np.int64)
    for place in np.ndindex(*offsets.shape):
        mine = np.flatnonzero((lane == place[0]) & (partition == place[1]))
        offset[mine] = offsets[place] + np.arange(mine.size)
        offsets[place] += mine.size
    return conform(
        frames.select(
            topic=pl.when("urgent").then(pl.lit(GASPS_TOPIC)).otherwise(pl.lit(FRAMES_TOPIC)),
            partition=pl.Series(partition.astype(np.int32)),
            offset=pl.Series(offset),
            frame=pl.lit(0, dtype=pl.Int32),
            received_at=pl.col("received_us").cast(UTC_US),
            payload="payload",
        ),
        RAW_FRAMES,
    )


def _received(messages: Outgoing, which: I64, wpdus: U8, meter: I64, feeder: I64) -> pl.DataFrame:
    once = pl.DataFrame(
        {
            "received_us": messages.received_us[which],
            "meter": meter,
            "sent_us": messages.sent_us[which],
            "urgent": np.full(which.size, messages.urgent),
            "key": feeder if messages.urgent else meter,
            "payload": _binary(wpdus),
        }
    )
    again = messages.again_us[which]
    twice = np.flatnonzero(again >= 0)
    return pl.concat([once, once[twice].with_columns(received_us=pl.Series(again[twice]))]) if twice.size else once


def _binary(rows: U8) -> pl.Series:
    octets = np.ascontiguousarray(rows)
    array = pa.FixedSizeBinaryArray.from_buffers(pa.binary(rows.shape[1]), rows.shape[0], [None, pa.py_buffer(octets)])
    return pl.Series("payload", array.cast(pa.large_binary()))
