from datetime import UTC, datetime

import polars as pl
import pytest

from schemas import frames
from schemas.errors import ContractError

AT = datetime(2026, 3, 2, tzinfo=UTC)


def _intervals(**change: object) -> pl.DataFrame:
    row = {
        "topic": "ami.frames.v1", "partition": 0, "offset": 7, "frame": 0, "received_at": AT, "meter_id": "M1",
        "channel": "energy_delivered", "obis": None, "interval_start": AT, "interval_s": 900, "value_milli": 0,
        "status": 0,
    } | change  # fmt: skip
    return pl.DataFrame({name: [value] for name, value in row.items()})


@pytest.mark.parametrize("frame", frames.FRAMES, ids=lambda frame: frame.name)
def test_an_empty_frame_conforms_and_survives_parquet(frame, tmp_path):
    path = tmp_path / "frame.parquet"
    frame.empty().write_parquet(path)
    assert frames.conform(pl.read_parquet(path), frame).schema == frame.schema


def test_every_raw_frame_carries_its_provenance():
    for frame in (frames.RAW_FRAMES, frames.INTERVALS, frames.READS, frames.EVENTS, frames.REJECTS):
        assert tuple(frame.schema)[:5] == frames.PROVENANCE
    assert set(frames.RAW_ORDER) == set(frames.PROVENANCE)


def test_strings_become_enums_and_integers_the_contracted_width():
    rows = frames.conform(_intervals(), frames.INTERVALS)
    assert rows.schema == frames.INTERVALS.schema
    assert rows["value_milli"].to_list() == [0]


def test_columns_that_the_frame_does_not_know_are_left_out():
    assert "extra" not in frames.conform(_intervals(extra=1), frames.INTERVALS).columns


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"channel": "energy"}, "INTERVALS.channel"),
        ({"interval_start": datetime(2026, 3, 2)}, "INTERVALS.interval_start"),
        ({"value_milli": 1.5}, "INTERVALS.value_milli"),
        ({"meter_id": None}, "INTERVALS.meter_id: 1 null"),
        ({"status": -1}, "INTERVALS.status"),
        ({"partition": 2**40}, "INTERVALS.partition"),
    ],
)
def test_what_does_not_fit_is_named(change, said):
    with pytest.raises(ContractError, match=said):
        frames.conform(_intervals(**change), frames.INTERVALS)


def test_an_absent_column_is_named_and_an_optional_one_is_null():
    with pytest.raises(ContractError, match=r"INTERVALS\.status: column is absent"):
        frames.conform(_intervals().drop("status"), frames.INTERVALS)
    assert frames.conform(_intervals().drop("obis"), frames.INTERVALS)["obis"].null_count() == 1
