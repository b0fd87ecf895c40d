"""A meter exchanged inside an interval: its parts belong to both meters, and the day is what both registers say."""

from datetime import datetime, timedelta

import polars as pl
import pytest
from vee_made import DELIVERED, JUDGED_AT, MONDAY, failed, found, intervals, meters, of, params, reads, vee

from schemas import frames
from schemas.codes import Status
from validation.vee import Vee

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
AT = MONDAY + timedelta(hours=12, minutes=7)
"""420 s after the hour, 480 s before the quarter."""
NOON, QUARTER = MONDAY + 12 * HOUR, MONDAY + 12.25 * HOUR
BOUNDS = {"grid_from": MONDAY, "grid_to": MONDAY + DAY}
PARTIAL = int(Status.PARTIAL)


def pair(at: datetime = AT) -> pl.DataFrame:
    """OLD counts hours up to the exchange, NEW quarters from there on."""
    return meters(
        {"meter_id": "OLD", "service_point_id": "SP", "removed_at": at},
        {"meter_id": "NEW", "service_point_id": "SP", "installed_at": at, "interval_s": 900},
    )


def whole(old: tuple[int, ...] = (), new: tuple[int, ...] = ()) -> pl.DataFrame:
    """12 hours of 1000 and 47 quarters of 250, without those named."""
    hours = intervals([1000] * 12, meter="OLD", skip=old)
    return pl.concat([hours, intervals([250] * 47, meter="NEW", start=QUARTER, step_s=900, skip=new)])


def registers(at: datetime = AT, final: int = 12_117, end: int = 11_883) -> pl.DataFrame:
    old = reads({MONDAY: 5_422_000, at: 5_422_000 + final}, meter="OLD")
    return pl.concat([old, reads({at: 0, MONDAY + DAY: end}, meter="NEW")])


def judged(rows: pl.DataFrame, told: pl.DataFrame | None, at: datetime = AT, **more: pl.DataFrame) -> Vee:
    return vee(
        params(**BOUNDS), intervals=rows, meters=pair(at), reads=frames.READS.empty() if told is None else told, **more
    )  # fmt: skip


def of_meter(result: Vee, meter: str) -> pl.DataFrame:
    return result.finals.filter(pl.col("meter_id") == meter)


def parts(result: Vee) -> list[tuple[object, ...]]:
    columns = ("interval_start", "interval_s", "value_milli", "quality")
    last, first = of_meter(result, "OLD").tail(1), of_meter(result, "NEW").head(1)
    return [last.select(columns).row(0), first.select(columns).row(0)]


def test_the_parts_that_only_the_registers_know_are_estimated_to_them_exactly() -> None:
    """12 117 - 12 × 1000 = 117 in seven minutes; 11 883 - 47 × 250 = 133 in eight: 24 000 in all."""
    result = judged(whole(), registers())
    assert parts(result) == [(NOON, 420, 117, "estimated"), (AT, 480, 133, "estimated")]
    assert result.finals["value_milli"].sum() == 12_117 + 11_883 == 24_000
    assert result.finals.filter(pl.col("quality") == "estimated").height == 2
    assert not result.finals.select("meter_id", "channel", "interval_start").is_duplicated().any()
    for rule in ("missing_interval", "partial_interval"):
        told = found(result, rule).select("meter_id", "first_interval", "intervals").sort("meter_id")
        assert told.rows() == [("NEW", AT, 1), ("OLD", NOON, 1)], rule
    assert failed(result, "sum_check") == failed(result, "meter_exchange") == []


def test_parts_that_the_meters_sent_are_measured_and_marked_and_the_sum_check_spans_them() -> None:
    old = intervals([1000] * 12 + [117], meter="OLD", status=[0] * 12 + [PARTIAL])
    for sent, wrong in ((133, []), (143, ["NEW"])):
        new = intervals([sent] + [250] * 47, meter="NEW", start=NOON, step_s=900, status=[PARTIAL] + [0] * 47)
        result = judged(pl.concat([old, new]), registers())
        assert [row[:3] for row in parts(result)] == [(NOON, 420, 117), (AT, 480, sent)]
        assert found(result, "sum_check")["meter_id"].to_list() == wrong
        assert found(result, "partial_interval").select("meter_id", "first_interval").sort("meter_id").rows() == [
            ("NEW", AT), ("OLD", NOON),
        ]  # fmt: skip
        assert found(result, "meter_exchange").height == found(result, "missing_interval").height == 0


def test_gaps_before_and_behind_the_exchange_share_the_register_by_the_time_of_the_parts() -> None:
    """OLD: 12 117 less ten hours are 2 117 for 1000, 1000 and 116 (7/60 of 1000): running sums 1000, 2000, 2117.

    NEW: 11 883 less 45 quarters are 633 for 133 (8/15 of 250), 250 and 250.
    """
    result = judged(whole(old=(10, 11), new=(0, 1)), registers())
    assert of_meter(result, "OLD")["value_milli"].to_list()[9:] == [1000, 1000, 1000, 117]
    assert of_meter(result, "NEW")["value_milli"].to_list()[:4] == [133, 250, 250, 250]
    assert result.finals["value_milli"].sum() == 24_000


def test_of_several_reads_in_the_interval_the_last_of_the_old_and_the_first_of_the_new_meter_count() -> None:
    minute = timedelta(minutes=1)
    more = [reads({AT - minute: 5_434_100, AT + minute: 5_434_900}, meter="OLD")]
    more.append(reads({AT - minute: 700, AT + 2 * minute: 30}, meter="NEW"))
    result = judged(whole(), pl.concat([registers(), *more]))
    assert [row[2] for row in parts(result)] == [117, 133]


def test_nothing_is_invented_of_an_interval_of_which_nothing_is_known() -> None:
    """Neither reads nor values: 12 hours and 47 quarters, as they were measured."""
    result = judged(whole(), None)
    assert (of_meter(result, "OLD").height, of_meter(result, "NEW").height) == (12, 47)
    assert set(result.finals["quality"]) == {"valid"}


def test_a_value_of_the_interval_that_nobody_calls_partial_and_no_read_confirms_waits_for_a_person() -> None:
    rows = pl.concat([whole(), intervals([1000], meter="OLD", start=NOON)])
    result = judged(rows, None)
    assert of_meter(result, "OLD").height == 12
    assert found(result, "meter_exchange").select("meter_id", "severity", "intervals").rows() == [
        ("OLD", "blocking", 1)
    ]


def test_a_part_is_no_end_of_a_line_and_no_day_to_compare_with() -> None:
    """Hour 11 is lost without a register: the mean of eleven hours, not the line from 1000 down to 117."""
    rows = intervals([1000] * 12 + [117], meter="OLD", status=[0] * 12 + [PARTIAL], skip=[11])
    old = of_meter(judged(pl.concat([rows, whole().filter(pl.col("meter_id") == "NEW")]), None), "OLD")
    assert old["value_milli"].to_list()[10:] == [1000, 1000, 117]


@pytest.mark.parametrize(
    ("seconds", "old", "new"),
    [
        (450, (NOON, 420, 117, "estimated"), (MONDAY + timedelta(hours=12, minutes=8), 420, 133, "estimated")),
        (30, (NOON - HOUR, 3600, 1000, "valid"), (NOON + timedelta(minutes=1), 840, 133, "estimated")),
    ],
)
def test_parts_last_whole_minutes_and_one_of_less_than_a_minute_is_none(seconds: int, old: object, new: object) -> None:
    at = NOON + timedelta(seconds=seconds)
    assert parts(judged(whole(), registers(at), at)) == [old, new]


def test_an_exchange_on_both_grids_leaves_no_part() -> None:
    result = judged(whole(), registers(QUARTER, 12_250, 11_750), QUARTER)
    assert parts(result) == [(NOON, 900, 250, "estimated"), (QUARTER, 900, 250, "valid")]
    on_the_hour = judged(
        pl.concat([intervals([1000] * 12, meter="OLD"), intervals([250] * 48, meter="NEW", start=NOON, step_s=900)]),
        registers(NOON, 12_000, 12_000), NOON,
    )  # fmt: skip
    assert set(on_the_hour.finals["quality"]) == {"valid"}
    assert found(on_the_hour, "partial_interval").height == 0


def test_a_second_run_changes_nothing_and_a_final_read_that_comes_late_adds_the_part() -> None:
    only_new = registers().filter((pl.col("meter_id") == "NEW") | (pl.col("read_at") == MONDAY))
    early = judged(whole(old=(11,)), only_new)
    assert of_meter(early, "OLD").height == 12
    second = judged(whole(old=(11,)), registers(), finals=early.finals)
    assert second.appended.select("meter_id", "interval_start", "value_milli", "version").rows() == [
        *((("OLD", MONDAY + k * HOUR, 1000, 2)) for k in range(12)), ("OLD", NOON, 117, 1),
    ]  # fmt: skip
    again = judged(whole(old=(11,)), registers(), finals=pl.concat([early.finals, second.appended]))
    assert again.appended.height == 0


def test_a_person_sets_the_part_of_either_meter() -> None:
    def edit(meter: str, start: datetime, end: datetime, value: int) -> pl.DataFrame:
        row = {
            "edit_id": meter, "meter_id": meter, "channel": DELIVERED, "from": start, "to": end, "action": "set",
            "value_milli": value, "reason": "read on site", "author": "ann", "approved_by": None, "made_at": JUDGED_AT,
        }  # fmt: skip
        return of(frames.EDITS, row)

    for start in (AT, NOON):
        edits = pl.concat([edit("OLD", NOON, AT, 100), edit("NEW", start, QUARTER, 150)])
        result = judged(whole(), registers(), edits=edits)
        assert [row[2:] for row in parts(result)] == [(100, "edited"), (150, "edited")]
        assert result.finals.filter(pl.col("quality") == "edited").height == 2
        kept = judged(whole(), registers(), finals=result.finals)
        assert [row[2:] for row in parts(kept)] == [(100, "edited"), (150, "edited")]
