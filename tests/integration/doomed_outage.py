"""An outage worker that kills itself at a step: python doomed_outage.py STEP NTH --config FILE

STEP is "<call>:before" or "<call>:after", for instance "append:after"; the process ends by SIGKILL the NTH time it
gets there. With the step "none" it runs to its end.
"""

import sys

from fate import Fate

from app import cli
from app.outage_lane import OutageWork
from ingest.kafka.publisher import KafkaPublisher
from outage.stream import Journal

STEPS = ("claim:after", "prepare:after", "append:before", "append:after", "publish:after", "flush:after")


def doom_all(fate: Fate) -> None:
    """All calls of the worker's life that touch the world, and the stage between them."""
    fate.doom(Journal, "claim", lambda *_: "claim")
    fate.doom(OutageWork, "prepare", lambda *_: "prepare")
    enrolments: list[object] = []
    fate.doom(OutageWork, "enrol", lambda *changed: enrolments.append(changed) or "enrol")
    fate.doom(Journal, "append", lambda *_: "append enrolled" if enrolments else "append")
    fate.doom(KafkaPublisher, "publish", lambda *_: "publish")
    fate.doom(KafkaPublisher, "flush", lambda *_, **__: "flush")


if __name__ == "__main__":
    _, at, nth, *arguments = sys.argv
    doom_all(Fate(at, int(nth)))
    sys.argv = ["ami", "worker", "outage", *arguments]
    cli.main()
