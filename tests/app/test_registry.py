from datetime import UTC, datetime

import pytest

from app.registry import COLUMNS, parse_meters
from schemas.errors import ContractError


def test_only_meter_id_is_required():
    meters = parse_meters("meter_id\nM1\nM2\n", "meters.csv")
    assert meters["meter_id"].to_list() == ["M1", "M2"]
    assert meters["timezone"].null_count() == 2


def test_fields_come_back_in_their_types():
    text = (
        "meter_id,system_title,security_min,channels,multiplier,has_der,installed_at,interval_s\n"
        "M1,414D490000000001,30,energy_delivered;energy_received,2.5,true,2026-03-01T12:00:00+01:00,900\n"
        "M2,,,,,,,\n"
    )
    meter, other = parse_meters(text, "meters.csv").rows(named=True)
    assert meter["system_title"] == "414d490000000001"
    assert meter["security_min"] == 0x30
    assert meter["channels"] == ["energy_delivered", "energy_received"]
    assert meter["multiplier"] == 2500
    assert meter["has_der"] is True
    assert meter["installed_at"] == datetime(2026, 3, 1, 11, tzinfo=UTC)
    assert other["multiplier"] is None
    assert other["channels"] is None


def test_the_columns_are_those_of_the_contract_in_its_order_and_the_size_of_an_inverter_behind_them():
    assert ",".join(COLUMNS) == (
        "meter_id,meter_type,system_title,security_min,service_point_id,account_id,nmi,transformer_id,lateral_id,"
        "feeder_id,substation_id,phase,rate_class,tariff,timezone,interval_s,channels,multiplier,register_digits,"
        "register_resolution_milli,fuse_a,voltage_v,has_der,check_of,installed_at,removed_at,inverter_w"
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("meter\nM1\n", "unknown column 'meter'"),
        ("meter_type\ngeneric\n", "column 'meter_id' is absent"),
        ("meter_id,interval_s\nM1,900\nM2,901\n", "line 3, field 'interval_s'"),
        ("meter_id,channels\nM1,energy\n", "line 2, field 'channels'"),
        ("meter_id,system_title\nM1,4D4D\n", "line 2, field 'system_title'"),
        ("meter_id,timezone\nM1,Europe/Atlantis\n", "line 2, field 'timezone'"),
        ("meter_id,multiplier\nM1,0\n", "line 2, field 'multiplier'"),
        ("meter_id,multiplier\nM1,40\nM2,1000000.001\n", "line 3, field 'multiplier': '1000000.001' is more than"),
        ("meter_id,multiplier\nM1,Infinity\n", "line 2, field 'multiplier'"),
        ("meter_id,register_digits\nM1,8\nM2,13\n", "line 3, field 'register_digits': '13' is no number of digits"),
        ("meter_id,register_digits\nM1,0\n", "line 2, field 'register_digits'"),
        ("meter_id,fuse_a\nM1,99999999999\n", "line 2, field 'fuse_a'"),
        ("meter_id,has_der\nM1,maybe\n", "line 2, field 'has_der'"),
        ("meter_id,installed_at\nM1,yesterday\n", "line 2, field 'installed_at'"),
        ("meter_id,meter_type\n,generic\n", "METERS.meter_id"),
        ("", "not a table"),
        ("meter_id\nM1\nM2\nM1\n", "line 4, field 'meter_id': 'M1' is installed twice"),
        (
            "meter_id,installed_at,removed_at\nM1,2026-03-02T12:00Z,\nM1,2026-03-01,2026-03-02T12:00:01Z\n",
            "line 2, field 'meter_id'",
        ),
    ],
)
def test_the_first_bad_field_is_named(text, said):
    with pytest.raises(ContractError, match=said):
        parse_meters(text, "meters.csv")


def test_a_meter_may_come_back_after_it_was_removed():
    text = "meter_id,installed_at,removed_at\nM1,2026-03-05,\nM1,2026-03-01,2026-03-05\n"
    assert parse_meters(text, "meters.csv").height == 2


def test_the_greatest_ratio_and_register_are_read():
    meters = parse_meters("meter_id,multiplier,register_digits\nM1,1000000,12\n", "meters.csv")
    assert meters.select("multiplier", "register_digits").row(0) == (10**9, 12)
