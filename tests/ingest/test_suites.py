"""Security suites and kinds of protection through `decode_frames`; general-ciphering by kind of key."""

import numpy as np
import pytest

from ingest.dlms.framing import wrap_wpdu
from ingest.dlms.security import protect
from ingest.key_files import parse_wrapped, render_wrapped
from ingest.key_rows import BROADCAST, KeyRows
from ingest.keyring import Keyring
from ingest.replay import Windows
from tests.ingest.fleet import (
    AK,
    EK,
    TITLE,
    decode,
    decode_frames,
    enrolled,
    frames,
    interval_rows,
    meters,
    notification,
    reasons,
    usual_rows,
)

APDU = notification(interval_rows(usual_rows()))
LONG_EK, LONG_AK = bytes(range(32)), bytes(range(0xC0, 0xE0))


@pytest.mark.parametrize("suite", [0, 1, 2])
@pytest.mark.parametrize("kind", [0x10, 0x20, 0x30])
def test_each_suite_and_kind_of_protection_is_read_and_says_whether_it_proves_anything(suite: int, kind: int) -> None:
    ek, ak = (LONG_EK, LONG_AK) if suite == 2 else (EK, AK)
    keys = f"system_title,ek,ak\n{TITLE.hex()},{ek.hex()},{ak.hex()}\n"
    sealed = protect(APDU, system_title=TITLE, control=kind | suite, counter=9, ek=ek, ak=ak)
    decoded = decode(wrap_wpdu(sealed), keys=keys, registry=meters(enrolled(security_min=kind)))
    assert decoded.intervals.height == 8 and decoded.counts[:4] == (1, 1, 0, 0)
    assert decoded.seen.height == (kind != 0x20)
    flipped = sealed[:-1] + bytes((sealed[-1] ^ 1,))
    if kind != 0x20:
        assert reasons(decode(wrap_wpdu(flipped), keys=keys, registry=meters(enrolled(security_min=kind)))) == [
            "tag_mismatch"
        ]


def test_a_broadcast_message_is_opened_by_the_broadcast_key_alone() -> None:
    title = np.array([int.from_bytes(TITLE, "big")] * 2, np.uint64)
    other = bytes(range(0x50, 0x60))
    material = np.frombuffer(EK + AK + other + AK, np.uint8).reshape(2, 32)
    rows = KeyRows(
        title, np.array([0, BROADCAST], np.uint8), np.array([1, 1], np.uint16), np.zeros(2, np.bool_),
        np.ones(2, np.bool_), np.full(2, 16, np.uint8), material,
    )  # fmt: skip
    kek = bytes(16)
    ring = Keyring(parse_wrapped(render_wrapped(rows, kek), kek))
    results = {}
    for name, key in (("broadcast", other), ("unicast", EK)):
        sealed = wrap_wpdu(protect(APDU, system_title=TITLE, control=0x70, counter=9, ek=key, ak=AK))
        results[name] = decode_frames(frames(sealed), ring, Windows.empty(), meters())
    assert results["broadcast"].intervals.height == 8
    assert results["broadcast"].seen["key_id"].to_list() == ["gbek/own/1"]
    assert reasons(results["unicast"]) == ["tag_mismatch"]
