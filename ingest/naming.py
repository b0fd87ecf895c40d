"""Who sent each message of a batch, by its system title and by the names in its body, and whether it proves enough."""

from typing import cast

import numpy as np
import polars as pl

from ingest.arrived import Arrived, Rules
from ingest.columns import gathered, taken
from ingest.enrolment import MeterKind, is_downgrade
from ingest.faults import Faults
from ingest.grouping import Alike, runs_of
from ingest.learned import Known
from ingest.meaning import Name
from ingest.names import is_padding
from ingest.plans import type_of
from ingest.shown_names import keyed_titles_shown, meters_shown
from ingest.slots import cut_text_octets, texts_of
from ingest.spans import Flags, Octets, Places, every
from schemas.codes import RejectReason

_UNKNOWN_KIND = MeterKind(None, (), None)
_SPACE, _DELETE = 0x20, 0x7F
"""Text is printable from here to there."""


class Naming:
    """Who the senders of a batch turned out to be: `meter_row` by message, `names` of meters that are not enrolled."""

    def __init__(self, arrived: Arrived, rules: Rules) -> None:
        self._arrived = arrived
        self._rules = rules
        self.meter_row = arrived.meter_row.copy()
        self._messages = len(self.meter_row)
        self._kinds = (*rules.enrolment.kinds, _UNKNOWN_KIND)
        self.names: list[tuple[Places, pl.Series]] = []
        self._unknown: list[tuple[Places, Octets]] = []  # messages and the names in them

    def unknown_names(self) -> list[tuple[Places, pl.Series]]:
        """Messages of meters that are not enrolled, and what those call themselves; each length read at once."""
        by_length: dict[int, list[tuple[Places, Octets]]] = {}
        for message, octets in self._unknown:
            by_length.setdefault(octets.shape[1], []).append((message, octets))
        joined = (tuple(np.concatenate(each) for each in zip(*found, strict=True)) for found in by_length.values())
        return [(message, texts_of(octets)) for message, octets in joined]

    def named(self, alike: Alike, known: Known, faults: Faults) -> tuple[Alike, Known]:
        """The messages whose sender is known and is who it says, with `meter_row` and names settled."""
        keep: Flags | None = None
        kind, kinds = self.kinds_of(self._arrived.meter_row[every(alike.message, self._messages)])
        for code, chosen in runs_of(kind):
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

    def kinds_of(self, meter_row: Places) -> tuple[Places, tuple[MeterKind, ...]]:
        """The kind of each meter: a place in the second; the last is of those that are not enrolled."""
        return gathered(self._rules.enrolment.kind, meter_row, len(self._kinds) - 1), self._kinds

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
            wrong |= stranger & (gathered(enrolment.titles.title, by_name, 0) != 0)
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
        own = gathered(enrolment.titles.title, meter_row, 0).astype(np.uint64)
        sent = arrived.title[message]
        lowest = enrolment.lowest_security(meter_row, np.where(sent != 0, sent, own), self._rules.keyring)
        control = np.where(arrived.ciphered[message], arrived.control[message], 0)
        low[left] = is_downgrade(control, lowest)
        return low
