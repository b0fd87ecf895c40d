"""Rows cut from a buffer: each as it stands, zeros behind the buffer's end, and no copy of the whole for the last."""

import tracemalloc

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ingest.spans import rows_at


@given(st.binary(max_size=40), st.lists(st.integers(0, 40), max_size=12), st.integers(0, 24))
def test_rows_are_those_of_each_place(octets: bytes, places: list[int], width: int) -> None:
    start = np.array([min(place, len(octets)) for place in places], np.int64)
    wanted = [octets[place : place + width].ljust(width, b"\0") for place in start.tolist()]
    found = rows_at(np.frombuffer(octets, np.uint8), start, width)
    assert found.shape == (len(places), width) and found.flags.c_contiguous
    assert [row.tobytes() for row in found] == wanted


def test_the_last_row_costs_no_copy_of_the_buffer() -> None:
    octets = np.ones(50_000_000, np.uint8)
    start = np.array([0, 7, len(octets) - 5], np.int64)
    tracemalloc.start()
    found = rows_at(octets, start, 8)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.sum() == 8 + 8 + 5 and peak < 1_000_000
