"""What every ReadingStore promises."""

import itertools
from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest
from polars.testing import assert_frame_equal
from storage_rows import T0, intervals, refusing, rows_of

from schemas.errors import ContractError
from schemas.frames import CHANNEL, FINALS, METERS, REJECTS, REPLAY_WINDOWS, UTC_US
from storage.embedded import EmbeddedEngine
from storage.store import PARTITIONS_A_QUERY, ReadingStore, Scope, SqlStore
from storage.tables import TABLES, Table

NAMES = list(TABLES)
SCOPE = Scope(("SIM00000001",), T0, T0 + timedelta(days=1))


@pytest.mark.parametrize("table", TABLES.values(), ids=NAMES)
def test_every_column_of_every_table_comes_back_as_it_went(store: ReadingStore, table: Table) -> None:
    rows = rows_of(table)
    assert store.append(table.name, rows, "a") == rows.height
    back = store.load_current(table.name)
    key = [name for name in table.frame.schema if not isinstance(table.frame.schema[name], pl.List)]
    assert_frame_equal(back.sort(key), rows.sort(key))


@pytest.mark.parametrize("table", TABLES.values(), ids=NAMES)
@pytest.mark.parametrize("token", ["a", "b"])
def test_rows_appended_twice_are_once_in_the_current_view(store: ReadingStore, table: Table, token: str) -> None:
    rows = rows_of(table)
    store.append(table.name, rows, "a")
    store.append(table.name, rows, token)
    assert store.load_current(table.name).height == rows.height


def test_the_newest_raw_value_wins_by_raw_order_whatever_the_order_of_arrival(store: ReadingStore) -> None:
    store.append("intervals", intervals([3], received_at=T0 + timedelta(seconds=1), offset=[1]), "late")
    store.append("intervals", intervals([1], offset=[7]), "early")
    store.append("intervals", intervals([2], received_at=T0 + timedelta(seconds=1), offset=[0]), "between")
    assert store.load_current("intervals")["value_milli"].to_list() == [3]


def test_a_newest_value_that_cannot_be_known_hides_an_older_known_one(store: ReadingStore) -> None:
    store.append("intervals", intervals([1], offset=[0]), "a")
    store.append("intervals", intervals([None], offset=[1]), "b")
    assert store.load_current("intervals")["value_milli"].to_list() == [None]


def test_channels_named_other_are_told_apart_by_their_obis(store: ReadingStore) -> None:
    same = intervals([1, 2], channel="other", obis=["1-0:94.7.0.255", "1-0:95.7.0.255"], offset=0, interval_start=T0)
    store.append("intervals", same, "a")
    assert store.load_current("intervals")["value_milli"].to_list() == [1, 2]


def test_superseded_raw_values_and_versions_stay_in_the_history(store: ReadingStore) -> None:
    store.append("intervals", intervals([1], offset=[0]), "a")
    store.append("intervals", intervals([2], offset=[1]), "b")
    for version in (1, 2):
        store.append("finals", finals(version), f"f{version}")
    evidence = store.load_evidence("SIM00000001", T0, 900)
    assert evidence.intervals["value_milli"].to_list() == [1, 2]
    assert evidence.finals["version"].to_list() == [1, 2]


def test_finals_are_told_as_they_stood_before_an_instant(store: ReadingStore) -> None:
    for version in (1, 2, 3):
        store.append("finals", finals(version), f"f{version}")
    assert store.load_finals(SCOPE)["version"].to_list() == [3]
    assert store.load_finals(SCOPE, judged_before=T0 + timedelta(days=3))["version"].to_list() == [2]
    assert store.load_finals(SCOPE, version=2)["version"].to_list() == [2]
    assert store.load_finals(SCOPE, version=9)["version"].to_list() == [3]
    assert store.load_finals(SCOPE, T0 + timedelta(days=2), 2)["version"].to_list() == [1]


def test_meters_that_have_finals_in_a_span_are_told_once_by_name(store: ReadingStore) -> None:
    for version in (1, 2):
        store.append("finals", finals(version), f"f{version}")
    store.append("finals", finals(1).with_columns(meter_id=pl.lit("SIM00000000")), "other")
    assert store.load_judged(SCOPE.start, SCOPE.end) == ["SIM00000000", "SIM00000001"]
    assert store.load_judged(SCOPE.end, SCOPE.end + timedelta(days=1)) == []


def test_a_row_decoded_anew_replaces_the_row_of_the_same_provenance(store: ReadingStore) -> None:
    store.append("intervals", intervals([1]), "first decoder")
    store.append("intervals", intervals([2]), "second decoder")
    assert store.load_current("intervals")["value_milli"].to_list() == [2]
    assert store.load_evidence("SIM00000001", T0, 900).intervals["value_milli"].to_list() == [2]


def test_the_context_holds_the_scope_and_nothing_beyond_it(store: ReadingStore) -> None:
    store.append("intervals", intervals(list(range(97))), "a")
    store.append("intervals", intervals([1], meter_id="SIM00000002"), "b")
    context = store.load_context(SCOPE)
    assert context.intervals["value_milli"].to_list() == list(range(96))
    assert [frame.height for frame in context[1:]] == [0] * 7


def test_messages_are_found_by_their_place(store: ReadingStore) -> None:
    rows = rows_of(TABLES["frames"])
    store.append("frames", rows, "a")
    assert_frame_equal(store.load_messages(rows.head(2)), rows.head(2))
    assert store.load_messages(rows.head(0)).is_empty()


def test_a_resolved_reject_is_no_longer_open_and_still_there(store: ReadingStore) -> None:
    rows = rows_of(TABLES["rejects"]).with_columns(reason=pl.lit("key_unknown").cast(REJECTS.schema["reason"]))
    store.append("rejects", rows, "a")
    resolved = rows.head(1).with_columns(resolution=pl.lit("dropped"), resolved_at=pl.lit(T0))
    store.append("rejects", resolved, "b")
    assert store.load_open_rejects(("key_unknown",), 10)["offset"].to_list() == rows["offset"].to_list()[1:]
    assert store.load_open_rejects(("key_unknown",), 1).height == 1
    assert store.load_open_rejects(("poison",), 10).is_empty()
    assert store.load_current("rejects").height == rows.height


def test_open_rejects_are_told_between_two_places(store: ReadingStore) -> None:
    places = [("a", 2, 9, 0), ("b", 0, 5, 1), ("b", 0, 10, 0), ("b", 0, 10, 1), ("b", 1, 0, 0)]
    row = {"received_at": T0, "payload": b"x", "reason": "depth", "detail": "", "at": 0, "code_version": "1"}
    names = ("topic", "partition", "offset", "frame")
    rows = [row | dict(zip(names, place, strict=True)) for place in places]
    store.append("rejects", pl.DataFrame(rows, schema=REJECTS.schema), "a")

    def between(*bounds: tuple[str, int, int, int] | None) -> list[tuple[object, ...]]:
        return store.load_open_rejects(("depth",), 10, *bounds).select(names).rows()

    assert between() == places
    assert between(places[1]) == places[2:]
    assert between(None, places[3]) == places[:3]
    assert between(("b", 0, 9, -1), places[4]) == places[2:4]


def test_a_replay_window_is_loaded_as_it_stood_before_an_offset(store: ReadingStore) -> None:
    store.append("replay_windows", counters([100, 37, 36, 500, 100]), "a")
    store.append("replay_windows", counters([100, 37, 36, 500, 100]), "redelivered")
    assert store.load_windows([("t", 0, 3)])["counter"].sort().to_list() == [37, 100]
    assert store.load_windows([("t", 0, 4)])["counter"].to_list() == [500]
    assert store.load_windows([("t", 0, 0)]).is_empty()
    assert store.load_windows([("t", 1, 9)]).is_empty()


def test_windows_of_many_partitions_are_loaded_each_as_of_its_own_offset(store: ReadingStore) -> None:
    """More than one query asks for; a meter that moved to another partition has a window in each."""
    parts = [
        counters([1000 + part, 7 + part, 2000]).with_columns(pl.lit(part, pl.Int32).alias("partition"))
        for part in range(PARTITIONS_A_QUERY + 3)
    ]
    store.append("replay_windows", pl.concat(parts), "a")
    other = counters([5]).with_columns(topic=pl.lit("u"))
    store.append("replay_windows", other, "b")
    found = store.load_windows([("t", part, 1 + part % 3) for part in range(len(parts))] + [("u", 0, 9)])
    expected = {part: [[1000 + part], [1000 + part], [2000]][part % 3] for part in range(len(parts))}
    of_t = found.filter(pl.col("topic") == "t").group_by("partition").agg("counter")
    assert {part: sorted(counter) for part, counter in of_t.rows()} == expected
    assert found.filter(pl.col("topic") == "u")["counter"].to_list() == [5]
    assert store.load_windows([]).is_empty()


def test_a_counter_that_was_used_twice_is_loaded_however_far_the_window_has_gone(store: ReadingStore) -> None:
    store.append("replay_windows", counters([7, -8, *range(1000, 1100)]), "a")
    assert store.load_windows([("t", 0, 1)])["counter"].to_list() == [7]
    loaded = store.load_windows([("t", 0, 200)])["counter"].sort().to_list()
    assert loaded == [-8, *range(1036, 1100)]


def test_rows_of_a_hundred_and_more_months_are_one_batch(store: ReadingStore) -> None:
    rows = intervals(list(range(150)), interval_start=[T0 + timedelta(days=31 * i) for i in range(150)])
    assert store.append("intervals", rows, "a") == 150
    assert store.load_current("intervals").height == 150


def test_devices_are_counted_once_an_hour_by_their_newest_place_and_by_service(store: ReadingStore) -> None:
    """Three days are more hours than one question holds; a meter that moved counts where it is now."""
    hour, begin = timedelta(hours=1), T0.replace(microsecond=0)

    def at(meter: str, instants: list[timedelta], **more: object) -> pl.DataFrame:
        starts = [begin + instant for instant in instants]
        return intervals([1] * len(starts), meter_id=meter, interval_start=starts, **more)

    places = {"A": ("F1", "S"), "B": ("F1", "S"), "C": (None, "S"), "MOVED": ("F0", "S0")}
    rows = [{"meter_id": m, "feeder_id": f, "substation_id": s, "installed_at": begin} for m, (f, s) in places.items()]
    moved = {"meter_id": "MOVED", "feeder_id": "F1", "substation_id": "S", "installed_at": begin + hour}
    store.append("meters", pl.DataFrame([*rows, moved], schema=METERS.schema), "meters")
    told = [
        at("A", [0 * hour, 0.25 * hour, 0.5 * hour, 70 * hour]),
        at("A", [0 * hour], channel="voltage_l1"),
        at("B", [0.75 * hour, 71.75 * hour]),
        at("C", [0 * hour]),
        at("MOVED", [0 * hour]),
        at("STRANGER", [0 * hour]),
        at("A", [0 * hour], channel="volume"),
        at("A", [72 * hour, -0.25 * hour]),
        at("B", [5 * hour]).with_columns(value_milli=pl.lit(None, pl.Int64)),
    ]
    for number, part in enumerate(told):
        store.append("intervals", part, str(number))
    store.append("intervals", at("A", [0 * hour], offset=[9]), "a value came again")
    read = rows_of(TABLES["reads"]).head(1).with_columns(value_milli=pl.lit(1, pl.Int64), meter_id=pl.lit("B"))
    for channel, back in (("energy_delivered", 63), ("voltage_l1", 62)):
        instant = pl.lit(begin + back * hour).cast(UTC_US)
        row = read.with_columns(channel=pl.lit(channel).cast(CHANNEL), read_at=instant)
        store.append("reads", row, channel)
    heard = store.load_heard(begin, begin + 72 * hour, ("energy_delivered",))
    assert heard.sort("service", "feeder_id", "substation_id", "hour").rows() == [
        (begin, "electricity", None, None, 1),
        (begin, "electricity", None, "S", 1),
        (begin, "electricity", "F1", "S", 3),
        (begin + 63 * hour, "electricity", "F1", "S", 1),
        (begin + 70 * hour, "electricity", "F1", "S", 1),
        (begin + 71 * hour, "electricity", "F1", "S", 1),
        (begin, "volume", "F1", "S", 1),
    ]  # fmt: skip
    assert store.load_heard(begin, begin, ()).is_empty()


def test_where_the_finals_of_each_series_end_whatever_their_version(store: ReadingStore) -> None:
    row = rows_of(TABLES["finals"]).head(1).with_columns(
        meter_id=pl.lit("A"), channel=pl.lit("energy_delivered").cast(CHANNEL), interval_s=pl.lit(3600, pl.Int32)
    )  # fmt: skip
    hour = timedelta(hours=1)
    for number, (meter, at, judged) in enumerate((("A", 0, 5), ("A", 2, 6), ("A", 0, 9), ("B", 1, 7), ("B", 24, 8))):
        instants = {"interval_start": T0 + at * hour, "judged_at": T0 + judged * hour}
        final = row.with_columns(pl.lit(meter).alias("meter_id"), version=pl.lit(number, pl.Int64)).with_columns(
            pl.lit(value).cast(UTC_US).alias(name) for name, value in instants.items()
        )
        store.append("finals", final, str(number))
    ends = store.load_ends(Scope(("A", "B", "C"), T0, T0 + 24 * hour)).sort("meter_id")
    assert ends.rows() == [
        ("A", "energy_delivered", T0 + 3 * hour, T0 + 9 * hour),
        ("B", "energy_delivered", T0 + 2 * hour, T0 + 7 * hour),
    ]


def test_the_days_of_which_something_is_stored_are_told_by_meter(store: ReadingStore) -> None:
    day = timedelta(days=1)
    begin = datetime(1969, 12, 30, tzinfo=UTC)
    instants = [begin, begin + day - timedelta(microseconds=1), begin + 2 * day, datetime(2250, 7, 1, tzinfo=UTC)]
    for n, at in enumerate(instants):
        store.append("intervals", intervals([1], meter_id="A", interval_start=at, offset=[n]), f"days {n}")
    for table, column in (("reads", "read_at"), ("finals", "interval_start")):
        at = pl.lit(begin + 400 * day).cast(UTC_US).alias(column)
        store.append(table, rows_of(TABLES[table]).head(1).with_columns(at, meter_id=pl.lit(table)), "days")
    told = store.load_days(Scope(("A", "reads", "finals"), begin, datetime(2251, 1, 1, tzinfo=UTC)))
    assert sorted(told.rows()) == [
        ("A", begin.date()),
        ("A", (begin + 2 * day).date()),
        ("A", date(2250, 7, 1)),
        ("finals", (begin + 400 * day).date()),
        ("reads", (begin + 400 * day).date()),
    ]
    assert store.load_days(Scope(("A",), begin + 3 * day, begin + 9 * day)).is_empty()


class Recorder(EmbeddedEngine):
    """Nothing but what was inserted."""

    def __init__(self) -> None:
        self.inserted: list[pl.DataFrame] = []

    def insert(self, table: str, rows: pl.DataFrame, token: str) -> None:
        self.inserted.append(rows)


def test_measurements_reach_an_engine_in_the_order_of_its_key_and_other_rows_as_they_came() -> None:
    """Channels by their names, which is not the order of the code list; equal keys keep the order of arrival."""
    meters, channels = ["B", "A", "ä", "A"], ["voltage_l1", "energy_delivered", "apparent_delivered", "other"]
    rows = pl.concat(
        [
            intervals([n], meter_id=meter, channel=channel, interval_start=T0 + timedelta(hours=hour), offset=[n])
            for n, (hour, meter, channel) in enumerate(itertools.product((2, 0, 2, 1), meters, channels))
        ]
    )
    engine = Recorder()
    SqlStore(engine).append("intervals", rows, "a")
    key = ["meter_id", "channel", "interval_start"]
    as_text = pl.col("channel").cast(pl.String)
    expected = rows.with_columns(as_text).sort(key, maintain_order=True)
    assert_frame_equal(engine.inserted[0].with_columns(as_text), expected)
    refused = rows_of(TABLES["rejects"]).reverse()
    SqlStore(engine).append("rejects", refused, "a")
    assert engine.inserted[1]["offset"].to_list() == refused["offset"].to_list()


def test_no_row_is_lost_for_a_time_that_is_far_from_the_others() -> None:
    starts = [datetime(9999, 1, 1, tzinfo=UTC), datetime(1970, 1, 1, tzinfo=UTC), T0, datetime(9999, 1, 2, tzinfo=UTC)]
    engine = Recorder()
    SqlStore(engine).append("intervals", intervals([1, 2, 3, 4], interval_start=starts), "a")
    assert engine.inserted[0]["interval_start"].to_list() == sorted(starts)


def test_an_unknown_table_and_a_wrong_shape_are_contract_errors(store: ReadingStore) -> None:
    with pytest.raises(ContractError, match="readings"):
        store.append("readings", intervals([1]), "a")
    with pytest.raises(ContractError, match="meter_id"):
        store.append("intervals", intervals([1]).drop("meter_id"), "a")


def test_rows_that_the_engine_refuses_are_the_fault_of_the_rows_and_none_of_them_is_stored(
    store: ReadingStore,
) -> None:
    """An insert that is told as done is stored: a streamed one of chDB was told so and had been refused."""
    with refusing(store, "intervals", "value_milli = 2"):
        with pytest.raises(ContractError):
            store.append("intervals", intervals([1, 2, 3]), "a")
        assert store.load_current("intervals").is_empty()
        assert store.append("intervals", intervals([1, 3]), "b") == 2
        assert store.load_current("intervals")["value_milli"].to_list() == [1, 3]


def finals(version: int) -> pl.DataFrame:
    row = rows_of(TABLES["finals"], 2).head(1)
    return row.with_columns(
        meter_id=pl.lit("SIM00000001"), version=pl.lit(version), judged_at=pl.lit(T0) + pl.duration(days=version)
    ).cast(dict(FINALS.schema))


def counters(values: list[int]) -> pl.DataFrame:
    """Counters of one meter, one a message."""
    row = {"topic": "t", "partition": 0, "system_title": "53494d", "key_id": "k", "digest": 2**63, "saved_at": T0}
    columns = {name: [value] * len(values) for name, value in row.items()}
    return pl.DataFrame(
        columns | {"offset": list(range(len(values))), "counter": values}, schema_overrides=REPLAY_WINDOWS.schema
    )


def test_the_highest_valid_final_counts_in_its_newest_version_only(store: ReadingStore) -> None:
    row = rows_of(TABLES["finals"]).head(1).with_columns(
        meter_id=pl.lit("PEAK"), channel=pl.lit("energy_delivered").cast(CHANNEL), interval_s=pl.lit(3600, pl.Int32)
    )  # fmt: skip
    hour = timedelta(hours=1)
    # A spike that was corrected, one that became unknown, an estimate, and a value behind the span.
    told = [(0, 5, "valid", 1), (1, 90, "valid", 1), (1, 4, "valid", 2), (2, 80, "valid", 1), (2, None, "missing", 2)]
    told += [(26, 7, "valid", 1), (27, 70, "estimated", 1), (48, 60, "valid", 1)]
    for number, (at, value, quality, version) in enumerate(told):
        final = row.with_columns(
            pl.lit(T0 + at * hour).cast(UTC_US).alias("interval_start"), version=pl.lit(version, pl.Int64),
            value_milli=pl.lit(value, pl.Int64), quality=pl.lit(quality).cast(row.schema["quality"]),
        )  # fmt: skip
        store.append("finals", final, f"peak {number}")
    peaks = store.load_peaks(Scope(("PEAK", "NONE"), T0, T0 + 48 * hour))
    assert peaks.rows() == [("PEAK", "energy_delivered", 7, 2)]


def test_billed_is_what_stands_in_the_ledger_each_span_once(store: ReadingStore) -> None:
    row = rows_of(TABLES["billing_ledger"]).head(1).with_columns(meter_id=pl.lit("BILL"))
    day = timedelta(days=1)
    # Corrected (taken back, another in its place), a second determinant, taken back for good, derived, of another time.
    lines = [
        ("a", 0, "energy_delivered", "energy_total", 1), ("b", 0, "energy_delivered", "energy_total", -1),
        ("b", 0, "energy_delivered", "energy_total", 1), ("a", 0, "energy_delivered", "demand_max", 1),
        ("a", 0, "energy_received", "energy_total", 1), ("b", 0, "energy_received", "energy_total", -1),
        ("a", 1, None, "power_factor", 1), ("a", 9, "energy_delivered", "energy_total", 1),
    ]  # fmt: skip
    told = [
        row.with_columns(
            batch_id=pl.lit(batch), line_no=pl.lit(number, pl.Int32), channel=pl.lit(channel).cast(CHANNEL),
            determinant=pl.lit(name), sign=pl.lit(sign, pl.Int8), period_start=pl.lit(T0 + at * day).cast(UTC_US),
            period_end=pl.lit(T0 + (at + 1) * day).cast(UTC_US),
        )
        for number, (batch, at, channel, name, sign) in enumerate(lines)
    ]  # fmt: skip
    store.append("billing_ledger", pl.concat(told), "once")
    store.append("billing_ledger", pl.concat(told), "again")
    first, second = (T0, T0 + day), (T0 + day, T0 + 2 * day)
    billed = store.load_billed(Scope(("BILL", "NONE"), T0, T0 + 2 * day))
    expected = {("BILL", "energy_delivered", *first), ("BILL", None, *second)}
    assert set(billed.rows()) == expected
    assert billed.height == len(expected)
    assert store.load_context(Scope(("BILL",), T0, T0 + 2 * day)).billed.equals(billed)
    assert store.load_billed(Scope(("BILL",), T0 + 2 * day, T0 + 9 * day)).height == 0
    assert store.load_billed(Scope(("NONE",), T0, T0 + 2 * day)).height == 0


def test_whether_anything_was_stored_is_told_of_each_table(store: ReadingStore) -> None:
    assert not store.has_rows("events")
    store.append("events", rows_of(TABLES["events"]), "some")
    assert store.has_rows("events")
    assert not store.has_rows("outages")
