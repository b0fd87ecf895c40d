"""Profile buffers that a get-response brings without a name: read where the meter's type says which profile it asks."""

import pytest

from ingest.dlms.axdr import encode_data
from ingest.dlms.cursor import encode_length
from ingest.dlms.data import Data, Tag
from ingest.meter_types import parse_types
from schemas.errors import ContractError
from tests.ingest.fleet import INTERVAL_OBJECT, body_of, decode, enrolled, meters, notification, reasons, sealed
from tests.ingest.test_attributes import u32
from tests.ingest.test_named_profiles import BUFFER, NULL, cells, ends, row, stamp

PUSH = '[[meter_type.push]]\nobject = "*"\nrows = "intervals"\n'
ASKED = parse_types(f'[[meter_type]]\nname = "asked"\nprofile = "interval"\nresponse = "{INTERVAL_OBJECT}"\n{PUSH}')
NOT_ASKED = parse_types(f'[[meter_type]]\nname = "asked"\nprofile = "interval"\n{PUSH}')
WANTED = cells(decode(sealed(notification(body_of(BUFFER)))))


def normal(value: Data) -> bytes:
    return b"\xc4\x01\xc1\x00" + encode_data(value)


def datablock(value: Data) -> bytes:
    octets = encode_data(value)
    return b"\xc4\x02\xc1\x01\x00\x00\x00\x01\x00" + encode_length(len(octets)) + octets


def with_list(*values: Data) -> bytes:
    return b"\xc4\x03\xc1" + bytes((len(values),)) + b"".join(b"\x00" + encode_data(value) for value in values)


def with_results(*values: Data) -> bytes:
    """The same between two results that are no success."""
    listed = with_list(*values)
    return listed[:3] + bytes((len(values) + 2,)) + b"\x01\x03" + listed[4:] + b"\x01\x02"


FORMS = [normal, datablock, with_list, with_results]


def read(message: bytes, types=ASKED):
    return decode(sealed(message), registry=meters(enrolled(meter_type="asked")), types=types)


@pytest.mark.parametrize("form", FORMS)
def test_a_buffer_without_a_name_is_that_of_the_profile_that_the_type_asks(form) -> None:
    found = read(form(BUFFER))
    assert len(WANTED) == 4 and cells(found) == WANTED
    assert found.reads.is_empty() and found.rejects.is_empty()


@pytest.mark.parametrize("form", FORMS)
def test_a_buffer_without_a_name_is_told_by_its_own_detail(form) -> None:
    refused = read(form(BUFFER), NOT_ASKED)
    assert refused.intervals.is_empty() and reasons(refused) == ["layout_unknown"]
    assert refused.rejects["detail"][0].endswith("values: a buffer without a name, and the meter type has no response")


def test_null_clocks_of_such_a_buffer_are_those_of_any_other() -> None:
    thinned = Data(Tag.ARRAY, (row(stamp(ends(1)), 100, 7), row(NULL, 101, 8)))
    assert cells(read(normal(thinned))) == WANTED


def test_a_number_beside_the_buffer_is_refused_and_two_buffers_are_none_of_them() -> None:
    beside = read(with_list(u32(5), BUFFER))
    assert cells(beside) == WANTED and beside.rejects["detail"].to_list() == ["1 values: a value without a name"]
    both = read(with_list(BUFFER, BUFFER))
    assert both.intervals.is_empty() and reasons(both) == ["layout_unknown"]


def test_a_value_that_is_no_buffer_has_no_name_as_before() -> None:
    assert read(normal(u32(5))).rejects["detail"].to_list() == ["1 values: a value without a name"]


def test_a_response_that_names_nothing_is_refused_as_configuration() -> None:
    with pytest.raises(ContractError):
        parse_types('[[meter_type]]\nname = "x"\nresponse = "a profile"\n')
