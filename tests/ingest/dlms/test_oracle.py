"""The captures that an independent decoder reads whole: both must find the same values."""

from datetime import timedelta

import pytest

from ingest.dlms.apdu import DataNotification, decode_apdu
from ingest.dlms.data import Tag
from ingest.dlms.framing import unwrap
from ingest.dlms.security import is_ciphered, read_header, unprotect

notification = pytest.importorskip("dlms_cosem.protocol.xdlms.data_notification", reason="dlms-cosem is not installed")
a_xdr = pytest.importorskip("dlms_cosem.utils", reason="dlms-cosem is not installed")

WHOLE = [
    *(f"dlms_parser_{n:02}" for n in (1, 3, 7, 8, 12, 14)), *(f"amshan_{n:02}" for n in (1, 2, 3, 4, *range(8, 15))),
    "osgp_03", "osgp_04",
]  # fmt: skip


def as_plain(data):
    """A value in the words of the oracle, which gives octet strings as bytearrays and texts as text."""
    items = data.items
    if items is not None:
        return [as_plain(item) for item in items]
    return bytes(data.value) if isinstance(data.value, bytes) else data.value


def normal(value):
    if isinstance(value, list):
        return [normal(item) for item in value]
    return bytes(value) if isinstance(value, bytes | bytearray) else value


def test_the_list_of_captures_is_that_of_the_index(captures):
    assert sorted(WHOLE) == sorted(name for name, each in captures.items() if each.entry["oracle"] == "whole")


@pytest.mark.parametrize("name", WHOLE)
def test_an_independent_decoder_finds_the_same_values(captures, name):
    capture = captures[name]
    apdu = unwrap(capture.octets).apdu
    if is_ciphered(apdu):
        pair = capture.keys.pair
        apdu = unprotect(apdu, read_header(apdu), pair.ek, pair.ak)
    ours = decode_apdu(apdu)
    assert isinstance(ours, DataNotification)
    theirs = notification.DataNotification.from_bytes(apdu)
    assert ours.long_invoke_id & 0xFFFFFF == theirs.long_invoke_id_and_priority.long_invoke_id
    if ours.date_time is None:
        assert theirs.date_time is None
    else:
        local, there = ours.date_time.local, theirs.date_time
        assert there.replace(tzinfo=None, microsecond=0) == local.replace(microsecond=0)
        offset = None if ours.date_time.deviation_min is None else timedelta(minutes=-ours.date_time.deviation_min)
        assert there.utcoffset() == offset
    assert ours.body.tag in (Tag.ARRAY, Tag.STRUCTURE)
    found = a_xdr.parse_as_dlms_data(theirs.body)
    assert normal(found) == as_plain(ours.body)
