"""Names of keys as streams have them: `guek/1`, and of a key that came wrapped `wrapped/1/<digest>`.

A broadcast key is named by whose it is, `gbek/own/1` of a meter's own and `gbek/group/1` of the group's: a meter that
gets its own begins to count anew. Once either was `gbek/1`, and what was stored under that name may be of either.

A meter may bring a new key with each message, so names of such keys are no small vocabulary: they are taken apart into
what they share (the version of the master key they came under) and a number of their own.
"""

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from ingest.titles import titles_from_hex, titles_to_hex

Numbers = npt.NDArray[np.uint64]

_WRAPPED: Final = "wrapped/"
_FORM: Final = r"^(wrapped/\d+)/([0-9a-f]{16})$"
OWN_FAMILY: Final = "gbek/own"
GROUP_FAMILY: Final = "gbek/group"
_BROADCAST: Final = "gbek/"
_EITHER: Final = re.compile(r"gbek/(\d+)")
NO_PART: Final = 0
"""The number of a key that the meter holds: its name is whole by itself."""


class SplitNames(NamedTuple):
    """For each name the place of its family in `families`, and its own number within it."""

    families: tuple[str, ...]
    family: npt.NDArray[np.int64]
    part: Numbers


def wrapped_name(master: str, digest: bytes) -> str:
    """The name of a key that came wrapped under the master key of that name (`kek/2`), by a digest of what came."""
    return f"{_WRAPPED}{master.rpartition('/')[2]}/{digest.hex()}"


def names_now(stored: str) -> tuple[str, ...]:
    """What a key is called now that was stored under this name; both, where one name was that of two."""
    either = _EITHER.fullmatch(stored) if stored.startswith(_BROADCAST) else None
    return (stored,) if either is None else tuple(f"{family}/{either[1]}" for family in (OWN_FAMILY, GROUP_FAMILY))


def split_names(names: Sequence[str]) -> SplitNames:
    """The names taken apart; `join_names` of it are the same names."""
    part = np.zeros(len(names), np.uint64)
    wrapped = [place for place, name in enumerate(names) if name.startswith(_WRAPPED)]
    if not wrapped:
        return SplitNames(tuple(names), np.arange(len(names)), part)
    texts = pl.Series(names, dtype=pl.String)
    cut = texts.gather(wrapped).str.extract_groups(_FORM).struct
    whole = cut.field("2").is_not_null()
    at = np.array(wrapped, np.int64)[whole.to_numpy()]
    part[at] = titles_from_hex(cut.field("2").filter(whole))
    family = texts.scatter(at, cut.field("1").filter(whole)) if len(at) else texts
    families = family.unique(maintain_order=True)
    places = {name: place for place, name in enumerate(families.to_list())}
    return SplitNames(tuple(places), family.replace_strict(places, return_dtype=pl.Int64).to_numpy(), part)


def join_names(families: pl.Series, part: Numbers) -> pl.Series:
    """The names of families and numbers, one a row."""
    own = part != NO_PART
    if not own.any():
        return families
    at = np.flatnonzero(own)
    return families.scatter(at, families.gather(at) + "/" + titles_to_hex(part[at]))
