"""The broker and the server killed under a running worker: at the end every frame is there exactly once."""

from collections.abc import Callable

import pytest
from accounts import Account, account
from cluster import Workers
from fleet import Fleet, push
from found import Found

from storage.store import SqlStore


def test_the_broker_and_the_server_may_die_under_a_running_worker(
    workers: Workers, store: SqlStore, fleet: Fleet, kafka: Found, clickhouse: Found, note: Callable[[Account], None]
) -> None:
    if kafka.process is None or clickhouse.process is None:
        pytest.skip("the services are not ours to kill")
    quarter = -(-len(fleet.payloads) // 4)
    first, *parts = (fleet.payloads[i * quarter : (i + 1) * quarter] for i in range(4))
    push(workers.settings, first)
    worker = workers.start("ingest")
    workers.wait_begun("ingest", worker)
    for at, victims in enumerate([[clickhouse.process], [kafka.process], [kafka.process, clickhouse.process]]):
        push(workers.settings, parts[at])
        for victim in victims:
            victim.stop(kill=True)
        for victim in victims:
            victim.run()
    workers.wait_idle("ingest", worker)
    workers.end(worker)
    workers.run_out("events", "store")
    told = account("", 0, store, workers.settings, fleet)
    for case, deaths in (
        ("ClickHouse, SIGKILL and restart", 1),
        ("broker, SIGKILL and restart", 1),
        ("both at once", 2),
    ):
        note(told._replace(case=f"{case}, a worker at work", deaths=deaths))
