"""Columns of a row that are scaled differently: one scaler a channel in the push of the meter's type."""

import pytest

from ingest.dlms.framing import wrap_wpdu
from ingest.meter_types import parse_types
from schemas.errors import ContractError
from tests.ingest.fleet import decode, enrolled, interval_rows, meters, notification, usual_rows

TYPE = """
[[meter_type]]
name = "mixed"
channels = ["energy_delivered", "voltage_l1", "current_l1"]
[[meter_type.push]]
object = "1-0:99.1.0.255"
rows = "intervals"
scaler = {scaler}
"""


def cut(scaler: str) -> tuple[list[tuple[str, int]], list[tuple[str, str]]]:
    """Channel and thousandths of 1000, 2301 and 4712 under this scaler, and reasons and details of rejects."""
    registry = meters(
        enrolled(
            meter_type="mixed",
            channels=["energy_delivered", "voltage_l1", "current_l1"],
            system_title=None,
            security_min=0,
        )
    )
    push = wrap_wpdu(notification(interval_rows(usual_rows(1, values=(1000, 2301, 4712)))))
    decoded = decode(push, registry=registry, types=parse_types(TYPE.format(scaler=scaler)))
    return (
        decoded.intervals.select("channel", "value_milli").rows(),
        decoded.rejects.select("reason", "detail").rows(),
    )


def test_each_channel_is_scaled_by_its_own() -> None:
    values, rejects = cut("[0, -1, -2]")
    assert not rejects
    assert values == [("energy_delivered", 1_000_000), ("voltage_l1", 230_100), ("current_l1", 47_120)]


def test_scalers_that_are_not_one_a_channel_refuse_the_rows() -> None:
    values, rejects = cut("[0, -1]")
    assert not values
    ((reason, detail),) = rejects
    assert reason == "layout_unknown" and detail.endswith("2 scalers for 3 channels")


def test_a_value_that_its_own_scaler_makes_no_whole_thousandths_is_refused_alone() -> None:
    values, rejects = cut("[0, -9, 0]")
    assert [channel for channel, _ in values] == ["energy_delivered", "current_l1"]
    assert [reason for reason, _ in rejects] == ["scaling"]


def test_a_scaler_beyond_an_octet_is_unusable() -> None:
    with pytest.raises(ContractError, match="scaler: 400"):
        parse_types(TYPE.format(scaler="[0, 400, 0]"))
