"""What a journal of outages promises to the worker: tests of whatever `journals` are given, in memory or in Kafka.

`journals()` opens one more on the same log, which is empty when a test begins.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import polars as pl

from outage.stream_record import Kind, Memory, Record
from schemas.frames import HEARD, conform

Journals = Callable[[], Any]
T0 = datetime(2026, 1, 10, 10, tzinfo=UTC)


def step(number: int, kind: Kind = Kind.STEP) -> Record:
    heard = conform(pl.DataFrame({"meter_id": [f"M{number}"], "read_at": [T0]}), HEARD)
    return Record(kind, 0, number, number * 5, {"t": {0: number}}, Memory.nothing()._replace(reads=heard))


def told(records: list[Record]) -> list[tuple[Kind, int]]:
    return [(record.kind, record.number) for record in records]


def test_what_was_written_is_read_back_in_its_order_with_all_it_says(journals: Journals) -> None:
    first = journals()
    assert first.claim() == []
    assert all(first.append(step(number)) for number in (1, 2, 3))
    first.close()
    second = journals()
    back = second.claim()
    assert told(back) == [(Kind.STEP, 1), (Kind.STEP, 2), (Kind.STEP, 3)]
    for record, number in zip(back, (1, 2, 3), strict=True):
        written = step(number)
        assert (record.as_of, record.positions) == (written.as_of, written.positions)
        assert record.memory.reads.equals(written.memory.reads)
        assert record.epoch == first.epoch
    second.close()


def test_a_record_that_is_written_again_is_read_once(journals: Journals) -> None:
    first = journals()
    first.claim()
    assert first.append(step(1))
    assert first.append(step(1)), "written again after a lost answer"
    assert first.append(step(2))
    second = journals()
    assert told(second.claim()) == [(Kind.STEP, 1), (Kind.STEP, 2)]
    first.close()
    second.close()


def test_of_two_the_later_claim_counts_and_the_other_is_told_so(journals: Journals) -> None:
    first, second = journals(), journals()
    first.claim()
    assert first.append(step(1))
    assert told(second.claim()) == [(Kind.STEP, 1)]
    assert second.epoch > first.epoch
    assert not first.append(step(2)._replace(as_of=99))
    assert second.append(step(2))
    assert not first.append(step(3))
    third = journals()
    back = third.claim()
    assert [record.as_of for record in back] == [5, 10], "what the overtaken one wrote counts for nothing"
    for journal in (first, second, third):
        journal.close()


def test_one_that_was_overtaken_may_claim_again(journals: Journals) -> None:
    first, second = journals(), journals()
    first.claim()
    second.claim()
    assert second.append(step(1))
    assert not first.append(step(1))
    assert told(first.claim()) == [(Kind.STEP, 1)]
    assert first.append(step(2))
    assert not second.append(step(2))
    first.close()
    second.close()


def test_reading_begins_at_the_newest_snapshot(journals: Journals) -> None:
    first = journals()
    first.claim()
    for record in (step(1), step(1, Kind.SNAPSHOT), step(2), step(2, Kind.SNAPSHOT), step(3)):
        assert first.append(record)
    second = journals()
    assert told(second.claim()) == [(Kind.SNAPSHOT, 2), (Kind.STEP, 3)]
    first.close()
    second.close()
