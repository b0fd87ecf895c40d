"""Replay windows against a plain restatement of the rule."""

import time
import tracemalloc

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest import replay
from ingest.replay import MAX_WRAPPED, Streams, Windows
from ingest.replay_table import BEYOND, COPY, FRESH, LATE, QUARANTINED, REPLAY, REUSE, WINDOW
from ingest.titles import titles_to_hex
from schemas.errors import ContractError

TITLES = (0x4D4D4D0000BC614E, 0x4D4D4D0000BC614F)
message = st.tuples(
    st.sampled_from(TITLES), st.integers(0, 1), st.integers(0, 1), st.integers(0, 200), st.integers(0, 2)
)


def streams(messages):
    columns = list(zip(*messages, strict=True)) if messages else [()] * 5
    return Streams(
        np.array(columns[0], np.uint64),
        np.array(columns[1], np.int64),
        np.array(columns[2], np.int64),
        np.array(columns[3], np.int64),
        np.array(columns[4], np.uint64),
        ("guek/1", "guek/2"),
        ("ami.frames.v1", "ami.lastgasp.v1"),
    )


def judged_one_by_one(messages):
    seen: dict = {}
    reused = set()
    verdicts = []
    for title, key, lane, counter, digest in messages:
        known = seen.setdefault((title, key, lane), {})
        highest = max(known, default=-1)
        if counter > highest - WINDOW and known.get(counter) == digest:
            verdicts.append(COPY)
        elif (title, key, lane) in reused:
            verdicts.append(QUARANTINED)
        elif counter <= highest - WINDOW:
            verdicts.append(REPLAY)
        elif counter in known:
            verdicts.append(REUSE)
            reused.add((title, key, lane))
        else:
            verdicts.append(FRESH if counter > highest else LATE)
            known[counter] = digest
    return verdicts


@given(st.lists(message, max_size=60), st.integers(0, 60))
def test_every_counter_is_judged_as_one_by_one_however_the_log_is_cut_into_batches(messages, cut):
    first, windows = Windows().judge(streams(messages[:cut]))
    second, _ = windows.judge(streams(messages[cut:]))
    assert [*first.tolist(), *second.tolist()] == judged_one_by_one(messages)


@given(st.lists(message, max_size=60), st.lists(st.integers(0, 60), max_size=12))
def test_however_many_batches_there_were_the_windows_are_those_of_one(messages, cuts):
    cuts.sort()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(replay, "_COMPACT_FLOOR", 1)  # tables of which one is folded into another every few batches
        windows, verdicts = Windows(), []
        for first, after in zip((0, *cuts), (*cuts, len(messages)), strict=True):
            before = windows.to_frame()
            told, next_windows = windows.judge(streams(messages[first:after]))
            assert windows.to_frame().equals(before)
            windows, verdicts = next_windows, [*verdicts, *told.tolist()]
    assert verdicts == judged_one_by_one(messages)
    assert windows == Windows().judge(streams(messages))[1]


@given(st.lists(message, max_size=60))
def test_windows_come_back_from_their_frame_and_judge_alike(messages):
    _, windows = Windows().judge(streams(messages))
    again = Windows.from_frame(windows.to_frame())
    assert again == windows
    assert again.judge(streams(messages))[0].tolist() == windows.judge(streams(messages))[0].tolist()


@given(st.lists(message, min_size=1, max_size=60))
def test_a_redelivery_of_the_newest_batch_is_only_copies_or_late_alarms(messages):
    verdicts, windows = Windows().judge(streams(messages))
    accepted = [m for m, verdict in zip(messages, verdicts.tolist(), strict=True) if verdict in (FRESH, LATE)]
    again = windows.judge(streams(accepted))[0].tolist()
    assert set(again) <= {COPY, REPLAY, QUARANTINED}
    assert (QUARANTINED in again) <= (REUSE in verdicts)


def test_judging_changes_no_window_that_went_in():
    _, windows = Windows().judge(streams([(TITLES[0], 0, 0, 5, 1)]))
    before = windows.to_frame()
    windows.judge(streams([(TITLES[0], 0, 0, 90, 1), (TITLES[0], 0, 0, 6, 1)]))
    assert windows.to_frame().equals(before)


def one_after_another(windows, arriving):
    return windows.judge(streams([(TITLES[0], 0, 0, counter, digest) for counter, digest in arriving]))


def test_each_case_of_the_reference_is_told_apart():
    _, windows = one_after_another(Windows(), [(100, 1)])
    arriving = [(100, 1), (99, 1), (100 - WINDOW, 1), (101 - WINDOW, 1), (1000, 1), (100, 1), (1000, 2)]
    verdicts, _ = one_after_another(windows, arriving)
    assert verdicts.tolist() == [COPY, LATE, REPLAY, LATE, FRESH, REPLAY, REUSE]


def test_after_a_reused_counter_the_stream_brings_only_copies_until_a_new_key_comes():
    _, windows = one_after_another(Windows(), [(100, 1), (99, 7)])
    verdicts, windows = one_after_another(windows, [(100, 2), (100, 2), (100, 1), (98, 1), (101, 1), (5, 1), (99, 7)])
    assert verdicts.tolist() == [REUSE, QUARANTINED, COPY, QUARANTINED, QUARANTINED, QUARANTINED, COPY]
    stored = Windows.from_frame(windows.to_frame())
    for each in (windows, stored):
        assert one_after_another(each, [(5000, 1)])[0].tolist() == [QUARANTINED]
        others = [(TITLES[0], 1, 0, 5000, 1), (TITLES[0], 0, 1, 5000, 1), (TITLES[1], 0, 0, 5000, 1)]
        assert each.judge(streams(others))[0].tolist() == [FRESH, FRESH, FRESH]
    assert windows.to_frame().filter(pl.col("counter") < 0).select("counter", "digest").rows() == [(-101, 2)]


def test_a_slot_that_left_the_window_is_forgotten_when_its_number_comes_round_again():
    _, windows = Windows().judge(streams([(TITLES[0], 0, 0, 5, 1)]))
    _, windows = windows.judge(streams([(TITLES[0], 0, 0, 100, 1)]))
    verdicts, after = windows.judge(streams([(TITLES[0], 0, 0, 5 + WINDOW, 2)]))
    assert verdicts.tolist() == [LATE]
    assert after.to_frame()["counter"].to_list() == [5 + WINDOW, 100]


def test_lanes_and_keys_have_windows_of_their_own():
    _, windows = Windows().judge(streams([(TITLES[0], 0, 0, 100, 1)]))
    verdicts, _ = windows.judge(streams([(TITLES[0], 1, 0, 3, 1), (TITLES[0], 0, 1, 100, 1), (TITLES[1], 0, 0, 4, 2)]))
    assert verdicts.tolist() == [FRESH, FRESH, FRESH]


def test_a_frame_without_a_needed_column_is_named():
    with pytest.raises(ContractError, match="digest"):
        Windows.from_frame(pl.DataFrame({"system_title": ["00"], "key_id": ["a"], "topic": ["b"], "counter": [1]}))


def wrapped(messages, master=1):
    """Streams of (title, number of a wrapped key, counter) under that master key, each with a tag of its own."""
    title, key, counter = (np.array(column) for column in zip(*messages, strict=True))
    number, place = np.unique(key, return_inverse=True)
    names = tuple(f"wrapped/{master}/{each + 1:016x}" for each in number.tolist())
    digest = (key * 1_000 + counter).astype(np.uint64)
    lane = np.zeros(len(key), np.int64)
    return Streams(title.astype(np.uint64), place, lane, counter, digest, names, ("ami.frames.v1",))


@given(st.lists(message, max_size=60), st.integers(0, 60))
def test_wrapped_keys_are_streams_like_others_however_the_log_is_cut_into_batches(messages, cut):
    def each(part):
        return streams(part)._replace(key_names=("wrapped/1/00000000000000aa", "wrapped/1/00000000000000ab"))

    first, windows = Windows().judge(each(messages[:cut]))
    second, windows = Windows.from_frame(windows.to_frame()).judge(each(messages[cut:]))
    assert [*first.tolist(), *second.tolist()] == judged_one_by_one(messages)
    assert Windows.from_frame(windows.to_frame()) == windows
    assert set(windows.to_frame()["key_id"]) <= set(each([]).key_names)


@pytest.mark.parametrize("cuts", [(), (3_000, 6_000, 9_000), (9_999, 10_000, 10_001)])
def test_of_wrapped_keys_as_many_are_kept_as_the_bound_says_and_one_more_is_refused(cuts):
    sent = [(TITLES[0], (7 * key) % 12_007, 0) for key in range(12_000)]
    windows, verdicts = Windows(), []
    for first, after in zip((0, *cuts), (*cuts, len(sent)), strict=True):
        told, windows = windows.judge(wrapped(sent[first:after]))
        verdicts += told.tolist()
    assert verdicts == [FRESH] * MAX_WRAPPED + [BEYOND] * (len(sent) - MAX_WRAPPED)
    again = Windows.from_frame(windows.to_frame())
    assert again == windows and len(windows) == MAX_WRAPPED
    for each in (windows, again):  # none has left: what was recorded is known, and what was refused stays so
        assert each.judge(wrapped(sent))[0].tolist() == [COPY] * MAX_WRAPPED + [BEYOND] * (len(sent) - MAX_WRAPPED)
        known_and_new = [(TITLES[0], sent[5][1], 100), (TITLES[0], 13_000, 0), (TITLES[0], sent[5][1], 1)]
        assert each.judge(wrapped(known_and_new))[0].tolist() == [FRESH, BEYOND, REPLAY]


def test_another_meter_lane_or_master_key_has_room_of_its_own_and_so_have_keys_that_the_meter_holds():
    _, windows = Windows().judge(wrapped([(TITLES[0], key, 0) for key in range(MAX_WRAPPED)]))
    one_more = [(TITLES[0], MAX_WRAPPED, 0)]
    assert windows.judge(wrapped(one_more))[0].tolist() == [BEYOND]
    others = (
        wrapped([(TITLES[1], MAX_WRAPPED, 0)]), wrapped(one_more, master=2), streams([(TITLES[0], 0, 0, 0, 1)]),
        wrapped(one_more)._replace(lane_names=("ami.lastgasp.v1",)),
    )  # fmt: skip
    assert [windows.judge(each)[0].tolist() for each in others] == [[FRESH]] * 4


def test_tens_of_thousands_of_wrapped_keys_of_one_meter_are_judged_in_linear_time():
    sent = wrapped([(TITLES[0], key, 0) for key in range(40_000)])
    _, windows = Windows().judge(sent)
    begun = time.perf_counter()
    windows.judge(sent)
    assert time.perf_counter() - begun < 5.0


def test_the_names_of_many_wrapped_keys_are_loaded_in_linear_time():
    number = pl.Series(range(1, 150_001))
    columns = {
        "topic": pl.repeat("ami.frames.v1", len(number), eager=True),
        "system_title": titles_to_hex((number // 10_000).to_numpy().astype(np.uint64)),
        "key_id": "wrapped/1/" + titles_to_hex(number.to_numpy().astype(np.uint64)),
        "counter": number,
        "digest": number,
    }
    begun = time.perf_counter()
    assert len(Windows.from_frame(pl.DataFrame(columns))) == len(number)
    assert time.perf_counter() - begun < 20.0


def test_a_batch_costs_what_it_touches_not_what_the_worker_knows():
    known, few = 60_000, 500

    def heard(first, counter):
        title = (np.arange(first, first + few) * 7919 % known + 1).astype(np.uint64)
        lane, digest = np.zeros(few, np.int64), title + np.uint64(counter)
        return Streams(title, lane, lane, np.full(few, counter), digest, ("guek/1",), ("ami.frames.v1",))

    windows = Windows()
    for first in range(0, known, few):
        windows = windows.judge(heard(first, 1))[1]
    assert len(windows) == known
    peaks = []
    for first in range(0, known // 4, few):
        tracemalloc.start()
        verdicts, windows = windows.judge(heard(first, 2))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert (verdicts == FRESH).all()
    assert sorted(peaks)[len(peaks) // 2] < 8 * few * 9 * WINDOW  # eight times the windows of the batch
