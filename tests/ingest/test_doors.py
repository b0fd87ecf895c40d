"""Everything that a meter may push, written by hand, through both doors: `decode_frames` and `ami inspect`."""

import itertools
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.keywrap import aes_key_wrap
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from ingest.decode import Decoded, decode_frames
from ingest.inspect import inspect_bytes
from ingest.kafka.records import Records, frames_of_records
from ingest.key_book import import_keys, of_kind
from ingest.key_files import parse_clear
from ingest.key_rows import KIND_NAMES, NO_KEYS, join_rows
from ingest.keyring import Keyring
from ingest.meter_types import BUILT_IN, MeterTypes, parse_types
from ingest.replay import MAX_WRAPPED, Streams, Windows
from ingest.sources import cut_bin
from tests.ingest import by_hand as hand
from tests.ingest.fleet import AK, EK, KEYS, NAME, TITLE, decode, enrolled, frames, meters, reasons
from tests.ingest.test_make_switches import CURVES, signed

AT = datetime(2026, 3, 2, 1, tzinfo=UTC)
ROW = [(NAME, "energy_delivered", AT, hand.VALUE * 1000)]
PLAIN = meters(enrolled(system_title=None, security_min=0))
LONG_EK, LONG_AK = bytes(range(32)), bytes(range(0xC0, 0xE0))
BROADCAST_EK, MASTER, OWN = (bytes(range(first, first + 16)) for first in (0x50, 0x60, 0x70))
GROUPS = [hand.hdlc_address(17, octets) for octets in (1, 2, 4)]


def of_record(value: bytes, registry: pl.DataFrame = PLAIN, ring: Keyring | None = None, **sender: str) -> Decoded:
    """What the value of one Kafka message decodes to."""
    raw = frames_of_records(Records("ami.frames.v1", 0, [0], [int(AT.timestamp() * 1000)], [value]))
    raw = raw.with_columns(sender=pl.lit(sender["sender"])) if sender else raw
    return decode_frames(raw, Keyring.from_csv(KEYS) if ring is None else ring, Windows.empty(), registry)


def rows_of(decoded: Decoded) -> list[tuple]:
    return decoded.reads.select("meter_id", pl.col("channel").cast(pl.String), "read_at", "value_milli").rows()


def inspected(
    value: bytes, ring: Keyring | None = None, types: MeterTypes | None = None, **sender: bytes
) -> list[dict]:
    return inspect_bytes(value, file="f.bin", hex_lines=False, keyring=ring, types=types, **sender)


def energy_of(said: dict) -> object:
    return next(each["value"] for each in said["values"] if each["obis"] == "1-0:1.8.0.255")


def links(apdu: bytes) -> dict[str, bytes]:
    """The APDU by every link."""
    short = [hand.wrapper(block) for block in hand.blocks(apdu, 20)]
    return {
        "wrapper": hand.wrapper(apdu),
        "wrapper of odd ports": hand.wrapper(apdu, 0x67, 0x66),
        **{
            f"HDLC, client in {len(client)}, server in {len(server)} octets": b"".join(
                hand.hdlc_segments(apdu, 500, client=client, server=server)
            )
            for client, server in itertools.product(GROUPS, GROUPS)
        },
        **{f"HDLC in segments of {room}": b"".join(hand.hdlc_segments(apdu, room)) for room in (5, 20, 33, 70)},
        "HDLC, control 03": hand.hdlc(b"\xe6\xe7\x00" + apdu, control=3),
        "HDLC, control 10": hand.hdlc(b"\xe6\xe7\x00" + apdu, control=0x10),
        "HDLC, LLC of the client": hand.hdlc(b"\xe6\xe6\x00" + apdu),
        "HDLC, segments that share a flag": b"\x7e"
        + b"\x7e".join(frame[1:-1] for frame in hand.hdlc_segments(apdu, 40))
        + b"\x7e",
        "HDLC, a flag inside": hand.hdlc(b"\xe6\xe7\x00" + apdu[:1] + b"\x7e\x7e\x7e\x7e" + apdu[5:]),
        "M-Bus, one telegram": hand.mbus(apdu)[0],
        **{f"M-Bus, telegrams of {room}": b"".join(hand.mbus(apdu, room)) for room in (10, 40)},
        "LLC of the server": b"\xe6\xe7\x00" + apdu,
        "LLC of the client": b"\xe6\xe6\x00" + apdu,
        "APDU alone": apdu,
        "blocks in WPDUs": b"".join(short),
        "blocks out of order": b"".join((*short[3:], *short[2::-1])),
        "blocks, some twice": b"".join((short[0], *short[:3], short[1], *short[3:])),
        "a block a frame, LLC in the first": b"".join(
            hand.hdlc((b"" if number else b"\xe6\xe7\x00") + block)
            for number, block in enumerate(hand.blocks(apdu, 30))
        ),
        "blocks, each in HDLC segments": b"".join(
            frame for block in hand.blocks(apdu, 30) for frame in hand.hdlc_segments(block, 9)
        ),
        "blocks in M-Bus telegrams": b"".join(hand.mbus(block)[0] for block in hand.blocks(apdu, 30)),
    }


SHORT_BLOCKS = [hand.wrapper(block) for block in hand.blocks(hand.PUSH, 20)]
LINKS = links(hand.PUSH)
VALUE_AT = len(hand.PUSH) - 11
BROKEN = links(hand.PUSH[:VALUE_AT] + b"\x07" + hand.PUSH[VALUE_AT + 1 :])
"""The tag of the value is one that A-XDR does not know."""


@pytest.mark.parametrize("name", LINKS)
def test_every_link_brings_the_same_push_through_both_doors(name: str) -> None:
    value = LINKS[name]
    for raw in (of_record(value), decode_frames(cut_bin(value, "f"), Keyring.empty(), Windows.empty(), PLAIN)):
        assert rows_of(raw) == ROW and raw.counts[:4] == (1, 1, 0, 0)
    (said,) = inspected(value)
    assert energy_of(said) == hand.VALUE and said["date_time"] == "2026-03-02T01:00:00Z"
    assert said["quirks"] == (["hdlc_control_10"] if name == "HDLC, control 10" else [])


@pytest.mark.parametrize("name", LINKS)
def test_a_link_cut_short_anywhere_is_a_reject_with_its_bytes_and_takes_nothing_along(name: str) -> None:
    value = LINKS[name]
    good = hand.wrapper(hand.PUSH.replace(b"\x06\x00\x01\xe2\x40", b"\x06\x00\x00\x00\x01"))
    for stop in range(1, len(value), 7):
        decoded = of_record(value[:stop])
        assert decoded.counts.decoded == 0 and decoded.counts.rejected == decoded.counts.frames >= 1, stop
        kept = b"".join(decoded.rejects["payload"])  # flags between frames are fill, one may close and open
        assert kept.replace(b"\x7e", b"") == value[:stop].replace(b"\x7e", b"")
    if "alone" not in name and not name.startswith("LLC"):  # these have no length of their own
        decoded = of_record(value + good)
        assert [milli for *_, milli in rows_of(decoded)] == [hand.VALUE * 1000, 1000]


@pytest.mark.parametrize("name", BROKEN)
def test_a_reject_names_the_byte_of_its_own_payload_as_inspect_does(name: str) -> None:
    decoded = of_record(BROKEN[name])
    (said,) = inspected(BROKEN[name])
    assert decoded.rejects.select("reason", "at").rows() == [("axdr_tag", said["error"]["at"])]
    assert decoded.rejects["payload"][0][said["error"]["at"]] == 7


@pytest.mark.parametrize("name", ["glo", "by service", "general-ciphering", "signed", "refused values"])
def test_a_reject_of_what_was_sealed_names_the_octet_that_holds_the_byte(name: str) -> None:
    bad = hand.PUSH[:VALUE_AT] + b"\x07" + hand.PUSH[VALUE_AT + 1 :]
    sealed = {
        "glo": hand.general(bad),
        "by service": hand.by_service(0xCA, bad),
        "general-ciphering": hand.general_ciphering(bad, b"\x00"),
        "signed": bad,
        "refused values": hand.general(hand.PUSH[:-4] + b"\x0f\xf6\x16\x1e"),  # scaler -10: no whole thousandths
    }[name]
    if name == "signed":
        key = ec.derive_private_key(7, ec.SECP256R1())
        fields = b"\x01\x07\x08" + TITLE + b"\x00\x00\x00" + hand.sized(sealed)
        r, s = decode_dss_signature(key.sign(fields, ec.ECDSA(SHA256())))
        sealed = b"\xdf" + fields + hand.sized(r.to_bytes(32, "big") + s.to_bytes(32, "big"))
        public = key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint).hex()
        known = Keyring.from_csv(f"system_title,ek,ak,public_key\n{TITLE.hex()},,,{public}\n")
    else:
        known = Keyring.from_csv(KEYS)
    behind = 11 if name in ("glo", "by service", "general-ciphering") else 0
    for value in (hand.wrapper(sealed), b"".join(hand.hdlc_segments(sealed, 50))):
        decoded = of_record(value, meters(), known, sender=TITLE.hex())
        (at,) = decoded.rejects["at"]
        if name == "refused values":
            assert reasons(decoded) == ["scaling"] and at > 8
            continue
        (said,) = inspected(value, known, sender=TITLE)
        assert said["error"] == {"reason": "axdr_tag", "at": at}
        if name == "signed":
            assert value[at] == 7
        elif value.startswith(b"\x00\x01"):
            assert at == len(value) - 12 - behind


@pytest.mark.parametrize(("value", "reason"), [
    (b"".join((*SHORT_BLOCKS[:2], *SHORT_BLOCKS[3:])), "block_transfer_incomplete"),
    (b"".join(SHORT_BLOCKS[:-1]), "block_transfer_incomplete"),
    (b"".join((*SHORT_BLOCKS[:2], SHORT_BLOCKS[1][:-1] + b"\x00", *SHORT_BLOCKS[2:])), "block_transfer_incomplete"),
    (b"".join(hand.hdlc_segments(hand.PUSH, 40)[:-1]), "link_incomplete"),
    (b"".join(hand.hdlc_segments(hand.PUSH, 40)[1:]), "link_incomplete"),
    (b"".join(hand.mbus(hand.PUSH, 40)[::-1]), "link_incomplete"),
    (hand.hdlc(b"\xe6\xe7\x00" + hand.PUSH, client=hand.hdlc_address(1, 3)), "link_length"),
    (hand.hdlc(b"\xe6\xe7\x00" + hand.PUSH, control=0x93), "not_dlms"),
    (hand.hdlc(b"\xe6\xe7\x00" + hand.PUSH)[:-3] + b"\x00\x00\x7e", "link_checksum"),
    (hand.mbus(hand.PUSH)[0][:-2] + b"\x00\x16", "link_checksum"),
])  # fmt: skip
def test_a_link_that_is_broken_says_how(value: bytes, reason: str) -> None:
    decoded = of_record(value)
    assert reason in reasons(decoded) and decoded.counts.decoded == 0
    assert b"".join(decoded.rejects["payload"]) == value
    assert reason in [said["error"]["reason"] for said in inspected(value)]


def test_a_wrapped_m_bus_length_is_read_by_both_doors() -> None:
    filler = b"\x02\x02\x09\x06" + bytes.fromhex("0000600100FF") + b"\x09\x81"
    apdu = hand.PUSH[:18] + b"\x01\x03" + hand.BODY[2:] + filler
    apdu += bytes((252 - len(apdu) - 1,)) + b"\x41" * (252 - len(apdu) - 1)
    (telegram,) = hand.mbus(apdu, 252)
    assert telegram[:4] == b"\x68\x01\x01\x68" and len(telegram) == 263
    assert rows_of(of_record(telegram)) == ROW
    assert inspected(telegram)[0]["quirks"] == ["mbus_length_257"]


SEALED: dict[str, tuple[bytes, str]] = {
    **{f"glo, SC {control:02X}": (hand.general(hand.PUSH, control), "guek/1") for control in (0x10, 0x20, 0x30, 0x31)},
    "glo, SC 32": (hand.general(hand.PUSH, 0x32, ek=LONG_EK, ak=LONG_AK), "guek/2"),
    "glo, broadcast": (hand.general(hand.PUSH, 0x70, ek=BROADCAST_EK), "gbek/1"),
    "ded": (hand.general(hand.PUSH, tag=0xDC), "guek/1"),
    "general-ciphering, no key information": (hand.general_ciphering(hand.PUSH, b"\x00"), "guek/1"),
    "general-ciphering, key 0": (hand.general_ciphering(hand.PUSH, b"\x01\x00\x00"), "guek/1"),
    "general-ciphering, key 1": (hand.general_ciphering(hand.PUSH, b"\x01\x00\x01", ek=BROADCAST_EK), "gbek/1"),
    "general-ciphering, SC 11": (hand.general_ciphering(hand.PUSH, b"\x01\x00\x00", 0x11), "guek/1"),
    "general-ciphering, SC 32": (
        hand.general_ciphering(hand.PUSH, b"\x01\x00\x00", 0x32, ek=LONG_EK, ak=LONG_AK), "guek/2"
    ),
    "general-ciphering, wrapped key": (
        hand.general_ciphering(hand.PUSH, b"\x01\x01\x00\x18" + aes_key_wrap(MASTER, OWN), ek=OWN), "wrapped/"
    ),
    "glo event-notification": (hand.by_service(0xCA, hand.PUSH), "guek/1"),
    "ded event-notification": (hand.by_service(0xD2, hand.PUSH), "guek/1"),
    "glo information-report": (hand.by_service(0x38, hand.PUSH), "guek/1"),
    "ded information-report": (hand.by_service(0x58, hand.PUSH), "guek/1"),
}  # fmt: skip


def ring() -> Keyring:
    """The meter's key, a newer one of suite 2, a broadcast key and a master key."""

    def clear(ek: bytes, ak: bytes | None, kind: str = "guek"):
        rows = parse_clear(f"system_title,ek,ak\n{TITLE.hex()},{ek.hex()},{'' if ak is None else ak.hex()}\n")
        return of_kind(rows, kind)

    book = import_keys(NO_KEYS, clear(EK, AK))
    newer = clear(LONG_EK, LONG_AK)
    book = join_rows([book, newer._replace(versions=newer.versions + 1)])
    for kind, ek, ak in (("gbek", BROADCAST_EK, AK), ("kek", MASTER, None)):
        book = import_keys(book, clear(ek, ak, kind))
    return Keyring(book)


@pytest.mark.parametrize("name", SEALED)
def test_every_kind_of_protection_is_opened_by_both_doors(name: str) -> None:
    apdu, key_id = SEALED[name]
    by_link = {"sender": TITLE.hex()} if "-notification" in name or "-report" in name else {}
    registry = meters(enrolled(security_min=apdu[apdu.rindex(hand.content(b"", 0x00, 1)[1:]) - 1] & 0x3F))
    decoded = of_record(hand.wrapper(apdu), registry, ring(), **by_link)
    assert rows_of(decoded) == ROW and decoded.messages["system_title"].to_list() == [TITLE.hex()]
    assert "sender" not in decoded.messages.columns
    proves = "SC 20" not in name
    assert [each.split("/")[0] for each in decoded.seen["key_id"]] == ([key_id.split("/")[0]] if proves else [])
    sender = {"sender": TITLE} if by_link else {}
    (said,) = inspected(hand.wrapper(apdu), ring(), **sender)
    assert energy_of(said) == hand.VALUE and said["authenticated"] is proves
    assert (said["system_title"], said["invocation_counter"]) == (TITLE.hex(), 1)
    flipped = hand.wrapper(apdu[:-1] + bytes((apdu[-1] ^ 1,)))
    if proves:
        assert reasons(of_record(flipped, registry, ring(), **by_link)) == ["tag_mismatch"]
        assert inspected(flipped, ring(), **sender)[0]["error"]["reason"] == "tag_mismatch"


def test_ciphered_by_service_without_a_title_from_the_link_waits_for_a_key() -> None:
    value = hand.wrapper(hand.by_service(0xCA, hand.PUSH))
    assert reasons(of_record(value, meters(), ring())) == ["key_unknown"]
    assert reasons(of_record(value, meters(), ring(), sender="00000000000000ff")) == ["key_unknown"]
    wrong = KEYS.splitlines()[2].split(",")[0]
    assert reasons(of_record(value, meters(), Keyring.from_csv(KEYS), sender=wrong)) == ["tag_mismatch"]
    assert inspected(value, ring())[0]["error"]["reason"] == "key_unknown"


def test_the_link_s_word_is_no_proof_for_a_plain_message() -> None:
    unnamed = hand.wrapper(hand.PUSH[:18] + b"\x01\x01" + hand.BODY[30:])
    registry = meters(enrolled(security_min=0))
    assert reasons(of_record(unnamed, registry, ring(), sender=TITLE.hex())) == ["identity"]


def test_a_key_that_comes_wrapped_is_judged_by_counters_of_its_own() -> None:
    info = [b"\x01\x01\x00\x18" + aes_key_wrap(MASTER, own) for own in (OWN, EK)]
    one, other = (
        hand.general_ciphering(hand.PUSH, each, counter=0, ek=own) for each, own in zip(info, (OWN, EK), strict=True)
    )
    batch = [hand.wrapper(apdu) for apdu in (one, other, one)]
    decoded = of_record(b"".join(batch), meters(enrolled(security_min=0x30)), ring())
    assert decoded.counts[:4] == (3, 2, 0, 1)
    assert decoded.seen["key_id"].n_unique() == 2
    unwrapped = hand.general_ciphering(hand.PUSH, b"\x01\x01\x00\x18" + bytes(24), ek=OWN)
    assert reasons(of_record(hand.wrapper(unwrapped), meters(), ring())) == ["tag_mismatch"]
    assert reasons(of_record(batch[0], meters(), Keyring.from_csv(KEYS))) == ["key_unknown"]


def test_a_recorded_message_does_not_pass_by_another_way_to_write_where_its_key_is() -> None:
    wrapped = aes_key_wrap(MASTER, OWN)
    forms = [
        b"\x01\x01\x00\x18",
        b"\x01\x01\x00\x81\x18",
        b"\x01\x01\x00\x82\x00\x18",
        b"\x01\x01\x07\x18",
        b"\xff\x01\x00\x18",
    ]
    sent = [hand.wrapper(hand.general_ciphering(hand.PUSH, form + wrapped, ek=OWN)) for form in forms]
    decoded = of_record(b"".join(sent), meters(), ring())
    assert decoded.counts[:4] == (5, 1, 0, 4) and rows_of(decoded) == ROW


def test_a_key_that_the_meter_has_anyway_is_the_same_when_it_comes_wrapped() -> None:
    """Key information is under no tag: a recorded message could say that its key came with it."""
    identified, brought = (
        hand.wrapper(hand.general_ciphering(hand.PUSH, info))
        for info in (b"\x01\x00\x00", b"\x01\x01\x00\x18" + aes_key_wrap(MASTER, EK))
    )
    for sent in ((identified, brought), (brought, identified)):
        assert of_record(b"".join(sent), meters(), ring()).counts[:4] == (2, 1, 0, 1)
    newer, master = (parse_clear(f"system_title,ek,ak\n{TITLE.hex()},{ek.hex()},{AK.hex()}\n") for ek in (OWN, MASTER))
    book = join_rows([parse_clear(KEYS), newer._replace(versions=newer.versions + 1), of_kind(master, "kek")])
    book = book._replace(revoked=(book.kinds == 0) & (book.versions == 1))
    assert reasons(of_record(identified + brought, meters(), Keyring(book))) == ["key_revoked"] * 2


def test_a_meter_that_has_brought_its_fill_of_keys_is_told_to_get_a_new_master_key() -> None:
    names = tuple(f"wrapped/1/{key + 1:016x}" for key in range(MAX_WRAPPED))
    many = np.arange(MAX_WRAPPED)
    title, lane = np.full(MAX_WRAPPED, int.from_bytes(TITLE, "big"), np.uint64), np.zeros(MAX_WRAPPED, np.int64)
    brought = Streams(title, many, lane, lane, many.astype(np.uint64), names, ("ami.frames.v1",))
    _, windows = Windows.empty().judge(brought)
    one_more = hand.wrapper(hand.general_ciphering(hand.PUSH, b"\x01\x01\x00\x18" + aes_key_wrap(MASTER, OWN), ek=OWN))
    held = hand.wrapper(hand.general_ciphering(hand.PUSH, b"\x00", counter=2))
    decoded = decode_frames(frames(one_more, held), ring(), windows, meters())
    assert reasons(decoded) == ["keys_exhausted"] and decoded.counts == (2, 1, 1, 0, 0)
    assert decoded.seen["key_id"].to_list() == ["guek/1"] and len(decoded.windows) == MAX_WRAPPED + 1


def test_a_key_that_comes_wrapped_is_known_by_its_pair_whatever_kind_and_version_has_it() -> None:
    """Broadcast keys too; and of two versions that share the encryption key the one whose tag it is."""
    recorded = b"\x01\x00\x01", b"\x01\x01\x00\x18" + aes_key_wrap(MASTER, BROADCAST_EK)
    sent = [hand.wrapper(hand.general_ciphering(hand.PUSH, info, ek=BROADCAST_EK)) for info in recorded]
    assert of_record(b"".join(sent), meters(), ring()).counts[:4] == (2, 1, 0, 1)
    renewed, master = (
        parse_clear(f"system_title,ek,ak\n{TITLE.hex()},{ek.hex()},{OWN.hex()}\n") for ek in (EK, MASTER)
    )
    book = join_rows([parse_clear(KEYS), renewed._replace(versions=renewed.versions + 1), of_kind(master, "kek")])
    infos = b"\x01\x00\x00", b"\x01\x01\x00\x18" + aes_key_wrap(MASTER, EK)
    for ak, key_id in ((AK, "guek/1"), (OWN, "guek/2")):
        sent = [hand.wrapper(hand.general_ciphering(hand.PUSH, info, ak=ak)) for info in infos]
        decoded = of_record(b"".join(sent), meters(), Keyring(book))
        assert decoded.counts[:4] == (2, 1, 0, 1) and decoded.seen["key_id"].to_list() == [key_id]


@pytest.mark.parametrize(("apdu", "reason"), [
    (hand.general_ciphering(hand.PUSH, b"\x01\x02\x01\x01\x00"), "agreed_key_unsupported"),
    (hand.general_ciphering(hand.PUSH, b"\x01\x03\x00"), "apdu_malformed"),
    (hand.general(hand.PUSH, 0xB0), "compression_unsupported"),
    (hand.general(hand.PUSH, 0x33), "security_unsupported"),
    (b"\xdb" + hand.sized(TITLE[:7]) + hand.sized(hand.content(hand.PUSH, 0x30, 1)), "apdu_malformed"),
    (b"\xc8" + hand.sized(hand.content(hand.PUSH, 0x30, 1)), "apdu_unsupported"),
    (b"\x60\x00", "apdu_unsupported"),
    (b"\x55\x00", "unknown_apdu"),
])  # fmt: skip
def test_what_is_not_opened_is_refused_by_its_own_reason(apdu: bytes, reason: str) -> None:
    assert reasons(of_record(hand.wrapper(apdu), meters(), ring())) == [reason]
    (said,) = inspected(hand.wrapper(apdu), ring())
    assert said["error"]["reason"] == reason
    if reason == "agreed_key_unsupported":
        assert (said["system_title"], said["security"], said["invocation_counter"]) == (TITLE.hex(), "31", 1)


LISTED = parse_types(
    '[[meter_type]]\nname = "listed"\nscalers = { "1.8.0" = 0, "2.8.0" = 0 }\n'
    '[[meter_type.list]]\nvalues = ["1-0:1.8.0.255", "1-0:2.8.0.255"]\n'
    '[[meter_type.list]]\nvalues = ["1-0:1.8.0.255"]\n'
)
U32 = b"\x06" + hand.VALUE.to_bytes(4, "big")
ANSWERS = {
    "get-response, normal": (bytes.fromhex("C401C100") + U32, [hand.VALUE]),
    "get-response with list": (bytes.fromhex("C403C10200") + U32 + b"\x00\x11\x07", [hand.VALUE, 7]),
    "get-response with list, a result": (bytes.fromhex("C403C10200") + U32 + b"\x01\x03", [hand.VALUE, None]),
    "get-response with datablock": (
        bytes.fromhex("C402C1010000000100") + hand.sized(U32), [hand.VALUE]
    ),
    "get-response with list by datablock": (
        bytes.fromhex("C402C1010000000100") + hand.sized(b"\x02\x00" + U32 + b"\x01\x03"), [hand.VALUE, None]
    ),
    "access-response": (bytes.fromhex("DA00000001000002") + U32 + b"\x11\x07" + bytes.fromhex("0201000100"),
                        [hand.VALUE, 7]),
    "information-report": (bytes.fromhex("1800020200080200100002")[:9] + b"\x02" + U32 + b"\x11\x07", [hand.VALUE, 7]),
}  # fmt: skip


@pytest.mark.parametrize("name", ANSWERS)
def test_answers_without_names_are_read_by_the_list_of_the_meter_s_type(name: str) -> None:
    apdu, expected = ANSWERS[name]
    sent = hand.wrapper(hand.general(apdu))
    decoded = decode(sent, registry=meters(enrolled(meter_type="listed")), types=LISTED)
    milli = [None if value is None else value * 1000 for value in expected]
    assert decoded.reads["value_milli"].to_list() == milli and decoded.rejects.is_empty()
    assert decoded.reads["channel"].to_list() == ["energy_delivered", "energy_received"][: len(milli)]
    assert set(reasons(decode(sent))) == {"layout_unknown"}
    (said,) = inspected(hand.wrapper(apdu))
    assert [(each["obis"], each["value"]) for each in said["values"]] == [(None, value) for value in expected]


def test_datablocks_of_a_get_response_are_joined() -> None:
    sent = [
        hand.wrapper(bytes.fromhex(f"C402C1{number - 1:02X}{number:08X}00") + hand.sized(half))
        for number, half in enumerate((U32[:2], U32[2:]), 1)
    ]
    (said,) = inspected(b"".join(sent))
    assert said["data"] == hand.VALUE and said["frames"] == 2
    listed = b"\x02\x00" + U32 + b"\x00\x11\x07"
    blocks = [
        hand.wrapper(bytes.fromhex(f"C402C1{number - 1:02X}{number:08X}00") + hand.sized(part))
        for number, part in enumerate((listed[:4], listed[4:]), 1)
    ]
    (said,) = inspected(b"".join(blocks))
    assert said["data"] == [hand.VALUE, 7]
    decoded = of_record(sent[0] + hand.wrapper(hand.PUSH))
    assert reasons(decoded) == ["block_transfer_incomplete"] and rows_of(decoded) == ROW


NUMBERS: dict[str, tuple[str, int | str]] = {
    "u8": ("1107", 7_000), "u16": ("120102", 258_000), "u32": ("0600000007", 7_000),
    "u64": ("150000000000000007", 7_000), "i8": ("0FF9", -7_000), "i16": ("10FFF9", -7_000),
    "i32": ("05FFFFFFF9", -7_000), "i64": ("14FFFFFFFFFFFFFFF9", -7_000), "enum": ("1607", 7_000),
    "BCD": ("0D12", 12_000), "float32": ("1740B00000", 5_500), "float64": ("184016000000000000", 5_500),
    "boolean": ("0301", 1_000), "null": ("00", "null"), "don't care": ("FF", "null"),
    "float32, no whole thousandth": ("173DCCCCCD", "scaling"), "u64 beyond 63 bits": ("15FFFFFFFFFFFFFFFF", "scaling"),
    "delta i8": ("1C05", "layout_unknown"), "delta i16": ("1D0005", "layout_unknown"),
    "delta i32": ("1E00000005", "layout_unknown"), "delta u8": ("1F05", "layout_unknown"),
    "delta u16": ("200005", "layout_unknown"), "delta u32": ("2100000005", "layout_unknown"),
    "compact array": ("13 11 01 07", 7_000),
}  # fmt: skip


@pytest.mark.parametrize("kind", NUMBERS)
def test_each_tag_of_a_number_becomes_its_thousandths_or_says_why_not(kind: str) -> None:
    octets, expected = NUMBERS[kind]
    body = hand.BODY[:30] + bytes.fromhex("0203 0906 0100010800FF" + octets + "0202 0F00 161E")
    decoded = of_record(hand.wrapper(hand.PUSH[:18] + body))
    milli = [expected] if isinstance(expected, int) else [None] if expected == "null" else []
    assert decoded.reads["value_milli"].to_list() == milli
    assert reasons(decoded) == ([] if milli else [expected])


TEXTS = {
    "bit string": ("0408A5", "10100101"), "octet string": ("0903616263", "616263"), "visible": ("0A03616263", "abc"),
    "UTF-8": ("0C02C3A9", "é"), "date-time": ("19" + hand.CLOCK.hex(), hand.CLOCK.hex()),
    "date": ("1A07EA030201", "07ea030201"), "time": ("1B01020304", "01020304"),
    "compact array of structures": ("130202121106000102000304", [[1, 2], [3, 4]]), "float32": ("1740B00000", 5.5),
    "delta i8": ("1CFB", -5), "array": ("01021101 1102", [1, 2]), "longer length form": ("09820003616263", "616263"),
}  # fmt: skip


@pytest.mark.parametrize("kind", TEXTS)
def test_each_other_tag_is_shown_by_inspect_and_takes_no_number_along(kind: str) -> None:
    octets, expected = TEXTS[kind]
    row = bytes.fromhex("0202 0906 00006001FFFF" + octets)
    sent = hand.wrapper(hand.PUSH[:18] + b"\x01\x03" + hand.BODY[2:] + row)
    (said,) = inspected(sent)
    assert said["values"][-1]["value"] == expected
    assert rows_of(of_record(sent))[:1] == ROW


def test_a_profile_s_null_short_and_delta_rows_are_resolved_over_a_change_of_the_clock() -> None:
    def row(*cells: str) -> bytes:
        return bytes((0x02, len(cells))) + b"".join(bytes.fromhex(cell) for cell in cells)

    first = "090C 07EA0A1907 02 2D 00 00 FF88 80".replace(" ", "")  # 02:45 summer time, 00:45 UTC; the hour repeats
    rows = [
        row(first, "1100", "0600000064", "12FFFE", "10FFFF"),
        row("00", "00", "1C05", "1F03", "1D8000"),  # deltas: +5; +3 wraps in 16 bits; -32768 wraps
        row("00", "1100", "00", "120007"),  # the last column left out
        row("00", "00", "21FFFFFFFF", "00", "100001"),  # an unsigned delta only adds, and wraps
    ]
    names = b"\x09\x10" + NAME.encode() + bytes.fromhex("09060100630100FF")
    push = hand.PUSH[:5] + b"\x00\x02\x03" + names + b"\x01\x04" + b"".join(rows)
    channels = ["energy_delivered", "energy_received", "power_delivered"]
    decoded = decode(hand.wrapper(hand.general(push)), registry=meters(enrolled(channels=channels)))
    assert decoded.rejects.is_empty()
    found = decoded.intervals.select("interval_start", pl.col("value_milli")).rows()
    start = datetime(2026, 10, 25, 0, 30, tzinfo=UTC)
    wanted = [[100, 0xFFFE, -1], [105, 1, 32767], [105, 7, 32767], [104, 7, 1]]
    assert found == [
        (start + timedelta(minutes=15 * at), value * 1000) for at, values in enumerate(wanted) for value in values
    ]


def test_a_built_in_type_reads_everything_strictly() -> None:
    assert {quirk for each in BUILT_IN.by_name.values() for quirk in each.quirks} == set()
    assert KIND_NAMES == ("guek", "gbek", "kek")


def test_both_doors_take_who_signed_for_the_sender_of_what_he_ciphered_by_service() -> None:
    message, public = signed(hand.by_service(0xCA, hand.PUSH), *CURVES[0])
    keys = Keyring.from_csv(f"system_title,ek,ak,public_key\n{TITLE.hex()},{EK.hex()},{AK.hex()},{public}\n")
    assert rows_of(of_record(hand.wrapper(message), meters(), keys)) == ROW
    (said,) = inspected(hand.wrapper(message), keys)
    assert energy_of(said) == hand.VALUE and (said["system_title"], said["invocation_counter"]) == (TITLE.hex(), 1)


def test_both_doors_open_what_brings_its_key_to_a_meter_of_which_only_the_master_key_is_held() -> None:
    only = of_kind(parse_clear(f"system_title,ek,ak\n{TITLE.hex()},{MASTER.hex()},\n"), "kek")
    info = b"\x01\x01\x00\x18" + aes_key_wrap(MASTER, OWN)
    unproven, proven = (hand.general_ciphering(hand.PUSH, info, control, ek=OWN) for control in (0x20, 0x30))
    registry, keys = meters(enrolled(security_min=0x20)), Keyring(only)
    assert rows_of(of_record(hand.wrapper(unproven), registry, keys)) == ROW
    (said,) = inspected(hand.wrapper(unproven), keys)
    assert energy_of(said) == hand.VALUE and said["authenticated"] is False
    assert reasons(of_record(hand.wrapper(proven), registry, keys)) == ["key_unknown"]
    assert inspected(hand.wrapper(proven), keys)[0]["error"]["reason"] == "key_unknown"


@pytest.mark.parametrize(("info", "control", "reason"), [
    (b"\x01\x02\x01\x01\x04abcd", 0x31, "agreed_key_unsupported"),
    (b"\x01\x02\x01\x01\x04abcd", 0xB5, "agreed_key_unsupported"),
    (b"\x00", 0xB1, "compression_unsupported"), (b"\x00", 0x35, "security_unsupported"),
])  # fmt: skip
def test_what_no_key_opens_is_told_after_its_header_through_both_doors(info: bytes, control: int, reason: str) -> None:
    apdu = hand.general_ciphering(hand.PUSH, info, control=0x31, counter=77)
    at = apdu.index(b"\x31\x00\x00\x00\x4d")
    value = hand.wrapper(apdu[:at] + bytes((control,)) + apdu[at + 1 :])
    decoded = of_record(value, meters(enrolled()))
    assert decoded.rejects.select("reason", "at", "system_title").rows() == [(reason, 8 + at, TITLE.hex())]
    assert decoded.messages.select("system_title", "counter").rows() == [(TITLE.hex(), 77)]
    for ring in (None, Keyring.from_csv(KEYS)):
        (said,) = inspected(value, ring)
        assert said["error"] == {"reason": reason, "at": 8 + at}
        assert (said["system_title"], said["invocation_counter"], said["security"]) == (
            TITLE.hex(),
            77,
            f"{control:02x}",
        )


def test_a_message_whose_header_could_not_be_read_has_no_counter() -> None:
    for cut in (hand.general(hand.PUSH)[:14], hand.general_ciphering(hand.PUSH, b"\x01\x03\x00")):
        decoded = of_record(hand.wrapper(cut) + hand.wrapper(hand.general(hand.PUSH)), meters(enrolled()))
        assert decoded.messages.select("system_title", "counter").rows() == [(None, None), (TITLE.hex(), 1)]


def test_the_signer_of_a_message_in_the_clear_is_told_whatever_comes_with_it() -> None:
    message, public = signed(hand.PUSH, *CURVES[0])
    keys = Keyring.from_csv(f"system_title,ek,ak,public_key\n{TITLE.hex()},{EK.hex()},{AK.hex()},{public}\n")
    value, other = hand.wrapper(message), hand.wrapper(hand.general(hand.PUSH))
    for batch in (value, value + other):
        told = of_record(batch, meters(enrolled(security_min=0)), keys).messages
        assert told.select("system_title", "counter").row(0) == (TITLE.hex(), None)
