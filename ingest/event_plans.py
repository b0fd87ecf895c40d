"""Which values of a push are events: codes, alarm registers and descriptors, status words, and pushes that are one."""

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple, TypeAlias

from ingest.dlms.cosem import obis_text, parse_obis
from ingest.dlms.data import Tag
from ingest.dlms.nodes import STRINGS, UNSIGNED, Node
from ingest.dlms.push import apdu_values
from ingest.event_logs import Unlogged, read_log
from ingest.event_tables import STANDARDS, EventTable
from ingest.meaning import Meaning, Value, is_event_code, is_event_log
from ingest.meter_types import MeterType
from schemas.codes import EventKind, Origin

Named: TypeAlias = tuple[Value, bytes | None]
"""A value and its name."""
LAST_GASP_NAME: Final = b"\x80\x80\x80\x80\x80\x00"
"""128.128.128.128.128.0: what the radio of an MX382 calls its last gasp (dlms.md section 10)."""
_ALARM_CD: Final = b"\x61\x62"
_DESCRIPTORS_FROM: Final = 20
_ALARM_REGISTERS: Final = 10
_SERIAL_CD: Final = b"\x60\x01"
_STATUS_WORD_CDE: Final = b"\x5e\x5b\x12"
"""0.0.94.91.18: event status word of IS 15959, a bit string."""
_STATUS_WORD_BITS: Final = 128
"""Of that standard; a longer bit string is another thing, and its bits would be events without bound."""


class CodeSlot(NamedTuple):
    """A number that is an event code, and the clock sent with it; `obis` where it was sent under a name.

    `since`, `until`: which of the plan's deltas are added to it.
    """

    node: Node
    clock: Node | None
    obis: str | None
    since: int = 0
    until: int = 0


class AlarmSlot(NamedTuple):
    """A number whose bits are alarms; `obis` where it was sent under a name."""

    node: Node
    bits: dict[int, EventKind]
    obis: str | None


class WordSlot(NamedTuple):
    """A bit string, an event status word: so many bits, and the event of each that is known."""

    node: Node
    bits: int
    events: dict[int, EventKind]


class Fixed(NamedTuple):
    """An event that the structure of the message tells, whatever its slots hold."""

    kind: EventKind
    code: int | None
    origin: Origin


class EventPlan(NamedTuple):
    """The events of a push. `taken` are places of values that are not reads; `refused` what of logs is no event."""

    codes: tuple[CodeSlot, ...]
    code_table: dict[int, EventKind]
    alarms: tuple[AlarmSlot, ...]
    words: tuple[WordSlot, ...]
    fixed: tuple[Fixed, ...]
    clock: Node | None  # the only clock of a push that has just one, whatever it is named
    taken: frozenset[int]
    deltas: tuple[Node, ...]
    refused: tuple[Unlogged, ...]

    @property
    def any(self) -> bool:
        """The push tells events."""
        return bool(self.codes or self.alarms or self.words or self.fixed)

    @property
    def may_be_wide(self) -> tuple[CodeSlot | AlarmSlot, ...]:
        """Codes and registers of more bits than an event's code has: what does not fit there is a read as well."""
        slots: list[CodeSlot | AlarmSlot] = [*self.codes, *self.alarms]
        # Rows of a log that leave out their code share its number, which is one read.
        return tuple({id(slot.node): slot for slot in slots if slot.node.tag == Tag.UINT64}.values())


def plan_events(meaning: Meaning, named: Sequence[Named], meter_type: MeterType) -> EventPlan:
    """The events among the values of a push, by the companion standard of the meter's type.

    `named`: the values of `meaning`, each with its name, sent with it or that of its place in the type's list.
    """
    table = STANDARDS[meter_type.events]
    codes = dict(_codes(named))
    logs = _logs(meaning, named)
    alarms: dict[int, AlarmSlot] = {}
    is_alarm_push = _names(meaning, meter_type.alarm_push)
    unnamed = _setup_registers(named) if is_alarm_push and not table.status_word else {}
    for at, (value, name) in enumerate(named):
        register = unnamed.get(at, _alarm_register(name))
        if register is not None and value.node.tag in UNSIGNED and value.is_value:
            alarms[at] = AlarmSlot(value.node, table.alarms.get(register, {}), _text_of(name))
    fixed = tuple(_fixed(meaning, meter_type))
    words = tuple(_status_words(named, table, unnamed=is_alarm_push))
    taken = frozenset((*codes, *alarms, *logs.taken))
    of_reads = {value.captured.at for at, (value, _) in enumerate(named) if value.captured and at not in taken}
    clocks = [value.node for value in meaning.values if value.node.is_clock and value.node.at not in of_reads]
    sole = clocks[0] if len(clocks) == 1 else None
    slots = (*codes.values(), *logs.codes)
    registers = tuple(alarms.values())
    return EventPlan(slots, table.codes, registers, words, fixed, sole, taken, logs.deltas, logs.refused)


def tells_events(name: bytes) -> bool:
    """The object of this name says events by its value: another attribute of it is neither that nor a read."""
    return is_event_code(name) or is_event_log(name) or _alarm_register(name) is not None or _is_status_word(name)


def _is_status_word(name: bytes) -> bool:
    return name[2:5] == _STATUS_WORD_CDE


def _text_of(name: bytes | None) -> str | None:
    return None if name is None else obis_text(name)


class _Logs(NamedTuple):
    codes: list[CodeSlot]
    deltas: tuple[Node, ...]
    refused: tuple[Unlogged, ...]
    taken: frozenset[int]


def _logs(meaning: Meaning, named: Sequence[Named]) -> _Logs:
    """Codes of all logs that are sent as values."""
    names = {value.place: _text_of(name) for value, name in named if value.is_value and is_event_log(name)}
    located = meaning.layout.located
    pushed = apdu_values(located.apdu) if names else []
    codes: list[CodeSlot] = []
    deltas: list[Node] = []
    refused: list[Unlogged] = []
    numbers: set[int] = set()
    for place, obis in names.items():
        log, before = read_log(located.nodes[id(pushed[place].data)]), len(deltas)
        codes += [CodeSlot(each.node, each.clock, obis, before + each.since, before + each.until) for each in log.codes]
        deltas += log.deltas
        refused += log.refused
        numbers.update(map(id, log.numbers))
    taken = frozenset(at for at, (value, _) in enumerate(named) if id(value.node) in numbers)
    return _Logs(codes, tuple(deltas), tuple(refused), taken)


def _codes(named: Sequence[Named]) -> Iterator[tuple[int, CodeSlot]]:
    """Event codes by the place of their value, each with the clock beside it, else the first of its value."""
    first: dict[int, Node] = {}
    for value, _ in named:
        if value.node.is_clock:
            first.setdefault(value.place, value.node)
    for at, (value, name) in enumerate(named):
        if value.node.tag in UNSIGNED and value.is_value and is_event_code(name):
            yield at, CodeSlot(value.node, value.clock or value.captured or first.get(value.place), _text_of(name))


def _alarm_register(name: bytes | None) -> int | None:
    """1 for register 0.b.97.98.0 and its descriptor 0.b.97.98.20, and so on."""
    if name is None or name[0] != 0 or name[2:4] != _ALARM_CD:
        return None
    place = name[4]
    if place >= _DESCRIPTORS_FROM:
        place -= _DESCRIPTORS_FROM
    return place + 1 if place < _ALARM_REGISTERS else None


def _setup_registers(named: Sequence[Named]) -> dict[int, int]:
    """Alarm registers that stand unnamed behind the push setup of alarms: value -> register 1, 2 ..."""
    numbers = (at for at, (value, name) in enumerate(named) if name is None and value.node.tag == Tag.UINT32)
    return {at: register for register, at in enumerate(numbers, 1)}


def _names(meaning: Meaning, push_setup: str | None) -> bool:
    if push_setup is None:
        return False
    name = parse_obis(push_setup)
    return any(node.is_name and node.value == name for node in meaning.layout.located.body.leaves())


def _fixed(meaning: Meaning, meter_type: MeterType) -> list[Fixed]:
    name = meaning.event_name
    if name is None:
        wakes = _names(meaning, meter_type.wake_up_push)
        return [Fixed(EventKind.WAKE_UP, None, Origin.METER)] if wakes else []
    if name == LAST_GASP_NAME:
        return [Fixed(EventKind.LAST_GASP, None, Origin.NIC)]
    if meaning.rows is not None or any(value.node.tag not in STRINGS for value in meaning.values):
        return []  # numbers and bits speak for themselves
    if name[2:4] == _SERIAL_CD:
        return [Fixed(EventKind.WAKE_UP, None, Origin.METER)]
    return [Fixed(EventKind.OTHER, None, Origin.METER)]


def _status_words(named: Sequence[Named], table: EventTable, *, unnamed: bool) -> Iterator[WordSlot]:
    """Bit strings under the name of an event status word; `unnamed`: also those behind the push setup of alarms."""
    for value, name in named:
        node = value.node
        is_word = bool(table.status_word) and unnamed if name is None else _is_status_word(name)
        if not is_word or node.tag != Tag.BIT_STRING or not value.is_value:
            continue
        bits = len(str(node.value))
        if bits <= _STATUS_WORD_BITS:
            yield WordSlot(node, bits, table.status_word)
