"""Memory that a batch gives back stays with the process."""

import subprocess
import sys

import pytest

FAULTS = """
import resource, sys
import numpy as np
from app.allocator import keep_freed_memory
if sys.argv[1] == "keep" and not keep_freed_memory():
    raise SystemExit("no such setting")
def batch():
    return [np.ones(1 << 20) for _ in range(4)]
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
