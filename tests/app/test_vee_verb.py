"""`ami vee --explain` and `--compare-rules` from outside."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from app.cli import main
from schemas.frames import DETERMINANTS, EDITS

MONDAY = datetime(2025, 3, 3, tzinfo=UTC)


@pytest.fixture
def day(tmp_path: Path) -> Path:
    """A day of an invented meter: a lost hour, and an evening three times as high as any other hour."""
    values = [1_000_000] * 18 + [3_000_000] + [1_000_000] * 5
    rows = pl.DataFrame(
        {
            "meter_id": ["MTR1"] * 48,
            "interval_start": [MONDAY + timedelta(hours=k) for k in range(48)],
            "value_milli": [1_000_000 + k for k in range(24)] + values,
        }
    ).with_columns(
        topic=pl.lit("t"), partition=pl.lit(0, pl.Int32), offset=pl.lit(0, pl.Int64), frame=pl.lit(0, pl.Int32),
        received_at=pl.lit(MONDAY), channel=pl.lit("energy_delivered"), interval_s=pl.lit(3600, pl.Int32),
        status=pl.lit(0, pl.UInt32),
    )  # fmt: skip
    rows.filter(pl.col("interval_start") != MONDAY + timedelta(hours=5)).write_parquet(tmp_path / "intervals.parquet")
    return tmp_path


def vee(folder: Path, *more: str) -> int:
    where = ["--judged-at", "2025-04-01", "--out", str(folder / "out"), "--json"]
    return main(["vee", str(folder / "intervals.parquet"), *where, *more])


def test_a_value_is_explained_in_words_and_numbers(day: Path, capsys: pytest.CaptureFixture[str]):
    assert vee(day, "--explain", "MTR1", "2025-03-03") == 0
    told = json.loads(capsys.readouterr().out)["explain"]
    assert len(told["lines"]) == 24
    assert "1000005 (sent nothing): estimated: on the straight line" in told["lines"][5]
    assert "between 1000004 at 2025-03-03T04:00Z before and 1000006 at 2025-03-03T06:00Z behind" in told["lines"][5]
    assert "V3 missing interval" in told["lines"][5]
    assert "1000004 (sent 1000004): measured and used as it came" in told["lines"][4]
    assert any(line.startswith("missing_interval (error)") for line in told["findings"])


def test_ends_and_advance_behind_an_estimate_are_told_from_outside(day: Path, capsys: pytest.CaptureFixture[str]):
    """The first day's 23 hours sum to 23 000 271, the register moved by 25 000 271: 2 000 000 are left."""
    register = pl.DataFrame(
        {
            "meter_id": ["MTR1"] * 2, "channel": ["energy_delivered"] * 2, "value_milli": [7_000_000, 32_000_271],
            "read_at": [MONDAY, MONDAY + timedelta(days=1)], "topic": ["t"] * 2, "received_at": [MONDAY] * 2,
        }
    ).with_columns(
        partition=pl.lit(0, pl.Int32), offset=pl.lit(0, pl.Int64), frame=pl.lit(0, pl.Int32),
        status=pl.lit(0, pl.UInt32),
    )  # fmt: skip
    register.write_parquet(day / "reads.parquet")
    assert vee(day, "--reads", str(day / "reads.parquet"), "--explain", "MTR1", "2025-03-03") == 0
    line = json.loads(capsys.readouterr().out)["explain"]["lines"][5]
    for part in (
        "2000000 (sent nothing): estimated: on the straight line",
        "between 1000004 at 2025-03-03T04:00Z before and 1000006 at 2025-03-03T06:00Z behind, which gives 1000005",
        "register 7000000 at 2025-03-03T00:00Z and 32000271 at 2025-03-04T00:00Z, advance 25000271, known 23000271",
        "2000000 for 1 estimates, moved to 2000000",
    ):
        assert part in line, line


def test_the_numbers_of_a_finding_are_told(day: Path, capsys: pytest.CaptureFixture[str]):
    assert vee(day, "--explain", "MTR1", "2025-03-04") == 0
    told = json.loads(capsys.readouterr().out)["explain"]
    assert "(sent 3000000): estimated" in told["lines"][18]
    assert any("measured 3000000, limit 2800000" in line for line in told["findings"] if line.startswith("spike"))


@pytest.mark.parametrize(("meter", "when"), [("MTR1", "2025-02-30"), ("MTR9", "2025-03-03"), ("MTR1", "2024-03-03")])
def test_what_cannot_be_explained_is_said_in_one_line(
    day: Path, meter: str, when: str, capsys: pytest.CaptureFixture[str]
):
    assert vee(day, "--explain", meter, when) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_a_changed_rule_set_is_tried_without_writing_finals(day: Path, capsys: pytest.CaptureFixture[str]):
    (day / "rules.toml").write_text('[[rule_set]]\nname = "wider"\n[rule_set.rules.spike]\npercent = 200\n')
    assert vee(day, "--compare-rules", str(day / "rules.toml")) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["changed"] == 1
    assert told["quality"] == {"estimated -> valid": 1}
    assert told["rules"] == {"spike": "1 -> 0"}
    assert not (day / "out" / "finals.parquet").exists()
    changes = pl.read_parquet(day / "out" / "changes.parquet")
    assert changes.select("value_milli", "value_milli_new").rows() == [(1_000_000, 3_000_000)]


def test_a_wrong_rule_set_is_refused_with_its_place(day: Path, capsys: pytest.CaptureFixture[str]):
    (day / "rules.toml").write_text('[[rule_set]]\nname = "odd"\n[rule_set.rules.spike]\nper_cent = 200\n')
    assert vee(day, "--rules", str(day / "rules.toml")) == 2
    assert "rules.spike.per_cent" in capsys.readouterr().err


def test_estimation_waits_while_half_of_the_fleet_is_silent(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    hours = 24 * 8
    grid = pl.DataFrame({"meter": range(120)}).join(pl.DataFrame({"hour": range(hours)}), how="cross")
    rows = grid.select(
        meter_id=pl.format("MTR{}", "meter"),
        interval_start=pl.lit(MONDAY) + pl.duration(hours="hour"),
        value_milli=100_000 + pl.col("hour") % 24,
        hour="hour",
        meter="meter",
    ).with_columns(
        topic=pl.lit("t"), partition=pl.lit(0, pl.Int32), offset=pl.lit(0, pl.Int64), frame=pl.lit(0, pl.Int32),
        received_at=pl.lit(MONDAY), channel=pl.lit("energy_delivered"), interval_s=pl.lit(3600, pl.Int32),
        status=pl.lit(0, pl.UInt32),
    )  # fmt: skip
    # A hole of one meter on the third day; since three hours every second meter is silent.
    lost = ((pl.col("meter") == 1) & (pl.col("hour") == 50)) | (
        (pl.col("meter") % 2 == 0) & (pl.col("hour") >= hours - 3)
    )
    rows.filter(~lost).write_parquet(tmp_path / "intervals.parquet")
    end = MONDAY + timedelta(hours=hours)

    def judged(at: datetime) -> dict[str, int]:
        where = ["--to", end.isoformat(), "--judged-at", at.isoformat(), "--out", str(tmp_path), "--json"]
        assert main(["vee", str(tmp_path / "intervals.parquet"), *where]) == 0
        quality: dict[str, int] = json.loads(capsys.readouterr().out)["quality"]
        return quality

    assert judged(end) == {"valid": 120 * hours - 181, "estimated": 1, "missing": 180}
    assert judged(end + timedelta(days=3)) == {"valid": 120 * hours - 181, "estimated": 181}


def test_check_config_takes_a_good_rule_set_and_names_the_place_of_a_bad_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    file = tmp_path / "rules.toml"
    file.write_text('[[rule_set]]\nname = "shops"\n[rule_set.rules.spike]\npercent = 400\n')
    assert main(["check-config", str(file), "--kind", "rules", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["good"] is True
    file.write_text('[[rule_set]]\nname = "shops"\n[rule_set.rules.spike]\npercents = 400\n')
    assert main(["check-config", str(file), "--kind", "rules"]) == 2
    assert "rules.spike.percents" in capsys.readouterr().err


def test_a_late_change_of_a_billed_day_is_written_as_a_delta(day: Path, capsys: pytest.CaptureFixture[str]):
    assert vee(day) == 0
    capsys.readouterr()
    line = {
        "batch_id": "b", "line_no": 1, "meter_id": "MTR1", "channel": "energy_delivered", "uom": "kWh",
        "determinant": "energy_total", "value_milli": 24_000_000, "period_start": MONDAY, "timezone": "UTC",
        "period_end": MONDAY + timedelta(days=1), "quality_class": "estimated", "determinant_revision": 1, "sign": 1,
        **{f"n_{name}": 0 for name in ("intervals", "actual", "estimated", "edited", "suspect", "outage", "missing")},
    }  # fmt: skip
    ledger = day / "ledger"
    ledger.mkdir()
    pl.DataFrame([line], schema=DETERMINANTS.schema).write_parquet(ledger / "ledger.parquet")
    finals = day / "out" / "finals.parquet"
    finals.rename(day / "billed.parquet")
    rows = pl.read_parquet(day / "intervals.parquet")
    hour = timedelta(hours=1)
    late = rows.head(1).with_columns(interval_start=pl.lit(MONDAY + 5 * hour), value_milli=pl.lit(1_400_000, pl.Int64))
    corrected = pl.when(pl.col("interval_start") == MONDAY + 3 * hour).then(1_200_000).otherwise("value_milli")
    pl.concat([rows.with_columns(value_milli=corrected), late]).write_parquet(day / "intervals.parquet")
    for place in (ledger, ledger / "ledger.parquet"):
        assert vee(day, "--finals", str(day / "billed.parquet"), "--ledger", str(place)) == 0
        told = json.loads(capsys.readouterr().out)
        assert told["deltas"] == {"late_read": 1}
        assert told["exceptions"]["held_correction"] == 1
        deltas = pl.read_parquet(day / "out" / "deltas.parquet")
        assert deltas.select("interval_start", "value_milli", "value_milli_past", "version").rows() == [
            (MONDAY + 5 * hour, 1_400_000, 1_000_005, 2)
        ]
        assert told["billed_estimates_kept"] == {"intervals": 0, "billed_milli": 0, "would_be_milli": 0}
        assert pl.read_parquet(finals)["value_milli"][3] == 1_000_003
    beside = pl.when(pl.col("interval_start") == MONDAY + 4 * hour).then(1_200_004).otherwise("value_milli")
    rows.with_columns(value_milli=beside).write_parquet(day / "intervals.parquet")
    assert vee(day, "--finals", str(day / "billed.parquet"), "--ledger", str(ledger)) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["billed_estimates_kept"] == {"intervals": 1, "billed_milli": 1_000_005, "would_be_milli": 1_100_005}
    pl.concat([rows.with_columns(value_milli=corrected), late]).write_parquet(day / "intervals.parquet")
    assert vee(day, "--ledger", str(ledger)) == 2
    assert "--ledger needs --finals" in capsys.readouterr().err
    assert vee(day, "--finals", str(day / "billed.parquet"), "--ledger", str(day / "nowhere")) == 2
    capsys.readouterr()
    assert vee(day, "--finals", str(day / "billed.parquet")) == 0
    assert pl.read_parquet(finals)["value_milli"][3] == 1_200_000


def test_how_much_an_edit_may_change_unapproved_is_an_option(day: Path, capsys: pytest.CaptureFixture[str]):
    row = {
        "edit_id": "E1", "meter_id": "MTR1", "channel": "energy_delivered", "from": MONDAY,
        "to": MONDAY + timedelta(hours=1), "action": "set", "value_milli": 3_000_000, "reason": "read on site",
        "author": "ann", "approved_by": None, "made_at": MONDAY,
    }  # fmt: skip
    pl.DataFrame([row], schema=EDITS.schema).write_parquet(day / "edits.parquet")
    for more, value in (((), 3_000_000), (("--four-eyes", "1.5"), 1_000_000), (("--four-eyes", "2"), 3_000_000)):
        assert vee(day, "--edits", str(day / "edits.parquet"), *more) == 0
        told = json.loads(capsys.readouterr().out)["exceptions"]
        assert pl.read_parquet(day / "out" / "finals.parquet")["value_milli"][0] == value
        assert told.get("edit_not_applied", 0) == (value == 1_000_000)


def test_an_estimate_before_the_deadline_is_a_final_one_from_outside(day: Path, capsys: pytest.CaptureFixture[str]):
    """The lost hour is final, the late value for it waits for a person."""
    assert vee(day, "--final-before", "2025-03-04") == 0
    finals = day / "out" / "finals.parquet"
    told = pl.read_parquet(finals)
    assert told.filter("is_final_estimate")["interval_start"].to_list() == [MONDAY + timedelta(hours=5)]
    finals.rename(day / "before.parquet")
    rows = pl.read_parquet(day / "intervals.parquet")
    late = rows.head(1).with_columns(
        interval_start=pl.lit(MONDAY + timedelta(hours=5)), value_milli=pl.lit(1_400_000, pl.Int64)
    )
    pl.concat([rows, late]).write_parquet(day / "intervals.parquet")
    assert vee(day, "--finals", str(day / "before.parquet")) == 0
    assert pl.read_parquet(finals)["value_milli"][5] == 1_000_005
    capsys.readouterr()
    assert vee(day, "--final-before", "soon") == 2
    assert "--final-before" in capsys.readouterr().err
