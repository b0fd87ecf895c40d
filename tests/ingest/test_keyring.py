"""Keys: found by title, two versions, revoked, wrapped at rest; and never shown."""

import pickle
import traceback

import numpy as np
import pytest
from cryptography.hazmat.primitives.keywrap import aes_key_wrap
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.key_files import parse_clear, parse_wrapped, parse_wrapped_parts, render_wrapped
from ingest.key_rows import BROADCAST, KeyRows
from ingest.key_wrap import unwrap_keys, wrap_keys
from ingest.keyring import Keyring
from schemas.errors import ContractError
from tests.ingest.fleet import AK, EK, KEYS, TITLE

KEK = bytes(range(32))
LONG = bytes(range(32))


def rows(*keys: tuple[bytes, int, int, bool, bytes, bytes | None]) -> KeyRows:
    """Rows of (title, kind, version, revoked, ek, ak)."""
    half = max((len(ek) for *_, ek, _ in keys), default=16)
    material = np.zeros((len(keys), 2 * half), np.uint8)
    for at, (*_, ek, ak) in enumerate(keys):
        material[at, : len(ek)] = np.frombuffer(ek, np.uint8)
        if ak is not None:
            material[at, half : half + len(ak)] = np.frombuffer(ak, np.uint8)
    return KeyRows(
        np.array([int.from_bytes(key[0], "big") for key in keys], np.uint64),
        np.array([key[1] for key in keys], np.uint8),
        np.array([key[2] for key in keys], np.uint16),
        np.array([key[3] for key in keys], np.bool_),
        np.array([key[5] is not None for key in keys], np.bool_),
        np.array([len(key[4]) for key in keys], np.uint8),
        material,
    )


def test_a_key_is_found_by_its_title_and_by_no_other():
    ring = Keyring.from_csv(KEYS)
    keys = ring.find(TITLE)
    assert keys is not None and (keys.ek, keys.ak) == (EK, AK)
    assert ring.find(b"\0" * 8) is None and ring.find(TITLE, broadcast=True) is None
    assert Keyring.empty().find(TITLE) is None


def test_an_empty_authentication_key_is_none_and_long_keys_serve_suite_2():
    text = f"system_title,ek,ak\n{TITLE.hex()},{LONG.hex()},\n{b'SHORTKEY'.hex()},{EK.hex()},{AK.hex()}\n"
    ring = Keyring.from_csv(text)
    long, short = ring.find(TITLE), ring.find(b"SHORTKEY")
    assert long is not None and short is not None
    assert (long.ek, long.ak, short.ek, short.ak) == (LONG, None, EK, AK)


def test_versions_come_newest_first_and_a_revoked_one_is_passed_over():
    ring = Keyring(
        rows((TITLE, 0, 1, False, EK, AK), (TITLE, 0, 2, True, AK, EK), (TITLE, BROADCAST, 1, False, AK, AK))
    )
    assert [keys.key_id for keys in ring.candidates(TITLE)] == ["guek/2", "guek/1"]
    assert [keys.key_id for keys in ring.candidates(TITLE, broadcast=True)] == ["gbek/own/1"]
    found = ring.find(TITLE)
    assert found is not None and found.key_id == "guek/1"


def test_a_group_s_broadcast_key_serves_meters_without_their_own():
    ring = Keyring(rows((bytes(8), BROADCAST, 1, False, EK, AK), (TITLE, 0, 1, False, AK, AK)))
    found = ring.find(TITLE, broadcast=True)
    assert found is not None and found.ek == EK


def test_two_keys_of_one_kind_and_version_are_refused():
    with pytest.raises(ContractError, match=TITLE.hex()):
        Keyring.from_csv(f"system_title,ek,ak\n{TITLE.hex()},{EK.hex()},\n{TITLE.hex()},{AK.hex()},\n")


@settings(max_examples=30)
@given(st.lists(st.binary(min_size=16, max_size=16) | st.binary(min_size=32, max_size=32), min_size=1, max_size=6))
def test_wrapping_agrees_with_the_library_s_key_wrap(keys):
    for size in (16, 32):
        same = [key for key in keys if len(key) == size]
        if same:
            matrix = np.frombuffer(b"".join(same), np.uint8).reshape(-1, size)
            wrapped = wrap_keys(matrix, KEK)
            assert [row.tobytes() for row in wrapped] == [aes_key_wrap(KEK, key) for key in same]
            assert (unwrap_keys(wrapped, KEK) == matrix).all()


def test_a_wrapped_file_comes_back_and_holds_no_key_in_clear():
    clear = rows((TITLE, 0, 1, True, EK, AK), (TITLE, 0, 2, False, LONG, None), (TITLE, 1, 1, False, EK, AK))
    text = render_wrapped(clear, KEK)
    assert EK.hex() not in text and AK.hex() not in text
    ring, again = Keyring(clear), Keyring(parse_wrapped(text, KEK))
    for broadcast in (False, True):
        pairs = zip(
            ring.candidates(TITLE, broadcast=broadcast), again.candidates(TITLE, broadcast=broadcast), strict=True
        )
        for one, other in pairs:
            assert (one.ek, one.ak, one.key_id, one.revoked) == (other.ek, other.ak, other.key_id, other.revoked)


def test_another_kek_or_a_changed_byte_is_refused():
    text = render_wrapped(parse_clear(KEYS), KEK)
    with pytest.raises(ContractError, match="KEK"):
        parse_wrapped(text, bytes(32))
    at = text.rindex(",") - 1
    changed = text[:at] + ("0" if text[at] != "0" else "1") + text[at + 1 :]
    with pytest.raises(ContractError, match="KEK"):
        parse_wrapped(changed, KEK)


def test_an_error_names_the_line_of_the_file_whatever_part_it_stands_in():
    keys = [f"{at:016x},{'00' * 15}{at:02x},{AK.hex() if at % 2 else ''}" for at in range(1, 10)]
    lines = render_wrapped(parse_clear("system_title,ek,ak\n" + "\n".join(keys)), KEK).splitlines(keepends=True)
    whole = parse_wrapped_parts(["".join(lines[:4]).encode(), "".join(lines[4:]).encode()], KEK)
    assert (whole.titles == np.arange(1, 10)).all() and whole.has_ak.tolist() == [at % 2 == 1 for at in range(1, 10)]
    ek_wrapped = lines[7].split(",")[4]
    last = "0" if ek_wrapped[-1] != "0" else "1"
    for text, named in (
        (lines[7].replace(ek_wrapped, ek_wrapped[:-1] + last), "line 8: a key not wrapped under this KEK"),
        (lines[7].replace(ek_wrapped, ek_wrapped[:-1] + "g"), "line 8, field 'ek_wrapped'"),
        (lines[7].replace(ek_wrapped, ek_wrapped[:-2]), "line 8, field 'ek_wrapped'"),
        (lines[7].replace(ek_wrapped, " " + ek_wrapped[:-1]), "line 8, field 'ek_wrapped'"),
        (lines[7].replace("active", "activ"), "line 8, field 'status'"),
        (lines[7].replace("guek,1,", "guek,0,"), "line 8, field 'version'"),
        (lines[7].replace("guek,1,", "guek,,"), "line 8, field 'version'"),
        ("x" + lines[7][1:], "line 8, field 'system_title'"),
    ):
        parts = ["".join(lines[:4]).encode(), "".join([*lines[4:7], text, *lines[8:]]).encode()]
        with pytest.raises(ContractError, match=named):
            parse_wrapped_parts(parts, KEK)


@pytest.mark.parametrize("text", [
    f"system_title,ek,ak\n{TITLE.hex()},{EK.hex()}FF,\n",
    f"system_title,ek,ak\n{TITLE.hex()},{EK.hex()[:-1]} ,\n",
    f"system_title,ek,ak\n{TITLE.hex()},,\n",
    f"system_title,ek,ak\n{TITLE.hex()}00,{EK.hex()},\n",
    f"system_title,ek,ak\n{TITLE.hex()},{EK.hex()},{AK.hex()[:10]}\n",
    f"system_title,ek,ak\n{TITLE.hex()},{EK.hex()},{AK.hex()},{AK.hex()}\n",
    f"system_title,key\n{TITLE.hex()},{EK.hex()}\n",
    f"{TITLE.hex()},{EK.hex()},{AK.hex()}\n",
])  # fmt: skip
def test_a_bad_key_file_is_refused_without_showing_what_stands_in_it(text):
    with pytest.raises(ContractError) as caught:
        Keyring.from_csv(text)
    shown = "".join(traceback.format_exception(caught.value)).lower()
    assert EK.hex() not in shown and AK.hex() not in shown


def test_no_object_shows_a_key():
    ring = Keyring.from_csv(KEYS)
    keys = ring.find(TITLE)
    for each in (ring, keys, parse_clear(KEYS)):
        for shown in (repr(each), str(each), f"{each}"):
            assert EK.hex() not in shown.lower() and AK.hex() not in shown.lower() and repr(EK) not in shown
            assert str(list(EK))[1:-1] not in shown
    with pytest.raises(ContractError):
        pickle.dumps(ring)


SHARED = bytes(range(0x30, 0x40))


@pytest.mark.parametrize("ak", [AK, None, bytes(range(0x80, 0x90))])
@pytest.mark.parametrize("broadcast_title", [TITLE, bytes(8)])
def test_one_encryption_key_as_unicast_and_as_broadcast_key_of_a_meter_is_refused(broadcast_title, ak):
    other = bytes.fromhex("4D4D4D0000BC6150")
    held = [(other, 0, 1, False, AK, AK), (TITLE, 0, 1, False, EK, AK), (TITLE, 0, 2, False, SHARED, AK)]
    with pytest.raises(ContractError) as caught:
        Keyring(rows(*held, (broadcast_title, 1, 3, False, SHARED, ak)))
    told = str(caught.value)
    assert TITLE.hex() in told and "guek/2" in told and "gbek/3" in told and "--revoke-old" in told
    assert SHARED.hex() not in told
    assert ("the group's" in told) == (broadcast_title != TITLE)


def test_a_key_that_another_meter_has_as_its_own_or_that_is_revoked_may_be_a_broadcast_key():
    other = bytes.fromhex("4D4D4D0000BC6150")
    for held in (
        [(other, 0, 1, False, SHARED, AK), (TITLE, 0, 1, False, EK, AK), (TITLE, 1, 1, False, SHARED, AK)],
        [(TITLE, 0, 1, True, SHARED, AK), (TITLE, 0, 2, False, EK, AK), (TITLE, 1, 1, False, SHARED, AK)],
        [(TITLE, 0, 1, False, SHARED, AK), (TITLE, 1, 1, True, SHARED, AK), (TITLE, 1, 2, False, EK, AK)],
        [(TITLE, 0, 1, False, SHARED, AK), (bytes(8), 1, 1, True, SHARED, AK), (TITLE, 2, 1, False, SHARED, None)],
    ):
        assert len(Keyring(rows(*held))) == len(held)
