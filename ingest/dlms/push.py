"""The values of a push: which name, number, scaler and unit belong together, by the rule of the contract.

(a) Where a push object list comes first: one value per entry, except the list itself and attribute 1 (the name);
attribute 3 {scaler, unit} folds into attribute 2 of the same name. (b) Otherwise name, value[, {scaler, unit}], nested
or flat. (c) What remains is a value without a name. Push setup names (x.x.25.9.x.x) name no value.
"""

from typing import Final, NamedTuple

from ingest.dlms.apdu import Apdu, EventNotification
from ingest.dlms.axdr import MAX_GROUP_A
from ingest.dlms.cosem import scaler_unit
from ingest.dlms.data import Data, Tag
from ingest.dlms.responses import AccessResponse

_NAME_OCTETS: Final = 6
_OCTET_STRING: Final = int(Tag.OCTET_STRING)  # a plain number, as in `axdr`
_PUSH_SETUP: Final = b"\x19\x09"  # C.D = 25.9
_CLASS_PUSH_SETUP: Final = 40
_ATTRIBUTE_ALL: Final = 0
_ATTRIBUTE_NAME: Final = 1
_ATTRIBUTE_LIST: Final = 2
_CLASS_DEMAND: Final = 5
_CAPTURE_TIMES: Final = {(4, 2): 5, (_CLASS_DEMAND, 3): 6}
"""By class and attribute of a value: the attribute that says when it was (Blue Book: extended and demand register)."""
_CLASS_PROFILE: Final = 7
_ATTRIBUTE_PERIOD: Final = 4
"""Capture period of a profile generic (Blue Book 4.3.6), in seconds."""
_VALUES: Final = frozenset((2,))
_VALUES_OF_DEMAND: Final = frozenset((2, 3))
"""Attributes that hold an object's value (Blue Book): the second; of a demand register the current and last average."""


class PushValue(NamedTuple):
    """One value of a push. `obis` is the six octets of its name; scaler and unit where the message carries them.

    Not `is_value`: it is known to be another attribute of the object than its value, such as a status. `captured` is
    the attribute that says when this value was, of a register that keeps it (classes 4 and 5). `period`: the capture
    period of the profile whose buffer this is.
    """

    obis: bytes | None
    data: Data
    scaler: int | None = None
    unit: int | None = None
    is_value: bool = True
    captured: Data | None = None
    period: Data | None = None


class Entry(NamedTuple):
    """An entry of a push object list."""

    class_id: int
    name: bytes
    attribute: int

    @classmethod
    def of_descriptor(cls, octets: bytes) -> "Entry":
        """The attribute that a descriptor of nine octets names: class u16, logical name, attribute i8."""
        attribute = int.from_bytes(octets[8:], "big", signed=True)
        return cls(int.from_bytes(octets[:2], "big"), octets[2:8], attribute)

    @property
    def is_value(self) -> bool:
        """The attribute is the object's value."""
        return self.attribute in (_VALUES_OF_DEMAND if self.class_id == _CLASS_DEMAND else _VALUES)

    @property
    def captured(self) -> "Entry | None":
        """The attribute that says when the value that this one holds was; None where the object has none."""
        attribute = _CAPTURE_TIMES.get((self.class_id, self.attribute))
        return None if attribute is None else self._replace(attribute=attribute)

    @property
    def period(self) -> "Entry | None":
        """The attribute that says how long the intervals are of which this one is the buffer; None where it is none."""
        is_buffer = self.class_id == _CLASS_PROFILE and self.is_value
        return self._replace(attribute=_ATTRIBUTE_PERIOD) if is_buffer else None

    @property
    def is_scaler_unit(self) -> bool:
        """The attribute says scaler and unit of the object's value."""
        return self.attribute == (4 if self.class_id == _CLASS_DEMAND else 3)


def apdu_values(apdu: Apdu) -> list[PushValue]:
    """The values of a decoded APDU.

    An event-notification gives one, under its logical name; an access-response that repeats the request those of its
    entries, as a push does behind its push object list. Short names and get-responses have no names: what their meter
    type knows is not known here.
    """
    if isinstance(apdu, EventNotification):
        entry = Entry(apdu.class_id, apdu.logical_name, apdu.attribute)
        return [PushValue(apdu.logical_name, apdu.body, is_value=entry.is_value)]
    if isinstance(apdu, AccessResponse) and apdu.requested:
        entries = [Entry.of_descriptor(each) for each in apdu.requested]
        return _paired(list(zip(entries, apdu.body.items or (), strict=True)))
    return push_values(apdu.body)


def push_values(body: Data) -> list[PushValue]:
    """The values of a notification body, in the order sent."""
    items = body.items
    if items is None:
        return [PushValue(None, body)]
    if items:
        entries = push_object_list(items[0])
        if entries is not None:
            return _listed(entries, items[1:])
    values: list[PushValue] = []
    _walk(items, values)
    return values


def is_name(data: Data) -> bool:
    """The value is a logical name: an octet string of six octets whose group A names a medium."""
    if data.tag != _OCTET_STRING:
        return False
    value = data.value
    return isinstance(value, bytes) and len(value) == _NAME_OCTETS and value[0] <= MAX_GROUP_A


def _walk(items: tuple[Data, ...], values: list[PushValue]) -> None:
    at = 0
    while at < len(items):
        item = items[at]
        inner = item.items
        if inner is not None:
            _walk(inner, values)
        elif not is_name(item):
            values.append(PushValue(None, item))
        elif not _is_push_setup(item):
            at += _named(items, at, values)
        elif item.description:  # an attribute descriptor: what follows is an attribute of the push setup
            at += 1
        at += 1


def _named(items: tuple[Data, ...], at: int, values: list[PushValue]) -> int:
    # Items taken beside the name itself. A name with nothing behind it is a value of its own.
    name = items[at]
    if at + 1 >= len(items):
        values.append(PushValue(None, name))
        return 0
    assert isinstance(name.value, bytes)
    scaling = scaler_unit(items[at + 2]) if at + 2 < len(items) else None
    told, is_value = name.description, True
    if told:
        is_value = Entry.of_descriptor(told[:2] + name.value + told[2:]).is_value
    scaler, unit = scaling or (None, None)
    values.append(PushValue(name.value, items[at + 1], scaler, unit, is_value))
    return 1 if scaling is None else 2


def _listed(entries: list[Entry], items: tuple[Data, ...]) -> list[PushValue]:
    # The list's own entry stands for the list, which is the first element: the others follow in order.
    others = [entry for entry in entries if (entry.class_id, entry.attribute) != (_CLASS_PUSH_SETUP, _ATTRIBUTE_LIST)]
    pairs = list(zip(others, items, strict=False))
    values = _paired(pairs)
    _walk(items[len(pairs) :], values)
    return values


def _paired(pairs: list[tuple[Entry, Data]]) -> list[PushValue]:
    """The values of these attributes, names left out, scalers and units with what they scale."""
    pairs = [each for pair in pairs for each in _attributes(*pair)]
    scalings = {
        entry.name: scaling
        for entry, item in pairs
        if entry.is_scaler_unit and (scaling := scaler_unit(item)) is not None
    }
    sent = dict(pairs)
    valued = {entry.name for entry, _ in pairs if entry.is_value}
    values: list[PushValue] = []
    for entry, item in pairs:
        folded = entry.is_scaler_unit and entry.name in scalings and entry.name in valued
        if entry.attribute == _ATTRIBUTE_NAME or folded or entry.name[2:4] == _PUSH_SETUP:
            continue
        scaler, unit = (scalings.get(entry.name) if entry.is_value else None) or (None, None)
        captured = None if entry.captured is None else sent.get(entry.captured)
        period = None if entry.period is None else sent.get(entry.period)
        values.append(PushValue(entry.name, item, scaler, unit, entry.is_value, captured, period))
    return values


def _attributes(entry: Entry, item: Data) -> list[tuple[Entry, Data]]:
    """The attribute itself; attribute 0 stands for all of the object's, a structure from the first on."""
    items = item.items
    if entry.attribute != _ATTRIBUTE_ALL or items is None or item.tag != Tag.STRUCTURE:
        return [(entry, item)]
    return [(entry._replace(attribute=number), each) for number, each in enumerate(items, 1)]


def push_object_list(data: Data) -> list[Entry] | None:
    """The entries of a push object list; None where the value is none."""
    items = data.items
    if data.tag != Tag.ARRAY or not items:
        return None
    entries = [_entry(item) for item in items]
    found = [entry for entry in entries if entry is not None]
    return found if len(found) == len(entries) else None


def encode_entry(entry: Entry) -> Data:
    """structure{class u16, logical name, attribute i8, data index u16 (0: the whole attribute)}."""
    name, index = Data(Tag.OCTET_STRING, entry.name), Data(Tag.UINT16, 0)
    return Data(Tag.STRUCTURE, (Data(Tag.UINT16, entry.class_id), name, Data(Tag.INT8, entry.attribute), index))


def _entry(data: Data) -> Entry | None:
    # {class u16, logical name, attribute i8, data index u16[, restriction[, columns]]}
    items = data.items
    if data.tag != Tag.STRUCTURE or items is None or not 4 <= len(items) <= 6:
        return None
    class_id, name, attribute, index = (item.value for item in items[:4])
    tags = tuple(item.tag for item in items[:4])
    if tags != (Tag.UINT16, Tag.OCTET_STRING, Tag.INT8, Tag.UINT16) or not is_name(items[1]):
        return None
    if isinstance(class_id, int) and isinstance(name, bytes) and isinstance(attribute, int) and index is not None:
        return Entry(class_id, name, attribute)
    return None


def _is_push_setup(data: Data) -> bool:
    value = data.value
    return isinstance(value, bytes) and value[2:4] == _PUSH_SETUP
