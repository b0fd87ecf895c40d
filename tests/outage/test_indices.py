"""The identities of IEEE 1366."""

import math
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from outage_logs import MINUTE, T0, alive, below, log, told, tree

from outage.detect import detect_outages
from outage.indices import IndexParams, compute_indices, interruptions_of
from outage.interruptions import INTERRUPTIONS
from outage.major_events import find_major_event_days
from outage.params import DetectParams
from schemas.errors import ContractError

METERS = tree(feeders=2, laterals=1, transformers=2, points=5)
POINTS = METERS["meter_id"].to_list()
FROM = datetime(2026, 1, 10, tzinfo=UTC)
PARAMS = IndexParams(period_from=FROM, period_to=FROM + timedelta(days=2))


def interruptions(rows: list[tuple[int, int, int, bool]]) -> pl.DataFrame:
    """(meter number, start minute, minutes, momentary) as INTERRUPTIONS."""
    return pl.DataFrame(
        [
            {
                "meter_id": POINTS[meter],
                "service_point_id": POINTS[meter].replace("M", "SP"),
                "feeder_id": f"F{POINTS[meter][1]}",
                "started_at": FROM + start * MINUTE,
                "restored_at": FROM + (start + minutes) * MINUTE,
                "incident_id": "i",
                "heard": True,
                "momentary": momentary,
            }
            for meter, start, minutes, momentary in rows
        ],
        schema=INTERRUPTIONS,
    )


def whole(rows: list[tuple[int, int, int, bool]]) -> dict[str, float]:
    found = compute_indices(interruptions(rows), METERS, PARAMS).rows
    return found.filter(pl.col("feeder_id").is_null() & pl.col("day").is_null()).row(0, named=True)


def test_two_customers_of_twenty_for_an_hour() -> None:
    found = whole([(0, 600, 60, False), (1, 600, 60, False)])
    assert (found["saifi"], found["saidi_min"], found["caidi_min"], found["caifi"]) == (0.1, 6.0, 60.0, 1.0)
    assert found["asai"] == pytest.approx(1 - 6 / 2880)


SOME = st.lists(
    st.tuples(st.integers(0, 19), st.integers(0, 2000), st.integers(6, 300), st.booleans()), min_size=1, max_size=30
)


@settings(max_examples=15, deadline=None)
@given(SOME)
def test_caidi_times_saifi_is_saidi_on_every_line(rows: list[tuple[int, int, int, bool]]) -> None:
    found = compute_indices(interruptions(rows), METERS, PARAMS).rows.filter(pl.col("saifi") > 0)
    assert (found["caidi_min"] * found["saifi"] - found["saidi_min"]).abs().max() in (None, pytest.approx(0, abs=1e-9))


@settings(max_examples=15, deadline=None)
@given(SOME)
def test_nobody_is_counted_twice_in_the_same_minute(rows: list[tuple[int, int, int, bool]]) -> None:
    minutes = {(m, t) for m, start, length, momentary in rows if not momentary for t in range(start, start + length)}
    begun = [(m, s, n, b) for m, s, n, b in rows if s < 2880]
    cut = sum(1 for _, t in minutes if t < 2880)
    assert whole(begun)["customer_minutes"] == pytest.approx(cut)


@settings(max_examples=15, deadline=None)
@given(SOME)
def test_feeders_add_up_to_the_whole_and_days_to_the_period(rows: list[tuple[int, int, int, bool]]) -> None:
    found = compute_indices(interruptions(rows), METERS, PARAMS).rows
    named, dated = pl.col("feeder_id").is_not_null(), pl.col("day").is_not_null()
    totals = [found.filter(a, b)["customer_minutes"].sum() for a in (named, ~named) for b in (dated, ~dated)]
    assert totals == pytest.approx([totals[0]] * 4)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 19), st.integers(1, 100), st.integers(1, 100))
def test_cutting_an_interruption_in_two_steps_never_raises_saifi(meter: int, first: int, rest: int) -> None:
    cut = whole([(meter, 0, first, False), (meter, first, rest, False)])
    assert cut["saifi"] == whole([(meter, 0, first + rest, False)])["saifi"]


@settings(max_examples=15, deadline=None)
@given(SOME, st.randoms(use_true_random=False), st.integers(1, 3))
def test_order_and_replay_of_the_interruptions_change_no_index(
    rows: list[tuple[int, int, int, bool]], random: object, times: int
) -> None:
    again = rows * times
    random.shuffle(again)  # type: ignore[attr-defined]
    expected = compute_indices(interruptions(rows), METERS, PARAMS)
    found = compute_indices(interruptions(again), METERS, PARAMS)
    assert found.rows.equals(expected.rows)


@settings(max_examples=15, deadline=None)
@given(SOME)
def test_indices_of_customers_interrupted_are_those_of_all_customers_over_their_share(
    rows: list[tuple[int, int, int, bool]],
) -> None:
    """CAIFI counts each customer once below the line: SAIFI · N_T over the customers interrupted at least once."""
    found = whole(rows)
    dark = {meter for meter, start, _, momentary in rows if not momentary and start < 2880}
    if not dark:
        assert found["caifi"] is None
        return
    assert found["caifi"] == pytest.approx(found["saifi"] * len(POINTS) / len(dark))
    assert found["caifi"] >= 1
    assert found["asai"] == pytest.approx(1 - found["saidi_min"] / 2880)
    assert found["maifi_e"] <= found["maifi"]


def test_a_day_without_interruptions_has_saidi_zero_and_no_caidi() -> None:
    found = compute_indices(INTERRUPTIONS.to_frame(), METERS, PARAMS).rows
    assert found["saidi_min"].to_list() == [0.0] * found.height
    assert found["caidi_min"].null_count() == found.height


def test_momentaries_that_end_in_a_lockout_do_not_count() -> None:
    found = whole([(0, 0, 1, True), (0, 2, 1, True), (0, 4, 60, False), (1, 500, 1, True), (1, 503, 1, True)])
    assert (found["maifi"], found["maifi_e"], found["saifi"]) == (0.1, 0.05, 0.05)


def test_what_is_left_out_is_named() -> None:
    stranger = interruptions([(0, 10, 10, False)]).with_columns(service_point_id=pl.lit("SPX"))
    early = interruptions([(0, -20, 10, False)])
    excluded = compute_indices(pl.concat([stranger, early]), METERS, PARAMS).excluded
    assert excluded.rows() == [("began outside the period", 1), ("not a customer of METERS", 1)]


def test_an_empty_period_is_refused() -> None:
    with pytest.raises(ContractError, match="period_to"):
        compute_indices(INTERRUPTIONS.to_frame(), METERS, IndexParams(period_from=FROM, period_to=FROM))


def test_steps_alone_give_the_same_indices_as_the_meters_themselves() -> None:
    dark = below(METERS, "F0")
    events = log(
        told(dark, "power_down", T0, spread_s=1),
        told(dark[:4], "power_up", T0 + 30 * MINUTE, spread_s=1),
        told(dark[4:], "power_up", T0 + 90 * MINUTE, spread_s=1),
    )
    found = detect_outages(events, METERS, alive(METERS, dark, T0 + 10 * MINUTE), DetectParams())
    direct = compute_indices(found.interruptions, METERS, PARAMS).rows
    by_steps = compute_indices(interruptions_of(found.outages, METERS), METERS, PARAMS).rows
    assert direct["saidi_min"].to_list() == pytest.approx(by_steps["saidi_min"].to_list())
    assert direct["saifi"].sum() > 0


def record(values: list[float]) -> pl.DataFrame:
    first = FROM.date()
    return pl.DataFrame({"day": [first + timedelta(days=n) for n in range(len(values))], "saidi_min": values})


def test_the_threshold_is_alpha_plus_two_and_a_half_beta() -> None:
    """ln 1, ln e and ln e²: mean 1, deviation of the sample 1, T_MED = e^3.5."""
    found = find_major_event_days(record([1.0, math.e, math.e**2]), record([33.0, 33.2]))
    assert found.threshold_min == pytest.approx(math.exp(3.5))
    assert (found.alpha, found.beta) == (pytest.approx(1), pytest.approx(1))
    assert found.days["major"].to_list() == [False, True]
    assert found.short_record


@settings(max_examples=15, deadline=None)
@given(st.lists(st.floats(0.01, 500), min_size=2, max_size=50), st.integers(1, 40))
def test_days_without_outages_leave_the_threshold_unchanged(values: list[float], calm: int) -> None:
    judged = record([1.0])
    with_calm = find_major_event_days(record([*values, *[0.0] * calm]), judged)
    assert with_calm.threshold_min == pytest.approx(find_major_event_days(record(values), judged).threshold_min)


def test_a_record_without_outages_gives_no_threshold() -> None:
    found = find_major_event_days(record([0.0] * 2000), record([5.0]))
    assert (found.threshold_min, found.days["major"].to_list(), found.short_record) == (None, [False], False)


def test_a_record_with_a_day_twice_is_refused() -> None:
    with pytest.raises(ContractError, match=r"record\.day"):
        find_major_event_days(pl.concat([record([1.0]), record([2.0])]), record([1.0]))


def test_what_began_on_a_major_event_day_is_left_out_and_named() -> None:
    rows = interruptions([(0, 600, 60, False), (1, 2000, 60, False)])
    some = IndexParams(
        period_from=PARAMS.period_from, period_to=PARAMS.period_to, excluded_days=(FROM.date() + timedelta(days=1),)
    )
    found = compute_indices(rows, METERS, some)
    assert found.excluded.rows() == [("began on an excluded day", 1)]
    total = found.rows.filter(pl.col("feeder_id").is_null() & pl.col("day").is_null()).row(0, named=True)
    assert total["saidi_min"] == 3.0
    assert total["asai"] == pytest.approx(1 - 3 / 1440)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 19), st.integers(0, 500), st.integers(1, 200), st.integers(0, 200))
def test_merging_two_incidents_that_overlap_never_raises_saifi(meter: int, at: int, length: int, shift: int) -> None:
    second = (meter, at + min(shift, length), length, False)
    both = whole([(meter, at, length, False), second])
    assert both["saifi"] == whole([(meter, at, length + min(shift, length), False)])["saifi"]


def test_a_day_of_25_hours_counts_its_minutes() -> None:
    autumn = IndexParams(
        period_from=datetime(2026, 10, 24, 22, tzinfo=UTC),
        period_to=datetime(2026, 10, 25, 23, tzinfo=UTC),
        timezone="Europe/Berlin",
    )
    row = interruptions([(0, 0, 60, False)]).with_columns(
        started_at=pl.lit(datetime(2026, 10, 25, 0, 30, tzinfo=UTC)).dt.cast_time_unit("us"),
        restored_at=pl.lit(datetime(2026, 10, 25, 1, 30, tzinfo=UTC)).dt.cast_time_unit("us"),
    )
    found = compute_indices(row, METERS, autumn).rows.filter(pl.col("feeder_id").is_null())
    assert found["asai"].to_list() == pytest.approx([1 - 3 / 1500] * 2)
