"""Meter types: what a message does not say and its make knows, kept as data (TOML in this folder).

A type names push layouts, scalers of lists sent without them, positional lists, quirks, the companion standard of its
events, and defaults where METERS says nothing.
"""

from collections.abc import Iterable
from importlib.resources import files
from typing import Final, Literal, NamedTuple

import msgspec

from ingest.dlms.hdlc import QUIRK_NUMBERED
from ingest.event_tables import STANDARDS
from ingest.templates import Template, check_obis, check_template
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
UNUSED: Final = "unused"
"""Stands in a type's `status` for a bit of the meter's that means nothing to us."""
STATUS_BITS: Final = {"octet": 8, "u16": 16, "u32": 32, "bits16": 16, "none": 0}
"""Bits of a row's status by its form: an unsigned number or enum, or a bit string, the first bit sent being bit 0."""
_SCALERS: Final = range(-128, 128)
"""Exponents of ten that scaler_unit can say: an integer of eight bits."""
QUIRKS: Final = AXDR_QUIRKS | {QUIRK_NUMBERED, ALARM_TELEGRAM, DOUBLED_TITLE, P1_TELEGRAM}


class Manner(NamedTuple):
    """How messages are read: departures from A-XDR, and the meter type whose templates its compact data follows."""

    quirks: frozenset[str] = frozenset()
    templates_of: str | None = None


STRICTLY: Final = Manner()


class PushLayout(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A push of rows {clock, [status], one number a channel}, told by its push object.

    `object` is "A-B:C.D.E.F" or `*`; `rows` says whether the numbers are interval quantities or register readings;
    `scaler` holds for all of them, or is a list with one a channel, in their order; `stamp` says which end of the
    interval the clock names; `status` the form of the status behind the clock: nothing wider or narrower is taken for
    it.
    """

    object: str
    rows: Literal["intervals", "registers"]
    scaler: int | tuple[int, ...] = 0
    stamp: Literal["end", "start"] = "end"
    status: Literal["octet", "u16", "u32", "bits16", "none"] = "octet"

    def scalers(self, channels: int) -> tuple[int, ...]:
        """The exponent of each of so many channels; as many as are listed where they are."""
        return (self.scaler,) * channels if isinstance(self.scaler, int) else self.scaler


class PositionalList(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A list sent without names: what stands at each place, an OBIS code or one of `LIST_WORDS`."""

    values: tuple[str, ...]


class MeterType(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One meter type. Everything but the name has a default that adds nothing to what a message says.

    `events` names the companion standard; `status` our bits by bit of its status (`unused`: none); `names`
    the objects that hold the meter's id; `scalers` the exponent of values sent without one, by C.D.E; `alarm_push` and
    `wake_up_push` the push setups behind which alarm registers (of a standard with event status words: such a word)
    stand unnamed, or nothing (SMR5); `response` the profile that is asked of it, whose buffer a get-response brings
    without a name; `template` the templates of its compact data.
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
    response: str | None = None
    push: tuple[PushLayout, ...] = ()
    list: tuple[PositionalList, ...] = ()
    template: tuple[Template, ...] = ()

    @property
    def manner(self) -> Manner:
        """How messages of the type are read."""
        return Manner(AXDR_QUIRKS.intersection(self.quirks), self.name if self.template else None)

    def status_tables(self, layout: PushLayout) -> tuple[tuple[int, ...], ...]:
        """Our status bits for each value 0 to 255 of each octet of the meter's status as a number, the lowest first."""
        width = STATUS_BITS[layout.status]
        sent = [0 if name == UNUSED else int(Status[name.upper()]) for name in self.status[:width]]
        bits = sent + [0] * (width - len(sent))
        if layout.status == "bits16":  # the first bit sent is the highest of the number
            bits.reverse()
        octets = [bits[at : at + 8] for at in range(0, width, 8)]
        return tuple(
            tuple(sum(bit for at, bit in enumerate(each) if octet >> at & 1) for octet in range(256)) for each in octets
        )

    def push_of(self, push_object: str) -> PushLayout | None:
        """The layout of a push object: by its name, else the type's layout for any."""
        by_name = {layout.object: layout for layout in self.push}
        return by_name.get(push_object, by_name.get(ANY_OBJECT))

    def list_of(self, count: int) -> PositionalList | None:
        """The positional list of that many values."""
        return next((entry for entry in self.list if len(entry.values) == count), None)


class _TypesFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    meter_type: tuple[dict[str, object], ...] = ()


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
        ContractError: Not TOML, an unknown or mistyped key, a name that means nothing, or what may stand but once
            standing twice; said with the type and the key.
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
    entries = tuple(_entry(said, at, where) for at, said in enumerate(parsed.meter_type, 1))
    for entry in entries:
        _check(entry, f"{where}: meter_type {entry.name!r}")
    _once((entry.name for entry in entries), f"{where}: meter_type")
    _once((text for entry in entries for text in entry.list_ids), f"{where}: list_ids")
    return entries


def _entry(said: dict[str, object], at: int, where: str) -> MeterType:
    try:
        return msgspec.convert(said, MeterType)
    except msgspec.ValidationError as error:
        which = repr(said["name"]) if "name" in said else f"number {at}"
        raise ContractError(f"{where}: meter_type {which}: {error}") from error


def _check(entry: MeterType, where: str) -> None:
    known = {bit.name.lower() for bit in Status if bit.name}
    _all_in(entry.status, known | {UNUSED}, f"{where}, status")
    _all_in(entry.quirks, QUIRKS, f"{where}, quirks")
    _all_in((entry.events,), set(STANDARDS), f"{where}, events")
    for template in entry.template:
        check_template(template, f"{where}, template {template.id}")
    _once((template.id for template in entry.template), f"{where}, template")
    widths = [STATUS_BITS[layout.status] for layout in entry.push if layout.status != "none"]
    if len(entry.status) > min(widths, default=8):
        raise ContractError(
            f"{where}, status: its {min(widths, default=8)} bits are fewer than {len(entry.status)} names"
        )
    _check_numbers(entry, where)
    _check_objects(entry, where)


def _check_objects(entry: MeterType, where: str) -> None:
    if entry.timezone is not None:
        try:
            timegrid.zone(entry.timezone)
        except ContractError as error:
            raise ContractError(f"{where}: {error}") from error
    for key in entry.scalers:
        if key.count(".") != 2:
            raise ContractError(f"{where}, scalers: {key!r} is not C.D.E of an OBIS code")
    for key, names in {
        "names": entry.names,
        "alarm_push": (entry.alarm_push,),
        "wake_up_push": (entry.wake_up_push,),
        "response": (entry.response,),
        "push object": (layout.object for layout in entry.push if layout.object != ANY_OBJECT),
        "list values": (value for each in entry.list for value in each.values if value not in LIST_WORDS),
        "scalers": (f"1-0:{key}.255" for key in entry.scalers),
    }.items():
        for name in names:
            if name is not None:
                check_obis(name, f"{where}, {key}")
    _once((layout.object for layout in entry.push), f"{where}, push object")
    _once((len(each.values) for each in entry.list), f"{where}, list of that many values")


def _check_numbers(entry: MeterType, where: str) -> None:
    if len(set(entry.channels)) < len(entry.channels):
        raise ContractError(f"{where}, channels: one stands twice, and its values would be one row in the store")
    if entry.interval_s is not None and entry.interval_s not in timegrid.INTERVAL_LENGTHS_S:
        lengths = ", ".join(map(str, timegrid.INTERVAL_LENGTHS_S))
        raise ContractError(f"{where}, interval_s: {entry.interval_s} is no capture period; known: {lengths}")
    pushed = [scaler for layout in entry.push for scaler in layout.scalers(1)]
    for scaler in (*entry.scalers.values(), *pushed):
        if scaler not in _SCALERS:
            raise ContractError(f"{where}, scaler: {scaler} is not one that an octet holds, -128 to 127")


def _once(said: Iterable[object], where: str) -> None:
    seen: set[object] = set()
    for each in said:
        if each in seen:
            raise ContractError(f"{where}: {each!r} stands twice")
        seen.add(each)


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
