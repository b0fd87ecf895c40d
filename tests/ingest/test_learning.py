"""Layouts: what is structure must stand, what is a slot may change; and what was learned changes no result."""

import random
import tracemalloc
from datetime import timedelta

from ingest.decode import decode_frames
from ingest.dlms.apdu import encode_data_notification
from ingest.dlms.cursor import MAX_ELEMENTS
from ingest.dlms.data import Data, Tag
from ingest.dlms.framing import wrap_wpdu
from ingest.dlms.layout import Layout, learn
from ingest.dlms.nodes import locate
from ingest.keyring import Keyring
from ingest.learned import Learned
from ingest.meter_types import BUILT_IN, parse_types
from ingest.replay import Windows
from tests.ingest.fleet import (
    KEYS,
    START,
    device_name,
    enrolled,
    frames,
    interval_rows,
    meters,
    notification,
    register_rows,
    sealed,
    usual_rows,
)

RING = Keyring.from_csv(KEYS)


def layout_of(apdu: bytes, *fixed: bytes) -> Layout:
    return learn(apdu, locate(apdu), frozenset(fixed))


def free_bytes(layout: Layout) -> set[int]:
    return set(range(layout.length)) - set(layout.structure.tolist())


def test_clocks_status_values_names_and_invoke_ids_are_slots_and_nothing_else_is():
    apdu = notification(interval_rows(usual_rows(1)), START)
    name, clock = apdu.index(b"AMI0"), apdu.rindex(bytes.fromhex("090c")) + 2
    value = apdu.rindex(b"\x06") + 1
    expected = {*range(1, 5), *range(6, 18), *range(name, name + 16), *range(clock, clock + 12)}
    expected |= {clock + 13, *range(value - 5, value - 1), *range(value, value + 4)}
    assert free_bytes(layout_of(apdu)) == expected


def test_names_of_objects_scalers_and_texts_that_tell_lists_apart_are_structure():
    body = register_rows([device_name(), ("1-0:1.8.0.255", Data(Tag.UINT32, 0xAABBCCDD), (-1, 30))])
    apdu = notification(body)
    free = free_bytes(layout_of(apdu))
    assert not free & set(
        range(apdu.index(bytes.fromhex("0100010800ff")), apdu.index(bytes.fromhex("0100010800ff")) + 6)
    )
    assert apdu.index(bytes.fromhex("0fff161e")) + 1 not in free
    text = encode_data_notification(1, None, Data(Tag.STRUCTURE, (Data(Tag.VISIBLE_STRING, "LIST_1"),) * 2))
    first = text.index(b"LIST_1")
    assert first not in free_bytes(layout_of(text, b"LIST_1"))
    longer = encode_data_notification(1, None, Data(Tag.STRUCTURE, (Data(Tag.VISIBLE_STRING, "SERIAL_1"),)))
    assert longer.index(b"SERIAL_1") in free_bytes(layout_of(longer))


def test_a_layout_changes_with_any_structure_byte_and_with_no_slot():
    apdu = notification(interval_rows(usual_rows(2)), START)
    layout = layout_of(apdu)
    for at in sorted(free_bytes(layout)):
        if not 6 <= at < 18:  # a header date-time may become unreadable
            changed = layout_of(apdu[:at] + bytes((apdu[at] ^ 0x01,)) + apdu[at + 1 :])
            assert changed.structure.tolist() == layout.structure.tolist()
            assert changed.octets.tolist() == layout.octets.tolist()


def batch(first: int, meter: str = "AMI0000000000001"):
    pushes = [
        interval_rows(usual_rows(1 + number % 3, START + timedelta(hours=number)), name=meter) for number in range(9)
    ]
    return frames(*[sealed(notification(push), first + number) for number, push in enumerate(pushes)])


def test_what_was_learned_is_used_again_and_changes_no_result():
    first = decode_frames(batch(1), RING, Windows.empty(), meters())
    assert sum(map(len, first.learned.by_shape.values())) == 3
    knowing = decode_frames(batch(20), RING, first.windows, meters(), BUILT_IN, first.learned)
    ignorant = decode_frames(batch(20), RING, first.windows, meters())
    assert knowing.intervals.sort("offset").equals(ignorant.intervals.sort("offset"))
    before = {known.layout.octets.tobytes() for known in first.learned.by_shape[next(iter(first.learned.by_shape))]}
    after = {known.layout.octets.tobytes() for shape in knowing.learned.by_shape.values() for known in shape}
    assert before <= after and sum(map(len, knowing.learned.by_shape.values())) == 3


def test_other_meter_types_forget_what_was_learned_and_other_kinds_have_plans_of_their_own():
    first = decode_frames(batch(1), RING, Windows.empty(), meters())
    half = parse_types('[[meter_type]]\nname = "generic"\nchannels = ["energy_delivered"]')
    decoded = decode_frames(batch(20), RING, first.windows, meters(), half, first.learned)
    assert decoded.counts.rejected == 9 and decoded.learned.types is half
    other = meters(enrolled(channels=["reactive_q1", "reactive_q2"]))
    again = decode_frames(batch(40), RING, first.windows, other, BUILT_IN, first.learned)
    assert set(again.intervals["channel"].unique()) == {"reactive_q1", "reactive_q2"}


def one_register(number: int) -> bytes:
    obis = f"1-0:{1 + number}.8.0.255"
    return wrap_wpdu(notification(register_rows([device_name(), (obis, Data(Tag.UINT32, number), (0, 30))])))


def test_memory_of_what_was_learned_is_bounded():
    learned = Learned.nothing().of_types(BUILT_IN)
    registry = meters(enrolled(system_title=None))
    for first in range(0, 200, 20):
        pushes = [one_register(number) for number in range(first, first + 20)]
        decoded = decode_frames(frames(*pushes), RING, Windows.empty(), registry, BUILT_IN, learned)
        assert decoded.counts.decoded == 20
        learned = decoded.learned
    assert max(map(len, learned.by_shape.values())) == 8


def nulls(octets: bytes) -> bytes:
    """A push of an array of nulls (00) and values that nobody cares for (FF)."""
    return wrap_wpdu(b"\x0f\x00\x00\x00\x01\x00\x01\x82" + len(octets).to_bytes(2, "big") + octets)


def test_a_batch_whose_messages_are_each_a_layout_of_their_own_takes_no_more_memory_the_longer_it_is():
    choose = random.Random(1).choices
    batch = frames(*(nulls(bytes(choose((0x00, 0xFF), k=200))) for _ in range(1_200)))
    tracemalloc.start()
    try:
        decoded = decode_frames(batch, RING, Windows.empty(), meters())
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert decoded.counts.rejected == 1_200
    assert peak < 60_000_000  # a layout of each message held to the end of the batch took 110 MB
    assert sum(map(len, decoded.learned.by_shape.values())) <= 8


def test_layouts_of_many_values_are_kept_as_far_as_their_values_are_not_too_many():
    learned = Learned.nothing().of_types(BUILT_IN)
    for first in range(0, 36, 12):
        pushes = [nulls(bytes(10_000 + number)) for number in range(first, first + 12)]
        learned = decode_frames(frames(*pushes), RING, Windows.empty(), meters(), BUILT_IN, learned).learned
    kept = [known.layout for shape in learned.by_shape.values() for known in shape]
    assert sum(len(layout.located.nodes) for layout in kept) <= 2 * MAX_ELEMENTS
    assert max(layout.length for layout in kept) == len(pushes[-1]) - 8  # the latest are there
    assert len(kept) == 25


def switches(states: bytes) -> bytes:
    """A push of a boolean a switch, each sent as this octet."""
    values = [(f"0-0:96.3.{number}.255", Data(Tag.BOOLEAN, True), None) for number in range(len(states))]
    apdu = bytearray(notification(register_rows([device_name(), *values])))
    for number, state in enumerate(states):
        name = bytes((0, 0, 96, 3, number, 0xFF, Tag.BOOLEAN))
        apdu[apdu.index(name) + len(name)] = state
    return wrap_wpdu(bytes(apdu))


def test_booleans_are_slots_and_true_is_every_octet_but_zero():
    sent = [bytes(octets) for octets in ((0, 0, 1, 1, 0), (1, 0, 0, 0x7F, 1), (0xFF, 1, 0, 1, 0x80), (0, 0, 0, 0, 0))]
    decoded = decode_frames(
        frames(*map(switches, sent)), RING, Windows.empty(), meters(enrolled(system_title=None)), BUILT_IN
    )
    reads = decoded.reads.sort("offset", "obis")
    assert reads["value_milli"].to_list() == [1_000 * (octet != 0) for octets in sent for octet in octets]
    assert sum(map(len, decoded.learned.by_shape.values())) == 1
