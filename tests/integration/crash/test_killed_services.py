"""The broker and the server killed under a running worker: at the end every frame is there exactly once."""

import urllib.error
import urllib.request
from collections.abc import Callable

from accounts import Account, account
from cluster import Workers
from fleet import Fleet, patiently, push
from found import Found
from services import free_port

from storage.store import SqlStore


def test_the_broker_and_the_server_may_die_under_a_running_worker(
    workers: Workers, store: SqlStore, fleet: Fleet, kafka: Found, clickhouse: Found, note: Callable[[Account], None]
) -> None:
    assert kafka.process is not None and clickhouse.process is not None
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


def test_a_worker_that_starts_while_the_database_is_away_waits_alive_and_not_ready_and_then_works(
    workers: Workers, store: SqlStore, fleet: Fleet, clickhouse: Found
) -> None:
    assert clickhouse.process is not None
    few = fleet.payloads[:300]
    push(workers.settings, few)
    status = free_port()
    workers.config.write_text(workers.config.read_text().replace("port = 0", f"port = {status}"))
    clickhouse.process.stop()
    try:
        worker = workers.start("ingest")
        patiently(lambda: b"the same is tried again" in workers.log.read_bytes())
        assert worker.poll() is None, workers.tail()
        assert [verdict(status, "live"), verdict(status, "ready")] == [200, 503]
    finally:
        clickhouse.process.run()
    workers.wait_idle("ingest", worker)
    patiently(lambda: verdict(status, "ready") == 200)
    workers.end(worker)
    assert store.load_current("frames").height == len(few)


def verdict(port: int, question: str) -> int:
    """What the worker answers to an orchestrator."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz/{question}", timeout=5) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code
