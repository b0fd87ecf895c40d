"""DSMR4 alarm telegrams: no DLMS, but 17 characters of equipment identifier, a comma, and alarm register 1.

Read only where a meter type's switch says so: 22 bytes of anything look like one (dlms.md section 10).
"""

from typing import Final

from ingest.dlms.apdu import encode_data_notification
from ingest.dlms.cosem import parse_obis
from ingest.dlms.data import Data, Tag

TELEGRAM_OCTETS: Final = 22
EQUIPMENT_ID_OCTETS: Final = 17
_COMMA: Final = 0x2C
_ALARM_REGISTER: Final = parse_obis("0-0:97.98.0.255")
_EQUIPMENT_ID: Final = parse_obis("0-0:42.0.0.255")


def is_alarm_telegram(message: bytes) -> bool:
    """The message has the form of a DSMR4 alarm."""
    head = message[:EQUIPMENT_ID_OCTETS]
    fits = len(message) == TELEGRAM_OCTETS and message[EQUIPMENT_ID_OCTETS] == _COMMA
    return fits and head.isascii() and head.decode("latin-1").isalnum()


def as_notification(message: bytes) -> bytes:
    """What the telegram says, as the data-notification that says the same: its identifier, and alarm register 1."""
    name = Data(Tag.OCTET_STRING, message[:EQUIPMENT_ID_OCTETS])
    register = Data(Tag.UINT32, int.from_bytes(message[EQUIPMENT_ID_OCTETS + 1 :], "big"))
    pairs = (Data(Tag.OCTET_STRING, _EQUIPMENT_ID), name, Data(Tag.OCTET_STRING, _ALARM_REGISTER), register)
    return encode_data_notification(0, None, Data(Tag.STRUCTURE, pairs))
