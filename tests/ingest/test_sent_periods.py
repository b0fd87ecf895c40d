"""A profile that sends its capture period with its buffer: the period of its rows, or none of them is placed."""

from datetime import datetime, timedelta

import pytest

from ingest.decode import Decoded
from ingest.dlms.data import Data, Tag
from tests.ingest.fleet import NAME, START, decode, enrolled, meters, sealed, stamp
from tests.ingest.test_attributes import access, listed, structure, u32

NO_CLOCK = Data(Tag.NULL, None)
MINUTE = timedelta(minutes=1)


def profiled(minutes: list[int | None], period_s: int | Data, form=listed, profile="1-0:99.1.0.255", values=2) -> bytes:
    """The message of rows at these minutes."""
    clocks = [NO_CLOCK if each is None else stamp(START + each * MINUTE) for each in minutes]
    rows = Data(
        Tag.ARRAY,
        tuple(
            structure(clock, Data(Tag.UINT8, 0), *(u32(100 + row) for _ in range(values)))
            for row, clock in enumerate(clocks)
        ),
    )
    period = period_s if isinstance(period_s, Data) else u32(period_s)
    name = Data(Tag.OCTET_STRING, NAME.encode())
    return form((1, "0-0:42.0.0.255", 2, name), (7, profile, 2, rows), (7, profile, 4, period))


def read(*messages: bytes, interval_s: int | None = 900, kind: str = "generic", **changes: object) -> Decoded:
    registry = meters(enrolled(interval_s=interval_s, meter_type=kind, **changes))
    return decode(*(sealed(each, counter) for counter, each in enumerate(messages, 1)), registry=registry)


def starts(decoded: Decoded) -> list[tuple[datetime, int]]:
    return decoded.intervals.filter(channel="energy_delivered").select("interval_start", "interval_s").rows()


@pytest.mark.parametrize("form", [listed, access])
@pytest.mark.parametrize("minutes", [[60], [60, 90], [60, None]])
def test_a_sent_period_at_odds_with_the_known_one_places_no_row(form, minutes: list[int | None]) -> None:
    decoded = read(profiled(minutes, 1800, form))
    assert decoded.intervals.is_empty()
    detail = f"{2 * len(minutes)} values: the capture period that is sent is not the known 900 s"
    assert decoded.rejects.select("reason", "detail").rows() == [("layout_unknown", detail)]


@pytest.mark.parametrize("form", [listed, access])
def test_a_sent_period_that_is_the_known_one_is_that_of_every_row_and_no_reject(form) -> None:
    decoded = read(profiled([60, None, 90], 900, form))
    assert starts(decoded) == [(START + each * MINUTE, 900) for each in (45, 60, 75)]
    assert decoded.rejects.is_empty()


def test_each_message_of_one_layout_is_judged_by_the_period_that_it_sends() -> None:
    decoded = read(profiled([60], 900), profiled([75], 1800), profiled([90], 900), profiled([105], 0))
    assert starts(decoded) == [(START + each * MINUTE, 900) for each in (45, 75, 90)]
    assert decoded.rejects.select("offset", "detail").rows() == [
        (1, "2 values: the capture period that is sent is not the known 900 s"),
        (3, "1 values: a capture period of no time"),
    ]


@pytest.mark.parametrize("minutes", [[60], [60, None], [60, 120]])
def test_where_nobody_knows_the_period_the_sent_one_is_taken(minutes: list[int | None]) -> None:
    decoded = read(profiled(minutes, 1800), profiled([1000, *[None] * (len(minutes) - 1)], 3600), interval_s=None)
    of_first = [START + 30 * MINUTE, START + (60 if None in minutes else 90) * MINUTE][: len(minutes)]
    of_second = [START + (940 + 60 * row) * MINUTE for row in range(len(minutes))]
    assert sorted(starts(decoded)) == [*((at, 1800) for at in of_first), *((at, 3600) for at in of_second)]
    assert decoded.rejects.is_empty()


@pytest.mark.parametrize(("minutes", "period_s", "detail"), [
    ([60, 75], 1800, "4 values: no step between clocks is of the one that is sent"),
    ([60, 75], 450, "4 values: the capture period is not known"),
    ([60], 0, "2 values: the capture period is not known"),
])  # fmt: skip
def test_a_sent_period_that_cannot_be_that_of_the_rows_places_none(
    minutes: list[int], period_s: int, detail: str
) -> None:
    decoded = read(profiled(minutes, period_s), interval_s=None)
    assert decoded.intervals.is_empty()
    assert detail in decoded.rejects["detail"].to_list()


def test_a_period_of_no_time_leaves_the_steps_to_tell_it() -> None:
    decoded = read(profiled([60, 90, 120], 0), interval_s=None)
    assert starts(decoded) == [(START + each * MINUTE, 1800) for each in (30, 60, 90)]
    assert decoded.rejects["detail"].to_list() == ["1 values: a capture period of no time"]


@pytest.mark.parametrize("period", [Data(Tag.UINT64, 2**64 - 1), Data(Tag.INT32, -900)])
def test_a_period_beyond_all_time_is_refused_and_the_rows_are_of_the_known_one(period: Data) -> None:
    decoded = read(profiled([60], period))
    assert starts(decoded) == [(START + 45 * MINUTE, 900)]
    assert decoded.rejects["detail"].to_list() == ["1 values: a capture period of no time"]


def test_reads_without_a_clock_are_a_sent_period_apart_not_an_interval_of_the_meter() -> None:
    daily = profiled([0, None, None], 86400, profile="1-0:99.2.0.255", values=1)
    decoded = read(daily, kind="profile_cumulative", channels=["energy_delivered"])
    assert decoded.reads["read_at"].to_list() == [START + timedelta(days=each) for each in range(3)]
    assert decoded.rejects.is_empty()
