"""Lines of METERS that begin and end, where files and workers meet them."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from app import workers
from app.cli import main
from app.embedded import MemoryPublisher
from ingest import meter_types
from ingest.dlms.data import Data, Tag
from ingest.dlms.framing import wrap_wpdu
from ingest.kafka.records import Records, frames_of_records
from ingest.keyring import Keyring
from schemas.frames import REPLAY_WINDOWS, UTC_US
from storage.embedded import open_embedded
from storage.store import SqlStore
from tests.failing_publisher import FailingPublisher
from tests.ingest.fleet import NAME, RECEIVED, START, enrolled, event, interval_rows, meters, notification, usual_rows

DAY = timedelta(days=1)
PUSH = wrap_wpdu(notification(interval_rows(usual_rows(1))))
GASP = wrap_wpdu(event("128.128.128.128.128.0", Data(Tag.OCTET_STRING, NAME.encode())))


def test_files_are_read_by_the_meters_of_now_and_with_a_sidecar_by_those_of_the_reception(tmp_path: Path) -> None:
    (tmp_path / "push.bin").write_bytes(PUSH)
    now = datetime.now(UTC).replace(microsecond=0)
    lines = [(1800, "", ""), (900, RECEIVED + DAY, ""), (300, now + 365 * DAY, "")]
    dated = [(length, *(at and at.strftime("%Y-%m-%dT%H:%M:%SZ") for at in dates)) for length, *dates in lines]
    ends = [*(begins for _, begins, _ in dated[1:]), ""]
    text = "meter_id,meter_type,interval_s,channels,installed_at,removed_at\n" + "".join(
        f"{NAME},generic,{length},energy_delivered;energy_received,{begins},{end}\n"
        for (length, begins, _), end in zip(dated, ends, strict=True)
    )
    (tmp_path / "meters.csv").write_text(text)
    arguments = ["decode", str(tmp_path / "push.bin"), "--meters", str(tmp_path / "meters.csv"), "--out", str(tmp_path)]
    said = []
    for received in (None, RECEIVED, RECEIVED + DAY, now + 366 * DAY):
        if received is not None:
            sidecar = {"topic": ["ami.frames.v1"], "received_at": pl.Series([received], dtype=UTC_US)}
            pl.DataFrame(sidecar).write_parquet(tmp_path / "push.received.parquet")
        assert main(arguments) == 0
        said.append(pl.read_parquet(tmp_path / "intervals.parquet")["interval_s"].unique().to_list())
    assert said == [[900], [1800], [900], [300]]


@pytest.fixture
def store() -> Iterator[SqlStore]:
    opened = open_embedded()
    for table in ("frames", "intervals", "reads", "rejects", "replay_windows"):
        opened.engine.execute(f"TRUNCATE TABLE {table}")
    yield opened
    opened.close()


def registry_of(*lines: dict) -> workers.Registry:
    return workers.Registry.of(Keyring.empty(), meters(*lines), meter_types.BUILT_IN)


OLD = enrolled(system_title=None, security_min=0, interval_s=1800, feeder_id="F1", installed_at=START - DAY)
NEW = enrolled(system_title=None, security_min=0, interval_s=900, feeder_id="F2", installed_at=RECEIVED + DAY)


def polled(topic: str, *payloads: bytes, first: int = 0, received: datetime = RECEIVED) -> pl.DataFrame:
    offsets = range(first, first + len(payloads))
    return frames_of_records(Records(topic, 0, offsets, [int(received.timestamp() * 1000)] * len(payloads), payloads))


def test_what_is_read_again_after_a_crash_gives_the_same_rows_although_the_meter_has_changed_meanwhile(store) -> None:
    """The worker dies before it commits, the meter is exchanged, and the batch comes again with one of afterwards."""
    publisher = MemoryPublisher()
    work = workers.IngestWork(store, publisher, registry_of(OLD), lambda _messages, _rejected: None)
    first = polled("ami.frames.v1", PUSH, GASP)
    decoded = work.prepare(first)
    work.deliver(decoded, "first")
    again = workers.IngestWork(store, publisher, registry_of(OLD, NEW), lambda _messages, _rejected: None)
    later = polled("ami.frames.v1", PUSH, GASP, first=2, received=RECEIVED + DAY)
    both = again.prepare(pl.concat([first, later]))
    again.deliver(both, "again")
    was = pl.col("offset") < 2
    assert both.intervals.filter(was).equals(decoded.intervals) and both.events.filter(was).equals(decoded.events)
    assert both.intervals.filter(~was)["interval_s"].unique().to_list() == [900]


class Keys(FailingPublisher):
    """One that tells the keys of each topic, in order."""

    @property
    def of(self) -> dict[str, list[str]]:
        return {topic: [key for part in parts for key in part["key"]] for topic, parts in self._topics.items()}


def test_news_of_a_meter_that_moved_go_to_the_feeder_of_when_they_came(store) -> None:
    frames, gasps = (
        pl.concat([polled(topic, PUSH, GASP), polled(topic, PUSH, GASP, first=2, received=RECEIVED + DAY)])
        for topic in ("ami.frames.v1", "ami.lastgasp.v1")
    )
    stored, urgent, registry = Keys(), Keys(), registry_of(NEW, OLD)
    ingest = workers.IngestWork(store, stored, registry, lambda _messages, _rejected: None)
    for part in (frames[:2], frames):
        ingest.deliver(ingest.prepare(part), f"{part.height} messages")
    assert stored.of[workers.EVENTS_TOPIC] == ["F1", "F1", "F2"]
    assert stored.of[workers.HEARD_TOPIC] == ["F1", "F2"]
    events = workers.EventsWork(urgent, registry, lambda _: (), lambda _: REPLAY_WINDOWS.empty())
    events.deliver(events.prepare(gasps), "gasps")
    assert urgent.of[workers.EVENTS_TOPIC] == ["F1", "F2"]
