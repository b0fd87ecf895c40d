"""Tariffs: what a `TARIFFS.toml` may say, parsed once and strictly.

```toml
[[tariff]]
name = "household"              # what METERS.tariff says
timezone = "Europe/Berlin"      # IANA; local days, time of use and demand windows are in this zone
demand_window_min = 30          # 15, 30 or 60; default 30
demand = "block"                # or "sliding": a window starts at every interval
demand_takes_estimates = false  # true: estimated intervals may set the maximum
valid_from = 2026-01-01         # first local day of this version; several [[tariff]] of one name are its versions
version = "2026"                # default: valid_from, else "1"

[[tariff.season]]               # optional; local days, both within a year, half open, may wrap over the new year
name = "winter"
from = "10-01"
to = "04-01"

[[tariff.period]]
name = "peak"
days = ["workday"]              # see DAYS
start = "07:00"                 # wall clock, half open; "24:00" is the end of the day; start > end wraps midnight
end = "21:00"
season = "winter"               # default: all the year

[[tariff.period]]               # the first period that matches wins; the last is the default for all other times
name = "off_peak"
```

Virtual and aggregate channels stand beside the tariffs; a row of METERS with the virtual meter's name gives it an
account, a tariff and a time zone:

```toml
[[virtual]]
meter = "SITE-1"                # the name it is billed under
service_point = "SP-SITE-1"
channel = "energy_delivered"
negative = "keep"               # or "zero": a sum below zero counts as none
term = [
    {meter = "M1"},                             # factor_milli = 1000, channel = "energy_delivered"
    {meter = "M2", factor_milli = -1000},
]
```

`days` is a word or a list of words: `mon` … `sun` (or the full English names, or ISO numbers 1 … 7), ranges `mon-fri`,
`workday` (Monday to Friday), `weekend`, `holiday`, `all`. A holiday is of the kind holiday whatever weekday it falls
on: only `holiday` and `all` match it.
"""

import datetime
import re
import tomllib
from typing import Final, Literal

import msgspec

from schemas.codes import Channel
from schemas.errors import ContractError
from schemas.timegrid import zone

HOLIDAY: Final = 8
"""Number of a holiday, beside the ISO weekdays 1 to 7."""
MINUTES_OF_DAY: Final = 1440
_EVER: Final = datetime.date.min

_NAMES: Final = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_WEEKDAY: Final = {
    **{name: number for number, name in enumerate(_NAMES, 1)},
    **{name[:3]: number for number, name in enumerate(_NAMES, 1)},
}
DAYS: Final[dict[str, tuple[int, ...]]] = {
    **{name: (number,) for name, number in _WEEKDAY.items()},
    **{str(number): (number,) for number in range(1, 8)},
    **dict.fromkeys(("workday", "workdays", "weekday", "weekdays"), (1, 2, 3, 4, 5)),
    **dict.fromkeys(("weekend", "weekends"), (6, 7)),
    **dict.fromkeys(("holiday", "holidays"), (HOLIDAY,)),
    **dict.fromkeys(("all", "every", "daily"), (1, 2, 3, 4, 5, 6, 7, HOLIDAY)),
}
"""Words of `days`, in any case, and the days they stand for."""

_CLOCK: Final = re.compile(r"(\d{1,2}):(\d{2})(?::00)?")
_MONTH_DAY: Final = re.compile(r"(\d{2})-(\d{2})")
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9 _.-]{0,39}")


class Season(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Days of the year, half open: from `month-day` to before `month-day`."""

    name: str
    from_: str = msgspec.field(name="from")
    to: str

    def __post_init__(self) -> None:
        self.bounds()

    def bounds(self) -> tuple[int, int]:
        """First day and day after the last, as month × 100 + day."""
        return _month_day(self.from_), _month_day(self.to)


class Period(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Times of the week that a tariff calls by one name."""

    name: str
    days: str | int | tuple[str | int, ...] = "all"
    start: str = "00:00"
    end: str = "24:00"
    season: str | None = None

    def __post_init__(self) -> None:
        _name(self.name)
        self.day_numbers()
        if self.minutes()[0] == self.minutes()[1]:
            raise ValueError(f"start and end are both {self.start}: the period is empty")

    def day_numbers(self) -> frozenset[int]:
        """ISO weekdays 1 to 7, and `HOLIDAY`."""
        words = self.days if isinstance(self.days, tuple) else (self.days,)
        if not words:
            raise ValueError("days is empty")
        return frozenset(number for word in words for number in _days(str(word).strip().lower()))

    def minutes(self) -> tuple[int, int]:
        """Start and end as minutes of the wall clock, 0 to 1440."""
        return _minutes(self.start), _minutes(self.end)


class Tariff(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One version of a tariff."""

    name: str
    timezone: str
    demand_window_min: Literal[15, 30, 60] = 30
    period: tuple[Period, ...] = ()
    demand: Literal["block", "sliding"] = "block"
    demand_takes_estimates: bool = False
    valid_from: datetime.date | None = None
    version: str | None = None
    season: tuple[Season, ...] = ()

    def __post_init__(self) -> None:
        _name(self.name)
        try:
            zone(self.timezone)
        except ContractError as error:
            raise ValueError(str(error)) from error
        seasons = {season.name for season in self.season}
        for period in self.period:
            if period.season is not None and period.season not in seasons:
                raise ValueError(f"period {period.name!r}: no season {period.season!r}")

    def label(self) -> str:
        """Name of the version."""
        return self.version or (self.valid_from.isoformat() if self.valid_from else "1")


class Term(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One summand of a virtual meter: `factor_milli` thousandths of a meter's channel."""

    meter: str
    channel: Channel = Channel.ENERGY_DELIVERED
    factor_milli: int = 1000


class Virtual(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A meter that nobody installed: the sum of its terms, interval by interval."""

    meter: str
    term: tuple[Term, ...]
    channel: Channel = Channel.ENERGY_DELIVERED
    service_point: str | None = None
    negative: Literal["keep", "zero"] = "keep"

    def __post_init__(self) -> None:
        if not self.term:
            raise ValueError(f"virtual {self.meter!r}: no term")
        if any(term.meter == self.meter for term in self.term):
            raise ValueError(f"virtual {self.meter!r} is a term of itself")


class TariffBook(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Every version of every tariff, and the virtual meters."""

    tariff: tuple[Tariff, ...] = ()
    virtual: tuple[Virtual, ...] = ()

    def __post_init__(self) -> None:
        names = [(entry.meter, entry.channel) for entry in self.virtual]
        if len(set(names)) < len(names):
            raise ValueError("a virtual meter and channel is given twice")
        self.summed_in_order()
        seen: set[tuple[str, datetime.date | None]] = set()
        for entry in self.tariff:
            if (entry.name, entry.valid_from) in seen:
                raise ValueError(f"tariff {entry.name!r} is given twice from {entry.valid_from or 'the beginning'}")
            seen.add((entry.name, entry.valid_from))
        for name in {entry.name for entry in self.tariff}:
            if len({entry.timezone for entry in self.tariff if entry.name == name}) > 1:
                raise ValueError(f"tariff {name!r}: its versions have different time zones")

    def summed_in_order(self) -> tuple[Virtual, ...]:
        """The virtual meters, each after those that are its terms.

        Raises:
            ValueError: Some rest on one another in a circle.
        """
        waiting = {(entry.meter, entry.channel): entry for entry in self.virtual}
        ordered: list[Virtual] = []
        while waiting:
            ready = [
                entry for entry in waiting.values() if all((t.meter, t.channel) not in waiting for t in entry.term)
            ]
            if not ready:
                raise ValueError(f"virtual {min(waiting)[0]!r} rests on itself through its terms")
            ordered += ready
            for entry in ready:
                del waiting[entry.meter, entry.channel]
        return tuple(ordered)

    def labels(self, first: datetime.date, after: datetime.date) -> tuple[tuple[str, str], ...]:
        """Name and label of every tariff, by name, as `label` gives it."""
        names = sorted({entry.name for entry in self.tariff})
        return tuple((name, self.label(name, first, after) or "") for name in names)

    def label(self, name: str, first: datetime.date, after: datetime.date) -> str | None:
        """What `DETERMINANTS.tou_version` says: labels of the versions in force on the local days from `first` to
        before `after`, the oldest first, with `+` between; null where there is no tariff of that name."""
        versions = self.versions(name)
        begun = [place for place, entry in enumerate(versions) if (entry.valid_from or _EVER) < after]
        before = [place for place in begun if (versions[place].valid_from or _EVER) <= first]
        in_force = range(before[-1] if before else 0, max(begun, default=0) + 1)
        return "+".join(versions[place].label() for place in in_force) if versions else None

    def versions(self, name: str) -> tuple[Tariff, ...]:
        """Versions of a tariff, oldest first; empty where there is none of that name."""
        found = [entry for entry in self.tariff if entry.name == name]
        return tuple(sorted(found, key=lambda entry: entry.valid_from or _EVER))


def parse_tariffs(text: str) -> TariffBook:
    """The tariffs of a `TARIFFS.toml`.

    Raises:
        ContractError: Not TOML, an unknown key, a wrong type or a value out of range; the message names the path.
    """
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ContractError(f"tariffs: not TOML: {error}") from error
    try:
        return msgspec.convert(_times_as_text(table), TariffBook, builtin_types=(datetime.date,))
    except msgspec.ValidationError as error:
        raise ContractError(f"tariffs: {error}") from error


def _times_as_text(value: object) -> object:
    # TOML has a type for 07:00:00; written with or without quotation marks it means the same here.
    if isinstance(value, dict):
        return {key: _times_as_text(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_times_as_text(item) for item in value]
    return value.isoformat() if isinstance(value, datetime.time) else value


def _days(word: str) -> tuple[int, ...]:
    if word in DAYS:
        return DAYS[word]
    first, _, last = word.partition("-")
    if first in _WEEKDAY and last in _WEEKDAY:
        count = (_WEEKDAY[last] - _WEEKDAY[first]) % 7 + 1
        return tuple((_WEEKDAY[first] - 1 + step) % 7 + 1 for step in range(count))
    raise ValueError(f"days: {word!r} is no day, range or kind of day")


def _minutes(text: str) -> int:
    found = _CLOCK.fullmatch(text)
    minutes = int(found[1]) * 60 + int(found[2]) if found and int(found[2]) < 60 else MINUTES_OF_DAY + 1
    if minutes > MINUTES_OF_DAY:
        raise ValueError(f"{text!r} is no time of day between 00:00 and 24:00")
    return minutes


def _month_day(text: str) -> int:
    found = _MONTH_DAY.fullmatch(text)
    try:
        # A leap year, so that a season may begin or end on 29 February.
        datetime.date(2000, int(found[1]) if found else 0, int(found[2]) if found else 0)
    except ValueError as error:
        raise ValueError(f"{text!r} is no MM-DD") from error
    return int(text[:2]) * 100 + int(text[3:])


def _name(text: str) -> None:
    if not _NAME.fullmatch(text):
        raise ValueError(f"{text!r}: a name is 1 to 40 letters, digits, blanks or _ . -")
