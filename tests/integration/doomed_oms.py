"""A delivering worker that kills itself at a step: python doomed_oms.py STEP NTH --config FILE

STEP is "<call>:before" or "<call>:after"; the process ends by SIGKILL the NTH time it gets there. "none" runs on.
"""

import sys

from fate import Fate

from app import cli
from app.oms_lane import OmsWork
from outage.oms import OmsClient
from outage.oms_outbox import Outbox

STEPS = ("put:before", "put:after", "send:after", "settle:after")


def doom_all(fate: Fate) -> None:
    """All calls that touch the disk or the counterparty."""
    fate.doom(OmsWork, "adopt", lambda *_: "adopt")
    fate.doom(Outbox, "put", lambda *_: "put")
    fate.doom(OmsClient, "send", lambda *_: "send")
    fate.doom(Outbox, "settle", lambda *_: "settle")


if __name__ == "__main__":
    _, at, nth, *arguments = sys.argv
    doom_all(Fate(at, int(nth)))
    sys.argv = ["ami", "worker", "oms", *arguments]
    sys.exit(cli.main())
