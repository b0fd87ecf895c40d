"""What both doors make of a published message against its index: the reason of a reject, and every number else.

A number of a message is a read, the code of an event, or counted in a refused part; nothing else may come of it, and
nothing may come of what is not there.
"""

import re
from collections import Counter
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import polars as pl

from ingest.decode import Decoded

REASONS = {
    "frame and security header only (no key)": "key_unknown",
    "reject: frame check sequence": "link_checksum",
    "reject as A-XDR": "axdr_tag",
    "reject as DLMS": "not_dlms",
}
"""Reason of each outcome of the index, by how its text begins."""
_VALUES = re.compile(r"(\d+) values: ")
_POWERS = range(-3, 7)


def differences(entry: dict[str, Any], said: dict[str, Any], decoded: Decoded, switched: Decoded) -> list[str]:
    """What is not as the index of the captures says; nothing where all is.

    Args:
        entry: Of the index.
        said: By `inspect`.
        decoded: By `decode`, as the make is known.
        switched: By `decode`, with the switches that a reject needs.
    """
    expected = entry["expected"]
    checks = {"header": _header(entry, said)}
    if expected["outcome"] == "decodes":
        checks |= {"values": _values(expected, said), "numbers": _numbers(expected, decoded)}
    else:
        wanted = next(reason for text, reason in REASONS.items() if expected["outcome"].startswith(text))
        reasons = decoded.rejects["reason"].cast(pl.String).to_list()
        checks["reason"] = said.get("error", {}).get("reason") == wanted and reasons == [wanted]
        checks["switched"] = _switched(expected, switched)
    return [name for name, right in checks.items() if not right]


def _header(entry: dict[str, Any], said: dict[str, Any]) -> bool:
    expected, security = entry["expected"], entry["security"]
    decodes = expected["outcome"] == "decodes"
    stamp = expected.get("date_time") or {"utc": None, "clock_status": None}
    right = [(said["link"].partition("+")[0], said["frames"]) == (entry["link"].partition("+")[0], entry["frames"])]
    if decodes:
        right += [
            said["apdu"] == expected["apdu"],
            (said["date_time"], said["clock_status"]) == (stamp["utc"], stamp["clock_status"]),
            said["quirks"] == expected.get("quirks", []),
        ]
    header = (said["system_title"], said["invocation_counter"], said["security"])
    right.append(header == tuple(map(security.get, ("system_title", "invocation_counter", "security_control"))))
    right.append(said["authenticated"] == (decodes and security.get("authenticated", False)))
    return all(right)


def _values(expected: dict[str, Any], said: dict[str, Any]) -> bool:
    found = [(each["obis"], each["value"], each["scaler"], each["unit"]) for each in said["values"]]
    return found == [(v["obis"], _sent(v["raw"]), v.get("scaler"), v.get("unit")) for v in expected["values"]]


def _numbers(expected: dict[str, Any], decoded: Decoded) -> bool:
    reads = decoded.reads.select(pl.col("channel").cast(pl.String), "obis", "value_milli").rows()
    by_channel = {channel: milli for channel, _, milli in reads if channel != "other"}
    scaling, numbers = expected.get("scaling"), list(_leaves(expected["values"]))
    if scaling == "known from the make":
        whole = by_channel == expected["reads_milli"] and len(reads) == len(by_channel) == len(numbers)
        return whole and decoded.rejects.is_empty()
    if scaling == "in the frame":
        wanted = sorted((name, _milli(number, scaler or 0)) for name, number, scaler in numbers)
        exact = sorted((name, milli) for _, name, milli in reads) == wanted
        by_name = (
            expected["reads_milli"].items() <= by_channel.items()
        )  # of some channels the index has the values only
        return exact and by_name and decoded.rejects.is_empty()
    return _accounted(numbers, decoded)


def _accounted(numbers: list[tuple[str | None, int | float, int | None]], decoded: Decoded) -> bool:
    """Where nobody says how the numbers are scaled: each read is a power of ten of its own number."""
    left = Counter((name, number) for name, number, _ in numbers)
    for name, milli in decoded.reads.select("obis", "value_milli").rows():
        own = [each for each in left if each[0] == name and any(_milli(each[1], power) == milli for power in _POWERS)]
        if not own:
            return False
        left -= Counter(own[:1])
    for code in decoded.events["code"].drop_nulls().to_list():
        own = [each for each in left if each[1] == code]
        if not own:
            return False
        left -= Counter(own[:1])
    return left.total() == _refused(decoded)


def _switched(expected: dict[str, Any], switched: Decoded) -> bool:
    """With the switches of its make, and scaler 0 where none is sent."""
    events = switched.events.select(pl.col("event").cast(pl.String), "code").rows()
    if "alarm_register_1" in expected:
        return events == [(expected["meaning"].replace(" ", "_"), expected["alarm_register_1"])]
    named = [(v["obis"], v["value"] * 1000) for v in expected.get("values", ()) if isinstance(v["value"], int)]
    found = switched.reads.select("obis", "value_milli").rows()
    # The structure around the descriptors begins with a number of its own, which no object has.
    return not events and sorted(found) == sorted(named) and _refused(switched) == (1 if named else 0)


def _refused(decoded: Decoded) -> int:
    counted = [_VALUES.match(detail) for detail in decoded.rejects["detail"]]
    return sum(int(found[1]) for found in counted if found is not None)


def _leaves(values: list[dict[str, Any]]) -> Iterator[tuple[str | None, int | float, int | None]]:
    for each in values:
        raw = each["raw"] if isinstance(each["raw"], list) else [each["raw"]]
        yield from ((each["obis"], leaf, each.get("scaler")) for leaf in raw if isinstance(leaf, int | float))


def _milli(number: float, power: int) -> Fraction:
    return Fraction(number) * Fraction(10) ** (power + 3)


def _sent(raw: Any) -> Any:
    if isinstance(raw, dict):
        return raw["octets"]
    return [_sent(item) for item in raw] if isinstance(raw, list) else raw
