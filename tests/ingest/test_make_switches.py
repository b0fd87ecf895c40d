"""What only a meter's type or a sender's public key can add: off by default, on by name, through decode and inspect."""

from typing import Any

import polars as pl
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256, SHA384

from ingest.decode import Decoded, decode_frames
from ingest.dlms.cosem import encode_date_time, parse_obis
from ingest.dlms.cursor import encode_length
from ingest.dlms.data import Data, Tag
from ingest.dlms.framing import unwrap, wrap_wpdu
from ingest.inspect import inspect_bytes
from ingest.keyring import Keyring
from ingest.meter_types import BUILT_IN, MeterTypes, parse_types
from ingest.replay import Windows
from ingest.sources import cut_hex
from schemas.errors import ContractError
from tests.ingest.fleet import (
    NAME,
    START,
    TITLE,
    decode,
    device_name,
    enrolled,
    event,
    frames,
    interval_rows,
    meters,
    notification,
    reasons,
    register_rows,
    sealed,
    usual_rows,
)

CZECH = parse_types('[[meter_type]]\nname = "xt211"\nquirks = ["untagged_descriptor"]\nscalers = { "1.8.0" = 0 }')
SWAPPED = parse_types('[[meter_type]]\nname = "zmf100"\nquirks = ["obis_tag_swapped"]')
DSMR4 = parse_types('[[meter_type]]\nname = "dsmr4"\nevents = "dsmr"\nquirks = ["dsmr4_alarm"]')
GAS = parse_types(
    """
[[meter_type]]
name = "gas"
scalers = { "3.0.0" = -2 }
[[meter_type.list]]
values = ["meter_id", "0-0:66.0.4.255"]
[[meter_type.template]]
id = 12
description = "020411060609"
values = ["template_id", "clock", "7-0:3.0.0.255", "0-0:96.1.0.255"]
""".replace('scalers = { "3.0.0" = -2 }', '[meter_type.scalers]\n"3.0.0" = -2')
)
BUFFER = bytes((12,)) + int(START.timestamp()).to_bytes(4, "big") + (123456).to_bytes(4, "big") + b"\x03G42"


def typed(kind: str, **changes: object) -> pl.DataFrame:
    return meters(enrolled(meter_type=kind, **changes))


def of_file(capture: Any, registry: pl.DataFrame, types: MeterTypes) -> Decoded:
    sent = cut_hex(capture.text, "f.hex")
    return decode_frames(sent, Keyring.empty(), Windows.empty(), registry, types)


def test_no_built_in_type_has_a_quirk_or_a_template() -> None:
    assert [each.name for each in BUILT_IN.by_name.values() if each.quirks or each.template] == []


@pytest.mark.parametrize("name", ["dlms_parser_11", "dlms_parser_13"])
def test_untagged_descriptors_are_read_by_decode_where_the_meter_s_type_says_so(
    captures: dict[str, Any], name: str
) -> None:
    expected = {each["obis"]: each["value"] for each in captures[name].entry["expected"]["values"]}
    meter_id = expected.get("0-0:42.0.0.255", expected.get("0-0:96.1.1.255"))
    plain = {"security_min": 0, "system_title": None, "meter_id": meter_id}
    for kind, types in (("generic", BUILT_IN), ("generic", CZECH)):
        assert reasons(of_file(captures[name], typed(kind, **plain), types)) == ["axdr_tag"]
    result = of_file(captures[name], typed("xt211", **plain), CZECH)
    if "date_time" in reasons(result):  # a file keeps no reception time, and the sample no clock
        again = cut_hex(captures[name].text, "f.hex")["payload"].to_list()
        result = decode(*again, registry=typed("xt211", **plain), types=CZECH)
    assert result.counts.decoded == 1
    energies = result.reads.filter(pl.col("channel") == "energy_delivered")
    assert energies["value_milli"].to_list() == [expected["1-0:1.8.0.255"] * 1000]
    assert set(result.reads["meter_id"]) == {meter_id}


def swapped_message() -> bytes:
    push = notification(register_rows([device_name(), ("1-0:1.8.0.255", Data(Tag.UINT32, 12), (0, 30))]))
    name = parse_obis("1-0:1.8.0.255")
    return push.replace(b"\x09\x06" + name, b"\x06\x09" + name)


def test_a_swapped_name_tag_is_read_where_the_meter_s_type_says_so() -> None:
    for message, plain in (
        (sealed(swapped_message()), {}),
        (wrap_wpdu(swapped_message()), {"security_min": 0, "system_title": None}),
    ):
        assert len(reasons(decode(message, registry=typed("generic", **plain)))) == 1
        assert len(reasons(decode(message, registry=typed("generic", **plain), types=SWAPPED))) == 1
        on = decode(message, registry=typed("zmf100", **plain), types=SWAPPED)
        assert on.reads.select("meter_id", "channel", "value_milli").rows() == [(NAME, "energy_delivered", 12_000)]


def test_a_quirk_of_one_meter_makes_no_other_s_message_readable() -> None:
    registry = meters(
        enrolled(system_title=None), enrolled(meter_id="AMI0000000000002", system_title=None, meter_type="zmf100")
    )
    assert reasons(decode(wrap_wpdu(swapped_message()), registry=registry, types=SWAPPED)) == reasons(
        decode(wrap_wpdu(swapped_message()), registry=registry.head(1))
    )


def test_a_dsmr4_alarm_is_read_where_the_meter_s_type_says_so(captures: dict[str, Any]) -> None:
    capture = captures["osgp_05"]
    telegram = capture.octets
    name = capture.entry["expected"]["equipment_id"]
    plain = {"meter_id": name, "system_title": None}
    assert reasons(decode(telegram, registry=typed("smr5", **plain))) == ["not_dlms"]
    assert reasons(decode(telegram, registry=typed("smr5", **plain), types=DSMR4)) == ["not_dlms"]
    assert reasons(decode(telegram, registry=typed("dsmr4", system_title=None), types=DSMR4)) == ["not_dlms"]
    on = decode(telegram, registry=typed("dsmr4", **plain), types=DSMR4)
    assert on.events.select("meter_id", "event", "code", "authenticated").rows() == [(name, "clock_invalid", 1, False)]
    assert reasons(decode(telegram[:17] + b";" + telegram[18:], registry=typed("dsmr4", **plain), types=DSMR4)) == [
        "not_dlms"
    ]
    owed = typed("dsmr4", meter_id=name, security_min=0x30)
    assert reasons(decode(telegram, registry=owed, types=DSMR4)) == ["downgrade"]
    (off,) = inspect_bytes(telegram, file="f", hex_lines=False, types=BUILT_IN)
    assert off["error"] == {"reason": "not_dlms", "at": 0}
    (said,) = inspect_bytes(telegram, file="f", hex_lines=False, types=DSMR4)
    assert (said["apdu"], said["link"], said["quirks"]) == (None, "none", ["dsmr4_alarm"])
    assert said["values"][1]["obis"] == "0-0:97.98.0.255" and said["values"][1]["value"] == 1


NAMED = register_rows([device_name(), ("0-0:66.0.4.255", Data(Tag.OCTET_STRING, BUFFER), None)])
POSITIONAL = Data(Tag.STRUCTURE, (Data(Tag.OCTET_STRING, NAME.encode()), Data(Tag.OCTET_STRING, BUFFER)))


@pytest.mark.parametrize(("body", "ciphered"), [(NAMED, True), (NAMED, False), (POSITIONAL, True)])
def test_compact_data_is_read_by_the_template_of_the_meter_s_type(body: Data, ciphered: bool) -> None:
    apdu = notification(body)
    message = sealed(apdu) if ciphered else wrap_wpdu(apdu)
    plain = {} if ciphered else {"security_min": 0, "system_title": None}
    off = decode(message, registry=typed("generic", **plain), types=GAS)
    assert off.reads.is_empty() and len(reasons(off)) == 1
    on = decode(message, registry=typed("gas", **plain), types=GAS)
    assert on.reads.select("meter_id", "channel", "obis", "read_at", "value_milli").rows() == [
        (NAME, "volume", "7-0:3.0.0.255", START, 1_234_560)
    ]
    assert on.rejects.is_empty()


@pytest.mark.parametrize("ciphered", [True, False])
def test_compact_data_of_other_templates_and_lengths_is_refused_and_no_message_takes_another_s_values(
    ciphered: bool,
) -> None:
    batch, wanted = [], []
    for counter in range(1, 9):
        buffer = BUFFER[:8] + bytes((counter,)) + BUFFER[9:]
        batch.append(bytes((13,)) + buffer[1:] if counter == 4 else buffer)
        wanted += [(counter - 1, (0x1E200 + counter) * 10)] if counter != 4 else []
    pushes = [
        notification(register_rows([device_name(), ("0-0:66.0.4.255", Data(Tag.OCTET_STRING, buffer), None)]))
        for buffer in (*batch, BUFFER[:-1])
    ]
    plain = {} if ciphered else {"security_min": 0, "system_title": None}
    sent = [sealed(push, at) if ciphered else wrap_wpdu(push) for at, push in enumerate(pushes, 1)]
    decoded = decode(*sent, registry=typed("gas", **plain), types=GAS)
    assert decoded.reads.sort("offset").select("offset", "value_milli").rows() == wanted
    assert sorted(reasons(decoded)) == ["axdr_truncated", "layout_unknown"]


def test_inspect_names_the_values_of_compact_data_with_types_alone() -> None:
    message = wrap_wpdu(notification(NAMED))
    (off,) = inspect_bytes(message, file="f", hex_lines=False, types=BUILT_IN)
    assert [each["obis"] for each in off["values"]] == ["0-0:42.0.0.255", "0-0:66.0.4.255"]
    (on,) = inspect_bytes(message, file="f", hex_lines=False, types=GAS)
    assert [(each["obis"], each["value"]) for each in on["values"][1:]] == [
        ("0-0:1.0.0.255", encode_date_time(START, 0).hex()), ("7-0:3.0.0.255", 123456), ("0-0:96.1.0.255", "473432")
    ]  # fmt: skip


@pytest.mark.parametrize("bad", [
    'id = 1\ndescription = "zz"\nvalues = []', 'id = 1\ndescription = "0206"\nvalues = ["clock"]',
    'id = 1\ndescription = "020106"\nvalues = []', 'id = 300\ndescription = "020106"\nvalues = ["clock"]',
    'id = 1\ndescription = "020106"\nvalues = ["hello"]', 'id = 1\ndescription = "06"\nvalues = ["clock"]',
])  # fmt: skip
def test_a_template_that_means_nothing_is_refused(bad: str) -> None:
    with pytest.raises(ContractError):
        parse_types(f'[[meter_type]]\nname = "x"\n[[meter_type.template]]\n{bad}')


CURVES = [(ec.SECP256R1(), SHA256(), 32), (ec.SECP384R1(), SHA384(), 48)]


def signed(apdu: bytes, curve: Any, hashed: Any, half: int) -> tuple[bytes, str]:
    key = ec.derive_private_key(424242, curve)
    fields = b"\x01\x07\x08" + TITLE + b"\x00\x00\x00" + encode_length(len(apdu)) + apdu
    r, s = decode_dss_signature(key.sign(fields, ec.ECDSA(hashed)))
    signature = r.to_bytes(half, "big") + s.to_bytes(half, "big")
    numbers = key.public_key().public_numbers()
    public = numbers.x.to_bytes(half, "big") + numbers.y.to_bytes(half, "big")
    return b"\xdf" + fields + encode_length(len(signature)) + signature, public.hex()


@pytest.mark.parametrize("curve", CURVES, ids=["P-256", "P-384"])
def test_a_signed_message_is_read_once_its_signature_has_verified(curve: Any) -> None:
    apdu = notification(interval_rows(usual_rows()))
    plain, public = signed(apdu, *curve)
    both, _ = signed(unwrap(sealed(apdu, 7)).apdu, *curve)
    keys = f"system_title,ek,ak,public_key\n{TITLE.hex()},,,{public}\n"
    from_keyed = keys.replace(",,,", f",{bytes(range(16)).hex()},{bytes(range(0xD0, 0xE0)).hex()},")
    read = decode(wrap_wpdu(plain), keys=keys)
    assert read.intervals.height == 8 and read.counts[:4] == (1, 1, 0, 0)
    assert read.messages["system_title"].is_null().all() or read.messages["system_title"][0] == TITLE.hex()
    ciphered = decode(wrap_wpdu(both), keys=from_keyed)
    assert ciphered.intervals.height == 8 and ciphered.messages["counter"].to_list() == [7]
    assert reasons(decode(wrap_wpdu(plain), keys=from_keyed)) == ["downgrade"]
    flipped = [plain[:at] + bytes((plain[at] ^ 1,)) + plain[at + 1 :] for at in (1, 40, len(plain) - 1)]
    assert reasons(decode(*map(wrap_wpdu, flipped[1:]), keys=keys)) == ["signature_mismatch"] * 2
    assert reasons(decode(wrap_wpdu(plain))) == ["key_unknown"]
    other = signed(notification(interval_rows(usual_rows(), name="AMI0000000000002")), *curve)[0]
    assert reasons(decode(wrap_wpdu(other), keys=keys)) == ["identity"]
    ring = Keyring.from_csv(from_keyed)
    for message in (plain, both):
        (said,) = inspect_bytes(wrap_wpdu(message), file="f", hex_lines=False, keyring=ring)
        assert said["authenticated"] is True and said["apdu"] == "data-notification" and "error" not in said
    (said,) = inspect_bytes(wrap_wpdu(flipped[2]), file="f", hex_lines=False, keyring=ring)
    assert said["error"]["reason"] == "signature_mismatch" and said["authenticated"] is False


@pytest.mark.parametrize("key", ["zz", "00", "11" * 64])
def test_a_public_key_that_is_none_is_named_by_its_line(key: str) -> None:
    with pytest.raises(ContractError, match="line 2"):
        Keyring.from_csv(f"system_title,ek,ak,public_key\n{TITLE.hex()},,,{key}\n")


def test_values_scaled_by_the_make_come_to_their_thousandths_by_the_make_s_built_in_type(
    captures: dict[str, Any],
) -> None:
    checked = 0
    for name, capture in captures.items():
        expected = capture.entry["expected"]
        if expected.get("scaling") != "known from the make":
            continue
        kind = capture.entry["make"].lower()
        sent = cut_hex(capture.text, "f.hex")["payload"].to_list()
        default = MeterTypes({**BUILT_IN.by_name, "generic": BUILT_IN.by_name[kind]}, BUILT_IN.by_list_id)
        bare = decode_frames(frames(*sent), Keyring.empty(), Windows.empty(), meters().clear(), default)
        found = dict(bare.reads.select(pl.col("channel").cast(pl.String), "value_milli").rows())
        assert expected["reads_milli"].items() <= found.items(), name
        if name == "amshan_05":  # power alone, which names no meter
            continue
        registry = typed(kind, meter_id=bare.reads["meter_id"][0], system_title=None, interval_s=None, channels=None)
        by_type = decode(*sent, registry=registry)
        found = dict(by_type.reads.select(pl.col("channel").cast(pl.String), "value_milli").rows())
        assert expected["reads_milli"].items() <= found.items(), name
        checked += 1
    assert checked >= 10


def test_an_inverted_deviation_is_a_switch_that_is_off_by_default() -> None:
    types = parse_types('[[meter_type]]\nname = "inverted"\ndeviation_inverted = true')
    stamped = event("0.0.96.11.0.255", Data(Tag.UINT8, 1)).replace(
        encode_date_time(START, 0), encode_date_time(START.replace(tzinfo=None), -60)
    )
    hours = [
        decode(sealed(stamped), registry=typed(kind), types=types).events["occurred_at"][0] - START
        for kind in ("generic", "inverted")
    ]
    assert [each.total_seconds() / 3600 for each in hours] == [-1, 1]
