"""Which channel an OBIS code is, and how a scaler makes thousandths of it (dlms.md section 6)."""

from typing import Final

from ingest.dlms.cosem import obis_text
from schemas.codes import DLMS_UNIT, UNIT_OF_CHANNEL, Channel

ELECTRICITY: Final = 1
ABSTRACT: Final = 0
"""Group A: what the value belongs to. Abstract objects are clocks, states and counts."""
_CURRENT_VALUE: Final = 255
"""Group F: the value of now; anything else is a stored value of an earlier billing period."""
_MBUS_VOLUME: Final = (24, 2, 1)

_CHANNEL_OF: Final[dict[tuple[int, int, int], Channel]] = {
    (1, 8, 0): Channel.ENERGY_DELIVERED,
    (2, 8, 0): Channel.ENERGY_RECEIVED,
    (3, 8, 0): Channel.REACTIVE_DELIVERED,
    (4, 8, 0): Channel.REACTIVE_RECEIVED,
    (5, 8, 0): Channel.REACTIVE_Q1,
    (6, 8, 0): Channel.REACTIVE_Q2,
    (7, 8, 0): Channel.REACTIVE_Q3,
    (8, 8, 0): Channel.REACTIVE_Q4,
    (9, 8, 0): Channel.APPARENT_DELIVERED,
    (1, 7, 0): Channel.POWER_DELIVERED,
    (2, 7, 0): Channel.POWER_RECEIVED,
    (21, 7, 0): Channel.POWER_DELIVERED_L1,
    (41, 7, 0): Channel.POWER_DELIVERED_L2,
    (61, 7, 0): Channel.POWER_DELIVERED_L3,
    (22, 7, 0): Channel.POWER_RECEIVED_L1,
    (42, 7, 0): Channel.POWER_RECEIVED_L2,
    (62, 7, 0): Channel.POWER_RECEIVED_L3,
    (3, 7, 0): Channel.REACTIVE_POWER_DELIVERED,
    (4, 7, 0): Channel.REACTIVE_POWER_RECEIVED,
    (32, 7, 0): Channel.VOLTAGE_L1,
    (52, 7, 0): Channel.VOLTAGE_L2,
    (72, 7, 0): Channel.VOLTAGE_L3,
    (31, 7, 0): Channel.CURRENT_L1,
    (51, 7, 0): Channel.CURRENT_L2,
    (71, 7, 0): Channel.CURRENT_L3,
    (13, 7, 0): Channel.POWER_FACTOR,
    (14, 7, 0): Channel.FREQUENCY,
    (1, 6, 0): Channel.DEMAND_MAX,
    (1, 8, 1): Channel.ENERGY_DELIVERED_T1,
    (1, 8, 2): Channel.ENERGY_DELIVERED_T2,
    (1, 8, 3): Channel.ENERGY_DELIVERED_T3,
    (1, 8, 4): Channel.ENERGY_DELIVERED_T4,
    (2, 8, 1): Channel.ENERGY_RECEIVED_T1,
    (2, 8, 2): Channel.ENERGY_RECEIVED_T2,
    (2, 8, 3): Channel.ENERGY_RECEIVED_T3,
    (2, 8, 4): Channel.ENERGY_RECEIVED_T4,
}
"""By C, D, E where A = 1; B tells the measuring point and does not matter (Kamstrup sends 1)."""
OBIS_OF: Final[dict[Channel, str]] = {
    **{channel: f"1-0:{c}.{d}.{e}.255" for (c, d, e), channel in _CHANNEL_OF.items()},
    Channel.VOLUME: "0-1:24.2.1.255",
}
"""The usual OBIS code of each channel, for layouts that name channels only; `other` has none."""


def channel_of(logical_name: bytes, unit: int | None = None) -> Channel:
    """The channel of a value by its OBIS code; `other` where there is none.

    Args:
        logical_name: Six octets.
        unit: Blue Book code as sent; where it is not the channel's unit, the value is not of that channel.
    """
    a, _, c, d, e, f = logical_name
    channel = Channel.OTHER
    if f == _CURRENT_VALUE:
        if a == ELECTRICITY:
            channel = _CHANNEL_OF.get((c, d, e), Channel.OTHER)
        elif a == ABSTRACT and (c, d, e) == _MBUS_VOLUME:
            channel = Channel.VOLUME
    if channel is not Channel.OTHER and unit is not None and DLMS_UNIT.get(unit) != UNIT_OF_CHANNEL[channel]:
        return Channel.OTHER
    return channel


def scaling_key(logical_name: bytes) -> str:
    """`C.D.E`, by which a meter type names what it scales."""
    return obis_text(logical_name).split(":")[1].rsplit(".", 1)[0]
