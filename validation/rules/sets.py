"""Rule sets: which rules are in force, with which thresholds and severities, by rate class, channel and date.

A rule set is data. It changes the definitions of the catalogue for the series and the local days that it names:

    [[rule_set]]
    name = "shops from spring"
    from = 2026-03-01              # local day; without it, from the beginning
    rate_class = "commercial"      # without it, every rate class
    channel = "energy_delivered"   # without it, every channel

    [rule_set.rules.spike]
    percent = 400                  # a threshold of the rule, in the unit of the catalogue
    severity = "warning"

    [rule_set.rules.flat_line]
    on = false

Several sets may name the same series: they apply one after the other, by date and then as written, each changing only
what it names. A set holds until a later one changes the same setting; before the first the catalogue holds, so that no
day is without rules. `validation.rules.files` reads them, strictly.
"""

from collections.abc import Sequence
from datetime import date
from typing import Final, NamedTuple

import msgspec

from schemas.codes import Channel, Severity
from validation.rules.catalogue import RULES
from validation.rules.definition import Definition, Settings

ALWAYS: Final = date.min


class RuleSet(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Changes to the catalogue, and for whom and from when they hold."""

    name: str
    rules: dict[str, dict[str, bool | int | str]] = {}
    effective_from: date = msgspec.field(name="from", default=ALWAYS)
    rate_class: str | None = None
    channel: Channel | None = None


class InForce(NamedTuple):
    """A rule as it is in force for a series on a day: its definition, severity and thresholds."""

    definition: Definition
    severity: Severity
    settings: Settings


def rules_in_force(sets: Sequence[RuleSet], rate_class: str | None, channel: Channel, day: date) -> tuple[InForce, ...]:
    """The rules that judge a series on a local day, in the order of the catalogue; a rule that is off is left out."""
    mine = sorted((one for one in sets if _concerns(one, rate_class, channel)), key=lambda one: one.effective_from)
    mine = [one for one in mine if one.effective_from <= day]
    in_force = []
    for definition in RULES:
        if channel not in definition.channels:
            continue
        changed: dict[str, bool | int | str] = {}
        for one in mine:
            changed |= one.rules.get(definition.rule.value, {})
        if not changed.get("on", definition.on):
            continue
        severity = Severity(str(changed.get("severity", definition.severity)))
        settings = {one.name: int(changed.get(one.name, one.default)) for one in definition.parameters}
        in_force.append(InForce(definition, severity, settings))
    return tuple(in_force)


def change_dates(sets: Sequence[RuleSet], rate_class: str | None, channel: Channel) -> tuple[date, ...]:
    """The local days from which other rules hold for a series, ascending, without the beginning of time."""
    dates = {one.effective_from for one in sets if _concerns(one, rate_class, channel)}
    return tuple(sorted(dates - {ALWAYS}))


def _concerns(rule_set: RuleSet, rate_class: str | None, channel: Channel) -> bool:
    return rule_set.rate_class in (None, rate_class) and rule_set.channel in (None, channel)
