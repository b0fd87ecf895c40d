"""Invented meters of the published example keys, and messages of theirs, for tests of decoding."""

from datetime import UTC, datetime, timedelta

import polars as pl

from ingest.decode import Decoded, decode_frames
from ingest.dlms.apdu import encode_data_notification, encode_event_notification
from ingest.dlms.cosem import encode_date_time, encode_scaler_unit, parse_obis
from ingest.dlms.data import Data, Tag
from ingest.dlms.framing import wrap_wpdu
from ingest.dlms.security import protect
from ingest.keyring import Keyring
from ingest.meter_types import BUILT_IN, MeterTypes
from ingest.replay import Windows
from schemas.frames import METERS, RAW_FRAMES, UTC_US

EK = bytes(range(16))
AK = bytes(range(0xD0, 0xE0))
TITLE = bytes.fromhex("4D4D4D0000BC614E")
OTHER_TITLE = bytes.fromhex("4D4D4D0000BC614F")
NAME = "AMI0000000000001"
OTHER_NAME = "AMI0000000000002"
START = datetime(2026, 3, 2, 0, 0, tzinfo=UTC)
RECEIVED = START + timedelta(hours=1, seconds=7)
KEYS = f"system_title,ek,ak\n{TITLE.hex()},{EK.hex()},{AK.hex()}\n{OTHER_TITLE.hex()},{EK.hex()},{AK.hex()}\n"
INTERVAL_OBJECT = "1-0:99.1.0.255"


def meters(*rows: dict) -> pl.DataFrame:
    """METERS of these rows; the default is one interval meter with a key."""
    wanted = rows or (enrolled(),)
    columns = {name: [row.get(name) for row in wanted] for name in METERS.schema}
    return pl.DataFrame(columns, schema=METERS.schema)


def enrolled(**changes: object) -> dict:
    """A row of METERS: the interval meter of the example key."""
    row: dict = {
        "meter_id": NAME,
        "meter_type": "generic",
        "system_title": TITLE.hex(),
        "interval_s": 900,
        "channels": ["energy_delivered", "energy_received"],
        "timezone": "Europe/Berlin",
    }
    return row | changes


def stamp(at: datetime, deviation_min: int | None = 0, status: int = 0) -> Data:
    """A clock as an octet string."""
    return Data(Tag.OCTET_STRING, encode_date_time(at, deviation_min, status))


def interval_rows(
    rows: list[tuple[Data, int, list[int]]], *, name: str = NAME, push_object: str = INTERVAL_OBJECT
) -> Data:
    """The body of an interval push: rows of clock, status octet and values."""
    cells = [
        Data(
            Tag.STRUCTURE,
            (clock, Data(Tag.UINT8, status), *(Data(Tag.UINT32, value) for value in values)),
        )
        for clock, status, values in rows
    ]
    return body_of(Data(Tag.ARRAY, tuple(cells)), name=name, push_object=push_object)


def body_of(rows: Data, *, name: str = NAME, push_object: str = INTERVAL_OBJECT) -> Data:
    """Device name, push object name and rows."""
    return Data(
        Tag.STRUCTURE,
        (
            Data(Tag.OCTET_STRING, name.encode().ljust(16, b"\0")),
            Data(Tag.OCTET_STRING, parse_obis(push_object)),
            rows,
        ),
    )


def usual_rows(count: int = 4, first: datetime = START, values: tuple[int, ...] = (100, 7)) -> list:
    """Quarter-hourly rows that end at `first` + 15 min and so on."""
    return [
        (stamp(first + timedelta(minutes=15 * (row + 1))), 0, [value + row for value in values]) for row in range(count)
    ]


def register_rows(entries: list[tuple[str, Data, tuple[int, int] | None]]) -> Data:
    """A self-describing body: rows of obis, value, scaler and unit."""
    rows = []
    for obis, value, scaling in entries:
        items = [Data(Tag.OCTET_STRING, parse_obis(obis)), value]
        if scaling is not None:
            items.append(encode_scaler_unit(*scaling))
        rows.append(Data(Tag.STRUCTURE, tuple(items)))
    return Data(Tag.ARRAY, tuple(rows))


def device_name(name: str = NAME) -> tuple[str, Data, None]:
    """The row that names the meter."""
    return "0-0:42.0.0.255", Data(Tag.OCTET_STRING, name.encode()), None


def notification(body: Data, at: datetime | None = None) -> bytes:
    """A data-notification in the clear."""
    return encode_data_notification(1, None if at is None else encode_date_time(at, 0), body)


def event(logical_name: str, value: Data, at: datetime = START) -> bytes:
    """An event-notification in the clear."""
    return encode_event_notification(encode_date_time(at, 0), 1, parse_obis(logical_name), 2, value)


def sealed(apdu: bytes, counter: int = 1, control: int = 0x30, title: bytes = TITLE) -> bytes:
    """The APDU ciphered with the example keys, in a wrapper."""
    return wrap_wpdu(protect(apdu, system_title=title, control=control, counter=counter, ek=EK, ak=AK))


def frames(*payloads: bytes, received: datetime | None = RECEIVED, topic: str = "ami.frames.v1") -> pl.DataFrame:
    """RAW_FRAMES of these messages, a Kafka message each."""
    count = len(payloads)
    return pl.DataFrame(
        {
            "topic": [topic] * count,
            "partition": [0] * count,
            "offset": list(range(count)),
            "frame": [0] * count,
            "received_at": pl.Series([received] * count, dtype=UTC_US),
            "payload": pl.Series(list(payloads), dtype=pl.Binary),
        },
        schema=RAW_FRAMES.schema,
    )


def decode(
    *payloads: bytes,
    registry: pl.DataFrame | None = None,
    windows: Windows | None = None,
    types: MeterTypes = BUILT_IN,
    received: datetime | None = RECEIVED,
    keys: str = KEYS,
) -> Decoded:
    """What these messages decode to."""
    return decode_frames(
        frames(*payloads, received=received),
        Keyring.from_csv(keys),
        Windows.empty() if windows is None else windows,
        meters() if registry is None else registry,
        types,
    )


def reasons(decoded: Decoded) -> list[str]:
    """Reasons of the rejects, in order."""
    return decoded.rejects["reason"].cast(pl.String).to_list()
