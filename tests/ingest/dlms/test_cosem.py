"""Date-times, OBIS texts, scalers: the cases that decoders get wrong."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.dlms.cosem import channel_of, decode_date_time, encode_date_time, obis_text, parse_obis, to_milli
from schemas.codes import Channel
from schemas.errors import ContractError, ProtocolError

OSLO = ZoneInfo("Europe/Oslo")


def stamp(text):
    return decode_date_time(bytes.fromhex(text))


def test_utc_is_local_plus_deviation():
    assert stamp("07E503070711262600FF8880").utc == datetime(2021, 3, 7, 15, 38, 38, tzinfo=UTC)
    assert stamp("07E60B0C0610360000FFC400").utc == datetime(2022, 11, 12, 15, 54, tzinfo=UTC)


def test_a_deviation_of_zero_is_utc_and_an_unspecified_one_is_not():
    zero, unspecified = stamp("07E4011502100000FF000000"), stamp("07E4011502100000FF800000")
    assert (zero.deviation_min, zero.utc) == (0, datetime(2020, 1, 21, 16, tzinfo=UTC))
    assert (unspecified.deviation_min, unspecified.utc) == (None, None)
    assert unspecified.instant(OSLO) == datetime(2020, 1, 21, 15, tzinfo=UTC)


def test_the_dst_bit_decides_in_the_repeated_hour():
    summer, winter = stamp("07EA0A19FF021E0000800080"), stamp("07EA0A19FF021E0000800000")
    assert summer.instant(OSLO) == datetime(2026, 10, 25, 0, 30, tzinfo=UTC)
    assert winter.instant(OSLO) == datetime(2026, 10, 25, 1, 30, tzinfo=UTC)


def test_a_standard_that_inverts_the_sign_is_read_where_the_profile_says_so():
    octets = "07E503070711262600007880"
    assert stamp(octets).instant(OSLO, inverted=True) == datetime(2021, 3, 7, 15, 38, 38, tzinfo=UTC)


@pytest.mark.parametrize(
    "wild",
    [
        "FFFF0307FF11262600FF8880", "07E5FF07FF11262600FF8880", "07E5FE07FF11262600FF8880", "07E5FD07FF11262600FF8880",
        "07E503FFFF11262600FF8880", "07E503FEFF11262600FF8880", "07E50307FFFF262600FF8880", "07E50307FF11FF2600FF8880",
        "07E50307FF1126FF00FF8880",
    ],
)  # fmt: skip
def test_a_wildcard_is_no_instant_and_no_error(wild):
    decoded = stamp(wild)
    assert decoded.local is decoded.utc is decoded.instant(OSLO) is None
    assert decoded.status == 0x80


def test_unspecified_hundredths_and_weekday_take_nothing_away():
    assert stamp("07E60B03FF0F2619FFFF4CFF").utc == datetime(2022, 11, 3, 12, 38, 25, tzinfo=UTC)


def test_a_status_of_ff_knows_nothing_while_its_bits_would_say_invalid():
    assert stamp("07E30C1001073B28FF8000FF").is_reliable
    assert not stamp("07D0010106162100FF800001").is_reliable
    assert not stamp("07D0010106162100FF800008").is_reliable
    assert stamp("07D0010106162100FF800002").is_reliable


@pytest.mark.parametrize(
    "wrong",
    [
        "07E5000701000000000000", "07E500070100000000000000", "07E50D070100000000000000", "07E502000100000000000000",
        "07E502200100000000000000", "07E5021E0100000000000000", "07E502070118000000000000", "07E50207010C3C0000000000",
        "07E50207010C003C00000000", "07E50207010C000064000000", "07E50207010C000000034900", "07E50207010C000000FCB700",
        "00000207010C000000000000",
    ],
)  # fmt: skip
def test_a_field_out_of_range_or_a_day_that_does_not_exist_is_an_error(wrong):
    with pytest.raises(ProtocolError, match="date_time"):
        stamp(wrong)


def test_beyond_the_ends_of_the_calendar_there_is_no_instant():
    assert stamp("000101010100000000FFC400").utc is None
    assert stamp("270F0C1F0517000000003C00").utc is None


@given(
    st.datetimes(datetime(1990, 1, 1), datetime(2099, 12, 31), timezones=st.just(UTC)),
    st.integers(-840, 840),
    st.integers(0, 255),
)
def test_an_instant_is_written_on_a_clock_and_read_back(instant, deviation_min, status):
    instant -= timedelta(microseconds=instant.microsecond % 10_000)
    octets = encode_date_time(instant, deviation_min, status)
    decoded = decode_date_time(octets)
    assert (decoded.utc, decoded.deviation_min, decoded.status) == (instant, deviation_min, status)


def test_an_aware_instant_without_a_deviation_cannot_be_written():
    with pytest.raises(ContractError):
        encode_date_time(datetime(2026, 1, 1, tzinfo=UTC), None)
    assert encode_date_time(datetime(2026, 1, 1), None, 0xFF).hex() == "07ea0101040000000080" + "00ff"


@given(st.binary(min_size=6, max_size=6))
def test_an_obis_text_names_its_six_octets(octets):
    assert parse_obis(obis_text(octets)) == octets


@pytest.mark.parametrize("text", ["1-0:1.8.0.300", "1-0:1.8", "1-0:1.8.0.255.1", "1-0:1.8.x.255", "", "1-0:1.8.-1.255"])
def test_what_is_no_obis_code_is_refused(text):
    with pytest.raises(ContractError):
        parse_obis(text)


def test_group_f_may_be_left_out():
    assert parse_obis("1-0:1.8.0") == parse_obis("1.0.1.8.0.255") == bytes((1, 0, 1, 8, 0, 255))


@pytest.mark.parametrize(
    ("text", "channel"),
    [
        ("1-0:1.8.0.255", "energy_delivered"),
        ("1-1:2.8.0.255", "energy_received"),
        ("1-0:3.8.0.255", "reactive_delivered"),
        ("1-0:8.8.0.255", "reactive_q4"),
        ("1-0:9.8.0.255", "apparent_delivered"),
        ("1-0:1.8.4.255", "energy_delivered_t4"),
        ("1-0:2.8.1.255", "energy_received_t1"),
        ("1-0:41.7.0.255", "power_delivered_l2"),
        ("1-0:62.7.0.255", "power_received_l3"),
        ("1-0:32.7.0.255", "voltage_l1"),
        ("1-0:71.7.0.255", "current_l3"),
        ("1-0:13.7.0.255", "power_factor"),
        ("1-0:14.7.0.255", "frequency"),
        ("1-0:1.6.0.255", "demand_max"),
        ("7-1:3.0.0.255", "volume"),
        ("1-0:1.8.0.1", "other"),
        ("0-0:1.8.0.255", "other"),
        ("1-0:1.8.5.255", "other"),
        ("0-0:96.1.0.255", "other"),
    ],
)
def test_the_channel_is_decided_by_the_name(text, channel):
    assert channel_of(parse_obis(text)) is Channel(channel)


def test_thousandths_are_exact_or_nothing():
    assert to_milli(2364, -1) == 236_400
    assert to_milli(2272138, 1) == 22_721_380_000
    assert to_milli(-5, -3) == -5
    assert to_milli(50, -4) == 5
    assert to_milli(51, -4) is None
    assert to_milli(0, -128) == 0
    assert to_milli(1, 127) == 10**130
