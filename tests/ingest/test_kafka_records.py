"""Kafka messages as frames."""

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from ingest.dlms.framing import wrap_wpdu
from ingest.kafka.records import Records, frames_of_records, in_place_order
from schemas.frames import RAW_FRAMES, conform
from storage.runs import run_starts


def of(*values: bytes | None) -> Records:
    return Records("t", 3, range(7, 7 + len(values)), [1_743_292_800_123] * len(values), values)


def test_a_message_of_many_frames_gives_a_row_for_each_with_its_ordinal() -> None:
    one, two, three = wrap_wpdu(b"\x0f1"), wrap_wpdu(b"\x0f22"), wrap_wpdu(b"\x0f")
    frames = conform(frames_of_records(of(one + two, three)), RAW_FRAMES)
    assert frames.select("offset", "frame", "payload").rows() == [(7, 0, one), (7, 1, two), (8, 0, three)]
    assert frames["partition"].unique().to_list() == [3]
    assert frames["received_at"][0].isoformat() == "2025-03-30T00:00:00.123000+00:00"


def test_a_message_without_bytes_is_a_frame_without_bytes() -> None:
    assert frames_of_records(of(b"", None))["payload"].to_list() == [b"", b""]
    assert frames_of_records(of()).is_empty()


def test_parts_of_several_partitions_and_topics_are_one_column_after_the_other() -> None:
    one, two, three = wrap_wpdu(b"\x0f1"), wrap_wpdu(b"\x0f22"), b"rubbish"
    parts = (Records("t", 3, [5, 9], [1, 2], [one + two, three]), Records("u", 0, [7], [3], [two]), of(), of(one))
    frames = conform(frames_of_records(*parts), RAW_FRAMES)
    assert frames.equals(pl.concat([frames_of_records(part) for part in parts]))
    assert frames.select("topic", "partition", "offset", "frame", "payload").rows() == [
        ("t", 3, 5, 0, one), ("t", 3, 5, 1, two), ("t", 3, 9, 0, three), ("u", 0, 7, 0, two), ("t", 3, 7, 0, one)
    ]  # fmt: skip
    assert conform(frames_of_records(), RAW_FRAMES).is_empty()


def test_bytes_after_the_last_whole_frame_are_a_frame_of_their_own() -> None:
    whole = wrap_wpdu(b"\x0fabc")
    assert frames_of_records(of(whole + whole[:-1]))["payload"].to_list() == [whole, whole[:-1]]


@given(st.lists(st.one_of(st.binary(max_size=60), st.binary(max_size=30).map(wrap_wpdu)), max_size=6))
def test_no_byte_is_lost_and_no_message_swallows_another(values: list[bytes]) -> None:
    frames = frames_of_records(of(*values))
    again = [b"".join(frames.filter(frames["offset"] == 7 + i)["payload"]) for i in range(len(values))]
    assert again == values


TOPICS = st.sampled_from(["t", "a.topic.of.many.letters"])


@given(st.lists(st.tuples(TOPICS, st.integers(0, 3), st.integers(1, 3)), max_size=12))
def test_frames_of_several_polls_stand_by_place_and_those_of_a_partition_as_they_came(
    polled: list[tuple[str, int, int]],
) -> None:
    one, ends, parts = wrap_wpdu(b"\x0f1"), dict[tuple[str, int], int](), []
    for topic, partition, messages in polled:
        first = ends.get((topic, partition), 0)
        ends[topic, partition] = first + messages
        offsets = range(first, first + messages)
        parts.append(frames_of_records(Records(topic, partition, offsets, [9] * messages, [one + one] * messages)))
    came = pl.concat([RAW_FRAMES.empty(), *parts])
    ordered = in_place_order(came)
    assert ordered.equals(came.sort("topic", "partition", "offset", "frame"))
    assert len(run_starts(ordered["topic"])) == len({topic for topic, _, _ in polled})
    # As they came, not by offset: what is read again from an earlier place stays behind.
    backwards = came.with_columns(offset=-pl.col("offset"))
    assert in_place_order(backwards).equals(backwards.sort("topic", "partition", maintain_order=True))
