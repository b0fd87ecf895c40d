"""Crashes and attacks on one log: redelivery loses and doubles nothing, and each attack has its own name."""

import itertools
from collections.abc import Iterator
from datetime import timedelta
from typing import NamedTuple

import numpy as np
import polars as pl
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from ingest.decode import decode_frames
from ingest.dlms.data import Data, Tag
from ingest.dlms.framing import wrap_wpdu
from ingest.dlms.security import protect
from ingest.key_book import import_keys, rotate_keys
from ingest.key_files import parse_clear
from ingest.key_rows import NO_KEYS
from ingest.keyring import Keyring
from ingest.lanes import LAST_GASP_TOPIC
from ingest.replay import Windows
from schemas.frames import EVENTS, INTERVALS
from storage.embedded import EmbeddedEngine
from storage.migrations import apply_migrations
from storage.store import ReadingStore, SqlStore
from tests.ingest.fleet import (
    AK,
    EK,
    KEYS,
    RECEIVED,
    START,
    TITLE,
    event,
    frames,
    interval_rows,
    meters,
    notification,
    sealed,
    usual_rows,
)

RING = Keyring.from_csv(KEYS)
REGISTRY = meters()
PLACE = ["topic", "partition", "offset", "frame"]


def reading(value: int) -> bytes:
    return notification(interval_rows(usual_rows(1, values=(value, value))))


@pytest.fixture(scope="module")
def store() -> Iterator[ReadingStore]:
    engine = EmbeddedEngine()
    apply_migrations(engine)
    yield SqlStore(engine)
    engine.close()


class Outcome(NamedTuple):
    """What is left of a log: rows by identity, counts and reasons of the batches that were committed."""

    intervals: pl.DataFrame
    events: pl.DataFrame
    totals: dict[str, int]
    reasons: list[str]


_logs = itertools.count()


def run(log: pl.DataFrame, cuts: list[int], crashes: set[int], store: ReadingStore) -> Outcome:
    """A worker that commits a batch at each cut, and at each crash has stored its batch but not committed it.

    Its windows, too, have been stored by then; what a new worker takes up is what the store holds of the messages
    before the committed offsets. Logs share a store under names of partitions of their own.
    """
    log = log.with_columns(partition=pl.lit(next(_logs), pl.Int32))
    windows, out = Windows.empty(), Outcome(INTERVALS.empty(), EVENTS.empty(), {}, [])
    totals = dict.fromkeys(("frames", "decoded", "rejected", "duplicates"), 0)
    edges = sorted({0, *cuts, log.height})
    for number, (first, after) in enumerate(itertools.pairwise(edges)):
        batch = log[first:after]
        if number in crashes:
            killed = decode_frames(batch, RING, windows, REGISTRY)
            store.append("replay_windows", killed.seen, f"killed {log['partition'][0]} {number}")
            out = out._replace(
                intervals=pl.concat([out.intervals, killed.intervals]), events=pl.concat([out.events, killed.events])
            )
            windows = Windows.from_frame(store.load_windows(_positions(log, first)))
        decoded = decode_frames(batch, RING, windows, REGISTRY)
        store.append("replay_windows", decoded.seen, f"done {log['partition'][0]} {number}")
        windows = decoded.windows
        for name in totals:
            totals[name] += getattr(decoded.counts, name)
        out = Outcome(
            pl.concat([out.intervals, decoded.intervals]),
            pl.concat([out.events, decoded.events]),
            totals,
            out.reasons + decoded.rejects["reason"].cast(pl.String).to_list(),
        )
    intervals = out.intervals.unique([*PLACE, "channel", "interval_start"]).sort(*PLACE, "channel")
    events = out.events.unique().sort(*PLACE)
    return out._replace(intervals=intervals.drop("partition"), events=events.drop("partition"))


def _positions(log: pl.DataFrame, first: int) -> list[tuple[str, int, int]]:
    """The next message of each lane; one that is read to its end goes on behind it."""
    return [(topic, log["partition"][0], first) for topic in log["topic"].unique().to_list()]


counters = st.lists(st.integers(1, 40), min_size=1, max_size=30)


@settings(max_examples=20)
@given(counters, st.lists(st.integers(0, 30), max_size=4), st.sets(st.integers(0, 4)))
def test_whatever_batch_crashes_the_same_rows_are_stored_and_every_message_is_counted_once(store, log, cuts, crashes):
    raw = frames(*[sealed(reading(counter), counter) for counter in log])
    cuts = [cut for cut in cuts if cut < raw.height]
    calm = run(raw, [], set(), store)
    stormy = run(raw, cuts, crashes, store)
    assert stormy.intervals.equals(calm.intervals) and stormy[2:] == calm[2:]
    totals = stormy.totals
    assert totals["frames"] == totals["decoded"] + totals["rejected"] + totals["duplicates"] == len(log)
    assert totals["decoded"] == len(set(log)) and totals["rejected"] == 0


@settings(max_examples=10, phases=(Phase.explicit, Phase.reuse, Phase.generate))
@given(st.integers(200, 400), st.integers(1, 63), st.integers(65, 190), st.sets(st.integers(0, 12)))
def test_a_copy_a_late_reading_a_replay_a_reuse_and_a_forgery_are_told_apart_in_each_lane_across_crashes(
    store, top, back, far, crashes
):
    forged = sealed(reading(1), 0xFFFFFFFF)
    forged = forged[:-1] + bytes((forged[-1] ^ 0x80,))  # a high counter without the key
    readings, gasps = "ami.frames.v1", LAST_GASP_TOPIC
    log: list[tuple[str, bytes, str]] = [
        (readings, sealed(reading(1), top), "decoded"),
        (gasps, sealed(power_down(1), top - far), "decoded"),  # the lanes know nothing of each other
        (readings, forged, "tag_mismatch"),
        (gasps, forged, "tag_mismatch"),
        (readings, sealed(reading(1), top), "copy"),  # by another path
        (readings, sealed(reading(3), top - far), "replay"),  # long past
        (readings, sealed(reading(4), top - back), "decoded"),  # late, unseen: a reading is taken
        (gasps, sealed(power_down(2), top), "decoded"),
        (gasps, sealed(power_down(3), top - back), "replay"),  # an event is not
        (readings, sealed(reading(2), top), "nonce_reuse"),  # other bytes under a used counter
        (readings, sealed(reading(5), top + 1), "quarantined"),
        (readings, sealed(reading(1), top), "copy"),
        (gasps, sealed(power_down(4), top + 1), "decoded"),  # its lane has seen no counter twice
    ]
    raw = frames(*[payload for _, payload, _ in log]).with_columns(topic=pl.Series([lane for lane, *_ in log]))
    stored, told, totals, reasons = run(raw, list(range(1, len(log))), crashes, store)
    assert reasons == [word for *_, word in log if word not in ("decoded", "copy")]
    assert totals == {"frames": 13, "decoded": 5, "rejected": 6, "duplicates": 2}
    assert stored["offset"].unique().sort().to_list() == [0, 6]
    assert stored["received_at"].unique().to_list() == [RECEIVED]
    gasped = [at for at, (lane, _, word) in enumerate(log) if lane == gasps and word == "decoded"]
    assert told["offset"].to_list() == gasped == [1, 7, 12] and set(told["event"]) == {"power_down"}


def power_down(minute: int) -> bytes:
    return event("0.0.96.11.0.255", Data(Tag.UINT8, 1), START + timedelta(minutes=minute))


def test_windows_rebuilt_from_what_was_stored_keep_a_meter_in_quarantine_until_its_key_is_new():
    first = decode_frames(frames(sealed(reading(1), 9), sealed(reading(2), 9)), RING, Windows.empty(), REGISTRY)
    assert first.rejects["reason"].to_list() == ["nonce_reuse"] and first.seen["counter"].to_list() == [9, -10]
    rebuilt = Windows.from_frame(first.seen)
    assert rebuilt == first.windows
    later = decode_frames(frames(sealed(reading(3), 10), sealed(reading(1), 9)), RING, rebuilt, REGISTRY)
    assert later.rejects["reason"].to_list() == ["quarantined"] and later.counts.duplicates == 1
    assert later.seen.is_empty() and later.intervals.is_empty()
    clear = parse_clear(KEYS)
    other = clear._replace(material=clear.material ^ np.uint8(0xFF))
    ring = Keyring(rotate_keys(import_keys(NO_KEYS, clear), other))
    ek, ak = (bytes(octet ^ 0xFF for octet in key) for key in (EK, AK))
    renewed = protect(reading(4), system_title=TITLE, control=0x30, counter=0, ek=ek, ak=ak)
    after = decode_frames(frames(wrap_wpdu(renewed), sealed(reading(5), 11)), ring, later.windows, REGISTRY)
    assert after.intervals["offset"].unique().to_list() == [0]
    assert after.rejects["reason"].to_list() == ["quarantined"]
