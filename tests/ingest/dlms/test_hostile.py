"""Whatever arrives: values or one ProtocolError at a byte, in bounded time and memory."""

import time
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.dlms.apdu import decode_apdu
from ingest.dlms.axdr import decode_data
from ingest.dlms.blocks import split_blocks
from ingest.dlms.framing import split_messages, unwrap, wrap_wpdu
from ingest.dlms.hdlc import wrap_hdlc
from ingest.dlms.locate import locate_data
from ingest.dlms.mbus import wrap_mbus
from ingest.dlms.push import apdu_values
from ingest.dlms.security import is_ciphered, protect, read_header, unprotect
from ingest.inspect import inspect_bytes
from schemas.errors import ProtocolError

EK, AK = bytes(range(16)), bytes(range(0xD0, 0xE0))
TITLE = bytes.fromhex("4D4D4D0000BC614E")
CORPUS = Path(__file__).parents[2] / "fuzz" / "corpus"
QUIRKS = frozenset({"obis_tag_swapped", "untagged_descriptor"})

NAMES = [
    *(f"dlms_parser_{n:02}" for n in range(1, 15)),
    *(f"amshan_{n:02}" for n in range(1, 15)),
    *(f"osgp_{n:02}" for n in range(1, 6)),
]


def decode_whole(message: bytes) -> None:
    """Everything that is done with a message from outside; raises ProtocolError alone, at one of its bytes."""
    try:
        link = unwrap(message)
    except ProtocolError as error:
        assert 0 <= error.at <= len(message)
        return
    decode_inner(link.apdu)


def decode_inner(apdu: bytes) -> None:
    try:
        if is_ciphered(apdu):
            header = read_header(apdu)
            apdu = unprotect(apdu, header, EK, AK)
        apdu_values(decode_apdu(apdu))
    except ProtocolError as error:
        assert 0 <= error.at <= len(apdu)


@pytest.mark.parametrize("name", NAMES)
def test_every_prefix_of_every_capture_is_values_or_an_error(captures, name):
    octets = captures[name].octets
    for stop in range(len(octets)):
        messages = split_messages(octets[:stop])
        kept = b"".join(message.payload for message in messages)
        assert octets[:stop] in (kept, kept + b"\x7e")  # a flag alone is fill
        for message in messages:
            decode_whole(message.payload)


@pytest.mark.parametrize("name", NAMES)
def test_every_changed_bit_of_every_capture_is_values_or_an_error(captures, name):
    octets = bytearray(captures[name].octets)
    for at in range(len(octets)):
        for bit in range(8):
            octets[at] ^= 1 << bit
            decode_whole(bytes(octets))
            octets[at] ^= 1 << bit


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("dlms_parser_05", "osgp_05")])
def test_every_changed_bit_behind_the_checksums_is_values_or_an_error(captures, name):
    apdu = bytearray(unwrap(captures[name].octets).apdu)
    for at in range(len(apdu)):
        for bit in range(8):
            apdu[at] ^= 1 << bit
            decode_inner(bytes(apdu))
            apdu[at] ^= 1 << bit


@pytest.mark.parametrize("name", ["amshan_01", "amshan_05", "osgp_01", "osgp_03"])
def test_every_single_byte_change_of_a_short_capture_is_values_or_an_error(captures, name):
    octets = captures[name].octets
    for at in range(len(octets)):
        for octet in range(256):
            decode_whole(octets[:at] + bytes((octet,)) + octets[at + 1 :])


@given(st.binary(max_size=600))
@settings(max_examples=300)
def test_any_bytes_are_split_into_messages_that_hold_them_all(data):
    messages = split_messages(data)
    assert sum(message.stop - message.start for message in messages) <= len(data) + len(messages)
    for message in messages:
        decode_whole(message.payload)
        try:
            unwrap(message.payload)
        except ProtocolError as error:
            assert message.error is not None
            assert (error.reason, error.at) == (message.error.reason, message.error.at)
        else:
            assert message.error is None


STARTS = [
    "", "0F00000000 00", "C403C1", "0F00000000 00 13", "0F00000000 00 02", "C200 0001 0100010800FF 02", "1800",
    "C401C100",    "DA0000000000", "DB084D4D4D0000BC614E", "DD", "DF", "E0", "CA",
]  # fmt: skip


@given(st.sampled_from(STARTS), st.binary(max_size=300), st.sampled_from([wrap_wpdu, wrap_hdlc, wrap_mbus, bytes]))
@settings(max_examples=400)
def test_any_bytes_behind_a_good_start_are_values_or_an_error(start, rest, wrap):
    decode_whole(wrap(bytes.fromhex(start) + rest))


@given(st.binary(max_size=200))
@settings(max_examples=300)
def test_data_and_its_places_are_read_or_refused_alike(octets):
    for quirks in (frozenset(), QUIRKS):
        try:
            decode_data(octets, quirks)
        except ProtocolError as error:
            assert 0 <= error.at <= len(octets)
    try:
        place = locate_data(octets)
    except ProtocolError:
        with pytest.raises(ProtocolError):
            decode_data(octets)
    else:
        assert place.stop <= len(octets)


@given(st.binary(max_size=400), st.booleans())
@settings(max_examples=200)
def test_inspecting_never_raises(data, hex_lines):
    for each in inspect_bytes(data, file="any", hex_lines=hex_lines):
        assert ("error" in each) is ("values" not in each)


BOMBS = {
    "nesting of structures": b"\x02\x01" * 100_000,
    "nesting of arrays": b"\x01\x01" * 100_000 + b"\x00",
    "count of four bytes": bytes.fromhex("0184FFFFFFFF"),
    "length of four bytes": bytes.fromhex("0984FFFFFFFF00"),
    "value cut short": bytes.fromhex("0600"),
    "bit string": bytes.fromhex("0484FFFFFFFF00"),
    "compact array of arrays": bytes.fromhex("1301FFFF01FFFF01FFFF0000"),
    "compact array whose arrays hold nulls": bytes.fromhex("13020201FFFF01FFFF001182FF00") + bytes(0xFF00),
    "compact description": b"\x13" + b"\x02\x01" * 50_000,
    "wide description": b"\x13\x02\x82\xff\xff" + b"\x00" * 0xFFFF + b"\x00",
    "many empty structures": b"\x01\x82\xff\xff" + b"\x02\x00" * 0xFFFF,
    "long names": b"\x02\x82\xff\xff" + b"\x09\x00" * 0xFFFF,
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_costs_no_more_than_its_size(name):
    octets = BOMBS[name]
    started = time.process_time()
    decode_refused(octets)
    assert time.process_time() - started < 2
    tracemalloc.start()
    decode_refused(octets[:20_000])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100_000 + 2_000 * min(len(octets), 20_000)


def decode_refused(octets):
    try:
        decode_data(octets)
    except ProtocolError as error:
        assert 0 <= error.at <= len(octets)


def stream_cost(make, size):
    data = make(size)
    started = time.process_time()
    split_messages(data)
    return time.process_time() - started


STREAMS = {
    "first segments only": lambda n: wrap_hdlc(b"\x0f" + bytes(12), max_information=9)[:21] * n,
    "first telegrams only": lambda n: wrap_mbus(bytes(40), max_counted=25)[:31] * n,
    "first blocks only": lambda n: wrap_wpdu(split_blocks(bytes(30), 10)[0]) * n,
    "blocks that never end": lambda n: b"".join(
        wrap_wpdu(bytes.fromhex("E040") + (1 + k % 0xFFFF).to_bytes(2, "big") + bytes.fromhex("00000101"))
        for k in range(n)
    ),
    "flags": lambda n: b"\x7e" * n,
    "empty wrapper PDUs": lambda n: bytes.fromhex("0001000100100000") * n,
}


@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_of_beginnings_costs_linear_time(name):
    small = min(stream_cost(STREAMS[name], 500) for _ in range(3))
    large = min(stream_cost(STREAMS[name], 4000) for _ in range(3))
    assert large < 8 * 4 * small + 0.05


def test_a_ciphered_message_changed_anywhere_gives_nothing_away():
    plain = bytes.fromhex("0F800000010C07E503070211262600FF8880020209060100010800FF06000004D2")
    apdu = protect(plain, system_title=TITLE, control=0x30, counter=7, ek=EK, ak=AK)
    for at in range(len(apdu)):
        for bit in range(8):
            changed = bytearray(apdu)
            changed[at] ^= 1 << bit
            if changed[11] == 0x20 or changed[11] == 0x00:  # a downgrade: policy refuses it, not the tag
                continue
            with pytest.raises(ProtocolError):
                decode_apdu(unprotect(bytes(changed), read_header(bytes(changed)), EK, AK))


def test_the_fuzzing_corpus_is_replayed():
    files = sorted(CORPUS.iterdir())
    assert len(files) >= 20
    for path in files:
        data = path.read_bytes()
        for message in split_messages(data):
            decode_whole(message.payload)
        decode_inner(data)
        inspect_bytes(data, file=path.name, hex_lines=False)
