"""What a configuration may say, and how it is refused."""

import datetime

import msgspec
import pytest

from schemas.errors import ContractError
from simulator.fleet import simulate
from simulator.params import Faults, SimulatorParams, parse_params


def test_an_empty_text_gives_the_defaults() -> None:
    assert parse_params("") == SimulatorParams()


def test_what_the_text_says_is_what_the_run_gets() -> None:
    params = parse_params(
        "meters = 7\nstart = 2026-03-28\n[faults]\nloss = 0\n[outages]\nheard = 0.5\n"
        '[[outages.incidents]]\nnode_kind = "feeder"\nafter_h = 3\nduration_s = 900\n'
    )
    assert params.meters == 7
    assert params.start == datetime.date(2026, 3, 28)
    assert params.faults.loss == 0
    assert params.outages.heard == 0.5
    assert params.outages.incidents[0].node_kind == "feeder"


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("metres = 7", "metres"),
        ("[faults]\nlosss = 0.1", "losss"),
        ("[faults]\nloss = 1.5", "faults.loss"),
        ("[outages]\nrepeats = 9", "outages.repeats"),
        ('[[outages.incidents]]\nnode_kind = "street"\nafter_h = 1\nduration_s = 5', "node_kind"),
        ('timezone = "Europe/Atlantis"', "Europe/Atlantis"),
        ("[layouts]\ngeneric=0\nprofile_cumulative=0\nobis_rows=0\nobis_pairs=0\ninterval_milli=0", "layouts"),
        ("meters = = 7", "not TOML"),
    ],
)
def test_a_slip_in_the_configuration_is_refused_by_its_name(text: str, named: str) -> None:
    with pytest.raises(ContractError, match=named):
        parse_params(text)


def test_parameters_made_in_code_are_checked_too() -> None:
    with pytest.raises(ContractError, match="loss"):
        simulate(msgspec.structs.replace(SimulatorParams(), meters=1, days=1, faults=Faults(loss=2)))
