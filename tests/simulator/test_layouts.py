"""Bytes of the layouts against vectors written by hand, and against another implementation."""

from datetime import datetime
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.dlms.cosem import decode_date_time
from ingest.dlms.framing import wrap_wpdu
from ingest.dlms.security import protect
from schemas.codes import Channel
from simulator.grid import clock_octets
from simulator.layouts import (
    ProfileShape,
    RowsShape,
    encode_event_code,
    encode_obis_rows,
    encode_profile,
    encode_radio_gasp,
)
from simulator.protection import Ciphers, protected_wpdus

EK, AK = bytes(range(16)), bytes(range(0xD0, 0xE0))
CLOCK = bytes.fromhex("07EA03020101000000FFC400")
NAME = b"AMI1000000000001"


def _rows(octets: bytes, count: int = 1) -> np.ndarray:
    return np.frombuffer(octets * count, dtype=np.uint8).reshape(count, -1)


def test_the_generic_push_is_the_one_of_the_contract() -> None:
    message = encode_profile(
        ProfileShape("generic", 2, 16, 2),
        [_rows(CLOCK), _rows(NAME)],
        _rows(CLOCK * 2).reshape(1, 2, 12),
        np.array([[0, 0x24]], dtype=np.uint8),
        np.array([[[1, 2], [0x01020304, 0]]]),
    )
    row = "0204 090C 07EA03020101000000FFC400 11"
    by_hand = (
        "0F00000001 0C 07EA03020101000000FFC400 0203 0910" + NAME.hex() + "0906 0100630100FF 0102"
        f"{row}00 0600000001 0600000002 {row}24 0601020304 0600000000"
    )
    assert message.tobytes() == bytes.fromhex(by_hand)


def test_nulls_stand_for_clocks_that_follow_and_values_that_stay() -> None:
    message = encode_profile(
        ProfileShape("profile_cumulative", 2, 16, 2, (False, True)),
        [_rows(CLOCK), _rows(NAME)],
        _rows(CLOCK * 2).reshape(1, 2, 12),
        np.zeros((1, 2), dtype=np.uint8),
        np.array([[[7, 9], [8, 9]]]),
    )
    assert message.tobytes().endswith(bytes.fromhex("0600000007 0600000009 0204 00 1100 0600000008 00"))


def test_rows_describe_themselves() -> None:
    shape = RowsShape(16, (Channel.ENERGY_DELIVERED,), 1, 8, -3)
    message = encode_obis_rows(shape, _rows(NAME), _rows(CLOCK), np.array([[5]]), np.array([[2301]]))
    by_hand = (
        "0F00000001 00 0104 0202 0906 00002A0000FF 0910"
        + NAME.hex()
        + "0202 0906 0000010000FF 090C"
        + CLOCK.hex()
        + "0203 0906 0100010800FF 15 0000000000000005 0202 0FFD 161E"
        "0203 0906 0100200700FF 12 08FD 0202 0FFF 1623"
    )
    assert message.tobytes() == bytes.fromhex(by_hand)


def test_a_gasp_of_a_radio_has_the_form_seen_in_the_field() -> None:
    message = encode_radio_gasp(_rows(CLOCK), _rows(NAME)).tobytes()
    assert message == bytes.fromhex("C2010C" + CLOCK.hex() + "0001 808080808000 02 0910" + NAME.hex())
    code = encode_event_code(_rows(CLOCK), 2).tobytes()
    assert code == bytes.fromhex("C2010C" + CLOCK.hex() + "0001 0000600B00FF 02 1102")


@given(st.integers(1, 300), st.integers(0, 2**32 - 1))
def test_protection_by_columns_is_the_codecs_protection(size: int, counter: int) -> None:
    apdu, title = bytes(n % 251 for n in range(size)), b"AMI\x00\x00\x00\x00\x07"
    titles, meter = _rows(bytes(8) + title).reshape(2, 8), np.array([1])
    ciphers = Ciphers(_rows(EK, 2), _rows(AK, 2))
    sent = protected_wpdus(_rows(apdu), meter, titles, np.array([counter]), ciphers)
    expected = protect(apdu, system_title=title, control=0x30, counter=counter, ek=EK, ak=AK)
    assert sent.tobytes() == wrap_wpdu(expected)


def test_keys_do_not_show() -> None:
    assert "0001020304" not in repr(Ciphers(_rows(EK), _rows(AK)))


@given(
    st.integers(1_500_000_000, 2_000_000_000),
    st.sampled_from(["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "Etc/UTC"]),
)
def test_a_clock_by_columns_is_the_instant_to_the_codec(second: int, timezone: str) -> None:
    octets = clock_octets(np.array([second * 1_000_000 + 250_000]), timezone, 0x02)[0].tobytes()
    decoded = decode_date_time(octets)
    assert decoded.utc is not None
    assert decoded.utc.timestamp() == second + 0.25
    summer = datetime.fromtimestamp(second, ZoneInfo(timezone)).dst()
    assert decoded.status == (0x82 if summer else 0x02)


def test_another_implementation_reads_the_ciphered_push() -> None:
    dlms_cosem = pytest.importorskip("dlms_cosem", reason="the oracle is not installed")
    from dlms_cosem import security
    from dlms_cosem.protocol import xdlms

    message = encode_profile(
        ProfileShape("interval_milli", 1, 16, 1),
        [_rows(CLOCK), _rows(NAME)],
        _rows(CLOCK).reshape(1, 1, 12),
        np.zeros((1, 1), dtype=np.uint8),
        np.array([[[123_456_789_012]]]),
    )
    sent = protected_wpdus(
        message, np.array([0]), _rows(b"AMI\x00\x00\x00\x00\x07"), np.array([9]), Ciphers(_rows(EK), _rows(AK))
    )
    sealed = xdlms.GeneralGlobalCipher.from_bytes(sent.tobytes()[8:])
    control = security.SecurityControlField.from_bytes(b"\x30")
    plain = security.decrypt(
        security_control=control,
        system_title=sealed.system_title,
        invocation_counter=sealed.invocation_counter,
        key=EK,
        cipher_text=sealed.ciphered_text,
        auth_key=AK,
    )
    assert plain == message.tobytes()
    assert dlms_cosem is not None
    body = xdlms.DataNotification.from_bytes(plain).body
    assert (123_456_789_012).to_bytes(8, "big") in body
