"""Bad bytes between good frames, or a damaged length, take no good frame along; and that costs linear time."""

import random
import time
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.dlms.blocks import split_blocks
from ingest.dlms.framing import split_messages, unwrap, wrap_wpdu
from ingest.dlms.hdlc import wrap_hdlc
from ingest.dlms.mbus import wrap_mbus
from ingest.dlms.resync import is_sound_end, wpdu_chain
from ingest.dlms.security import protect
from ingest.dlms.tags import APDU_NAMES
from schemas.codes import RejectReason

APDUS = [bytes.fromhex("0F40000000000202") + bytes((6, 0, 0, 0, n, 0x12, 0, 1)) for n in range(4)]
WRAPS = [wrap_wpdu, wrap_hdlc, wrap_mbus]


def protect_general(apdu, counter):
    key, title = bytes(range(16)), b"AMI\x00\x00\x00\x00\x01"
    return protect(apdu, system_title=title, control=0x30, counter=counter, ek=key, ak=key)


def good(data):
    return [unwrap(message.payload).apdu for message in split_messages(data) if message.error is None]


def kept(data):
    """Every byte that came is in a message, but for flags between frames."""
    return b"".join(message.payload for message in split_messages(data)).replace(b"\x7e", b"") == data.replace(
        b"\x7e", b""
    )


@pytest.mark.parametrize("wrap", WRAPS)
@pytest.mark.parametrize("boundary", range(5))
def test_junk_of_any_length_at_any_boundary_takes_no_frame_along(wrap, boundary):
    chance = random.Random(boundary)
    frames = [wrap(apdu) for apdu in APDUS]
    for octets in range(1, 51):
        junk = bytes(chance.randrange(0x80, 0xA0) for _ in range(octets))  # no layer, no APDU begins so
        data = b"".join([*frames[:boundary], junk, *frames[boundary:]])
        assert good(data) == APDUS
        assert kept(data)
        bad = [message for message in split_messages(data) if message.error]
        assert [message.payload for message in bad] == [junk]
        assert bad[0].error.reason is RejectReason.NOT_DLMS


@pytest.mark.parametrize("wrap", WRAPS)
@pytest.mark.parametrize("octet", range(256))
def test_one_byte_of_any_value_between_frames_takes_no_frame_along(wrap, octet):
    data = wrap(APDUS[0]) + bytes((octet,)) + wrap(APDUS[1]) + wrap(APDUS[2])
    found = good(data)
    assert found[0] == APDUS[0]
    assert found[-2:] == APDUS[1:3]
    assert kept(data)


def test_a_frame_that_fills_its_length_is_known_with_junk_on_both_sides():
    ciphered = [protect_general(apdu, n) for n, apdu in enumerate(APDUS)]
    for apdus in (APDUS, ciphered):
        frames = [wrap_wpdu(apdu) for apdu in apdus]
        data = frames[0] + b"\xde\xad\xbe\xef" + frames[1] + b"\x00" + frames[2] + b"\x00\x01\x00" + frames[3]
        assert good(data) == apdus
        assert kept(data)


@pytest.mark.parametrize("wrap", WRAPS)
def test_a_damaged_length_takes_no_other_frame_along(wrap):
    frames = [wrap(apdu) for apdu in APDUS]
    places = {wrap_wpdu: (6, 7), wrap_hdlc: (1, 2), wrap_mbus: (1, 2)}[wrap]
    for at in places:
        for octet in range(256):
            damaged = bytearray(frames[1])
            if damaged[at] == octet:
                continue
            damaged[at] = octet
            if wrap is wrap_wpdu and at == 7 and (octet - len(APDUS[1])) % len(frames[1]) == 0:
                continue  # it ends where a frame ends: what it swallowed is one message with trailing bytes
            found = good(frames[0] + bytes(damaged) + frames[2] + frames[3])
            assert [apdu for apdu in APDUS if apdu in found and apdu != APDUS[1]] == [APDUS[0], *APDUS[2:]]


def test_a_truncated_frame_takes_no_later_one_along_and_a_truncated_tail_no_earlier_one():
    frames = [wrap_wpdu(apdu) for apdu in APDUS]
    for cut in range(1, len(frames[1])):
        found = good(frames[0] + frames[1][:cut] + frames[2] + frames[3])
        assert (found[0], found[-2:]) == (APDUS[0], APDUS[2:])
        tail = split_messages(frames[0] + frames[1] + frames[2][:cut])
        assert [message.error for message in tail[:2]] == [None, None]
        assert tail[2].payload == frames[2][:cut]
        assert tail[2].error is not None


@given(
    st.lists(st.sampled_from([*map(wrap_wpdu, APDUS), *map(wrap_hdlc, APDUS), *map(wrap_mbus, APDUS)]), max_size=6),
    st.data(),
)
@settings(max_examples=150)
def test_layers_may_be_mixed_and_damaged_anywhere(frames, data):
    octets = bytearray(b"".join(frames))
    for _ in range(data.draw(st.integers(0, 3))):
        if octets:
            octets[data.draw(st.integers(0, len(octets) - 1))] = data.draw(st.integers(0, 255))
    for message in split_messages(bytes(octets)):
        try:
            unwrap(message.payload)
        except Exception as error:  # noqa: BLE001 - whatever it is, it must be the one foretold
            assert (type(error), str(error)) == (type(message.error), str(message.error))
        else:
            assert message.error is None
    assert kept(bytes(octets))


def test_a_transfer_broken_by_junk_is_whole_if_its_blocks_are_and_the_next_message_too():
    blocks = [wrap_wpdu(block) for block in split_blocks(APDUS[0], 8)]
    data = blocks[0] + b"\x99\x98" + blocks[1] + wrap_wpdu(APDUS[1])
    messages = split_messages(data)
    assert [message.error and message.error.reason for message in messages] == [None, RejectReason.NOT_DLMS, None]
    assert [message.payload for message in messages] == [b"".join(blocks), b"\x99\x98", wrap_wpdu(APDUS[1])]
    damaged = data.replace(blocks[1], b"\x97" + blocks[1][1:])
    reasons = [message.error and message.error.reason for message in split_messages(damaged)]
    assert reasons == [RejectReason.BLOCK_TRANSFER_INCOMPLETE, RejectReason.NOT_DLMS, None]


def test_the_chain_stops_before_the_first_doubt_and_split_messages_goes_on_there():
    frames = [wrap_wpdu(apdu) for apdu in APDUS]
    whole = b"".join(frames)
    size = len(frames[0])
    assert wpdu_chain(whole) == ([0, size, 2 * size, 3 * size], 4 * size)
    assert wpdu_chain(b"") == ([], 0)
    for damaged in (whole[: 2 * size] + b"\x99" + whole[2 * size :], whole[: size + 7] + b"\x41" + whole[size + 8 :]):
        starts, stop = wpdu_chain(damaged)
        assert starts == [0]
        assert stop == size
        alone = [message.payload for message in split_messages(damaged)]
        assert [damaged[:size], *(message.payload for message in split_messages(damaged[stop:]))] == alone


@given(st.lists(st.sampled_from(APDUS), max_size=4), st.binary(max_size=40))
def test_the_chain_and_what_follows_it_are_what_split_messages_finds(apdus, rest):
    data = b"".join(map(wrap_wpdu, apdus)) + rest
    starts, stop = wpdu_chain(data)
    chain = [data[at:after] for at, after in pairwise([*starts, stop])]
    after = [message.payload for message in split_messages(data[stop:])]
    assert [*chain, *after] == [message.payload for message in split_messages(data)]


def walked(data: bytes) -> tuple[list[int], int]:
    """What `wpdu_chain` finds, one PDU after the other."""
    starts, at = [], 0
    while data[at : at + 2] == b"\x00\x01" and data[at + 8 : at + 9] in {bytes((tag,)) for tag in APDU_NAMES}:
        after = at + 8 + int.from_bytes(data[at + 6 : at + 8], "big")
        if after == at + 8 or after > len(data):
            break
        starts.append(at)
        at = after
    if starts and not is_sound_end(data, at):
        at = starts.pop()
    return starts, at


LENGTHS = st.lists(st.tuples(st.sampled_from([1, 2, 9, 40]), st.integers(1, 50)), max_size=6)
DAMAGE = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 200), st.integers(0, 255)), max_size=2)


@given(LENGTHS, DAMAGE, st.integers(0, 60), st.sampled_from(sorted(APDU_NAMES)))
def test_many_pdus_of_one_length_are_the_chain_that_a_walk_finds(lengths, damage, cut, tag):
    apdus = [bytes((tag, *range(1, size))) for size, times in lengths for _ in range(times)]
    data = bytearray(b"".join(wrap_wpdu(apdu) for apdu in apdus))
    starts, _ = walked(bytes(data))
    for within_head, which, octet in damage:
        if which < len(starts) and starts[which] + within_head < len(data):
            data[starts[which] + within_head] = octet
    for whole in (bytes(data), bytes(data[: len(data) - cut])):
        assert wpdu_chain(whole) == walked(whole)


def test_the_chain_goes_on_behind_the_most_that_is_looked_at_at_once():
    frame = wrap_wpdu(APDUS[0])
    data = frame * 5_000 + b"\x00\x01\x99"
    assert wpdu_chain(data) == walked(data)
    assert len(wpdu_chain(frame * 5_000)[0]) == 5_000


MEGABYTE = 1_000_000
HOSTILE = {
    "versions": b"\x00\x01",
    "versions and a tag": b"\x00\x01\x0f",
    "empty wrapper PDUs": bytes.fromhex("0001000100100000"),
    "wrapper PDUs longer than the data": bytes.fromhex("000100010010FFFF0F"),
    "wrapper PDUs in wrapper PDUs": bytes.fromhex("00010001001000120F"),
    "junk and a frame": b"\x99" + wrap_wpdu(APDUS[0]),
    "HDLC starts": b"\x7e\xa7",
    "HDLC heads that check": wrap_hdlc(APDUS[0])[:11],
    "M-Bus starts": b"\x68\x68\x68\x68",
    "M-Bus starts of 255": b"\x68\xff\xff\x68\x16",
    "flags": b"\x7e",
    "LLC": b"\xe6\xe7\x00",
    "damaged HDLC": wrap_hdlc(APDUS[0])[:-3] + b"\x00\x00\x7e",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_megabyte_of_beginnings_costs_linear_time(name):
    pattern = HOSTILE[name]

    def cost(octets):
        data = pattern * (octets // len(pattern))
        started = time.process_time()
        split_messages(data)
        wpdu_chain(data)
        return time.process_time() - started

    octets = MEGABYTE if name == "versions" else MEGABYTE // 5
    small, large = (min(cost(size) for _ in range(2)) for size in (octets // 8, octets))  # others use the machine too
    assert large < 8 * 4 * small + 0.2
    assert large < 20


@pytest.mark.parametrize("tag", sorted(APDU_NAMES))
def test_behind_junk_a_wrapper_of_any_apdu_that_ends_anywhere_is_cut_and_nothing_lost(tag):
    """Ten bytes, a wrapper of the first octet of a ciphered APDU behind junk, stopped whoever cut them."""
    apdu = bytes((tag,)) + bytes.fromhex("08 4D4D4D0000BC614E 82 0003 30 00 00")
    for length in range(len(apdu) + 1):
        data = b"\x77" + wrap_wpdu(apdu[:length])
        assert b"".join(message.payload for message in split_messages(data)) == data
        assert b"".join(message.payload for message in split_messages(data + b"\x77")) == data + b"\x77"
