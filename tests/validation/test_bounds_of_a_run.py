"""A day is judged alike, whatever other days are asked for with it."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from vee_made import JUDGED_AT, MONDAY, intervals, params, reads, vee

HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def between(start: datetime, end: datetime, **more: Any) -> Any:
    return params(grid_from=start, grid_to=end, **more)


@pytest.mark.parametrize("lost", [0, 71])
def test_a_read_beyond_the_last_value_anchors_the_day_before_it_too(lost: int) -> None:
    given = {
        "intervals": intervals([1_000] * 72, skip=[30, lost]), "reads": reads({MONDAY: 0, MONDAY + 3 * DAY: 72_600}),
    }  # fmt: skip
    whole = vee(between(MONDAY, MONDAY + 3 * DAY), **given)
    assert [whole.finals["value_milli"][at] for at in (30, lost)] == [1_300, 1_300]
    alone = vee(between(MONDAY + DAY, MONDAY + 2 * DAY), **given, finals=whole.finals)
    assert alone.finals.height == 24
    assert alone.appended.height == 0


def test_a_stretch_whose_end_is_awaited_yet_anchors_nothing() -> None:
    given = {"intervals": intervals([1_000] * 47, skip=[30]), "reads": reads({MONDAY: 0, MONDAY + 2 * DAY: 48_600})}
    now = MONDAY + 2 * DAY + HOUR
    waits = vee(between(MONDAY + DAY, MONDAY + 2 * DAY, judged_at=now, estimate_after_s=86_400), **given)
    assert waits.finals["value_milli"].to_list() == [1_000] * 23
    later = between(MONDAY + DAY, MONDAY + 2 * DAY, judged_at=JUDGED_AT + 3 * DAY, estimate_after_s=86_400)
    assert [vee(later, **given).finals["value_milli"][at] for at in (6, 23)] == [1_300, 1_300]
