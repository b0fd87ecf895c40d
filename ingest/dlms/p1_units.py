"""Units of P1 telegrams, which meters write in their own capitals: kvarh, kVArh and kVARh are one.

Where the capitals tell two units apart they count: `m` is a thousandth and `M` a million, so a prefix of that letter is
read only before a unit spelled as SI spells it. `C` is none: a coulomb by SI, a degree to some meters.
"""

from typing import Final, NamedTuple

_PREFIXED: Final = {b"Wh": 30, b"varh": 32, b"VAh": 31, b"W": 27, b"var": 29, b"VA": 28, b"V": 35, b"A": 33, b"J": 25}
"""Blue Book codes of units that are also written with a prefix."""
_ANY_CASE: Final = {name.lower(): code for name, code in _PREFIXED.items()}
_PREFIXES: Final = {b"k": 3, b"K": 3, b"M": 6, b"G": 9, b"m": -3}
_BY_CASE: Final = frozenset(b"Mm")


class P1Unit(NamedTuple):
    """Powers of ten of the Blue Book unit of that code."""

    power: int
    code: int


NO_UNIT: Final = P1Unit(0, 255)
_OTHERS: Final = {
    b"hz": P1Unit(0, 44), b"m3": P1Unit(0, 13), b"dm3": P1Unit(-3, 13), b"l": P1Unit(-3, 13),
}  # fmt: skip
_BY_SPELLING: Final = {b"s": P1Unit(0, 7), b"K": P1Unit(0, 52)}


def unit_of(written: bytes) -> P1Unit | None:
    """The unit as a telegram writes it behind `*`; None where it is not known, or might be two."""
    if written in _BY_SPELLING:
        return _BY_SPELLING[written]
    lower = written.lower()
    if lower in _ANY_CASE:
        return P1Unit(0, _ANY_CASE[lower])
    if written[:1] in _PREFIXES:
        rest = written[1:]
        code = _PREFIXED.get(rest) if written[0] in _BY_CASE else _ANY_CASE.get(rest.lower())
        if code is not None:
            return P1Unit(_PREFIXES[written[:1]], code)
    return _OTHERS.get(lower)
