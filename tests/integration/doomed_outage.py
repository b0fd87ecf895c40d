"""An outage worker that kills itself at a step: python doomed_outage.py STEP NTH --config FILE

STEP is "<call>:before" or "<call>:after", for instance "append:after"; the process ends by SIGKILL the NTH time it
gets there. With the step "none" it runs to its end.
"""

import os
import sys

from fate import Fate

from app import cli
from app.outage_lane import OutageWork
from ingest.kafka.publisher import KafkaPublisher
from outage.stream import Journal

LIFE = (
    "claim", "prepare", "append step", "publish ami.outages.v1", "publish ami.ping-requests.v1",
    "publish ami.outage-notices.v1", "publish ami.rejects.v1", "flush", "append snapshot",
)  # fmt: skip
"""The calls of the worker's life."""
EVERY = tuple(f"{call}:{when}" for call in LIFE for when in ("before", "after"))
SOME = ("claim:after", "prepare:after", "append step:before", "append step:after", "publish ami.outages.v1:after",
        "flush:after", "append snapshot:after")  # fmt: skip
"""Without AMI_FULL=1: the places where order matters most."""
STEPS = EVERY if os.environ.get("AMI_FULL") == "1" else SOME


def doom_all(fate: Fate) -> None:
    """All calls of the worker's life that touch the world, and the stage between them."""
    fate.doom(Journal, "claim", lambda *_: "claim")
    fate.doom(OutageWork, "prepare", lambda *_: "prepare")
    enrolments: list[object] = []
    fate.doom(OutageWork, "enrol", lambda *changed: enrolments.append(changed) or "")
    fate.doom(Journal, "append", lambda _, record: "append enrolled" if enrolments else f"append {record.kind.value}")
    fate.doom(KafkaPublisher, "publish", lambda _, topic, __: f"publish {topic}")
    fate.doom(KafkaPublisher, "flush", lambda *_, **__: "flush")


if __name__ == "__main__":
    _, at, nth, *arguments = sys.argv
    doomed = Fate(at, int(nth))
    doomed.watch()
    doom_all(doomed)
    sys.argv = ["ami", "worker", "outage", *arguments]
    cli.main()
