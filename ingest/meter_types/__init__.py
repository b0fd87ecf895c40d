"""Meter types: what a message does not say and its make knows, kept as data (TOML in this folder).

A type names push layouts, scalers of lists sent without them, positional lists, quirks, the companion standard of its
events, and defaults where METERS says nothing.
"""

from collections.abc import Iterable
from importlib.resources import files
from typing import Final, Literal, NamedTuple

import msgspec

from ingest.dlms.cosem import parse_obis
from ingest.event_tables import STANDARDS
from ingest.templates import Template, check_template
from schemas import timegrid
from schemas.codes import Channel, Status
from schemas.errors import ContractError

ANY_OBJECT: Final = "*"
DEFAULT_TYPE: Final = "generic"
LIST_WORDS: Final = frozenset(("list_id", "meter_id", "clock", "text"))
"""Places of a positional list that hold no quantity."""
ALARM_TELEGRAM: Final = "dsmr4_alarm"
"""The meter sends alarms as 17 characters, a comma and four bytes, which is no DLMS (DSMR4)."""
AXDR_QUIRKS: Final = frozenset(("obis_tag_swapped", "untagged_descriptor"))
"""Departures from A-XDR that a type may name; everything else stays strict (dlms.md section 10)."""
DOUBLED_TITLE: Final = "title_length_doubled"
"""The system title of general-glo stands behind two lengths, `DB 09 08 ...` (Kaifa GPRS)."""
P1_TELEGRAM: Final = "p1_telegram"
"""General-glo holds a P1 telegram, text in place of an APDU (customer ports of Luxembourg)."""
_SCALERS: Final = range(-128, 128)
"""Exponents of ten that scaler_unit can say: an integer of eight bits."""
QUIRKS: Final = AXDR_QUIRKS | {ALARM_TELEGRAM, DOUBLED_TITLE, P1_TELEGRAM}


class Manner(NamedTuple):
    """How messages are read: departures from A-XDR, and the meter type whose templates its compact data follows."""

    quirks: frozenset[str] = frozenset()
    templates_of: str | None = None


STRICTLY: Final = Manner()


class PushLayout(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A push of rows {clock, [status], one number a channel}, told by its push object.

    `object` is "A-B:C.D.E.F" or `*`; `rows` says whether the numbers are interval quantities or register readings;
    `scaler` holds for all of them; `stamp` says which end of the interval the clock names; `status` whether an octet of
    status stands behind the clock.
    """

    object: str
    rows: Literal["intervals", "registers"]
    scaler: int = 0
    stamp: Literal["end", "start"] = "end"
    status: Literal["octet", "none"] = "octet"


class PositionalList(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A list sent without names: what stands at each place, an OBIS code or one of `LIST_WORDS`."""

    values: tuple[str, ...]


class MeterType(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One meter type. Everything but the name has a default that adds nothing to what a message says.

    `events` names the companion standard; `status` our status bits by bit of the meter's status octet; `names` the
    objects that hold the meter's id; `scalers` the exponent of values sent without one, by C.D.E; `alarm_push` and
    `wake_up_push` the push setups behind which alarm registers (of a standard with event status words: such a word)
    stand unnamed, or nothing (SMR5); `template` the templates of its compact data.
    """

    name: str
    profile: Literal["interval", "cumulative"] = "cumulative"
    events: str = "generic"
    timezone: str | None = None
    interval_s: int | None = None
    channels: tuple[Channel, ...] = ()
    status: tuple[str, ...] = ()
    list_ids: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    scalers: dict[str, int] = {}
    quirks: tuple[str, ...] = ()
    deviation_inverted: bool = False
    alarm_push: str | None = None
    wake_up_push: str | None = None
    push: tuple[PushLayout, ...] = ()
    list: tuple[PositionalList, ...] = ()
    template: tuple[Template, ...] = ()

    @property
    def manner(self) -> Manner:
        """How messages of the type are read."""
        return Manner(AXDR_QUIRKS.intersection(self.quirks), self.name if self.template else None)

    def status_of_octet(self) -> tuple[int, ...]:
        """Our status bits for each value 0 to 255 of the meter's status octet."""
        bits = [Status[name.upper()] for name in self.status]
        return tuple(sum(int(bit) for at, bit in enumerate(bits) if octet >> at & 1) for octet in range(256))

    def push_of(self, push_object: str) -> PushLayout | None:
        """The layout of a push object: by its name, else the type's layout for any."""
        by_name = {layout.object: layout for layout in self.push}
        return by_name.get(push_object, by_name.get(ANY_OBJECT))

    def list_of(self, count: int) -> PositionalList | None:
        """The positional list of that many values."""
        return next((entry for entry in self.list if len(entry.values) == count), None)


class _TypesFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    meter_type: tuple[MeterType, ...] = ()


class MeterTypes(NamedTuple):
    """All types by name, and the types that list ids stand for."""

    by_name: dict[str, MeterType]
    by_list_id: dict[bytes, MeterType]

    @property
    def default(self) -> MeterType:
        """The type of a meter of which nothing is known."""
        return self.by_name[DEFAULT_TYPE]


def parse_types(text: str) -> MeterTypes:
    """The built-in types, extended or overridden by those of a `meter_types.toml`.

    Raises:
        ContractError: Not TOML, an unknown or mistyped key (named with its path), or a name that means nothing.
    """
    return _index((*BUILT_IN.by_name.values(), *_parse(text, "meter types")))


def profiles(types: MeterTypes) -> dict[str, str]:
    """Meter type name -> `interval` or `cumulative`."""
    return {name: entry.profile for name, entry in types.by_name.items()}


def _parse(text: str, where: str) -> tuple[MeterType, ...]:
    try:
        parsed = msgspec.toml.decode(text, type=_TypesFile)
    except msgspec.MsgspecError as error:
        raise ContractError(f"{where}: {error}") from error
    for entry in parsed.meter_type:
        _check(entry, f"{where}: meter_type {entry.name!r}")
    return parsed.meter_type


def _check(entry: MeterType, where: str) -> None:
    known = {bit.name.lower() for bit in Status if bit.name}
    _all_in(entry.status, known, f"{where}, status")
    _all_in(entry.quirks, QUIRKS, f"{where}, quirks")
    _all_in((entry.events,), set(STANDARDS), f"{where}, events")
    for template in entry.template:
        check_template(template, f"{where}, template {template.id}")
    if len(entry.status) > 8:
        raise ContractError(f"{where}, status: an octet has 8 bits, {len(entry.status)} are named")
    _check_numbers(entry, where)
    if entry.timezone is not None:
        timegrid.zone(entry.timezone)
    objects = [layout.object for layout in entry.push if layout.object != ANY_OBJECT]
    places = [value for each in entry.list for value in each.values if value not in LIST_WORDS]
    setups = [name for name in (entry.alarm_push, entry.wake_up_push) if name is not None]
    _all_in((key for key in entry.scalers if key.count(".") != 2), (), f"{where}, scalers (C.D.E)")
    for name in (*entry.names, *setups, *objects, *places, *(f"1-0:{key}.255" for key in entry.scalers)):
        parse_obis(name)


def _check_numbers(entry: MeterType, where: str) -> None:
    if len(set(entry.channels)) < len(entry.channels):
        raise ContractError(f"{where}, channels: one stands twice, and its values would be one row in the store")
    if entry.interval_s is not None and entry.interval_s not in timegrid.INTERVAL_LENGTHS_S:
        lengths = ", ".join(map(str, timegrid.INTERVAL_LENGTHS_S))
        raise ContractError(f"{where}, interval_s: {entry.interval_s} is no capture period; known: {lengths}")
    for scaler in (*entry.scalers.values(), *(layout.scaler for layout in entry.push)):
        if scaler not in _SCALERS:
            raise ContractError(f"{where}, scaler: {scaler} is not one that an octet holds, -128 to 127")


def _all_in(names: Iterable[str], known: Iterable[str], where: str) -> None:
    allowed = set(known)
    for name in names:
        if name not in allowed:
            raise ContractError(f"{where}: {name!r} means nothing here; known: {', '.join(sorted(allowed)) or 'none'}")


def _index(entries: Iterable[MeterType]) -> MeterTypes:
    by_name = {entry.name: entry for entry in entries}
    by_list_id = {text.encode("latin-1"): entry for entry in by_name.values() for text in entry.list_ids}
    return MeterTypes(by_name, by_list_id)


def _built_in() -> MeterTypes:
    texts = [entry for entry in files(__name__).iterdir() if entry.name.endswith(".toml")]
    ordered = sorted(texts, key=lambda entry: entry.name)
    return _index(entry for text in ordered for entry in _parse(text.read_text("utf-8"), text.name))


BUILT_IN: Final = _built_in()
"""Types of the simulator and of the makes in the reference; `generic` is the default."""
