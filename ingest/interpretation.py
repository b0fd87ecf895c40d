"""Opened APDUs of a batch to blocks of rows: by layout, then by kind of meter, each cut in one go."""

from functools import partial
from typing import Any, NamedTuple, cast

import numpy as np
import numpy.typing as npt
import polars as pl

from ingest.blocks import Cut, Texts
from ingest.clocks import Micros, Zones
from ingest.columns import taken
from ingest.enrolment import NOT_ENROLLED, Enrolment, MeterKind, is_downgrade
from ingest.faults import NO_FAULT, REASON_CODE, Faults
from ingest.grouping import Alike, Reading, group_by_layout
from ingest.keyring import Keyring
from ingest.learned import Known, Learned, Used
from ingest.meaning import Name, buffers_of
from ingest.meter_types import STRICTLY, Manner, MeterType, MeterTypes
from ingest.names import is_padding
from ingest.plans import type_of
from ingest.push_cut import cut_push
from ingest.shown_names import keyed_titles_shown, meters_shown
from ingest.slots import Group, cut_text_octets, texts_of
from ingest.spans import Flags, Octets, Places, Spans, every
from schemas.codes import RejectReason

_UNKNOWN_KIND = MeterKind(None, (), None)
_SPACE, _DELETE = 0x20, 0x7F
"""Text is printable from here to there."""


class Arrived(NamedTuple):
    """What is known of each message before its body is read."""

    apdus: Spans
    ciphered: Flags
    control: Places  # security control of those
    title: npt.NDArray[np.uint64]  # 0 where none was sent
    meter_row: Places  # by system title; `NOT_ENROLLED` where that says nothing
    received: Micros
    when: Micros  # time whose lines of METERS count: see `Enrolment.when`
    topic: pl.Series


class Rules(NamedTuple):
    """What bodies are read by."""

    types: MeterTypes
    enrolment: Enrolment
    keyring: Keyring
    learned: Learned


class Interpreted(NamedTuple):
    """Rows of all layouts, and who sent each message."""

    cuts: tuple[Cut, ...]
    obis: tuple[str, ...]
    meter_row: Places
    names: tuple[tuple[Places, pl.Series], ...]  # of meters that are not enrolled
    learned: Learned


def interpret(arrived: Arrived, rules: Rules, rows: Places, faults: Faults) -> Interpreted:
    """Rows of these messages; what cannot be read, named or believed is a fault."""
    work = _Work(arrived, rules, faults)
    for manner, chosen in _by_manner(arrived, rules, rows):
        if manner != STRICTLY:
            work.read_all(chosen, manner, faults)
        else:
            work.read_strictly(chosen)
    learned = rules.learned.with_used(work.used.layouts())
    names = (*work.names, *work.unknown_names())
    return Interpreted(tuple(work.cuts), work.texts.texts, work.meter_row, names, learned)


def _reading(rules: Rules, manner: Manner) -> Reading:
    meter_type = rules.types.by_name.get(manner.templates_of or "")
    buffers = None if meter_type is None else partial(buffers_of, meter_type=meter_type)
    known = rules.learned
    return Reading(
        frozenset(rules.types.by_list_id), lambda length: known.layouts((length, manner)), manner.quirks, buffers
    )


def _by_manner(arrived: Arrived, rules: Rules, rows: Places) -> list[tuple[Manner, Places]]:
    """Messages by how their meter's type is read, as far as the system title names the meter."""
    enrolment = rules.enrolment
    if not enrolment.odd.any():
        return [(STRICTLY, rows)]
    meter_row, unknown = arrived.meter_row[rows], len(enrolment.kinds)
    kind = np.where(meter_row >= 0, _gather(enrolment.kind, meter_row, unknown), unknown)
    odd = np.append(enrolment.odd, False)[kind]
    groups = [(STRICTLY, rows[~odd])]
    for code in np.unique(kind[odd]).tolist():
        meter_type = enrolment.kinds[code].meter_type
        groups.append((STRICTLY if meter_type is None else meter_type.manner, rows[kind == code]))
    return groups


class _Work:
    """One batch being read: rows found so far, and who the senders turned out to be."""

    def __init__(self, arrived: Arrived, rules: Rules, faults: Faults) -> None:
        self._arrived = arrived
        self._rules = rules
        self._faults = faults
        self.cuts: list[Cut] = []
        self.texts = Texts()
        self.meter_row = arrived.meter_row.copy()
        self._messages = len(self.meter_row)
        self._kinds = (*rules.enrolment.kinds, _UNKNOWN_KIND)
        self.names: list[tuple[Places, pl.Series]] = []
        self._unknown: list[tuple[Places, Octets]] = []  # messages and the names in them
        self.used = Used()

    def unknown_names(self) -> list[tuple[Places, pl.Series]]:
        """Messages of meters that are not enrolled, and what those call themselves; each length read at once."""
        by_length: dict[int, list[tuple[Places, Octets]]] = {}
        for message, octets in self._unknown:
            by_length.setdefault(octets.shape[1], []).append((message, octets))
        joined = (tuple(np.concatenate(each) for each in zip(*found, strict=True)) for found in by_length.values())
        return [(message, texts_of(octets)) for message, octets in joined]

    def read_strictly(self, rows: Places) -> None:
        """Cut messages of which nothing says so far that they depart from A-XDR.

        Those that fail are tried with the quirks of every type in use: what they then name must be a meter of such a
        type, else the strict fault stands.
        """
        strict = self._faults.copy()
        self.read_all(rows, STRICTLY, strict)
        failed = rows[strict.reason[rows] != NO_FAULT]
        for manner in self._manners_in_use() if len(failed) else ():
            trial = Faults(len(strict.reason))
            self.read_all(failed, manner, trial, strict)
            failed = failed[trial.reason[failed] != NO_FAULT]
            owing = failed[trial.reason[failed] == REASON_CODE[RejectReason.DOWNGRADE]]
            self._faults.adopt(owing[self._have_quirks(owing, manner)], trial)
        self._faults.adopt(failed, strict)

    def _have_quirks(self, message: Places, manner: Manner) -> Flags:
        """Whether these messages are of meters whose type is read so: what is refused of them then is their own."""
        kind, kinds = self._kinds_of(self.meter_row[message])
        has = np.array(
            [each.meter_type is not None and manner.quirks <= each.meter_type.manner.quirks for each in kinds], np.bool_
        )
        found: Flags = has[kind]
        return found

    def _manners_in_use(self) -> list[Manner]:
        default = self._rules.types.default
        types = [kind.meter_type or default for kind in self._rules.enrolment.kinds]
        return list(dict.fromkeys(each.manner for each in (*types, default) if each.manner.quirks))

    def read_all(self, rows: Places, manner: Manner, faults: Faults, strict: Faults | None = None) -> None:
        """Cut these messages, layout by layout; `faults` receives what cannot be read so."""
        for alike in group_by_layout(self._arrived.apdus, rows, _reading(self._rules, manner), faults):
            self._read(alike, manner, faults, strict)

    def _read(self, alike: Alike, manner: Manner, faults: Faults, strict: Faults | None) -> None:
        """Cut the messages of one layout, kind by kind.

        Args:
            alike: They.
            manner: How they were read.
            faults: Of this manner alone where it is a trial: what it refuses may be another's.
            strict: In a trial, the faults of those that have not these quirks.
        """
        rules, enrolment = self._rules, self._rules.enrolment
        known = rules.learned.of_layout(alike.layout, manner, rules.types)
        meaning = known.meaning
        alike, known = self._named(alike, known, self._faults if strict is None else faults)
        meter_row = self.meter_row[every(alike.message, self._messages)]
        kind, kinds = self._kinds_of(meter_row)
        zone = _gather(enrolment.zone, meter_row, NOT_ENROLLED)
        for code, chosen in _runs(kind):
            of_kind, all_of_them = kinds[code], len(chosen) == len(kind)
            message = alike.message if all_of_them else alike.message[chosen]
            meter_type = type_of(meaning, of_kind, rules.types)
            if self._read_otherwise(message, meter_type, manner, faults, strict):
                continue
            octets = alike.octets if all_of_them else alike.octets[chosen]
            zones, names = (zone if all_of_them else zone[chosen]).astype(np.int32, copy=False), enrolment.zones
            if meter_type.timezone is not None:
                zones, names = np.where(zones < 0, len(names), zones).astype(np.int32), (*names, meter_type.timezone)
            received = self._arrived.received[every(message, self._messages)]
            group = Group(message, octets, alike.varies, Zones(zones, names), received)
            plan, known = known.plan_for(of_kind, rules.types)
            self.cuts.append(cut_push(plan, group, self.texts))
        if not alike.is_lone:
            self.used.add(known)

    def _read_otherwise(
        self, message: Places, meter_type: MeterType, manner: Manner, faults: Faults, strict: Faults | None
    ) -> bool:
        """Whether these messages turned out to be of a type that is read in another way: here, or by a later trial."""
        wanted = meter_type.manner
        if strict is not None and not manner.quirks <= wanted.quirks:
            faults.adopt(message, strict)
            return True
        if wanted.templates_of in (None, manner.templates_of):
            return False
        self.read_all(message, manner._replace(templates_of=wanted.templates_of), faults, strict)
        return True

    def _named(self, alike: Alike, known: Known, faults: Faults) -> tuple[Alike, Known]:
        """The messages whose sender is known and is who it says, with `meter_row` and names settled."""
        keep: Flags | None = None
        kind, kinds = self._kinds_of(self._arrived.meter_row[every(alike.message, self._messages)])
        for code, chosen in _runs(kind):
            meter_type = type_of(known.meaning, kinds[code], self._rules.types)
            name, known = known.name_for(meter_type)
            goes_on = self._by_names(alike, chosen, name, faults)
            if len(chosen) == len(kind):
                keep = goes_on
            else:
                keep = np.ones(len(kind), np.bool_) if keep is None else keep
                keep[chosen] = goes_on
        if keep is None or keep.all():
            return alike, known
        return alike._replace(message=alike.message[keep], octets=alike.octets[keep]), known

    def _by_names(self, alike: Alike, chosen: Places, name: Name | None, faults: Faults) -> Flags:
        """Which of these messages go on, by the first of their names that is a meter's, else the first that is text."""
        if name is None or (name.instead is None and not (name.may_be_clock or name.only_another)):
            return self._settle(alike, chosen, name, faults)
        keep = np.zeros(len(alike.message), np.bool_)
        left = chosen
        if name.only_another:
            message = alike.message[left]
            found = self._find(cut_text_octets(alike.octets[left], name.node), message)[0]
            another = (found >= 0) & (found != self._arrived.meter_row[message])
            keep[left[another]] = self._settle(alike, left[another], name, faults)
            left, name = left[~another], name.instead
        each = name
        while each is not None and name is not None and name.instead is not None:
            octets = cut_text_octets(alike.octets[left], each.node)
            known = self._rules.enrolment.names.find(octets) >= 0
            keep[left[known]] = self._settle(alike, left[known], each, faults)
            left, each = left[~known], each.instead
        while name is not None and name.may_be_clock:
            first = alike.octets[left, name.node.at]
            is_text = (first >= _SPACE) & (first < _DELETE)
            keep[left[is_text]] = self._settle(alike, left[is_text], name, faults)
            left, name = left[~is_text], name.instead
        keep[left] = self._settle(alike, left, name, faults)
        return keep[chosen]

    def _kinds_of(self, meter_row: Places) -> tuple[Places, tuple[MeterKind, ...]]:
        """The kind of each meter: a place in the second; the last is of those that are not enrolled."""
        return _gather(self._rules.enrolment.kind, meter_row, len(self._kinds) - 1), self._kinds

    def _settle(self, alike: Alike, chosen: Places, name: Name | None, faults: Faults) -> Flags:
        arrived, enrolment = self._arrived, self._rules.enrolment
        all_of_them = len(chosen) == len(alike.message)
        message = alike.message if all_of_them else alike.message[chosen]
        where = every(message, self._messages)
        by_title = arrived.meter_row[where]
        if name is None:
            return self._unnamed(message, by_title, faults)
        octets = cut_text_octets(alike.octets if all_of_them else alike.octets[chosen], name.node)
        by_name = enrolment.rows_of_names(octets, arrived.when[where])
        titled = by_title >= 0
        if (by_name >= 0).all() and ((by_name == by_title) | ~(titled | arrived.ciphered[where])).all():
            return self._settled(message, by_name, faults)
        by_name, empty = self._shown(octets, message, by_name)
        settled, wrong = by_name, np.zeros(len(message), np.bool_)
        if titled.any():
            # A serial number need not be the meter's id: it only speaks against a title where it is another meter's.
            wrong = titled & (by_name != by_title) & ((by_name >= 0) | (name.is_device_name & ~empty))
            settled = np.where(titled, by_title, by_name)
        stranger = ~titled & (by_name >= 0) & arrived.ciphered[message]
        if stranger.any():
            wrong |= stranger & (_gather(enrolment.titles.title, by_name, 0) != 0)
        empty &= ~titled
        lone = np.flatnonzero(~titled & (by_name < 0))
        if len(lone):
            self._unknown.append((message[lone], octets[lone]))
        at = name.node.at
        faults.record(message[wrong], RejectReason.IDENTITY, at, "the body names another meter")
        faults.record(message[empty], RejectReason.IDENTITY, at, "nothing names the meter")
        keep: Flags = self._settled(message, settled, faults) & ~(wrong | empty)
        owing = lone[self._owes_by_title(message[lone], octets[lone])]
        faults.record(message[owing], RejectReason.DOWNGRADE, 0, "less protection than the meter owes")
        keep[owing] = False
        return keep

    def _settled(self, message: Places, meter_row: Places, faults: Faults) -> Flags:
        """Which of these messages prove what the meters owe whose they are."""
        low = self._owes_more(message, meter_row)
        if low.any():
            faults.record(message[low], RejectReason.DOWNGRADE, 0, "less protection than the meter owes")
        self.meter_row[every(message, self._messages)] = meter_row
        return ~low

    def _find(self, octets: Octets, message: Places) -> tuple[Places, Flags]:
        """The meter of each message's name, as it stands or as it is shown, and where there is nothing but padding."""
        found = self._rules.enrolment.rows_of_names(octets, self._arrived.when[message])
        return self._shown(octets, message, found)

    def _shown(self, octets: Octets, message: Places, found: Places) -> tuple[Places, Flags]:
        """See `_find`; `found` is the meter of each name as it stands."""
        empty = np.zeros(len(octets), np.bool_)
        unknown = np.flatnonzero(found < 0)
        if len(unknown):
            empty[unknown] = is_padding(octets[unknown]).all(axis=1)
            found[unknown] = meters_shown(octets[unknown], self._arrived.when[message[unknown]], self._rules.enrolment)
        return found, empty

    def _owes_by_title(self, message: Places, octets: Octets) -> Flags:
        """Plain messages of strangers whose rows would stand under a title with a key, which owes the default.

        Ciphered ones were judged by their own title.
        """
        keyring = self._rules.keyring
        if not len(message) or self._rules.enrolment.asks_nothing(keyring) or not len(keyring):
            return np.zeros(len(message), np.bool_)
        return keyed_titles_shown(octets, keyring) & ~self._arrived.ciphered[message]

    def _unnamed(self, message: Places, by_title: Places, faults: Faults) -> Flags:
        """The system title alone names the meter: by METERS, else by itself.

        Without any METERS (files read as they are) a message that names nobody is filed under its topic, the file.
        """
        titled = self._arrived.title[message] != 0
        if not len(self._rules.enrolment.meter_id):
            unnamed = message[~titled]
            self.names.append((unnamed, taken(self._arrived.topic, unnamed)))
            titled = np.ones(len(message), np.bool_)
        lone = message[(self._arrived.title[message] != 0) & (by_title < 0)]
        if len(lone):
            hexed = [f"{title:016x}" for title in self._arrived.title[lone].tolist()]
            self.names.append((lone, pl.Series(hexed, dtype=pl.String)))
        faults.record(message[~titled], RejectReason.IDENTITY, 0, "nothing names the meter")
        low = self._owes_more(message, by_title)
        faults.record(message[low], RejectReason.DOWNGRADE, 0, "less protection than the meter owes")
        return cast(Flags, titled & ~low)

    def _owes_more(self, message: Places, meter_row: Places) -> Flags:
        """Messages that prove less than these meters, whose they are, owe: named in the body or by a signature."""
        enrolment, arrived = self._rules.enrolment, self._arrived
        low = np.zeros(len(message), np.bool_)
        if enrolment.asks_nothing(self._rules.keyring):
            return low
        # What came ciphered from the meter of its title was judged by just that before it was opened.
        where = every(message, self._messages)
        left = np.flatnonzero(~arrived.ciphered[where] | (arrived.meter_row[where] != meter_row))
        if not len(left):
            return low
        message, meter_row = message[left], meter_row[left]
        own = _gather(enrolment.titles.title, meter_row, 0).astype(np.uint64)
        sent = arrived.title[message]
        lowest = enrolment.lowest_security(meter_row, np.where(sent != 0, sent, own), self._rules.keyring)
        control = np.where(arrived.ciphered[message], arrived.control[message], 0)
        low[left] = is_downgrade(control, lowest)
        return low


def _runs(code: Places) -> list[tuple[int, Places]]:
    """Each code, ascending, with the places where it stands."""
    if len(code) and (code == code[0]).all():
        return [(int(code[0]), np.arange(len(code)))]
    return [(each, np.flatnonzero(code == each)) for each in np.unique(code).tolist()]


def _gather(column: npt.NDArray[Any], rows: Places, default: int) -> npt.NDArray[Any]:
    """Entries of a column by row; the default where there is no row."""
    known = rows >= 0
    if not len(column) or not known.any():
        return np.full(len(rows), default, column.dtype if len(column) else np.int64)
    if known.all():
        return column[rows]
    return np.where(known, column[np.maximum(rows, 0)], np.array(default, column.dtype))
