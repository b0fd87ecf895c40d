from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from app.scores import energy_error, score_outages

AT = datetime(2026, 3, 2, tzinfo=UTC)


def _values(values: list[int | None]) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "meter_id": "M1",
            "channel": "energy_delivered",
            "interval_start": [AT + timedelta(hours=n) for n in range(len(values))],
            "value_milli": values,
        },
        schema_overrides={"value_milli": pl.Int64},
    )


def test_the_error_counts_both_directions_and_the_bias_cancels_them():
    scored = energy_error(_values([110, 90, None]), _values([100, 100, 100]))
    assert scored["energy_error"] == pytest.approx(120 / 300)
    assert scored["energy_bias"] == pytest.approx(-100 / 300)


def test_no_energy_is_no_error():
    assert energy_error(_values([]), _values([]))["energy_error"] == 0


def _outages(rows: list[tuple]) -> pl.DataFrame:
    columns = ["incident_id", "step", "state", "node_id", "started_at", "restored_at"]
    return pl.DataFrame(rows, schema=columns, orient="row", infer_schema_length=None)


def test_an_incident_is_found_at_its_node_and_time_only():
    truth = pl.DataFrame(
        {"node_id": ["T1", "T2", "T3"], "started_at": [AT] * 3, "restored_at": [AT + timedelta(hours=1)] * 3,
         "momentary": [False, False, True]}
    )  # fmt: skip
    found = _outages(
        [
            ("a", 0, "reported", "T1", AT, None),
            ("a", 1, "restored", "T1", AT, AT + timedelta(minutes=50)),
            ("b", 0, "restored", "T2", AT + timedelta(hours=5), AT + timedelta(hours=6)),
            ("c", 0, "merged", "T9", AT, None),
        ]
    )
    assert score_outages(found, truth) == {"true": 2, "reported": 2, "found": 1, "wrong": 1}
