"""Crashes and attacks on one log: redelivery loses and doubles nothing, and each attack has its own name."""

import itertools

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.decode import decode_frames
from ingest.keyring import Keyring
from ingest.replay import Windows
from tests.ingest.fleet import KEYS, RECEIVED, frames, interval_rows, meters, notification, sealed, usual_rows

RING = Keyring.from_csv(KEYS)
REGISTRY = meters()
PLACE = ["topic", "partition", "offset", "frame"]


def reading(value: int) -> bytes:
    return notification(interval_rows(usual_rows(1, values=(value, value))))


def run(log: pl.DataFrame, cuts: list[int], crashes: set[int]) -> tuple[pl.DataFrame, dict[str, int], list[str]]:
    """A worker that commits a batch at each cut, and at each crash has stored its batch but not committed it."""
    windows = Windows.empty()
    stored: list[pl.DataFrame] = []
    totals = {"frames": 0, "decoded": 0, "rejected": 0, "duplicates": 0}
    reasons: list[str] = []
    edges = sorted({0, *cuts, log.height})
    for number, (first, after) in enumerate(itertools.pairwise(edges)):
        batch = log[first:after]
        if number in crashes:
            stored.append(decode_frames(batch, RING, windows, REGISTRY).intervals)  # stored, then killed
            windows = Windows.from_frame(windows.to_frame())  # reloaded as of the committed offset
        decoded = decode_frames(batch, RING, windows, REGISTRY)
        stored.append(decoded.intervals)
        windows = decoded.windows
        for name in totals:
            totals[name] += getattr(decoded.counts, name)
        reasons += decoded.rejects["reason"].cast(pl.String).to_list()
    collapsed = pl.concat(stored).unique([*PLACE, "channel", "interval_start"]).sort(*PLACE, "channel")
    return collapsed, totals, reasons


counters = st.lists(st.integers(1, 40), min_size=1, max_size=30)


@settings(max_examples=40)
@given(counters, st.lists(st.integers(0, 30), max_size=4), st.sets(st.integers(0, 4)))
def test_whatever_batch_crashes_the_same_rows_are_stored_and_every_message_is_counted_once(log, cuts, crashes):
    raw = frames(*[sealed(reading(counter), counter) for counter in log])
    cuts = [cut for cut in cuts if cut < raw.height]
    calm = run(raw, [], set())
    stormy = run(raw, cuts, crashes)
    assert stormy[0].equals(calm[0]) and stormy[1] == calm[1] and stormy[2] == calm[2]
    totals = stormy[1]
    assert totals["frames"] == totals["decoded"] + totals["rejected"] + totals["duplicates"] == len(log)
    assert totals["decoded"] == len(set(log)) and totals["rejected"] == 0


@settings(max_examples=40)
@given(st.integers(200, 400), st.integers(0, 63), st.integers(65, 190), st.sets(st.integers(0, 6)))
def test_a_copy_a_late_reading_a_replay_a_reuse_and_a_forgery_are_told_apart_across_crashes(top, back, far, crashes):
    forged = sealed(reading(1), 0xFFFFFFFF)
    log = [
        sealed(reading(1), top),
        forged[:-1] + bytes((forged[-1] ^ 0x80,)),  # a high counter without the key
        sealed(reading(1), top),  # a copy by another path
        sealed(reading(2), top),  # other bytes under a used counter
        sealed(reading(3), top - far),  # long past
        sealed(reading(4), top - back if back else top + 1),  # late, unseen, or simply next
    ]
    raw = frames(*log)
    stored, totals, reasons = run(raw, [1, 2, 3, 4, 5], crashes)
    assert reasons == ["tag_mismatch", "nonce_reuse", "replay"]
    assert totals == {"frames": 6, "decoded": 2, "rejected": 3, "duplicates": 1}
    assert stored["offset"].unique().sort().to_list() == [0, 5]
    assert stored["received_at"].unique().to_list() == [RECEIVED]
