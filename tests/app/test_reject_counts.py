"""What was rejected is counted once, by its topic, after it was stored, though two workers read the last-gasp lane."""

import polars as pl
import pytest

from app import workers
from app.embedded import MemoryPublisher
from app.observe import Observed
from app.telemetry import REGISTRY
from ingest import meter_types
from ingest.keyring import Keyring
from ingest.lanes import LAST_GASP_TOPIC
from schemas.errors import TransientError
from schemas.frames import METERS, RAW_FRAMES, REPLAY_WINDOWS

BAD = 7


class Away:
    """A store that is away once, then takes everything."""

    def __init__(self) -> None:
        self.fails = 1

    def load_windows(self, positions: object) -> pl.DataFrame:
        return REPLAY_WINDOWS.empty()

    def append(self, table: str, rows: pl.DataFrame, token: str) -> int:
        self.fails -= 1
        if self.fails >= 0:
            raise TransientError("away")
        return rows.height


def garbage() -> pl.DataFrame:
    rows = [
        {"topic": LAST_GASP_TOPIC, "partition": 0, "offset": n, "frame": 0, "payload": b"garbage"} for n in range(BAD)
    ]
    return pl.DataFrame(rows, schema_overrides=dict(RAW_FRAMES.schema)).with_columns(
        **{name: pl.lit(None, kind) for name, kind in RAW_FRAMES.schema.items() if name not in rows[0]}
    ).select(list(RAW_FRAMES.schema))


def told(metric: str) -> dict[tuple[str, ...], float]:
    return {
        tuple(sample.labels.values()): sample.value
        for family in REGISTRY.collect() for sample in family.samples if sample.name == f"ami_{metric}_total"
    }  # fmt: skip


def more(metric: str, before: dict[tuple[str, ...], float]) -> dict[tuple[str, ...], float]:
    after = told(metric)
    return {labels: value - before.get(labels, 0) for labels, value in after.items() if value != before.get(labels, 0)}


def test_rejects_of_the_last_gasp_lane_are_counted_once_and_when_they_are_stored() -> None:
    registry = workers.Registry.of(Keyring.from_csv("system_title,ek,ak\n"), METERS.empty(), meter_types.BUILT_IN)
    publisher = MemoryPublisher()
    ingest = Observed(workers.IngestWork(Away(), publisher, registry, lambda *_: None), workers.LANE)
    decoding = workers.EventsWork(publisher, registry, lambda _: (), lambda _: REPLAY_WINDOWS.empty())
    events = Observed(decoding, "lastgasp", counts=False)
    names = ("rejects", "messages", "decode_errors", "security_rejects")
    before = {name: told(name) for name in names}
    for work in (events, ingest):
        work.adopt(())
    events.deliver(events.prepare(garbage()), "e")
    prepared = ingest.prepare(garbage())
    with pytest.raises(TransientError):
        ingest.deliver(prepared, "i")
    assert all(more(name, before[name]) == {} for name in names), "nothing is written yet"
    ingest.deliver(prepared, "i")
    rejects = more("rejects", before["rejects"])
    assert {labels[0] for labels in rejects} == {LAST_GASP_TOPIC}
    assert sum(rejects.values()) == BAD
    assert sum(more("decode_errors", before["decode_errors"]).values()) == BAD
    assert more("messages", before["messages"]) == {(workers.LANE, "rejected"): BAD}
