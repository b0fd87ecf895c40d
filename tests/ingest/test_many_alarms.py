"""Alarm registers in numbers: what each costs, and that those of different messages stay apart."""

import pytest

from ingest.decode import Decoded
from ingest.dlms.data import Data, Tag
from ingest.dlms.framing import wrap_wpdu
from ingest.keyring import Keyring
from tests.ingest.fleet import decode, device_name, enrolled, frames, meters, notification, register_rows
from tests.ingest.test_batch_cost import calls_of, decoder_of

MOST_CALLS_AN_ALARM = {0: 60, 1: 150, 2**64 - 1: 220}
"""By what the register says: nothing, one alarm, more than a code holds."""


def push(values: list[int], tag: Tag = Tag.UINT64) -> bytes:
    rows = [(f"0-{n}:97.98.0.255", Data(tag, value), None) for n, value in enumerate(values)]
    return wrap_wpdu(notification(register_rows([device_name(), *rows])))


def decoded(*payloads: bytes) -> Decoded:
    return decode(*payloads, registry=meters(enrolled(meter_type="idis", system_title=None, security_min=0)))


@pytest.mark.parametrize("value", MOST_CALLS_AN_ALARM)
def test_an_alarm_register_more_is_a_few_calls(value: int) -> None:
    ring = Keyring.from_csv("system_title,ek,ak\n")
    calls = [
        calls_of(decoder_of(frames(push([value] * count)), ring, meter_type="idis", system_title=None))
        for count in (50, 150)
    ]
    assert (calls[1] - calls[0]) / 100 < MOST_CALLS_AN_ALARM[value]


def test_registers_that_are_reads_in_some_messages_are_reads_of_those_alone() -> None:
    wide = 1 << 40
    sent = [[0, 0, 1, wide], [0, 1, 0, wide], [1, 1, 1, 1], [wide, 0, 0, 0]]
    found = decoded(*map(push, sent))
    reads = {
        (offset, obis): milli for offset, obis, milli in found.reads.select("offset", "obis", "value_milli").rows()
    }
    assert reads == {
        (offset, f"0-{n}:97.98.0.255"): value * 1000
        for offset, values in enumerate(sent)
        for n, value in enumerate(values)
        if value in (0, wide)
    }
    assert not found.rejects.height
    assert found.events["offset"].unique().sort().to_list() == [0, 1, 2, 3]


def test_status_words_of_one_message_say_each_bit_once() -> None:
    words = [("0-0:94.91.18.255", "1000"), ("0-1:94.91.18.255", "1100"), ("0-2:94.91.18.255", "00100000")]
    rows = [(name, Data(Tag.BIT_STRING, bits), None) for name, bits in words]
    found = decode(
        wrap_wpdu(notification(register_rows([device_name(), *rows]))),
        registry=meters(enrolled(meter_type="is15959", system_title=None, security_min=0)),
    )
    assert sorted(found.events["code"].to_list()) == [0, 1, 2]
