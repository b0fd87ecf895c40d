"""General-ciphering by kind of key, and general-signing on both curves."""

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256, SHA384
from cryptography.hazmat.primitives.keywrap import aes_key_wrap

from ingest.dlms.cursor import encode_length
from ingest.dlms.security import read_header, seal, unprotect
from ingest.dlms.signing import read_signed, verify_signed
from schemas.codes import RejectReason
from schemas.errors import ContractError, ProtocolError

EK, AK, KEK = bytes(range(16)), bytes(range(0xD0, 0xE0)), bytes(range(0x40, 0x50))
TITLE = bytes.fromhex("4D4D4D0000BC614E")
PLAIN = bytes.fromhex("0F800000010C07E503070211262600FF8880020209060100010800FF06000004D2")
FIELDS = bytes.fromhex("080102030405060708") + b"\x08" + TITLE + bytes.fromhex("084D4D4D00000000010000")


def general(key_info, ek=EK, control=0x31):
    content = seal(PLAIN, system_title=TITLE, control=control, counter=7, ek=ek, associated=AK + FIELDS)
    return b"\xdd" + FIELDS + key_info + encode_length(len(content)) + content


def refusal(apdu, **keys):
    with pytest.raises(ProtocolError) as caught:
        unprotect(apdu, read_header(apdu), EK, AK, **keys)
    return caught.value.reason


def test_an_identified_key_opens_the_composed_vector(vectors):
    apdu = bytes.fromhex(vectors["messages"][4]["apdu"])
    header = read_header(apdu)
    assert (header.system_title, header.control, header.counter) == (TITLE, 0x31, 0x01234567)
    assert header.key_info == b"\x00\x00"
    assert unprotect(apdu, header, EK, AK) == PLAIN


def test_the_header_fields_are_authenticated():
    apdu = bytearray(general(b"\x01\x00\x00"))
    apdu[3] ^= 1
    assert refusal(bytes(apdu)) is RejectReason.TAG_MISMATCH


def test_no_key_info_means_the_key_of_the_meter():
    apdu = general(b"\x00")
    assert unprotect(apdu, read_header(apdu), EK, AK) == PLAIN


def test_a_wrapped_key_is_unwrapped_under_the_master_key():
    own = bytes(range(0x60, 0x70))
    apdu = general(b"\x01\x01\x00\x18" + aes_key_wrap(KEK, own), ek=own)
    header = read_header(apdu)
    assert unprotect(apdu, header, b"", AK, KEK) == PLAIN
    assert refusal(apdu) is RejectReason.KEY_UNKNOWN
    assert refusal(apdu, kek=EK) is RejectReason.TAG_MISMATCH
    assert refusal(general(b"\x01\x01\x00\x03abc", ek=own), kek=KEK) is RejectReason.TAG_MISMATCH


def test_an_agreed_key_is_refused_by_its_own_reason_after_its_header(vectors):
    framing = vectors["general_ciphering_framing"]
    apdu, fields = bytes.fromhex(framing["apdu"]), framing["fields"]
    header = read_header(apdu)
    assert header.system_title == bytes.fromhex(fields["originator"])
    assert f"{header.control:02x}" == fields["security_control"]
    assert header.counter == int(fields["invocation_counter"], 16)
    assert header.content_stop - header.content_at + 5 + 12 == fields["content_octets"]
    assert refusal(apdu) is RejectReason.AGREED_KEY_UNSUPPORTED


def test_a_key_info_of_no_known_kind_is_malformed():
    with pytest.raises(ProtocolError, match="apdu_malformed"):
        read_header(general(b"\x01\x03\x00"))


CURVES = [(ec.SECP256R1(), SHA256(), 32, 1), (ec.SECP384R1(), SHA384(), 48, 2)]


def signed(curve, hashed, half, scalar):
    key = ec.derive_private_key(scalar + 12345, curve)
    content = FIELDS + encode_length(len(PLAIN)) + PLAIN
    r, s = decode_dss_signature(key.sign(content, ec.ECDSA(hashed)))
    signature = r.to_bytes(half, "big") + s.to_bytes(half, "big")
    numbers = key.public_key().public_numbers()
    public = numbers.x.to_bytes(half, "big") + numbers.y.to_bytes(half, "big")
    return b"\xdf" + content + bytes((len(signature),)) + signature, public


@pytest.mark.parametrize("curve", CURVES)
def test_a_signature_verifies_with_the_key_of_its_originator_alone(curve):
    apdu, public = signed(*curve)
    parts = read_signed(apdu)
    assert (parts.system_title, parts.content) == (TITLE, PLAIN)
    assert apdu[parts.content_at : parts.content_at + len(PLAIN)] == PLAIN
    assert verify_signed(parts, public) == verify_signed(parts, b"\x04" + public) == PLAIN
    for at in (2, parts.content_at, len(apdu) - 1):
        changed = bytearray(apdu)
        changed[at] ^= 1
        with pytest.raises(ProtocolError, match="signature_mismatch"):
            verify_signed(read_signed(bytes(changed)), public)


def test_a_signature_of_another_length_or_curve_does_not_verify():
    small, large = signed(*CURVES[0]), signed(*CURVES[1])
    for apdu, public in ((small[0], large[1]), (large[0], small[1])):
        with pytest.raises(ProtocolError, match="signature_mismatch"):
            verify_signed(read_signed(apdu), public)


def test_what_is_no_public_key_is_the_configurations_fault():
    apdu, public = signed(*CURVES[0])
    for wrong in (public[1:], public[:-1] + bytes((public[-1] ^ 1,)), b""):
        with pytest.raises(ContractError):
            verify_signed(read_signed(apdu), wrong)


def test_a_signed_apdu_cut_anywhere_is_an_error():
    apdu, _ = signed(*CURVES[0])
    for stop in range(len(apdu)):
        with pytest.raises(ProtocolError):
            read_signed(apdu[:stop])
