"""What is known of a batch before its bodies are read, and by what they are read."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from ingest.clocks import Micros
from ingest.enrolment import Enrolment
from ingest.keyring import Keyring
from ingest.learned import Learned
from ingest.meter_types import MeterTypes
from ingest.spans import Flags, Places, Spans


class Arrived(NamedTuple):
    """What is known of each message before its body is read."""

    apdus: Spans
    ciphered: Flags
    control: Places  # security control of those
    title: npt.NDArray[np.uint64]  # 0 where none was sent
    meter_row: Places  # by system title; `NOT_ENROLLED` where that says nothing
    received: Micros
    when: Micros  # time whose lines of METERS count: see `Enrolment.when`
    topic: pl.Series


class Rules(NamedTuple):
    """What bodies are read by."""

    types: MeterTypes
    enrolment: Enrolment
    keyring: Keyring
    learned: Learned
