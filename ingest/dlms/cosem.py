"""COSEM date-times, OBIS codes, scalers and units (Blue Book)."""

import struct
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import Final, NamedTuple

import msgspec

from ingest.dlms.data import Data, Tag
from schemas.codes import Channel, RejectReason
from schemas.errors import ContractError, ProtocolError

DATE_TIME_OCTETS: Final = 12
DEVIATION_UNSPECIFIED: Final = -0x8000
MAX_DEVIATION_MIN: Final = 840
"""Zones reach fourteen hours east of Greenwich (Kiribati; thirteen in New Zealand): beyond the 720 of the Blue Book."""
STATUS_UNSPECIFIED: Final = 0xFF
STATUS_INVALID: Final = 0x01
STATUS_DOUBTFUL: Final = 0x02
STATUS_OTHER_BASE: Final = 0x04
STATUS_SETUP_INVALID: Final = 0x08
STATUS_DST: Final = 0x80

NO_DATE_TIME: Final = b"\xff" * 9 + b"\x80\x00\xff"
"""A date-time of which nothing is specified."""

_FIELDS: Final = struct.Struct(">HBBBBBBBhB")
_WILD: Final = 0xFF
_WILD_YEAR: Final = 0xFFFF
_MONTHS: Final = frozenset((*range(1, 13), 0xFD, 0xFE, _WILD))  # FE: DST begins, FD: DST ends
_DAYS: Final = frozenset((*range(1, 32), 0xFD, 0xFE, _WILD))  # FE: last of month, FD: second last


class DateTime(msgspec.Struct, frozen=True, gc=False):
    """A date-time as sent, wildcards and all; the weekday is dropped, it may contradict the date.

    Attributes:
        octets: The 12 octets.
        local: Wall clock; None where year, month, day, hour, minute or second is a wildcard.
        deviation_min: Minutes from local time to UTC, the active DST included; None: unspecified. 0 is UTC.
        status: Clock status byte; FF means that nothing is known, not that all bits are set.
    """

    octets: bytes
    local: datetime | None
    deviation_min: int | None
    status: int

    @property
    def utc(self) -> datetime | None:
        """The instant, UTC = local + deviation; None where the deviation or a field is unspecified."""
        if self.local is None or self.deviation_min is None:
            return None
        return _shift(self.local, self.deviation_min)

    def instant(self, zone: tzinfo, *, inverted: bool = False) -> datetime | None:
        """The instant in UTC, where an unspecified deviation means local time of `zone`.

        Args:
            zone: Zone of the meter, from its configuration.
            inverted: The meter's companion standard counts the deviation from UTC to local time.

        Returns:
            None where a field of the date or time is a wildcard. In a repeated hour the DST bit decides.
        """
        if self.local is None:
            return None
        if self.deviation_min is not None:
            return _shift(self.local, -self.deviation_min if inverted else self.deviation_min)
        known = self.status != STATUS_UNSPECIFIED
        fold = 1 if known and not self.status & STATUS_DST else 0
        return self.local.replace(tzinfo=zone, fold=fold).astimezone(UTC)

    @property
    def is_reliable(self) -> bool:
        """The clock does not say of itself that it is invalid or set up wrongly; unspecified counts as reliable."""
        if self.status == STATUS_UNSPECIFIED:
            return True
        return not self.status & (STATUS_INVALID | STATUS_SETUP_INVALID)


def decode_date_time(octets: bytes, at: int = 0) -> DateTime:
    """A date-time from its 12 octets.

    Args:
        octets: The 12 octets.
        at: Their place in the message, for the error.

    Raises:
        ProtocolError: Not 12 octets, a field out of range, or a day that does not exist.
    """
    if len(octets) != DATE_TIME_OCTETS:
        raise ProtocolError(RejectReason.DATE_TIME, at, f"a date-time of {len(octets)} octets")
    year, month, day, _, hour, minute, second, hundredths, deviation, status = _FIELDS.unpack(octets)
    in_range = (
        month in _MONTHS
        and day in _DAYS
        and (hour <= 23 or hour == _WILD)
        and (minute <= 59 or minute == _WILD)
        and (second <= 59 or second == _WILD)
        and (hundredths <= 99 or hundredths == _WILD)
    )
    if not in_range or (deviation != DEVIATION_UNSPECIFIED and abs(deviation) > MAX_DEVIATION_MIN):
        raise ProtocolError(RejectReason.DATE_TIME, at, "a field of the date-time is out of range")
    local: datetime | None = None
    if year != _WILD_YEAR and month <= 12 and day <= 31 and _WILD not in (hour, minute, second):
        micros = 0 if hundredths == _WILD else hundredths * 10_000
        try:
            local = datetime(year, month, day, hour, minute, second, micros)
        except ValueError as error:
            raise ProtocolError(RejectReason.DATE_TIME, at, "no such day") from error
    return DateTime(octets, local, None if deviation == DEVIATION_UNSPECIFIED else deviation, status)


def encode_date_time(instant: datetime, deviation_min: int | None = 0, status: int = 0) -> bytes:
    """The 12 octets of an instant on a wall clock.

    Args:
        instant: Aware: shown on the clock that deviates by `deviation_min`. Naive: the wall clock itself.
        deviation_min: Minutes from local time to UTC; None: unspecified, for which `instant` must be naive.
        status: Clock status byte.

    Raises:
        ContractError: An aware instant without a deviation, or a deviation out of range.
    """
    if deviation_min is not None and abs(deviation_min) > MAX_DEVIATION_MIN:
        raise ContractError(f"deviation {deviation_min} min is beyond {MAX_DEVIATION_MIN}")
    local = instant
    if instant.tzinfo is not None:
        if deviation_min is None:
            raise ContractError("an unspecified deviation needs a naive wall clock")
        local = instant.astimezone(timezone(timedelta(minutes=-deviation_min)))
    deviation = DEVIATION_UNSPECIFIED if deviation_min is None else deviation_min
    return b"".join(
        (
            local.year.to_bytes(2, "big"),
            bytes((local.month, local.day, local.isoweekday(), local.hour, local.minute, local.second)),
            bytes((local.microsecond // 10_000,)),
            deviation.to_bytes(2, "big", signed=True),
            bytes((status,)),
        )
    )


def _shift(local: datetime, deviation_min: int) -> datetime | None:
    try:
        return (local + timedelta(minutes=deviation_min)).replace(tzinfo=UTC)
    except OverflowError:  # year 1 or 9999
        return None


def obis_text(logical_name: bytes) -> str:
    """Text of a logical name of six octets, "A-B:C.D.E.F"."""
    a, b, c, d, e, f = logical_name
    return f"{a}-{b}:{c}.{d}.{e}.{f}"


def parse_obis(text: str) -> bytes:
    """The six octets of "A-B:C.D.E.F"; F may be left out and is then 255; all dots ("A.B.C.D.E.F") will do.

    Raises:
        ContractError: Not an OBIS code, or a group above 255.
    """
    groups = text.replace("-", ".", 1).replace(":", ".", 1).replace("*", ".", 1).split(".")
    if len(groups) == 5:
        groups.append("255")
    if len(groups) != 6 or not all(g.isascii() and g.isdigit() and len(g) <= 3 and int(g) <= 255 for g in groups):
        raise ContractError(f"{text!r} is not an OBIS code")
    return bytes(int(group) for group in groups)


class ScalerUnit(NamedTuple):
    """Value x 10^scaler in the unit of that Blue Book code."""

    scaler: int
    unit: int


def scaler_unit(data: Data) -> ScalerUnit | None:
    """Scaler and unit where `data` is structure{i8, enum}; else None."""
    items = data.items
    if data.tag != Tag.STRUCTURE or items is None or len(items) != 2:
        return None
    scaler, unit = items
    if scaler.tag != Tag.INT8 or unit.tag != Tag.ENUM:
        return None
    if not isinstance(scaler.value, int) or not isinstance(unit.value, int):
        return None
    return ScalerUnit(scaler.value, unit.value)


def encode_scaler_unit(scaler: int, unit: int) -> Data:
    """structure{i8 scaler, enum unit}."""
    return Data(Tag.STRUCTURE, (Data(Tag.INT8, scaler), Data(Tag.ENUM, unit)))


def to_milli(value: int, scaler: int) -> int | None:
    """`value` x 10^`scaler` in thousandths, exactly; None where thousandths cannot hold it."""
    power = scaler + 3
    if power >= 0:
        return int(value * 10**power)
    milli, rest = divmod(value, 10**-power)
    return None if rest else milli


_CHANNEL_OF_CDE: Final[dict[bytes, Channel]] = {
    **{
        bytes((c, 8, 0)): channel
        for c, channel in enumerate(
            (
                Channel.ENERGY_DELIVERED,
                Channel.ENERGY_RECEIVED,
                Channel.REACTIVE_DELIVERED,
                Channel.REACTIVE_RECEIVED,
                Channel.REACTIVE_Q1,
                Channel.REACTIVE_Q2,
                Channel.REACTIVE_Q3,
                Channel.REACTIVE_Q4,
                Channel.APPARENT_DELIVERED,
            ),
            start=1,
        )
    },
    **{bytes((1, 8, tariff)): Channel(f"energy_delivered_t{tariff}") for tariff in (1, 2, 3, 4)},
    **{bytes((2, 8, tariff)): Channel(f"energy_received_t{tariff}") for tariff in (1, 2, 3, 4)},
    bytes((1, 7, 0)): Channel.POWER_DELIVERED,
    bytes((2, 7, 0)): Channel.POWER_RECEIVED,
    bytes((3, 7, 0)): Channel.REACTIVE_POWER_DELIVERED,
    bytes((4, 7, 0)): Channel.REACTIVE_POWER_RECEIVED,
    **{bytes((20 * phase + 1, 7, 0)): Channel(f"power_delivered_l{phase}") for phase in (1, 2, 3)},
    **{bytes((20 * phase + 2, 7, 0)): Channel(f"power_received_l{phase}") for phase in (1, 2, 3)},
    **{bytes((20 * phase + 11, 7, 0)): Channel(f"current_l{phase}") for phase in (1, 2, 3)},
    **{bytes((20 * phase + 12, 7, 0)): Channel(f"voltage_l{phase}") for phase in (1, 2, 3)},
    bytes((13, 7, 0)): Channel.POWER_FACTOR,
    bytes((14, 7, 0)): Channel.FREQUENCY,
    bytes((1, 6, 0)): Channel.DEMAND_MAX,
}
_VOLUMES: Final = frozenset((b"\x07\x03\x00\x00", b"\x08\x01\x00\x00", b"\x09\x01\x00\x00", b"\x00\x18\x02\x01"))
"""A, C, D, E of gas 7-b:3.0.0, cold and hot water 8-b:1.0.0 and 9-b:1.0.0, and M-Bus volume 0-b:24.2.1."""


def channel_of(obis: bytes) -> Channel:
    """The channel that the six octets name; `other` where they name none.

    C.D.E decide with A = 1; B may be 0 or 1 (Kamstrup). F must be 255: a past billing period is no channel.
    """
    if obis[5] != 0xFF:
        return Channel.OTHER
    if obis[0] == 1 and obis[1] <= 1:
        return _CHANNEL_OF_CDE.get(obis[2:5], Channel.OTHER)
    return Channel.VOLUME if obis[:1] + obis[2:5] in _VOLUMES else Channel.OTHER
