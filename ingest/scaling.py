"""Numbers to thousandths, exactly: what does not divide or fit is refused, never rounded (dlms.md section 6)."""

from typing import Final

import numpy as np
import numpy.typing as npt

from ingest.spans import Flags

_INT64_MAX: Final = 2**63 - 1


def to_milli(numbers: npt.NDArray[np.int64], power: int) -> tuple[npt.NDArray[np.int64], Flags]:
    """Each number x 10^`power`, and whether that is exact and fits 63 bits; 0 where not."""
    if power >= 0:
        limit = _INT64_MAX // 10**power
        exact = (numbers <= limit) & (numbers >= -limit)
        if not limit:
            return np.zeros_like(numbers), exact
        return np.where(exact, numbers, 0) * np.int64(10**power), exact
    divisor = 10**-power
    if divisor > _INT64_MAX:
        return np.zeros_like(numbers), numbers == 0
    milli, rest = np.divmod(numbers, np.int64(divisor))
    exact = rest == 0
    return np.where(exact, milli, 0), exact
