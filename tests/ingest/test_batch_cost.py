"""What a batch costs whatever is in it, counted in calls: a clock says another thing on every machine."""

import gc
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import polars as pl
import pytest

from ingest.decode import Decoded, decode_frames
from ingest.dlms.framing import wrap_wpdu
from ingest.enrolment import Enrolment
from ingest.keyring import Keyring
from ingest.meter_types import BUILT_IN
from ingest.replay import Windows
from tests.ingest.fleet import KEYS, enrolled, frames, interval_rows, meters, notification, sealed, usual_rows

PUSH = notification(interval_rows(usual_rows(4)))
MOST_CALLS, MOST_CALLS_CIPHERED = 1_390, 2_325
"""A few hundred are polars' and numpy's own: another version may need more or fewer."""


def calls_of(run: Callable[[], object]) -> int:
    """Functions that a run calls, of Python and of C, once it has run; collecting garbage comes when it comes."""
    calls = 0

    def count(_frame: FrameType, event: str, _function: Any) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    run()
    gc.disable()
    sys.setprofile(count)
    try:
        run()
    finally:
        sys.setprofile(None)
        gc.enable()
    return calls


def decoder_of(batch: pl.DataFrame, ring: Keyring, **changes: object) -> Callable[[], Decoded]:
    """Decodes this batch again and again, as a worker that has seen its like."""
    enrolment = Enrolment.of(meters(enrolled(**changes)), BUILT_IN)
    learned = decode_frames(batch, ring, Windows.empty(), enrolment).learned
    return lambda: decode_frames(batch, ring, Windows.empty(), enrolment, BUILT_IN, learned)


@pytest.mark.parametrize("messages", [1, 400])
def test_a_batch_in_the_clear_is_few_calls_whatever_its_size(messages: int) -> None:
    batch = frames(*[wrap_wpdu(PUSH)] * messages)
    decode = decoder_of(batch, Keyring.from_csv("system_title,ek,ak\n"), system_title=None)
    assert decode().counts.decoded == messages
    assert calls_of(decode) < MOST_CALLS


def test_a_ciphered_message_is_one_call_and_its_batch_few() -> None:
    ring = Keyring.from_csv(KEYS)
    few, many = (frames(*(sealed(PUSH, 1 + counter) for counter in range(messages))) for messages in (40, 400))
    calls = calls_of(decoder_of(few, ring))
    assert calls - 40 < MOST_CALLS_CIPHERED
    assert calls_of(decoder_of(many, ring)) - calls == 400 - 40
