"""Forms that only some makes send, in bulk: compact arrays, compact data, quirks, push object lists and responses.

A batch decodes as its messages do alone, to the bit, although numbers hold bytes that a quirk would take for something
else; and layouts are shared, so that none of these forms is read message by message.
"""

from datetime import timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.decode import Decoded, decode_frames
from ingest.dlms.apdu import encode_data_notification
from ingest.dlms.cosem import encode_date_time, encode_scaler_unit, parse_obis
from ingest.dlms.cursor import encode_length
from ingest.dlms.data import Data, Tag
from ingest.dlms.framing import wrap_wpdu
from ingest.keyring import Keyring
from ingest.meter_types import parse_types
from ingest.replay import Windows
from tests.ingest.fleet import START, decode, device_name, enrolled, frames, meters, notification, register_rows, sealed

TYPES = parse_types(
    """
[[meter_type]]
name = "gas"
[[meter_type.template]]
id = 12
description = "0206110606010002120d16"
values = ["template_id", "clock", "7-0:3.0.0.255", "1-0:32.7.0.255", "1-0:52.7.0.255", "1-0:1.8.1.255", "1-0:1.8.2.255"]
[meter_type.scalers]
"3.0.0" = -2
"1.8.1" = 0
"1.8.2" = 0
"32.7.0" = -1
"52.7.0" = -1
[[meter_type]]
name = "swapped"
quirks = ["obis_tag_swapped"]
[[meter_type]]
name = "untagged"
quirks = ["untagged_descriptor"]
scalers = { "1.8.0" = 0, "2.8.0" = 0 }
[[meter_type]]
name = "listed"
scalers = { "1.8.0" = 0, "2.8.0" = 0 }
[[meter_type]]
name = "rows"
channels = ["energy_delivered", "energy_received"]
[[meter_type.push]]
object = "*"
rows = "registers"
"""
)
KINDS = ("gas", "swapped", "untagged", "listed", "rows", "generic")
NAMES = {kind: f"AMI{at:013d}" for at, kind in enumerate(KINDS)}
REGISTRY = meters(
    *(
        enrolled(meter_id=name, system_title=None, security_min=0, meter_type=kind, channels=None, interval_s=None)
        for kind, name in NAMES.items()
    )
)
S, A = Tag.STRUCTURE, Tag.ARRAY
ODD = [0, 1, 0x090000FF, 0x0901_0203, 0x0600_0000, 0xFF, 0x0900_0000, 0xFFFF_FFFF, 0x0902_FF09]
u32 = st.one_of(st.sampled_from(ODD), st.integers(0, 2**32 - 1))
u8 = st.integers(0, 255)


def obis(text: str) -> Data:
    return Data(Tag.OCTET_STRING, parse_obis(text))


def text(kind: str) -> Data:
    return Data(Tag.OCTET_STRING, NAMES[kind].encode())


@st.composite
def gas(draw: st.DrawFn) -> bytes:
    """Compact data: template id, clock, volume, two voltages in an array, a BCD, an enum; sometimes of no template."""
    moment = (int(START.timestamp()) + draw(st.integers(0, 10**6))).to_bytes(4, "big")
    volume, volts = draw(u32).to_bytes(4, "big"), draw(u32).to_bytes(4, "big")
    head = draw(st.sampled_from([12] * 9 + [13]))
    buffer = bytes((head,)) + moment + volume + volts + bytes((draw(st.sampled_from([0x12, 0x99, 0x1A])), draw(u8)))
    if draw(st.integers(0, 9)) == 0:
        buffer = buffer[:-1]
    return notification(register_rows([device_name(NAMES["gas"]), ("0-0:66.0.4.255", Data(9, buffer), None)]))


@st.composite
def swapped(draw: st.DrawFn) -> bytes:
    rows = [("1-0:1.8.0.255", Data(Tag.UINT32, draw(u32)), (0, 30)), ("1-0:2.8.0.255", Data(6, draw(u32)), (0, 30))]
    body = register_rows([device_name(NAMES["swapped"]), *rows])
    pair = Data(S, (Data(Tag.UINT32, draw(u32)), Data(Tag.UINT16, draw(st.sampled_from([0, 0xFF])))))
    push = notification(Data(A, (*(body.items or ()), pair)))
    name = parse_obis("1-0:1.8.0.255")
    return push.replace(b"\x09\x06" + name, b"\x06\x09" + name)


@st.composite
def untagged(draw: st.DrawFn) -> bytes:
    """{class, name, attribute} without tags before a value; beside it pairs that begin with a null."""
    described = b"\x02\x02\x00\x03" + parse_obis("1-0:1.8.0.255") + b"\x02\x06" + draw(u32).to_bytes(4, "big")
    null = b"\x02\x02\x00\x15" + draw(
        st.sampled_from([bytes(8), b"\x01\x02\x03\x04\x05\xff\x06\x00", bytes(range(1, 9))])
    )
    last = b"\x02\x02\x09\x06" + parse_obis("1-0:2.8.0.255") + b"\x06" + draw(u32).to_bytes(4, "big")
    named = b"\x02\x02\x00\x01" + parse_obis("0-0:42.0.0.255") + b"\x02\x09\x10" + NAMES["untagged"].encode()
    return encode_data_notification(1, None, Data(Tag.NULL, None))[:-1] + b"\x02\x04" + named + described + null + last


@st.composite
def listed(draw: st.DrawFn) -> bytes:
    """A push object list whose attributes differ between messages, and what it lists."""
    entries = [
        Data(S, (Data(Tag.UINT16, which), obis(name), Data(Tag.INT8, attribute), Data(Tag.UINT16, 0)))
        for which, name, attribute in (
            (40, "0-0:25.9.0.255", 2), (1, "0-0:42.0.0.255", 2),
            (3, "1-0:1.8.0.255", draw(st.sampled_from([2, 2, 1]))),
            (draw(st.sampled_from([3, 4])), "1-0:2.8.0.255", draw(st.sampled_from([2, 3]))),
        )
    ]  # fmt: skip
    numbers = (Data(Tag.UINT32, draw(u32)), Data(Tag.UINT32, draw(u32)))
    return notification(Data(S, (Data(A, tuple(entries)), text("listed"), *numbers)))


@st.composite
def compact_rows(draw: st.DrawFn) -> bytes:
    """Rows of a register push in a compact array."""
    cells = []
    for hour in range(2):
        at = encode_date_time(START + timedelta(hours=hour, minutes=draw(st.integers(0, 59))), 0)
        numbers = (Data(Tag.UINT32, draw(u32)), Data(Tag.UINT32, draw(u32)))
        cells.append(Data(S, (Data(Tag.OCTET_STRING, at), Data(Tag.UINT8, 0), *numbers)))
    rows = Data(Tag.COMPACT_ARRAY, tuple(cells), bytes.fromhex("0204 09 11 06 06"))
    return notification(Data(S, (text("rows"), obis("1-0:99.1.0.255"), rows)))


@st.composite
def compact_registers(draw: st.DrawFn) -> bytes:
    """{name, number, {scaler, unit}} in a compact array: scalers are structure, numbers are not."""
    scaler = draw(st.sampled_from([0, 0, -1]))
    cells = [
        Data(S, (obis(name), Data(Tag.UINT32, draw(u32)), encode_scaler_unit(scaler, 30)))
        for name in ("1-0:1.8.0.255", "1-0:2.8.0.255")
    ]
    array = Data(Tag.COMPACT_ARRAY, tuple(cells), bytes.fromhex("0203 09 06 02020f16"))
    return notification(Data(S, (Data(S, (obis("0-0:42.0.0.255"), text("generic"))), array)))


@st.composite
def access_response(draw: st.DrawFn) -> bytes:
    names = ("0-0:42.0.0.255", "1-0:1.8.0.255", "1-0:2.8.0.255")
    asked = b"".join(b"\x01\x00\x03" + parse_obis(name) + b"\x02" for name in names)
    stamp = encode_date_time(START + timedelta(minutes=draw(st.integers(0, 99))), 0)
    values = b"\x09\x10" + NAMES["listed"].encode() + b"".join(b"\x06" + draw(u32).to_bytes(4, "big") for _ in "12")
    failed = draw(st.sampled_from([0, 0, 1]))
    results = b"".join(b"\x01" + bytes((result,)) for result in (0, failed, 0))
    head = b"\xda" + draw(u32).to_bytes(4, "big") + encode_length(12) + stamp
    return head + b"\x01\x03" + asked + b"\x03" + values + b"\x03" + results


@st.composite
def with_list(draw: st.DrawFn) -> bytes:
    """A get-response of a list: who answers is not said, so it is a reject, alone and in bulk."""
    second = b"\x00\x06" + draw(u32).to_bytes(4, "big") if draw(st.booleans()) else b"\x01\x0b"
    return b"\xc4\x03\xc1\x02\x00\x06" + draw(u32).to_bytes(4, "big") + second


FORMS = {
    "compact data": gas(), "swapped tags": swapped(), "untagged descriptors": untagged(), "push object list": listed(),
    "compact rows": compact_rows(), "compact registers": compact_registers(), "access-response": access_response(),
    "get-response": with_list(),
}  # fmt: skip


@st.composite
def message(draw: st.DrawFn) -> bytes:
    octets = wrap_wpdu(draw(st.one_of(*FORMS.values())))
    if draw(st.integers(0, 5)) == 0:
        at = draw(st.integers(8, len(octets) - 1))
        octets = octets[:at] + bytes((draw(u8),)) + octets[at + 1 :]
    return octets


def alone(batch: pl.DataFrame) -> list[Decoded]:
    return [decode_frames(batch[row], Keyring.empty(), Windows.empty(), REGISTRY, TYPES) for row in range(batch.height)]


@settings(max_examples=120, deadline=None)
@given(st.lists(message(), min_size=1, max_size=20))
def test_every_form_decodes_in_a_batch_as_it_does_alone(messages: list[bytes]) -> None:
    batch = frames(*messages)
    together = decode_frames(batch, Keyring.empty(), Windows.empty(), REGISTRY, TYPES)
    each = alone(batch)
    for name in ("intervals", "reads", "events", "rejects"):
        right = pl.concat([getattr(part, name) for part in each])
        left = getattr(together, name).sort("offset", maintain_order=True)
        assert left.equals(right), name


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=10, deadline=None)
@given(data=st.data())
def test_learning_a_form_once_serves_the_next_batch(form: str, data: st.DataObject) -> None:
    """Layouts of an earlier batch change nothing in a later one."""
    first, second = (frames(*map(wrap_wpdu, data.draw(st.lists(FORMS[form], min_size=1, max_size=6)))) for _ in "12")
    known = decode_frames(first, Keyring.empty(), Windows.empty(), REGISTRY, TYPES)
    with_learned = decode_frames(second, Keyring.empty(), known.windows, REGISTRY, TYPES, known.learned)
    without = decode_frames(second, Keyring.empty(), known.windows, REGISTRY, TYPES)
    for name in ("intervals", "reads", "events", "rejects"):
        left, right = (getattr(each, name).sort("offset", maintain_order=True) for each in (with_learned, without))
        assert left.equals(right), name


def layouts(decoded: Decoded) -> int:
    return sum(len(each) for each in decoded.learned.by_shape.values())


def sent(buffer_clock: int, number: int) -> dict[str, bytes]:
    moment = (int(START.timestamp()) + buffer_clock).to_bytes(4, "big")
    buffer = b"\x0c" + moment + number.to_bytes(4, "big") + bytes(4) + b"\x12\x05"
    rows = [
        Data(
            S,
            (
                Data(9, encode_date_time(START + timedelta(minutes=buffer_clock + row), 0)),
                Data(Tag.UINT8, 0),
                value,
                value,
            ),
        )
        for row, value in enumerate((Data(Tag.UINT32, number), Data(Tag.UINT32, number + 1)))
    ]
    array = Data(Tag.COMPACT_ARRAY, tuple(rows), bytes.fromhex("0204 09 11 06 06"))
    described = b"\x02\x02\x00\x03" + parse_obis("1-0:1.8.0.255") + b"\x02\x06" + number.to_bytes(4, "big")
    named = b"\x02\x02\x00\x01" + parse_obis("0-0:42.0.0.255") + b"\x02\x09\x10" + NAMES["untagged"].encode()
    push = notification(
        register_rows([device_name(NAMES["swapped"]), ("1-0:1.8.0.255", Data(Tag.UINT32, number), (0, 30))])
    )
    name = parse_obis("1-0:1.8.0.255")
    return {
        "gas": notification(register_rows([device_name(NAMES["gas"]), ("0-0:66.0.4.255", Data(9, buffer), None)])),
        "rows": notification(Data(S, (text("rows"), obis("1-0:99.1.0.255"), array))),
        "untagged": encode_data_notification(1, None, Data(Tag.NULL, None))[:-1] + b"\x02\x02" + named + described,
        "swapped": push.replace(b"\x09\x06" + name, b"\x06\x09" + name),
    }


@pytest.mark.parametrize(("form", "channel", "factor"), [
    ("gas", "volume", 10), ("rows", "energy_delivered", 1000), ("untagged", "energy_delivered", 1000),
    ("swapped", "energy_delivered", 1000),
])  # fmt: skip
def test_a_fleet_of_one_make_is_one_layout(form: str, channel: str, factor: int) -> None:
    """Clocks and numbers differ in every message and are cut from it: none is learned by itself."""
    count = 70  # more than the layouts of one length that are compared
    pushes = [wrap_wpdu(sent(60 * at, 1000 + at)[form]) for at in range(count)]
    decoded = decode(*pushes, registry=REGISTRY, types=TYPES, keys="system_title,ek,ak\n")
    wanted = decoded.reads.filter(pl.col("channel") == channel).sort("offset", "read_at", "value_milli")
    first = wanted.group_by("offset", maintain_order=True).first()
    assert first["value_milli"].to_list() == [(1000 + at) * factor for at in range(count)]
    if form == "gas":
        assert first["read_at"].to_list() == [START + timedelta(minutes=at) for at in range(count)]
    assert layouts(decoded) <= 2  # one, and the one that a strict reader would see first


@pytest.mark.parametrize("first", [True, False])
def test_a_number_that_a_quirk_takes_for_a_name_is_refused_in_a_batch_as_it_is_alone(first: bool) -> None:
    """06 09 00 .. FF is a logical name to a meter of swapped tags, so the number's neighbour is missing."""
    push = notification(
        Data(
            A,
            (
                Data(S, (obis("0-0:42.0.0.255"), text("swapped"))),
                Data(S, (obis("1-0:1.8.0.255"), Data(Tag.UINT32, 5), encode_scaler_unit(0, 30))),
                Data(S, (Data(Tag.UINT32, 0x0901_0203), Data(Tag.UINT16, 0xFE))),
            ),
        )
    )
    name = parse_obis("1-0:1.8.0.255")
    good = push.replace(b"\x09\x06" + name, b"\x06\x09" + name)
    bad = good[:-1] + b"\xff"
    batch = frames(*map(wrap_wpdu, [bad, good, good] if first else [good, bad, good]))
    together = decode_frames(batch, Keyring.empty(), Windows.empty(), REGISTRY, TYPES)
    each = pl.concat([part.rejects for part in alone(batch)])
    assert together.rejects.equals(each) and together.reads.height == 2
    refused = [(at, "axdr_tag" if (at == 0) is first and at < 2 else "layout_unknown") for at in range(3)]
    assert each.select("offset", "reason").rows() == refused  # the strict fault; a pair of numbers without names


@pytest.mark.parametrize(("text", "hour", "status"), [("20260302003000Z", 0.5, 0), ("20260302003000+0100", -0.5, 0)])
def test_the_text_time_of_a_report_is_its_values_time(text: str, hour: float, status: int) -> None:
    types = parse_types(
        '[[meter_type]]\nname = "short"\nscalers = { "1.8.0" = 0 }\n[[meter_type.list]]\n'
        'values = ["meter_id", "1-0:1.8.0.255"]\n'
    )
    registry = meters(enrolled(meter_id=NAMES["gas"], meter_type="short"))
    values = b"\x09\x10" + NAMES["gas"].encode() + b"\x06\x00\x00\x00\x05"
    report = b"\x18\x01" + bytes((len(text),)) + text.encode() + b"\x02\x02\x10\x00\x02\x10\x08\x02" + values
    for received in (START, None):
        decoded = decode(sealed(report), registry=registry, types=types, received=received)
        at = START + timedelta(hours=hour)
        assert decoded.reads.select("read_at", "value_milli", "status").rows() == [(at, 5000, status)]
