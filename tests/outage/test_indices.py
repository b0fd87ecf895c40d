"""The identities of IEEE 1366."""

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from outage_logs import MINUTE, T0, alive, below, log, told, tree

from outage.detect import INTERRUPTIONS, detect_outages
from outage.indices import IndexParams, compute_indices, interruptions_of
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


@settings(max_examples=40, deadline=None)
@given(SOME)
def test_caidi_times_saifi_is_saidi_on_every_line(rows: list[tuple[int, int, int, bool]]) -> None:
    found = compute_indices(interruptions(rows), METERS, PARAMS).rows.filter(pl.col("saifi") > 0)
    assert (found["caidi_min"] * found["saifi"] - found["saidi_min"]).abs().max() in (None, pytest.approx(0, abs=1e-9))


@settings(max_examples=40, deadline=None)
@given(SOME)
def test_nobody_is_counted_twice_in_the_same_minute(rows: list[tuple[int, int, int, bool]]) -> None:
    minutes = {(m, t) for m, start, length, momentary in rows if not momentary for t in range(start, start + length)}
    begun = [(m, s, n, b) for m, s, n, b in rows if s < 2880]
    cut = sum(1 for _, t in minutes if t < 2880)
    assert whole(begun)["customer_minutes"] == pytest.approx(cut)


@settings(max_examples=40, deadline=None)
@given(SOME)
def test_feeders_add_up_to_the_whole_and_days_to_the_period(rows: list[tuple[int, int, int, bool]]) -> None:
    found = compute_indices(interruptions(rows), METERS, PARAMS).rows
    named, dated = pl.col("feeder_id").is_not_null(), pl.col("day").is_not_null()
    totals = [found.filter(a, b)["customer_minutes"].sum() for a in (named, ~named) for b in (dated, ~dated)]
    assert totals == pytest.approx([totals[0]] * 4)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 19), st.integers(1, 100), st.integers(1, 100))
def test_cutting_an_interruption_in_two_steps_never_raises_saifi(meter: int, first: int, rest: int) -> None:
    cut = whole([(meter, 0, first, False), (meter, first, rest, False)])
    assert cut["saifi"] == whole([(meter, 0, first + rest, False)])["saifi"]


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
