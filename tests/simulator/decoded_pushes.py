"""Frames of a run read back by the codec, one message after the other, into rows as sent."""

from datetime import timedelta
from typing import NamedTuple

import polars as pl

from ingest.dlms.apdu import DataNotification, EventNotification, decode_apdu
from ingest.dlms.cosem import decode_date_time, obis_text
from ingest.dlms.data import Data
from ingest.dlms.framing import unwrap
from ingest.dlms.security import is_ciphered, read_header, unprotect
from schemas.frames import UTC_US
from simulator.fleet import Simulated

CHANNEL_OF = {
    "1-0:1.8.0.255": "energy_delivered",
    "1-0:2.8.0.255": "energy_received",
    "1-0:3.8.0.255": "reactive_delivered",
    "1-0:4.8.0.255": "reactive_received",
}
PROFILES = {
    "1-0:99.1.0.255": ("intervals", 1000),
    "1-0:99.1.1.255": ("intervals", 1),
    "1-0:99.2.0.255": ("reads", 1000),
}
RADIO_GASP = "128-128:128.128.128.0"
EVENT_CODE = "0-0:96.11.0.255"


class Decoded(NamedTuple):
    """What the codec finds. `at`: the stamp, for intervals their end."""

    intervals: pl.DataFrame  # meter_id, channel, at, value_milli, status, received_at
    reads: pl.DataFrame
    events: pl.DataFrame  # meter_id, name, code, at, topic, received_at
    counters: pl.DataFrame  # meter_id, counter, topic, received_at; per ciphered message


class _Rows:
    def __init__(self, run: Simulated) -> None:
        self.found: dict[str, list[tuple[object, ...]]] = {"intervals": [], "reads": [], "events": [], "counters": []}
        lines = [line.split(",") for line in run.keys_csv.split()[1:]]
        self.keys = {bytes.fromhex(t): (bytes.fromhex(ek), bytes.fromhex(ak)) for t, ek, ak in lines}
        self.by_title = dict(zip(run.meters["system_title"], run.meters["meter_id"], strict=True))
        self.meters = {row["meter_id"]: row for row in run.meters.iter_rows(named=True)}


def decode_run(run: Simulated) -> Decoded:
    """Every frame of the run, decoded with the keys that the run gives."""
    rows = _Rows(run)
    columns = zip(run.frames["payload"], run.frames["topic"], run.frames["received_at"], strict=True)
    for payload, topic, received_at in columns:
        _message(rows, payload, topic, received_at)
    stamp = {"at": UTC_US, "received_at": UTC_US}
    values = {"meter_id": pl.String, "channel": pl.String, "at": UTC_US, "value_milli": pl.Int64, "status": pl.Int64}
    return Decoded(
        pl.DataFrame(rows.found["intervals"], schema={**values, "received_at": UTC_US}, orient="row"),
        pl.DataFrame(rows.found["reads"], schema={**values, "received_at": UTC_US}, orient="row"),
        pl.DataFrame(
            rows.found["events"],
            schema={"meter_id": pl.String, "name": pl.String, "code": pl.Int64, "topic": pl.String, **stamp},
            orient="row",
        ),
        pl.DataFrame(
            rows.found["counters"],
            schema={"meter_id": pl.String, "counter": pl.Int64, "topic": pl.String, "received_at": UTC_US},
            orient="row",
        ),
    )


def _message(rows: _Rows, payload: bytes, topic: str, received_at: object) -> None:
    apdu = unwrap(payload).apdu
    sender = None
    if is_ciphered(apdu):
        header = read_header(apdu)
        sender = rows.by_title[header.system_title.hex()]
        apdu = unprotect(apdu, header, *rows.keys[header.system_title])
        rows.found["counters"].append((sender, header.counter, topic, received_at))
    message = decode_apdu(apdu)
    if isinstance(message, EventNotification):
        name = obis_text(message.logical_name)
        if name.startswith("128-128"):
            rows.found["events"].append(
                (_text(message.value), "radio", None, topic, message.date_time.utc, received_at)
            )
        else:
            rows.found["events"].append((sender, name, message.value.value, topic, message.date_time.utc, received_at))
        return
    assert isinstance(message, DataNotification)
    name = _body(rows, message.body, topic, received_at)
    assert sender in (None, name)


def _body(rows: _Rows, body: Data, topic: str, received_at: object) -> str:
    items = body.items
    if body.tag == 1:
        return _obis_rows(rows, items, received_at)
    if isinstance(items[0].value, str):
        return _pairs(rows, items, received_at)
    meter, push = _text(items[0]), obis_text(items[1].value)
    if push == EVENT_CODE:
        clock, code = items[2].items
        rows.found["events"].append((meter, "log", code.value, topic, decode_date_time(clock.value).utc, received_at))
        return meter
    kind, unit = PROFILES[push]
    _profile(rows, meter, (kind, unit), items[2].items, received_at)
    return meter


def _profile(rows: _Rows, meter: str, kind: tuple[str, int], sent: tuple[Data, ...], received_at: object) -> None:
    told = rows.meters[meter]
    at, values = None, [None] * len(told["channels"])
    for row in sent:
        clock, status, *columns = row.items
        at = at + timedelta(seconds=told["interval_s"]) if clock.value is None else decode_date_time(clock.value).utc
        values = [old if new.value is None else new.value for old, new in zip(values, columns, strict=True)]
        for channel, value in zip(told["channels"], values, strict=True):
            rows.found[kind[0]].append((meter, channel, at, value * kind[1], status.value, received_at))


def _obis_rows(rows: _Rows, items: tuple[Data, ...], received_at: object) -> str:
    (_, name), (_, clock) = (row.items for row in items[:2])
    at = decode_date_time(clock.value)
    for row in items[2:]:
        obis, value, scaling = row.items
        scaler = scaling.items[0].value
        channel = CHANNEL_OF.get(obis_text(obis.value), "voltage")
        milli = value.value * 10 ** (3 + scaler)
        rows.found["reads"].append((_text(name), channel, at.utc, milli, at.status & 2, received_at))
    return _text(name)


def _pairs(rows: _Rows, items: tuple[Data, ...], received_at: object) -> str:
    assert items[0].value == "SIM_V0001"
    meter, at = _text(items[2]), decode_date_time(items[4].value)
    for obis, value in zip(items[5::2], items[6::2], strict=True):
        channel = CHANNEL_OF[obis_text(obis.value)]
        rows.found["reads"].append((meter, channel, at.utc, value.value * 10_000, at.status & 2, received_at))
    return meter


def _text(data: Data) -> str:
    assert isinstance(data.value, bytes)
    return data.value.decode("ascii")
