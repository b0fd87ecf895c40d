"""The stage that turns messages into rows: link, protection, replay, layout, meaning; nothing is dropped.

A message becomes rows (`decoded`), is a copy of one that was seen (`duplicates`), or is a reject with its bytes
(`rejected`); a message that yields rows and a reject for a part of it counts as decoded. A message without a number
and without an event is a reject (`layout_unknown`): it has nothing to yield a row from.

Tags are verified before counters are judged, so `replay` and `nonce_reuse` are only said of bytes that the meter's own
key has made. Messages that were encrypted without a tag move no window.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from ingest.arrival import read_p1_telegrams, receive, refuse_numbered
from ingest.arrived import Arrived, Rules
from ingest.assembly import (
    Senders,
    Undecoded,
    assemble_events,
    assemble_intervals,
    assemble_reads,
    assemble_rejects,
    events_kept,
    rows_kept,
)
from ingest.blocks import NO_TIME, Cut, Events, Quantities, Refused
from ingest.clocks import Micros
from ingest.columns import NULL_NUMBER, NULL_TEXT, framed, micros_of, named, nulls, taken
from ingest.derived import dirty_days, heard_meters, lives_of
from ingest.enrolment import Enrolment
from ingest.faults import NO_FAULT, REASON_CODE, Faults
from ingest.fusible import by_reason, may_blow_fuse
from ingest.interpretation import Interpreted, interpret
from ingest.judgement import Judged, judge_batch, key_names_of, lanes_of
from ingest.keyring import Keyring
from ingest.learned import Learned
from ingest.meter_names import MeterNames
from ingest.meter_types import BUILT_IN, MeterTypes
from ingest.places import Located, Part, Parts
from ingest.protection import Opened, open_all
from ingest.replay import Windows
from ingest.security_headers import check_policy, read_headers
from ingest.spans import Flags, Places, Spans, every
from ingest.titles import titles_from_hex, titles_to_hex
from ingest.wrapped_keys import open_wrapped
from schemas.codes import RejectReason
from schemas.frames import REPLAY_WINDOWS, UTC_US

_NOBODY: Final = pl.Series(dtype=pl.String)
_NO_TITLE: Final = NULL_TEXT.alias("system_title")
_NO_COUNTER: Final = NULL_NUMBER.alias("counter")
_EPOCH_US: Final = 0
"""When a counter was saved that came at no known time: a file's, which no store keeps."""


class Counts(NamedTuple):
    """What became of the messages: `frames` = `decoded` + `rejected` + `duplicates`.

    `fusible`: those of the rejected that may blow the fuse, because no outsider can send them: rejected after a tag
    had verified, or from a meter enrolled without keys; also `key_unknown` and `layout_unknown` of enrolled meters.
    Never those whose counter refused them (`replay`, `quarantined`,
    `keys_exhausted`): a verified tag can be recorded and sent again.
    """

    frames: int
    decoded: int
    rejected: int
    duplicates: int
    fusible: int


class Decoded(NamedTuple):
    """Everything that a batch of messages yields.

    `messages`: RAW_FRAMES as they came, with `system_title` (hex) and `counter` where a message has them.
    `seen`: REPLAY_WINDOWS rows of what this batch added to the windows. `windows`: the windows after it. `learned`: the
    layouts met so far, for the next batch. `fusible_by`: `counts.fusible` by reason.
    """

    intervals: pl.DataFrame
    reads: pl.DataFrame
    events: pl.DataFrame
    rejects: pl.DataFrame
    heard: pl.DataFrame
    dirty_days: pl.DataFrame
    windows: Windows
    counts: Counts
    messages: pl.DataFrame
    seen: pl.DataFrame
    learned: Learned
    fusible_by: dict[str, int]


def decode_frames(
    frames: pl.DataFrame,
    keyring: Keyring,
    windows: Windows,
    meters: pl.DataFrame | Enrolment,
    types: MeterTypes = BUILT_IN,
    learned: Learned | None = None,
) -> Decoded:
    """Rows of every message, or why it has none.

    Args:
        frames: RAW_FRAMES, in order of arrival. Each message is read by the line of METERS that was in force at its
            `received_at`; where that is null, at `Enrolment.as_of`. A further column `sender` (hex, may be null) is
            the system title that the link knows: APDUs ciphered by service carry none. One named `lane` says by which
            replay windows a message is judged where that is not its topic.
        keyring: Meter keys.
        windows: Replay windows as of the message before the first.
        meters: METERS; or the `Enrolment` made of them once for many batches.
        types: Meter types.
        learned: Layouts of the batch before (`Decoded.learned`): saves learning them again, changes no result.

    Returns:
        EVENTS and REJECTS in the order of messages, INTERVALS and READS by layout (rows of one message together),
        and what follows from them.

    Raises:
        ContractError: METERS contradict themselves or name an unknown meter type.
    """
    enrolment = meters if isinstance(meters, Enrolment) else Enrolment.of(meters, types)
    rules = Rules(types, enrolment, keyring, (learned or Learned.nothing()).of_types(types))
    faults = Faults(frames.height)
    payloads = Spans.of_column(frames["payload"])
    parts = Parts(frames.height)
    received = micros_of(frames["received_at"])
    when = enrolment.when(received)
    apdus, signer, numbered = receive(payloads, when, rules, faults, parts)
    headers = read_headers(apdus, faults, signer, _senders(frames))
    by_title = enrolment.rows_of_titles(headers.title, when)
    opened = Opened.in_clear(apdus, headers)
    if headers.ciphered.any():
        check_policy(headers, by_title, enrolment, keyring, faults)
        opened = open_all(apdus, headers, keyring, faults)
    if headers.wrapped:
        opened = open_wrapped(apdus, headers, keyring, opened, faults)
    parts.note(faults, Part.APDU)
    texts = read_p1_telegrams(opened.apdus, headers.ciphered, by_title, rules, faults)
    located = Located(payloads, headers, parts, _rewritten(opened.apdus, texts.apdus, faults))
    opened = opened._replace(apdus=texts.apdus)
    key_names = key_names_of(opened, keyring)
    judged = judge_batch(opened, key_names, frames, windows, faults)
    rows = faults.usable()
    rows = rows[~judged.is_copy[rows]]
    arrived = Arrived(
        opened.apdus, headers.ciphered, headers.control, headers.title, by_title, received, when, frames["topic"]
    )
    read = interpret(arrived, rules, rows, faults)
    refuse_numbered((payloads, numbered), read.meter_row, rules, faults, parts)
    kept = _settle(read, judged, texts.refused, faults)
    parts.note(faults, Part.BODY)
    return _decoded(frames, (opened, key_names, located), judged, (read, received), (kept, faults, enrolment))


def _rewritten(apdus: Spans, texts: Spans, faults: Faults) -> Flags:
    """Messages without a fault whose APDU is another one now."""
    if texts is apdus:
        return np.zeros(len(apdus.start), np.bool_)
    moved: Flags = (texts.start != apdus.start) & (faults.reason == NO_FAULT)
    return moved


def _senders(frames: pl.DataFrame) -> npt.NDArray[np.uint64] | None:
    return titles_from_hex(frames["sender"].fill_null("0" * 16)) if "sender" in frames.columns else None


class _Kept(NamedTuple):
    """Blocks of the messages that are decoded, and refusals of their parts."""

    intervals: list[Quantities]
    reads: list[Quantities]
    events: list[Events]
    refused: list[Refused]
    decoded: Flags


def _settle(read: Interpreted, judged: Judged, unread: Sequence[Refused], faults: Faults) -> _Kept:
    """Blocks of messages without a fault; a late event is a replay, and a message that yields nothing is a fault.

    `unread`: what was refused before the messages were interpreted.
    """
    sound = faults.reason == NO_FAULT
    intervals = rows_kept([block for cut in read.cuts for block in cut.intervals], sound)
    reads = rows_kept([block for cut in read.cuts for block in cut.reads], sound)
    decoded = np.zeros(len(sound), np.bool_)
    for rows in (*intervals, *reads):
        decoded[every(rows.messages_with_rows(), len(decoded))] = True
    for cut in read.cuts:
        decoded[cut.silent[sound[cut.silent]]] = True
    events = [block for cut in read.cuts for block in cut.events]
    late = _refuse_late(events, judged.is_late, decoded, faults)
    sound = faults.reason == NO_FAULT
    events = events_kept(events, sound & ~judged.is_late)
    for block in events:
        decoded[block.message] = True
    refused = [*(part for cut in read.cuts for part in cut.refused), *late, *unread]
    if not decoded.all():
        partly = np.zeros(len(sound), np.bool_)
        for part in refused:
            partly[part.message] = True
        for cut in read.cuts:
            idle = cut.message[~decoded[cut.message]]
            idle = idle[sound[idle] & ~partly[idle]]
            faults.record(idle, RejectReason.LAYOUT_UNKNOWN, 0, "no value and no event")
    told = sound & ~judged.is_copy
    refused = [
        part._replace(message=part.message[told[part.message]], values=part.values[told[part.message]])
        for part in refused
    ]
    return _Kept(intervals, reads, events, refused, decoded)


def _refuse_late(events: list[Events], is_late: Flags, has_rows: Flags, faults: Faults) -> list[Refused]:
    """Events under a lower counter are refused (security.md 3): alone where their message has rows, else with it."""
    refused = []
    for block in events:
        late, values = np.unique(block.message[is_late[block.message]], return_counts=True)
        if len(late):
            told, detail = has_rows[late], "an event with a lower counter"
            faults.record(late[~told], RejectReason.REPLAY, 0, detail)
            refused.append(Refused(late[told], REASON_CODE[RejectReason.REPLAY], 0, values[told], detail))
    return refused


def _own_times(cuts: Sequence[Cut], messages: int) -> Micros:
    """By message what its own clocks say."""
    own_time = np.full(messages, NO_TIME, np.int64)
    for cut in cuts:
        own_time[cut.message] = _own_time(cut)
    return own_time


def _own_time(cut: Cut) -> Micros:
    """By its messages what their own clocks say: those of the message, else the newest that stands beside an event."""
    lacking = cut.own_time == NO_TIME
    if not cut.events or not lacking.any():
        return cut.own_time
    by_event = np.full(int(cut.message.max()) + 1, NO_TIME, np.int64)
    for block in cut.events:
        np.maximum.at(by_event, block.message, block.at)
    return np.where(lacking, by_event[cut.message], cut.own_time)


def _decoded(
    frames: pl.DataFrame,
    opening: tuple[Opened, pl.Series, Located],
    judged: Judged,
    found: tuple[Interpreted, Micros],
    settled: tuple[_Kept, Faults, Enrolment],
) -> Decoded:
    opened, key_names, located = opening
    read, received = found
    kept, faults, enrolment = settled
    titles, counters = _header_columns(opened)
    came = frames["received_at"]
    if came.null_count():
        received = np.where(received == NO_TIME, _own_times(read.cuts, frames.height), received)
        came = pl.Series(received).cast(UTC_US)
    provenance = (frames["topic"], frames["partition"], frames["offset"], frames["frame"], came)
    senders = Senders(*provenance, *_names(read, enrolment), counters, opened.authenticated)
    lives = lives_of((*kept.intervals, *kept.reads), senders.name, senders.names)
    decoded, duplicates = int(np.count_nonzero(kept.decoded)), int(np.count_nonzero(judged.is_copy))
    rejected = frames.height - int(np.count_nonzero(kept.decoded | judged.is_copy))
    fusible: dict[str, int] = {}
    if rejected:
        theirs = may_blow_fuse(opened, read.meter_row, faults, enrolment)
        fusible = by_reason(theirs & ~kept.decoded & ~judged.is_copy, faults, kept.refused)
    return Decoded(
        assemble_intervals(kept.intervals, senders, read.obis),
        assemble_reads(kept.reads, senders, read.obis),
        assemble_events(kept.events, senders),
        assemble_rejects(Undecoded(faults, kept.refused, titles, key_names, located), frames),
        heard_meters(lives),
        dirty_days(lives, enrolment),
        judged.windows,
        Counts(frames.height, decoded, rejected, duplicates, sum(fusible.values())),
        _told(frames, {"system_title": titles, "counter": counters}),
        _seen(frames, judged, (titles, key_names), (opened, received)),
        read.learned,
        fusible,
    )


def _header_columns(opened: Opened) -> tuple[pl.Series, pl.Series]:
    """System title and invocation counter of each message, null where it has none."""
    headers = opened.headers
    messages = len(headers.ciphered)
    if not (headers.ciphered.any() or headers.title.any()):
        return nulls(_NO_TITLE, messages), nulls(_NO_COUNTER, messages)
    return (
        _where_known(titles_to_hex(headers.title), headers.title != 0),
        _where_known(pl.Series(headers.counter), headers.read),
    )


def _told(frames: pl.DataFrame, headers: dict[str, pl.Series]) -> pl.DataFrame:
    """The messages as they came, with what their headers said."""
    told = [named(column, name) for name, column in headers.items()]
    left_out = {"sender", "lane", *headers}.intersection(frames.columns)
    if not left_out:
        return frames.hstack(told)
    return framed([*(frames[name] for name in frames.columns if name not in left_out), *told])


def _where_known(column: pl.Series, known: Flags) -> pl.Series:
    return column if known.all() else column.set(pl.Series(~known), None)


def _names(read: Interpreted, enrolment: Enrolment) -> tuple[Places, MeterNames]:
    """Where each message's meter stands among all names, and those.

    A message without a meter stands at 0; it is a reject and has no row.
    """
    place = np.maximum(read.meter_row, 0)
    first = len(enrolment.meter_id)
    for message, texts in read.names:
        place[message] = first + np.arange(len(texts))
        first += len(texts)
    others = pl.concat([texts for _, texts in read.names]) if read.names else _NOBODY
    return place, MeterNames(enrolment.meter_id, others, enrolment.lines.meters)


def _seen(
    frames: pl.DataFrame,
    judged: Judged,
    names: tuple[pl.Series, pl.Series],
    arrived: tuple[Opened, Micros],
) -> pl.DataFrame:
    titles, key_names = names
    opened, received = arrived
    rows = judged.seen
    if not len(rows):
        return REPLAY_WINDOWS.empty()
    columns = [named(lanes_of(frames), "topic"), frames["partition"], frames["offset"]]
    columns += [named(titles, "system_title"), named(key_names, "key_id")]
    is_all = len(rows) == frames.height  # in their order
    saved_at = frames["received_at"]
    if not is_all or saved_at.null_count():
        saved_at = pl.Series(np.where(received[rows] == NO_TIME, _EPOCH_US, received[rows])).cast(UTC_US)
    return framed(
        [
            *(columns if is_all else (taken(column, rows) for column in columns)),
            pl.Series("counter", judged.counter),
            pl.Series("digest", opened.digest[rows]),
            named(saved_at, "saved_at"),
        ]
    )
