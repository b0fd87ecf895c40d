"""Records of the outage worker's journal: whole again out of their parts, and only those of the worker in charge."""

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from outage_logs import T0, life, log, told

from outage import stream_record
from outage.stream_record import Folding, Kind, Memory, Part, Record, cut_record, read_part
from schemas.errors import ContractError, TerminalError


def record(number: int, epoch: int = 1, kind: Kind = Kind.STEP, meters: int = 3) -> Record:
    names = [f"M{number}-{i}" for i in range(meters)]
    memory = Memory.nothing()._replace(events=log(told(names, "power_down", T0)), reads=life(names, T0))
    return Record(kind, epoch, number, 7, {"ami.events.v1": {0: number, 11: 4}}, memory)


def folded(parts: list[Part]) -> list[Record]:
    folding = Folding()
    taken = [folding.take(i, read_part(part.key(), part.value)) for i, part in enumerate(parts)]
    return [record for record in taken if record is not None]


def same(a: Record, b: Record) -> bool:
    frames = zip(a.memory, b.memory, strict=True)
    return a[:-1] == b[:-1] and all(x is y if x is None or y is None else x.equals(y) for x, y in frames)


@pytest.mark.parametrize("octets", [50, 999, 800_000])
def test_a_record_is_whole_again_whatever_the_size_of_its_parts(octets: int, monkeypatch) -> None:
    monkeypatch.setattr(stream_record, "PART_OCTETS", octets)
    parts = cut_record(record(1), 0)
    assert all(len(part.value) <= octets for part in parts)
    (again,) = folded(parts)
    assert same(again, record(1))


def test_unchanged_anchors_are_told_from_none() -> None:
    none = record(1)._replace(memory=record(1).memory._replace(anchors=Memory.nothing().anchors))
    unchanged = record(1)._replace(memory=record(1).memory._replace(anchors=None))
    assert folded(cut_record(none, 0))[0].memory.anchors is not None
    assert folded(cut_record(unchanged, 0))[0].memory.anchors is None


def test_what_an_overtaken_worker_writes_behind_a_claim_counts_for_nothing() -> None:
    claim = Record(Kind.CLAIM, 2, 0, 0, {}, Memory.nothing())
    parts = [*cut_record(record(1), 0), *cut_record(claim, 0), *cut_record(record(2, meters=9), 0),
             *cut_record(record(2, epoch=2), 0)]  # fmt: skip
    assert [(r.number, r.epoch, r.memory.events.height) for r in folded(parts)] == [(1, 1, 3), (2, 2, 3)]


def test_of_two_claims_of_one_epoch_the_first_counts() -> None:
    claim = cut_record(Record(Kind.CLAIM, 2, 0, 0, {}, Memory.nothing()), 0)[0]
    folding = Folding()
    for offset in (5, 6):
        folding.take(offset, claim)
    assert folding.claimed_at == 5


@given(st.integers(0, 30), st.integers(1, 30))
def test_a_record_broken_off_is_left_out_and_may_be_written_again(kept: int, octets: int) -> None:
    before = stream_record.PART_OCTETS
    stream_record.PART_OCTETS = octets * 100
    try:
        first, second = cut_record(record(1), 0), cut_record(record(2), 0)
    finally:
        stream_record.PART_OCTETS = before
    assert [r.number for r in folded([*first, *second[: min(kept, len(second) - 1)], *second])] == [1, 2]


def test_a_record_written_twice_counts_once() -> None:
    parts = cut_record(record(1), 0)
    assert len(folded([*parts, *parts, *cut_record(record(2), 0)])) == 2


@pytest.mark.parametrize("numbers", [(2,), (1, 3)])
def test_a_missing_batch_stops_the_worker(numbers: tuple[int, ...]) -> None:
    with pytest.raises(TerminalError, match="lacks batches"):
        folded([part for number in numbers for part in cut_record(record(number), 0)])


def test_reading_may_begin_with_a_snapshot_and_its_place_is_told_to_later_records() -> None:
    folding = Folding(40)
    snapshot = cut_record(record(17, kind=Kind.SNAPSHOT), 0)
    assert folding.take(40, snapshot[0]) is not None
    assert folding.take(41, cut_record(record(18), 40)[0]) is not None
    assert folding.base == 40


def test_a_foreign_message_is_refused() -> None:
    for key in (None, b"", b"[]", b'["step",1,2]', b"\xff"):
        with pytest.raises(ContractError, match="foreign"):
            read_part(key, b"")
    with pytest.raises(ContractError, match="cannot be read"):
        folded([Part(Kind.STEP, 1, 1, 0, 1, 0, b"rubbish")])


def test_frames_come_back_in_their_own_types() -> None:
    (again,) = folded(cut_record(record(1), 0))
    assert again.memory.events.schema == record(1).memory.events.schema
    assert again.memory.outages.schema == Memory.nothing().outages.schema
    assert isinstance(again.memory.reads["read_at"].dtype, pl.Datetime)
