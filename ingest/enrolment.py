"""METERS as decoding needs it: who a system title or a device name is, what it must prove, and how to read it."""

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from ingest.keyring import Keyring
from ingest.meter_types import MeterType, MeterTypes
from ingest.spans import Places
from schemas.codes import Channel
from schemas.errors import ContractError

NOT_ENROLLED: Final = -1
NO_ZONE: Final = -1
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
    by_name: pl.DataFrame  # meter_id, row
    title: npt.NDArray[np.uint64]  # ascending, of those meters that have one
    title_row: Places
    has_title: npt.NDArray[np.uint64]  # by meter; 0 where it has none
    security_min: npt.NDArray[np.int16]  # by meter; -1 where METERS leaves it to the default
    zone: npt.NDArray[np.int32]  # by meter, place in `zones`, -1 where neither METERS nor its type names one
    zones: tuple[str, ...]
    kind: npt.NDArray[np.int32]  # by meter, place in `kinds`
    kinds: tuple[MeterKind, ...]

    @classmethod
    def of(cls, meters: pl.DataFrame, types: MeterTypes) -> "Enrolment":
        """METERS by title and name; of two rows of one meter the later counts.

        Raises:
            ContractError: A meter type that does not exist, or one system title for two meters.
        """
        newest = meters.unique("meter_id", keep="last", maintain_order=True)
        kind, kinds = _kinds(newest, types)
        # Hexadecimal text to numbers, all at once: 16 digits a title.
        digits = newest["system_title"].to_list()
        titles = np.array([0 if text is None else int(text, 16) for text in digits], np.uint64)
        titled = np.flatnonzero(newest["system_title"].is_not_null().to_numpy())
        order = titled[np.argsort(titles[titled], kind="stable")]
        _refuse_twins(titles[order], newest["meter_id"])
        zone, zones = _zones(newest, kind, kinds)
        rows = pl.int_range(newest.height, dtype=pl.Int64, eager=True)
        return cls(
            newest["meter_id"],
            pl.DataFrame({"meter_id": newest["meter_id"], "row": rows}),
            titles[order],
            order.astype(np.int64),
            titles,
            newest["security_min"].cast(pl.Int16).fill_null(-1).to_numpy(),
            zone,
            zones,
            kind,
            kinds,
        )

    def rows_of_titles(self, titles: npt.NDArray[np.uint64]) -> Places:
        """Meter of each system title, `NOT_ENROLLED` where there is none."""
        if not len(self.title):
            return np.full(len(titles), NOT_ENROLLED, np.int64)
        at = np.minimum(np.searchsorted(self.title, titles), len(self.title) - 1)
        return np.where(self.title[at] == titles, self.title_row[at], NOT_ENROLLED)

    def rows_of_names(self, names: pl.Series) -> Places:
        """Meter of each device name, `NOT_ENROLLED` where there is none or the name is null."""
        wanted = pl.DataFrame({"meter_id": names})
        found = wanted.join(self.by_name, on="meter_id", how="left", maintain_order="left")["row"]
        return found.fill_null(NOT_ENROLLED).to_numpy()

    def lowest_security(self, rows: Places, titles: npt.NDArray[np.uint64], keyring: Keyring) -> Places:
        """Lowest accepted security control of each message by its meter and the title it would use.

        A title with a key asks for the default, also where METERS does not know it. Without any METERS there is no
        policy: files are then read as they are.
        """
        if not len(self.meter_id):
            return np.zeros(len(rows), np.int64)
        keyed = has_key(titles, keyring)
        default = np.where(keyed, SECURITY_DEFAULT, 0)
        named = np.where(rows >= 0, self.security_min[rows], -1)
        return np.where(named >= 0, named, default).astype(np.int64)


def has_key(titles: npt.NDArray[np.uint64], keyring: Keyring) -> npt.NDArray[np.bool_]:
    """Whether a system title has a key of its own."""
    if not len(keyring):
        return np.zeros(len(titles), np.bool_)
    at = np.minimum(np.searchsorted(keyring.titles, titles), len(keyring) - 1)
    keyed: npt.NDArray[np.bool_] = (keyring.titles[at] == titles) & (titles != 0)
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


def _refuse_twins(titles: npt.NDArray[np.uint64], names: pl.Series) -> None:
    same = titles[1:] == titles[:-1]
    if same.any():
        title = int(titles[int(same.argmax())])
        raise ContractError(f"METERS.system_title: {title:016x} belongs to two of the {len(names)} meters")
