"""Time-of-use calendar and class profiles from a file, for the verb and for the worker."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from app.cli import main
from app.commands.worker import judging
from app.config import parse_config
from app.estimation import load_estimation
from schemas.codes import Channel
from schemas.errors import ContractError
from validation.params import TouPeriod

MONDAY = datetime(2025, 3, 3, tzinfo=UTC)
DAY = timedelta(days=1)
PERIODS = """
[[tou]]
register = "energy_delivered_t1"
start_s = 21600
end_s = 64800
[[tou]]
register = "energy_delivered_t2"
"""
PROFILE = f"""
[[profiles]]
rate_class = "H0"
channel = "energy_delivered"
workday = {[100 * hour for hour in range(24)]}
saturday = {[1] * 24}
sunday = {[1] * 24}
"""


def provenance() -> dict[str, pl.Expr]:
    return {
        "topic": pl.lit("t"), "partition": pl.lit(0, pl.Int32), "offset": pl.lit(0, pl.Int64),
        "frame": pl.lit(0, pl.Int32), "received_at": pl.lit(MONDAY), "status": pl.lit(0, pl.UInt32),
    }  # fmt: skip


@pytest.fixture
def day(tmp_path: Path) -> Path:
    """A day of MTR1 that lost hours 5, 6 and 7; T1 and T2 leave 300 for 6 and 7, and 40 for 5."""
    hours = [MONDAY + timedelta(hours=k) for k in range(24) if k not in (5, 6, 7)]
    pl.DataFrame({"interval_start": hours}).with_columns(
        **provenance(), meter_id=pl.lit("MTR1"), channel=pl.lit("energy_delivered"),
        interval_s=pl.lit(3600, pl.Int32), value_milli=pl.lit(100),
    ).write_parquet(tmp_path / "intervals.parquet")  # fmt: skip
    ends = {"energy_delivered": 2_440, "energy_delivered_t1": 1_300, "energy_delivered_t2": 1_140}
    rows = [(name, at, value) for name, most in ends.items() for at, value in ((MONDAY, 0), (MONDAY + DAY, most))]
    pl.DataFrame(rows, schema=["channel", "read_at", "value_milli"], orient="row").with_columns(
        **provenance(), meter_id=pl.lit("MTR1")
    ).write_parquet(tmp_path / "reads.parquet")
    (tmp_path / "aids.toml").write_text(PERIODS + PROFILE)
    return tmp_path


def test_the_verb_anchors_each_period_to_its_register(day: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = ["vee", str(day / "intervals.parquet"), "--reads", str(day / "reads.parquet"), "--out", str(day), "--json"]
    assert main([*where, "--judged-at", "2025-04-01", "--estimation", str(day / "aids.toml")]) == 0
    assert json.loads(capsys.readouterr().out)["quality"] == {"estimated": 3, "valid": 21}
    assert pl.read_parquet(day / "finals.parquet")["value_milli"].to_list()[5:8] == [40, 150, 150]


def test_the_verb_shapes_a_series_without_history_by_its_class(day: Path) -> None:
    file = day / "METERS.csv"
    file.write_text("meter_id,rate_class,interval_s,channels\nMTR2,H0,3600,energy_delivered\n")
    bounds = ["--from", "2025-03-03T00:00:00Z", "--to", "2025-03-04T00:00:00Z", "--judged-at", "2025-04-01"]
    aids = ["--meters", str(file), "--estimation", str(day / "aids.toml"), "--out", str(day)]
    assert main(["vee", str(day / "intervals.parquet"), *bounds, *aids]) == 0
    mine = pl.read_parquet(day / "finals.parquet").filter(pl.col("meter_id") == "MTR2")
    assert mine["value_milli"].to_list() == [100 * hour for hour in range(24)]
    assert set(mine["method"].cast(pl.String)) == {"profile"}


def test_the_worker_judges_by_the_file_that_its_configuration_names(day: Path) -> None:
    text = f'[vee]\nestimation_file = "{day / "aids.toml"}"\n'
    params = judging(parse_config(text, "worker.toml").vee)
    assert params.tou == (
        TouPeriod(Channel.ENERGY_DELIVERED_T1, 21_600, 64_800), TouPeriod(Channel.ENERGY_DELIVERED_T2),
    )  # fmt: skip
    assert [one.rate_class for one in params.profiles] == ["H0"]
    assert judging(parse_config("", "worker.toml").vee).tou == ()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[[tou]]\nregister = 'energy_delivered'\n", "energy_delivered_t1"),
        ("[[tou]]\nregister = 'energy_delivered_t1'\nstart_s = 79200\nend_s = 21600\n", "over midnight is two"),
        (PROFILE.replace("saturday = [1, ", "saturday = ["), "24, 23 and 24"),
        (PROFILE + PROFILE, "profiles[2]"),
        ("[[periods]]\n", "periods"),
    ],
)
def test_a_wrong_file_is_told_with_its_place(tmp_path: Path, text: str, told: str) -> None:
    file = tmp_path / "aids.toml"
    file.write_text(text)
    with pytest.raises(ContractError) as caught:
        load_estimation(file)
    assert str(caught.value).startswith(str(file))
    assert told in str(caught.value)
    assert main(["check-config", str(file), "--kind", "estimation"]) != 0
