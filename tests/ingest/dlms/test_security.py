"""Protection: each attack on a ciphered message ends in its own reason."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.dlms.security import is_ciphered, protect, read_header, unprotect
from schemas.codes import RejectReason
from schemas.errors import ContractError, ProtocolError

EK, AK = bytes(range(16)), bytes(range(0xD0, 0xE0))
TITLE = bytes.fromhex("4D4D4D0000BC614E")
PLAIN = bytes.fromhex("0F800000010C07E503070211262600FF8880020209060100010800FF06000004D2")


def ciphered(control=0x30, plain=PLAIN, ek=EK, ak=AK):
    return protect(plain, system_title=TITLE, control=control, counter=0x01234567, ek=ek, ak=ak)


def refusal(apdu, ek=EK, ak=AK):
    with pytest.raises(ProtocolError) as caught:
        unprotect(apdu, read_header(apdu), ek, ak)
    assert "0102" not in caught.value.detail
    return caught.value.reason


@given(st.binary(max_size=400), st.sampled_from([0x00, 0x10, 0x20, 0x30, 0x70, 0x31, 0x51]), st.integers(0, 2**32 - 1))
def test_what_is_protected_is_opened_again(plain, control, counter):
    apdu = protect(plain, system_title=TITLE, control=control, counter=counter, ek=EK, ak=AK)
    header = read_header(apdu)
    assert is_ciphered(apdu)
    assert (header.counter, header.authenticated, header.encrypted) == (counter, bool(control & 16), bool(control & 32))
    assert header.content_stop - header.content_at == len(plain)
    assert unprotect(apdu, header, EK, AK) == plain


@pytest.mark.parametrize("control", [0x10, 0x30])
def test_any_flipped_bit_of_content_or_tag_is_a_mismatch(control):
    apdu = ciphered(control)
    content_at = read_header(apdu).content_at
    for at in range(content_at, len(apdu)):
        flipped = bytearray(apdu)
        flipped[at] ^= 0x80
        assert refusal(bytes(flipped)) is RejectReason.TAG_MISMATCH


def test_a_wrong_key_of_either_kind_is_a_mismatch():
    assert refusal(ciphered(), ek=bytes(16)) is RejectReason.TAG_MISMATCH
    assert refusal(ciphered(), ak=bytes(16)) is RejectReason.TAG_MISMATCH


def test_a_changed_header_is_a_mismatch():
    apdu = ciphered()
    for at, octet in ((3, apdu[3] ^ 1), (11, 0x31), (11, 0x70), (14, apdu[14] ^ 1)):
        changed = bytearray(apdu)
        changed[at] = octet
        assert refusal(bytes(changed)) is RejectReason.TAG_MISMATCH


def test_a_downgraded_control_byte_is_seen_in_the_header():
    apdu = bytearray(ciphered())
    apdu[11] = 0x20
    header = read_header(bytes(apdu))
    assert not header.authenticated
    assert unprotect(bytes(apdu), header, EK, None)[: len(PLAIN)] == PLAIN


def test_a_truncated_tag_never_verifies():
    apdu = ciphered()
    content = apdu[11:]
    for cut in range(1, 13):
        short = apdu[:10] + bytes((len(content) - cut,)) + content[:-cut]
        assert refusal(short) is RejectReason.TAG_MISMATCH


def test_what_cannot_be_undone_says_which_kind_it_is():
    for control, reason in (
        (0xB0, RejectReason.COMPRESSION_UNSUPPORTED),
        (0x33, RejectReason.SECURITY_UNSUPPORTED),
        (0x3F, RejectReason.SECURITY_UNSUPPORTED),
    ):
        apdu = bytearray(ciphered())
        apdu[11] = control
        assert refusal(bytes(apdu)) is reason


def test_a_missing_or_short_key_is_a_key_unknown_and_no_skipped_tag():
    assert refusal(ciphered(), ak=None) is RejectReason.KEY_UNKNOWN
    assert refusal(ciphered(), ek=EK[:15]) is RejectReason.KEY_UNKNOWN
    assert refusal(ciphered(), ak=b"") is RejectReason.KEY_UNKNOWN
    assert unprotect(ciphered(0x20), read_header(ciphered(0x20)), EK, None) == PLAIN


def test_a_header_cut_anywhere_is_an_error_at_a_byte():
    apdu = ciphered()
    for stop in range(len(apdu)):
        with pytest.raises(ProtocolError) as caught:
            read_header(apdu[:stop])
        assert 0 <= caught.value.at <= stop
    with pytest.raises(ProtocolError, match="trailing_bytes"):
        read_header(apdu + b"\x00")


def test_a_system_title_has_eight_octets():
    with pytest.raises(ProtocolError, match="apdu_malformed"):
        read_header(b"\xdb\x09" + TITLE + b"\x00" + ciphered()[10:])
    assert read_header(b"\xdb\x00" + ciphered()[10:]).system_title is None


def test_wrong_lengths_are_the_writers_fault():
    for wrong in ({"ek": EK[1:]}, {"ak": AK[1:]}, {"system_title": TITLE[1:]}, {"control": 0x33}, {"control": 0xB0}):
        with pytest.raises(ContractError):
            protect(PLAIN, **{"system_title": TITLE, "control": 0x30, "counter": 1, "ek": EK, "ak": AK, **wrong})
