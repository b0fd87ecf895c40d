"""Opened APDUs of a batch to blocks of rows: by layout, then by kind of meter, each cut in one go."""

from functools import partial
from typing import NamedTuple

import numpy as np
import polars as pl

from ingest.arrived import Arrived, Rules
from ingest.blocks import Cut, Texts
from ingest.clocks import Zones
from ingest.columns import gathered
from ingest.enrolment import NOT_ENROLLED
from ingest.faults import NO_FAULT, REASON_CODE, Faults
from ingest.grouping import Alike, Reading, group_by_layout, runs_of
from ingest.learned import Learned, Used
from ingest.meaning import buffers_of
from ingest.meter_types import STRICTLY, Manner, MeterType
from ingest.naming import Naming
from ingest.plans import type_of
from ingest.push_cut import cut_push
from ingest.slots import Group
from ingest.spans import Flags, Places, every
from schemas.codes import RejectReason


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
    names = (*work.naming.names, *work.naming.unknown_names())
    return Interpreted(tuple(work.cuts), work.texts.texts, work.naming.meter_row, names, learned)


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
    kind = np.where(meter_row >= 0, gathered(enrolment.kind, meter_row, unknown), unknown)
    odd = np.append(enrolment.odd, False)[kind]
    groups = [(STRICTLY, rows[~odd])]
    for code in np.unique(kind[odd]).tolist():
        meter_type = enrolment.kinds[code].meter_type
        groups.append((STRICTLY if meter_type is None else meter_type.manner, rows[kind == code]))
    return groups


class _Work:
    """One batch being read: rows found so far."""

    def __init__(self, arrived: Arrived, rules: Rules, faults: Faults) -> None:
        self._arrived = arrived
        self._rules = rules
        self._faults = faults
        self.cuts: list[Cut] = []
        self.texts = Texts()
        self.naming = Naming(arrived, rules)
        self._messages = len(arrived.meter_row)
        self.used = Used()

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
        kind, kinds = self.naming.kinds_of(self.naming.meter_row[message])
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
        alike, known = self.naming.named(alike, known, self._faults if strict is None else faults)
        meter_row = self.naming.meter_row[every(alike.message, self._messages)]
        kind, kinds = self.naming.kinds_of(meter_row)
        zone = gathered(enrolment.zone, meter_row, NOT_ENROLLED)
        for code, chosen in runs_of(kind):
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
