"""Workers as processes on real services: a row that the database refuses for good holds none of them up."""

from contextlib import ExitStack

import polars as pl
from cluster import Workers
from fleet import Fleet, enrol, in_one_pass, on_topics, push
from storage_rows import refusing

from ingest.lanes import LAST_GASP_TOPIC
from storage.store import SqlStore


def test_every_worker_goes_on_past_rows_that_the_database_refuses(
    workers: Workers, store: SqlStore, fleet: Fleet
) -> None:
    registry = fleet.registry()
    enrol(workers.settings, registry.meters)
    push(workers.settings, fleet.payloads)
    lanes = on_topics(workers.settings, "ami.frames.v1", LAST_GASP_TOPIC)
    whole = in_one_pass(lanes, registry)
    poison = whole.intervals["meter_id"].mode().sort()[0]
    teller = whole.events["meter_id"].mode().sort()[0]
    with ExitStack() as picky:
        for table, meter in (("intervals", poison), ("events", teller), ("finals", poison), ("exceptions", poison)):
            picky.enter_context(refusing(store, table, f"meter_id = '{meter}'"))
        for role in ("ingest", "events", "store", "vee"):
            worker = workers.start(role)
            workers.wait_idle(role, worker)
            workers.end(worker)
    rejects = store.load_current("rejects").filter(pl.col("reason").cast(pl.String) == "poison")
    place = ["topic", "partition", "offset", "frame"]
    refused = pl.concat(
        [
            whole.intervals.filter(pl.col("meter_id") == poison).select(place),
            whole.events.filter(pl.col("meter_id") == teller).select(place),
        ]
    )
    assert set(rejects.select(place).rows()) == set(refused.rows())
    assert (rejects["payload"].bin.size() > 0).all()
    assert set(store.load_current("intervals")["meter_id"]) == set(whole.intervals["meter_id"]) - {poison}
    assert set(store.load_current("events")["meter_id"]) == set(whole.events["meter_id"]) - {teller}
    assert poison not in set(store.load_current("finals")["meter_id"])
    assert store.load_current("finals")["meter_id"].n_unique() > 1
    told = [line for line in workers.log.read_text().splitlines() if "the store refuses rows" in line]
    assert {table for table in ("intervals", "events", "finals") if any(f'"{table}"' in line for line in told)} == {
        "intervals", "events", "finals",
    }  # fmt: skip
