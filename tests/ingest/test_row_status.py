"""The status of a row: an octet behind the clock, or none where the type says so; never a register (dlms.md 7)."""

from datetime import timedelta

import polars as pl
import pytest

from ingest.decode import Decoded
from ingest.dlms.data import Data, Tag
from ingest.dlms.framing import wrap_wpdu
from ingest.meter_types import MeterTypes, parse_types
from tests.ingest.fleet import START, body_of, decode, enrolled, meters, notification, reasons, stamp

ONE = ["energy_delivered"]
TWO = ["energy_delivered", "energy_received"]


def types(status: str = "") -> MeterTypes:
    return parse_types(
        f'[[meter_type]]\nname = "bare"\n[[meter_type.push]]\nobject = "*"\nrows = "intervals"\n{status}'
    )


def decoded(numbers: list[Data], channels: list[str], status: str = "") -> Decoded:
    """Two rows of a clock and these, from a meter of those channels whose security is not asked for."""
    clocks = [stamp(START + timedelta(minutes=15 * row)) for row in (1, 2)]
    rows = Data(Tag.ARRAY, tuple(Data(Tag.STRUCTURE, (clock, *numbers)) for clock in clocks))
    registry = meters(enrolled(meter_type="bare", system_title=None, security_min=0, channels=channels))
    return decode(wrap_wpdu(notification(body_of(rows))), registry=registry, types=types(status))


def u32(value: int) -> Data:
    return Data(Tag.UINT32, value)


@pytest.mark.parametrize("tag", [Tag.UINT16, Tag.UINT32, Tag.UINT64])
def test_a_number_wider_than_an_octet_is_no_status(tag: Tag) -> None:
    """A register is not eaten as a status, the next one filed under its channel; 0x0100 is not cut to nothing."""
    found = decoded([Data(tag, 0x0100), u32(777)], ONE)
    assert (found.intervals.height, reasons(found)) == (0, ["layout_unknown"])
    assert "octet of status" in found.rejects["detail"][0]


@pytest.mark.parametrize("tag", [Tag.UINT8, Tag.ENUM])
def test_an_octet_is_a_status(tag: Tag) -> None:
    found = decoded([Data(tag, 0), u32(777)], ONE)
    assert (found.intervals["value_milli"].to_list(), reasons(found)) == ([777_000] * 2, [])


def test_rows_of_a_type_without_status_hold_a_number_a_channel_behind_the_clock() -> None:
    found = decoded([u32(123_456), u32(777)], TWO, 'status = "none"')
    wanted = [("energy_delivered", 123_456_000, 0), ("energy_received", 777_000, 0)]
    cells = found.intervals.with_columns(pl.col("channel").cast(pl.String)).select("channel", "value_milli", "status")
    assert (sorted(cells.rows()), reasons(found)) == (sorted(wanted * 2), [])
    found = decoded([u32(123_456), u32(777)], ONE, 'status = "none"')
    assert (found.intervals.height, reasons(found)) == (0, ["layout_unknown"])


def test_rows_without_status_are_refused_where_their_type_says_that_one_stands_there() -> None:
    found = decoded([Data(Tag.UINT8, 1), Data(Tag.UINT8, 2)], TWO)
    assert (found.intervals.height, reasons(found)) == (0, ["layout_unknown"])
