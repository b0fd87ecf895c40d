"""Rule sets as files: strict TOML. What is wrong is told with its place and what would be right."""

import tomllib
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import date
from typing import Any, Final

import msgspec

from schemas.codes import Rule, Severity
from schemas.errors import ContractError
from validation.rules.catalogue import DEFINITION
from validation.rules.definition import Definition
from validation.rules.sets import ALWAYS, RuleSet

_PAIRS: Final = (("low_percent", "high_percent"), ("low_milli", "high_milli"))
"""Thresholds of which the one must not lie above the other."""
_KEYS: Final = "name, from, rate_class, channel, rules"
_Change = bool | int | str


def parse_rule_sets(text: str) -> tuple[RuleSet, ...]:
    """The rule sets of a TOML file.

    Raises:
        ContractError: Not TOML; an unknown field, rule, threshold, channel or severity; a threshold that is no whole
            number, or beyond its least or most; two sets of one name, or two that contradict each other on the same
            day for the same series; a set that changes nothing, or a rule that does not judge the set's channel. The
            message names the place and what would be right.
    """
    try:
        file = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ContractError(f"rule sets: not TOML: {error}") from error
    for key in file:
        if key != "rule_set":
            raise ContractError(f"rule sets: unknown table {key!r}; a rule set begins with [[rule_set]]")
    tables = file.get("rule_set", [])
    if not isinstance(tables, list):
        raise ContractError("rule sets: rule_set is one table; each rule set begins with [[rule_set]], twice bracketed")
    sets = tuple(_rule_set(number, table) for number, table in enumerate(tables, start=1))
    often = Counter(one.name for one in sets)
    for number, one in enumerate(sets, start=1):
        where = _where(number, one.name)
        if often[one.name] > 1:
            raise ContractError(f"{where}: {often[one.name]} sets have this name; give each a name of its own")
        _check_set(where, one)
    _check_overlaps(sets)
    return sets


def check_rate_classes(sets: Sequence[RuleSet], known: Sequence[str]) -> None:
    """Every rate class that a set names is one that meters have.

    Raises:
        ContractError: A set names another, and so would change nothing.
    """
    for number, one in enumerate(sets, start=1):
        if one.rate_class is not None and one.rate_class not in known:
            told = ", ".join(sorted(known)) or "none"
            raise ContractError(
                f"{_where(number, one.name)}: rate_class: no meter has {one.rate_class!r}; those of the meters: {told}"
            )


def _where(number: int, name: object) -> str:
    return f"rule_set[{number}] {name!r}"


def _rule_set(number: int, table: Any) -> RuleSet:
    """One table; its fields and types."""
    name = table.get("name") if isinstance(table, dict) else None
    where = _where(number, name)
    if not isinstance(name, str) or not name.strip():
        raise ContractError(f"{where}: name: every rule set needs one, a text")
    for key, value in table.items():
        if key in ("to", "until"):
            raise ContractError(f"{where}: {key}: a set has no end; it holds until a later set changes what it set")
        if key not in _KEYS.split(", "):
            raise ContractError(f"{where}: {key}: no such field; known: {_KEYS}")
        if key == "from" and type(value) is not date:
            raise ContractError(f"{where}: from: {value!r} is no local day; write it as 2026-03-01, without quotes")
    _check_shape(where, table.get("rules", {}))
    try:
        one = msgspec.convert({"from": ALWAYS, **table}, RuleSet)
    except msgspec.ValidationError as error:
        raise ContractError(f"{where}: {error}") from error
    if one.rate_class is not None and not one.rate_class.strip():
        raise ContractError(f"{where}: rate_class: empty; leave it out for every rate class")
    return one


def _check_shape(where: str, rules: Any) -> None:
    """Rules are tables of settings, and a setting is a number, a text, or true or false."""
    if not isinstance(rules, dict):
        raise ContractError(f"{where}: rules: {rules!r} is no table; name a rule as [rule_set.rules.spike]")
    for name, changes in rules.items():
        if not isinstance(changes, dict):
            raise ContractError(f"{where}: rules.{name}: {changes!r} is no table; write [rule_set.rules.{name}]")
        for key, value in changes.items():
            if not isinstance(value, bool | int | str):
                raise ContractError(f"{where}: rules.{name}.{key}: {value!r} is no whole number")


def _check_set(where: str, one: RuleSet) -> None:
    if not any(one.rules.values()):
        raise ContractError(f"{where}: changes nothing; name a rule as [rule_set.rules.spike]")
    for name, changes in one.rules.items():
        place = f"{where}: rules.{name}"
        if name not in DEFINITION:
            raise ContractError(f"{place}: no such rule; known: {', '.join(DEFINITION)}")
        definition = DEFINITION[Rule(name)]
        if one.channel is not None and one.channel not in definition.channels:
            judged = ", ".join(sorted(definition.channels))
            raise ContractError(f"{place}: this rule does not judge {one.channel}; it judges {judged}")
        for key, value in changes.items():
            _check_change(f"{place}.{key}", definition, key, value)
        values = {parameter.name: parameter.default for parameter in definition.parameters} | changes
        for low, high in _PAIRS:
            if low in values and int(values[low]) > int(values[high]):
                raise ContractError(f"{place}: {low} {values[low]} lies above {high} {values[high]}: nothing passes")


def _check_change(place: str, definition: Definition, key: str, value: _Change) -> None:
    parameters = {parameter.name: parameter for parameter in definition.parameters}
    if key == "on":
        if not isinstance(value, bool):
            raise ContractError(f"{place}: {value!r} is neither true nor false")
    elif key == "severity":
        if value not in list(Severity):
            raise ContractError(f"{place}: {value!r} is none of {', '.join(Severity)}")
    elif key not in parameters:
        known = ", ".join(["on", "severity", *sorted(parameters)])
        raise ContractError(f"{place}: no such setting; known: {known}")
    else:
        unit, (least, most) = parameters[key].unit, parameters[key].bounds
        if isinstance(value, bool) or not isinstance(value, int):
            raise ContractError(f"{place}: {value!r} is no whole number; its unit is {unit}, and is not written")
        if not least <= value <= most:
            raise ContractError(f"{place}: {value} is not between {least} and {most} ({unit})")


def _check_overlaps(sets: Sequence[RuleSet]) -> None:
    """No two sets give the same setting of the same series another value from the same day on."""
    said: dict[tuple[object, ...], tuple[int, _Change]] = {}
    for number, one in enumerate(sets, start=1):
        for name, key, value in _changes(one):
            what = (one.effective_from, one.rate_class, one.channel, name, key)
            before, other = said.setdefault(what, (number, value))
            if other != value:
                day = "always" if one.effective_from == ALWAYS else f"from {one.effective_from} on"
                raise ContractError(
                    f"{_where(number, one.name)}: rules.{name}.{key}: {value} {day}, and {other} by "
                    f"{_where(before, sets[before - 1].name)} from the same day for the same series; keep one of them"
                )


def _changes(one: RuleSet) -> Iterator[tuple[str, str, _Change]]:
    for name, changes in one.rules.items():
        for key, value in changes.items():
            yield name, key, value
