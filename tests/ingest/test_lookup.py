"""Finding numbers and names among many: as a dictionary would."""

import numpy as np
import polars as pl
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ingest.lookup import NOT_FOUND, Lookup
from ingest.names import Names
from schemas.errors import ContractError

numbers = st.integers(0, 2**64 - 1) | st.integers(0, 50) | st.integers(0x53494D0000000000, 0x53494D0000000040)
texts = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=40)


@given(st.lists(numbers, unique=True, max_size=60), st.lists(numbers, max_size=60))
def test_numbers_are_found_where_they_are(known, wanted):
    places = {number: place for place, number in enumerate(known)}
    found = Lookup.of(np.array(known, np.uint64)).find(np.array(wanted, np.uint64))
    assert found.tolist() == [places.get(number, NOT_FOUND) for number in wanted]


@given(st.lists(texts, unique=True, max_size=30), st.lists(texts, max_size=30), st.sampled_from([b"\0", b" "]))
def test_names_are_found_whatever_pads_them(known, wanted, padding):
    names = Names.of(pl.Series(known, dtype=pl.String))
    asked = [*wanted, *known]
    if not asked:
        return
    octets = np.frombuffer(b"".join(text.encode().ljust(48, padding) for text in asked), np.uint8).reshape(-1, 48)
    places = {text: place for place, text in enumerate(known)}
    assert names.find(octets).tolist() == [places.get(text, NOT_FOUND) for text in asked]


@given(st.lists(st.text(max_size=20), unique=True, max_size=30), st.lists(st.text(max_size=30), max_size=30))
@example(["", "\0"], [])
def test_names_of_a_column_are_found_to_the_letter(known, wanted):
    places = {text.rstrip("\0"): place for place, text in enumerate(known)}
    if len(places) < len(known):  # names that differ by octets of zero alone are one
        with pytest.raises(ContractError, match="told apart"):
            Names.of(pl.Series(known, dtype=pl.String))
        return
    names = Names.of(pl.Series(known, dtype=pl.String))
    asked = pl.Series(["before", *wanted, *known, "after"], dtype=pl.String)[1:-1]
    assert names.places_of(asked).tolist() == [places.get(text.rstrip("\0"), NOT_FOUND) for text in asked]


def test_numbers_given_twice_are_told():
    assert Lookup.of(np.array([5, 7, 2**63], np.uint64)).is_distinct()
    assert not Lookup.of(np.array([5, 7, 5], np.uint64)).is_distinct()
    assert Lookup.of(np.zeros(0, np.uint64)).is_distinct()


def test_a_name_too_long_to_be_matched_is_refused():
    with pytest.raises(ContractError, match="65 bytes"):
        Names.of(pl.Series(["x" * 65]))
