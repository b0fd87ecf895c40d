"""Names are found by their hash, and told apart by themselves."""

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from outage.names import index_names, numbers_in

WORDS = st.text(max_size=4)


def by_name(known: list[str], asked: list[str | None]) -> list[int | None]:
    place = {name: number for number, name in enumerate(known)}
    return [None if name is None else place.get(name) for name in asked]


@settings(max_examples=80, deadline=None)
@given(st.lists(WORDS, unique=True, max_size=40), st.lists(WORDS, max_size=60))
def test_every_name_has_its_place_and_strangers_have_none(known: list[str], asked: list[str]) -> None:
    index = index_names(pl.Series(known, dtype=pl.String))
    found = numbers_in(index, pl.Series(asked, dtype=pl.String))
    assert found.dtype == pl.Int64
    assert found.to_list() == by_name(known, asked)


@pytest.mark.parametrize("hashes", [1, 2, 7])
def test_names_of_one_hash_are_told_apart(monkeypatch: pytest.MonkeyPatch, hashes: int) -> None:
    """All names share a few hashes: tables are crowded, and a stranger meets the hash of a name that is known."""
    whole = pl.Series.hash
    monkeypatch.setattr(pl.Series, "hash", lambda self: whole(self) % hashes)
    known = [f"M{n}" for n in range(300)]
    index = index_names(pl.Series(known))
    assert index.crowded
    asked = [f"M{n}" for n in range(-5, 400, 3)]
    assert numbers_in(index, pl.Series(asked)).to_list() == by_name(known, asked)


def test_a_hundred_thousand_names_find_their_places_in_the_tables() -> None:
    known = pl.Series([f"meter-{n:07d}" for n in range(100_000)])
    index = index_names(known)
    assert not index.crowded
    asked = pl.concat([known.reverse(), known, pl.Series(["nobody"])])
    assert numbers_in(index, asked).to_list() == [*reversed(range(100_000)), *range(100_000), None]
