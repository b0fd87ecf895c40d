"""Clocks that all messages of a batch share are read once, and still each message stands where it would alone."""

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from ingest.decode import Decoded, decode_frames
from ingest.dlms.apdu import encode_data_notification
from ingest.dlms.cosem import encode_date_time
from ingest.dlms.data import Data, Tag
from ingest.dlms.framing import wrap_wpdu
from ingest.keyring import Keyring
from ingest.meter_types import parse_types
from ingest.replay import Windows
from schemas.frames import UTC_US
from tests.ingest.fleet import body_of, enrolled, frames, interval_rows, meters, notification, reasons, stamp

NAMES = [f"AMI{number:013d}" for number in range(3)]
NO_KEYS = Keyring.from_csv("system_title,ek,ak\n")
REGISTRY = meters(
    enrolled(meter_id=NAMES[0], system_title=None),
    enrolled(meter_id=NAMES[1], system_title=None, timezone="Europe/Lisbon"),
    enrolled(meter_id=NAMES[2], system_title=None),
)
TWICE = datetime(2026, 10, 25, 2, 15)
"""A wall clock that Berlin had at 00:15 and at 01:15 UTC."""


def push(name: str, first: datetime, status: int = 0xFF) -> bytes:
    rows = [(stamp(first + timedelta(minutes=15 * row), None, status), 0, [100 + row, 7]) for row in range(3)]
    return wrap_wpdu(notification(interval_rows(rows, name=name)))


def decoded_of(messages: list[bytes], received: list[datetime | None]) -> Decoded:
    batch = frames(*messages).with_columns(received_at=pl.Series(received, dtype=UTC_US))
    return decode_frames(batch, NO_KEYS, Windows.empty(), REGISTRY)


@pytest.mark.parametrize("status", [0xFF, 0x00, 0x80])
@pytest.mark.parametrize("names", [[0, 0, 0], [0, 1, 2], [2, 2, 0]])
def test_an_hour_that_occurs_twice_is_told_message_by_message(names: list[int], status: int) -> None:
    messages = [push(NAMES[each], TWICE, status) for each in names]
    first = datetime(2026, 10, 25, 0, 46, tzinfo=UTC)
    received = [first, first + timedelta(hours=1), None]
    together = decoded_of(messages, received).intervals
    alone = [decoded_of([each], [at]).intervals for each, at in zip(messages, received, strict=True)]
    order = ["meter_id", "received_at", "interval_start", "channel"]
    left, right = together.drop("offset").sort(order), pl.concat(alone).drop("offset").sort(order)
    assert left.height == 18 and left.equals(right)


def test_a_push_of_clocks_without_a_value_is_a_reject_though_its_type_knows_no_channel() -> None:
    types = parse_types(
        '[[meter_type]]\nname = "bare"\n[[meter_type.push]]\nobject = "*"\nrows = "intervals"\nscaler = 0\n'
    )
    rows = Data(Tag.ARRAY, (Data(Tag.STRUCTURE, (stamp(TWICE, 0), Data(Tag.UINT8, 0))),))
    registry = meters(enrolled(meter_id=NAMES[0], system_title=None, channels=None, meter_type="bare"))
    message = wrap_wpdu(notification(body_of(rows, name=NAMES[0])))
    decoded = decode_frames(frames(message, message), NO_KEYS, Windows.empty(), registry, types)
    assert reasons(decoded) == ["layout_unknown", "layout_unknown"] and decoded.counts.decoded == 0
    assert decoded.heard.is_empty() and decoded.dirty_days.is_empty()


def test_a_header_of_no_calendar_that_all_say_is_refused_as_alone() -> None:
    body = interval_rows([(stamp(TWICE, 0), 0, [100, 7])], name=NAMES[0])
    good = encode_data_notification(1, encode_date_time(TWICE, 0), body)
    bad = good.replace(encode_date_time(TWICE, 0), encode_date_time(TWICE, 0).replace(b"\x0a\x19", b"\x0d\x19"), 1)
    learned = decode_frames(frames(wrap_wpdu(good)), NO_KEYS, Windows.empty(), REGISTRY).learned
    for batch in ([bad], [bad] * 3, [bad, bad, good]):
        sent = frames(*map(wrap_wpdu, batch))
        decoded = decode_frames(sent, NO_KEYS, Windows.empty(), REGISTRY, learned=learned)
        assert decoded.rejects.equals(decode_frames(sent, NO_KEYS, Windows.empty(), REGISTRY).rejects)
        assert reasons(decoded) == ["date_time"] * batch.count(bad)
        assert decoded.counts.decoded == batch.count(good)


@pytest.mark.parametrize("second", [(None, 30), (0, 0)], ids=["by message", "with a deviation"])
def test_rows_of_which_only_some_clocks_are_shared_are_those_of_each_message_alone(
    second: tuple[int | None, int],
) -> None:
    deviation_min, later = second

    def rows(minutes: int) -> bytes:
        clocks = [stamp(TWICE, None), stamp(TWICE + timedelta(minutes=minutes), deviation_min)]
        number, null, status = Data(Tag.UINT32, 7), Data(Tag.NULL, None), Data(Tag.UINT8, 0)
        values = [(number, number), (null, number), (null, null)]  # rows of many lengths are cut clock by clock
        clocks.append(stamp(TWICE + timedelta(minutes=15 + minutes), deviation_min))
        cells = [Data(Tag.STRUCTURE, (clock, status, *row)) for clock, row in zip(clocks, values, strict=True)]
        return wrap_wpdu(notification(body_of(Data(Tag.ARRAY, tuple(cells)), name=NAMES[0])))

    messages = [rows(15), rows(15 + later)]
    received = [datetime(2026, 10, 25, 0, 46, tzinfo=UTC), datetime(2026, 10, 25, 1, 46, tzinfo=UTC)]
    together = decoded_of(messages, list(received)).intervals
    alone = [decoded_of([each], [at]).intervals for each, at in zip(messages, received, strict=True)]
    order = ["received_at", "interval_start", "channel"]
    left, right = together.drop("offset").sort(order), pl.concat(alone).drop("offset").sort(order)
    assert left.height and left.equals(right)
