"""Which channel a value of a push belongs to, and by which power of ten it becomes thousandths (dlms.md section 6)."""

from typing import Final, NamedTuple

from ingest.dlms.cosem import channel_of, obis_text
from ingest.meter_types import MeterType
from schemas.codes import DLMS_UNIT, UNIT_OF_CHANNEL, Channel

ABSTRACT: Final = 0
"""Group A of objects that are no medium: states, counts, identifiers. Their numbers are plain counts."""
MILLI: Final = 3


class Quantity(NamedTuple):
    """What a number under a name is. `power`: value x 10^power is in thousandths; None where nothing says it."""

    channel: Channel
    obis: str | None
    power: int | None


def quantity_of(name: bytes, scaler: int | None, unit: int | None, meter_type: MeterType) -> Quantity:
    """The quantity of a value by its logical name, the scaler and unit sent with it, and its meter's type.

    A sent scaler wins over the type's. A unit that is not the channel's makes the value `other`: it is kept, under its
    OBIS code, but it is not that channel.
    """
    channel = channel_of(name)
    if unit is not None and channel is not Channel.OTHER and DLMS_UNIT.get(unit) != UNIT_OF_CHANNEL[channel]:
        channel = Channel.OTHER
    obis = obis_text(name)
    if scaler is None:
        scaler = meter_type.scalers.get(_scaling_key(obis))
    if scaler is None and name[0] == ABSTRACT and channel is Channel.OTHER:
        scaler = 0
    return Quantity(channel, obis, None if scaler is None else scaler + MILLI)


def _scaling_key(obis: str) -> str:
    """`C.D.E`, by which a meter type names what it scales."""
    return obis.split(":")[1].rsplit(".", 1)[0]
