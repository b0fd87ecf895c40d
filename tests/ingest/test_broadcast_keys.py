"""A meter's own broadcast key and the group's: two keys, two counters, and one after the other."""

import numpy as np
import polars as pl
import pytest

from ingest.decode import Decoded, decode_frames
from ingest.dlms.framing import wrap_wpdu
from ingest.dlms.security import protect
from ingest.key_book import import_keys, of_kind, revoke_keys, rotate_keys
from ingest.key_files import parse_clear
from ingest.key_rows import KeyRows
from ingest.keyring import Keyring
from ingest.replay import Windows
from schemas.errors import ContractError
from tests.ingest.fleet import (
    AK,
    EK,
    TITLE,
    enrolled,
    frames,
    interval_rows,
    meters,
    notification,
    reasons,
    usual_rows,
)

GROUP, OWN, NEXT = (bytes(range(first, first + 16)) for first in (0x30, 0x60, 0x90))
NOBODY = bytes(8)


def of(title: bytes, ek: bytes, kind: str = "gbek") -> KeyRows:
    return of_kind(parse_clear(f"system_title,ek,ak\n{title.hex()},{ek.hex()},{AK.hex()}\n"), kind)


def number(title: bytes) -> np.ndarray:
    return np.array([int.from_bytes(title, "big")], np.uint64)


WITH_GROUP = import_keys(of(TITLE, EK, "guek"), of(NOBODY, GROUP))
WITH_OWN = import_keys(WITH_GROUP, of(TITLE, OWN))
OWN_REVOKED = revoke_keys(WITH_OWN, number(TITLE), "gbek", newest_too=True)


def sent(counters: list[int], ek: bytes, book: KeyRows, windows: Windows, control: int = 0x70) -> Decoded:
    """What broadcast messages of these counters decode to, each with a value of its own."""
    apdus = [notification(interval_rows(usual_rows(1, values=(counter, int(ek[0]))))) for counter in counters]
    messages = [
        wrap_wpdu(protect(apdu, system_title=TITLE, control=control, counter=counter, ek=ek, ak=AK))
        for apdu, counter in zip(apdus, counters, strict=True)
    ]
    registry = meters(enrolled(security_min=control & 0x30))
    return decode_frames(frames(*messages), Keyring(book), windows, registry)


def test_a_meter_that_gets_a_broadcast_key_of_its_own_counts_anew():
    before = sent([998, 999, 1000], GROUP, WITH_GROUP, Windows.empty())
    assert before.counts.decoded == 3 and set(before.seen["key_id"]) == {"gbek/group/1"}
    after = sent([1, 2, 3, 1000, 1001], OWN, WITH_OWN, before.windows)
    assert after.counts.decoded == 5 and set(after.seen["key_id"]) == {"gbek/own/1"}
    assert reasons(sent([998], GROUP, WITH_OWN, after.windows)) == ["tag_mismatch"]


def test_the_group_s_key_serves_a_meter_whose_own_are_all_revoked_and_its_counters_go_on():
    begun = sent([998, 999], GROUP, WITH_GROUP, Windows.empty())
    owned = sent([5000], OWN, WITH_OWN, begun.windows)
    again = sent([999, 1000], GROUP, OWN_REVOKED, owned.windows)
    assert (again.counts.duplicates, again.counts.decoded, reasons(again)) == (1, 1, [])
    assert reasons(sent([5001], OWN, OWN_REVOKED, again.windows)) == ["key_revoked"]
    found = Keyring(OWN_REVOKED).candidates(TITLE, broadcast=True)
    assert [(keys.key_id, keys.revoked) for keys in found] == [("gbek/group/1", False), ("gbek/own/1", True)]


def test_an_untagged_message_is_opened_by_the_group_s_key_beside_a_revoked_one():
    assert sent([7], GROUP, OWN_REVOKED, Windows.empty(), 0x60).counts.decoded == 1
    assert reasons(sent([7], OWN, OWN_REVOKED, Windows.empty(), 0x60)) == ["key_revoked"]


def test_where_the_group_has_no_valid_key_either_the_meter_s_own_is_told_as_revoked():
    nobody = revoke_keys(OWN_REVOKED, number(NOBODY), "gbek", newest_too=True)
    for ring in (
        nobody,
        revoke_keys(import_keys(of(TITLE, EK, "guek"), of(TITLE, OWN)), number(TITLE), "gbek", newest_too=True),
    ):
        assert reasons(sent([1], OWN, ring, Windows.empty())) == ["key_revoked"]


def test_a_version_that_is_valid_keeps_the_group_s_key_away():
    renewed = rotate_keys(WITH_OWN, of(TITLE, NEXT), revoking_old=True)
    found = Keyring(renewed).candidates(TITLE, broadcast=True)
    assert [(keys.key_id, keys.revoked) for keys in found] == [("gbek/own/2", False), ("gbek/own/1", True)]
    assert reasons(sent([1], GROUP, renewed, Windows.empty())) == ["tag_mismatch"]


@pytest.mark.parametrize("book", [WITH_GROUP, WITH_OWN, OWN_REVOKED])
def test_windows_that_were_stored_under_the_old_name_protect_under_the_new_ones(book: KeyRows):
    """Whose a `gbek/1` was is not known any more: what was recorded then passes under neither name."""
    ek, now = (OWN, "gbek/own/1") if book is WITH_OWN else (GROUP, "gbek/group/1")
    saved = sent([998, 999, 1000], ek, book, Windows.empty()).windows.to_frame()
    old = saved.with_columns(key_id=pl.lit("gbek/1"))
    windows = Windows.from_frame(old)
    again = sent([900, 999, 1000, 1001], ek, book, windows)
    assert (reasons(again), again.counts.duplicates, again.counts.decoded) == (["replay"], 2, 1)
    assert set(windows.to_frame()["key_id"]) == {"gbek/own/1", "gbek/group/1"}
    assert Windows.from_frame(windows.to_frame()) == windows
    both = pl.concat([old, again.seen.select(old.columns)])
    assert set(again.seen["key_id"]) == {now} and Windows.from_frame(both) == again.windows
    assert sent([900, 999, 1000, 1001], ek, book, Windows.from_frame(both)).counts.duplicates == 3


def test_a_reused_counter_that_was_stored_under_the_old_name_still_holds_both_keys():
    once = sent([1000], GROUP, WITH_GROUP, Windows.empty()).windows.to_frame().with_columns(key_id=pl.lit("gbek/1"))
    marked = once.vstack(once.with_columns(counter=pl.lit(-1001, pl.Int64), digest=pl.lit(7, pl.UInt64)))
    windows = Windows.from_frame(marked)
    for ek, book in ((GROUP, WITH_GROUP), (OWN, WITH_OWN)):
        assert reasons(sent([1001], ek, book, windows)) == ["quarantined"]


def test_other_names_are_loaded_as_they_were_stored():
    saved = sent([5], GROUP, WITH_GROUP, Windows.empty()).windows.to_frame()
    names = ["guek/1", "gbek", "gbek/", "gbek/own/2", "wrapped/1/00000000000000aa"]
    rows = pl.concat([saved.with_columns(key_id=pl.lit(name)) for name in names])
    assert sorted(Windows.from_frame(rows).to_frame()["key_id"]) == sorted(names)


def test_a_broadcast_key_of_a_meter_that_is_the_group_s_too_is_refused():
    """Under two names it would have two windows: what was recorded as the group's would pass as the meter's own."""
    for book, new in (
        (WITH_GROUP, of(TITLE, GROUP)),
        (import_keys(of(TITLE, EK, "guek"), of(TITLE, OWN)), of(NOBODY, OWN)),
    ):
        with pytest.raises(ContractError, match=r"4d4d4d0000bc614e.*gbek/1.*the group's gbek/1"):
            import_keys(book, new)
    gone = rotate_keys(WITH_GROUP, of(NOBODY, NEXT), revoking_old=True)
    with pytest.raises(ContractError, match="the group's gbek/1"):
        import_keys(gone, of(TITLE, GROUP))
    with pytest.raises(ContractError, match="the group's gbek/2"):
        rotate_keys(OWN_REVOKED, of(NOBODY, OWN))
    twice = WITH_OWN._replace(
        material=np.where((WITH_OWN.titles == 0)[:, None], WITH_OWN.material[-1], WITH_OWN.material)
    )
    for revoked in (False, True):
        book = twice._replace(revoked=(twice.titles != 0) & (twice.kinds == 1) & revoked)
        with pytest.raises(ContractError, match=TITLE.hex()):
            Keyring(book)
