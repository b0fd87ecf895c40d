"""The supply tree, the registry and its files."""

from itertools import pairwise

import polars as pl
import pytest

from schemas.frames import METERS, conform
from simulator.files import outputs, render_meters
from simulator.fleet import Simulated, simulate
from simulator.params import SimulatorParams

HEADER = (
    "meter_id,meter_type,system_title,security_min,service_point_id,account_id,nmi,transformer_id,lateral_id,feeder_id,"
    "substation_id,phase,rate_class,tariff,timezone,interval_s,channels,multiplier,register_digits,"
    "register_resolution_milli,fuse_a,voltage_v,has_der,check_of,installed_at,removed_at"
)


@pytest.fixture(scope="module")
def run() -> Simulated:
    return simulate(SimulatorParams(meters=700, days=1))


def test_every_node_has_one_parent(run: Simulated) -> None:
    levels = ["meter_id", "service_point_id", "transformer_id", "lateral_id", "feeder_id", "substation_id"]
    for child, parent in pairwise(levels):
        parents = run.meters.group_by(child).agg(pl.col(parent).n_unique())
        assert parents[parent].max() == 1
    assert [run.meters[level].n_unique() for level in levels[2:]] == sorted(
        (run.meters[level].n_unique() for level in levels[2:]), reverse=True
    )


def test_names_are_unique_and_of_the_form_their_users_need(run: Simulated) -> None:
    meters = run.meters
    assert meters.height == 700
    for name in ("meter_id", "system_title"):
        assert meters[name].is_unique().all()
    assert (meters["meter_id"].str.len_bytes() == 16).all()
    assert meters["system_title"].str.contains(r"^[0-9a-f]{16}$").all()
    # AEMO: ten characters, digits and capitals without I and O.
    assert meters["nmi"].str.contains(r"^[0-9A-HJ-NP-Z]{10}$").all()
    assert meters["nmi"].n_unique() == meters["service_point_id"].n_unique()


def test_the_registry_conforms_and_knows_everything(run: Simulated) -> None:
    meters = conform(run.meters, METERS)
    known = [name for name in METERS.schema if name not in ("check_of", "removed_at", "inverter_w")]
    assert meters.select(known).null_count().sum_horizontal().item() == 0
    assert meters["check_of"].null_count() == meters.height


def test_meters_csv_has_the_columns_of_the_contract_in_its_order(run: Simulated) -> None:
    text = render_meters(run.meters)
    assert text.splitlines()[0] == HEADER
    rows = pl.read_csv(text.encode(), infer_schema=False)
    assert rows.height == 700
    assert set(rows["security_min"]) == {"30"}
    assert "energy_delivered;energy_received" in set(rows["channels"])
    assert {"1"} < set(rows["multiplier"]) <= {"1", "40", "60", "80"}
    assert rows["installed_at"].str.contains(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$").all()


def test_outputs_are_all_files_and_every_tariff_is_defined(run: Simulated) -> None:
    files = outputs(run)
    assert list(files) == [
        "frames.bin", "frames.received.parquet", "meters.csv", "keys.csv", "tariffs.toml", "truth_intervals.parquet",
        "truth_outages.parquet",
    ]  # fmt: skip
    assert len(files["frames.bin"]) == run.frames["payload"].bin.size().sum()
    assert files["frames.received.parquet"].columns == ["topic", "received_at"]
    assert files["frames.received.parquet"].height == run.frames.height
    for tariff in run.meters["tariff"].unique():
        assert f'name = "{tariff}"' in files["tariffs.toml"]
    assert files["keys.csv"].splitlines()[0] == "system_title,ek,ak"
    assert len(files["keys.csv"].splitlines()) == 701
