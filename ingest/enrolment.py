"""METERS as decoding needs it: who a system title or a device name is, what it must prove, and how to read it."""

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from ingest.buckets import bucket_of
from ingest.columns import NULL_TEXT, nulls, taken
from ingest.keyring import Keyring
from ingest.lookup import NOT_FOUND, Lookup
from ingest.meter_types import STRICTLY, MeterType, MeterTypes
from ingest.names import Names
from ingest.spans import Flags, Places
from ingest.titles import titles_from_hex
from schemas.codes import Channel
from schemas.errors import ContractError

NOT_ENROLLED: Final = -1
NO_ZONE: Final = -1
SECURITY_NOT_SAID: Final = -1
SECURITY_DEFAULT: Final = 0x30
"""Lowest security control of a meter whose system title has a key: authenticated and encrypted (CONTRACTS.md)."""
SECURITY_BITS: Final = 0x30
_SUITE_BITS: Final = 0x0F


class MeterKind(NamedTuple):
    """What meters must share for one plan of reading to serve them all."""

    meter_type: MeterType | None  # None: not said, so a list id may
    channels: tuple[Channel, ...]
    interval_s: int | None


class Enrolment(NamedTuple):
    """METERS prepared once for many batches. Columns run by meter, in the order of METERS."""

    meter_id: pl.Series
    names: Names
    by_title: Lookup
    titled: Places  # the meters that `by_title` finds
    title: npt.NDArray[np.uint64]  # by meter; 0 where it has none
    bucket: npt.NDArray[np.int16]  # by meter
    feeder_id: pl.Series  # by meter; null where METERS names none
    security_min: npt.NDArray[np.int16]  # by meter; -1 where METERS leaves it to the default
    zone: npt.NDArray[np.int32]  # by meter, place in `zones`, -1 where neither METERS nor its type names one
    zones: tuple[str, ...]
    kind: npt.NDArray[np.int32]  # by meter, place in `kinds`
    kinds: tuple[MeterKind, ...]
    asks_security: bool  # METERS ask some meter for more than its key does
    odd: Flags  # by kind: read in another manner than strictly

    @classmethod
    def of(cls, meters: pl.DataFrame, types: MeterTypes) -> "Enrolment":
        """METERS by title and name; of two rows of one meter the later counts.

        Raises:
            ContractError: A meter type that does not exist, or one system title for two meters.
        """
        newest = meters.unique("meter_id", keep="last", maintain_order=True)
        kind, kinds = _kinds(newest, types)
        zone, zones = _zones(newest, kind, kinds)
        titles = _titles(newest["system_title"])
        titled = np.flatnonzero(titles)
        _refuse_twins(titles[titled], newest["meter_id"].gather(titled))
        security_min = newest["security_min"].cast(pl.Int16).fill_null(SECURITY_NOT_SAID).to_numpy()
        return cls(
            newest["meter_id"],
            Names.of(newest["meter_id"]),
            Lookup.of(titles[titled]),
            titled,
            titles,
            bucket_of(newest["meter_id"]).cast(pl.Int16).to_numpy(),
            newest["feeder_id"],
            security_min,
            zone,
            zones,
            kind,
            kinds,
            bool((security_min > 0).any()),
            np.array([each.meter_type is not None and each.meter_type.manner != STRICTLY for each in kinds], np.bool_),
        )

    def rows_of_titles(self, titles: npt.NDArray[np.uint64]) -> Places:
        """Meter of each system title, `NOT_ENROLLED` where there is none."""
        found = self.by_title.find(titles)
        return np.where(found >= 0, self.titled[found], NOT_ENROLLED) if len(self.titled) else found

    def keys_of(self, meter_ids: pl.Series) -> pl.Series:
        """Kafka keys (String) of what is told of these meters: the feeder, so that a node's news meet in one consumer.

        A meter without one shares the key of its bucket (`meters-17`): as many messages as there are meters would
        cost more than decoding them.
        """
        place = self.names.places_of(meter_ids)
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


def _titles(texts: pl.Series) -> npt.NDArray[np.uint64]:
    """System titles as numbers, 0 where there is none."""
    return titles_from_hex(texts.fill_null("0" * 16))


def _refuse_twins(titles: npt.NDArray[np.uint64], names: pl.Series) -> None:
    order = np.argsort(titles, kind="stable")
    same = np.flatnonzero(titles[order][1:] == titles[order][:-1])
    if len(same):
        one, other = (names[int(order[int(same[0]) + step])] for step in (0, 1))
        raise ContractError(f"METERS.system_title: {int(titles[order][same[0]]):016x} belongs to {one} and {other}")
