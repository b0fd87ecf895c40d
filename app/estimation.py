"""The estimation file: which register counts when, and what an average customer of a rate class uses."""

from pathlib import Path
from typing import Final

import msgspec

from app.files import read_text
from schemas.errors import ContractError
from schemas.timegrid import INTERVAL_LENGTHS_S
from validation.params import ClassProfile, TouPeriod
from validation.reads import TOU_OF

_DAY_S: Final = 86_400
_REGISTERS: Final = frozenset(register for registers in TOU_OF.values() for register in registers)


class EstimationAids(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Tables `[[tou]]` (`validation.params.TouPeriod`) and `[[profiles]]` (`validation.params.ClassProfile`)."""

    tou: tuple[TouPeriod, ...] = ()
    profiles: tuple[ClassProfile, ...] = ()


def load_estimation(file: Path | None) -> EstimationAids:
    """Time-of-use calendar and class profiles of a TOML file; none without one.

    Raises:
        ContractError: Not TOML, an unknown setting, a register that is none of time of use, a period that does not end
            after it starts on the same day, a profile whose days have no equal number of values that makes an interval
            length, or two of one class, channel and length; names the file and the place.
    """
    if file is None:
        return EstimationAids()
    try:
        aids = msgspec.toml.decode(read_text(file), type=EstimationAids)
    except msgspec.MsgspecError as error:
        raise ContractError(f"{file}: {error}") from error
    for number, period in enumerate(aids.tou, start=1):
        _check_period(f"{file}: tou[{number}]", period)
    seen: set[tuple[object, ...]] = set()
    for number, profile in enumerate(aids.profiles, start=1):
        _check_profile(f"{file}: profiles[{number}]", profile)
        key = profile.rate_class, profile.channel, len(profile.workday)
        if key in seen:
            raise ContractError(
                f"{file}: profiles[{number}]: a second profile of {profile.rate_class!r} of this length"
            )
        seen.add(key)
    return aids


def _check_period(where: str, period: TouPeriod) -> None:
    if period.register not in _REGISTERS:
        told = ", ".join(sorted(register.value for register in _REGISTERS))
        raise ContractError(f"{where}: register: {period.register.value!r} is none of {told}")
    if not 0 <= period.start_s < period.end_s <= _DAY_S:
        raise ContractError(
            f"{where}: start_s {period.start_s}, end_s {period.end_s}: seconds of a day, the end after the start; a "
            "period over midnight is two"
        )


def _check_profile(where: str, profile: ClassProfile) -> None:
    sizes = {len(profile.workday), len(profile.saturday), len(profile.sunday)}
    if len(sizes) > 1 or 0 in sizes or _DAY_S / next(iter(sizes)) not in INTERVAL_LENGTHS_S:
        raise ContractError(
            f"{where}: workday, saturday and sunday have {len(profile.workday)}, {len(profile.saturday)} and "
            f"{len(profile.sunday)} values; as many as a day has intervals, such as 24, 48 or 96, in each"
        )
