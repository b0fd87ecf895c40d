"""Numbers to thousandths, exactly: what does not divide or fit is refused, never rounded (dlms.md section 6)."""

from typing import Final

import numpy as np
import numpy.typing as npt

from ingest.spans import Flags

_INT64_MAX: Final = 2**63 - 1


def to_milli(numbers: npt.NDArray[np.int64], power: int) -> tuple[npt.NDArray[np.int64], Flags | None]:
    """Each number x 10^`power`, and where that is not exact or does not fit 63 bits: None where it is everywhere.

    What does not is 0 in the first.
    """
    if power >= 0:
        limit = _INT64_MAX // 10**power
        if not limit:
            wrong: Flags = numbers != 0
            return np.zeros_like(numbers), wrong if wrong.any() else None
        factor = np.int64(10**power)
        if not numbers.size or (int(numbers.max()) <= limit and int(numbers.min()) >= -limit):
            return numbers * factor, None
        wrong = (numbers > limit) | (numbers < -limit)
        return np.where(wrong, 0, numbers) * factor, wrong
    divisor = 10**-power
    if divisor > _INT64_MAX:
        wrong = numbers != 0
        return np.zeros_like(numbers), wrong if wrong.any() else None
    milli, rest = np.divmod(numbers, np.int64(divisor))
    wrong = rest != 0
    return (np.where(wrong, 0, milli), wrong) if wrong.any() else (milli, None)
