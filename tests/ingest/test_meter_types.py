"""Meter types and event tables: strict data, every name checked."""

import pytest

from ingest.event_tables import STANDARDS
from ingest.meter_types import BUILT_IN, parse_types, profiles
from schemas.codes import EventKind
from schemas.errors import ContractError


def test_the_simulator_s_layouts_and_the_makes_are_built_in():
    known = {"generic", "profile_cumulative", "obis_rows", "obis_pairs", "interval_milli", "kaifa", "kamstrup", "smr5"}
    assert known <= set(BUILT_IN.by_name)
    assert profiles(BUILT_IN)["generic"] == "interval" and profiles(BUILT_IN)["obis_pairs"] == "cumulative"


def test_a_file_extends_and_overrides_what_is_built_in():
    types = parse_types(
        '[[meter_type]]\nname = "generic"\nprofile = "cumulative"\n[[meter_type]]\nname = "mine"\nlist_ids = ["M1"]'
    )
    assert types.by_name["generic"].profile == "cumulative" and types.by_list_id[b"M1"].name == "mine"
    assert BUILT_IN.by_name["generic"].profile == "interval"


@pytest.mark.parametrize(("text", "named"), [
    ('[[meter_type]]\nname = "x"\ncolour = "red"', "colour"),
    ("[[meter_type]]\nprofile = \"interval\"", "name"),
    ('[[meter_type]]\nname = "x"\nprofile = "both"', "profile"),
    ('[[meter_type]]\nname = "x"\nstatus = ["bored"]', "bored"),
    ('[[meter_type]]\nname = "x"\nquirks = ["be_lenient"]', "be_lenient"),
    ('[[meter_type]]\nname = "x"\nevents = "cosmic"', "cosmic"),
    ('[[meter_type]]\nname = "x"\nnames = ["1.2"]', "1.2"),
    ('[[meter_type]]\nname = "x"\ntimezone = "Europe/Atlantis"', "Atlantis"),
    ('[[meter_type]]\nname = "x"\n[meter_type.scalers]\n"1.8" = 0', "1.8"),
    ('[[meter_type]]\nname = "x"\n[[meter_type.list]]\nvalues = ["hello"]', "hello"),
    ("not toml", "meter types"),
])  # fmt: skip
def test_what_means_nothing_is_named(text, named):
    with pytest.raises(ContractError, match=named):
        parse_types(text)


def test_the_same_number_means_different_things_by_standard():
    assert STANDARDS["idis"].codes[48] is EventKind.KEYS_CHANGED
    assert STANDARDS["dsmr"].codes[48] is EventKind.COVER_OPENED
    assert STANDARDS["idis"].codes[82] is EventKind.PHASE_LOST_L1
    assert STANDARDS["dsmr"].codes[82] is EventKind.VOLTAGE_SWELL
    assert STANDARDS["dsmr"].alarms[3][0] is EventKind.LAST_GASP
    assert STANDARDS["is15959"].status_word[86] is EventKind.FIRST_BREATH
    assert STANDARDS["generic"].codes[1] is EventKind.POWER_DOWN
