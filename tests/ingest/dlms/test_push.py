"""The values rule of the contract, case by case."""

from ingest.dlms.cosem import encode_scaler_unit, obis_text, parse_obis
from ingest.dlms.data import Data, Tag
from ingest.dlms.push import push_values

NULL = Data(Tag.NULL, None)


def name(text):
    return Data(Tag.OCTET_STRING, parse_obis(text))


def u32(value):
    return Data(Tag.UINT32, value)


def structure(*items):
    return Data(Tag.STRUCTURE, items)


def array(*items):
    return Data(Tag.ARRAY, items)


def entry(class_id, text, attribute, *more):
    return structure(Data(Tag.UINT16, class_id), name(text), Data(Tag.INT8, attribute), Data(Tag.UINT16, 0), *more)


def said(body):
    return [(v.obis and obis_text(v.obis), v.data.value, v.scaler, v.unit) for v in push_values(body)]


def test_a_push_object_list_names_what_follows_it():
    objects = array(
        entry(40, "0-7:25.9.0.255", 2),
        entry(1, "0-0:96.1.0.255", 2),
        entry(3, "1-0:1.8.0.255", 2),
        entry(3, "1-0:1.8.0.255", 3),
        entry(3, "1-0:2.8.0.255", 1),
        entry(3, "1-0:2.8.0.255", 2, structure(Data(Tag.ENUM, 0), NULL), array()),
    )
    body = structure(
        objects, Data(Tag.OCTET_STRING, b"name"), u32(12), encode_scaler_unit(1, 30), name("1-0:2.8.0.255"), u32(0)
    )
    assert said(body) == [
        ("0-0:96.1.0.255", b"name", None, None),
        ("1-0:1.8.0.255", 12, 1, 30),
        ("1-0:2.8.0.255", 0, None, None),
    ]


def test_an_attribute_3_without_its_attribute_2_stands_by_itself():
    body = structure(
        array(entry(3, "1-0:1.8.0.255", 3), entry(3, "1-0:2.8.0.255", 2)), encode_scaler_unit(1, 30), u32(4)
    )
    values = push_values(body)
    assert [v.obis and obis_text(v.obis) for v in values] == ["1-0:1.8.0.255", "1-0:2.8.0.255"]
    assert values[0].data == encode_scaler_unit(1, 30)
    assert (values[1].scaler, values[1].unit) == (None, None)


def test_an_attribute_3_may_come_before_its_attribute_2():
    body = structure(
        array(entry(3, "1-0:1.8.0.255", 3), entry(3, "1-0:1.8.0.255", 2)), encode_scaler_unit(1, 30), u32(4)
    )
    assert said(body) == [("1-0:1.8.0.255", 4, 1, 30)]


def test_values_beyond_the_list_are_kept_without_a_name():
    body = structure(array(entry(3, "1-0:1.8.0.255", 2)), u32(1), u32(2), structure(u32(3)))
    assert said(body) == [("1-0:1.8.0.255", 1, None, None), (None, 2, None, None), (None, 3, None, None)]


def test_names_and_values_pair_nested_or_flat_with_or_without_scaling():
    row = structure(name("1-0:1.8.0.255"), u32(1), encode_scaler_unit(0, 30))
    body = structure(row, name("1-0:2.8.0.255"), u32(2), encode_scaler_unit(-1, 30), name("1-0:3.8.0.255"), u32(3), row)
    assert said(body) == [
        ("1-0:1.8.0.255", 1, 0, 30),
        ("1-0:2.8.0.255", 2, -1, 30),
        ("1-0:3.8.0.255", 3, None, None),
        ("1-0:1.8.0.255", 1, 0, 30),
    ]


def test_a_text_of_six_letters_is_a_value_and_no_name():
    body = structure(Data(Tag.OCTET_STRING, b"160456"), u32(5))
    assert said(body) == [(None, b"160456", None, None), (None, 5, None, None)]


def test_a_value_that_looks_like_a_name_stays_the_value_of_its_name():
    body = structure(name("0-0:96.1.1.255"), name("0-0:42.0.0.255"), u32(5))
    assert said(body) == [("0-0:96.1.1.255", parse_obis("0-0:42.0.0.255"), None, None), (None, 5, None, None)]


def test_a_push_setup_name_names_nothing_and_takes_nothing():
    body = structure(Data(Tag.OCTET_STRING, b"device"), name("0-1:25.9.0.255"), u32(1))
    assert said(body) == [(None, b"device", None, None), (None, 1, None, None)]


def test_a_name_with_nothing_behind_it_is_a_value():
    assert said(structure(u32(1), name("1-0:1.8.0.255"))) == [
        (None, 1, None, None),
        (None, parse_obis("1-0:1.8.0.255"), None, None),
    ]


def test_nulls_and_zeros_are_kept_apart():
    assert said(structure(NULL, u32(0), name("1-0:1.8.0.255"), NULL)) == [
        (None, None, None, None),
        (None, 0, None, None),
        ("1-0:1.8.0.255", None, None, None),
    ]


def test_a_body_that_is_one_value_is_one_value():
    assert said(u32(7)) == [(None, 7, None, None)]
    assert said(structure()) == []
