"""A delivering worker that kills itself at a step: python doomed_oms.py STEP NTH --config FILE

STEP is "<call>:before" or "<call>:after"; the process ends by SIGKILL the NTH time it gets there. "none" runs on.
"""

import os
import sys

from fate import Fate

from app import cli
from ingest.kafka.publisher import KafkaPublisher
from outage.oms import OmsClient
from outage.oms_outbox import Outbox

DELIVERS = ("answer", "put", "send", "postpone", "settle")
"""The calls of a life in which steps of incidents are delivered and nobody asks anything."""
EVERY = tuple(f"{call}:{when}" for call in DELIVERS for when in ("before", "after"))
SOME = ("put:before", "put:after", "send:after", "settle:after")
"""Without AMI_FULL=1: the places where order matters most."""
STEPS = EVERY if os.environ.get("AMI_FULL") == "1" else SOME


def doom_all(fate: Fate) -> None:
    """All calls that touch the disk, the counterparty or the brokers."""
    fate.doom(OmsClient, "send", lambda *_: "send")
    for method in ("put", "answer", "ask", "keep", "settle", "refuse", "postpone", "forget_sent"):
        fate.doom(Outbox, method, lambda *_, name=method, **__: name)
    fate.doom(KafkaPublisher, "publish", lambda _, topic, __: f"publish {topic}")
    fate.doom(KafkaPublisher, "flush", lambda *_, **__: "flush")


if __name__ == "__main__":
    _, at, nth, *arguments = sys.argv
    doomed = Fate(at, int(nth))
    doomed.watch()
    doom_all(doomed)
    sys.argv = ["ami", "worker", "oms", *arguments]
    sys.exit(cli.main())
