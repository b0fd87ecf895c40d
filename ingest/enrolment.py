"""METERS as decoding needs it: who a system title or a device name is, what it must prove, and how to read it."""

from datetime import datetime
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from ingest.blocks import NO_TIME
from ingest.buckets import bucket_of
from ingest.clocks import Micros
from ingest.columns import NULL_TEXT, micros_of, nulls, taken
from ingest.in_force import FOREVER, MeterLines, begins_of, one_line_each, succession_of
from ingest.keyring import Keyring
from ingest.lookup import NOT_FOUND
from ingest.meter_types import STRICTLY, MeterType, MeterTypes
from ingest.names import Names
from ingest.spans import Flags, Octets, Places
from ingest.title_lines import TitleLines
from schemas.codes import Channel
from schemas.errors import ContractError
from schemas.frames import UTC_US

NOT_ENROLLED: Final = -1
NO_ZONE: Final = -1
SECURITY_NOT_SAID: Final = -1
SECURITY_DEFAULT: Final = 0x30
"""Lowest security control of a meter whose system title has a key: authenticated and encrypted (CONTRACTS.md)."""
SECURITY_BITS: Final = 0x30
_SUITE_BITS: Final = 0x0F
_READ: Final = (
    "meter_id", "meter_type", "system_title", "security_min", "feeder_id", "timezone", "interval_s", "channels",
    "installed_at", "removed_at",
)  # fmt: skip
"""Columns of METERS that decoding reads."""


class MeterKind(NamedTuple):
    """What meters must share for one plan of reading to serve them all."""

    meter_type: MeterType | None  # None: not said, so a list id may
    channels: tuple[Channel, ...]
    interval_s: int | None


class Enrolment(NamedTuple):
    """METERS prepared once for many batches. Columns run by line: a row of METERS, of which a meter may have several.

    Lines stand in the order of `MeterLines`. Who asks for a meter says when the message was received, and gets the
    line that was in force then.
    """

    meter_id: pl.Series
    names: Names  # of the meters, in the order of their first lines
    titles: TitleLines
    lines: MeterLines
    bucket: npt.NDArray[np.int16]
    feeder_id: pl.Series  # null where METERS names none
    security_min: npt.NDArray[np.int16]  # -1 where METERS leaves it to the default
    zone: npt.NDArray[np.int32]  # place in `zones`, -1 where neither METERS nor its type names one
    zones: tuple[str, ...]
    kind: npt.NDArray[np.int32]  # place in `kinds`
    kinds: tuple[MeterKind, ...]
    asks_security: bool  # METERS ask some meter for more than its key does
    odd: Flags  # by kind: read in another manner than strictly
    as_of: int  # the time (microseconds) whose lines count where it is not known when a message was received

    @classmethod
    def of(cls, meters: pl.DataFrame, types: MeterTypes, as_of: datetime | None = None) -> "Enrolment":
        """METERS by title and name; of two lines of one meter that begin at the same time the later one counts.

        Args:
            meters: METERS: a line counts from its `installed_at` on (null: always) until that of the next.
            types: Meter types.
            as_of: Time whose lines read messages of which it is not known when they were received, as those of files
                are; None: the last line of each meter.

        Raises:
            ContractError: A meter type that does not exist, or one system title for two meters at one time.
        """
        ordered, names, lines = _in_succession(meters.select(_READ))
        kind, kinds = _kinds(ordered, types)
        zone, zones = _zones(ordered, kind, kinds)
        security_min = ordered["security_min"].cast(pl.Int16).fill_null(SECURITY_NOT_SAID).to_numpy()
        return cls(
            ordered["meter_id"],
            names,
            TitleLines.of(ordered, lines),
            lines,
            bucket_of(ordered["meter_id"]).cast(pl.Int16).to_numpy(),
            ordered["feeder_id"],
            security_min,
            zone,
            zones,
            kind,
            kinds,
            bool((security_min > 0).any()),
            np.array([each.meter_type is not None and each.meter_type.manner != STRICTLY for each in kinds], np.bool_),
            FOREVER if as_of is None else int(micros_of(pl.Series([as_of], dtype=UTC_US))[0]),
        )

    def when(self, received: Micros) -> Micros:
        """The time whose lines read each message: when it was received, else `as_of`."""
        is_dated = len(self.lines.following) or len(self.titles.later.line)
        return np.where(received == NO_TIME, self.as_of, received) if is_dated else received

    def rows_of_titles(self, titles: npt.NDArray[np.uint64], when: Micros) -> Places:
        """Line of each system title's meter, `NOT_ENROLLED` where no meter had it then."""
        return self.titles.find(titles, when, self.lines)

    def rows_of_names(self, octets: Octets, when: Micros) -> Places:
        """Line of the meter of each name (see `Names.find`), `NOT_ENROLLED` where there is none."""
        return self.lines.at(self.names.find(octets), when)

    def rows_of_ids(self, meter_ids: pl.Series, when: Micros) -> Places:
        """Line of each meter (see `Names.places_of`), `NOT_ENROLLED` where METERS lacks it."""
        return self.lines.at(self.names.places_of(meter_ids), when)

    def keys_of(self, meter_ids: pl.Series, received: pl.Series) -> pl.Series:
        """Kafka keys (String) of what is told of these meters: the feeder, so that a node's news meet in one consumer.

        A meter without one shares the key of its bucket (`meters-17`): as many messages as there are meters would
        cost more than decoding them.

        Args:
            meter_ids: Whom it is told of.
            received: When (UTC, may be null) the messages were received that tell it: the feeder is that of then.
        """
        place = self.rows_of_ids(meter_ids, self.when(micros_of(received)))
        met = np.flatnonzero(place != NOT_FOUND)
        keys = nulls(NULL_TEXT, len(place)).scatter(met, taken(self.feeder_id, place[met]))
        lone = keys.is_null()
        if not lone.any():
            return keys
        return keys.scatter(lone.arg_true(), "meters-" + bucket_of(meter_ids.filter(lone)).cast(pl.String))

    def asks_nothing(self, keyring: Keyring) -> bool:
        """No message can prove less than it owes: there are no METERS, or neither they nor a key ask for anything."""
        return not len(self.meter_id) or not (self.asks_security or len(keyring))

    def lowest_security(self, rows: Places, titles: npt.NDArray[np.uint64], keyring: Keyring) -> Places:
        """Lowest accepted security control of each message by its meter and the title it would use.

        A title with a key asks for the default, also where METERS does not know it. Without any METERS there is no
        policy: files are then read as they are.
        """
        if self.asks_nothing(keyring):
            return np.zeros(len(rows), np.int64)
        default = np.where(has_key(titles, keyring), SECURITY_DEFAULT, 0) if titles.any() else 0
        named = np.where(rows >= 0, self.security_min[rows], -1)
        return np.where(named >= 0, named, default).astype(np.int64)


def has_key(titles: npt.NDArray[np.uint64], keyring: Keyring) -> npt.NDArray[np.bool_]:
    """Whether a system title has a key of its own."""
    if not len(keyring):
        return np.zeros(len(titles), np.bool_)
    keyed: npt.NDArray[np.bool_] = keyring.knows(titles) & (titles != 0)
    return keyed


def is_downgrade(control: Places, lowest: Places) -> npt.NDArray[np.bool_]:
    """The message proves less than asked: authentication or encryption is missing, or the suite is a lower one."""
    lacking: npt.NDArray[np.bool_] = (lowest & SECURITY_BITS & ~control) != 0
    lacking |= (lowest & _SUITE_BITS) > (control & _SUITE_BITS)
    return lacking


def _in_succession(meters: pl.DataFrame) -> tuple[pl.DataFrame, Names, MeterLines]:
    """Lines in the order of `MeterLines`, and the names of the meters."""
    ids = meters["meter_id"]
    first = ids.is_first_distinct()
    if first.all():
        return meters, Names.of(ids), one_line_each(len(ids))
    names = Names.of(ids.filter(first))
    meter, begins = names.places_of(ids), begins_of(meters)
    order = succession_of(meter, begins)
    lines = MeterLines.of(len(order.first), meter[order.following], begins[order.following])
    return meters[np.concatenate((order.first, order.following))], names, lines


def _kinds(meters: pl.DataFrame, types: MeterTypes) -> tuple[npt.NDArray[np.int32], tuple[MeterKind, ...]]:
    described = meters.select("meter_type", "channels", "interval_s")
    unique = described.unique(maintain_order=True)
    kinds = []
    for name, channels, interval_s in unique.rows():
        if name is not None and name not in types.by_name:
            raise ContractError(f"METERS.meter_type: {name!r} is no meter type; known: {', '.join(types.by_name)}")
        meter_type = None if name is None else types.by_name[name]
        kinds.append(MeterKind(meter_type, tuple(Channel(each) for each in channels or ()), interval_s))
    numbered = unique.with_columns(kind=pl.int_range(pl.len(), dtype=pl.Int32))
    joined = described.join(numbered, on=described.columns, how="left", nulls_equal=True, maintain_order="left")
    return joined["kind"].to_numpy(), tuple(kinds)


def _zones(
    meters: pl.DataFrame, kind: npt.NDArray[np.int32], kinds: tuple[MeterKind, ...]
) -> tuple[npt.NDArray[np.int32], tuple[str, ...]]:
    of_kind = [None if each.meter_type is None else each.meter_type.timezone for each in kinds]
    by_kind = pl.Series([of_kind[each] for each in kind.tolist()], dtype=pl.String)
    zone = pl.select(pl.coalesce(meters["timezone"], by_kind)).to_series()
    names = tuple(zone.drop_nulls().unique().sort().to_list())
    places = {name: place for place, name in enumerate(names)}
    codes = zone.replace_strict(places, default=NO_ZONE, return_dtype=pl.Int32)
    return codes.fill_null(NO_ZONE).to_numpy(), names
