"""Ciphered messages of a batch, whatever stands beside them: each opens as it does alone, or is refused alone."""

import random

import numpy as np
import pytest

from ingest.ciphers import Ciphers
from ingest.dlms.security import protect
from ingest.faults import NO_FAULT, REASONS, Faults
from ingest.key_files import parse_clear
from ingest.key_rows import join_rows
from ingest.keyring import Keyring
from ingest.protection import open_all
from ingest.security_headers import read_headers
from ingest.spans import Spans

TITLES = [b"SIM" + number.to_bytes(5, "big") for number in range(6)]
CONTROLS = [0x30, 0x10, 0x20, 0x31, 0x00]
WIDE = 5
"""The last title has keys of suite 2."""


def pair_of(meter):
    octets = 32 if meter == WIDE else 16
    return bytes((17 * meter + step) % 256 for step in range(octets)), bytes(
        (40 * meter + step) % 256 for step in range(octets)
    )


def keyring(room=None):
    rows = [f"{title.hex()},{pair_of(meter)[0].hex()},{pair_of(meter)[1].hex()}" for meter, title in enumerate(TITLES)]
    ring = Keyring.from_csv("system_title,ek,ak\n" + "\n".join(rows) + "\n")
    if room is not None:
        ring._ciphers = Ciphers(room)
    return ring


def messages(count, seed):
    """Plaintexts of many lengths (whole blocks and none among them), sealed, every fifth one damaged in its tag."""
    rng = random.Random(seed)
    made = []
    for number in range(count):
        meter = rng.randrange(len(TITLES))
        control = 0x32 if meter == WIDE else rng.choice(CONTROLS)
        plain = rng.randbytes(rng.choice([0, 1, 15, 16, 17, 31, 32, 33, 47, 48, 100, 160]))
        ek, ak = pair_of(meter)
        sealed = protect(plain, system_title=TITLES[meter], control=control, counter=number, ek=ek, ak=ak)
        damaged = control & 0x10 > 0 and number % 5 == 0
        made.append((sealed[:-1] + bytes((sealed[-1] ^ 0x80,)) if damaged else sealed, None if damaged else plain))
    return made


def opened(sealed, ring):
    faults = Faults(len(sealed))
    apdus = Spans.of_bytes(sealed)
    found = open_all(apdus, read_headers(apdus, faults), ring, faults)
    reasons = [None if reason == NO_FAULT else REASONS[reason].value for reason in faults.reason.tolist()]
    return found, reasons


@pytest.mark.parametrize("room", [None, 0, 2], ids=["ciphers kept", "none kept", "two kept"])
@pytest.mark.parametrize("plain_beside", [False, True])
def test_each_message_of_a_batch_opens_as_it_was_sealed_or_is_refused_alone(room, plain_beside):
    made = messages(300, 3) + [(b"\x0f\x00\x00\x00\x01\x00\x00", b"\x0f\x00\x00\x00\x01\x00\x00")] * plain_beside
    random.Random(4).shuffle(made)
    ring = keyring(room)
    for _ in range(2):  # the second time with what was kept
        found, reasons = opened([sealed for sealed, _ in made], ring)
        for row, (sealed, plain) in enumerate(made):
            assert reasons[row] == (None if plain is not None else "tag_mismatch")
            if plain is not None:
                assert found.apdus.message(row) == plain
                assert found.authenticated[row] == (sealed[0] == 0xDB and sealed[11 + (sealed[10] > 0x7F)] & 0x10 > 0)


def test_the_digest_is_the_head_of_the_tag_and_nothing_without_one():
    made = [sealed for sealed, plain in messages(50, 5) if plain is not None]
    found, _ = opened(made, keyring())
    for row, sealed in enumerate(made):
        wanted = int.from_bytes(sealed[-12:-4], "big") if found.authenticated[row] else 0
        assert int(found.digest[row]) == wanted


def test_no_cipher_and_no_keyring_shows_a_key():
    ring = keyring()
    opened([sealed for sealed, _ in messages(20, 6)], ring)
    ciphers = ring.ciphers_at(np.arange(len(TITLES)))
    shown = repr(ciphers) + repr(ring) + repr(ring._ciphers)
    for meter in range(len(TITLES)):
        for key in pair_of(meter):
            assert key.hex() not in shown and repr(key) not in shown


OLD, NEW, OTHER = (bytes((fill,)) * 16 for fill in (1, 2, 3))
PUSH = bytes.fromhex("0F00000001000203") + bytes(range(40))


def rotating(*revoked):
    """A ring whose first title has two versions of its key."""
    rows = [parse_clear(f"system_title,ek,ak\n{TITLES[0].hex()},{key.hex()},{OTHER.hex()}\n") for key in (OLD, NEW)]
    numbered = [
        one._replace(versions=one.versions + number, revoked=one.revoked | (number in revoked))
        for number, one in enumerate(rows)
    ]
    return Keyring(join_rows(numbered))


@pytest.mark.parametrize("control", [0x20, 0x30])
@pytest.mark.parametrize("key", [OLD, NEW], ids=["old", "new"])
def test_both_keys_of_a_rotation_open_what_was_sealed_with_them_with_a_tag_or_without(control, key):
    """Without a tag nothing but the beginning of the message tells which of them it was."""
    sealed = [
        protect(PUSH + bytes((n,)), system_title=TITLES[0], control=control, counter=n, ek=key, ak=OTHER)
        for n in range(50)
    ]
    found, reasons = opened(sealed, rotating())
    assert reasons == [None] * 50
    assert [found.apdus.message(n) for n in range(50)] == [PUSH + bytes((n,)) for n in range(50)]


@pytest.mark.parametrize("control", [0x20, 0x30])
def test_a_revoked_key_of_a_rotation_is_refused_and_the_other_goes_on(control):
    sealed = [
        protect(PUSH, system_title=TITLES[0], control=control, counter=n, ek=key, ak=OTHER)
        for n, key in enumerate((OLD, NEW))
    ]
    assert opened(sealed, rotating(1))[1] == [None, "key_revoked"]
    assert opened(sealed, rotating(0))[1] == ["key_revoked", None]


def test_what_begins_as_no_apdu_under_any_key_is_what_the_newest_makes_of_it():
    sealed = protect(b"\xff" * 30, system_title=TITLES[0], control=0x20, counter=1, ek=NEW, ak=OTHER)
    found, reasons = opened([sealed], rotating())
    assert (found.apdus.message(0), reasons) == (b"\xff" * 30, [None])
