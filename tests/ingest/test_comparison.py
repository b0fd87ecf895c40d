"""Rows of words compared with one row: in pieces, end to end, and as one compares them by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.comparison import differing, varying


@given(
    st.integers(1, 2100),
    st.integers(1, 5),
    st.lists(st.tuples(st.integers(0, 2099), st.integers(0, 4), st.integers(0, 63)), max_size=6),
    st.integers(0, 2**64 - 1),
)
def test_a_row_differs_where_a_relevant_bit_does(
    rows: int, width: int, flips: list[tuple[int, int, int]], mask: int
) -> None:
    wanted = np.arange(width, dtype=np.uint64) * np.uint64(0x0123456789ABCDEF)
    relevant = np.full(width, mask, np.uint64)
    relevant[0] = np.uint64(0xFF)
    words = np.tile(wanted, (rows, 1))
    for row, column, bit in flips:
        words[row % rows, column % width] ^= np.uint64(1) << np.uint64(bit)
    by_hand = np.array([any((row ^ wanted) & relevant) for row in words])
    assert differing(words, wanted, relevant).tolist() == by_hand.tolist()
    assert varying(words).tolist() == np.bitwise_or.reduce(words ^ words[0], axis=0).tolist()


@pytest.mark.parametrize("rows", [1, 31, 32, 33, 1023, 1024, 1025, 2048, 2049, 4096])
def test_the_last_row_is_looked_at_too(rows: int) -> None:
    words, every = np.zeros((rows, 3), np.uint64), np.full(3, 2**64 - 1, np.uint64)
    words[-1, -1] = 1
    assert np.flatnonzero(differing(words, np.zeros(3, np.uint64), every)).tolist() == [rows - 1]
    assert varying(words).tolist() == [0, 0, int(rows > 1)]
