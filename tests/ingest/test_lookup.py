"""Finding numbers and names among many: as a dictionary would."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
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


def test_a_name_too_long_to_be_matched_is_refused():
    with pytest.raises(ContractError, match="65 bytes"):
        Names.of(pl.Series(["x" * 65]))
