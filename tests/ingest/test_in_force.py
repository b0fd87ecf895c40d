"""Each message is read by the line of METERS that was in force when it was received, whenever it is decoded."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial

import numpy as np
import polars as pl
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ingest.decode import Decoded, decode_frames
from ingest.dlms.data import Data, Tag
from ingest.dlms.framing import wrap_wpdu
from ingest.enrolment import NOT_ENROLLED, Enrolment
from ingest.keyring import Keyring
from ingest.meter_types import BUILT_IN, MeterTypes, parse_types
from ingest.replay import Windows
from schemas.errors import ContractError
from schemas.frames import UTC_US
from tests.ingest import by_hand as hand
from tests.ingest.fleet import (
    AK,
    EK,
    KEYS,
    NAME,
    OTHER_NAME,
    OTHER_TITLE,
    RECEIVED,
    START,
    TITLE,
    enrolled,
    frames,
    interval_rows,
    meters,
    notification,
    register_rows,
    sealed,
    stamp,
)

RING = Keyring.from_csv(KEYS)
DAY = timedelta(days=1)
plain = partial(enrolled, system_title=None, security_min=0)


def on(day: float) -> datetime:
    """So many days after the day on which the messages of these tests are received."""
    return RECEIVED + DAY * day


def received(*messages: tuple[float, bytes]) -> pl.DataFrame:
    """RAW_FRAMES of these messages, each received on its day."""
    days = pl.Series("received_at", [on(day) for day, _ in messages], dtype=UTC_US)
    return frames(*(payload for _, payload in messages)).with_columns(days)


def read(batch: pl.DataFrame, *lines: dict, types: MeterTypes = BUILT_IN, as_of: datetime | None = None) -> Decoded:
    return decode_frames(batch, RING, Windows.empty(), Enrolment.of(meters(*lines), types, as_of), types)


def push(*values: int, name: str = NAME) -> bytes:
    """One interval that ends an hour after the start."""
    rows = [(stamp(START + timedelta(hours=1)), 0, list(values))]
    return notification(interval_rows(rows, name=name))


def registers() -> bytes:
    """A register that names no meter."""
    return notification(register_rows([("1-0:1.8.0.255", Data(Tag.UINT32, 5), (0, 30))]), START)


def lengths(decoded: Decoded) -> list[tuple]:
    return decoded.intervals.select("offset", "interval_s", "channel").sort("offset", maintain_order=True).rows()


ONE = ["energy_delivered"]
HALVES = plain(interval_s=1800, channels=ONE, installed_at=on(-400), removed_at=on(0))
QUARTERS = plain(interval_s=900, installed_at=on(0))


def test_a_line_for_tomorrow_changes_nothing_today() -> None:
    now = plain(interval_s=1800, channels=ONE, installed_at=on(-400))
    tomorrow = plain(interval_s=3600, installed_at=on(1), meter_id=NAME)
    for lines in ((now, tomorrow), (tomorrow, now)):
        decoded = read(received((0, wrap_wpdu(push(500)))), *lines)
        assert lengths(decoded) == [(0, 1800, "energy_delivered")]


@pytest.mark.parametrize("lines", [(HALVES, QUARTERS), (QUARTERS, HALVES)], ids=["in order", "newest first"])
def test_a_batch_across_an_exchange_is_read_by_both_lines(lines: tuple[dict, ...]) -> None:
    second = timedelta(seconds=1) / DAY
    old, new = wrap_wpdu(push(500)), wrap_wpdu(push(250, 7))
    batch = received((second, new), (-second, old), (0, new), (-30, old), (0, old), (-second, new))
    decoded = read(batch, *lines, plain(meter_id=OTHER_NAME))
    both = ["energy_delivered", "energy_received"]
    assert lengths(decoded) == [
        *((0, 900, channel) for channel in both), (1, 1800, ONE[0]), *((2, 900, channel) for channel in both),
        (3, 1800, ONE[0]),
    ]  # fmt: skip
    assert decoded.rejects.select("offset", "reason").rows() == [(4, "layout_unknown"), (5, "layout_unknown")]
    assert decoded.heard["meter_id"].to_list() == [NAME]
    assert decoded.dirty_days.height == 1


def test_messages_of_one_shape_are_cut_by_line_and_their_meter_is_heard_once() -> None:
    """One layout, the same instants, one zone: what is looked at once for all must still know one meter from two."""
    halves = plain(interval_s=1800, installed_at=on(-400))
    batch = received(*((day, wrap_wpdu(push(500, 7))) for day in (-1, 0, -1, 0)))
    decoded = read(batch, halves, QUARTERS)
    assert [row[1] for row in lengths(decoded)] == [1800, 1800, 900, 900, 1800, 1800, 900, 900]
    assert decoded.heard.rows() == [(NAME, START + timedelta(hours=1))]


def test_a_frame_of_last_year_is_read_with_the_line_of_last_year() -> None:
    archived = received((-300, wrap_wpdu(push(500))))
    then, now = read(archived, HALVES), read(archived, HALVES, QUARTERS)
    assert lengths(then) == [(0, 1800, "energy_delivered")]
    assert now.intervals.equals(then.intervals) and now.heard.equals(then.heard)


def test_a_meter_of_one_line_is_read_by_it_before_and_after_its_dates() -> None:
    line = plain(installed_at=on(-1), removed_at=on(1))
    decoded = read(received(*((day, wrap_wpdu(push(500, 7))) for day in (-2, 0, 2))), line)
    assert decoded.counts.decoded == 3


def test_three_lines_one_without_a_date_and_two_of_one_date_of_which_the_later_counts() -> None:
    lines = [
        plain(interval_s=300, installed_at=on(2)),
        plain(interval_s=3600, installed_at=on(1)),
        plain(interval_s=1800, installed_at=None),
        plain(interval_s=900, installed_at=on(1)),
    ]
    decoded = read(received(*((day, wrap_wpdu(push(500, 7))) for day in (-999, 0.9, 1, 1.9, 2, 99))), *lines)
    assert [row[1] for row in lengths(decoded)[::2]] == [1800, 1800, 900, 900, 300, 300]


def test_before_its_first_line_a_meter_is_read_by_that_line() -> None:
    lines = [plain(interval_s=1800, installed_at=on(1)), plain(interval_s=900, installed_at=on(2))]
    assert lengths(read(received((0, wrap_wpdu(push(500, 7)))), *lines))[0][1] == 1800


def test_messages_whose_reception_is_not_known_are_read_as_of_a_time_that_is_said_else_by_the_last_line() -> None:
    file = frames(wrap_wpdu(push(500, 7)), received=None)
    lines = [plain(interval_s=each, installed_at=on(day)) for each, day in ((1800, -1), (900, 1))]
    assert lengths(read(file, *lines))[0][1] == 900
    assert lengths(read(file, *lines, as_of=on(0)))[0][1] == 1800


def test_a_title_that_moves_is_the_one_meter_s_before_and_the_other_s_after() -> None:
    title = TITLE.hex()
    lines = [
        enrolled(meter_id=OTHER_NAME, system_title=title, installed_at=on(0)),
        enrolled(system_title=title, removed_at=on(0)),
        enrolled(meter_id="AMI0000000000003", system_title=title, installed_at=on(5), removed_at=on(6)),
    ]
    batch = received(*((day, sealed(registers(), 1 + at)) for at, day in enumerate((-9, -0.1, 0, 4, 5, 7))))
    decoded = read(batch, *(lines[0] | {"removed_at": on(5)}, *lines[1:]))
    third = lines[2]["meter_id"]
    assert decoded.reads.sort("offset")["meter_id"].to_list() == [NAME, NAME, OTHER_NAME, OTHER_NAME, third, third]
    for twins in ((lines[0], enrolled()), (lines[0], enrolled(removed_at=on(0.1))), lines):
        with pytest.raises(ContractError, match=r"belongs to .* and .* at one time: `removed_at`"):
            Enrolment.of(meters(*twins), BUILT_IN)


def test_a_name_speaks_against_a_title_by_what_both_are_when_the_message_comes() -> None:
    title = TITLE.hex()
    lines = [enrolled(system_title=title, removed_at=on(0)),
             enrolled(meter_id=OTHER_NAME, system_title=OTHER_TITLE.hex(), installed_at=on(-9)),
             enrolled(meter_id=OTHER_NAME, system_title=title, installed_at=on(0))]  # fmt: skip
    messages = [(day, sealed(push(500, 7, name=name), 1 + at)) for at, (day, name) in
                enumerate(((-1, NAME), (-1, OTHER_NAME), (1, NAME), (1, OTHER_NAME)))]  # fmt: skip
    decoded = read(received(*messages), *lines)
    assert decoded.rejects.select("offset", "reason").rows() == [(1, "identity"), (2, "identity")]
    assert decoded.intervals.select("offset", "meter_id").unique().sort("offset").rows() == [(0, NAME), (3, OTHER_NAME)]


def test_the_title_of_a_line_that_has_ended_is_no_meter_s_and_may_not_speak_for_its_meter() -> None:
    lines = [enrolled(installed_at=on(-9)), enrolled(installed_at=on(0), system_title=OTHER_TITLE.hex())]
    messages = [sealed(push(500, 7), 1), sealed(registers(), 2)]
    before = read(received(*((-1, each) for each in messages)), *lines)
    assert before.counts.decoded == 2 and before.reads["meter_id"].to_list() == [NAME]
    after = read(received(*((1, each) for each in messages)), *lines)
    assert after.rejects.select("offset", "reason").rows() == [(0, "identity")]
    assert after.reads["meter_id"].to_list() == [TITLE.hex()]  # as that of a module that METERS lacks
    new = received(*((day, sealed(push(500, 7), 3 + day, title=OTHER_TITLE)) for day in (1, -1)))
    assert read(new, *lines).rejects.select("offset", "reason").rows() == [(1, "identity")]


def test_security_that_a_later_line_asks_for_is_owed_from_then_on() -> None:
    lines = [plain(installed_at=on(-9)), plain(installed_at=on(0), security_min=0x30)]
    decoded = read(received(*((day, wrap_wpdu(push(500, 7))) for day in (-1, 0))), *lines)
    assert decoded.rejects.select("offset", "reason").rows() == [(1, "downgrade")]
    by_title = [enrolled(installed_at=on(-9), security_min=0x20), enrolled(installed_at=on(0))]
    decoded = read(received(*((day, sealed(push(500, 7), 1 + day, 0x20)) for day in (-1, 0))), *by_title)
    assert decoded.rejects.select("offset", "reason").rows() == [(1, "downgrade")]


def test_a_zone_is_that_of_the_line_for_clocks_and_days() -> None:
    lines = [plain(timezone="Europe/Berlin", installed_at=on(-9)), plain(timezone="UTC", installed_at=on(0))]
    rows = [(stamp(datetime(2026, 3, 2), None), 0, [500, 7])]
    decoded = read(received(*((day, wrap_wpdu(notification(interval_rows(rows)))) for day in (-1, 0))), *lines)
    ends = (decoded.intervals["interval_start"] + timedelta(minutes=15)).unique(maintain_order=True).to_list()
    assert ends == [datetime(2026, 3, 1, 23, tzinfo=UTC), datetime(2026, 3, 2, tzinfo=UTC)]
    assert decoded.heard.rows() == [(NAME, datetime(2026, 3, 2, tzinfo=UTC))]


SWITCHED = parse_types(
    '[[meter_type]]\nname = "polled"\nquirks = ["hdlc_numbered"]\n'
    '[[meter_type]]\nname = "gprs"\nquirks = ["title_length_doubled"]\n'
    '[[meter_type]]\nname = "swapped"\nquirks = ["obis_tag_swapped"]\n'
)


def numbered() -> bytes:
    return hand.hdlc(b"\xe6\xe7\x00" + hand.general(hand.PUSH), control=0x32)


def doubled() -> bytes:
    apdu = hand.general(hand.PUSH)
    return hand.wrapper(apdu[:1] + b"\x09" + apdu[1:])


@pytest.mark.parametrize(("kind", "message"), [("polled", numbered), ("gprs", doubled)])
def test_a_switch_of_a_meter_s_type_is_that_of_its_line(kind: str, message: Callable[[], bytes]) -> None:
    lines = [enrolled(meter_type=kind, installed_at=on(-9)), enrolled(installed_at=on(0))]
    lines.append(enrolled(meter_id=OTHER_NAME, system_title=None))
    decoded = read(received((-1, message()), (1, message())), *lines, types=SWITCHED)
    assert decoded.reads["offset"].to_list() == [0]
    assert decoded.rejects["offset"].to_list() == [1]


def test_keys_of_news_are_the_feeders_of_when_they_came() -> None:
    lines = [enrolled(feeder_id="F1", installed_at=on(-9)), enrolled(feeder_id="F2", installed_at=on(0))]
    known = Enrolment.of(meters(*lines, enrolled(meter_id=OTHER_NAME, system_title=None, feeder_id="F3")), BUILT_IN)
    ids = pl.Series([NAME, NAME, OTHER_NAME, NAME])
    at = pl.Series([on(-1), on(0), on(-1), None], dtype=UTC_US)
    assert known.keys_of(ids, at).to_list() == ["F1", "F2", "F3", "F2"]


def test_meters_of_a_line_each_are_looked_up_as_if_there_were_no_dates() -> None:
    lines = meters(enrolled(installed_at=on(0)), enrolled(meter_id=OTHER_NAME, system_title=None))
    known = Enrolment.of(lines, BUILT_IN)
    when = np.zeros(2, np.int64)
    assert known.when(when) is when
    assert not len(known.lines.following) and not len(known.lines.later.several) and not len(known.titles.later.several)


days = st.integers(0, 5)
line = st.fixed_dictionaries({
    "meter": st.sampled_from("ABCD"), "title": st.sampled_from([None, TITLE, OTHER_TITLE, EK[:8], AK[:8]]),
    "begins": st.none() | days, "lasts": st.none() | st.integers(1, 3),
})  # fmt: skip


def _succession(lines: list[dict], meter: str) -> list[dict]:
    """The lines of a meter as they follow each other, by hand."""
    by_date = {each["begins"]: each for each in lines if each["meter"] == meter}
    return [by_date[begins] for begins in sorted(by_date, key=lambda date: -1 if date is None else date)]


def _begins(each: dict) -> int:
    return -1 if each["begins"] is None else each["begins"]


def _of(ordered: list[dict], day: int) -> dict | None:
    begun = [each for each in ordered if each["begins"] is None or each["begins"] <= day]
    return begun[-1] if begun else ordered[0] if ordered else None


def _span(each: dict, lines: list[dict]) -> tuple[float, float]:
    mine = _succession(lines, each["meter"])
    behind = mine[mine.index(each) + 1 :]
    end = np.inf if each["lasts"] is None else _begins(each) + each["lasts"]
    return _begins(each), min(end, behind[0]["begins"] if behind else np.inf)


@settings(max_examples=300, deadline=None)
@given(st.lists(line, max_size=7), st.lists(st.tuples(st.sampled_from("ABCDE"), st.integers(-1, 9)), max_size=9))
def test_lines_are_found_as_by_hand(lines: list[dict], asked: list[tuple[str, int]]) -> None:
    numbered_lines = [each | {"at": f"L{at}"} for at, each in enumerate(lines)]
    counting = [each for meter in "ABCD" for each in _succession(numbered_lines, meter)]
    rows = [
        {"meter_id": each["meter"], "feeder_id": each["at"],
         "system_title": None if each["title"] is None else each["title"].hex(),
         "installed_at": None if each["begins"] is None else on(each["begins"]),
         "removed_at": None if each["lasts"] is None else on(_begins(each) + each["lasts"])}
        for each in numbered_lines
    ]  # fmt: skip
    fleet = meters(*rows) if rows else meters().clear()
    spans = [(each["title"], each["meter"], *_span(each, numbered_lines)) for each in counting if each["title"]]
    if any(a[0] == b[0] and a[1] != b[1] and a[2] < b[3] and b[2] < a[3] for a in spans for b in spans):
        with pytest.raises(ContractError, match="at one time"):
            Enrolment.of(fleet, BUILT_IN)
        return
    assume(asked)
    known = Enrolment.of(fleet, BUILT_IN)
    assert sorted(known.feeder_id.to_list()) == sorted(each["at"] for each in counting)
    when = np.array([int(on(day).timestamp()) * 1_000_000 for _, day in asked], np.int64)
    told = [None, *known.feeder_id.to_list()]
    octets = np.frombuffer("".join(name for name, _ in asked).encode(), np.uint8).reshape(-1, 1)
    wanted = [_of(_succession(numbered_lines, name), day) for name, day in asked]
    found = known.rows_of_names(octets, when)
    assert [told[row + 1] for row in found] == [each and each["at"] for each in wanted]
    assert found.tolist() == known.rows_of_ids(pl.Series([name for name, _ in asked]), when).tolist()
    for title in (TITLE, OTHER_TITLE, EK[:8], AK[:8]):
        having = [each for each in counting if each["title"] == title]
        having.sort(key=_begins)
        titles = np.full(len(asked), int.from_bytes(title, "big"), np.uint64)
        rows_found = known.rows_of_titles(titles, when)
        for row, (_, day) in zip(rows_found.tolist(), asked, strict=True):
            its = _of(having, day)
            held = its is not None and _of(_succession(numbered_lines, its["meter"]), day) is its
            assert (None if row == NOT_ENROLLED else told[row + 1]) == (its["at"] if held and its else None)


def test_a_title_that_passed_on_is_its_new_meter_s_in_a_file_too() -> None:
    """Each meter has one line, and the file says nothing of when it was received: the lines of `as_of` count."""
    old = enrolled(installed_at=on(-400), removed_at=on(-300))
    new = enrolled(meter_id=OTHER_NAME, installed_at=on(-300))
    body = notification(register_rows([("1-0:1.8.0.255", Data(Tag.UINT32, 5), (0, 30))]), START)
    unknown = frames(sealed(body, 7)).with_columns(received_at=pl.lit(None, UTC_US))
    assert read(unknown, old, new, as_of=on(1)).reads["meter_id"].to_list() == [OTHER_NAME]
    assert read(unknown, old, new, as_of=on(-350)).reads["meter_id"].to_list() == [NAME]
