"""Numbers of a meter type that no meter can mean are refused when the types are read."""

import pytest

from ingest.meter_types import parse_types
from schemas.errors import ContractError

_PUSH = '[[meter_type.push]]\nobject = "*"\nrows = "intervals"\n'


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("interval_s = 7\n", "interval_s: 7 is no capture period"),
        ("interval_s = -900\n", "interval_s: -900 is no capture period"),
        ("interval_s = 0\n", "interval_s: 0 is no capture period"),
        (_PUSH + "scaler = 400\n", "scaler: 400"),
        (_PUSH + "scaler = -129\n", "scaler: -129"),
        ('[meter_type.scalers]\n"1.8.0" = 4000000\n', "scaler: 4000000"),
    ],
)
def test_a_number_out_of_bounds_is_named(lines: str, said: str) -> None:
    with pytest.raises(ContractError, match=f"'odd', {said}"):
        parse_types(f'[[meter_type]]\nname = "odd"\n{lines}')


def test_the_bounds_themselves_are_taken() -> None:
    for scaler in (-128, 127):
        types = parse_types(f'[[meter_type]]\nname = "odd"\ninterval_s = 86400\n{_PUSH}scaler = {scaler}\n')
        assert types.by_name["odd"].push[0].scaler == scaler
