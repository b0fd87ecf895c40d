"""Decoding a batch is decoding each of its messages alone, to the bit; whatever the fleet, whatever was damaged."""

import random
from datetime import timedelta

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.decode import decode_frames
from ingest.dlms.data import Data, Tag
from ingest.dlms.framing import wrap_wpdu
from ingest.dlms.hdlc import wrap_hdlc
from ingest.keyring import Keyring
from ingest.meter_types import BUILT_IN
from ingest.replay import Windows
from schemas.frames import RAW_FRAMES, UTC_US
from tests.ingest.fleet import (
    KEYS,
    RECEIVED,
    START,
    TITLE,
    body_of,
    device_name,
    enrolled,
    event,
    frames,
    meters,
    notification,
    register_rows,
    sealed,
    stamp,
    usual_rows,
)

NAMES = [f"AMI{number:013d}" for number in range(4)]
REGISTRY = meters(
    enrolled(security_min=0),
    enrolled(meter_id=NAMES[0], system_title=None),
    enrolled(meter_id=NAMES[1], system_title=None, interval_s=None, timezone=None),
    enrolled(meter_id=NAMES[2], system_title=None, meter_type="profile_cumulative"),
    enrolled(meter_id=NAMES[3], system_title=None, meter_type="kamstrup", channels=None),
)
EXCHANGED = RECEIVED + timedelta(days=1)
DATED = pl.concat([
    REGISTRY.with_columns(removed_at=pl.lit(EXCHANGED, UTC_US)),
    meters(
        enrolled(meter_id=NAMES[0], security_min=0, installed_at=EXCHANGED),
        enrolled(system_title=None, interval_s=1800, installed_at=EXCHANGED),
        enrolled(meter_id=NAMES[1], system_title=None, timezone="UTC", installed_at=EXCHANGED, security_min=0x30),
        enrolled(meter_id=NAMES[2], system_title=None, interval_s=300, channels=["volume"], installed_at=EXCHANGED),
    ),
])  # fmt: skip
"""Titles, types, lengths, zones, channels and what is owed change on one day."""
REGISTERS = ["1-0:1.8.0.255", "1-0:2.8.0.255", "1-0:32.7.0.255", "0-0:96.11.0.255", "0-0:97.98.0.255"]
LIST_IDS = ["Kamstrup_V0001", "Kamstrup_V0002", "KFM_001"]
u32s = st.integers(0, 2**32 - 1)


def number(draw: st.DrawFn) -> Data:
    tag, low, high = draw(
        st.sampled_from(
            [(Tag.UINT8, 0, 2**8 - 1), (Tag.UINT16, 0, 2**16 - 1), (Tag.UINT32, 0, 2**32 - 1), (Tag.INT16, -100, 100),
             (Tag.UINT64, 0, 2**64 - 1), (Tag.INT64, -(2**63), 2**63 - 1), (Tag.ENUM, 0, 255)]
        )
    )  # fmt: skip
    return Data(tag, draw(st.integers(low, high)))


@st.composite
def profile_push(draw: st.DrawFn) -> bytes:
    count = draw(st.integers(1, 4))
    rows = usual_rows(count, START + timedelta(hours=draw(st.integers(0, 30))), (draw(st.integers(0, 9)), 5))
    cells = []
    for at, (clock, status, values) in enumerate(rows):
        sent = Data(Tag.NULL, None) if at and draw(st.booleans()) else clock
        if draw(st.integers(0, 5)) == 0:
            sent = (
                stamp(START.replace(tzinfo=None), None, draw(st.sampled_from([0, 1, 0x80, 0xFF]))) if not at else sent
            )
        numbers = [Data(Tag.NULL, None) if draw(st.integers(0, 5)) == 0 else Data(Tag.UINT32, v) for v in values]
        cells.append(Data(Tag.STRUCTURE, (sent, Data(Tag.UINT8, status), *numbers)))
    push_object = draw(st.sampled_from(["1-0:99.1.0.255", "1-0:99.2.0.255"]))
    return notification(
        body_of(Data(Tag.ARRAY, tuple(cells)), name=draw(st.sampled_from(NAMES)), push_object=push_object)
    )


@st.composite
def register_push(draw: st.DrawFn) -> bytes:
    entries = [device_name(draw(st.sampled_from([*NAMES, "UNKNOWN000000001"])))]
    if draw(st.booleans()):
        entries.append(("0-0:1.0.0.255", stamp(START + timedelta(minutes=draw(st.integers(0, 99)))), None))
    for obis in draw(st.lists(st.sampled_from(REGISTERS), max_size=4)):
        scaling = draw(st.sampled_from([None, (0, 30), (-4, 30), (-1, 35), (16, 30)]))
        entries.append((obis, number(draw), scaling))
    return notification(register_rows(entries), START if draw(st.booleans()) else None)


def list_push(name: str, values: list[int]) -> bytes:
    items = [Data(Tag.VISIBLE_STRING, name)]
    for obis, value in zip(("1-1:1.8.0.255", "1-1:1.7.0.255"), values, strict=True):
        items += [Data(Tag.OCTET_STRING, bytes((*map(int, obis.replace("-", ".").replace(":", ".").split(".")),)))]
        items += [Data(Tag.UINT32, value)]
    items += [Data(Tag.OCTET_STRING, bytes.fromhex("0000600100FF")), Data(Tag.VISIBLE_STRING, NAMES[3])]
    return notification(Data(Tag.STRUCTURE, tuple(items)))


def last_gasp(name: str) -> bytes:
    return event("128.128.128.128.128.0", Data(Tag.OCTET_STRING, name.encode()))


plain = st.one_of(
    profile_push(),
    register_push(),
    st.builds(list_push, st.sampled_from(LIST_IDS), st.lists(u32s, min_size=2, max_size=2)),
    st.builds(lambda code: event("0.0.96.11.0.255", Data(Tag.UINT8, code)), st.integers(0, 255)),
    st.builds(last_gasp, st.sampled_from(NAMES)),
)  # fmt: skip


@st.composite
def message(draw: st.DrawFn) -> bytes:
    apdu = draw(plain)
    link = draw(st.integers(0, 3))
    if link == 0:
        octets = sealed(apdu, draw(st.integers(0, 2**32 - 1)), draw(st.sampled_from([0x30, 0x20, 0x10])), TITLE)
    elif link == 1 and len(apdu) < 1500:
        octets = wrap_hdlc(apdu)
    else:
        octets = wrap_wpdu(apdu)
    if draw(st.integers(0, 2)) == 0:
        at = draw(st.integers(0, len(octets) - 1))
        octets = octets[:at] + bytes((draw(st.integers(0, 255)),)) + octets[at + 1 :]
    return octets


RING = Keyring.from_csv(KEYS)
ROW_FRAMES = ("intervals", "reads", "events", "rejects")


def alone(batch: pl.DataFrame, registry: pl.DataFrame = REGISTRY) -> dict[str, pl.DataFrame]:
    """Every message decoded by itself, with the windows of the one before."""
    windows = Windows.empty()
    parts = []
    for row in range(batch.height):
        parts.append(decode_frames(batch[row], RING, windows, registry))
        windows = parts[-1].windows
    joined = {name: pl.concat([getattr(part, name) for part in parts]) for name in ROW_FRAMES}
    joined["counts"] = pl.DataFrame([part.counts._asdict() for part in parts]).sum()
    joined["windows"] = windows.to_frame()
    return joined


@settings(max_examples=60, deadline=None)
@given(st.lists(message(), min_size=1, max_size=24), st.randoms(use_true_random=False))
def test_a_batch_decodes_as_its_messages_do_alone(messages: list[bytes], shuffle: random.Random) -> None:
    again = [*messages, *messages[: len(messages) // 3]]
    shuffle.shuffle(again)
    assert_as_alone(frames(*again), REGISTRY)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(message(), st.booleans()), min_size=1, max_size=24))
def test_a_batch_across_changes_of_meters_decodes_as_its_messages_do_alone(messages: list[tuple[bytes, bool]]) -> None:
    came = pl.Series("received_at", [EXCHANGED if late else RECEIVED for _, late in messages], dtype=UTC_US)
    batch = frames(*(octets for octets, _ in messages)).with_columns(came)
    assert_as_alone(batch, DATED)
    early = batch.filter(came < EXCHANGED)
    before, now = (decode_frames(early, RING, Windows.empty(), lines) for lines in (REGISTRY, DATED))
    for name in ("intervals", "reads", "events"):
        left, right = (getattr(each, name).sort("offset", "meter_id", maintain_order=True) for each in (before, now))
        assert left.equals(right), name
    assert before.counts == now.counts


def assert_as_alone(batch: pl.DataFrame, registry: pl.DataFrame) -> None:
    together = decode_frames(batch, RING, Windows.empty(), registry)
    one_by_one = alone(batch, registry)
    for name in ROW_FRAMES:
        order = ["offset"] if name == "rejects" else ["offset", "meter_id"]
        left, right = getattr(together, name), one_by_one[name]
        assert left.sort(order, maintain_order=True).equals(right.sort(order, maintain_order=True)), name
    assert pl.DataFrame([together.counts._asdict()]).equals(one_by_one["counts"])
    assert together.windows.to_frame().equals(one_by_one["windows"])
    assert together.counts.frames == together.counts.decoded + together.counts.rejected + together.counts.duplicates


@settings(max_examples=20, deadline=None)
@given(st.lists(message(), min_size=1, max_size=12), st.integers(0, 12))
def test_cutting_a_log_into_batches_changes_nothing(messages: list[bytes], cut: int) -> None:
    batch = frames(*messages)
    whole = decode_frames(batch, RING, Windows.empty(), REGISTRY)
    first = decode_frames(batch[:cut], RING, Windows.empty(), REGISTRY)
    second = decode_frames(batch[cut:], RING, first.windows, REGISTRY, BUILT_IN, first.learned)
    for name in ("intervals", "reads"):
        parts = pl.concat([getattr(first, name), getattr(second, name)]).sort("offset", maintain_order=True)
        assert parts.equals(getattr(whole, name).sort("offset", maintain_order=True))
    assert second.windows == whole.windows


def test_more_layouts_of_one_length_than_are_compared_still_decode_alike() -> None:
    bodies = []
    for number_ in range(300):
        obis = f"1-0:{1 + number_ % 200}.8.{number_ // 200}.255"
        bodies.append(
            wrap_wpdu(notification(register_rows([device_name(NAMES[0]), (obis, Data(Tag.UINT32, number_), (0, 30))])))
        )
    batch = frames(*bodies)
    together = decode_frames(batch, RING, Windows.empty(), REGISTRY)
    assert together.reads["value_milli"].to_list() == [1000 * number_ for number_ in range(300)]


def test_a_header_time_out_of_range_is_refused_among_messages_of_its_layout() -> None:
    good = notification(register_rows([device_name(NAMES[0]), ("1-0:1.8.0.255", Data(Tag.UINT32, 5), (0, 30))]), START)
    hour = good.index(b"\x0c") + 6
    bad = good[:hour] + b"\x19" + good[hour + 1 :]
    decoded = decode_frames(frames(*map(wrap_wpdu, (good, bad, good))), RING, Windows.empty(), REGISTRY)
    assert decoded.rejects.select("offset", "reason").rows() == [(1, "date_time")]
    assert decoded.reads["offset"].to_list() == [0, 2]


def test_an_empty_batch_yields_empty_frames() -> None:
    decoded = decode_frames(RAW_FRAMES.empty(), RING, Windows.empty(), REGISTRY)
    assert all(getattr(decoded, name).is_empty() for name in ROW_FRAMES) and decoded.counts == (0, 0, 0, 0, 0)


def test_junk_of_every_kind_is_a_reject_each() -> None:
    junk = [
        b"",
        b"\0",
        b"\x00\x01",
        b"\x7e",
        b"\x68\x01\x01\x68",
        b"\xdb",
        b"\xdb\x08",
        bytes(300),
        b"\x0f" * 50,
        b"\xff",
    ]
    junk += [wrap_wpdu(each) for each in junk]
    decoded = decode_frames(frames(*junk), RING, Windows.empty(), REGISTRY)
    assert decoded.counts[:4] == (len(junk), 0, len(junk), 0)
    assert decoded.rejects["payload"].to_list() == junk
