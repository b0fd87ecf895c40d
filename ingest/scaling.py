"""Numbers to thousandths, exactly: what does not divide or fit is refused, never rounded (dlms.md section 6)."""

from typing import Final

import numpy as np
import numpy.typing as npt

from ingest.spans import Flags

_INT64_MAX: Final = 2**63 - 1
ANY_NUMBER: Final = 2**64
"""What no number exceeds, so that it says nothing."""


def to_milli(
    numbers: npt.NDArray[np.int64], power: int, most: int = ANY_NUMBER
) -> tuple[npt.NDArray[np.int64], Flags | None]:
    """Each number x 10^`power`, and where that is not exact or does not fit 63 bits: None where it is everywhere.

    What does not is 0 in the first.

    Args:
        numbers: The caller's own: they may be overwritten.
        power: Of ten.
        most: What none of them exceeds, either way: where that fits, nobody looks at them.
    """
    if power >= 0:
        limit = _INT64_MAX // 10**power
        if not limit:
            wrong: Flags = numbers != 0
            return np.zeros_like(numbers), wrong if wrong.any() else None
        factor = np.int64(10**power)
        if most <= limit or not numbers.size or (int(numbers.max()) <= limit and int(numbers.min()) >= -limit):
            return np.multiply(numbers, factor, out=numbers), None
        wrong = (numbers > limit) | (numbers < -limit)
        return np.where(wrong, 0, numbers) * factor, wrong
    divisor = 10**-power
    if divisor > _INT64_MAX:
        wrong = numbers != 0
        return np.zeros_like(numbers), wrong if wrong.any() else None
    milli, rest = np.divmod(numbers, np.int64(divisor))
    wrong = rest != 0
    return (np.where(wrong, 0, milli), wrong) if wrong.any() else (milli, None)


def floats_to_milli(numbers: npt.NDArray[np.float64], power: int) -> tuple[npt.NDArray[np.int64], Flags]:
    """Each float x 10^`power`, and where that is not exact or does not fit 63 bits (NaN and infinities among them).

    A float is a whole number of some power of two, so ten to a power takes its twos from there, exactly, and the fives
    from integers. What does not is 0 in the first.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        whole = np.ldexp(numbers, max(power, 0))
        fits = (whole == np.floor(whole)) & (np.abs(whole) < 2.0**63)
    milli, wrong = to_milli(np.where(fits, whole, 0.0).astype(np.int64), min(power, 0))
    if power > 0:
        limit = _INT64_MAX // 5**power
        wrong = (milli > limit) | (milli < -limit)
        milli = np.where(wrong, 0, milli) * np.int64(5**power if limit else 1)
    missed = ~fits if wrong is None else ~fits | wrong
    for place in np.flatnonzero(~fits & np.isfinite(numbers)).tolist() if power < 0 else ():
        exact, rest = divmod(int(numbers[place]), 10**-power)
        if not rest and numbers[place].is_integer() and abs(exact) <= _INT64_MAX:
            milli[place], missed[place] = exact, False
    return np.where(missed, 0, milli), missed
