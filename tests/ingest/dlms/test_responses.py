"""Information-report, get-response, access-response, from bytes written by hand; all other tags by name."""

from datetime import UTC, datetime

import pytest

from ingest.dlms.apdu import decode_apdu, name_of
from ingest.dlms.data import Data, Tag
from ingest.dlms.push import apdu_values
from ingest.dlms.tags import APDU_NAMES
from schemas.codes import RejectReason
from schemas.errors import ProtocolError

DECODED = {0x0F, 0x18, 0xC2, 0xC4, 0xDA}
NULL = Data(Tag.NULL, None)


def decode(text):
    return decode_apdu(bytes.fromhex(text))


def values(apdu):
    return [(each.obis, each.data.value) for each in apdu_values(apdu)]


def test_an_information_report_gives_the_values_of_its_short_names():
    report = decode("18 00 02 02 FA00 02 FA08 02 06 0000007B 12 0010")
    assert (name_of(report), report.date_time, report.short_names) == (
        "information-report-request",
        None,
        (0xFA00, 0xFA08),
    )
    assert values(report) == [(None, 123), (None, 16)]


@pytest.mark.parametrize(
    ("text", "utc"),
    [
        ("20260307173838Z", datetime(2026, 3, 7, 17, 38, 38, tzinfo=UTC)),
        ("20260307173838+0200", datetime(2026, 3, 7, 15, 38, 38, tzinfo=UTC)),
        ("20260307173838.5-0130", datetime(2026, 3, 7, 19, 8, 38, tzinfo=UTC)),
        ("20260307173838", None),
    ],
)
def test_an_information_report_may_tell_the_time_as_text(text, utc):
    stamp = text.encode().hex()
    report = decode(f"18 01 {len(text):02x} {stamp} 01 02 FA00 01 11 05")
    assert report.date_time.utc == utc
    assert report.date_time.local.day == 7


@pytest.mark.parametrize("text", ["2026", "20261307173838Z", "20260307173838+1900", "yesterday"])
def test_a_text_that_is_no_time_is_an_error(text):
    with pytest.raises(ProtocolError, match="date_time"):
        decode(f"18 01 {len(text):02x} {text.encode().hex()} 01 02 FA00 01 11 05")


def test_a_get_response_gives_its_value_without_a_name():
    response = decode("C4 01 C1 00 06 0000007B")
    assert (response.invoke_id, response.results, response.body) == (0xC1, (0,), Data(Tag.UINT32, 123))
    assert values(response) == [(None, 123)]


def test_a_result_other_than_success_is_unknown_and_not_zero():
    assert decode("C4 01 C1 01 0B").body == NULL
    response = decode("C4 03 C1 03 00 11 00 01 04 00 11 07")
    assert response.results == (0, 4, 0)
    assert values(response) == [(None, 0), (None, None), (None, 7)]


def test_a_single_datablock_is_whole_only_as_first_and_last():
    assert decode("C4 02 C1 01 00000001 00 02 11 07").body == Data(Tag.UINT8, 7)
    assert decode("C4 02 C1 01 00000001 01 02").body == NULL
    for text in ("C4 02 C1 00 00000001 00 02 11 07", "C4 02 C1 01 00000002 00 02 11 07"):
        with pytest.raises(ProtocolError, match="block_transfer_incomplete"):
            decode(text)


def test_an_access_response_names_its_values_where_it_repeats_the_request():
    specifications = "02 01 0003 0100010800FF 02 04 0007 0100630100FF 02 02 00"
    response = decode(f"DA 40000001 00 01 {specifications} 02 06 000004D2 00 02 0100 0104")
    assert response.results == (0, 4)
    assert values(response) == [(bytes.fromhex("0100010800FF"), 1234), (bytes.fromhex("0100630100FF"), None)]


def test_an_access_response_without_the_request_has_no_names():
    response = decode("DA 40000001 0C07E503070211262600FF8880 00 01 06 000004D2 01 0100")
    assert response.date_time.utc == datetime(2021, 3, 7, 15, 38, 38, tzinfo=UTC)
    assert values(response) == [(None, 1234)]


def test_what_comes_with_a_failed_access_is_unknown():
    assert decode("DA 40000001 00 00 02 1100 1107 02 0104 0100").body.items == (NULL, Data(Tag.UINT8, 7))


def test_counts_that_differ_are_malformed():
    for text in ("DA 40000001 00 00 01 1101 02 0100 0100", "18 00 02 02 FA00 02 FA08 01 1107"):
        with pytest.raises(ProtocolError, match="apdu_malformed"):
            decode(text)


@pytest.mark.parametrize(
    "text",
    [
        "18 00 01 02 FA00 01 11 05", "C4 01 C1 00 06 0000007B", "C4 03 C1 02 00 11 00 01 04",
        "DA 40000001 00 00 01 06 000004D2 01 0100", "C2 00 0001 0100010800FF 02 06 000004D2",
    ],
)  # fmt: skip
def test_each_apdu_cut_anywhere_or_with_a_byte_more_is_an_error(text):
    octets = bytes.fromhex(text)
    for stop in range(len(octets)):
        with pytest.raises(ProtocolError) as caught:
            decode_apdu(octets[:stop])
        assert 0 <= caught.value.at <= stop
    with pytest.raises(ProtocolError, match="trailing_bytes"):
        decode_apdu(octets + b"\x00")


@pytest.mark.parametrize("tag", range(256))
def test_every_tag_is_decoded_named_or_unknown(tag):
    with pytest.raises(ProtocolError) as caught:
        decode_apdu(bytes((tag,)))
    if tag in DECODED:
        assert caught.value.reason is RejectReason.AXDR_TRUNCATED
    elif tag in APDU_NAMES:
        assert (caught.value.reason, caught.value.detail) == (RejectReason.APDU_UNSUPPORTED, APDU_NAMES[tag])
    else:
        assert caught.value.reason is RejectReason.UNKNOWN_APDU
