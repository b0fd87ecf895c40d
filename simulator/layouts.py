"""The push layouts as columns: one encoded template per shape, values laid over it as big-endian bytes.

Every octet of a template comes from the codec's encoder. A field is found by encoding the message twice, its fields
filled with 00 and with FF: where the two differ, a field lies.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Final, NamedTuple

import numpy as np

from ingest.dlms.apdu import encode_data_notification, encode_event_notification
from ingest.dlms.axdr import encode_data
from ingest.dlms.cosem import encode_scaler_unit, parse_obis
from ingest.dlms.data import Data, Tag
from schemas.codes import Channel
from simulator.columns import I64, U8

CLOCK_OCTETS: Final = 12
EVENT_CODE: Final = parse_obis("0-0:96.11.0.255")
RADIO_GASP: Final = b"\x80\x80\x80\x80\x80\x00"
"""Logical name under which a radio sends its last gasp (dlms.md section 10)."""
LIST_ID: Final = "SIM_V0001"

PROFILE_NAME: Final = {
    "generic": parse_obis("1-0:99.1.0.255"),
    "profile_cumulative": parse_obis("1-0:99.2.0.255"),
    "interval_milli": parse_obis("1-0:99.1.1.255"),
}
_INVOKE_ID: Final = 1
_DEVICE: Final = parse_obis("0-0:42.0.0.255")
_CLOCK: Final = parse_obis("0-0:1.0.0.255")
_REGISTERS: Final = {
    Channel.ENERGY_DELIVERED: (parse_obis("1-0:1.8.0.255"), 30),
    Channel.ENERGY_RECEIVED: (parse_obis("1-0:2.8.0.255"), 30),
    Channel.REACTIVE_DELIVERED: (parse_obis("1-0:3.8.0.255"), 32),
    Channel.REACTIVE_RECEIVED: (parse_obis("1-0:4.8.0.255"), 32),
}
"""Logical name and unit code (Wh, varh) of each register."""
_VOLTAGES: Final = tuple(parse_obis(f"1-0:{c}.7.0.255") for c in (32, 52, 72))
_VOLT: Final = 35


class Template(NamedTuple):
    """Octets with zeros in the fields, and where each field lies."""

    octets: U8
    fields: tuple[slice, ...]


def stamp(template: Template, columns: Sequence[U8]) -> U8:
    """A message per row: the template with each field's octets (n × its width) laid over it."""
    messages = np.broadcast_to(template.octets, (columns[0].shape[0], template.octets.size)).copy()
    for field, octets in zip(template.fields, columns, strict=True):
        messages[:, field] = octets
    return messages


def big_endian(values: I64, octets: int) -> U8:
    """Each number as so many octets, the last axis grown by that factor: n × v becomes n × (v · octets)."""
    sent = np.ascontiguousarray(values.astype(f">u{octets}"))
    return sent.view(np.uint8).reshape(*values.shape[:-1], values.shape[-1] * octets)


class ProfileShape(NamedTuple):
    """What the bytes of a profile push depend on, values aside."""

    layout: str
    rows: int
    name_octets: int
    channels: int
    compressed: tuple[bool, ...] = ()
    """Of a push with null clocks after the first row: per channel, whether its values after the first are null too."""


def encode_profile(shape: ProfileShape, header: Sequence[U8], clocks: U8, status: U8, values: I64) -> U8:
    """Data-notifications {device name, profile name, rows {clock, status, values}}.

    Args:
        shape: Common to all.
        header: Date-time of the notification (n × 12) and device name (n × name octets).
        clocks: n × rows × 12.
        status: n × rows.
        values: n × rows × channels.
    """
    wide = 8 if shape.layout == "interval_milli" else 4
    head, first, later = _profile_templates(shape, wide)
    sent = [big_endian(values[:, :, [channel]], wide) for channel in range(shape.channels)]
    opening = [clocks[:, 0], status[:, :1], *(column[:, 0] for column in sent)]
    parts = [stamp(head, header), stamp(first, opening)]
    if shape.rows > 1:
        null = shape.compressed or (False,) * shape.channels
        columns = [
            status[:, 1:, None],
            *(column[:, 1:] for column, is_null in zip(sent, null, strict=True) if not is_null),
        ]
        if not shape.compressed:
            columns.insert(0, clocks[:, 1:])
        flat = [column.reshape(-1, column.shape[-1]) for column in columns]
        parts.append(stamp(later, flat).reshape(values.shape[0], -1))
    return np.concatenate(parts, axis=1)


class RowsShape(NamedTuple):
    """What the bytes of a push of {obis, value, {scaler, unit}} rows depend on, values aside."""

    name_octets: int
    channels: tuple[Channel, ...]
    voltages: int
    register_octets: int
    scaler: int


def encode_obis_rows(shape: RowsShape, names: U8, clocks: U8, values: I64, volts: I64) -> U8:
    """Data-notifications of an array of rows: device name, clock, registers, voltages in tenths of a volt.

    Args:
        shape: Common to all.
        names: Device names, n × name octets.
        clocks: n × 12.
        values: n × registers.
        volts: n × voltages.
    """
    registers = big_endian(values, shape.register_octets)
    columns = [names, clocks, *np.split(registers, values.shape[1], axis=1)]
    if shape.voltages:
        columns += np.split(big_endian(volts, 2), shape.voltages, axis=1)
    return stamp(_rows_template(shape), columns)


def encode_obis_pairs(channels: tuple[Channel, ...], header: U8, names: U8, clocks: U8, values: I64) -> U8:
    """Data-notifications of a list id and flat pairs obis, value: device name, clock, registers without scalers."""
    registers = np.split(big_endian(values, 4), values.shape[1], axis=1)
    return stamp(_pairs_template(names.shape[1], channels), [header, names, clocks, *registers])


def encode_event_code(clocks: U8, code: int) -> U8:
    """Event-notifications of the event code object: when, and which code. The sender is told by its system title."""
    return stamp(_event_template(code), [clocks])


def encode_radio_gasp(clocks: U8, names: U8) -> U8:
    """Event-notifications as a radio sends them when its meter has gone dark."""
    return stamp(_gasp_template(names.shape[1]), [clocks, names])


def encode_event_push(header: U8, names: U8, clocks: U8, code: int) -> U8:
    """Data-notifications {device name, event code object, {clock, code}}: a line of the meter's own log."""
    return stamp(_event_push_template(names.shape[1], code), [header, names, clocks])


def _template(make: Callable[[int], bytes], widths: Sequence[int]) -> Template:
    low, high = (np.frombuffer(make(fill), dtype=np.uint8) for fill in (0x00, 0xFF))
    at = np.flatnonzero(low != high).tolist()
    bounds = np.cumsum([0, *widths]).tolist()
    return Template(low, tuple(slice(at[first], at[after - 1] + 1) for first, after in pairwise(bounds)))


def _octets(count: int, fill: int) -> Data:
    return Data(Tag.OCTET_STRING, bytes((fill,)) * count)


def _number(octets: int, fill: int) -> Data:
    tag = {1: Tag.UINT8, 2: Tag.UINT16, 4: Tag.UINT32, 8: Tag.UINT64}[octets]
    return Data(tag, int.from_bytes(bytes((fill,)) * octets, "big"))


def _name(obis: bytes) -> Data:
    return Data(Tag.OCTET_STRING, obis)


def _structure(*items: Data) -> Data:
    return Data(Tag.STRUCTURE, items)


def _notification(fill: int, body: Data) -> bytes:
    return encode_data_notification(_INVOKE_ID, bytes((fill,)) * CLOCK_OCTETS, body)


@lru_cache(maxsize=512)
def _profile_templates(shape: ProfileShape, wide: int) -> tuple[Template, Template, Template]:
    """Head up to the count of rows, first row, later rows."""
    kept = [not null for null in shape.compressed or (False,) * shape.channels]

    def row(fill: int, *, is_later: bool) -> Data:
        compressed = is_later and bool(shape.compressed)
        clock = Data(Tag.NULL, None) if compressed else _octets(CLOCK_OCTETS, fill)
        values = (_number(wide, fill) if keep or not is_later else Data(Tag.NULL, None) for keep in kept)
        return _structure(clock, _number(1, fill), *values)

    def head(fill: int) -> bytes:
        rows = Data(Tag.ARRAY, (row(fill, is_later=False),) * shape.rows)
        body = _structure(_octets(shape.name_octets, fill), _name(PROFILE_NAME[shape.layout]), rows)
        message = _notification(fill, body)
        return message[: -shape.rows * len(encode_data(row(fill, is_later=False)))]

    values = [wide] * shape.channels
    later = [wide for keep in kept if keep]
    return (
        _template(head, [CLOCK_OCTETS, shape.name_octets]),
        _template(lambda fill: encode_data(row(fill, is_later=False)), [CLOCK_OCTETS, 1, *values]),
        _template(
            lambda fill: encode_data(row(fill, is_later=True)),
            [*([] if shape.compressed else [CLOCK_OCTETS]), 1, *later],
        ),
    )


@lru_cache(maxsize=128)
def _rows_template(shape: RowsShape) -> Template:
    def make(fill: int) -> bytes:
        rows = [
            _structure(_name(_DEVICE), _octets(shape.name_octets, fill)),
            _structure(_name(_CLOCK), _octets(CLOCK_OCTETS, fill)),
        ]
        for channel in shape.channels:
            obis, unit = _REGISTERS[channel]
            number = _number(shape.register_octets, fill)
            rows.append(_structure(_name(obis), number, encode_scaler_unit(shape.scaler, unit)))
        for obis in _VOLTAGES[: shape.voltages]:
            rows.append(_structure(_name(obis), _number(2, fill), encode_scaler_unit(-1, _VOLT)))
        return encode_data_notification(_INVOKE_ID, None, Data(Tag.ARRAY, tuple(rows)))

    registers = [shape.register_octets] * len(shape.channels)
    return _template(make, [shape.name_octets, CLOCK_OCTETS, *registers, *[2] * shape.voltages])


@lru_cache(maxsize=64)
def _pairs_template(name_octets: int, channels: tuple[Channel, ...]) -> Template:
    def make(fill: int) -> bytes:
        items = [Data(Tag.VISIBLE_STRING, LIST_ID), _name(_DEVICE), _octets(name_octets, fill)]
        items += [_name(_CLOCK), _octets(CLOCK_OCTETS, fill)]
        for channel in channels:
            items += [_name(_REGISTERS[channel][0]), _number(4, fill)]
        return _notification(fill, _structure(*items))

    return _template(make, [CLOCK_OCTETS, name_octets, CLOCK_OCTETS, *[4] * len(channels)])


@lru_cache(maxsize=16)
def _event_template(code: int) -> Template:
    def make(fill: int) -> bytes:
        return encode_event_notification(bytes((fill,)) * CLOCK_OCTETS, 1, EVENT_CODE, 2, Data(Tag.UINT8, code))

    return _template(make, [CLOCK_OCTETS])


@lru_cache(maxsize=16)
def _gasp_template(name_octets: int) -> Template:
    def make(fill: int) -> bytes:
        return encode_event_notification(bytes((fill,)) * CLOCK_OCTETS, 1, RADIO_GASP, 2, _octets(name_octets, fill))

    return _template(make, [CLOCK_OCTETS, name_octets])


@lru_cache(maxsize=64)
def _event_push_template(name_octets: int, code: int) -> Template:
    def make(fill: int) -> bytes:
        line = _structure(_octets(CLOCK_OCTETS, fill), Data(Tag.UINT8, code))
        return _notification(fill, _structure(_octets(name_octets, fill), _name(EVENT_CODE), line))

    return _template(make, [CLOCK_OCTETS, name_octets, CLOCK_OCTETS])
