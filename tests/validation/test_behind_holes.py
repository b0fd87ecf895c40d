"""What looks at neighbours says of holes: a run that is long enough only with the holes in it has not passed."""

from datetime import timedelta

import polars as pl
import pytest
from vee_made import MONDAY, failed, found, intervals, meters, of, params, reads, unjudged, vee

from schemas import frames
from schemas.codes import Status

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
KWH = 1_000_000


@pytest.mark.parametrize(
    ("values", "skip", "fails", "open_cells"),
    [
        ([1, *[7] * 24, 2], [9], [], []),
        ([1, *[7] * 25, 2], [9], [], [at for at in range(1, 26) if at != 9]),
        ([1, *[7] * 15, *[8] * 15, 2], [15], [], []),
        ([1, *[7] * 20, 3, *[7] * 20, 2], [10], [], []),
        ([1, *[7] * 25, 7, *[7] * 4, 2], [26], list(range(1, 26)), [27, 28, 29, 30]),
        ([1, *[7] * 40, 2], [9, 10, 11, 20], [], [at for at in range(1, 41) if at not in (9, 10, 11, 20)]),
        ([*[7] * 40], [*range(20, 40)], [], []),
        ([1, *[0] * 40, 2], [9], [], []),
    ],
    ids=["a day", "an hour more", "two values", "another between", "fails beside", "four holes", "an end", "zeros"],
)
def test_a_flat_line_of_a_day_with_a_hole_in_it_is_unjudged(
    values: list[int], skip: list[int], fails: list[int], open_cells: list[int]
) -> None:
    rows = pl.concat([intervals(values, skip=skip), intervals([5, 6, 7, 8] * 10, meter="MTR2")])
    result = vee(intervals=rows)
    mine = result._replace(finals=result.finals.filter(pl.col("meter_id") == "MTR1"))
    assert failed(mine, "flat_line") == fails
    assert unjudged(mine, "flat_line") == open_cells
    told = result.unjudged.filter(pl.col("rule") == "flat_line")["intervals"].to_list()
    assert told == [len(open_cells)] * bool(open_cells)


def test_zeros_of_three_days_with_a_hole_in_them_are_unjudged_though_supply_and_service_are_known() -> None:
    elsewhere = {"event": "power_down", "code": 1, "origin": "meter", "occurred_at": MONDAY - DAY, "meter_id": "OTHER"}
    events = of(frames.EVENTS, {**elsewhere, "sequence": None, "authenticated": True})
    for count, marked in ((71, []), (72, [at for at in range(1, 73) if at != 30])):
        result = vee(intervals=intervals([5, *[0] * count, 5], skip=[30]), events=events)
        assert failed(result, "zero_on_active") == []
        assert unjudged(result, "zero_on_active") == marked


def test_a_part_of_an_interval_is_no_step_down_and_what_follows_it_no_step_up() -> None:
    """One minute of a steady 4 kW is 66.667 Wh, and the quarter after it 1 kWh: fifteen times as much."""
    at = MONDAY + timedelta(hours=12, minutes=14)
    new = {"meter_id": "NEW", "service_point_id": "SP", "installed_at": at, "interval_s": 900}
    result = vee(
        params(grid_from=MONDAY + 12 * HOUR, grid_to=MONDAY + DAY),
        intervals=intervals(
            [66_667] + [KWH] * 47, meter="NEW", start=MONDAY + 12 * HOUR, step_s=900,
            status=[int(Status.PARTIAL)] + [0] * 47,
        ),
        reads=reads({at: 0, MONDAY + DAY: 47 * KWH + 66_667}, meter="NEW"),
        meters=meters({"meter_id": "OLD", "service_point_id": "SP", "removed_at": at}, new),
    )  # fmt: skip
    assert result.finals.filter(pl.col("meter_id") == "NEW")["value_milli"].to_list() == [66_667] + [KWH] * 47
    assert found(result, "step_change").height == 0
    assert unjudged(result, "step_change")[:2] == [0, 1]
