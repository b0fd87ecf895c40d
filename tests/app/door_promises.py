"""What every source and publisher promises to a lane: tests of whatever `doors` are given, in memory or to Kafka."""

from collections.abc import Callable
from typing import Any, NamedTuple

import polars as pl

MESSAGES, FRAMES, PARTITIONS = 40, 3, 2
PATIENCE = 1500


def wpdu(number: int) -> bytes:
    return bytes([0, 1, 0, 1, 0, 16, 0, 4]) + number.to_bytes(4, "big")


class Doors(NamedTuple):
    """A log of `MESSAGES` messages of `FRAMES` frames on `PARTITIONS` partitions.

    `source()` reads it as the member of one group: another one goes on where the last has committed. `publisher()`
    writes elsewhere, and `published()` is what stands there.
    """

    source: Callable[[], Any]
    publisher: Callable[[], Any]
    published: Callable[[], list[bytes]]


def polled(source: Any, wanted: int, *, most: int = 7, commit: bool = False) -> list[Any]:
    """Polls until so many frames came."""
    polls: list[Any] = []
    for _ in range(PATIENCE):
        polls.append(source.poll(0.1, most))
        if commit:
            source.commit(polls[-1].spans)
        if frames_of(polls).height >= wanted:
            return polls
    raise AssertionError(f"{frames_of(polls).height} of {wanted} frames came")


def frames_of(polls: list[Any]) -> pl.DataFrame:
    return pl.concat([poll.frames() for poll in polls])


def test_every_frame_comes_once_whole_messages_ascending_in_each_partition(doors: Doors) -> None:
    source = doors.source()
    polls = polled(source, MESSAGES * FRAMES)
    frames = frames_of(polls)
    assert sorted(frames["payload"]) == [wpdu(i) for i in range(MESSAGES * FRAMES)]
    for poll in polls:
        told = poll.frames()
        messages = told.group_by("topic", "partition", "offset").agg(pl.col("frame").sort())
        assert messages.height <= 7
        assert all(numbers.to_list() == list(range(FRAMES)) for numbers in messages["frame"])
    for _, part in frames.group_by("partition"):
        assert part["offset"].is_sorted()
    source.close()


def test_the_spans_of_a_poll_are_its_messages_without_a_gap(doors: Doors) -> None:
    source = doors.source()
    at: dict[tuple[str, int], int] = {}
    for poll in polled(source, MESSAGES * FRAMES):
        at.update({(position.topic, position.partition): position.offset for position in poll.assigned})
        for span in poll.spans:
            place = (span.topic, span.partition)
            assert span.first == at[place]
            offsets = poll.frames().filter(pl.col("partition") == span.partition)["offset"]
            assert (offsets.min(), offsets.max()) == (span.first, span.next - 1)
            at[place] = span.next
    assert sum(at.values()) == MESSAGES
    source.close()


def test_what_was_committed_does_not_come_again_and_all_else_does(doors: Doors) -> None:
    first = doors.source()
    done = frames_of(polled(first, 20, commit=True))
    polled(first, 15)  # read and never committed
    first.close()
    second = doors.source()
    rest = frames_of(polled(second, MESSAGES * FRAMES - done.height))
    assert sorted([*done["payload"], *rest["payload"]]) == [wpdu(i) for i in range(MESSAGES * FRAMES)]
    second.close()


def test_a_commit_says_of_which_partitions_it_was(doors: Doors) -> None:
    source = doors.source()
    for poll in polled(source, MESSAGES * FRAMES):
        assert source.commit(poll.spans) == {(span.topic, span.partition) for span in poll.spans}
    assert source.commit(()) == frozenset()
    source.close()


def test_while_paused_and_kept_alive_nothing_comes_and_afterwards_all_of_it(doors: Doors) -> None:
    source = doors.source()
    before = polled(source, 1)
    source.pause()
    quiet = [source.keep_alive() for _ in range(5)]
    assert all(not poll.spans and poll.frames().is_empty() for poll in quiet)
    source.resume()
    after = polled(source, MESSAGES * FRAMES - frames_of(before).height)
    assert sorted(frames_of([*before, *after])["payload"]) == [wpdu(i) for i in range(MESSAGES * FRAMES)]
    source.close()


def test_the_lag_is_what_was_not_committed_yet(doors: Doors) -> None:
    source = doors.source()
    polls = polled(source, MESSAGES * FRAMES)
    assert sum(source.lag().values()) == MESSAGES, "what a delivery that hangs holds still waits"
    half, rest = polls[: len(polls) // 2], polls[len(polls) // 2 :]
    for poll in half:
        source.commit(poll.spans)
    left = sum(span.next - span.first for poll in rest for span in poll.spans)
    assert 0 < left < MESSAGES
    assert sum(source.lag().values()) == left
    for poll in rest:
        source.commit(poll.spans)
    assert sum(source.lag().values()) == 0
    source.close()


def shared_by(first: Any, second: Any) -> tuple[list[Any], list[Any]]:
    """Polls both members by turns until each owns a partition; what each of them was told."""
    told: tuple[list[Any], list[Any]] = ([], [])
    for _ in range(PATIENCE):
        for source, polls in zip((first, second), told, strict=True):
            polls.append(source.poll(0.1, 7))
        if any(poll.revoked for poll in told[0]) and owned(told[1]):
            return told
    raise AssertionError("the second member was given no partition")


def owned(polls: list[Any]) -> set[tuple[str, int]]:
    """What is owned after polls that began with nothing."""
    mine: set[tuple[str, int]] = set()
    for poll in polls:
        mine = mine - poll.revoked | {(won.topic, won.partition) for won in poll.assigned}
    return mine


def spans_of(polls: list[Any]) -> list[Any]:
    return [span for poll in polls for span in poll.spans]


def test_of_a_partition_that_another_takes_nothing_is_committed_and_the_new_owner_reads_all_of_it(doors: Doors) -> None:
    first = doors.source()
    held = polled(first, MESSAGES * FRAMES)
    places = owned(held)
    second = doors.source()
    ours, theirs = shared_by(first, second)
    told = {place for poll in ours for place in poll.revoked}
    (taken,) = owned(theirs)
    assert taken in told
    assert first.commit(spans_of(held)) == places - told, "of what was ours all the time, and of nothing else"
    theirs += polled(second, MESSAGES // PARTITIONS * FRAMES - frames_of(theirs).height)
    there = frames_of(theirs)
    assert set(there["partition"]) == {taken[1]}
    assert sorted(there["payload"]) == sorted(frames_of(held).filter(pl.col("partition") == taken[1])["payload"])
    assert second.commit(spans_of(theirs)) == {taken}
    first.close()
    second.close()


def test_a_partition_that_comes_back_is_read_from_where_the_other_committed_in_a_new_term(doors: Doors) -> None:
    first = doors.source()
    held = polled(first, MESSAGES // PARTITIONS * FRAMES + 1)  # of both partitions, and not all of them
    second = doors.source()
    ours, theirs = shared_by(first, second)
    theirs += polled(second, 1)
    (taken,) = owned(theirs)
    lost = next(number for number, poll in enumerate(ours) if taken in poll.revoked)
    assert taken[1] not in frames_of(ours[lost:])["partition"], "what was not given out yet is the other one's"
    done = next(span for span in spans_of(theirs))
    assert second.commit([done]) == {taken}
    second.close()
    back: list[Any] = []
    left = (MESSAGES // PARTITIONS - done.next) * FRAMES
    for _ in range(PATIENCE):
        back.append(first.poll(0.1, 7))
        again = frames_of(back).filter(pl.col("partition") == taken[1])
        if again.height >= left:
            break
    begun = [won.offset for poll in back for won in poll.assigned if (won.topic, won.partition) == taken]
    assert begun == [done.next]
    assert again["offset"].unique().sort().to_list() == list(range(done.next, MESSAGES // PARTITIONS))
    assert again.height == left, "nothing is given out twice"
    assert taken not in first.commit(spans_of(held)), "what was polled in the former term"
    assert taken in first.commit(spans_of(back))
    first.close()


def test_what_is_ours_anew_is_read_from_where_it_was_told_though_it_was_read_further_before(doors: Doors) -> None:
    first = doors.source()
    held = polled(first, MESSAGES * FRAMES)  # and nothing is committed
    places = owned(held)
    second = doors.source()
    ours, theirs = shared_by(first, second)
    (stayed,) = places - owned(theirs)
    for _ in range(PATIENCE):
        if stayed in owned([*held, *ours]):
            break
        ours.append(first.poll(0.1, 7))
    begun = [won.offset for poll in ours for won in poll.assigned]
    if begun:  # a source may as well leave it with its owner, and tell of nothing
        assert begun == [0]
        ours += polled(first, MESSAGES // PARTITIONS * FRAMES - frames_of(ours).height)
        again = frames_of(ours)
        assert again["offset"].unique().sort().to_list() == list(range(MESSAGES // PARTITIONS))
        assert again.height == MESSAGES // PARTITIONS * FRAMES, "nothing is given out twice"
        assert first.commit(spans_of(ours)) == {stayed}
    first.close()
    second.close()


def test_what_a_flush_returned_from_is_there_in_the_order_of_its_key(doors: Doors) -> None:
    publisher = doors.publisher()
    rows = pl.DataFrame({"key": ["a", "b", "a", "a"], "value": [b"1", b"2", b"3", b"4"]})
    assert publisher.publish("out", rows) == 4
    publisher.flush()
    there = doors.published()
    assert sorted(there) == [b"1", b"2", b"3", b"4"]
    assert [value for value in there if value != b"2"] == [b"1", b"3", b"4"]
    publisher.flush()
    assert len(doors.published()) == 4
    publisher.close()


def test_a_key_belongs_to_one_partition_whoever_asks_and_how_often(doors: Doors) -> None:
    first, second = doors.publisher(), doors.publisher()
    keys = [bytes([65 + i]) * (i + 1) for i in range(12)]
    places = [first.partition_for("out", key) for key in keys]
    assert [second.partition_for("out", key) for key in [*keys, *keys]] == [*places, *places]
    assert min(places) >= 0
    first.close()
    second.close()


def log_of_messages() -> pl.DataFrame:
    """The log as RAW_FRAMES: message `i` lies on partition `i % PARTITIONS`."""
    return pl.DataFrame(
        {
            "topic": "in",
            "partition": [i % PARTITIONS for i in range(MESSAGES) for _ in range(FRAMES)],
            "offset": [i // PARTITIONS for i in range(MESSAGES) for _ in range(FRAMES)],
            "frame": [k for _ in range(MESSAGES) for k in range(FRAMES)],
            "payload": [wpdu(i) for i in range(MESSAGES * FRAMES)],
        },
        schema_overrides={"partition": pl.Int32, "offset": pl.Int64, "frame": pl.Int32},
    ).sort("partition", "offset", "frame")
