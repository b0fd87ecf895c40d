"""Columns of numbers to thousandths: as exact arithmetic says, whether or not their largest is known beforehand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.dlms.data import Tag
from ingest.dlms.nodes import Node
from ingest.scaling import ANY_NUMBER, to_milli
from ingest.slots import slots_of

MOST = {1: 2**8 - 1, 2: 2**16 - 1, 4: 2**32 - 1, 8: 2**64 - 1}


@given(st.data(), st.sampled_from([1, 2, 4, 8]), st.integers(-20, 20))
def test_thousandths_are_exact_or_refused(data: st.DataObject, octets: int, power: int) -> None:
    largest = min(MOST[octets], 2**63 - 1)
    numbers = data.draw(st.lists(st.integers(-largest, largest), max_size=6))
    exact = [number * 10**power if power >= 0 else number / 10**-power for number in numbers]
    fits = [
        (power >= 0 or number % 10**-power == 0) and abs(each) <= 2**63 - 1
        for number, each in zip(numbers, exact, strict=True)
    ]
    for most in (MOST[octets], ANY_NUMBER):
        milli, wrong = to_milli(np.array(numbers, np.int64), power, most)
        assert (np.zeros(len(numbers), np.bool_) if wrong is None else wrong).tolist() == [not each for each in fits]
        wanted = [number * 10**power if power >= 0 else number // 10**-power for number in numbers]
        assert milli.tolist() == [each if fit else 0 for each, fit in zip(wanted, fits, strict=True)]


@pytest.mark.parametrize(("tags", "most"), [
    ([], 0), ([Tag.UINT8], 255), ([Tag.UINT8, Tag.INT32], 2**32 - 1), ([Tag.INT64], 2**64 - 1),
])  # fmt: skip
def test_slots_say_what_their_numbers_cannot_exceed(tags: list[Tag], most: int) -> None:
    octets = {Tag.UINT8: 1, Tag.INT32: 4, Tag.INT64: 8}
    assert slots_of([Node(tag, 20 * at, 20 * at + octets[tag], None) for at, tag in enumerate(tags)]).most == most


def test_a_number_of_the_structure_counts_as_it_is() -> None:
    assert slots_of([Node(Tag.UINT32, 0, 4, -70_000, placed=False)]).most == 70_000
