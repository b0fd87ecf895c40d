"""Quirks that no capture shows: a title behind two lengths, text sealed in general-glo, a text before a block."""

from datetime import UTC, datetime

import polars as pl
import pytest

from ingest.decode import Decoded
from ingest.dlms.p1_telegram import _crc as p1_crc
from ingest.inspect import inspect_bytes
from ingest.keyring import Keyring
from ingest.meter_types import BUILT_IN, parse_types
from schemas.codes import Status
from tests.ingest import by_hand as hand
from tests.ingest.fleet import KEYS, NAME, OTHER_NAME, RECEIVED, TITLE, decode, enrolled, meters, reasons

SWITCHED = parse_types(
    '[[meter_type]]\nname = "gprs"\nquirks = ["title_length_doubled"]\n'
    '[[meter_type]]\nname = "port"\nquirks = ["p1_telegram"]\n'
)
RING = Keyring.from_csv(KEYS)
AFTER_FIRST = 4
LINES = [
    "1-3:0.2.8(50)", "0-0:1.0.0(260302020000W)", f"0-0:42.0.0({NAME.encode().hex()})", "1-0:1.8.0(000123.456*kWh)",
    "1-0:2.8.0(000000.007*kWh)", "1-0:1.7.0(01.193*kW)", "1-0:32.7.0(230.1*V)", "1-0:31.7.0(003*A)",
    "1-0:99.97.0(1)(0-0:96.7.19)(101208152415W)(0000000240*s)", "0-0:96.13.0()",
    "0-1:24.2.1(260302015500W)(12785.123*m3)",
]  # fmt: skip


def telegram(lines: list[str], checksum: str | None = None) -> bytes:
    text = b"/AMI5\\invented\r\n\r\n" + "".join(f"{line}\r\n" for line in lines).encode() + b"!"
    return text + (f"{p1_crc(text):04X}" if checksum is None else checksum).encode() + b"\r\n"


def typed(kind: str, plain: bytes, **changes: object) -> Decoded:
    registry = meters(enrolled(meter_type=kind, **changes), enrolled(meter_id=OTHER_NAME, system_title=None))
    return decode(hand.wrapper(plain), registry=registry, types=SWITCHED)


def test_the_checksum_of_a_telegram_has_its_check_value() -> None:
    assert p1_crc(b"123456789") == 0xBB3D


@pytest.mark.parametrize("tag", [0xDB, 0xDC])
def test_a_title_behind_two_lengths_is_read_where_the_meter_s_type_says_so(tag: int) -> None:
    apdu = hand.general(hand.PUSH, tag=tag)
    doubled = apdu[:1] + b"\x09" + apdu[1:]
    assert doubled[:11] == bytes((tag, 9, 8)) + TITLE
    assert reasons(typed("generic", doubled)) == ["apdu_malformed"]
    on = typed("gprs", doubled)
    assert on.reads["value_milli"].to_list() == [hand.VALUE * 1000]
    assert on.messages.select("system_title", "counter").rows() == [(TITLE.hex(), 1)]
    assert reasons(typed("gprs", doubled[:-1] + bytes((doubled[-1] ^ 1,)))) == ["tag_mismatch"]
    assert typed("gprs", apdu).counts.decoded == 1  # and what is right stays right
    (off,) = inspect_bytes(hand.wrapper(doubled), file="f", hex_lines=False, keyring=RING, types=BUILT_IN)
    assert off["error"] == {"reason": "apdu_malformed", "at": 8 + 1}
    (said,) = inspect_bytes(hand.wrapper(doubled), file="f", hex_lines=False, keyring=RING, types=SWITCHED)
    assert said["quirks"] == ["title_length_doubled"] and said["authenticated"] is True
    (bad,) = inspect_bytes(hand.wrapper(doubled[:-1] + b"\0"), file="f", hex_lines=False, keyring=RING, types=SWITCHED)
    assert bad["error"] == {"reason": "tag_mismatch", "at": 8 + len(doubled) - 12}


def test_a_sealed_telegram_is_read_where_the_meter_s_type_says_so() -> None:
    sealed = hand.general(telegram(LINES))
    assert reasons(typed("generic", sealed)) == ["unknown_apdu"]
    on = typed("port", sealed, timezone="Europe/Luxembourg")
    known = on.reads.filter(pl.col("channel") != "other")
    assert on.rejects.is_empty()
    assert known.select(pl.col("channel").cast(pl.String), "value_milli").rows() == [
        ("energy_delivered", 123_456_000), ("energy_received", 7_000), ("power_delivered", 1_193_000),
        ("voltage_l1", 230_100), ("current_l1", 3_000), ("volume", 12_785_123),
    ]  # fmt: skip
    assert set(on.reads["meter_id"]) == {NAME}
    at, own = datetime(2026, 3, 2, 1, tzinfo=UTC), datetime(2026, 3, 2, 0, 55, tzinfo=UTC)
    assert on.reads.filter(pl.col("channel") != "volume")["read_at"].unique().to_list() == [at]
    assert on.reads.filter(pl.col("channel") == "volume")["read_at"].to_list() == [own]
    (said,) = inspect_bytes(hand.wrapper(sealed), file="f", hex_lines=False, keyring=RING, types=SWITCHED)
    assert said["quirks"] == ["p1_telegram"] and said["apdu"] is None
    assert [each["value"] for each in said["values"] if each["channel"] == "energy_delivered"] == [123456]
    (off,) = inspect_bytes(hand.wrapper(sealed), file="f", hex_lines=False, keyring=RING, types=BUILT_IN)
    assert off["error"]["reason"] == "unknown_apdu"


@pytest.mark.parametrize(("text", "reason"), [
    (telegram(LINES, "0000"), "link_checksum"),
    (telegram([*LINES, "hello"]), "apdu_malformed"),
    (telegram([*LINES, "1-0:300.8.0(1*kWh)"]), "apdu_malformed"),
    (telegram(["0-0:1.0.0(260231000000W)"]), "date_time"),
    (telegram(LINES)[:-9], "apdu_malformed"),
    (telegram([*LINES, "1-0:1.8.0(" + "1" * 2000 + "*kWh)"]), "apdu_malformed"),
    (telegram([*LINES, "1-0:2.8.0(123456789012345.123456789*kWh)"]), "apdu_malformed"),
    (telegram([f"0-0:42.0.0({OTHER_NAME.encode().hex()})", "1-0:1.8.0(1*kWh)"]), "identity"),
])  # fmt: skip
def test_a_sealed_telegram_that_is_damaged_says_why(text: bytes, reason: str) -> None:
    assert reasons(typed("port", hand.general(text))) == [reason]


def test_an_identifier_of_decimal_digits_alone_is_no_number() -> None:
    lines = ["0-0:96.1.1(303132333435)", "0-1:96.1.0(3132)", "0-0:96.13.1(303132)", "1-0:1.8.0(000123456789.123*kWh)"]
    on = typed("port", hand.general(telegram(lines)))
    assert on.reads.select("obis", "value_milli").rows() == [("1-0:1.8.0.255", 123_456_789_123_000)]


def timed(*lines: str) -> list[tuple[str, str, int, int]]:
    on = typed("port", hand.general(telegram(["0-0:1.0.0(260302010000W)", *lines])), timezone="Europe/Luxembourg")
    assert on.rejects.is_empty()
    when = pl.col("read_at").dt.to_string("%dT%H:%M:%S")
    return sorted(on.reads.select("obis", when, "value_milli", "status").rows())


def test_a_value_with_a_time_of_its_own_in_a_telegram_is_of_that_time() -> None:
    assert timed(
        "1-0:1.8.0(5*kWh)", "0-1:24.2.1(260301230000W)(12785.123*m3)", "1-0:1.6.0(260301134558W)(02.589*kW)",
        "0-2:24.2.1(260701120000S)(7)",
    ) == [
        ("0-1:24.2.1.255", "01T22:00:00", 12_785_123, 0),
        ("0-2:24.2.1.255", "01T10:00:00", 7_000, Status.DST_ACTIVE),
        ("1-0:1.6.0.255", "01T12:45:58", 2_589_000, 0),
        ("1-0:1.8.0.255", "02T00:00:00", 5_000_000, 0),
    ]  # fmt: skip


def test_a_value_that_was_never_captured_is_of_the_telegram_s_time_with_a_flag() -> None:
    assert timed("1-0:1.8.0(5*kWh)", "0-1:24.2.1(632525252525S)(00000.000*m3)") == [
        ("0-1:24.2.1.255", "02T00:00:00", 0, Status.CLOCK_DOUBTFUL), ("1-0:1.8.0.255", "02T00:00:00", 5_000_000, 0),
    ]  # fmt: skip


def test_a_second_value_of_a_name_in_a_telegram_is_refused_and_takes_no_scale_from_the_first() -> None:
    lines = ["0-1:24.2.1(260301230000W)(1.5*m3)", "0-1:24.2.1(260302000000W)(25*l)", "0-1:24.2.1(26*l)"]
    on = typed("port", hand.general(telegram(["0-0:1.0.0(260302010000W)", *lines])))
    assert on.reads["value_milli"].to_list() == [1_500]
    assert on.rejects["detail"].to_list() == ["2 values: another value of the same name"]


@pytest.mark.parametrize(
    ("line", "channel", "milli"),
    [
        ("1-0:3.8.0(12.5*kVArh)", "reactive_delivered", 12_500_000),
        ("1-0:3.7.0(2.5*kVAr)", "reactive_power_delivered", 2_500_000),
        ("1-0:1.8.0(12.5*MWh)", "energy_delivered", 12_500_000_000),
        ("1-0:1.8.0(12.5*kwh)", "energy_delivered", 12_500_000),
        ("1-0:1.8.0(12.5*KWH)", "energy_delivered", 12_500_000),
        ("1-0:1.8.0(1.5*GWh)", "energy_delivered", 1_500_000_000_000),
        ("1-0:1.7.0(1.25*MW)", "power_delivered", 1_250_000_000),
        ("1-0:31.7.0(250*mA)", "current_l1", 250),
        ("0-1:24.2.1(260302020000W)(12785*l)", "volume", 12_785),
        ("0-1:24.2.1(12785*dm3)", "volume", 12_785),
        ("0-1:96.3.2(293.1*K)", "other", 293_100),
    ],
)
def test_units_of_a_telegram_are_read_whatever_their_capitals(line: str, channel: str, milli: int) -> None:
    on = typed("port", hand.general(telegram(["0-0:1.0.0(260302020000W)", line])))
    assert on.rejects.is_empty()
    assert on.reads.select(pl.col("channel").cast(pl.String), "value_milli").rows() == [(channel, milli)]


@pytest.mark.parametrize(
    "line",
    [
        "1-0:3.8.0(12.5*C)",
        "1-0:1.8.0(12.5*mwh)",
        "1-0:31.7.0(12.5*MaA)",
        "1-0:1.8.0(0*kWhh)",
        "1-0:1.8.0(12.5*\xb0C)",
        "1-0:1.8.0(12.5*)",
        "0-0:96.3.10(1*x)",
        "0-1:24.2.1(090212160000)(12.5*m3)",
        "1-0:1.6.0(632525252525)(12.5*kW)",
        "1-0:1.8.0(1234567890123456*wat)",
    ],
)
def test_a_number_of_an_unknown_unit_is_refused_and_the_others_are_read(line: str) -> None:
    lines = ["0-0:1.0.0(260302020000W)", "1-0:1.8.0(5*kWh)", line.replace("1.8.0", "2.8.0")]
    text = telegram(lines, "").decode().encode("latin-1")
    on = typed("port", hand.general(text))
    assert on.reads.select(pl.col("channel").cast(pl.String), "value_milli").rows() == [("energy_delivered", 5_000_000)]
    told = "1 values: a number of a P1 telegram whose unit or place is not known"
    assert on.rejects.select(pl.col("reason").cast(pl.String), "detail", "at").rows() == [("scaling", told, 0)]
    assert on.counts[:4] == (1, 1, 0, 0)


def test_a_telegram_s_time_without_summer_or_winter_is_no_number_of_its_own() -> None:
    on = typed("port", hand.general(telegram(["0-0:1.0.0(260302020000)", "1-0:1.8.0(5*kWh)", "0-1:96.7.0(1)"])))
    assert on.rejects.is_empty()
    assert on.reads.select("obis", "value_milli").rows() == [("1-0:1.8.0.255", 5_000_000), ("0-1:96.7.0.255", 1_000)]
    assert on.reads["read_at"].to_list() == [RECEIVED] * 2
    lone = typed("port", hand.general(telegram(["0-0:1.0.0(260302020000W)", "1-0:3.8.0(260302020000)"])))
    assert lone.reads["value_milli"].to_list() == [260_302_020_000_000]  # a count that looks like one


def test_a_telegram_of_unknown_units_alone_is_rejected_and_a_copy_of_it_is_a_copy() -> None:
    sealed = hand.wrapper(hand.general(telegram(["0-0:1.0.0(260302020000W)", "1-0:3.8.0(12.5*C)"])))
    registry = meters(enrolled(meter_type="port"), enrolled(meter_id=OTHER_NAME, system_title=None))
    on = decode(sealed, sealed, registry=registry, types=SWITCHED)
    assert reasons(on) == ["scaling"] and on.counts[:4] == (2, 0, 1, 1)


def test_a_telegram_in_the_clear_and_one_before_a_block_are_no_dlms_whatever_the_type() -> None:
    block = hand.by_service(0xCA, hand.PUSH)
    for value in (telegram(LINES), b"/AMI5\\invented\r\n\r\n" + block, b"/AMI5\\invented\r\n\r\n" + hand.PUSH):
        registry = meters(enrolled(meter_type="port", security_min=0))
        assert reasons(decode(value, registry=registry, types=SWITCHED)) == ["not_dlms"]
        (said,) = inspect_bytes(value, file="f", hex_lines=False, keyring=RING, types=SWITCHED)
        assert said["error"] == {"reason": "not_dlms", "at": 0} and said["link"] == "none"
