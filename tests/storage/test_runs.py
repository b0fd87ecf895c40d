"""Runs of one text are found without a look at the texts, and columns are written by them as they are one by one."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.key_order import in_key_order
from storage.native_columns import encode_column
from storage.runs import run_lengths, run_starts
from storage.tables import table_of

WORDS = st.sampled_from(
    ["", "a", "of 12 octets", "of 13 octets.", "ü" * 40, "x" * 127, "x" * 128, "meter 1", "meter 2"]
)
RUNS = st.lists(st.tuples(WORDS, st.integers(1, 9)), max_size=12)


def written(texts: list[str]) -> bytes:
    """A String column as the format's description has it: a varint of the length, then the octets."""
    octets = b""
    for text in texts:
        raw = text.encode()
        head, rest = b"", len(raw)
        while rest >= 0x80:
            head, rest = head + bytes([rest & 0x7F | 0x80]), rest >> 7
        octets += head + bytes([rest]) + raw
    return octets


@given(RUNS)
def test_a_run_begins_where_the_text_changes(runs: list[tuple[str, int]]) -> None:
    texts = pl.Series([text for text, times in runs for _ in range(times)], dtype=pl.String)
    starts = run_starts(texts)
    changes = [row for row in range(len(texts)) if row == 0 or texts[row] != texts[row - 1]]
    assert set(changes) <= set(starts.tolist())
    assert run_lengths(starts, len(texts)).sum() == len(texts)
    first = texts[pl.Series(starts.astype(np.uint32))]
    assert np.repeat(first.to_list(), run_lengths(starts, len(texts))).tolist() == texts.to_list()


def test_one_text_in_every_row_is_one_run_wherever_the_rows_were_cut() -> None:
    for text in ("short", "longer than the twelve octets of a view"):
        whole = pl.Series([text]).new_from_index(0, 100)
        assert run_starts(whole).tolist() == [0]
        assert run_starts(whole.slice(7, 50)).tolist() == [0]
    parts = pl.concat([pl.Series(["one text of many octets"] * 3), pl.Series(["one text of many octets"] * 3)])
    assert run_starts(parts)[0] == 0
    assert run_starts(pl.Series([], dtype=pl.String)).tolist() == []


@pytest.mark.parametrize("cut", [0, 3])
@given(RUNS)
def test_texts_in_runs_are_written_as_each_by_itself(cut: int, runs: list[tuple[str, int]]) -> None:
    texts = pl.Series([text for text, times in runs for _ in range(times)], dtype=pl.String)[cut:]
    assert b"".join(encode_column(texts, "String") or []) == written(texts.to_list())


def test_rows_of_meters_in_runs_are_put_in_the_order_of_the_key() -> None:
    names = ["b" * 20, "a" * 20, "b" * 20, "short", "a" * 20]
    meters = pl.Series("meter_id", [name for name in names for _ in range(5)])
    schema = table_of("intervals").frame.schema
    rows = pl.DataFrame({name: pl.Series([None] * len(meters), dtype=dtype) for name, dtype in schema.items()})
    starts = pl.Series("interval_start", [900_000_000 * (7 * row % 25) for row in range(len(meters))])
    channels = pl.Series("channel", ["energy_received", "energy_delivered"] * 12 + ["volume"], dtype=schema["channel"])
    rows = rows.with_columns(meters, channels, starts.cast(schema["interval_start"]))
    ordered = in_key_order(rows, table_of("intervals"))
    keys = list(zip(ordered["meter_id"], ordered["channel"].cast(pl.String), ordered["interval_start"], strict=True))
    assert keys == sorted(keys)
    assert sorted(keys) == sorted(zip(meters, channels.cast(pl.String), rows["interval_start"], strict=True))
