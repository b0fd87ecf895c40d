"""What an attacker can do to a good message, through `decode_frames`: each has its reason, its bytes, and no row."""

from collections.abc import Callable

import pytest

from ingest.dlms.data import Data, Tag
from ingest.dlms.framing import wrap_wpdu
from ingest.dlms.security import protect
from tests.ingest.fleet import AK, EK, TITLE, decode, enrolled, event, interval_rows, meters, notification, sealed
from tests.ingest.fleet import usual_rows as rows

APDU = notification(interval_rows(rows()))
GOOD = sealed(APDU, 7)
CONTROL_AT = 8 + 1 + 9 + 2  # wrapper, tag, title with its length, content length in two octets
TAG_AT = len(GOOD) - 12
WRONG_KEY = bytes(range(0x70, 0x80))


def changed(at: int, to: int | None = None) -> bytes:
    octet = GOOD[at] ^ 1 if to is None else to
    return GOOD[:at] + bytes((octet,)) + GOOD[at + 1 :]


def shorter(octets: int) -> bytes:
    """The tag cut by some octets, every length made to fit."""
    apdu = bytearray(GOOD[8 : len(GOOD) - octets])
    assert apdu[10] == 0x81  # length of the content, long form
    apdu[11] -= octets
    return wrap_wpdu(bytes(apdu))


def sealed_with(ek: bytes, ak: bytes, control: int = 0x30) -> bytes:
    return wrap_wpdu(protect(APDU, system_title=TITLE, control=control, counter=7, ek=ek, ak=ak))


FORGERIES: dict[str, tuple[Callable[[], bytes], str]] = {
    "another encryption key": (lambda: sealed_with(WRONG_KEY, AK), "tag_mismatch"),
    "another authentication key": (lambda: sealed_with(EK, WRONG_KEY), "tag_mismatch"),
    "a flipped bit of the first ciphertext octet": (lambda: changed(CONTROL_AT + 5), "tag_mismatch"),
    "a flipped bit of the last ciphertext octet": (lambda: changed(TAG_AT - 1), "tag_mismatch"),
    "a flipped bit of the tag's first octet": (lambda: changed(TAG_AT), "tag_mismatch"),
    "a flipped bit of the tag's last octet": (lambda: changed(len(GOOD) - 1), "tag_mismatch"),
    "a flipped bit of the counter": (lambda: changed(CONTROL_AT + 4), "tag_mismatch"),
    "a system title nobody knows": (lambda: changed(12), "key_unknown"),
    "a tag cut short": (lambda: wrap_wpdu(GOOD[8:-1]), "axdr_truncated"),
    "a tag cut off": (lambda: wrap_wpdu(GOOD[8:-12]), "axdr_truncated"),
    "a tag cut short, lengths made to fit": (lambda: shorter(4), "tag_mismatch"),
    "a tag cut off, lengths made to fit": (lambda: shorter(12), "tag_mismatch"),
    "the security byte lowered to encryption alone": (lambda: changed(CONTROL_AT, 0x20), "downgrade"),
    "the security byte lowered to authentication alone": (lambda: changed(CONTROL_AT, 0x10), "downgrade"),
    "the security byte lowered to nothing": (lambda: changed(CONTROL_AT, 0x00), "downgrade"),
    "another suite": (lambda: changed(CONTROL_AT, 0x31), "tag_mismatch"),
    "a suite with keys of another length": (lambda: changed(CONTROL_AT, 0x32), "key_unknown"),
    "a suite that does not exist": (lambda: changed(CONTROL_AT, 0x33), "security_unsupported"),
    "the compression bit set": (lambda: changed(CONTROL_AT, 0xB0), "compression_unsupported"),
    "a broadcast key the meter has not": (lambda: changed(CONTROL_AT, 0x70), "key_unknown"),
    "honestly sent with encryption alone": (lambda: sealed_with(EK, AK, 0x20), "downgrade"),
    "honestly sent with authentication alone": (lambda: sealed_with(EK, AK, 0x10), "downgrade"),
    "in the clear": (lambda: wrap_wpdu(APDU), "downgrade"),
    "an event in the clear, which names nobody": (
        lambda: wrap_wpdu(event("0.0.96.11.0.255", Data(Tag.UINT8, 1))),
        "identity",
    ),
}


def test_the_message_that_is_forged_is_good() -> None:
    decoded = decode(GOOD)
    assert GOOD[CONTROL_AT] == 0x30 and decoded.counts[:4] == (1, 1, 0, 0) and decoded.intervals.height == 8


@pytest.mark.parametrize("name", FORGERIES)
def test_a_forgery_is_rejected_for_its_reason_and_leaves_nothing(name: str) -> None:
    make, reason = FORGERIES[name]
    forged = make()
    decoded = decode(forged)
    assert decoded.rejects.select("reason", "payload").rows() == [(reason, forged)]
    assert decoded.counts[:4] == (1, 0, 1, 0) and decoded.counts.fusible <= (reason == "key_unknown")
    assert decoded.intervals.is_empty() and decoded.reads.is_empty() and decoded.events.is_empty()
    assert decoded.seen.is_empty() and decoded.windows.to_frame().is_empty()


def test_forgeries_take_no_good_message_beside_them_along() -> None:
    batch = [each for make, _ in FORGERIES.values() for each in (make(), GOOD)]
    decoded = decode(*batch)
    assert decoded.rejects["reason"].to_list() == [reason for _, reason in FORGERIES.values()]
    assert decoded.counts[:4] == (len(batch), 1, len(FORGERIES), len(FORGERIES) - 1)


def test_the_tag_alone_is_asked_of_a_meter_that_may_send_in_the_clear_inside() -> None:
    low = meters(enrolled(security_min=0x10))
    good = sealed_with(EK, AK, 0x10)
    assert decode(good, registry=low).counts[:4] == (1, 1, 0, 0)
    flipped = good[:40] + bytes((good[40] ^ 1,)) + good[41:]
    assert decode(flipped, registry=low).rejects["reason"].to_list() == ["tag_mismatch"]
