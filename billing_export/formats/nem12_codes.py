"""Code sets of the Meter Data File Format (AEMO MDFF; billing.md section 4, vee.md section 5)."""

from typing import Final

FLAGS: Final = frozenset("AEFNSV")
METHODS: Final = frozenset({*range(11, 20), *range(20, 26), *range(51, 60), *range(61, 70), *range(71, 76)})
"""Substitution and estimation methods; 20 to 25, 59 and 69 came with five-minute settlement."""
FORWARD_METHODS: Final = frozenset({51, 52, 56, 57, 58, 61, 62, 63, 65, 68, 75})
"""Methods that an E may have."""
WITH_METHOD: Final = frozenset("EFS")
LENGTHS_MIN: Final = frozenset({5, 15, 30})
REASONS: Final = frozenset(range(100))
TRANSACTIONS: Final = frozenset("ACGDENOSR")
UNIT_MILLI: Final = {
    "WH": 1_000, "KWH": 1_000_000, "MWH": 1_000_000_000,
    "VARH": 1_000, "KVARH": 1_000_000, "MVARH": 1_000_000_000,
    "VAH": 1_000, "KVAH": 1_000_000, "MVAH": 1_000_000_000,
    "W": 1_000, "KW": 1_000_000, "MW": 1_000_000_000,
    "VAR": 1_000, "KVAR": 1_000_000, "MVAR": 1_000_000_000,
    "VA": 1_000, "KVA": 1_000_000, "MVA": 1_000_000_000,
    "V": 1_000, "KV": 1_000_000, "A": 1_000, "KA": 1_000_000, "PF": 1_000,
}  # fmt: skip
"""Units in upper case (any case is allowed) and the thousandths of our base unit that one of them is."""


def quality_fault(text: str, *, in_400: bool = False) -> str | None:
    """Why a quality-method field is wrong, or null: flag in the set, method present and allowed for it."""
    flag, method = text[:1], text[1:]
    if flag not in FLAGS or (in_400 and flag == "V"):
        return "quality_flag"
    if flag not in WITH_METHOD:
        return "method_not_allowed" if method else None
    if not method:
        return "method_missing"
    if not method.isdecimal() or int(method) not in METHODS or len(method) != 2:
        return "method_unknown"
    if flag == "E" and int(method) not in FORWARD_METHODS:
        return "method_not_allowed"
    return None
