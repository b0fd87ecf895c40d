"""Events of a push cut into columns: codes, alarm registers, and pushes that are an event by themselves."""

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from ingest.blocks import CODE_BITS, KIND_CODE, NO_NUMBER, NO_TIME, ORIGIN_CODE, Events, Refused
from ingest.clocks import Micros
from ingest.dlms.data import PACKED
from ingest.dlms.nodes import Node
from ingest.event_plans import AlarmSlot, EventPlan, WordSlot
from ingest.faults import REASON_CODE
from ingest.plans import Cell, Cells, Plan
from ingest.slots import Group, cut_bits, cut_numbers, slots_of
from ingest.spans import Flags, Places
from ingest.times import believed_times
from schemas.codes import Channel, EventKind, Origin, RejectReason

_MILLI_POWER: Final = 3
"""A number without a scaler, in thousandths."""


def cut_events(plan: Plan, group: Group, newest: Micros | None) -> tuple[list[Events], list[Refused]]:
    """Every event of these messages once, and what is refused: events of an unknown time."""
    events: list[Events] = []
    usual = _times(plan, group, None, newest)
    moved = _deltas(plan.events, group)
    for slot in plan.events.codes:
        code = cut_numbers(group.octets, slots_of([slot.node]))[0][:, 0]
        if slot.until > slot.since:
            code = (code + moved[:, slot.until] - moved[:, slot.since]) % (1 << 8 * PACKED[slot.node.tag].size)
        at = usual if slot.clock is None else _times(plan, group, slot.clock, newest)
        events.append(_events(group.message, _kinds(plan.events, code), code, Origin.METER, at))
    for each in plan.events.fixed:
        kinds = np.full(len(group.message), KIND_CODE[each.kind], np.uint8)
        code = np.full(len(group.message), NO_NUMBER if each.code is None else each.code, np.int64)
        events.append(_events(group.message, kinds, code, each.origin, usual))
    for word, bits in _words(plan.events.words, group):
        events.append(_word_events(word, bits, group, usual))
    alarms = plan.events.alarms
    registers = cut_numbers(group.octets, slots_of([alarm.node for alarm in alarms]))[0]
    for alarm, register in zip(alarms, registers.T, strict=True):
        events += _alarm_events(alarm, register, group, usual)
    timed, lost = _timed(events)
    return (timed if len(timed) < 2 else [_once(timed)]), lost


def _once(events: Sequence[Events]) -> Events:
    """Events of a message that are equal are one: an alarm's register and its descriptor, a row of a log said twice."""
    joined = Events._make(np.concatenate(column) for column in zip(*events, strict=True))
    columns = np.stack([column.astype(np.int64) for column in joined])
    first = np.sort(np.unique(columns, axis=1, return_index=True)[1])
    return joined if len(first) == len(joined.message) else Events._make(column[first] for column in joined)


def also_reads(events: EventPlan, group: Group) -> list[tuple[Cells, Flags]]:
    """Numbers of events that are reads too, so that none vanishes, and in which messages; those of the same together.

    An alarm register of which no bit is set is a read of zero: of registers of one name the first such, another is the
    same row. A number that has more bits than an event's code is a read of that number.
    """
    quiet, wide = _ByMessages(), _ByMessages()
    said: dict[str | None, Flags] = {}
    registers = cut_numbers(group.octets, slots_of([alarm.node for alarm in events.alarms]))[0]
    for alarm, register in zip(events.alarms, registers.T, strict=True):
        is_zero, before = register == 0, said.get(alarm.obis)
        said[alarm.obis] = is_zero if before is None else is_zero | before
        is_first = is_zero if before is None else is_zero & ~before
        quiet.add(Cell(alarm.node, Channel.OTHER, alarm.obis, None, 0), is_first)
    slots = events.may_be_wide
    numbers, beyond = cut_numbers(group.octets, slots_of([slot.node for slot in slots]))
    is_wide = numbers >> CODE_BITS != 0 if beyond is None else (numbers >> CODE_BITS != 0) | beyond
    for slot, messages in zip(slots, is_wide.T, strict=True):
        wide.add(Cell(slot.node, Channel.OTHER, slot.obis, _MILLI_POWER), messages)
    return [*quiet.all(), *wide.all()]


class _ByMessages:
    """Reads by the messages in which they are: a block for each such set, not for each read."""

    __slots__ = ("_found",)

    def __init__(self) -> None:
        self._found: dict[bytes, tuple[list[Cell], Flags]] = {}

    def add(self, cell: Cell, messages: Flags) -> None:
        if messages.any():
            self._found.setdefault(messages.tobytes(), ([], messages))[0].append(cell)

    def all(self) -> list[tuple[Cells, Flags]]:
        return [(Cells.of(cells), messages) for cells, messages in self._found.values()]


def quiet_words(plan: EventPlan, group: Group) -> Places:
    """Messages with event status words in which no bit is set: they say that nothing has happened, and have no row."""
    if not plan.words:
        return group.message[:0]
    raised = np.zeros(len(group.message), np.bool_)
    for word in plan.words:
        raised |= cut_bits(group.octets, word.node, word.bits).any(axis=1)
    return group.message[~raised]


def untimed(messages: Places) -> Refused:
    """The refusal of values of which nothing says when they were."""
    unique, counts = np.unique(messages, return_counts=True)
    return Refused(unique, REASON_CODE[RejectReason.DATE_TIME], 0, counts, "nothing says when")


def _deltas(events: EventPlan, group: Group) -> npt.NDArray[np.int64]:
    """By message, how far so many deltas go together: none first."""
    moved = cut_numbers(group.octets, slots_of(events.deltas))[0].cumsum(axis=1)
    return np.concatenate([np.zeros((len(group.message), 1), np.int64), moved], axis=1)


def _times(plan: Plan, group: Group, clock: Node | None, newest: Micros | None) -> Micros:
    return believed_times(plan, group, clock or plan.clock or plan.events.clock, newest).at


def _kinds(events: EventPlan, code: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
    kinds = np.full(len(code), KIND_CODE[EventKind.OTHER], np.uint8)
    for known in np.unique(code).tolist():
        if known in events.code_table:
            kinds[code == known] = KIND_CODE[events.code_table[known]]
    return kinds


def _alarm_events(slot: AlarmSlot, register: npt.NDArray[np.int64], group: Group, at: Micros) -> list[Events]:
    """An event for each kind of which a bit is set: its code is the register, which names all bits that are.

    Bits of one kind would be events of one identity, of which a store keeps one. Bits that no table knows are one too.
    """
    if not register.any():
        return []
    masks: dict[EventKind, int] = {}
    for bit, kind in slot.bits.items():
        masks[kind] = masks.get(kind, 0) | 1 << bit
    known = sum(mask for kind, mask in masks.items() if kind is not EventKind.OTHER)
    masks[EventKind.OTHER] = ~known
    events = []
    for kind, mask in masks.items():
        raised = np.flatnonzero(register & mask)
        if not len(raised):
            continue
        kinds = np.full(len(raised), KIND_CODE[kind], np.uint8)
        events.append(_events(group.message[raised], kinds, register[raised], Origin.METER, at[raised]))
    return events


def _words(words: Sequence[WordSlot], group: Group) -> list[tuple[WordSlot, npt.NDArray[np.uint8]]]:
    """The bits of words, by message; of those that are read alike together: a bit of two is one event."""
    joined: dict[tuple[int, int], tuple[WordSlot, npt.NDArray[np.uint8]]] = {}
    for word in words:
        bits, alike = cut_bits(group.octets, word.node, word.bits), (word.bits, id(word.events))
        joined[alike] = (word, bits | joined[alike][1] if alike in joined else bits)
    return list(joined.values())


def _word_events(word: WordSlot, bits: npt.NDArray[np.uint8], group: Group, at: Micros) -> Events:
    """An event for each bit that is set, whose number is its code."""
    row, bit = np.nonzero(bits)
    kind_of = np.full(word.bits, KIND_CODE[EventKind.OTHER], np.uint8)
    for known, kind in word.events.items():
        kind_of[known : known + 1] = KIND_CODE[kind]
    return _events(group.message[row], kind_of[bit], bit.astype(np.int64), Origin.METER, at[row])


def _events(
    message: Places, kinds: npt.NDArray[np.uint8], code: npt.NDArray[np.int64], origin: Origin, at: Micros
) -> Events:
    return Events(message, kinds, code, np.full(len(message), ORIGIN_CODE[origin], np.uint8), at)


def _timed(events: Sequence[Events]) -> tuple[list[Events], list[Refused]]:
    timed: list[Events] = []
    refused: list[Refused] = []
    for each in events:
        lacking = each.at == NO_TIME
        timed.append(Events._make(column[~lacking] for column in each) if lacking.any() else each)
        if lacking.any():
            refused.append(untimed(each.message[lacking]))
    return timed, refused
