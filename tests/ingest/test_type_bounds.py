"""Numbers of a meter type that no meter can mean are refused when the types are read."""

import re

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


_TEMPLATE = '[[meter_type.template]]\nid = 1\ndescription = "{}"\nvalues = {}\n'
_GOOD = _TEMPLATE.format("02021106", '["template_id", "clock"]')


@pytest.mark.parametrize("description", [
    "02021101ffff01ffff01ffff0200", "02021101ffff020202000200", "02021101ffff01ffff01000011",
])  # fmt: skip
def test_a_template_of_arrays_whose_elements_hold_no_value_is_refused_at_once(description: str) -> None:
    with pytest.raises(ContractError, match="'odd', template 1: an array of elements that hold no value is described"):
        parse_types('[[meter_type]]\nname = "odd"\n' + _TEMPLATE.format(description, '["template_id"]'))


def test_arrays_of_values_and_of_none_at_all_are_taken() -> None:
    for description, values in (("020211010003020112", ["1-0:1.8.0"] * 3), ("0202110100000200", [])):
        lines = _TEMPLATE.format(description, ["template_id", *values])
        assert parse_types(f'[[meter_type]]\nname = "odd"\n{lines}').by_name["odd"].template[0].id == 1


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (_GOOD + _GOOD, "'odd', template: 1 stands twice"),
        ('[[meter_type]]\nname = "odd"\nevents = "idis"\n', "meter_type: 'odd' stands twice"),
        ('list_ids = ["A"]\n[[meter_type]]\nname = "even"\nlist_ids = ["A"]\n', "list_ids: 'A' stands twice"),
        (_PUSH + _PUSH, "'odd', push object: '*' stands twice"),
        ('[[meter_type.list]]\nvalues = ["clock"]\n' * 2, "'odd', list of that many values: 1 stands twice"),
    ],
)
def test_what_may_stand_but_once_in_a_types_file_is_not_dropped_in_silence(lines: str, said: str) -> None:
    with pytest.raises(ContractError, match=re.escape(said)):
        parse_types(f'[[meter_type]]\nname = "odd"\n{lines}')


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (_TEMPLATE.format("02021106", '["template_id", "1.8.0"]'), "'odd', template 1, values: '1.8.0' is not an OBIS"),
        ('names = ["1.8.0"]', "'odd', names: '1.8.0' is not an OBIS"),
        ('response = "1.8.0"', "'odd', response: '1.8.0' is not an OBIS"),
        ('alarm_push = "1.8.0"', "'odd', alarm_push: '1.8.0' is not an OBIS"),
        (_PUSH.replace("*", "1.8.0"), "'odd', push object: '1.8.0' is not an OBIS"),
        ('[[meter_type.list]]\nvalues = ["1.8.0"]', "'odd', list values: '1.8.0' is not an OBIS"),
        ('[meter_type.scalers]\n"1.8" = 0\n', "'odd', scalers: '1.8' is not C.D.E"),
        ('timezone = "Mars/Phobos"', "'odd': timezone 'Mars/Phobos'"),
        ('colour = "red"', "'odd': Object contains unknown field `colour`"),
        ("[[meter_type]]\ncolour = 1\n", "meter_type number 2: Object"),
    ],
)
def test_what_is_wrong_in_a_types_file_is_told_with_its_type_and_key(lines: str, said: str) -> None:
    with pytest.raises(ContractError, match=re.escape(said)):
        parse_types(f'[[meter_type]]\nname = "odd"\n{lines}')
