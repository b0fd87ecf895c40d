"""Deltas in the column of status: added to the status above in its own width, as in any other column."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.dlms.data import Data, Tag
from ingest.dlms.profile import decode_profile
from tests.ingest.fleet import reasons
from tests.ingest.test_wide_status import FORMS, NULL, decoded, push

WIDTHS = {Tag.DELTA_UINT8: 8, Tag.DELTA_UINT16: 16, Tag.DELTA_UINT32: 32}
SIGNED = {Tag.DELTA_INT8: 8, Tag.DELTA_INT16: 16, Tag.DELTA_INT32: 32}
TAGS = ["whole", NULL.tag, *WIDTHS, *SIGNED]


def cell(form: str, tag: Tag | str, data: st.DataObject) -> Data:
    if tag == NULL.tag:
        return NULL
    if tag == "whole":
        return Data(FORMS[form][0], data.draw(st.integers(0, (1 << (32 if form == "u32" else 16)) - 1)))
    half = 1 << SIGNED.get(tag, 1) - 1
    span = st.integers(-half, half - 1) if tag in SIGNED else st.integers(0, (1 << WIDTHS[tag]) - 1)
    return Data(Tag(tag), data.draw(span))


@pytest.mark.parametrize("form", ["u16", "u32"])
@given(shape=st.lists(st.sampled_from(TAGS), min_size=1, max_size=6), data=st.data())
@settings(max_examples=60, deadline=None)
def test_statuses_are_those_of_the_plain_decoder(form: str, shape: list[Tag | str], data: st.DataObject) -> None:
    columns = [[cell(form, tag, data) for tag in shape] for _ in range(3)]
    plain = []
    for column in columns:
        rows = Data(Tag.ARRAY, tuple(Data(Tag.STRUCTURE, (each,)) for each in column))
        known = [row.values[0] or 0 for row in decode_profile(rows, 900, clock_column=None)]  # nothing says no bit
        plain.append([Data(FORMS[form][0], number) for number in known])
    found = decoded(form, *(push(*column) for column in columns))
    whole = decoded(form, *(push(*column) for column in plain))
    shown = ["offset", "interval_start", "value_milli", "status"]
    assert found.intervals.select(shown).equals(whole.intervals.select(shown)) and not reasons(found)


def test_a_bit_string_has_no_deltas() -> None:
    found = decoded("bits16", push(Data(Tag.BIT_STRING, "0" * 16), Data(Tag.DELTA_UINT8, 1)))
    assert found.intervals.is_empty() and reasons(found) == ["layout_unknown"]
