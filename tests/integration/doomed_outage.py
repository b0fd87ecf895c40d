"""An outage worker that kills itself at a step: python doomed_outage.py STEP NTH --config FILE

STEP is "<call>:before" or "<call>:after", for instance "append:after"; the process ends by SIGKILL the NTH time it
gets there. With the step "none" it runs to its end.
"""

import sys

from crashing_worker import Fate, doom

from app import cli
from app.outage_lane import OutageWork
from ingest.kafka.publisher import KafkaPublisher
from outage.stream import Journal

STEPS = ("claim:after", "prepare:after", "append:before", "append:after", "publish:after", "flush:after")


def doom_all(fate: Fate) -> None:
    """All calls of the worker's life that touch the world, and the stage between them."""
    doom(fate, Journal, "claim", lambda *_: "claim")
    doom(fate, OutageWork, "prepare", lambda *_: "prepare")
    enrolments: list[object] = []
    doom(fate, OutageWork, "enrol", lambda *changed: enrolments.append(changed) or "enrol")
    doom(fate, Journal, "append", lambda *_: "append enrolled" if enrolments else "append")
    doom(fate, KafkaPublisher, "publish", lambda *_: "publish")
    doom(fate, KafkaPublisher, "flush", lambda *_, **__: "flush")


if __name__ == "__main__":
    _, at, nth, *arguments = sys.argv
    doom_all(Fate(at, int(nth)))
    sys.argv = ["ami", "worker", "outage", *arguments]
    cli.main()
