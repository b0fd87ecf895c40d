"""Workers told to stop while a service gives no answer: half open, it hangs; gone, it refuses."""

import os
import signal
import time

import pytest
from cluster import Workers
from fleet import Fleet, patiently, push
from found import Found

SHUTDOWN_S = 4


@pytest.mark.parametrize("which", ["database hangs", "broker hangs", "broker gone"])
def test_a_worker_told_to_stop_ends_within_its_bound_whatever_hangs(
    workers: Workers, fleet: Fleet, kafka: Found, clickhouse: Found, which: str
) -> None:
    victim = (clickhouse if which.startswith("database") else kafka).process
    assert victim is not None
    text = workers.config.read_text().replace(
        "batch_seconds = 0.1", f"batch_seconds = 0.1\nshutdown_seconds = {SHUTDOWN_S}"
    )
    workers.config.write_text(text)
    push(workers.settings, fleet.payloads[:800])
    worker = workers.start("ingest")
    workers.wait_begun("ingest", worker)
    pid = victim.pid()
    assert pid is not None
    if which == "broker gone":
        victim.stop(kill=True)
    else:
        os.kill(pid, signal.SIGSTOP)
    try:
        time.sleep(1.0)
        worker.terminate()
        begun = time.monotonic()
        patiently(lambda: worker.poll() is not None, 60)
        took = time.monotonic() - begun
    finally:
        if which == "broker gone":
            victim.run()
        else:
            os.kill(pid, signal.SIGCONT)
    assert took < SHUTDOWN_S + 6, workers.tail()
    assert "Traceback" not in workers.tail()
