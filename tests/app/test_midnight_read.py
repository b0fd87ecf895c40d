"""A register read at local midnight, from the frame to the finals: the day that it ends is judged anew as well."""

import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from app import vee_lane, workers
from app.embedded import MemoryPublisher
from app.fuse import Fuse
from app.messages import to_messages
from ingest import meter_types
from ingest.dlms.apdu import encode_data_notification
from ingest.dlms.cosem import encode_date_time, encode_scaler_unit, parse_obis
from ingest.dlms.data import Data, Tag
from ingest.dlms.framing import wrap_wpdu
from ingest.keyring import Keyring
from schemas.codes import Rule
from schemas.frames import DIRTY_DAYS, METERS, RAW_FRAMES, conform
from storage.embedded import open_embedded
from storage.store import Scope, SqlStore
from validation.params import VeeParams
from validation.rules.catalogue import DEFINITION

NAME = "AMI0000000000001"
MIDNIGHT = datetime(2026, 3, 1, 23, tzinfo=UTC)
"""In Berlin, the beginning of Monday."""
HOUR = timedelta(hours=1)
MASTER = conform(
    pl.DataFrame(
        {
            "meter_id": [NAME], "meter_type": ["generic"], "interval_s": [3600], "timezone": ["Europe/Berlin"],
            "channels": [["energy_delivered"]], "installed_at": [MIDNIGHT],
        },
        schema_overrides={"interval_s": pl.Int32},
    ),
    METERS,
)  # fmt: skip


def interval(hour: int) -> bytes:
    """The push of an hour of 100 Wh: name, object, one row of clock at its end, status and value."""
    clock = Data(Tag.OCTET_STRING, encode_date_time(MIDNIGHT + (hour + 1) * HOUR, 0))
    row = Data(Tag.STRUCTURE, (clock, Data(Tag.UINT8, 0), Data(Tag.UINT32, 100)))
    name, what = Data(Tag.OCTET_STRING, NAME.encode()), Data(Tag.OCTET_STRING, parse_obis("1-0:99.1.0.255"))
    return encode_data_notification(1, None, Data(Tag.STRUCTURE, (name, what, Data(Tag.ARRAY, (row,)))))


def read(hour: int, watt_hours: int) -> bytes:
    """The push of the register at an hour."""
    name = Data(Tag.OCTET_STRING, parse_obis("0-0:42.0.0.255")), Data(Tag.OCTET_STRING, NAME.encode())
    register = Data(Tag.OCTET_STRING, parse_obis("1-0:1.8.0.255")), Data(Tag.UINT32, watt_hours)
    rows = (Data(Tag.STRUCTURE, name), Data(Tag.STRUCTURE, (*register, encode_scaler_unit(0, 30))))
    return encode_data_notification(1, encode_date_time(MIDNIGHT + hour * HOUR, 0), Data(Tag.ARRAY, rows))


class Road:
    """Ingest and VEE over one store; what ingest calls dirty is judged at once."""

    def __init__(self, store: SqlStore) -> None:
        self.now, self.offset, self.store = MIDNIGHT, 0, store
        registry = workers.Registry.of(Keyring.from_csv("system_title,ek,ak\n"), MASTER, meter_types.BUILT_IN)
        self.publisher = MemoryPublisher()
        fuse = workers.fuse_of(Fuse(share=1.0, messages=1_000), lambda: 0.0)
        self.ingest = workers.IngestWork(store, self.publisher, registry, fuse)
        params = VeeParams(judged_at=MIDNIGHT, run_id="", context_days=6, estimate_after_s=86_400)
        self.vee = vee_lane.VeeWork(store, MASTER, params, lambda: self.now)
        self.told = 0

    def bring(self, hour: int, *apdus: bytes) -> list[int]:
        """These messages came at that hour; the days of March that ingest called dirty, judged when this returns."""
        self.now = MIDNIGHT + hour * HOUR + timedelta(minutes=1)
        rows = {
            "topic": "ami.frames.v1", "partition": 0, "offset": range(self.offset, self.offset + len(apdus)),
            "frame": 0, "received_at": self.now, "payload": [wrap_wpdu(apdu) for apdu in apdus],
        }  # fmt: skip
        self.offset += len(apdus)
        self.ingest.deliver(self.ingest.prepare(pl.DataFrame(rows, schema=RAW_FRAMES.schema)), str(self.offset))
        dirty = self.publisher.rows(workers.DIRTY_DAYS_TOPIC, DIRTY_DAYS)[self.told :]
        self.told += dirty.height
        self.vee.deliver(self.vee.prepare(to_messages(dirty, dirty["bucket"])), "")
        return sorted(day.day for day in dirty["day"])

    def monday(self) -> pl.DataFrame:
        span = Scope((NAME,), MIDNIGHT, MIDNIGHT + 24 * HOUR)
        return self.store.load_current("finals", span).sort("interval_start")


@pytest.fixture
def road() -> Iterator[Road]:
    store = open_embedded()
    for table in ("meters", "frames", "intervals", "reads", "rejects", "replay_windows", "finals", "exceptions"):
        store.engine.execute(f"TRUNCATE TABLE {table}")
    store.append("meters", MASTER, "meters")
    yield Road(store)
    store.close()


def test_the_read_that_ends_a_day_anchors_its_estimates(road: Road) -> None:
    """Monday lacks two hours; the read of midnight, pushed with the first hour of Tuesday, leaves 340 Wh for them."""
    monday = [interval(hour) for hour in range(24) if hour not in (10, 11)]
    assert road.bring(24, read(0, 5_000), *monday) == [1, 2]
    before = road.monday()
    assert before["quality"].to_list()[10:12] == ["estimated"] * 2
    assert before["value_milli"].sum() == 2_400_000, "100 Wh an hour: nothing says more"
    assert road.bring(25, read(24, 5_000 + 2_200 + 340), interval(24)) == [2, 3]
    after = road.monday()
    assert after["value_milli"].to_list()[10:12] == [170_000, 170_000]
    assert set(before["version"]) == {1}
    assert set(after["version"]) == {2}, "the register stands beside every hour now"


def test_the_first_read_of_a_meter_that_was_there_before_has_nothing_estimated_before_it(
    road: Road, monkeypatch: pytest.MonkeyPatch
) -> None:
    """METERS know it for two years, and nobody has heard of it: the day that its first read ends was never measured."""
    there = MASTER.with_columns(installed_at=pl.col("installed_at") - pl.duration(days=700))
    monkeypatch.setattr(sys.modules[__name__], "MASTER", there)
    road.store.engine.execute("TRUNCATE TABLE meters")
    road.store.append("meters", there, "there before")
    road = Road(road.store)
    assert road.bring(24, read(0, 5_000), *(interval(hour) for hour in range(24))) == [1, 2]
    found = road.store.load_current("finals", Scope((NAME,), MIDNIGHT - 60 * 24 * HOUR, MIDNIGHT + 48 * HOUR))
    assert found["interval_start"].min() == MIDNIGHT
    assert found.height == 24


def test_the_read_that_ends_a_day_has_its_sum_checked(road: Road) -> None:
    road.bring(24, read(0, 5_000), *(interval(hour) for hour in range(24)))
    unjudged = int(DEFINITION[Rule.SUM_CHECK].bit)
    assert (road.monday()["unjudged"] & unjudged).ne(0).all()
    assert road.bring(25, read(24, 5_000 + 3_000)) == [2, 3]
    assert not (road.monday()["unjudged"] & unjudged).ne(0).any()
    assert set(road.monday()["quality"]) == {"suspect"}, "600 Wh more by the register than by the hours"
