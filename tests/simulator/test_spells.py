"""Spells against a count by the second."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from simulator.spells import covered_share, end_of_spell, merge_spells, of_rows

SPELL = st.tuples(st.integers(0, 3), st.integers(0, 60), st.integers(0, 25))


def _seconds(drawn: list[tuple[int, int, int]]) -> np.ndarray:
    dark = np.zeros((4, 100), dtype=bool)
    for meter, start, lasts in drawn:
        dark[meter, start : start + lasts] = True
    return dark


def _merged(drawn: list[tuple[int, int, int]]):
    columns = np.array(drawn, dtype=np.int64).reshape(-1, 3).T
    return merge_spells(columns[0], columns[1], columns[1] + columns[2])


@given(st.lists(SPELL, max_size=12))
def test_merged_spells_cover_the_same_seconds_and_never_touch(drawn: list[tuple[int, int, int]]) -> None:
    spells = _merged(drawn)
    again = _seconds(list(zip(spells.meter, spells.start_s, spells.end_s - spells.start_s, strict=True)))
    assert (again == _seconds(drawn)).all()
    same = spells.meter[1:] == spells.meter[:-1]
    assert (spells.start_s[1:] > spells.end_s[:-1])[same].all()


@given(st.lists(SPELL, max_size=12))
def test_an_instant_is_in_a_spell_exactly_when_its_second_is_covered(drawn: list[tuple[int, int, int]]) -> None:
    meter, instant = (axis.reshape(-1) for axis in np.indices((4, 100)))
    ends = end_of_spell(_merged(drawn), meter.astype(np.int64), instant.astype(np.int64))
    dark = _seconds(drawn).reshape(-1)
    assert ((ends >= 0) == dark).all()
    inside = np.flatnonzero(dark)
    lit_again = ~_seconds(drawn)[meter[inside], np.minimum(ends[inside], 99)]
    assert (lit_again | (ends[inside] > 99)).all()


@given(st.lists(SPELL, max_size=12), st.sampled_from([1, 5, 7, 30]))
def test_the_covered_share_of_an_interval_is_its_share_of_seconds(drawn: list[tuple[int, int, int]], s: int) -> None:
    starts = np.arange(10, 80, s, dtype=np.int64)
    dark = _seconds(drawn)
    expected = np.stack([dark[:, a : a + s].mean(axis=1) for a in starts], axis=1)
    assert np.allclose(covered_share(_merged(drawn), 4, starts, s), expected)


@given(st.lists(SPELL, max_size=12), st.sets(st.integers(0, 3)))
def test_spells_of_some_meters_are_theirs_by_place(drawn: list[tuple[int, int, int]], rows: set[int]) -> None:
    chosen = np.array(sorted(rows), dtype=np.int64)
    part = of_rows(_merged(drawn), chosen)
    again = _seconds(list(zip(part.meter, part.start_s, part.end_s - part.start_s, strict=True)))
    assert (again[: chosen.size] == _seconds(drawn)[chosen]).all()
