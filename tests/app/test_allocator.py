"""Memory that a batch gives back stays with the process."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

FAULTS = """
import resource, sys, threading
import numpy as np
from app.allocator import keep_freed_memory
if sys.argv[1] == "keep" and not keep_freed_memory():
    raise SystemExit("no such setting")
def made():
    return [np.ones(1 << 20) for _ in range(12)]
def batch():
    thread = threading.Thread(target=made)  # as batches are: beside the loop, each in a thread of its own
    thread.start()
    thread.join()
batch()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(8):
    batch()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(mode):
    run = subprocess.run([sys.executable, "-c", FAULTS, mode], capture_output=True, text=True, check=False)
    if "no such setting" in run.stderr:
        pytest.skip("the C library has no mallopt")
    assert run.returncode == 0, run.stderr
    return int(run.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="a setting of glibc")
def test_pages_of_a_batch_are_not_faulted_in_again_for_the_next():
    assert faults("keep") < faults("leave") / 10


KEPT = """
import sys, time
if sys.argv[1] == "keep":
    import app.cli
import polars as pl
def held():
    return int(open("/proc/self/statm").read().split()[1]) * 4096
pl.int_range(20_000_000, eager=True)
most = held()
for _ in range(30):  # three seconds; left alone, pages go back after half of one
    time.sleep(0.1)
    pl.int_range(1000, eager=True)
print(most - held())
"""


NEW = """
import resource, sys
if sys.argv[1] == "keep":
    import app.cli
import polars as pl
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
columns = [pl.int_range(2_000_000, eager=True) for _ in range(8)]
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


SHARED = """
import resource, sys, threading
if sys.argv[1] == "keep":
    import app.cli
import polars as pl
over = threading.Event()
def batch():
    made = threading.Event()
    def work():
        [pl.int_range(1_000_000, eager=True) for _ in range(12)]
        made.set()
        over.wait()  # as the thread of a delivery lives on while the next batch is prepared
    threading.Thread(target=work).start()
    made.wait()
batch()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(6):
    batch()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
over.set()
"""


def told_by(script, mode):
    # Of the process that runs the tests: polars leaves there what it was loaded with.
    environment = {name: value for name, value in os.environ.items() if name != "_RJEM_MALLOC_CONF"}
    run = subprocess.run(
        [sys.executable, "-c", script, mode], capture_output=True, text=True, check=False, env=environment
    )
    assert run.returncode == 0, run.stderr
    return int(run.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_columns_of_a_batch_stay_with_the_command_for_the_next():
    column = 20_000_000 * 8
    if told_by(KEPT, "leave") < column / 2:
        pytest.skip("polars keeps its pages here anyway")
    assert told_by(KEPT, "keep") < column / 2


@pytest.mark.skipif(sys.platform != "linux", reason="a setting of the allocator that polars has there")
def test_columns_of_one_thread_are_room_for_those_of_the_next():
    assert told_by(SHARED, "keep") < told_by(SHARED, "leave") / 4


LARGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")


@pytest.mark.skipif(not LARGE_PAGES.exists(), reason="a system without large pages")
def test_columns_that_are_new_come_in_large_pages_where_a_process_may_ask_for_them() -> None:
    if "[madvise]" not in LARGE_PAGES.read_text():
        pytest.skip("the system gives large pages to all or to none")
    assert told_by(NEW, "keep") < told_by(NEW, "leave") / 10
