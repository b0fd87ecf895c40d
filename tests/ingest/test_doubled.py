"""What a message says twice: values of one name, rows of one instant, the hour that a change of clock repeats."""

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from ingest.dlms.data import Data, Tag
from tests.ingest.fleet import (
    START,
    decode,
    device_name,
    interval_rows,
    notification,
    reasons,
    register_rows,
    sealed,
    stamp,
)

QUARTER = timedelta(minutes=15)
NAMED = "1-0:1.8.0.255"


def number(value: int) -> Data:
    return Data(Tag.UINT32, value)


def test_of_two_values_of_one_name_one_is_a_row_and_the_other_a_reject() -> None:
    push = register_rows([device_name(), (NAMED, number(5), (0, 30)), (NAMED, number(6), (0, 30))])
    decoded = decode(sealed(notification(push)))
    assert decoded.reads["value_milli"].to_list() == [5_000]
    assert decoded.rejects.select("reason", "detail").rows() == [
        ("layout_unknown", "1 values: another value of the same name")
    ]


def test_a_null_gives_way_to_the_value_of_its_name() -> None:
    push = register_rows([device_name(), (NAMED, Data(Tag.NULL, None), None), (NAMED, number(6), (0, 30))])
    decoded = decode(sealed(notification(push)))
    assert decoded.reads["value_milli"].to_list() == [6_000] and reasons(decoded) == []


def test_of_two_rows_of_one_instant_the_last_counts_and_the_other_is_a_reject() -> None:
    ends = (START + QUARTER, START + 2 * QUARTER, START + QUARTER)
    rows = [(stamp(end), 0, [10 * place, 0]) for place, end in enumerate(ends, 1)]
    decoded = decode(sealed(notification(interval_rows(rows))))
    energies = decoded.intervals.filter(pl.col("channel") == "energy_delivered")
    assert energies.select("interval_start", "value_milli").rows() == [(START + QUARTER, 20_000), (START, 30_000)]
    assert decoded.rejects.select("reason", "detail").rows() == [
        ("date_time", "2 values: a later row names the same instant")
    ]


def test_an_event_that_a_register_and_its_descriptor_both_tell_is_one_row_and_the_other_a_reject() -> None:
    def alarms(register: int, descriptor: int) -> bytes:
        told = [("0-0:97.98.0.255", number(register), None), ("0-0:97.98.20.255", number(descriptor), None)]
        return notification(register_rows([device_name(), *told]), START)

    decoded = decode(sealed(alarms(2, 2), 1), sealed(alarms(2, 4), 2), sealed(alarms(2, 2), 3))
    assert decoded.events.select("offset", "code").rows() == [(0, 2), (1, 2), (1, 4), (2, 2)]
    assert decoded.rejects.select("offset", "reason", "detail").rows() == [
        (offset, "layout_unknown", "1 values: an event that the message tells twice") for offset in (0, 2)
    ]
    assert decoded.counts[:3] == (3, 3, 0)


@pytest.mark.parametrize("newest_first", [False, True])
@pytest.mark.parametrize("status", [0xFF, 0x00, 0x80])
def test_the_repeated_hour_of_a_log_stands_in_both_hours_whatever_its_status_says(
    status: int, newest_first: bool
) -> None:
    first = datetime(2026, 10, 25, 1, 45)  # wall clock of Berlin: three o'clock becomes two
    ends = [first + step * QUARTER for step in range(5)] + [
        datetime(2026, 10, 25, 2) + step * QUARTER for step in range(5)
    ]
    rows = [(stamp(end, None, status), 0, [place, 0]) for place, end in enumerate(ends)]
    decoded = decode(sealed(notification(interval_rows(rows[::-1] if newest_first else rows))))
    energies = decoded.intervals.filter(pl.col("channel") == "energy_delivered").sort("interval_start")
    expected = [pl.datetime(2026, 10, 24, 23, 30, time_zone="UTC") + step * QUARTER for step in range(10)]
    assert energies["interval_start"].to_list() == pl.select(pl.concat_list(expected)).item().to_list()
    assert energies["value_milli"].to_list() == [1000 * place for place in range(10)] and reasons(decoded) == []


@pytest.mark.parametrize(("status", "hours"), [(0xFF, [0, 1]), (0x00, [0, 1]), (0x80, [0, 0])])
def test_a_read_of_the_repeated_hour_is_of_the_one_in_which_it_was_heard(status: int, hours: list[int]) -> None:
    """A clock that says DST is active is believed; one that says less means no hour that is yet to come."""
    at_two = ("0-0:1.0.0.255", stamp(datetime(2026, 10, 25, 2), None, status), None)
    pushes = [register_rows([device_name(), at_two, (NAMED, number(5), (0, 30))]), [(at_two[1], 0, [1, 0])]]
    for delay in (timedelta(seconds=-20 * 60), timedelta(seconds=7), timedelta(minutes=25)):
        heard = [datetime(2026, 10, 25, hour, tzinfo=UTC) + delay for hour in (0, 1)]
        for push in (pushes[0], interval_rows(pushes[1])):
            for at, hour in zip(heard, hours, strict=True):
                decoded = decode(sealed(notification(push)), received=at)
                rows = decoded.reads if push is pushes[0] else decoded.intervals
                ended = rows["read_at"][0] if push is pushes[0] else rows["interval_start"][0] + QUARTER
                assert ended == datetime(2026, 10, 25, hour, tzinfo=UTC), (delay, at)


def test_an_hour_that_the_zone_has_once_is_never_moved() -> None:
    ends = [datetime(2026, 6, 1, 2) + step * QUARTER for step in (1, 3, 2)]  # out of order, in summer
    decoded = decode(sealed(notification(interval_rows([(stamp(end, None), 0, [1, 0]) for end in ends]))))
    starts = decoded.intervals["interval_start"].unique(maintain_order=True).to_list()
    assert [start.strftime("%H:%M") for start in starts] == ["00:00", "00:30", "00:15"]
