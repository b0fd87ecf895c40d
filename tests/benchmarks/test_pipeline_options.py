"""The pipeline's benchmark says at once what it cannot measure."""

import os
import subprocess
import sys
from pathlib import Path

PIPELINE = Path(__file__).parents[2] / "benchmarks" / "pipeline.py"
NOWHERE = {"AMI_TEST_KAFKA": "127.0.0.1:1", "AMI_TEST_CLICKHOUSE": "127.0.0.1:1"}


def test_a_peer_of_more_pushes_than_the_topic_has_is_refused_before_anything_is_started() -> None:
    """It would wait for them for ever."""
    command = [sys.executable, str(PIPELINE), "--frames", "10", "--peer", "11"]
    told = subprocess.run(command, env=os.environ | NOWHERE, capture_output=True, text=True, timeout=120)
    assert told.returncode == 2, told.stderr
    assert told.stderr.splitlines()[-1].endswith("--peer: the topic holds the 10 pushes of --frames")
