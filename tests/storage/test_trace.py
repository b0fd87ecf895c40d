"""From a bill down to the bytes."""

import json
from datetime import timedelta

import polars as pl
from storage_rows import T0, intervals, rows_of

from schemas.codes import RULE_BIT, Rule, Status
from schemas.frames import DETERMINANTS, RAW_FRAMES
from storage.store import ReadingStore
from storage.tables import TABLES
from storage.trace import explain

PLACE = ["topic", "partition", "offset", "frame"]


def test_a_value_is_explained_from_the_ledger_down_to_the_bytes_of_its_message(store: ReadingStore) -> None:
    raw = intervals([1000, 2000], interval_start=T0, status=[0, int(Status.POWER_FAIL | Status.CLOCK_SET)])
    store.append("intervals", raw, "i")
    store.append("frames", frames_of(raw), "m")
    for version, bits in ((1, 1 << RULE_BIT[Rule.SPIKE]), (2, 0)):
        store.append("finals", final(version, bits), f"f{version}")
    store.append("billing_ledger", ledger(), "l")

    answer = explain(store.load_evidence("SIM00000001", T0, 900), "SIM00000001", T0)

    assert [(value["value_milli"], value["current"]) for value in answer["raw"]] == [(1000, False), (2000, True)]
    assert answer["raw"][1]["status"] == ["power_fail", "clock_set"]
    assert [(row["version"], row["current"], row["failed"]) for row in answer["finals"]] == [
        (1, False, ["spike"]),
        (2, True, []),
    ]
    assert answer["messages"][1]["payload"] == "0001ff01"
    assert answer["ledger"][0]["batch_id"] == "b"
    assert len(answer["story"]) == 1 + 2 + 2 + 2
    assert json.loads(json.dumps(answer)) == answer


def test_an_interval_of_which_nothing_is_known_says_so(store: ReadingStore) -> None:
    answer = explain(store.load_evidence("SIM00000001", T0, 900), "SIM00000001", T0)
    assert answer["story"] == ["no raw value of this interval ever arrived"]
    assert answer["interval_start"] == "2025-03-30T00:00:00.123456Z"


def test_messages_beyond_their_retention_are_told_as_such(store: ReadingStore) -> None:
    store.append("intervals", intervals([1]), "i")
    answer = explain(store.load_evidence("SIM00000001", T0, 900), "SIM00000001", T0)
    assert answer["story"][-1] == "the messages themselves are no longer kept"


def test_registers_at_both_ends_of_the_interval_are_shown(store: ReadingStore) -> None:
    ends = pl.concat([
        intervals([value], offset=[value]).rename({"interval_start": "read_at"}).drop("interval_s").with_columns(
            read_at=pl.lit(T0 + timedelta(minutes=minutes))
        )
        for value, minutes in ((7, 0), (9, 15), (11, 30))
    ])  # fmt: skip
    store.append("reads", ends, "r")
    answer = explain(store.load_evidence("SIM00000001", T0, 900), "SIM00000001", T0)
    assert [read["value_milli"] for read in answer["reads"]] == [7, 9]


def frames_of(rows: pl.DataFrame) -> pl.DataFrame:
    payload = pl.Series("payload", [bytes([0, 1, 255, i]) for i in range(rows.height)])
    return rows.select(*PLACE, "received_at").with_columns(payload).select(*RAW_FRAMES.schema)


def final(version: int, failed: int) -> pl.DataFrame:
    row = rows_of(TABLES["finals"], 2).head(1)
    return row.with_columns(
        meter_id=pl.lit("SIM00000001"),
        version=pl.lit(version, dtype=pl.Int64),
        failed=pl.lit(failed, dtype=pl.UInt64),
        unjudged=pl.lit(0, dtype=pl.UInt64),
    )


def ledger() -> pl.DataFrame:
    row = rows_of(TABLES["billing_ledger"], 2).head(1)
    changes = {"meter_id": "SIM00000001", "batch_id": "b", "period_start": T0, "period_end": T0 + timedelta(days=30)}
    return row.with_columns(
        pl.lit(value).cast(DETERMINANTS.schema[name]).alias(name) for name, value in changes.items()
    )
