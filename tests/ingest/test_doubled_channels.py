"""Two columns of one channel would be one row in the store: their rows are refused, whole."""

import pytest

from ingest.dlms.framing import wrap_wpdu
from ingest.meter_types import parse_types
from schemas.errors import ContractError
from tests.ingest.fleet import decode, enrolled, interval_rows, meters, notification, usual_rows


@pytest.mark.parametrize("channels", [["energy_delivered"] * 2, ["other", "other"]])
def test_rows_of_a_meter_with_a_channel_twice_are_refused(channels: list[str]) -> None:
    registry = meters(enrolled(channels=channels, system_title=None, security_min=0))
    decoded = decode(wrap_wpdu(notification(interval_rows(usual_rows()))), registry=registry)
    assert decoded.intervals.is_empty()
    assert decoded.rejects.select("reason", "detail").rows() == [
        ("layout_unknown", "12 values: METERS or the meter's type name a channel twice")
    ]


def test_a_meter_type_with_a_channel_twice_is_unusable() -> None:
    with pytest.raises(ContractError, match="'twice', channels: one stands twice"):
        parse_types('[[meter_type]]\nname = "twice"\nchannels = ["voltage_l1", "voltage_l1"]\n')
